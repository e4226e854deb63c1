//! The pooled connections of one worker to one target, on awc's connector.
//!
//! One connector per worker and target: awc's pool is keyed by authority alone, so targets that resolve differently
//! must not share one, and its own limit would let one slow target starve the others. awc exports neither the type
//! of a finished connector nor that of a connection, so both live inside two closures here.

use std::rc::Rc;
use std::time::Duration;

use actix_http::body::None as NoBody;
use actix_http::h1::ClientPayloadCodec;
use actix_http::{Payload, RequestHeadType, ResponseHead};
use actix_service::Service;
use awc::error::SendRequestError;
use bytes::BytesMut;
use futures_core::future::LocalBoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use super::connector::Dialer;
use super::exchange::Exchange;
use super::slots::{POOL_IDLE, Slots};

/// How old a pooled connection may grow, so that a changed balance below a name is followed in the end.
const POOL_LIFETIME: Duration = Duration::from_secs(600);

/// A raw byte stream, both ways.
pub trait RawStream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> RawStream for T {}

/// What came of an offered upgrade.
pub enum Upgraded {
    /// 101: the connection belongs to the tunnel; the bytes arrived behind the head.
    Tunnel(Box<dyn RawStream>, BytesMut),
    /// Any other status, with its body.
    Refused(Payload),
}

type Sending = LocalBoxFuture<'static, Result<(ResponseHead, Payload), SendRequestError>>;
type Upgrading = LocalBoxFuture<'static, Result<(ResponseHead, Upgraded), SendRequestError>>;

/// See the module.
pub struct Pool {
    send: Box<dyn Fn(RequestHeadType, Rc<Exchange>) -> Sending>,
    upgrade: Box<dyn Fn(RequestHeadType, Rc<Exchange>) -> Upgrading>,
}

impl Pool {
    /// An empty pool above `dialer`; `timeout` covers opening one connection.
    pub fn new(dialer: Dialer, timeout: Duration) -> Self {
        dialer.opened().watch();
        let connector = Rc::new(
            awc::Connector::new()
                .connector(dialer)
                .timeout(timeout)
                .limit(0) // in-flight bounds are the gateway's own, per target over all workers
                .conn_keep_alive(POOL_IDLE)
                .conn_lifetime(POOL_LIFETIME)
                .finish(),
        );
        let slots = Rc::new(Slots::default());
        let connect = move |exchange: &Exchange| {
            let (uri, slot) = slots.take();
            exchange.slot.replace(Some(slot));
            connector.call(awc::Connect { uri, addr: None })
        };
        let send = {
            let connect = connect.clone();
            move |head, exchange: Rc<Exchange>| -> Sending {
                let connecting = connect(&exchange);
                Box::pin(async move {
                    let connection = connecting.await.map_err(SendRequestError::Connect)?;
                    exchange.connected.set(true);
                    // awc is told of no body: the transport sends it, and reads while it does.
                    exchange
                        .scope(connection.send_request::<NoBody, RequestHeadType>(head, NoBody::new()))
                        .await
                })
            }
        };
        let upgrade = move |head, exchange: Rc<Exchange>| -> Upgrading {
            let connecting = connect(&exchange);
            Box::pin(async move {
                let connection = connecting.await.map_err(SendRequestError::Connect)?;
                exchange.connected.set(true);
                let opening = connection.open_tunnel::<RequestHeadType>(head);
                let (head, framed) = exchange.scope(opening).await?;
                if head.status == actix_http::StatusCode::SWITCHING_PROTOCOLS {
                    let parts = framed.into_parts();
                    return Ok((head, Upgraded::Tunnel(Box::new(parts.io), parts.read_buf)));
                }
                let has_body = framed.codec_ref().message_type() != actix_http::h1::MessageType::None;
                if !has_body {
                    return Ok((head, Upgraded::Refused(Payload::None)));
                }
                let framed =
                    framed.into_map_codec(|codec| -> ClientPayloadCodec { codec.into_payload_codec() });
                Ok((
                    head,
                    Upgraded::Refused(Payload::Stream { payload: Box::pin(RefusedBody(Box::pin(framed))) }),
                ))
            })
        };
        Self { send: Box::new(send), upgrade: Box::new(upgrade) }
    }

    /// Sends one request and waits for the response head.
    ///
    /// # Errors
    /// awc's, with the facts that it leaves out in `exchange`.
    pub fn send(&self, head: RequestHeadType, exchange: Rc<Exchange>) -> Sending {
        (self.send)(head, exchange)
    }

    /// Sends a request that offers an upgrade and waits for the response head.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn upgrade(&self, head: RequestHeadType, exchange: Rc<Exchange>) -> Upgrading {
        (self.upgrade)(head, exchange)
    }
}

/// The body of an answer that refused the upgrade: its connection is dropped with it, never reused.
struct RefusedBody<S>(std::pin::Pin<Box<S>>);

impl<S> futures_core::Stream for RefusedBody<S>
where
    S: futures_core::Stream<Item = Result<Option<bytes::Bytes>, actix_http::error::PayloadError>>,
{
    type Item = Result<bytes::Bytes, actix_http::error::PayloadError>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx).map(|item| match item {
            Some(Ok(Some(bytes))) => Some(Ok(bytes)),
            Some(Ok(None)) | None => None,
            Some(Err(error)) => Some(Err(error)),
        })
    }
}
