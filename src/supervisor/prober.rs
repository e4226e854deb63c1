//! How a health check asks: one GET on a connection of its own, with the backend's TLS.

use std::rc::Rc;
use std::sync::Arc;

use aegis_actors::TargetState;
use aegis_actors::health_check::{ProbeFuture, Prober, ProberFactory, Settings};

use crate::gateway::shared::Shared;
use crate::gateway::upstream::{Asked, Dialer, Exchange, Pool, RequestLines, Terms, why};

/// Probes the gateway's targets.
pub struct GatewayProber(Arc<Shared>);

impl GatewayProber {
    /// Makes one on the health actor's thread.
    pub fn factory(shared: Arc<Shared>) -> ProberFactory {
        Box::new(move || Box::new(Self(shared)))
    }
}

impl Prober for GatewayProber {
    fn probe(&self, shared: Arc<TargetState>, check: Settings) -> ProbeFuture {
        let snapshot = self.0.snapshot.load_full();
        let mut targets = snapshot.backends.iter().flat_map(|backend| &backend.targets);
        let target = targets.find(|target| target.shared.id == shared.id).cloned();
        Box::pin(async move {
            let target = target.ok_or("the target is not configured any more")?;
            let mut lines = RequestLines::new("GET", &check.path, 64);
            lines.fields().extend_from_slice(b"User-Agent: aegis-health-check\r\nConnection: close\r\n");
            let terms = Terms { port: check.port, connect_timeout: check.timeout, ..target.terms };
            let pool = Pool::new(Dialer::new(target.shared.clone(), target.tls.clone(), terms));
            let host = Rc::from(&*target.host);
            let exchange = Exchange::new(Asked::default(), Rc::new(lines), host, None);
            let outcome = match pool.send(exchange.clone()).await {
                Err(error) => Err(why(&error, &exchange)),
                Ok((head, _body)) => match head.status.as_u16() {
                    200..=399 => Ok(()),
                    status => Err(format!("status {status}")),
                },
            };
            // The target is known by the port that serves.
            outcome.map_err(|why| check.port.map_or(why.clone(), |port| format!("at port {port}: {why}")))
        })
    }
}
