//! Tests of alerts: the pure state with a clock of the test's own, alone and with a ledger in memory; the
//! delivery queue; windows.

mod alone;
mod clock;
mod delivery_queue;
mod ghost;
mod journal;
mod measure;
mod with_ledger;

use std::sync::Arc;
use std::time::Duration;

use super::messages::Change;
use super::settings::*;
use super::state::{AlertsState, Output, View, Who};
use super::{Alert, Measured};

/// Some day, milliseconds since the Unix epoch.
const T: i64 = 1_700_000_000_000;

fn rule(id: &str) -> Rule {
    Rule {
        id: id.into(),
        name: id.into(),
        severity: Severity::Critical,
        condition: Condition {
            metric: Metric::ErrorRate,
            operator: Operator::Above,
            threshold: 0.1,
            window: Duration::from_secs(60),
            backend: None,
        },
        actions: vec![Action::Log, Action::Webhook("ops".into())],
    }
}

fn webhook(name: &str) -> Webhook {
    Webhook {
        name: name.into(),
        url: "http://h/hunter2".into(),
        format: Format::Json,
        headers: Vec::new(),
        ca_file: None,
        timeout: Duration::from_secs(5),
    }
}

fn settings(rules: Vec<Rule>) -> Arc<Settings> {
    Arc::new(Settings { webhooks: vec![webhook("ops")], rules, ..Settings::default() })
}

/// A state of instance `name` that watches these rules.
fn state(name: &str, has_ledger: bool, rules: Vec<Rule>) -> AlertsState {
    let who = Who { instance: name.into(), boot: "1".into() };
    let mut state = AlertsState::new(who, has_ledger, u64::from(name.as_bytes()[0]));
    assert_eq!(state.watch(settings(rules)), []);
    state
}

fn nowhere(_: &Condition) -> String {
    String::new()
}

fn measured(value: Option<f64>) -> Measured {
    Measured { value, whole: true }
}

/// A look at every rule, each measured alike; what happened to which rule.
fn look(state: &mut AlertsState, now: i64, view: View, measured: Measured) -> Vec<(Change, String)> {
    changes(state.look(now, view, |_| measured, nowhere))
}

fn changes(out: Vec<Output>) -> Vec<(Change, String)> {
    let change = |output| match output {
        Output::Publish(change) => Some((change.what, change.alert.rule)),
        Output::Log(..) => None,
    };
    out.into_iter().filter_map(change).collect()
}

fn fired(rule: &str) -> Vec<(Change, String)> {
    vec![(Change::Fired, rule.to_owned())]
}

fn resolved(rule: &str) -> Vec<(Change, String)> {
    vec![(Change::Resolved, rule.to_owned())]
}

fn ids(alerts: &[Alert]) -> Vec<&str> {
    alerts.iter().map(|alert| alert.id.as_str()).collect()
}
