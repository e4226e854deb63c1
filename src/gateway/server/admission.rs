//! Answers first: how many requests a worker begins in one pass of its event loop.
//!
//! A loop that takes events as they come begins every request it can before it looks at the first answer. With hundreds
//! of busy connections half of their requests then lie about unanswered, each with its buffers and its upstream
//! connection, and all of it has left the processor's cache when the answer is dealt with. So a worker begins a few
//! requests, then does everything else that is ready, answers above all, and then begins the next few. Nobody waits
//! longer than the worker is busy: where there is nothing else to do, the next pass follows at once.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Requests that are admitted in one pass while others wait.
const PER_PASS: usize = 32;
/// And while none waits: waiting costs a request one more run of its task, which up to 64 connections are spared.
const UNCROWDED: usize = 64;

/// See the module; one per worker thread.
struct AdmissionQueue {
    /// How many requests may still begin in this pass.
    left: Cell<usize>,
    /// Those that wait, in the order of their numbers.
    waiting: RefCell<VecDeque<Waker>>,
    /// The number of the next that has to wait, and of the first that has not been admitted.
    next: Cell<u64>,
    admitted: Cell<u64>,
    /// Runs the next pass; `None` until it has run for the first time.
    task: RefCell<Option<Waker>>,
}

thread_local! {
    static QUEUE: AdmissionQueue = const {
        AdmissionQueue {
            left: Cell::new(UNCROWDED),
            waiting: RefCell::new(VecDeque::new()),
            next: Cell::new(0),
            admitted: Cell::new(0),
            task: RefCell::new(None),
        }
    };
}

/// Waits until a request may begin.
pub fn admitted() -> Admitted {
    Admitted(None)
}

/// See [`admitted`]. Who stops waiting is admitted all the same: a pass then begins with one less.
pub struct Admitted(Option<u64>);

impl Future for Admitted {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        QUEUE.with(|queue| {
            if let Some(number) = self.0 {
                return if number < queue.admitted.get() { Poll::Ready(()) } else { Poll::Pending };
            }
            let left = queue.left.get();
            if left > 0 {
                queue.left.set(left - 1);
                if left == 1 {
                    queue.close();
                }
                return Poll::Ready(());
            }
            let number = queue.next.get();
            queue.next.set(number + 1);
            queue.waiting.borrow_mut().push_back(cx.waker().clone());
            self.0 = Some(number);
            Poll::Pending
        })
    }
}

/// Starts this thread's queue. Without it every request begins at once.
pub fn start() {
    actix_rt::spawn(std::future::poll_fn(|cx| {
        QUEUE.with(|queue| queue.next_pass(cx));
        Poll::<()>::Pending
    }));
}

impl AdmissionQueue {
    /// Nothing more begins until all tasks that are ready now have run.
    fn close(&self) {
        match &*self.task.borrow() {
            Some(task) => task.wake_by_ref(),
            None => self.left.set(UNCROWDED),
        }
    }

    /// The next pass begins with those that have waited longest.
    fn next_pass(&self, cx: &mut Context<'_>) {
        if self.task.borrow().is_none() {
            *self.task.borrow_mut() = Some(cx.waker().clone());
        }
        let mut waiting = self.waiting.borrow_mut();
        let admitted_now = waiting.len().min(PER_PASS);
        let most = if admitted_now == 0 { UNCROWDED } else { PER_PASS };
        self.left.set(most - admitted_now);
        self.admitted.set(self.admitted.get() + admitted_now as u64);
        waiting.drain(..admitted_now).for_each(Waker::wake);
        if self.left.get() == 0 {
            cx.waker().wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[actix_rt::test]
    async fn a_pass_begins_so_many_and_the_next_one_those_that_waited_longest() {
        start();
        tokio::task::yield_now().await;
        const ALL: usize = UNCROWDED + PER_PASS * 2 + 3;
        let begun = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..ALL)
            .map(|i| {
                let begun = begun.clone();
                actix_rt::spawn(async move {
                    admitted().await;
                    begun.borrow_mut().push(i);
                })
            })
            .collect();
        // Stands for everything else that is ready: how many have begun each time that it runs.
        let other = begun.clone();
        let seen = actix_rt::spawn(async move {
            let mut seen = vec![];
            std::future::poll_fn(|cx| {
                seen.push(other.borrow().len());
                if seen.last() == Some(&ALL) {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            seen
        });
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*begun.borrow(), (0..ALL).collect::<Vec<_>>());
        let seen = seen.await.unwrap();
        assert_eq!(seen[0], UNCROWDED);
        assert!(seen.windows(2).all(|two| two[1] - two[0] <= PER_PASS), "{seen:?}");
    }

    #[actix_rt::test]
    async fn who_stops_waiting_holds_up_nobody() {
        start();
        tokio::task::yield_now().await;
        let mut all: Vec<_> = (0..UNCROWDED * 3).map(|_| admitted()).collect();
        let mut cx = Context::from_waker(Waker::noop());
        let begun = all.iter_mut().map(|one| Pin::new(one).poll(&mut cx)).filter(Poll::is_ready).count();
        assert_eq!(begun, UNCROWDED);
        drop(all);
        admitted().await;
    }
}
