//! Answers first: how many requests a worker begins in one turn of its event loop.
//!
//! A loop that takes events as they come begins every request it can before it looks at the first answer. With hundreds
//! of busy connections half of their requests then lie about unanswered, each with its buffers and its upstream
//! connection, and all of it has left the processor's cache when the answer is dealt with. So a worker begins a few
//! requests, then does everything else that is ready, answers above all, and then begins the next few. Nobody waits
//! longer than the worker is busy: where there is nothing else to do, the next turn follows at once.
//!
//! The turn is waited for around actix's dispatcher, not below it: asked only to find out that there is nothing to read
//! yet, that would look at its timers and parse nothing twice.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use super::state::ConnState;

/// Requests that begin in one turn while others wait.
const PER_TURN: usize = 32;
/// And while none does. To wait costs a request one more run of its task, so a few connections should not have to.
const UNCROWDED: usize = 64;

/// A connection on which a request could begin.
struct Waiting {
    connection: Rc<ConnState>,
    task: Waker,
}

/// See the module; one per worker thread.
struct Turns {
    /// How many requests may still begin in this turn.
    left: Cell<usize>,
    /// In the order in which they came.
    waiting: RefCell<VecDeque<Waiting>>,
    /// Begins the next turn; `None` until it has run for the first time.
    next: RefCell<Option<Waker>>,
}

thread_local! {
    /// Polls of connections' tasks on this thread so far.
    static POLLS: Cell<u64> = const { Cell::new(0) };
    static TURNS: Turns = const {
        Turns { left: Cell::new(UNCROWDED), waiting: RefCell::new(VecDeque::new()), next: RefCell::new(None) }
    };
}

pin_project! {
    /// See [`in_turns`].
    pub struct InTurns<F> {
        connection: Rc<ConnState>,
        #[pin]
        task: F,
    }
}

/// Runs the `task` that serves `connection`; while nothing is being served on it, only when its turn has come.
pub fn in_turns<F: Future>(connection: Rc<ConnState>, task: F) -> InTurns<F> {
    InTurns { connection, task }
}

impl<F: Future> Future for InTurns<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        // What wakes an idle connection is a request, nearly always; where it is not, a turn begins with one less.
        if this.connection.is_idle() && poll_begin(this.connection, cx).is_pending() {
            return Poll::Pending;
        }
        POLLS.set(POLLS.get() + 1);
        this.task.poll(cx)
    }
}

/// Differs from one poll of a connection's task to the next, whichever of this thread's connections it is.
pub fn this_poll() -> u64 {
    POLLS.get()
}

/// `Ready` when a request may begin on `connection`; otherwise its task is woken when it may.
fn poll_begin(connection: &Rc<ConnState>, cx: &mut Context<'_>) -> Poll<()> {
    if connection.queued.get() {
        return Poll::Pending;
    }
    if connection.admitted.take() {
        return Poll::Ready(());
    }
    TURNS.with(|turns| {
        let left = turns.left.get();
        if left > 0 {
            turns.left.set(left - 1);
            if left == 1 {
                turns.end();
            }
            return Poll::Ready(());
        }
        connection.queued.set(true);
        let waiting = Waiting { connection: connection.clone(), task: cx.waker().clone() };
        turns.waiting.borrow_mut().push_back(waiting);
        Poll::Pending
    })
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
        match &*self.next.borrow() {
            Some(next) => next.wake_by_ref(),
            None => self.left.set(UNCROWDED),
        }
    }

    /// The next turn begins with those that have waited longest.
    fn begin(&self, cx: &mut Context<'_>) {
        if self.next.borrow().is_none() {
            *self.next.borrow_mut() = Some(cx.waker().clone());
        }
        let mut waiting = self.waiting.borrow_mut();
        let admitted = waiting.len().min(PER_TURN);
        let most = if admitted == 0 { UNCROWDED } else { PER_TURN };
        self.left.set(most - admitted);
        for Waiting { connection, task } in waiting.drain(..admitted) {
            connection.queued.set(false);
            connection.admitted.set(true);
            task.wake();
        }
        if self.left.get() == 0 {
            cx.waker().wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::state::Limits;
    use super::*;

    fn connection() -> Rc<ConnState> {
        let limits = Limits { head: Duration::from_secs(1), keep_alive: Duration::from_secs(1) };
        Rc::new(ConnState::new(([127, 0, 0, 1], 1).into(), false, false, limits))
    }

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
                    let connection = connection();
                    std::future::poll_fn(|cx| poll_begin(&connection, cx)).await;
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

    #[test]
    fn an_answer_is_asked_for_once_a_poll_unless_a_body_may_have_come() {
        for (has_body, twice) in [(false, 2), (true, 4)] {
            let connection = connection();
            connection.begin(has_body, false);
            let asked = Cell::new(0);
            let answer = std::future::poll_fn(|_| {
                asked.set(asked.get() + 1);
                Poll::<()>::Pending
            });
            let mut answer = std::pin::pin!(connection.while_open(answer, has_body));
            let task = std::future::poll_fn(|cx| {
                assert!(answer.as_mut().poll(cx).is_pending());
                answer.as_mut().poll(cx)
            });
            let mut task = std::pin::pin!(in_turns(connection.clone(), task));
            let mut cx = Context::from_waker(Waker::noop());
            for _ in 0..2 {
                assert!(task.as_mut().poll(&mut cx).is_pending());
            }
            assert_eq!(asked.get(), twice);
        }
    }

    #[actix_rt::test]
    async fn a_connection_that_is_gone_holds_up_nobody() {
        start();
        tokio::task::yield_now().await;
        let all: Vec<_> = (0..UNCROWDED * 3).map(|_| connection()).collect();
        let mut cx = Context::from_waker(Waker::noop());
        let begun = all.iter().filter(|one| poll_begin(one, &mut cx).is_ready()).count();
        assert_eq!(begun, UNCROWDED);
        drop(all);
        let last = connection();
        std::future::poll_fn(|cx| poll_begin(&last, cx)).await;
    }
}
