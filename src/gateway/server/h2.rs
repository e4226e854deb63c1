//! One HTTP/2 connection. The library frames; what a connection may hold, and when it ends, is decided here.

use std::cell::{Cell, RefCell};
use std::future::Future as _;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_server::GracefulShutdownSignal;
use bytes::{Bytes, BytesMut};
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use tokio::sync::Notify;

use super::encode::Stall;
use super::frames::{Seen, Watched};
use super::{Limits, convert};
use crate::config::settings::HeadBounds;
use crate::gateway::answer::Cause;
use crate::gateway::deadline::{saturating_deadline, timeout_at};
use crate::gateway::peer::Peer;
use crate::gateway::relayed::Step;
use crate::gateway::request::Request;
use crate::gateway::request_body::{BodyFailure, Source};
use crate::gateway::request_context::request_id;
use crate::gateway::request_parts::RequestParts;
use crate::gateway::response::{self, Content, Length, Response};
use crate::gateway::serve;
use crate::gateway::socket::Socket;
use crate::gateway::unread;
use crate::gateway::worker::Worker;

/// Requests that may be open at once; announced.
const STREAMS: u32 = 256;
/// Bytes of one header block before the connection, not the stream, has to answer for it: 33 000 names of a few bytes are one
/// stream's 431 and nobody else's trouble.
const BLOCK_BYTES: u32 = 300 * 1024;
/// Bytes of the heads of all requests that are open.
const HEADS_BYTES: usize = 1024 * 1024;
/// Bytes of bodies that may arrive before they are wanted: of one request, and of all.
const WINDOW: u32 = 256 * 1024;
const ALL_WINDOWS: u32 = 1024 * 1024;
/// How long frames may still arrive for a stream that has been reset; later ones are the connection's fault.
const RESET: Duration = Duration::from_secs(10);
/// Bytes of one answer that wait to be framed.
const SEND_BUFFER: usize = 64 * 1024;
/// How long a client that has been told that the connection ends may take to say that it knows.
const GOAWAY_PERIOD: Duration = Duration::from_secs(1);
/// How long, and how much, is read of a body that nobody wants: its client would take the reset for the answer's.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// What the requests of a connection have in common.
struct Streams {
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    bounds: HeadBounds,
    open: Cell<usize>,
    /// Bytes of the heads of those that are open.
    heads: Cell<usize>,
    /// Since when none is.
    idle: Cell<Instant>,
    /// The peer has been found unfit.
    unfit: Notify,
}

/// One of them.
struct Opened {
    streams: Rc<Streams>,
    head: usize,
}

impl Opened {
    fn new(streams: &Rc<Streams>, head: usize) -> Self {
        streams.open.set(streams.open.get() + 1);
        streams.heads.set(streams.heads.get() + head);
        Self { streams: streams.clone(), head }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let streams = &self.streams;
        streams.open.set(streams.open.get() - 1);
        streams.heads.set(streams.heads.get() - self.head);
        streams.idle.set(Instant::now());
    }
}

/// Serves the connection until it ends. `ahead` has been read of it.
pub async fn connection(
    worker: Rc<Worker>,
    socket: Socket,
    ahead: BytesMut,
    peer: Rc<Peer>,
    limits: Limits,
    stop: GracefulShutdownSignal,
) {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(BLOCK_BYTES.max(2 * limits.bounds.bytes as u32))
        .initial_window_size(WINDOW)
        .initial_connection_window_size(ALL_WINDOWS)
        .max_concurrent_reset_streams(STREAMS as usize)
        .reset_stream_duration(RESET)
        .max_send_buffer_size(SEND_BUFFER);
    let seen = Rc::new(Seen::default());
    let socket = Watched::new(socket, ahead, limits.head, seen.clone());
    let handshake = builder.handshake::<_, Bytes>(socket);
    let Ok(Ok(mut connection)) = tokio::time::timeout(limits.head, handshake).await else { return };
    let idle = Cell::new(Instant::now());
    let streams = Rc::new(Streams {
        worker,
        peer,
        bounds: limits.bounds,
        open: Cell::new(0),
        heads: Cell::new(0),
        idle,
        unfit: Notify::new(),
    });
    let mut alarm = pin!(tokio::time::sleep(limits.keep_alive));
    let mut stopped = pin!(stop.notified());
    let mut ends = false;
    loop {
        tokio::select! {
            next = connection.accept() => match next {
                Some(Ok((request, respond))) => begin(&streams, request, respond),
                Some(Err(_)) | None => return,
            },
            () = seen.ends.notified() => {
                connection.abrupt_shutdown(seen.offence.get().unwrap_or(Reason::ENHANCE_YOUR_CALM));
                // What it has to say is said, or cannot be.
                let _ = tokio::time::timeout(GOAWAY_PERIOD, connection.accept()).await;
                return;
            }
            () = async { tokio::select! { () = &mut stopped => {}, () = streams.unfit.notified() => {} } }, if !ends => {
                connection.graceful_shutdown();
                ends = true;
                alarm.as_mut().reset(tokio::time::Instant::now() + GOAWAY_PERIOD);
            }
            () = &mut alarm => {
                let is_idle = streams.open.get() == 0;
                let due = saturating_deadline(streams.idle.get(), limits.keep_alive);
                let next = match is_idle {
                    // It has been told that it ends, has not answered, and nothing that it waits for is left.
                    true if ends => return,
                    true if due > Instant::now() => due,
                    true => {
                        connection.graceful_shutdown();
                        ends = true;
                        saturating_deadline(Instant::now(), GOAWAY_PERIOD)
                    }
                    false if ends => saturating_deadline(Instant::now(), GOAWAY_PERIOD),
                    false => saturating_deadline(Instant::now(), limits.keep_alive),
                };
                alarm.as_mut().reset(next.into());
            }
        }
    }
}

/// Begins one request.
fn begin(streams: &Rc<Streams>, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
    let begun = Instant::now();
    let (parts, body) = request.into_parts();
    let is_head = parts.method == http::Method::HEAD;
    let size = convert::size(&parts);
    let ended = body.is_end_stream();
    let head = convert::head(&parts, ended, streams.bounds);
    let too_many = streams.heads.get() + size > HEADS_BYTES.max(2 * streams.bounds.bytes);
    let head = if too_many { head.and(Err(Cause::Overloaded)) } else { head };
    let head = head.map_err(|cause| (cause, convert::unread(&parts)));
    drop(parts);
    let opened = Opened::new(streams, if head.is_ok() { size } else { 0 });
    let wire = Rc::new(Wire { respond: RefCell::new(respond), body: RefCell::new(body) });
    actix_rt::spawn(async move {
        match head {
            Ok(head) => serve_one(&opened.streams, &wire, head, ended).await,
            Err((cause, unread)) => {
                let id = request_id();
                unread::end(&opened.streams.peer, cause, &id, &unread, begun);
                refuse(&wire, cause, &id, is_head, ended).await;
            }
        }
        drain(&wire).await;
    });
}

/// Both ways of one request.
struct Wire {
    respond: RefCell<SendResponse<Bytes>>,
    body: RefCell<RecvStream>,
}

async fn serve_one(streams: &Streams, wire: &Rc<Wire>, head: RequestParts, ended: bool) {
    let invites = head.expects;
    let source = (!ended).then(|| Box::new(Arriving { wire: wire.clone(), invites }) as Box<dyn Source>);
    let request = Request::new(streams.worker.clone(), streams.peer.clone(), head, source);
    let mut answering = Box::pin(serve(request));
    let response = std::future::poll_fn(|cx| {
        if let Poll::Ready(response) = answering.as_mut().poll(cx) {
            return Poll::Ready(Some(response));
        }
        wire.respond.borrow_mut().poll_reset(cx).map(|_| None)
    });
    let Some(response) = response.await else { return };
    drop(answering);
    answer(wire, response).await;
    if streams.peer.is_unfit() {
        streams.unfit.notify_one();
    }
}

/// Answers a request that never became one. One that is malformed as a message, with a body that nobody can tell the length
/// of, is reset (RFC 9113 §8.1.1); the library may do so in the middle of an answer.
async fn refuse(wire: &Wire, cause: Cause, id: &str, is_head: bool, ended: bool) {
    if matches!(cause, Cause::BadRequest(_)) && !ended {
        wire.respond.borrow_mut().send_reset(Reason::PROTOCOL_ERROR);
        return;
    }
    let mut response = response::bare(cause, id, is_head);
    if cause == Cause::Overloaded {
        // A body would wait for room with all the others.
        (response.length, response.content) = (Length::None, Content::Whole(Bytes::new(), None));
    }
    answer(wire, response).await;
}

/// Writes an answer. One that breaks off ends in a reset, never in a clean end.
async fn answer(wire: &Wire, mut response: Response) {
    let head = convert::response(&response);
    let ends = !response.has_body();
    let Ok(mut send) = wire.respond.borrow_mut().send_response(head, ends) else { return };
    if !ends {
        let mut stall = Stall::new(response.write_limit);
        let written = std::future::poll_fn(|cx| {
            if send.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(()));
            }
            let mut put =
                |cx: &mut Context<'_>, bytes: &[u8]| stall.watch(cx, |cx| poll_put(&mut send, cx, bytes));
            match response.transfer(cx, &mut put) {
                Step::Done => Poll::Ready(Ok(())),
                Step::AwaitsUpstream | Step::AwaitsReader => Poll::Pending,
                Step::Broken => Poll::Ready(Err(())),
            }
        });
        if written.await.is_err() || send.send_data(Bytes::new(), true).is_err() {
            send.send_reset(Reason::INTERNAL_ERROR);
            return;
        }
    }
    response.complete();
}

/// Gives the library as much of `bytes` as the client has room for.
fn poll_put(send: &mut SendStream<Bytes>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    let gone = || Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
    send.reserve_capacity(bytes.len().min(SEND_BUFFER));
    while send.capacity() == 0 {
        match ready!(send.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return gone(),
        }
    }
    let n = send.capacity().min(bytes.len());
    match send.send_data(Bytes::copy_from_slice(&bytes[..n]), false) {
        Ok(()) => Poll::Ready(Ok(n)),
        Err(_) => gone(),
    }
}

/// Reads what still comes of a body that nobody wants, for a while. Behind a reset that came at once some clients look for
/// no answer.
async fn drain(wire: &Wire) {
    let mut left = LINGER_BYTES;
    let reading = std::future::poll_fn(|cx| {
        let mut body = wire.body.borrow_mut();
        while left > 0 && !body.is_end_stream() {
            match ready!(body.poll_data(cx)) {
                Some(Ok(bytes)) => {
                    let _ = body.flow_control().release_capacity(bytes.len());
                    left = left.saturating_sub(bytes.len());
                }
                Some(Err(_)) | None => break,
            }
        }
        Poll::Ready(())
    });
    let _ = timeout_at(Instant::now() + LINGER, reading).await;
}

/// A request's body.
struct Arriving {
    wire: Rc<Wire>,
    /// The client waits for `100 Continue`.
    invites: bool,
}

impl Source for Arriving {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFailure>>> {
        let mut body = self.wire.body.borrow_mut();
        loop {
            match body.poll_data(cx) {
                Poll::Ready(Some(Ok(bytes))) => {
                    let _ = body.flow_control().release_capacity(bytes.len());
                    // Who has begun to send needs no invitation.
                    self.invites = false;
                    if !bytes.is_empty() {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    // The library has found that it is not as long as it said, or the client has left it.
                    let own = error.is_library() && error.reason() == Some(Reason::PROTOCOL_ERROR);
                    let failure = if own { BodyFailure::WrongLength } else { BodyFailure::ClientGone };
                    return Poll::Ready(Some(Err(failure)));
                }
                Poll::Ready(None) => {
                    // Nobody is told of trailers; unread ones would be held.
                    let _ = body.poll_trailers(cx);
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    if std::mem::take(&mut self.invites) {
                        let mut head = http::Response::new(());
                        *head.status_mut() = http::StatusCode::CONTINUE;
                        let _ = self.wire.respond.borrow_mut().send_informational(head);
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn is_at_end(&self) -> bool {
        self.wire.body.borrow().is_end_stream()
    }
}
