//! Upgrade tunnels: after a 101 the bytes go both ways as they come.
//!
//! The way to the client is the response body; the way to the upstream is a task of its own. The tunnel parses
//! nothing but the borders of websocket frames, so that at shutdown a close frame (1001, RFC 6455 §7.4.1) goes between
//! two frames and never into one.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_http::body::{BodySize, BoxBody, MessageBody};
use actix_http::{ConnectionType, Payload};
use actix_web::HttpResponse;
use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use futures_util::StreamExt as _;
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::watch;

use super::arrival::Upgrade;
use super::balance::InFlight;
use super::deadline::Deadline;
use super::downstream::ConnState;
use super::forward::{Answered, AnsweredBody};
use super::record::RequestRecord;
use super::shared::Shared;
use super::snapshot::Backend;
use super::upstream::{RawStream, Upgraded};
use super::worker::after;
use super::{Request, headers, response};

/// Bytes read from the upstream at once.
const READ: usize = 16 * 1024;
/// After the gateway's close frame the peers have this long to close.
const CLOSING: Duration = Duration::from_secs(2);
/// Close, status 1001 "going away": unmasked for the client, masked (with zeros) for the upstream.
const CLOSE_TO_CLIENT: &[u8] = &[0x88, 0x02, 0x03, 0xE9];
const CLOSE_TO_UPSTREAM: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE9];

/// Answers 101 and starts the tunnel.
pub fn open(mut request: Box<Request>, backend: &Backend, answered: Answered) -> HttpResponse {
    let Answered { mut head, body, in_flight, .. } = answered;
    let AnsweredBody::Upgraded(Upgraded::Tunnel(stream, early)) = body else {
        return response::internal_error(&request.record.request_id.to_value());
    };
    let mut fields = std::mem::take(&mut head.headers);
    let via = headers::to_client(&mut fields, true, request.quota.is_some());
    response::add_own(&request, via, &mut fields);
    request.record.status = head.status.as_u16();
    let websocket = request.arrival.upgrade == Some(Upgrade::WebSocket);
    let client = if websocket {
        ClientBytes::Payload(std::mem::replace(&mut request.arrival.payload, Payload::None))
    } else {
        ClientBytes::Taken(request.connection.take_over())
    };
    let (read, write) = tokio::io::split(stream);
    let activity = Rc::new(Cell::new(Instant::now()));
    let stop = request.worker.shared.stop_tunnels.subscribe();
    let pump = actix_rt::spawn(pump(client, write, activity.clone(), stop.clone(), websocket));
    request.worker.shared.tunnels.fetch_add(1, Ordering::Relaxed);
    let tunnel = Tunnel {
        read,
        early,
        frames: websocket.then(Frames::default),
        idle: backend.settings.idle_timeout,
        activity,
        deadline: None,
        stop: Some(Box::pin(stopped(stop))),
        closing: None,
        pump: pump.abort_handle(),
        connection: request.connection.clone(),
        shared: request.worker.shared.clone(),
        _in_flight: in_flight,
        record: request.record,
    };
    let mut response = HttpResponse::with_body(head.status, BoxBody::new(tunnel));
    *response.headers_mut() = fields;
    response.head_mut().no_chunking(true);
    response.head_mut().set_connection_type(ConnectionType::Upgrade);
    response
}

/// The upstream's side of the tunnel, read by the client's connection.
struct Tunnel {
    read: ReadHalf<Box<dyn RawStream>>,
    early: BytesMut,
    /// Frame borders, for websockets only.
    frames: Option<Frames>,
    idle: Duration,
    /// Last byte either way.
    activity: Rc<Cell<Instant>>,
    deadline: Option<Deadline>,
    stop: Option<Pin<Box<dyn Future<Output = ()>>>>,
    closing: Option<Deadline>,
    pump: tokio::task::AbortHandle,
    connection: Rc<ConnState>,
    shared: Arc<Shared>,
    _in_flight: Option<InFlight>,
    record: Box<RequestRecord>,
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the gateway itself is gone.
    let _ = stop.wait_for(|stop| *stop).await;
}

impl Tunnel {
    /// Looks for the stop signal; `Ready(bytes)` is what must go to the client because of it.
    fn poll_stop(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        if let Some(stop) = &mut self.stop {
            if stop.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.stop = None;
        }
        if self.closing.is_some() || self.frames.as_ref().is_some_and(|frames| !frames.at_border()) {
            return Poll::Pending;
        }
        self.closing = Some(Deadline::at(after(Instant::now(), CLOSING)));
        Poll::Ready(Bytes::from_static(if self.frames.is_some() { CLOSE_TO_CLIENT } else { b"" }))
    }

    fn pass(&mut self, bytes: Bytes) -> Bytes {
        self.activity.set(Instant::now());
        self.record.bytes_out += bytes.len() as u64;
        if let Some(frames) = &mut self.frames {
            frames.scan(&bytes);
        }
        bytes
    }

    /// Whether neither side has said anything for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let due = after(self.activity.get(), self.idle);
            let deadline = self.deadline.get_or_insert_with(|| Deadline::at(due));
            if deadline.poll_passed(cx).is_pending() {
                return Poll::Pending;
            }
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            self.deadline = None;
        }
    }

    fn end(&mut self) -> Poll<Option<Result<Bytes, std::convert::Infallible>>> {
        self.record.complete = true;
        self.connection.close_now();
        Poll::Ready(None)
    }
}

impl MessageBody for Tunnel {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        if !this.early.is_empty() {
            let bytes = this.early.split().freeze();
            return Poll::Ready(Some(Ok(this.pass(bytes))));
        }
        if let Poll::Ready(bytes) = this.poll_stop(cx)
            && !bytes.is_empty()
        {
            return Poll::Ready(Some(Ok(bytes)));
        }
        if this.closing.as_mut().is_some_and(|closing| closing.poll_passed(cx).is_ready()) {
            return this.end();
        }
        let mut space = BytesMut::zeroed(READ);
        let mut buf = ReadBuf::new(&mut space);
        match Pin::new(&mut this.read).poll_read(cx, &mut buf) {
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                let n = buf.filled().len();
                space.truncate(n);
                let bytes = this.pass(space.freeze());
                // Behind the gateway's close frame nothing may follow (RFC 6455 §5.5.1).
                if this.closing.is_some() && this.frames.is_some() {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(bytes)))
            }
            Poll::Ready(_) => this.end(),
            Poll::Pending if this.poll_idle(cx).is_ready() => this.end(),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.pump.abort();
        self.record.complete = true;
        self.shared.tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where the client's bytes come from.
enum ClientBytes {
    Payload(Payload),
    Taken(super::downstream::TakenOver),
}

impl Stream for ClientBytes {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match self.get_mut() {
            Self::Payload(payload) => Pin::new(payload).poll_next(cx).map(|item| item.and_then(Result::ok)),
            Self::Taken(taken) => taken.poll_next(cx),
        }
    }
}

/// The client's side of the tunnel, written to the upstream.
async fn pump(
    mut client: ClientBytes,
    mut write: WriteHalf<Box<dyn RawStream>>,
    activity: Rc<Cell<Instant>>,
    stop: watch::Receiver<bool>,
    websocket: bool,
) {
    let mut frames = Frames::default();
    let mut stop = std::pin::pin!(stopped(stop));
    let mut stopping = false;
    loop {
        if stopping && websocket && frames.at_border() {
            // Nothing may follow a close frame, so what the client still says is read and dropped.
            let _ = write.write_all(CLOSE_TO_UPSTREAM).await;
            let _ = write.flush().await;
            while client.next().await.is_some() {}
            return;
        }
        tokio::select! {
            biased;
            () = &mut stop, if !stopping => stopping = true,
            bytes = client.next() => {
                let Some(bytes) = bytes else { break };
                activity.set(Instant::now());
                frames.scan(&bytes);
                if write.write_all(&bytes).await.is_err() || write.flush().await.is_err() {
                    return;
                }
            }
        }
    }
    // The client is done or gone; the upstream may still have something to say.
    let _ = write.shutdown().await;
}

/// Follows the borders of websocket frames (RFC 6455 §5.2) without looking at what is inside.
#[derive(Clone, Debug, Default)]
struct Frames {
    head: [u8; 14],
    have: usize,
    left: u64,
}

impl Frames {
    /// Whether the last byte seen ended a frame.
    fn at_border(&self) -> bool {
        self.have == 0 && self.left == 0
    }

    fn scan(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let n = self.left.min(bytes.len() as u64);
                self.left -= n;
                bytes = &bytes[n as usize..];
                continue;
            }
            self.head[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if let Some(payload) = self.payload() {
                self.left = payload;
                self.have = 0;
            }
        }
    }

    /// The payload length once the frame's head is complete.
    fn payload(&self) -> Option<u64> {
        if self.have < 2 {
            return None;
        }
        let mask = if self.head[1] & 0x80 != 0 { 4 } else { 0 };
        let (extra, length) = match self.head[1] & 0x7f {
            126 => (2, u64::from(u16::from_be_bytes([self.head[2], self.head[3]]))),
            127 => {
                let mut eight = [0; 8];
                eight.copy_from_slice(&self.head[2..10]);
                (8, u64::from_be_bytes(eight))
            }
            short => (0, u64::from(short)),
        };
        (self.have == 2 + extra + mask).then_some(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: usize, masked: bool) -> Vec<u8> {
        let bit = if masked { 0x80 } else { 0 };
        let mut out = vec![0x82];
        match payload {
            0..=125 => out.push(bit | payload as u8),
            126..=65535 => {
                out.push(bit | 126);
                out.extend((payload as u16).to_be_bytes());
            }
            _ => {
                out.push(bit | 127);
                out.extend((payload as u64).to_be_bytes());
            }
        }
        out.extend(vec![0; if masked { 4 } else { 0 } + payload]);
        out
    }

    #[test]
    fn a_border_is_seen_behind_every_frame_and_nowhere_else() {
        for payload in [0, 1, 125, 126, 65535, 65536] {
            for masked in [false, true] {
                let bytes = frame(payload, masked);
                let mut frames = Frames::default();
                for (i, byte) in bytes.iter().enumerate() {
                    assert_eq!(frames.at_border(), i == 0, "{payload} {masked} at {i}");
                    frames.scan(std::slice::from_ref(byte));
                }
                assert!(frames.at_border());
                frames.scan(&bytes);
                frames.scan(&bytes);
                assert!(frames.at_border());
            }
        }
    }
}
