//! The pooled connections of one worker to one target, on awc's connector.
//!
//! One connector per worker and target: awc's pool is keyed by authority alone, so targets that resolve differently
//! must not share one, and its own limit would let one slow target starve the others. awc exports neither the type
//! of a finished connector nor that of a connection, so both live inside a closure here.

use std::rc::Rc;
use std::time::Duration;

use actix_http::RequestHeadType;
use actix_http::body::None as NoBody;
use actix_service::Service;
use awc::error::{ConnectError, SendRequestError};
use futures_core::future::LocalBoxFuture;

use super::body::Body;
use super::connector::Dialer;
use super::exchange::Exchange;
use super::framing::Head;
use super::pool_keys::{Owner, PoolKeys};

/// awc closes no connection for its age or idle time: the transport decides which can be used.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

type Sending = LocalBoxFuture<'static, Result<(Head, Body), SendRequestError>>;

/// See the module.
pub struct Pool {
    keys: Rc<PoolKeys>,
    send: Box<dyn Fn(Rc<Exchange>) -> Sending>,
}

impl Pool {
    /// An empty pool above `dialer`.
    pub fn new(dialer: Dialer) -> Self {
        dialer.opened().watch(dialer.terms().idle);
        let connector = awc::Connector::new()
            .connector(dialer)
            .timeout(FOREVER) // the dialer has its own
            .limit(0) // in-flight bounds are the gateway's own, per target over all workers
            .conn_keep_alive(FOREVER)
            .conn_lifetime(FOREVER)
            .finish();
        let keys = Rc::<PoolKeys>::default();
        let filled_from = keys.clone();
        // The transport knows what to send.
        let empty = Rc::default();
        let send = move |exchange: Rc<Exchange>| -> Sending {
            let uri = exchange.key.fill(&filled_from);
            let connecting = connector.call(awc::Connect { uri, addr: None });
            let head = RequestHeadType::Rc(Rc::clone(&empty), None);
            Box::pin(async move {
                let connection = connecting.await.map_err(SendRequestError::Connect)?;
                exchange.connected.set(true);
                exchange.scope(connection.send_request(head, NoBody::new())).await?;
                exchange.answer.take().ok_or(SendRequestError::Connect(ConnectError::Disconnected))
            })
        };
        Self { keys, send: Box::new(send) }
    }

    /// Whether one of its connections is this client's alone.
    pub fn is_owned(&self, (owner, client): &Owner) -> bool {
        owner.has(&self.keys, *client)
    }

    /// Sends one request and waits for the response head.
    ///
    /// # Errors
    /// awc's, with the facts that it leaves out in `exchange`.
    pub fn send(&self, exchange: Rc<Exchange>) -> Sending {
        (self.send)(exchange)
    }
}
