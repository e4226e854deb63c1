//! One HTTP/1 connection, from its first byte to its last.
//!
//! A connection waits for a request without holding a buffer; then a request is read, served and answered by one function,
//! whose local variables are all that is known of it. Where a request ends is asked of [`Client`] alone: a connection that
//! is not at that end behind an answer has said that it closes, and does.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_http::Version;
use actix_server::GracefulShutdownSignal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Sleep;

use super::client::Client;
use super::decode::{HeadEnd, blank, decode};
use super::encode::{Outgoing, Persistence};
use super::{Limits, admission};
use crate::config::settings::HeadBounds;
use crate::gateway::answer::Cause;
use crate::gateway::deadline::{saturating_deadline, timeout_at};
use crate::gateway::relayed::Step;
use crate::gateway::request::Request;
use crate::gateway::request_context::request_id;
use crate::gateway::request_parts::RequestParts;
use crate::gateway::response::{self, Content, Response};
use crate::gateway::serve;
use crate::gateway::socket::Socket;
use crate::gateway::unread::{self, Unread};
use crate::gateway::worker::Worker;

/// HTTP/2's connection preface as far as it looks like a request (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";
/// How long, and how much, is still read from a client whose connection is being closed: closing a socket with unread data
/// in it sends a reset that can overtake the answer (RFC 9112 §9.6).
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// The largest body that is allowed where nothing else is configured, and what is under way.
pub(super) const LINGER_BYTES: usize = 16 * 1024 * 1024;
/// How long a connection without a request may outlive the stop: what it sends may be on its way.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// How a connection goes on behind a request.
enum Next {
    Request,
    /// Not at all, and the client is told by an orderly end.
    Close,
    /// Not at all, and what broke off must not look like an end.
    Reset,
    /// It was never one of HTTP/1.
    Http2,
}

/// Serves the connection until it ends; `true` where it speaks HTTP/2, and nothing of it has been used.
pub async fn connection(
    worker: Rc<Worker>,
    client: &Rc<Client>,
    limits: Limits,
    stop: GracefulShutdownSignal,
) -> bool {
    let mut wait = Wait::new(limits.head, stop);
    let mut first = true;
    while wait.request(client, &worker).await {
        // Boxed for each request, so that an idle connection does not hold the room for one.
        match Box::pin(exchange(&worker, client, limits, wait.since, first)).await {
            Next::Request => wait.begin(limits.keep_alive),
            Next::Http2 => return true,
            Next::Reset => {
                reset(client);
                break;
            }
            Next::Close => {
                if let Some((socket, _)) = client.take() {
                    Box::pin(linger(socket)).await;
                }
                break;
            }
        }
        first = false;
    }
    if let Some((mut socket, _)) = client.take() {
        // Under TLS an end without a word could be an attack (RFC 8446 §6.1).
        let _ = Box::pin(tokio::time::timeout(LINGER, socket.shutdown())).await;
    }
    false
}

/// The end of a stop for who has no request.
pub async fn stopped(stop: GracefulShutdownSignal) {
    stop.notified().await;
    tokio::time::sleep(LAST_WORDS).await;
}

/// Waiting for a request.
struct Wait {
    /// One timer for all waits of a connection, moved when it rings.
    alarm: Pin<Box<Sleep>>,
    since: Instant,
    limit: Duration,
    /// The end of a stop, which wakes the connection's task once it has been polled.
    stopped: Pin<Box<dyn Future<Output = ()>>>,
    told: bool,
}

impl Wait {
    fn new(limit: Duration, stop: GracefulShutdownSignal) -> Self {
        let alarm = Box::pin(tokio::time::sleep(limit));
        Self { alarm, since: Instant::now(), limit, stopped: Box::pin(stopped(stop)), told: false }
    }

    fn begin(&mut self, limit: Duration) {
        (self.since, self.limit) = (Instant::now(), limit);
        let due = saturating_deadline(self.since, limit).into();
        if self.alarm.deadline() > due {
            self.alarm.as_mut().reset(due);
        }
    }

    /// Waits until bytes of a request are there. `false`: none will come, or not in time.
    async fn request(&mut self, client: &Client, worker: &Worker) -> bool {
        loop {
            if !std::future::poll_fn(|cx| self.poll_bytes(client, worker, cx)).await {
                return false;
            }
            admission::admitted().await;
            if has_begun(client) {
                return true;
            }
            if saturating_deadline(self.since, self.limit) <= Instant::now() {
                // A client that sends nothing but line ends gets no more time for it.
                return false;
            }
            let filled = std::future::poll_fn(|cx| match client.poll_fill(cx) {
                Poll::Pending => Poll::Ready(None),
                Poll::Ready(filled) => Poll::Ready(Some(filled)),
            });
            match filled.await {
                Some(Ok(true)) if has_begun(client) => return true,
                Some(Ok(true)) | None => {}
                Some(Ok(false) | Err(_)) => return false,
            }
        }
    }

    /// Whether bytes may be there; `false` where they are not waited for any longer.
    fn poll_bytes(&mut self, client: &Client, worker: &Worker, cx: &mut Context<'_>) -> Poll<bool> {
        if has_begun(client) || client.poll_readable(cx).is_ready() {
            return Poll::Ready(true);
        }
        while self.alarm.as_mut().poll(cx).is_ready() {
            let due = saturating_deadline(self.since, self.limit);
            if due <= Instant::now() {
                return Poll::Ready(false);
            }
            self.alarm.as_mut().reset(due.into());
        }
        // Asked once, it wakes this task by itself.
        if self.told && !worker.shared.is_draining() {
            return Poll::Pending;
        }
        self.told = true;
        self.stopped.as_mut().poll(cx).map(|()| false)
    }
}

/// Whether bytes of a request are there. Line ends in front of one begin none (RFC 9112 §2.2), and are dropped.
fn has_begun(client: &Client) -> bool {
    client.consume(client.ahead(blank));
    client.ahead(|bytes| !bytes.is_empty() && bytes != b"\r")
}

/// Reads one request, serves it and writes its answer. `since` the wait for it began; the first bytes of it are there.
async fn exchange(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    limits: Limits,
    since: Instant,
    first: bool,
) -> Next {
    // The first head has its time from the accept on, another one from its first byte.
    let begun = if first { since } else { Instant::now() };
    let by = saturating_deadline(begun, limits.head);
    let head = match timeout_at(by, read_head(client, first, limits.bounds)).await {
        Some(Ok(Some(head))) => head,
        Some(Ok(None)) => return Next::Http2,
        Some(Err(Some(cause))) => return refuse(client, cause, begun).await,
        Some(Err(None)) => return Next::Close,
        None => return refuse(client, Cause::HeaderTimeout, begun).await,
    };
    let how = Persistence { persists: head.persists, modern: head.version == Version::HTTP_11 };
    let body = client.begin(head.framing, head.expects);
    let request = Request::new(worker.clone(), client.peer.clone(), head, body);
    let mut answering = pin!(serve(request));
    let response = std::future::poll_fn(|cx| {
        if let Poll::Ready(response) = answering.as_mut().poll(cx) {
            return Poll::Ready(Some(response));
        }
        client.poll_gone(cx).map(|()| None)
    });
    let Some(response) = response.await else { return Next::Reset };
    answer(client, response, how).await
}

/// Reads a head; `None` where what comes is HTTP/2. An error without a cause: the client is gone.
async fn read_head(
    client: &Client,
    first: bool,
    bounds: HeadBounds,
) -> Result<Option<RequestParts>, Option<Cause>> {
    let mut end = HeadEnd::default();
    loop {
        let found = client.ahead(|bytes| match end.find(bytes, bounds) {
            Ok(Some(end)) if first && bytes.starts_with(PREFACE) => Ok(Some((end, None))),
            Ok(Some(end)) => decode(&bytes[..end], bounds).map(|head| Some((end, Some(head)))),
            Ok(None) => Ok(None),
            Err(cause) => Err(cause),
        });
        match found {
            Err(cause) => return Err(Some(cause)),
            Ok(Some((_, None))) => return Ok(None),
            Ok(Some((end, head))) => {
                client.consume(end);
                return Ok(head);
            }
            Ok(None) => {}
        }
        // Many may wait like this.
        client.shrink();
        match std::future::poll_fn(|cx| client.poll_fill(cx)).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return Err(None),
        }
    }
}

/// Answers a request that never became one. Nobody can tell where it ends.
async fn refuse(client: &Client, cause: Cause, begun: Instant) -> Next {
    let id = request_id();
    unread::end(&client.peer, cause, &id, &client.ahead(Unread::of_head), begun);
    let response = Response { last: true, ..response::bare(cause, &id, false) };
    answer(client, response, Persistence { persists: true, modern: true }).await
}

/// Answers a client whose request is not read, and closes its connection.
pub async fn turn_away(client: &Client, cause: Cause) {
    // What it has sent by now is enough for the log.
    let _ = std::future::poll_fn(|cx| Poll::Ready(client.poll_fill(cx))).await;
    refuse(client, cause, Instant::now()).await;
    if let Some((socket, _)) = client.take() {
        linger(socket).await;
    }
}

/// Writes an answer, and looks how the connection can go on.
async fn answer(client: &Client, mut response: Response, how: Persistence) -> Next {
    let before = client.withdraw_invitation();
    if let Content::Whole(..) = response.content {
        client.skim().await;
    }
    let persists = how.persists && client.is_at_end() && !response.last && !client.is_over();
    let (mut out, persists) = Outgoing::new(&response, before, Persistence { persists, ..how });
    let mut ended = false;
    let write = std::future::poll_fn(|cx| {
        let written = poll_answer(&mut response, &mut out, &mut ended, client, cx);
        if written.is_pending() && client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(()));
        }
        written
    });
    if write.await.is_err() {
        return Next::Reset;
    }
    response.complete();
    if let Content::Tunnel(mut tunnel) = response.content {
        if let Some((mut socket, ahead)) = client.take() {
            let ended = tunnel.run(&mut socket, ahead).await;
            drop(tunnel);
            if ended {
                linger(socket).await;
            } else {
                let _ = socket.tcp().set_zero_linger();
            }
        }
        return Next::Close;
    }
    // Who has asked for the close may have sent more nevertheless: a pipelining client has.
    if persists { Next::Request } else { Next::Close }
}

/// Writes what there is of an answer. An error: the client is gone, or the answer broke off.
fn poll_answer(
    response: &mut Response,
    out: &mut Outgoing,
    ended: &mut bool,
    client: &Client,
    cx: &mut Context<'_>,
) -> Poll<Result<(), ()>> {
    if !*ended {
        match response.transfer(cx, &mut |cx, bytes| out.poll_put(client, cx, bytes)) {
            Step::Done => {
                *ended = true;
                out.end();
            }
            Step::AwaitsUpstream => {
                ready!(out.poll_flush(client, cx)).map_err(drop)?;
                return Poll::Pending;
            }
            Step::AwaitsReader => return Poll::Pending,
            Step::Broken => return Poll::Ready(Err(())),
        }
    }
    out.poll_flush(client, cx).map_err(drop)
}

/// Closes a connection whose client may still send.
async fn linger(mut socket: Socket) {
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

/// A FIN would be a clean end to a body that is delimited by close (RFC 9112 §8).
fn reset(client: &Client) {
    if let Some((socket, _)) = client.take() {
        let _ = socket.tcp().set_zero_linger();
    }
}
