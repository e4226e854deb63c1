//! How a health check asks: one GET on a connection of its own, with the backend's TLS.

use std::sync::Arc;
use std::time::Duration;

use actix_http::header::{self, HeaderValue};
use actix_http::{RequestHead, RequestHeadType};
use aegis_actors::TargetCells;
use aegis_actors::health_check::{ProbeFuture, Prober, ProberFactory};
use awc::error::SendRequestError;

use crate::gateway::shared::Shared;
use crate::gateway::upstream::{Asked, Dialer, Exchange, Pool};

/// Probes the gateway's targets.
pub struct GatewayProber(Arc<Shared>);

impl GatewayProber {
    /// Makes one on the health actor's thread.
    pub fn factory(shared: Arc<Shared>) -> ProberFactory {
        Box::new(move || Box::new(Self(shared)))
    }
}

impl Prober for GatewayProber {
    fn probe(&self, cells: Arc<TargetCells>, path: String, timeout: Duration) -> ProbeFuture {
        let snapshot = self.0.snapshot.load_full();
        let mut targets = snapshot.backends.iter().flat_map(|backend| &backend.targets);
        let target = targets.find(|target| target.cells.id == cells.id).cloned();
        Box::pin(async move {
            let target = target.ok_or("the target is not configured any more")?;
            let mut head = RequestHead::default();
            head.uri = path.parse().map_err(|_| format!("{path:?} is not a path"))?;
            head.headers.insert(header::HOST, target.host.clone());
            head.headers.insert(header::USER_AGENT, HeaderValue::from_static("aegis-health-check"));
            head.set_connection_type(actix_http::ConnectionType::Close);
            let dialer = Dialer::new(target.cells.clone(), target.tls.clone(), timeout);
            let pool = Pool::new(dialer, timeout);
            let exchange = Exchange::new(Asked::default(), None, Default::default());
            let sent = pool.send(RequestHeadType::Owned(head), exchange.clone()).await;
            let (head, _body) = sent.map_err(|error| phrase(&error, &exchange))?;
            match head.status.as_u16() {
                200..=399 => Ok(()),
                status => Err(format!("status {status}")),
            }
        })
    }
}

/// What went wrong, for an operator.
fn phrase(error: &SendRequestError, exchange: &Exchange) -> String {
    match exchange.violation.get() {
        Some(violation) => violation.to_string(),
        None => error.to_string(),
    }
}
