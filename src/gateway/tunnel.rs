//! Upgrade tunnels: after a 101 the bytes go both ways as they come.
//!
//! A tunnel has both sockets to itself. It parses nothing but the borders of websocket frames, so that a close frame of the
//! gateway's own goes between two frames and never into one: 1001 at shutdown, 1008 where who has opened it may not go on
//! (RFC 6455 §7.4.1).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::sync::watch;

use super::authenticate::still_stands;
use super::balance::InFlight;
use super::deadline::{Deadline, saturating_deadline};
use super::record::RequestRecord;
use super::shared::Shared;
use super::snapshot::Meter;
use super::socket::Socket;

/// Bytes read at once.
const READ: usize = 16 * 1024;
/// After the gateway's close frame the peers have this long to close.
const CLOSING: Duration = Duration::from_secs(2);
/// How often it is looked whether who has opened a tunnel may go on.
const LOOK: Duration = Duration::from_secs(1);
/// A close frame of the gateway's: unmasked for the client, masked (with zeros) for the upstream.
struct Close {
    to_client: &'static [u8],
    to_upstream: &'static [u8],
}
/// "Going away".
const GOING_AWAY: Close =
    Close { to_client: &[0x88, 0x02, 0x03, 0xE9], to_upstream: &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE9] };
/// "Policy violation".
const POLICY: Close =
    Close { to_client: &[0x88, 0x02, 0x03, 0xF0], to_upstream: &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xF0] };

/// A tunnel that is to be run.
pub struct Tunnel {
    upstream: Socket,
    /// What the upstream has sent behind its 101.
    early: BytesMut,
    websocket: bool,
    idle: Duration,
    shared: Arc<Shared>,
    _counted: InFlight,
    meter: Option<Meter>,
    pub record: Box<RequestRecord>,
}

impl Tunnel {
    /// Between the client that will be given to [`Tunnel::run`] and `upstream`, of which `early` has been read.
    pub fn new(
        (upstream, early): (Socket, BytesMut),
        websocket: bool,
        idle: Duration,
        counted: InFlight,
        record: Box<RequestRecord>,
    ) -> Self {
        let shared = record.worker.shared.clone();
        shared.tunnels.fetch_add(1, Ordering::Relaxed);
        let meter = record.meter();
        Self { upstream, early, websocket, idle, shared, _counted: counted, meter, record }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.record.complete = true;
        self.shared.tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Tunnel {
    /// Passes bytes both ways until the upstream ends, the client is gone, nobody says anything for too long, or the
    /// gateway stops. `ahead` is what the client has sent already. Says whether the client's connection may end as if all
    /// had been said: where nothing but that end tells of it, a tunnel that was cut must not look like one.
    pub async fn run(&mut self, client: &mut Socket, ahead: BytesMut) -> bool {
        let mut stop = std::pin::pin!(stopped(self.shared.stop_tunnels.subscribe()));
        let mut down = Direction::new(std::mem::take(&mut self.early), self.websocket);
        let mut up = Direction::new(ahead, self.websocket);
        let mut look = self.record.principal.is_some().then(|| Deadline::at(Instant::now() + LOOK));
        let (mut active, mut idle, mut closing) = (Instant::now(), None, None);
        let ended = std::future::poll_fn(|cx| {
            let mut close = None;
            if closing.is_none() && stop.as_mut().poll(cx).is_ready() {
                close = Some(GOING_AWAY);
            }
            while closing.is_none() && look.as_mut().is_some_and(|look| look.poll_passed(cx).is_ready()) {
                look = Some(Deadline::at(Instant::now() + LOOK));
                if !still_stands(&self.record) {
                    (look, close) = (None, close.or(Some(POLICY)));
                }
            }
            if let Some(Close { to_client, to_upstream }) = close {
                closing = Some(Deadline::at(saturating_deadline(Instant::now(), CLOSING)));
                (down.close, up.close) = (Some(to_client), Some(to_upstream));
            }
            let moved = (down.moved, up.moved);
            // What the client still says behind its end, or the upstream behind the client's, ends nothing.
            let upwards = up.poll(cx, client, &mut self.upstream);
            let downwards = down.poll(cx, &mut self.upstream, client);
            if moved != (down.moved, up.moved) {
                self.record.sent(down.moved - moved.0);
                self.record.bytes_in += up.moved - moved.1;
                self.meter.iter().for_each(|meter| meter.count(up.moved - moved.1));
                (active, idle) = (Instant::now(), None);
            }
            if let Poll::Ready(end) = downwards {
                return Poll::Ready(end.is_ok());
            }
            if matches!(upwards, Poll::Ready(Err(_))) {
                return Poll::Ready(false);
            }
            if closing.as_mut().is_some_and(|closing| closing.poll_passed(cx).is_ready()) {
                return Poll::Ready(false);
            }
            idle.get_or_insert_with(|| Deadline::at(saturating_deadline(active, self.idle)))
                .poll_passed(cx)
                .map(|()| false)
        })
        .await;
        // Websockets say themselves where they end.
        let ended = ended || self.websocket;
        if !ended {
            let _ = self.upstream.tcp().set_zero_linger();
        }
        ended
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the gateway itself is gone.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// One direction of a tunnel.
struct Direction {
    /// Read and not written yet.
    pending: BytesMut,
    moved: u64,
    /// Borders, for websockets only.
    frames: Option<Frames>,
    /// To go out between two frames.
    close: Option<&'static [u8]>,
    closed: bool,
    /// Nothing more comes.
    ended: bool,
}

impl Direction {
    fn new(first: BytesMut, websocket: bool) -> Self {
        let mut frames = websocket.then(Frames::default);
        frames.iter_mut().for_each(|frames| frames.scan(&first));
        Self { pending: first, moved: 0, frames, close: None, closed: false, ended: false }
    }

    /// Passes on what there is. `Ready` once `from` has ended and all is written, or something broke.
    fn poll(&mut self, cx: &mut Context<'_>, from: &mut Socket, to: &mut Socket) -> Poll<io::Result<()>> {
        loop {
            while !self.pending.is_empty() {
                let n = ready!(Pin::new(&mut *to).poll_write(cx, &self.pending))?;
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.pending.advance(n);
                self.moved += n as u64;
            }
            ready!(Pin::new(&mut *to).poll_flush(cx))?;
            if let Some(close) = self.close.take_if(|_| self.frames.as_ref().is_some_and(Frames::at_border)) {
                self.closed = true;
                self.pending.extend_from_slice(close);
                continue;
            }
            if self.ended {
                return Pin::new(&mut *to).poll_shutdown(cx);
            }
            let mut space = [0; READ];
            let mut buf = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut *from).poll_read(cx, &mut buf))?;
            self.ended = buf.filled().is_empty();
            // Behind the gateway's close frame nothing may follow (RFC 6455 §5.5.1).
            if !self.closed {
                self.frames.iter_mut().for_each(|frames| frames.scan(buf.filled()));
                self.pending.extend_from_slice(buf.filled());
            }
        }
    }
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
