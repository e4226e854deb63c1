//! A request for as long as its connection is there.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::sync::futures::OwnedNotified;

use super::state::ConnState;
use super::turns;

impl ConnState {
    /// Runs `future`, which answers a request, as long as the connection is there. actix drops what it serves on HTTP/1
    /// together with the connection, but not on HTTP/2.
    ///
    /// On HTTP/1 actix asks for the answer twice in the poll of its task in which the request has arrived. Where no body
    /// could have come in between, nothing has: the second time `future` is not asked.
    pub fn while_open<F: Future>(&self, future: F, has_body: bool) -> WhileOpen<'_, F> {
        let (once_a_poll, end) = (!self.http2 && !has_body, self.end_of_connection());
        WhileOpen { connection: self, once_a_poll, asked_in: None, end, future }
    }

    /// For one request or answer, to wait for the end of its connection.
    pub fn end_of_connection(&self) -> EndOfConnection {
        EndOfConnection(self.going.as_ref().map(|going| Box::pin(going.clone().notified_owned())))
    }
}

/// The end of an HTTP/2 connection; on HTTP/1 actix sees to it.
pub struct EndOfConnection(Option<Pin<Box<OwnedNotified>>>);

impl EndOfConnection {
    /// `Ready` once `connection`, whose end it is, is gone.
    pub fn poll(&mut self, connection: &ConnState, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(_) if connection.gone.get() => Poll::Ready(()),
            Some(end) => end.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

pin_project! {
    /// See [`ConnState::while_open`]. Not an async function: that would keep room for the future twice.
    pub struct WhileOpen<'a, F> {
        connection: &'a ConnState,
        once_a_poll: bool,
        // The poll of the connection's task in which `future` was asked last.
        asked_in: Option<u64>,
        end: EndOfConnection,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for WhileOpen<'_, F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if *this.once_a_poll && this.asked_in.replace(turns::this_poll()) == Some(turns::this_poll()) {
            return Poll::Pending;
        }
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Some(output));
        }
        this.end.poll(this.connection, cx).map(|()| None)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Waker;
    use std::time::Duration;

    use super::*;
    use crate::gateway::downstream::Limits;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl std::task::Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_has_gone_waits_no_longer_for_the_end_of_the_connection() {
        let limits = Limits { head: Duration::MAX, keep_alive: Duration::MAX };
        let connection = ConnState::new(SocketAddr::from(([127, 0, 0, 1], 1)), false, true, limits);
        let wakers: Vec<Arc<Counted>> = (0..100).map(|_| Arc::default()).collect();
        let mut stays = std::pin::pin!(connection.while_open(std::future::pending::<()>(), false));
        let poll = |future: Pin<&mut WhileOpen<'_, std::future::Pending<()>>>, waker: &Arc<Counted>| {
            future.poll(&mut Context::from_waker(&Waker::from(waker.clone())))
        };
        assert!(poll(stays.as_mut(), &wakers[0]).is_pending());
        for waker in &wakers[1..] {
            let mut goes = std::pin::pin!(connection.while_open(std::future::pending::<()>(), false));
            assert!(poll(goes.as_mut(), waker).is_pending());
        }
        let kept = wakers.iter().filter(|waker| Arc::strong_count(waker) > 1).count();
        assert_eq!(kept, 1, "only of whoever still waits");
        connection.set_gone();
        assert_eq!(wakers[0].0.load(Ordering::Relaxed), 1);
        assert_eq!(poll(stays.as_mut(), &wakers[0]), Poll::Ready(None));
        let mut late = std::pin::pin!(connection.while_open(std::future::pending::<()>(), false));
        assert_eq!(poll(late.as_mut(), &wakers[1]), Poll::Ready(None));
    }
}
