//! The rate limit stage: which limits apply, whether all of them let the request pass, and what the client is told.
//!
//! All limits that apply are looked at before any is charged. Alone, an instance decides by its own buckets, in place and
//! at once. With Redis it spends what it has leased, and only a request for which nothing is left waits for an answer.

mod alone;
mod asks;
mod leased;
mod quota;
pub mod rules;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use aegis_actors::rate_limiter::{LimitId, Limiter, Mode, Refusal, Standing};
use smallvec::SmallVec;

pub use self::asks::{Asking, SAMPLE};
pub use self::quota::{Quota, Told, Violation, is_quota};
use self::rules::{Facts, Limited, Limits, Verified};
use super::answer::Cause;
use super::request::{Refused, Request};
use super::worker::Worker;
use crate::router::Canonical;

/// A limit that applies to a request, and the fingerprint of whom it counts for.
#[derive(Clone, Copy)]
struct Applying<'a> {
    limited: &'a Limited,
    key: u64,
}

/// Most requests meet one limit, few more than four.
type All<'a> = SmallVec<[Applying<'a>; 4]>;

/// What the limits say of a request.
enum Decision<'a> {
    /// The tightest of those that were charged.
    Pass(Option<(&'a Limited, Standing)>),
    Refused(&'a Limited, Refusal),
    /// The limit could not be asked, and its rule says to refuse then.
    Unavailable(&'a Limited),
}

/// What the stage says to a request.
#[derive(Default)]
pub struct Verdict {
    /// What the client is told of its limit, whatever becomes of the request.
    pub quota: Option<Quota>,
    /// Why it is refused, if it is.
    pub refusal: Option<Denial>,
    /// The limits that were looked at, those in shadow last.
    pub consulted: AllConsulted,
}

/// What the limits of a request said to it.
pub type AllConsulted = SmallVec<[Consulted; 2]>;

/// What one limit said to a request.
#[derive(Clone, Copy, Debug)]
pub struct Consulted {
    pub limit: LimitId,
    /// Left after the request, where that is known.
    pub remaining: Option<u64>,
    /// It refused, or, in `shadow`, would have.
    pub refused: bool,
    pub shadow: bool,
}

impl Consulted {
    fn of(limited: &Limited, decision: &Decision<'_>) -> Self {
        let limit = limited.cells.id;
        let (remaining, refused) = match decision {
            Decision::Pass(Some((by, standing))) if std::ptr::eq(*by, limited) => {
                (Some(standing.remaining), false)
            }
            Decision::Refused(by, refusal) if std::ptr::eq(*by, limited) => {
                (Some(refusal.standing.remaining), true)
            }
            Decision::Unavailable(by) if std::ptr::eq(*by, limited) => (None, true),
            _ => (None, false),
        };
        Self { limit, remaining, refused, shadow: limited.shadow }
    }
}

/// What a limit decided, as it is counted.
#[derive(Clone, Copy)]
enum Decided {
    Allowed,
    Limited,
    /// Let pass by a rule in shadow that would have refused.
    Shadow,
    Bypassed,
}

/// Counts a limit's decision under its rule, and with the request that it was made for.
fn count(request: &Request, limited: &Limited, decided: Decided) {
    let (rule, mut with_request) = (&limited.cells.decisions, request.record.limits.get());
    let (by_rule, counted) = match decided {
        Decided::Allowed => (&rule.allowed, &mut with_request.allowed),
        Decided::Limited => (&rule.limited, &mut with_request.limited),
        Decided::Shadow => (&rule.shadow, &mut with_request.shadow),
        Decided::Bypassed => (&rule.bypassed, &mut with_request.bypassed),
    };
    by_rule.add(request.worker.index, 1);
    *counted = counted.saturating_add(1);
    request.record.limits.set(with_request);
}

/// Why a request is refused.
pub enum Denial {
    /// A limit is used up.
    Exceeded(Violation),
    /// A limit could not be asked.
    Unavailable,
}

impl Denial {
    /// The refusal of a request.
    pub fn of(self, request: Box<Request>) -> Refused {
        match self {
            Self::Exceeded(violation) => Refused {
                retry_after: Some(violation.retry_after_seconds),
                more: Some(violation),
                ..Refused::new(request, Cause::RateLimited)
            },
            Self::Unavailable => {
                Refused { retry_after: Some(1), ..Refused::new(request, Cause::LimiterUnavailable) }
            }
        }
    }
}

/// Charges every limit that applies to the request, or none where one of them refuses.
pub async fn check(request: &Request, limits: &Limits, canonical: &Canonical<'_>) -> Verdict {
    let (worker, snapshot) = (&request.worker, &request.snapshot);
    let limiter = &*worker.shared.limiter;
    let facts = Facts {
        method: request.head.method.as_str(),
        host: request.head.host_name(),
        path: &canonical.path,
        trailing_slash: canonical.trailing_slash,
        route: request.record.route.map_or("", |index| &snapshot.routes[index].limited_as),
        behind_proxy: request.trusted,
        client: request.record.client,
        // Authentication comes with a later version: so far nobody is verified.
        verified: Verified::default(),
    };
    let (mut enforced, mut shadows) = (All::new(), All::new());
    let exempt = limits.applying(snapshot.limit_paths(), &facts, |limited| {
        let key = limiter.prints.of(&limited.key(&facts));
        let list = if limited.shadow { &mut shadows } else { &mut enforced };
        list.push(Applying { limited, key });
    });
    if exempt {
        for Applying { limited, .. } in enforced.iter().chain(&shadows) {
            count(request, limited, Decided::Bypassed);
        }
        return Verdict::default();
    }
    let now = limiter.clock.at(request.record.started);
    let decision = decide(worker, &enforced, &facts, now).await;
    let mut consulted = AllConsulted::new();
    for applying in &enforced {
        consulted.push(Consulted::of(applying.limited, &decision));
        let refused = match &decision {
            Decision::Pass(_) => false,
            Decision::Refused(by, _) if std::ptr::eq(*by, applying.limited) => true,
            Decision::Refused(..) | Decision::Unavailable(_) => continue,
        };
        count(request, applying.limited, if refused { Decided::Limited } else { Decided::Allowed });
        worker.sight(applying.limited, applying.key, refused, || applying.limited.key(&facts));
    }
    match decision {
        Decision::Pass(tightest) => {
            if !shadows.is_empty() {
                shadow(request, &shadows, &facts, now, &mut consulted).await;
            }
            let quota = tightest.filter(|_| limits.headers);
            let wall = limiter.wall(now);
            let quota = quota.map(|(limited, standing)| Quota::new(limited, standing, limiter.mode(), wall));
            Verdict { quota, refusal: None, consulted }
        }
        Decision::Refused(limited, refusal) => Verdict {
            quota: limits.headers.then(|| Quota::refused(limited, &refusal, limiter.wall(now))),
            refusal: Some(Denial::Exceeded(quota::violation(limited, &refusal))),
            consulted,
        },
        Decision::Unavailable(_) => Verdict { quota: None, refusal: Some(Denial::Unavailable), consulted },
    }
}

/// Asks whoever keeps the limits now.
async fn decide<'a>(
    worker: &Rc<Worker>,
    applying: &[Applying<'a>],
    facts: &Facts<'_>,
    now: u64,
) -> Decision<'a> {
    match worker.shared.limiter.mode() {
        Mode::Local => alone::decide(&worker.shared.limiter, applying, now),
        mode => match leased::decide_at_once(mode, applying, now) {
            Some(decision) => decision,
            // Boxed, so that requests that need not wait carry no room for it.
            None => Box::pin(leased::decide(worker, mode, applying, facts, now)).await,
        },
    }
}

/// Decides and counts by the rules in shadow, each for itself, and notes what they said.
async fn shadow(
    request: &Request,
    shadows: &All<'_>,
    facts: &Facts<'_>,
    now: u64,
    consulted: &mut AllConsulted,
) {
    let worker = &request.worker;
    for applying in shadows {
        let decision = decide(worker, std::slice::from_ref(applying), facts, now).await;
        let passes = matches!(decision, Decision::Pass(_));
        consulted.push(Consulted::of(applying.limited, &decision));
        count(request, applying.limited, if passes { Decided::Allowed } else { Decided::Shadow });
        let refused = matches!(decision, Decision::Refused(..));
        worker.sight(applying.limited, applying.key, refused, || applying.limited.key(facts));
    }
}

/// Of what was charged, the limit with the least left, by share of the whole.
fn tightest<'a>(
    before: Option<(&'a Limited, Standing)>,
    next: (&'a Limited, Standing),
) -> Option<(&'a Limited, Standing)> {
    let share = |(limited, standing): &(&Limited, Standing)| {
        standing.remaining as f64 / limited.cells.plan.capacity as f64
    };
    Some(match before {
        Some(before) if share(&before) <= share(&next) => before,
        _ => next,
    })
}

/// Of two refusals the one that lasts longer: until it is over the request does not pass.
fn longer<'a>(
    before: Option<(&'a Limited, Refusal)>,
    next: (&'a Limited, Refusal),
) -> Option<(&'a Limited, Refusal)> {
    Some(match before {
        Some(before) if before.1.retry_after >= next.1.retry_after => before,
        _ => next,
    })
}

/// Takes back what was charged to this instance's own buckets.
fn refund(limiter: &Limiter, charged: &[Applying<'_>], now: u64) {
    for Applying { limited, key } in charged {
        limiter.refund(&limited.cells, *key, now, limited.cost);
    }
}
