//! What the limits would say to a request, for whoever wants to know beforehand: nothing is charged, asked or counted.

use aegis_actors::rate_limiter::settings::OnError;
use aegis_actors::rate_limiter::{Limiter, Mode, Refusal, Spending, Standing};

use super::rules::{CompiledLimit, Facts, Limits};
use super::{Applicable, Applying, applicable, quota};

/// A limit that applies, and what it would say.
pub struct Peek<'a> {
    pub limited: &'a CompiledLimit,
    /// Whom it would be charged to.
    pub key: String,
    pub says: Says,
}

/// What a limit would say.
#[derive(Clone, Copy)]
pub enum Says {
    /// There is enough; so much is left after the request.
    Enough(Standing),
    Refused(Refusal),
    /// The shared store is away, and the rule lets pass what cannot be counted.
    Uncounted,
    /// The shared store is away, and the rule refuses then.
    Unavailable,
    /// Only the shared store knows.
    Unknown,
    /// The request is exempt.
    Exempt,
}

impl Says {
    /// How much is left before the request, where that is known.
    pub fn left(self, cost: u64) -> Option<u64> {
        match self {
            Self::Enough(standing) => Some(standing.remaining.saturating_add(cost)),
            Self::Refused(refusal) => Some(refusal.standing.remaining),
            _ => None,
        }
    }

    /// After how many seconds a refused request would pass.
    pub fn retry_after(self) -> Option<u64> {
        match self {
            Self::Refused(refusal) => Some(quota::seconds_up(refusal.retry_after).max(1)),
            Self::Unavailable => Some(1),
            _ => None,
        }
    }
}

/// Every limit that applies to a request: those that are enforced, then those in shadow.
pub fn peek<'a>(limits: &'a Limits, limiter: &Limiter, facts: &Facts<'_>) -> Vec<Peek<'a>> {
    let now = limiter.clock.now();
    let Applicable { enforced, shadows, exempt } = applicable(limits, limiter, limits.paths(), facts);
    let told = |&Applying { limited, key }: &Applying<'a>| Peek {
        limited,
        key: limited.key(facts).to_string(),
        says: if exempt { Says::Exempt } else { says(limited, limiter, key, now) },
    };
    enforced.iter().chain(&shadows).map(told).collect()
}

fn says(limited: &CompiledLimit, limiter: &Limiter, key: u64, now: u64) -> Says {
    let (shared, cost) = (&limited.shared, limited.cost);
    let of = |outcome: Result<Standing, Refusal>| outcome.map_or_else(Says::Refused, Says::Enough);
    let alone = || match limited.on_error {
        OnError::Local => of(limiter.probe_share(shared, key, now, cost)),
        OnError::Allow => Says::Uncounted,
        OnError::Deny => Says::Unavailable,
    };
    match limiter.mode() {
        Mode::Local => of(shared.buckets.probe(&shared.plan, key, now, cost)),
        Mode::Degraded => alone(),
        Mode::Shared => match shared.leases.peek(key, now, cost) {
            Spending::Spent { standing, .. } => Says::Enough(standing),
            Spending::Refused(refusal) => Says::Refused(refusal),
            Spending::BackOff => alone(),
            Spending::Ask => Says::Unknown,
        },
    }
}
