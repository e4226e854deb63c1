//! What one try knows about its exchange with the upstream, shared by the forwarder, the request body and the
//! transport below awc.
//!
//! awc hands a request to a pooled connection without telling which one. The forwarder polls awc inside
//! [`Exchange::scope`]; the transport that is written to first picks the exchange up from there and reports into it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::framing::{Asked, Violation};
use super::transport::Transport;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Exchange>>> = const { RefCell::new(None) };
}

/// One try: what was asked, and what the transport saw of it.
#[derive(Debug, Default)]
pub struct Exchange {
    /// What the request asked for.
    pub asked: Asked,
    /// The request has a body that may still be on its way when the answer comes.
    pub has_body: bool,
    /// The client's own `Date` is in the request, so the one at its end is not awc's.
    pub keeps_date: bool,
    /// A connection was there, new or pooled.
    pub connected: Cell<bool>,
    /// The connection had carried a request before.
    pub reused: Cell<bool>,
    /// At least one byte of the request was taken by the socket.
    pub sent: Cell<bool>,
    /// The request body has been handed over completely.
    pub body_sent: Cell<bool>,
    /// At least one byte of the response arrived.
    pub answered: Cell<bool>,
    /// The final head arrived before the request was complete.
    pub early: Cell<bool>,
    /// `content-length` of the answer, also where no body follows it.
    pub content_length: Cell<Option<u64>>,
    /// What was wrong with the answer.
    pub violation: Cell<Option<Violation>>,
    transport: RefCell<Option<Weak<Transport>>>,
}

impl Exchange {
    /// A try that has not begun.
    pub fn new(asked: Asked, has_body: bool, keeps_date: bool) -> Rc<Self> {
        Rc::new(Self { asked, has_body, keeps_date, ..Self::default() })
    }

    /// Runs `future` with this exchange in reach of the transport it writes to.
    pub fn scope<F: Future>(self: &Rc<Self>, future: F) -> Scope<F> {
        Scope { exchange: self.clone(), future }
    }

    /// The exchange on whose behalf the current poll runs.
    pub(super) fn current() -> Option<Rc<Self>> {
        CURRENT.with_borrow(Clone::clone)
    }

    pub(super) fn attach(&self, transport: &Rc<Transport>) {
        *self.transport.borrow_mut() = Some(Rc::downgrade(transport));
    }

    /// While the request body waits for the client: `Ready` once the upstream has already answered (or failed).
    pub fn poll_early(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.early.get() {
            return Poll::Ready(());
        }
        let transport = self.transport.borrow().as_ref().and_then(Weak::upgrade);
        match transport {
            Some(transport) => transport.poll_early(cx),
            None => Poll::Pending,
        }
    }
}

pin_project! {
    /// See [`Exchange::scope`].
    pub struct Scope<F> {
        exchange: Rc<Exchange>,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Scope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        /// Takes the exchange out of reach again, also when the poll panics.
        struct Reset;
        impl Drop for Reset {
            fn drop(&mut self) {
                CURRENT.set(None);
            }
        }
        let this = self.project();
        CURRENT.set(Some(this.exchange.clone()));
        let _reset = Reset;
        this.future.poll(cx)
    }
}
