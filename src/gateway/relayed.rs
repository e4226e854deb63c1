//! An upstream's body on its way to the client, and what it holds of its target until the last byte.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use aegis_actors::circuit_breaker::Outcome;

use super::answer::Cause;
use super::balance::InFlight;
use super::deadline::{Deadline, saturating_deadline};
use super::record::RequestRecord;
use super::request_body::RequestBody;
pub use super::upstream::Write;
use super::upstream::{Body, Exchange, Transfer};

/// A client that has kept its upstream waiting for this long, all in all, has a part in whatever happens then.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who is to be blamed when the body breaks off.
pub struct Blame {
    pub target: aegis_actors::TargetId,
    pub epoch: u64,
}

/// How a transfer has paused or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Done,
    AwaitsUpstream,
    AwaitsReader,
    /// Either side has broken off.
    Broken,
}

/// See the module. The order of the fields is that in which they are let go: what holds the connection comes before the
/// exchange, which holds its pool key.
pub struct Relayed {
    pub body: Body,
    /// The longest pause.
    pub idle: Duration,
    /// When all of it must have arrived, if it is no stream.
    pub whole: Option<Instant>,
    /// Given back with the upstream's last byte: whoever waits for this target's slot need not wait for a slow client.
    pub in_flight: Option<InFlight>,
    /// Nobody, where the call is held against its target already, or says nothing of it.
    pub blame: Option<Blame>,
    pub request_body: Rc<RequestBody>,
    pub record: Box<RequestRecord>,
    pub _exchange: Rc<Exchange>,
    /// Armed while the upstream is silent.
    pub waiting: Option<Deadline>,
    pub held_up: HeldUp,
}

/// For how long a client has kept its upstream waiting.
#[derive(Default)]
pub struct HeldUp {
    since: Option<Instant>,
    before: Duration,
}

impl HeldUp {
    /// The client takes nothing at the moment, or something again.
    fn set(&mut self, waits: bool) {
        match (waits, self.since) {
            (true, None) => self.since = Some(Instant::now()),
            (false, Some(since)) => {
                self.before += since.elapsed();
                self.since = None;
            }
            _ => {}
        }
    }

    /// Whether that is enough for an upstream to lose its patience.
    fn is_long(&self) -> bool {
        self.before + self.since.map_or(Duration::ZERO, |since| since.elapsed()) >= PATIENCE
    }
}

impl Relayed {
    /// Gives what there is to `write`, until one side has to wait or all is done.
    pub fn transfer(&mut self, cx: &mut Context<'_>, write: &mut Write<'_>) -> Step {
        let before = self.record.bytes_out;
        let record = &mut self.record;
        let transferred = self.body.transfer(cx, &mut |cx, bytes| {
            let written = write(cx, bytes);
            if let Poll::Ready(Ok(n)) = written {
                record.sent(n as u64);
            }
            written
        });
        if self.record.bytes_out > before {
            self.waiting = None;
            self.held_up.set(false);
        }
        if self.in_flight.is_some() && self.body.has_arrived() {
            self.in_flight = None;
        }
        match transferred {
            Transfer::Done => Step::Done,
            Transfer::AwaitsReader => {
                self.waiting = None;
                self.held_up.set(true);
                Step::AwaitsReader
            }
            Transfer::AwaitsUpstream if self.poll_silence(cx).is_pending() => Step::AwaitsUpstream,
            Transfer::AwaitsUpstream => self.break_off("silent for too long".to_owned()),
            Transfer::Unread(_) => Step::Broken,
            Transfer::Broken(violation) => self.break_off(violation.to_string()),
        }
    }

    /// All of it has been handed over.
    pub fn finish(&mut self) {
        self.record.complete = true;
        self.in_flight = None;
    }

    fn break_off(&mut self, why: String) -> Step {
        if let Some(last) = self.record.request_trace.tries.last_mut() {
            last.why = Some(why.into());
        }
        self.in_flight = None;
        if self.request_body.failure().is_some() {
            // The client stopped sending what the upstream was still reading: nobody's fault but its own.
            self.record.cause = Some(Cause::ClientGone);
        } else {
            self.record.broken = true;
            // An upstream that gives up a client that does not read, or answers before it has read all, is no worse for it.
            let clients = self.held_up.is_long() || !self.request_body.is_complete();
            if let Some(blame) = self.blame.take().filter(|_| !clients) {
                self.record.worker.outcome(blame.target, blame.epoch, Outcome::BrokeOff, false, false);
            }
        }
        Step::Broken
    }

    /// `Ready` when the upstream has been silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let waiting = self.waiting.get_or_insert_with(|| {
            let idle = saturating_deadline(Instant::now(), self.idle);
            Deadline::at(self.whole.map_or(idle, |whole| whole.min(idle)))
        });
        waiting.poll_passed(cx)
    }
}

impl Drop for Relayed {
    fn drop(&mut self) {
        self.record.bytes_in = self.request_body.received();
    }
}
