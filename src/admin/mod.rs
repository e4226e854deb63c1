//! The administration interface: one table of endpoints, served by the admin listener and, under `/_aegis/`, by the
//! gateway listener.
//!
//! It owns no state: it reads the published snapshot, asks the supervisor, and shapes answers. Every answer is JSON;
//! every error a problem document.

mod answer;
mod endpoints;
mod listener;
mod status;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use actix::Addr;
use actix_http::Method;
use actix_http::header::{self, HeaderMap};
use bytes::Bytes;
use futures_core::future::LocalBoxFuture;
use subtle::ConstantTimeEq as _;

pub use self::listener::serve;
use crate::gateway::shared::{Internal, InternalAnswer, Shared};
use crate::supervisor::Supervisor;

/// See the module.
#[derive(Clone)]
pub struct Admin {
    shared: Arc<Shared>,
    supervisor: Addr<Supervisor>,
    started: Instant,
    started_at: SystemTime,
    workers: usize,
}

impl Admin {
    /// The interface of one gateway.
    pub fn new(shared: Arc<Shared>, supervisor: Addr<Supervisor>, workers: usize) -> Self {
        Self { shared, supervisor, started: Instant::now(), started_at: SystemTime::now(), workers }
    }

    /// Whether the request carries the token; `None` when none is configured.
    fn has_token(&self, headers: &HeaderMap) -> Option<bool> {
        let admin = self.shared.admin.load();
        if admin.token.is_empty() {
            return None;
        }
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        // Lengths differ visibly; the token's own length is no secret worth hiding.
        Some(given.is_some_and(|(_, token)| token.trim().as_bytes().ct_eq(admin.token.as_bytes()).into()))
    }
}

impl Internal for Admin {
    fn authorise(&self, headers: &HeaderMap) -> Option<bool> {
        self.has_token(headers)
    }

    fn answer(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        _: &HeaderMap,
        body: Bytes,
    ) -> LocalBoxFuture<'static, InternalAnswer> {
        endpoints::dispatch(self.clone(), method.clone(), path.to_owned(), query.to_owned(), body)
    }
}
