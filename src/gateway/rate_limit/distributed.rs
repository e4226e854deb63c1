//! Limits of all instances: spent from leases, or asked for, or decided by the rule for a store that is away.

use std::rc::Rc;
use std::time::Duration;

use aegis_actors::rate_limiter::settings::OnError;
use aegis_actors::rate_limiter::{Ask, Mode, Refusal, Reply, Share, Spending, Standing};
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::rules::{CompiledLimit, Facts};
use super::{Applying, Decision, longer, tightest};
use crate::gateway::worker::Worker;

/// A request waits for the shared store for its patience and this, 45 ms by default: in all, for however many answers, those
/// of rules in shadow included.
const MORE: Duration = Duration::from_millis(5);

/// Pause before the successor of an actor that has died is asked: it takes a few milliseconds to start.
const AGAIN: Duration = Duration::from_millis(5);

/// What one limit has answered, and what has to be undone if another refuses.
enum StoreOutcome {
    /// Charged; until then it may be put back.
    Leased(Standing, u64),
    /// Charged to this instance's share.
    Share(Standing, Share, Without),
    /// Not counted: the rule lets pass what cannot be counted.
    Uncounted(Without),
    Refused(Refusal),
    Unavailable,
}

/// Why a limit is decided without the shared store.
#[derive(Clone, Copy, PartialEq)]
enum Without {
    /// It is away, for all keys or for this one.
    Away,
    /// It was asked and is late: it will count the request when it gets to it.
    Asked,
    /// It is late, and does not know of the request. If that passes, it is to be told.
    Untold,
}

/// Most requests: one limit, and its lease or the store's last refusal of it is at hand.
pub fn decide_at_once(mode: Mode, applying: &[Applying<'_>], now: u64) -> Option<Decision> {
    let ([Applying { limited, key }], Mode::Shared) = (applying, mode) else { return None };
    match limited.shared.leases.spend(*key, now, limited.cost) {
        Spending::Spent { standing, .. } => Some(Decision::Pass(Some((0, standing)))),
        Spending::Refused(refusal) => Some(Decision::Refused(0, refusal)),
        Spending::BackOff | Spending::Ask => None,
    }
}

/// Charges all limits or none.
pub async fn decide(
    worker: &Rc<Worker>,
    mode: Mode,
    applying: &[Applying<'_>],
    facts: &Facts<'_>,
    now: u64,
) -> Decision {
    let mut outcomes: SmallVec<[Option<StoreOutcome>; 4]> = SmallVec::new();
    for Applying { limited, key } in applying {
        outcomes.push(match mode {
            Mode::Shared => match limited.shared.leases.spend(*key, now, limited.cost) {
                Spending::Spent { standing, until } => Some(StoreOutcome::Leased(standing, until)),
                Spending::Refused(refusal) => Some(StoreOutcome::Refused(refusal)),
                Spending::BackOff => Some(without_store(worker, limited, *key, now, Without::Away)),
                Spending::Ask => None,
            },
            Mode::Local | Mode::Degraded => Some(without_store(worker, limited, *key, now, Without::Away)),
        });
    }
    // What is refused already need not be asked for.
    if !outcomes
        .iter()
        .flatten()
        .any(|outcome| matches!(outcome, StoreOutcome::Refused(_) | StoreOutcome::Unavailable))
    {
        ask(worker, applying, &mut outcomes, facts, now).await;
    }
    conclude(worker, applying, &outcomes, facts, now)
}

/// Asks the store for every limit that has no outcome yet.
async fn ask(
    worker: &Rc<Worker>,
    applying: &[Applying<'_>],
    outcomes: &mut [Option<StoreOutcome>],
    facts: &Facts<'_>,
    now: u64,
) {
    // From the request's begin: what its other limits have waited for is part of it.
    let waited = worker.shared.limiter.clock.now().saturating_sub(now);
    let patience = worker.shared.limiter.patience() + MORE;
    let deadline = tokio::time::Instant::now() + patience.saturating_sub(Duration::from_nanos(waited));
    loop {
        let mut open: SmallVec<[(usize, oneshot::Receiver<Reply>); 4]> = SmallVec::new();
        for (at, Applying { limited, key }) in
            applying.iter().enumerate().filter(|(at, _)| outcomes[*at].is_none())
        {
            let (reply, answer) = oneshot::channel();
            worker.ask(question(limited, *key, facts, applying.len() > 1, Some(reply)));
            open.push((at, answer));
        }
        if open.is_empty() {
            return;
        }
        let last = deadline < tokio::time::Instant::now() + AGAIN;
        for (at, answer) in open {
            let Applying { limited, key } = applying[at];
            outcomes[at] = match tokio::time::timeout_at(deadline, answer).await {
                Ok(Ok(Reply::Granted { standing, until })) => Some(StoreOutcome::Leased(standing, until)),
                Ok(Ok(Reply::Refused(refusal))) => Some(StoreOutcome::Refused(refusal)),
                Ok(Ok(Reply::Unavailable { charged })) => {
                    let why = if charged { Without::Asked } else { Without::Untold };
                    Some(without_store(worker, limited, key, now, why))
                }
                Err(_) => Some(without_store(worker, limited, key, now, Without::Untold)),
                // The actor has died with the question; its successor is there in a moment.
                Ok(Err(_)) => last.then(|| without_store(worker, limited, key, now, Without::Untold)),
            };
        }
        if outcomes.iter().any(Option::is_none) {
            tokio::time::sleep(AGAIN).await;
        }
    }
}

fn question(
    limited: &CompiledLimit,
    key: u64,
    facts: &Facts<'_>,
    returnable: bool,
    reply: Option<oneshot::Sender<Reply>>,
) -> Ask {
    let owner = limited.key(facts).into();
    Ask { limit: limited.shared.clone(), key, owner, cost: limited.cost, returnable, reply }
}

fn without_store(worker: &Worker, limited: &CompiledLimit, key: u64, now: u64, why: Without) -> StoreOutcome {
    if worker.shared.limiter.mode() == Mode::Local {
        // A reload has taken the store away meanwhile.
        return share(worker, limited, key, now, why);
    }
    limited.shared.decisions.error.add(worker.index, 1);
    match limited.on_error {
        OnError::Local => share(worker, limited, key, now, why),
        OnError::Allow => StoreOutcome::Uncounted(why),
        OnError::Deny => StoreOutcome::Unavailable,
    }
}

fn share(worker: &Worker, limited: &CompiledLimit, key: u64, now: u64, why: Without) -> StoreOutcome {
    let limiter = &worker.shared.limiter;
    let late = why != Without::Away && limiter.mode() == Mode::Shared;
    let share = limiter.share(&limited.shared, limited.cost, late);
    match limiter.charge_share(&limited.shared, key, now, &share) {
        Ok(standing) => StoreOutcome::Share(standing, share, why),
        Err(refusal) => StoreOutcome::Refused(refusal),
    }
}

fn conclude(
    worker: &Rc<Worker>,
    applying: &[Applying<'_>],
    outcomes: &[Option<StoreOutcome>],
    facts: &Facts<'_>,
    came: u64,
) -> Decision {
    let (mut refused, mut unavailable, mut least) = (None, None, None);
    for (at, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Some(StoreOutcome::Leased(standing, _) | StoreOutcome::Share(standing, ..)) => {
                least = tightest(applying, least, (at, *standing));
            }
            Some(StoreOutcome::Refused(refusal)) => refused = longer(refused, (at, *refusal)),
            Some(StoreOutcome::Unavailable) => unavailable = Some(at),
            Some(StoreOutcome::Uncounted(_)) | None => {}
        }
    }
    let decision = match (refused, unavailable) {
        (Some((at, refusal)), _) => Decision::Refused(at, refusal),
        (None, Some(at)) => Decision::Unavailable(at),
        (None, None) => {
            settle(worker, applying, outcomes, facts);
            return Decision::Pass(least);
        }
    };
    // Not when the request came: a lease may have ended since.
    let now = worker.shared.limiter.clock.now();
    // Another limit refuses: what this request has taken of the others is somebody else's.
    for (Applying { limited, key }, outcome) in applying.iter().zip(outcomes) {
        match outcome {
            Some(StoreOutcome::Leased(_, until)) => {
                limited.shared.leases.put_back(*key, now, *until, limited.cost)
            }
            Some(StoreOutcome::Share(_, share, _)) => {
                worker.shared.limiter.refund_share(&limited.shared, *key, came, share);
            }
            _ => {}
        }
    }
    decision
}

/// Tells the store of what has passed without it, where it is in use.
fn settle(
    worker: &Rc<Worker>,
    applying: &[Applying<'_>],
    outcomes: &[Option<StoreOutcome>],
    facts: &Facts<'_>,
) {
    if worker.shared.limiter.mode() != Mode::Shared {
        return;
    }
    for (Applying { limited, key }, outcome) in applying.iter().zip(outcomes) {
        if let Some(StoreOutcome::Share(_, _, Without::Untold) | StoreOutcome::Uncounted(Without::Untold)) =
            outcome
        {
            worker.ask(question(limited, *key, facts, false, None));
        }
    }
}
