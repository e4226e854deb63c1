//! An upstream's body on its way to the client, and what it holds of its target until the last byte.
//!
//! Two ways lead through: [`Streamed`] hands awc's chunks to actix; [`Direct`] is for a large body of known length
//! towards HTTP/1.1, whose bytes pass both by.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_http::Payload;
use actix_http::body::{BodySize, MessageBody};
use bytes::Bytes;
use futures_core::Stream as _;
use thiserror::Error;
use tokio::task::JoinHandle;

use super::answer::Cause;
use super::balance::InFlight;
use super::deadline::Deadline;
use super::downstream::{EndOfConnection, Pump};
use super::record::RequestRecord;
use super::request_body::RequestBody;
use super::upstream::{Detached, Exchange, Transfer, Write};
use super::worker::after;

/// The upstream's body broke off; the client's connection is cut.
#[derive(Debug, Error)]
#[error("the upstream's response broke off")]
struct Broken;

/// Who is to be blamed when the body breaks off.
pub struct Blame {
    pub target: aegis_actors::TargetId,
    pub epoch: u64,
}

/// What both ways have in common.
pub struct Relaying {
    /// The longest pause.
    pub idle: Duration,
    /// When all of it must have arrived, if it is no stream.
    pub whole: Option<Instant>,
    /// Given back with the upstream's last byte: whoever waits for this target's slot need not wait for a slow client.
    pub in_flight: Option<InFlight>,
    pub blame: Blame,
    pub request_body: Rc<RequestBody>,
    /// Before the exchange: what it says is written when it is dropped.
    pub record: Box<RequestRecord>,
    pub exchange: Rc<Exchange>,
    /// Armed while the upstream is silent.
    pub waiting: Option<Deadline>,
}

impl Relaying {
    fn finish(&mut self) {
        self.record.complete = true;
        self.in_flight = None;
    }

    fn break_off(&mut self) {
        self.in_flight = None;
        if self.request_body.failure().is_some() {
            // The client stopped sending what the upstream was still reading: nobody's fault but its own.
            self.record.cause = Some(Cause::ClientGone);
        } else {
            self.record.broken = true;
            self.record.worker.outcome(self.blame.target, self.blame.epoch, false, false, false);
        }
        if !self.record.connection.http2 {
            self.record.connection.abort();
        }
    }

    /// `Ready` when the upstream has been silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let waiting = self.waiting.get_or_insert_with(|| {
            let idle = after(Instant::now(), self.idle);
            Deadline::at(self.whole.map_or(idle, |whole| whole.min(idle)))
        });
        waiting.poll_passed(cx)
    }
}

impl Drop for Relaying {
    fn drop(&mut self) {
        self.record.bytes_in = self.request_body.received();
    }
}

/// A body that actix writes.
pub struct Streamed {
    pub end: EndOfConnection,
    /// On HTTP/2, where a body that nobody reads is never asked again.
    pub shelf: Option<Rc<Shelf>>,
    pub payload: Payload,
    pub empty: bool,
    pub size: BodySize,
    pub relaying: Relaying,
}

impl Streamed {
    fn break_off(&mut self) -> Broken {
        self.payload = Payload::None;
        self.relaying.break_off();
        Broken
    }
}

impl MessageBody for Streamed {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        if this.empty {
            this.relaying.finish();
            return Poll::Ready(None);
        }
        if this.end.poll(&this.relaying.record.connection, cx).is_ready() {
            this.payload = Payload::None;
            this.relaying.in_flight = None;
            return Poll::Ready(Some(Err(Broken.into())));
        }
        if let Some(shelf) = &this.shelf
            && !shelf.take(&mut this.payload, &mut this.relaying.in_flight)
        {
            return Poll::Ready(Some(Err(Broken.into())));
        }
        let polled = Pin::new(&mut this.payload).poll_next(cx);
        if let (Poll::Ready(Some(Ok(_))), Some(shelf)) = (&polled, &this.shelf) {
            shelf.put(&mut this.payload, &mut this.relaying.in_flight);
        }
        match polled {
            Poll::Ready(Some(Ok(bytes))) => {
                this.relaying.waiting = None;
                this.relaying.record.bytes_out += bytes.len() as u64;
                if this.size == BodySize::Sized(this.relaying.record.bytes_out) {
                    this.relaying.in_flight = None;
                }
                Poll::Ready(Some(Ok(bytes)))
            }
            Poll::Ready(None) => {
                if this.relaying.exchange.violation.get().is_some() {
                    return Poll::Ready(Some(Err(this.break_off().into())));
                }
                this.relaying.finish();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(this.break_off().into()))),
            Poll::Pending => match this.relaying.poll_silence(cx) {
                Poll::Ready(()) => Poll::Ready(Some(Err(this.break_off().into()))),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        if self.empty || self.size == BodySize::Sized(0) {
            // The dispatcher never asks a body for bytes that its size rules out.
            self.relaying.record.complete = true;
        }
    }
}

/// A body that goes past awc and actix; for actix it is one of unknown length that delivers nothing.
pub struct Direct(Rc<Passing>);

/// The side of it that writes.
struct Passing {
    relaying: RefCell<Relaying>,
    /// Until all of it is written, or something broke.
    detached: RefCell<Option<Detached>>,
    broken: Cell<bool>,
}

impl Direct {
    /// Passes `detached` on once the head has been encoded.
    pub fn new(relaying: Relaying, detached: Detached) -> Self {
        let relaying = RefCell::new(relaying);
        Self(Rc::new(Passing { relaying, detached: RefCell::new(Some(detached)), broken: Cell::new(false) }))
    }
}

impl MessageBody for Direct {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let mut relaying = self.0.relaying.borrow_mut();
        if self.0.broken.get() {
            return Poll::Ready(Some(Err(Broken.into())));
        }
        if self.0.detached.borrow().is_none() {
            relaying.finish();
            return Poll::Ready(None);
        }
        relaying.record.connection.set_pump(Some(self.0.clone()));
        Poll::Pending
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        let connection = self.0.relaying.borrow().record.connection.clone();
        connection.set_pump(None);
    }
}

impl Pump for Passing {
    fn poll_pump(&self, cx: &mut Context<'_>, write: &mut Write<'_>) -> Poll<io::Result<()>> {
        let mut relaying = self.relaying.borrow_mut();
        let mut slot = self.detached.borrow_mut();
        let Some(detached) = slot.as_ref() else { return Poll::Ready(Ok(())) };
        let before = relaying.record.bytes_out;
        let step = detached.transfer(cx, &mut |cx, bytes| {
            let written = write(cx, bytes);
            if let Poll::Ready(Ok(n)) = written {
                relaying.record.bytes_out += n as u64;
            }
            written
        });
        if relaying.record.bytes_out > before {
            relaying.waiting = None;
        }
        if relaying.in_flight.is_some() && detached.has_arrived() {
            relaying.in_flight = None;
        }
        let broken = match step {
            Transfer::Done => false,
            Transfer::AwaitsReader => {
                relaying.waiting = None;
                return Poll::Pending;
            }
            Transfer::Unread(error) => return Poll::Ready(Err(error)),
            Transfer::AwaitsUpstream if relaying.poll_silence(cx).is_pending() => return Poll::Pending,
            Transfer::AwaitsUpstream => true,
            Transfer::Broken(violation) => {
                relaying.exchange.violation.set(Some(violation));
                true
            }
        };
        if broken {
            relaying.break_off();
            self.broken.set(true);
        }
        *slot = None;
        Poll::Ready(Ok(()))
    }
}

/// Where a body waits between two questions for it. actix asks an HTTP/2 stream for more only when the client has room,
/// which may be never; what waits too long is let go, and with it the upstream's connection.
pub struct Shelf {
    waiting: RefCell<Option<(Payload, Option<InFlight>)>>,
    since: Cell<Instant>,
    expired: Cell<bool>,
    /// Lets go what waits too long.
    watch: OnceCell<JoinHandle<()>>,
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.watch.get().inspect(|watch| watch.abort());
    }
}

impl Shelf {
    /// An empty shelf that keeps nothing for longer than `idle`.
    pub fn new(idle: Duration) -> Rc<Self> {
        let shelf = Rc::new(Self {
            waiting: RefCell::default(),
            since: Cell::new(Instant::now()),
            expired: Cell::new(false),
            watch: OnceCell::new(),
        });
        let weak = Rc::downgrade(&shelf);
        let watch = actix_rt::spawn(async move {
            let mut wait = idle;
            loop {
                tokio::time::sleep(wait).await;
                let Some(shelf) = weak.upgrade() else { return };
                wait = idle.saturating_sub(shelf.since.get().elapsed());
                if wait.is_zero() {
                    if shelf.waiting.take().is_some() {
                        shelf.expired.set(true);
                        return;
                    }
                    wait = idle;
                }
            }
        });
        let _ = shelf.watch.set(watch);
        shelf
    }

    fn put(&self, payload: &mut Payload, in_flight: &mut Option<InFlight>) {
        self.since.set(Instant::now());
        self.waiting.replace(Some((std::mem::replace(payload, Payload::None), in_flight.take())));
    }

    /// Takes back what was put there; `false` when it has been let go.
    fn take(&self, payload: &mut Payload, in_flight: &mut Option<InFlight>) -> bool {
        if let Some((waiting, held)) = self.waiting.take() {
            (*payload, *in_flight) = (waiting, held);
        }
        !self.expired.get()
    }
}
