//! The administration interface: one table of endpoints, served by the admin listener and, under `/_aegis/`, by the
//! gateway listener.
//!
//! It owns no state: it reads the published snapshot, asks the supervisor, and shapes answers. Every answer is JSON;
//! every error a problem document.

mod alerts;
mod answer;
mod backends;
mod endpoints;
mod explain;
mod health;
mod history;
mod listener;
mod orders;
mod origin;
mod process;
mod prometheus;
mod query;
mod rate_limit;
mod requests;
mod routes;
mod status;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use actix::Addr;
use actix_http::Method;
use aegis_actors::alerts::Alerts;
use bytes::Bytes;
use futures_core::future::LocalBoxFuture;
use subtle::ConstantTimeEq as _;

pub use self::listener::serve;
use crate::gateway::shared::{Internal, InternalAnswer, Shared, Token};
use crate::store::Store;
use crate::supervisor::Supervisor;

/// What history is read from.
#[derive(Clone)]
pub struct HistoryDeps {
    /// Where history is kept; `None` = in memory only.
    pub store: Option<Store>,
    /// `metrics.instance`.
    pub instance: Arc<str>,
    /// What is known of alerts.
    pub alerts: Arc<Alerts>,
}

/// See the module.
#[derive(Clone)]
pub struct Admin {
    shared: Arc<Shared>,
    supervisor: Addr<Supervisor>,
    started: Instant,
    started_at: SystemTime,
    workers: usize,
    history: HistoryDeps,
    /// `admin.host` as it was bound; a reload does not change it.
    host: Arc<str>,
}

impl Admin {
    /// The interface of one gateway, bound to `host`.
    pub fn new(
        shared: Arc<Shared>,
        supervisor: Addr<Supervisor>,
        history: HistoryDeps,
        workers: usize,
        host: &str,
    ) -> Self {
        let (started, started_at) = (Instant::now(), SystemTime::now());
        Self { shared, supervisor, started, started_at, workers, history, host: host.into() }
    }

    /// What a request's `Authorization` says of the token.
    fn token_of(&self, authorization: Option<&str>) -> Token {
        let admin = self.shared.admin.load();
        if admin.token.is_empty() {
            return Token::NotConfigured;
        }
        let bearer = authorization.and_then(|value| value.split_once(' '));
        match bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) {
            None => Token::Missing,
            // The comparison takes the same time wherever the two differ.
            Some((_, token)) if token.trim().as_bytes().ct_eq(admin.token.as_bytes()).into() => Token::Right,
            Some(_) => Token::Wrong,
        }
    }
}

impl Internal for Admin {
    fn token(&self, authorization: Option<&str>) -> Token {
        self.token_of(authorization)
    }

    fn answer(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        body: Bytes,
    ) -> LocalBoxFuture<'static, InternalAnswer> {
        endpoints::dispatch(self.clone(), method.clone(), path.to_owned(), query.to_owned(), body)
    }
}
