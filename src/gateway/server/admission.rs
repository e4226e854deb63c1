//! Answers first: how many requests a worker begins in one turn of its event loop.
//!
//! A loop that takes events as they come begins every request it can before it looks at the first answer. With hundreds
//! of busy connections half of their requests then lie about unanswered, each with its buffers and its upstream
//! connection, and all of it has left the processor's cache when the answer is dealt with. So a worker begins a few
//! requests, then does everything else that is ready, answers above all, and then begins the next few. Nobody waits
//! longer than the worker is busy: where there is nothing else to do, the next turn follows at once.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Requests that begin in one turn while others wait.
const PER_TURN: usize = 32;
/// And while none does. To wait costs a request one more run of its task, so a few connections should not have to.
const UNCROWDED: usize = 64;

/// See the module; one per worker thread.
struct Turns {
    /// How many requests may still begin in this turn.
    left: Cell<usize>,
    /// Those that wait, in the order of their numbers.
    waiting: RefCell<VecDeque<Waker>>,
    /// The number of the next that has to wait, and of the first that has not been called.
    next: Cell<u64>,
    called: Cell<u64>,
    /// Begins the next turn; `None` until it has run for the first time.
    begins: RefCell<Option<Waker>>,
}

thread_local! {
    static TURNS: Turns = const {
        Turns {
            left: Cell::new(UNCROWDED),
            waiting: RefCell::new(VecDeque::new()),
            next: Cell::new(0),
            called: Cell::new(0),
            begins: RefCell::new(None),
        }
    };
}

/// Waits for a turn to begin a request.
pub fn turn() -> Turn {
    Turn(None)
}

/// See [`turn`]. Who stops waiting is called all the same: a turn then begins with one less.
pub struct Turn(Option<u64>);

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        TURNS.with(|turns| {
            if let Some(number) = self.0 {
                return if number < turns.called.get() { Poll::Ready(()) } else { Poll::Pending };
            }
            let left = turns.left.get();
            if left > 0 {
                turns.left.set(left - 1);
                if left == 1 {
                    turns.end();
                }
                return Poll::Ready(());
            }
            let number = turns.next.get();
            turns.next.set(number + 1);
            turns.waiting.borrow_mut().push_back(cx.waker().clone());
            self.0 = Some(number);
            Poll::Pending
        })
    }
}

/// Starts this thread's turns. Without it every request begins at once.
pub fn start() {
    actix_rt::spawn(std::future::poll_fn(|cx| {
        TURNS.with(|turns| turns.begin(cx));
        Poll::<()>::Pending
    }));
}

impl Turns {
    /// Nothing more begins until all tasks that are ready now have run.
    fn end(&self) {
        match &*self.begins.borrow() {
            Some(begins) => begins.wake_by_ref(),
            None => self.left.set(UNCROWDED),
        }
    }

    /// The next turn begins with those that have waited longest.
    fn begin(&self, cx: &mut Context<'_>) {
        if self.begins.borrow().is_none() {
            *self.begins.borrow_mut() = Some(cx.waker().clone());
        }
        let mut waiting = self.waiting.borrow_mut();
        let admitted = waiting.len().min(PER_TURN);
        let most = if admitted == 0 { UNCROWDED } else { PER_TURN };
        self.left.set(most - admitted);
        self.called.set(self.called.get() + admitted as u64);
        waiting.drain(..admitted).for_each(Waker::wake);
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
    async fn a_turn_begins_so_many_and_the_next_one_those_that_waited_longest() {
        start();
        tokio::task::yield_now().await;
        const ALL: usize = UNCROWDED + PER_TURN * 2 + 3;
        let begun = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..ALL)
            .map(|i| {
                let begun = begun.clone();
                actix_rt::spawn(async move {
                    turn().await;
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
        assert!(seen.windows(2).all(|two| two[1] - two[0] <= PER_TURN), "{seen:?}");
    }

    #[actix_rt::test]
    async fn who_stops_waiting_holds_up_nobody() {
        start();
        tokio::task::yield_now().await;
        let mut all: Vec<_> = (0..UNCROWDED * 3).map(|_| turn()).collect();
        let mut cx = Context::from_waker(Waker::noop());
        let begun = all.iter_mut().map(|one| Pin::new(one).poll(&mut cx)).filter(Poll::is_ready).count();
        assert_eq!(begun, UNCROWDED);
        drop(all);
        turn().await;
    }
}
