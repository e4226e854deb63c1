//! The store as the ledger of alerts: what several instances agree by.

use aegis_actors::alerts::{Alert, Asked, Entered, Entry, Lease, Ledger, LedgerError, Push, Resolution};

use super::access::on;
use super::{Store, StoreError};

/// A question of the ledger's.
fn ask<T: Send + 'static>(asked: super::Asked<T>) -> Asked<T> {
    Box::pin(async move { asked.await.map_err(|error: StoreError| LedgerError(error.to_string())) })
}

impl Ledger for Store {
    fn open(&self) -> Asked<Vec<Alert>> {
        ask(self.firing())
    }

    fn enter(&self, entry: Entry) -> Asked<Entered> {
        ask(self.run("writing to", self.inner.options.time_limit, move |inner| async move {
            on!(inner, writer, alerts::enter(entry))
        }))
    }

    fn hold(&self, alert: String, instance: String, at_ms: i64) -> Asked<()> {
        ask(self.run("writing to", self.inner.options.time_limit, move |inner| async move {
            on!(inner, writer, alerts::hold(alert, instance, at_ms))
        }))
    }

    fn resolve(&self, resolution: Resolution) -> Asked<Option<Alert>> {
        ask(self.run("writing to", self.inner.options.time_limit, move |inner| async move {
            on!(inner, writer, alerts::resolve(resolution))
        }))
    }

    fn acknowledge(&self, alert: String, at_ms: i64) -> Asked<Option<Alert>> {
        ask(self.run("writing to", self.inner.options.time_limit, move |inner| async move {
            on!(inner, writer, alerts::acknowledge(alert, at_ms))
        }))
    }

    fn claim(&self, webhooks: Vec<String>, lease: Lease, most: u32) -> Asked<Vec<(Alert, Push)>> {
        ask(self.run("writing to", self.inner.options.time_limit, move |inner| async move {
            on!(inner, writer, alerts::claim(webhooks, lease, i64::from(most)))
        }))
    }

    fn pushed(&self, push: Push) -> Asked<()> {
        ask(self.run("writing to", self.inner.options.time_limit, move |inner| async move {
            on!(inner, writer, alerts::pushed(push))
        }))
    }
}
