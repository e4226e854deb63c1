//! A worker's questions and sightings for the rate limiter actor, collected until they are sent.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use aegis_actors::rate_limiter::{Ask, Asks, Key, Sighted, Sightings, Top};

use super::rules::CompiledLimit;
use crate::gateway::actor_handle::ActorHandle;
use crate::gateway::worker::Worker;

/// Clients that a worker counts between two reports, half a second apart; the rarest make room for new ones.
const LISTED: usize = 64;

/// One in 16 decisions that let pass is counted for the list of the busiest clients; of refusals every one is.
pub const SAMPLE: u32 = 16;

/// One worker's side of the rate limiter actor.
#[derive(Default)]
pub struct Asking {
    open: RefCell<Vec<Ask>>,
    asks: ActorHandle<Asks>,
    seen: RefCell<Option<Seen>>,
    sightings: ActorHandle<Sightings>,
    /// Decisions that are not counted before the next one is.
    skip: Cell<u32>,
}

struct Seen {
    busiest: Top<Sighted>,
    limited: Top<Sighted>,
}

impl Worker {
    /// Asks the actor; questions of one turn of the event loop go as one message. The answer's channel closes when there
    /// is nobody to ask.
    pub fn ask(self: &Rc<Self>, ask: Ask) {
        let mut open = self.asking.open.borrow_mut();
        open.push(ask);
        if open.len() == 1 {
            let worker = self.clone();
            actix_rt::spawn(async move {
                // Behind the requests that are handled in this turn already.
                tokio::task::yield_now().await;
                let asks = Asks(worker.asking.open.take());
                // What cannot be sent is dropped, and with it the channels: those who wait go by their share.
                let _ = worker.asking.asks.send(&worker.shared.asks, asks);
            });
        }
    }

    /// Notes whom a limit has let pass or refused.
    pub fn sight<'k>(
        &self,
        limited: &CompiledLimit,
        key: u64,
        refused: bool,
        owner: impl FnOnce() -> Key<'k>,
    ) {
        let skip = self.asking.skip.get();
        let sampled = skip == 0;
        // At random: where each request meets two limits, every 16th decision would always be the same limit's.
        let next = if sampled { self.random(|random| random.u32(0..2 * SAMPLE - 1)) } else { skip - 1 };
        self.asking.skip.set(next);
        if !sampled && !refused {
            return;
        }
        let mut seen = self.asking.seen.borrow_mut();
        let seen = seen.get_or_insert_with(|| Seen { busiest: Top::new(LISTED), limited: Top::new(LISTED) });
        let id = limited.shared.id;
        let is = |sighted: &Sighted| sighted.key == key && sighted.limit == id;
        let sighted = || Sighted { limit: id, name: limited.shared.name.clone(), key, owner: owner().into() };
        if refused {
            seen.limited.note(1, is, sighted);
        } else {
            seen.busiest.note(SAMPLE.into(), is, sighted);
        }
    }

    /// Reports whom it has seen since the last time.
    pub fn report_sightings(&self) {
        let mut slot = self.asking.seen.borrow_mut();
        let Some(seen) = slot.as_mut().filter(|seen| !seen.busiest.is_empty() || !seen.limited.is_empty())
        else {
            return;
        };
        let sightings = Sightings { busiest: seen.busiest.take(), limited: seen.limited.take() };
        // Lists that cannot be sent are lost: they are estimates, and the next ones come in half a second.
        let _ = self.asking.sightings.send(&self.shared.sightings, sightings);
    }
}
