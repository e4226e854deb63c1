//! The stream below actix-http; see the module above.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

use super::inbound::Inbound;
use super::insert::Insert;
use super::state::{ConnState, Phase};
use crate::gateway::answer::{self, Cause};
use crate::gateway::worker;

/// How long a client that has closed its sending side may wait for an answer. A plain close looks the same until
/// something is written, so a client that went away holds its upstream request no longer than this.
pub(super) const HALF_CLOSED: Duration = Duration::from_secs(1);
/// How long, and how much, is still read from a client whose connection is being closed.
pub(super) const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// Plain or TLS socket.
pub enum ClientSocket {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl ClientSocket {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(io) => io,
            Self::Tls(io) => io.get_ref().0,
        }
    }
}

macro_rules! each {
    ($self:ident, $io:ident => $call:expr) => {
        match $self.get_mut() {
            ClientSocket::Tcp($io) => $call,
            ClientSocket::Tls($io) => $call,
        }
    };
}

impl AsyncRead for ClientSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write(cx, buf))
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_flush(cx))
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write_vectored(cx, bufs))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_shutdown(cx))
    }
}

/// What actix-http reads from and writes to.
pub struct ClientStream {
    /// `None` only while it is being dropped.
    socket: Option<ClientSocket>,
    /// Shared with the requests.
    pub state: Rc<ConnState>,
    /// One timer per connection, moved rarely: it rings at least once per `Limits::shortest` and then looks what is due.
    pub(super) alarm: Pin<Box<Sleep>>,
    /// The alarm has been polled since it was last moved.
    pub(super) alarm_set: bool,
    /// The alarm has been moved for the end of the connection.
    hurried: bool,
    write_stalled: Option<Instant>,
    pub(super) half_closed: Option<Instant>,
    /// Something has been written since, and whether that has shown that the client still reads.
    written_since: bool,
    still_reads: bool,
    pub(super) seen_bytes: bool,
    /// The request that actix is given.
    pub(super) inbound: Inbound,
    /// What has arrived behind it.
    pub(super) ahead: BytesMut,
    /// An answer of our own that replaces actix's, and how much of it is out.
    replacement: Option<(Vec<u8>, usize)>,
    /// On HTTP/2: after so many requests all answers were out.
    flushed: Option<u32>,
    /// Lines that are not out yet.
    insert: Option<Insert>,
    /// A head that goes out together with what the pump writes.
    pub(super) held: Vec<u8>,
}

impl ClientStream {
    /// Wraps an accepted socket.
    pub fn new(socket: ClientSocket, state: Rc<ConnState>) -> Self {
        let alarm = Box::pin(tokio::time::sleep(state.limits.shortest()));
        Self {
            socket: Some(socket),
            state,
            alarm,
            alarm_set: false,
            hurried: false,
            write_stalled: None,
            half_closed: None,
            written_since: false,
            still_reads: false,
            seen_bytes: false,
            inbound: Inbound::default(),
            ahead: BytesMut::new(),
            replacement: None,
            flushed: None,
            insert: None,
            held: Vec::new(),
        }
    }

    pub(super) fn socket(&mut self) -> Pin<&mut ClientSocket> {
        // The socket leaves only in `drop`.
        #[expect(clippy::expect_used, reason = "an invariant of this file")]
        Pin::new(self.socket.as_mut().expect("the socket is there until drop"))
    }

    /// When the connection must be looked at, and whether that moment ends it.
    fn due(&self) -> (Instant, Expiry) {
        if let Some(since) = self.write_stalled {
            return (since + self.state.write_limit.get(), Expiry::Stalled);
        }
        if let Some(since) = self.half_closed.filter(|_| !self.still_reads) {
            return (since + HALF_CLOSED, Expiry::HalfClosed);
        }
        let limits = self.state.limits;
        match self.state.phase.get() {
            // What follows the last answer is the rest of a body that nobody reads.
            Phase::Head(since) | Phase::Idle(since) if self.state.closes_since().is_some() => {
                (since + LINGER, Expiry::Idle)
            }
            // On HTTP/2 bytes between requests are frames of the connection, not the start of a head.
            Phase::Head(since) if self.state.http2 => (since + limits.keep_alive, Expiry::Idle),
            Phase::Head(since) => (since + limits.head, Expiry::Head),
            // Until its first byte a connection has the time of a head, afterwards that of keep-alive.
            Phase::Idle(since) if !self.seen_bytes => (since + limits.head, Expiry::Silent),
            Phase::Idle(since) => (since + limits.keep_alive, Expiry::Idle),
            Phase::Busy => (Instant::now() + limits.head, Expiry::None),
        }
    }

    /// Notes whether the client took what was written; an error when it has taken nothing for too long.
    pub(super) fn wrote(&mut self, cx: &mut Context<'_>, blocked: bool) -> io::Result<()> {
        if !blocked {
            self.write_stalled = None;
            self.written_since |= self.half_closed.is_some();
            return Ok(());
        }
        if self.write_stalled.is_none() {
            self.write_stalled = Some(Instant::now());
            let at = Instant::now() + self.state.write_limit.get();
            if self.alarm.deadline() > at.into() {
                self.alarm.as_mut().reset(at.into());
                self.alarm_set = false;
            }
        }
        match self.poll_alarm(cx) {
            Poll::Ready(error) => Err(error),
            Poll::Pending => Ok(()),
        }
    }

    /// Looks at the clock when the alarm rings. An error ends the connection.
    pub(super) fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.has_drained() && self.flushed == Some(self.state.begun()) {
            return Poll::Ready(io::ErrorKind::TimedOut.into());
        }
        // What follows the last answer has less time than the alarm may have been set to.
        if self.state.closes_since().is_some() && !self.hurried && self.state.phase.get() != Phase::Busy {
            self.hurried = true;
            let at = Instant::now() + LINGER;
            if self.alarm.deadline() > at.into() {
                self.alarm.as_mut().reset(at.into());
                self.alarm_set = false;
            }
        }
        // Set once, it wakes this connection's task by itself; nothing has to be asked until it rings.
        if self.alarm_set && !self.alarm.is_elapsed() {
            return Poll::Pending;
        }
        self.alarm_set = true;
        while self.alarm.as_mut().poll(cx).is_ready() {
            let (due, expiry) = self.due();
            let now = Instant::now();
            if expiry == Expiry::HalfClosed && due <= now && self.written_since && self.has_no_error() {
                // A socket that nobody holds any more would have answered the write with a reset.
                self.still_reads = true;
                continue;
            }
            if due <= now && expiry != Expiry::None {
                match expiry {
                    Expiry::Head => self.answer_timeout(),
                    Expiry::Stalled | Expiry::HalfClosed => self.state.abort(),
                    _ => {}
                }
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            // Not later than the shortest limit, so that what begins meanwhile, a head or a pause, is cut in time.
            let next = due.min(now + self.state.limits.shortest());
            self.alarm.as_mut().reset(next.max(now + Duration::from_millis(1)).into());
        }
        Poll::Pending
    }

    /// Whether an HTTP/2 connection that takes no more requests has none left: the first moment is taken, for others may come
    /// and be refused all the time.
    fn has_drained(&self) -> bool {
        self.state.http2
            && self.state.phase.get() != Phase::Busy
            && self.state.closes_since().is_some_and(|since| since.elapsed() > LINGER)
    }

    fn has_no_error(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| matches!(socket.tcp().take_error(), Ok(None)))
    }

    /// 400 to a client that ends lines with a bare line feed.
    pub(super) fn refuse_line_ends(&mut self) -> io::Error {
        self.answer_directly(Cause::BadRequest("A line of the request head does not end in CRLF."));
        io::ErrorKind::InvalidData.into()
    }

    /// 408 to a client whose head did not arrive; best effort, the connection ends behind it.
    fn answer_timeout(&mut self) {
        self.answer_directly(Cause::HeaderTimeout);
    }

    /// An answer past actix, which does not know of the request; the connection ends behind it.
    fn answer_directly(&mut self, cause: Cause) {
        let id = worker::request_id();
        let bytes = answer::raw(cause, &id);
        worker::log_refused(&self.state, cause, &id);
        self.state.linger.set(true);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let _ = self.socket().poll_write(&mut cx, &bytes);
    }

    /// actix's own answer to a head that it could not parse is an empty 400 or 431: a problem document goes out
    /// instead. Recognised by its exact form, where nothing of a handler's answer is on its way: an upstream's may look
    /// the same, and so may the end of a body.
    fn replace(&mut self, head: &[u8]) -> bool {
        if !self.state.has_written_all() || !head.ends_with(b" GMT\r\n\r\n") {
            return false;
        }
        if !head.starts_with(b"HTTP/1.1 4") && !head.starts_with(b"HTTP/1.0 4") {
            return false;
        }
        // What it says of the connection goes by the request before: nothing behind one that was to be kept alive.
        const CONNECTION: [&[u8]; 3] = [b"", b"connection: close\r\n", b"connection: keep-alive\r\n"];
        let Some(line_end) = memchr::memchr(b'\r', head) else { return false };
        let Some(fields) = head[line_end..].strip_prefix(b"\r\ncontent-length: 0\r\n") else { return false };
        let is_bare = |connection: &&[u8]| {
            let date = fields.strip_prefix(*connection).and_then(|rest| rest.strip_prefix(b"date: "));
            date.is_some_and(|date| date.len() == 29 + 4)
        };
        if !CONNECTION.iter().any(is_bare) {
            return false;
        }
        let cause = match &head[9..12] {
            b"400" => {
                Cause::BadRequest("The request head is not valid HTTP/1.1, or its framing is ambiguous.")
            }
            b"431" => Cause::HeadTooLarge,
            _ => return false,
        };
        let id = worker::request_id();
        worker::log_refused(&self.state, cause, &id);
        self.replacement = Some((answer::raw(cause, &id), 0));
        self.state.linger.set(true);
        true
    }

    /// Keeps what the pump writes with its first bytes.
    fn hold(&mut self, bytes: &[u8]) {
        let insert = self.insert.take();
        match insert {
            Some(insert) => insert.around(bytes).iter().for_each(|part| self.held.extend_from_slice(part)),
            None => self.held.extend_from_slice(bytes),
        }
    }

    /// Writes some of `buf`, and what is to be inserted into it. Answers how much of `buf` is out.
    fn poll_write_out(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> io::Result<Poll<usize>> {
        while let Some(mut insert) = self.insert.take() {
            let written = self.socket().poll_write_vectored(cx, &insert.around(buf));
            let blocked = written.is_pending();
            let of_buf = match written {
                Poll::Ready(Ok(0)) => return Ok(Poll::Ready(0)),
                Poll::Ready(written) => Some(insert.wrote(written?)),
                Poll::Pending => None,
            };
            self.insert = Some(insert).filter(|insert| !insert.is_out());
            self.wrote(cx, blocked)?;
            match of_buf {
                // Lines only: of what actix wants to be written nothing is out yet.
                Some(0) => {}
                Some(of_buf) => return Ok(Poll::Ready(of_buf)),
                None => return Ok(Poll::Pending),
            }
        }
        let written = self.socket().poll_write(cx, buf);
        self.wrote(cx, written.is_pending())?;
        Ok(match written {
            Poll::Ready(written) => Poll::Ready(written?),
            Poll::Pending => Poll::Pending,
        })
    }

    fn poll_replacement(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((bytes, from)) = &mut self.replacement {
            let Some(socket) = &mut self.socket else { return Poll::Ready(Ok(())) };
            match Pin::new(socket).poll_write(cx, &bytes[*from..])? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(n) => *from += n,
                Poll::Pending => return Poll::Pending,
            }
            if *from == bytes.len() {
                self.replacement = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// What an alarm may find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry {
    None,
    Head,
    Silent,
    Idle,
    Stalled,
    HalfClosed,
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.poll_replacement(cx)?.is_pending() {
            return Poll::Pending;
        }
        let lines = this.state.take_lines();
        if !lines.is_empty() {
            this.insert = Some(Insert::behind_first_line(buf, lines));
        }
        let written = if !this.state.http2 && this.replace(buf) {
            let _ = this.poll_replacement(cx)?;
            Poll::Ready(buf.len())
        } else if this.state.pump.borrow().is_some() {
            this.hold(buf);
            this.state.head_written();
            Poll::Ready(buf.len())
        } else {
            this.poll_write_out(cx, buf)?
        };
        if written == Poll::Ready(buf.len()) {
            this.state.all_written();
        }
        written.map(Ok)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.poll_replacement(cx)?.is_pending() {
            return Poll::Pending;
        }
        let pumped = this.poll_pump(cx)?;
        ready!(this.socket().poll_flush(cx))?;
        if this.has_drained() && this.flushed != Some(this.state.begun()) {
            // The next read is the end, unless another request has come.
            this.flushed = Some(this.state.begun());
            cx.waker().wake_by_ref();
        }
        pumped.map(Ok)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.poll_replacement(cx)?.is_pending() {
            return Poll::Pending;
        }
        this.socket().poll_shutdown(cx)
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        self.state.set_gone();
        let Some(socket) = self.socket.take() else { return };
        if self.state.abort.get() {
            // A FIN would be a clean end to a body that is delimited by close (RFC 9112 §8).
            let _ = socket.tcp().set_zero_linger();
        } else if self.state.linger.get() && tokio::runtime::Handle::try_current().is_ok() {
            actix_rt::spawn(linger(socket));
        }
    }
}

/// Closing a socket with unread data in it sends a reset that can overtake the answer (RFC 9112 §9.6).
async fn linger(mut socket: ClientSocket) {
    let drain = async {
        let _ = socket.shutdown().await;
        let mut buf = vec![0; 16 * 1024];
        let mut left = LINGER_BYTES;
        while let Ok(n @ 1..) = socket.read(&mut buf).await {
            left = left.saturating_sub(n);
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, drain).await;
}
