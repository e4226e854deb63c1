//! The rate limit stage: which limits apply, whether all of them let the request pass, and what the client is told.
//!
//! All limits that apply are looked at before any is charged. Alone, an instance decides by its own buckets, in place and
//! at once (`local`). With Redis it spends what it has leased, and only a request for which nothing is left waits for an
//! answer (`distributed`).

mod asks;
mod distributed;
mod local;
pub mod peek;
mod quota;
pub mod rules;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use aegis_actors::metrics_aggregator::LimitCounts;
use aegis_actors::rate_limiter::{Decisions, LimitId, Limiter, Mode, Refusal, Standing};
use aegis_actors::traffic::Counters;
use regex::RegexSet;
use smallvec::SmallVec;

pub use self::asks::{Asking, SAMPLE};
pub use self::quota::{ExceededLimit, HeaderCache, Quota, is_quota};
use self::rules::{CompiledLimit, Facts, Limits, Verified};
use super::answer::Cause;
use super::request::{Refused, Request};
use super::worker::Worker;
use crate::router::Canonical;

/// A limit that applies to a request, and the fingerprint of whom it counts for.
#[derive(Clone, Copy)]
struct Applying<'a> {
    limited: &'a CompiledLimit,
    key: u64,
}

/// Most requests meet one limit, few more than four.
type All<'a> = SmallVec<[Applying<'a>; 4]>;

/// What all limits of a request say together. Which of them says it is its position among those that apply.
#[derive(Clone, Copy)]
enum Decision {
    /// The tightest of those that were charged.
    Pass(Option<(usize, Standing)>),
    Refused(usize, Refusal),
    /// The limit could not be asked, and its rule says to refuse then.
    Unavailable(usize),
}

/// What one limit said to a request.
#[derive(Clone, Copy, Debug)]
pub struct LimitOutcome {
    pub limit: LimitId,
    /// Left after the request, where that is known.
    pub remaining: Option<u64>,
    /// It refused, or, in `shadow`, would have.
    pub refused: bool,
    pub shadow: bool,
}

impl LimitOutcome {
    fn of(at: usize, limited: &CompiledLimit, decision: &Decision) -> Self {
        let (remaining, refused) = match decision {
            Decision::Pass(Some((by, standing))) if *by == at => (Some(standing.remaining), false),
            Decision::Refused(by, refusal) if *by == at => (Some(refusal.standing.remaining), true),
            Decision::Unavailable(by) if *by == at => (None, true),
            _ => (None, false),
        };
        Self { limit: limited.shared.id, remaining, refused, shadow: limited.shadow }
    }
}

/// Counts a limit's decision under its rule, and with the request that it was made for.
fn count(
    request: &Request,
    limited: &CompiledLimit,
    by_rule: fn(&Decisions) -> &Counters,
    of_request: fn(&mut LimitCounts) -> &mut u8,
) {
    by_rule(&limited.shared.decisions).add(request.worker.index, 1);
    let mut counts = request.record.limits.get();
    let counted = of_request(&mut counts);
    *counted = counted.saturating_add(1);
    request.record.limits.set(counts);
}

/// Charges every limit that applies to the request, or none where one of them refuses. Notes in it what the limits said, and
/// what its client is told of them whatever becomes of it.
///
/// # Errors
/// A limit is used up, or could not be asked and refuses then.
pub async fn check(
    mut request: Box<Request>,
    limits: &Limits,
    canonical: &Canonical<'_>,
) -> Result<Box<Request>, Refused> {
    let worker = &request.worker;
    let limiter = &*worker.shared.limiter;
    let facts = Facts {
        method: request.head.method.as_str(),
        host: request.head.host_name(),
        path: &canonical.path,
        trailing_slash: canonical.trailing_slash,
        route: request.record.route.map_or("", |index| &request.snapshot.routes[index].limited_as),
        behind_proxy: request.trusted,
        client: request.record.client,
        verified: Verified::of(request.record.identity(), request.record.key()),
    };
    let Applicable { enforced, shadows, exempt } =
        applicable(limits, limiter, request.snapshot.limit_paths(), &facts);
    if exempt {
        for Applying { limited, .. } in enforced.iter().chain(&shadows) {
            count(&request, limited, |rule| &rule.bypassed, |request| &mut request.bypassed);
        }
        return Ok(request);
    }
    let now = limiter.clock.at(request.record.started);
    let decision = decide(worker, &enforced, &facts, now).await;
    let mut outcomes: SmallVec<[LimitOutcome; 2]> = SmallVec::new();
    for (at, Applying { limited, key }) in enforced.iter().enumerate() {
        let outcome = LimitOutcome::of(at, limited, &decision);
        outcomes.push(outcome);
        match decision {
            Decision::Refused(by, _) if by == at => {
                count(&request, limited, |rule| &rule.limited, |request| &mut request.limited);
            }
            Decision::Pass(_) => {
                count(&request, limited, |rule| &rule.allowed, |request| &mut request.allowed);
            }
            // Another has refused, so this one was not charged; or nobody knows.
            Decision::Refused(..) | Decision::Unavailable(_) => continue,
        }
        worker.sight(limited, *key, outcome.refused, || limited.key(&facts));
    }
    // Those in shadow decide each for itself, on what passes.
    if matches!(decision, Decision::Pass(_)) {
        for applying @ Applying { limited, key } in &shadows {
            let decision = decide(worker, std::slice::from_ref(applying), &facts, now).await;
            outcomes.push(LimitOutcome::of(0, limited, &decision));
            if matches!(decision, Decision::Pass(_)) {
                count(&request, limited, |rule| &rule.allowed, |request| &mut request.allowed);
            } else {
                count(&request, limited, |rule| &rule.shadow, |request| &mut request.shadow);
            }
            let refused = matches!(decision, Decision::Refused(..));
            worker.sight(limited, *key, refused, || limited.key(&facts));
        }
    }
    request.record.request_trace.limits = outcomes;
    let wall = limiter.wall(now);
    match decision {
        Decision::Pass(tightest) => {
            request.quota = tightest
                .filter(|_| limits.headers)
                .map(|(at, standing)| Quota::new(enforced[at].limited, standing, limiter.mode(), wall));
            Ok(request)
        }
        Decision::Refused(at, refusal) => {
            let limited = enforced[at].limited;
            request.quota = limits.headers.then(|| Quota::refused(limited, &refusal, wall));
            let exceeded = quota::exceeded(limited, &refusal);
            Err(Refused {
                retry_after: Some(exceeded.retry_after_seconds),
                more: Some(exceeded),
                ..Refused::new(request, Cause::RateLimited)
            })
        }
        Decision::Unavailable(_) => {
            Err(Refused { retry_after: Some(1), ..Refused::new(request, Cause::LimiterUnavailable) })
        }
    }
}

/// What applies to a request.
struct Applicable<'a> {
    enforced: All<'a>,
    shadows: All<'a>,
    /// None of them is charged.
    exempt: bool,
}

/// The limits that apply to a request, each with whom it would be charged to.
fn applicable<'a>(
    limits: &'a Limits,
    limiter: &Limiter,
    paths: &RegexSet,
    facts: &Facts<'_>,
) -> Applicable<'a> {
    let (mut enforced, mut shadows) = (All::new(), All::new());
    let exempt = limits.applying(paths, facts, |limited| {
        let key = limiter.prints.of(&limited.key(facts));
        let list = if limited.shadow { &mut shadows } else { &mut enforced };
        list.push(Applying { limited, key });
    });
    Applicable { enforced, shadows, exempt }
}

/// Asks whoever keeps the limits now.
async fn decide(worker: &Rc<Worker>, applying: &[Applying<'_>], facts: &Facts<'_>, now: u64) -> Decision {
    match worker.shared.limiter.mode() {
        Mode::Local => local::decide(&worker.shared.limiter, applying, now),
        mode => match distributed::decide_at_once(mode, applying, now) {
            Some(decision) => decision,
            // Boxed, so that requests that need not wait carry no room for it.
            None => Box::pin(distributed::decide(worker, mode, applying, facts, now)).await,
        },
    }
}

/// Of what was charged, the limit with the least left, by share of the whole.
fn tightest(
    applying: &[Applying<'_>],
    before: Option<(usize, Standing)>,
    next: (usize, Standing),
) -> Option<(usize, Standing)> {
    let share = |(at, standing): &(usize, Standing)| {
        standing.remaining as f64 / applying[*at].limited.shared.plan.capacity as f64
    };
    Some(before.filter(|before| share(before) <= share(&next)).unwrap_or(next))
}

/// Of two refusals the one that lasts longer: until it is over the request does not pass.
fn longer(before: Option<(usize, Refusal)>, next: (usize, Refusal)) -> Option<(usize, Refusal)> {
    Some(before.filter(|before| before.1.retry_after >= next.1.retry_after).unwrap_or(next))
}
