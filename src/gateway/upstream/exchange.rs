//! What one try knows about its exchange with the upstream, shared by the forwarder and the transport below awc.
//!
//! awc hands a request to a pooled connection without telling which one. The forwarder polls awc inside
//! [`Exchange::scope`]; the transport that is written to first picks the exchange up from there and reports into it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use tokio::task::{LocalEnterGuard, LocalSet};

use super::body::Body;
use super::framing::{Asked, Head, Violation};
use super::pool_keys::HeldKey;
use crate::gateway::request_body::BodyReader;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Exchange>>> = const { RefCell::new(None) };
    static PARKED: RefCell<(LocalSet, u32)> = RefCell::new((LocalSet::new(), 0));
}

/// Requests after which the tasks that awc has spawned for them are let go.
const PARKED_MOST: u32 = 256;

/// For every request awc makes a codec, and every codec spawns a task that updates a `Date` that is never sent. Each would
/// cost a timer, and often a wake-up of the runtime. So while awc is polled, tasks are spawned into a set that is never run
/// and is dropped after [`PARKED_MOST`] requests. Nothing else may be spawned inside an exchange.
fn park_spawned() -> LocalEnterGuard {
    PARKED.with_borrow_mut(|(set, count)| {
        *count += 1;
        if *count > PARKED_MOST {
            (*set, *count) = (LocalSet::new(), 0);
        }
        set.enter()
    })
}

/// A request head for the wire, but for `Host`, of which each target has its own, and for the framing of its body.
#[derive(Debug, Default)]
pub struct RequestLines {
    lines: Vec<u8>,
    /// Where the fields begin.
    fields: usize,
}

impl RequestLines {
    /// The request line.
    pub fn new(method: &str, target: &str, room: usize) -> Self {
        let mut lines = Vec::with_capacity(method.len() + target.len() + 12 + room);
        for part in [method, " ", target, " HTTP/1.1\r\n"] {
            lines.extend_from_slice(part.as_bytes());
        }
        Self { fields: lines.len(), lines }
    }

    /// Where the fields go, each as a line with its end.
    pub fn fields(&mut self) -> &mut Vec<u8> {
        &mut self.lines
    }

    /// The request line, and the field lines.
    pub(super) fn parts(&self) -> (&[u8], &[u8]) {
        self.lines.split_at(self.fields)
    }
}

/// One try: what is asked, and what the transport saw of it.
#[derive(Default)]
pub struct Exchange {
    pub asked: Asked,
    pub lines: Rc<RequestLines>,
    /// `Host` of this try.
    pub host: Rc<str>,
    /// A connection was there, new or pooled.
    pub connected: Cell<bool>,
    /// The connection had carried a request before.
    pub reused: Cell<bool>,
    /// At least one byte of the request was taken by the socket.
    pub sent: Cell<bool>,
    /// The request has gone out completely, its body included.
    pub complete: Cell<bool>,
    /// When that was, of a request with a body.
    pub uploaded: Cell<Option<Instant>>,
    /// Bytes of the request that the socket has taken, and whether it takes no more at the moment.
    pub written: Cell<u64>,
    pub blocked: Cell<bool>,
    /// At least one byte of the response arrived.
    pub answered: Cell<bool>,
    /// What was wrong with the answer.
    pub violation: Cell<Option<Violation>>,
    /// The request's body, until the transport takes it.
    pub(super) body: RefCell<Option<BodyReader>>,
    /// The answer, until the forwarder takes it.
    pub(super) answer: RefCell<Option<(Head, Body)>>,
    /// The pool key of the connection, until nothing of the exchange is left.
    pub key: HeldKey,
}

impl Exchange {
    /// A try that has not begun.
    pub fn new(asked: Asked, lines: Rc<RequestLines>, host: Rc<str>, body: Option<BodyReader>) -> Rc<Self> {
        Rc::new(Self { asked, lines, host, body: RefCell::new(body), ..Self::default() })
    }

    /// Runs `future` with this exchange in reach of the transport it writes to.
    pub async fn scope<F: Future>(self: &Rc<Self>, future: F) -> F::Output {
        /// Takes the exchange out of reach again, also when the poll panics.
        struct Reset;
        impl Drop for Reset {
            fn drop(&mut self) {
                CURRENT.set(None);
            }
        }
        let mut future = pin!(future);
        std::future::poll_fn(|cx| {
            CURRENT.set(Some(self.clone()));
            let _reset = Reset;
            let _parked = park_spawned();
            future.as_mut().poll(cx)
        })
        .await
    }

    /// The exchange on whose behalf the current poll runs.
    pub(super) fn current() -> Option<Rc<Self>> {
        CURRENT.with_borrow(Clone::clone)
    }
}
