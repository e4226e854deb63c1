//! Limits of this instance alone: decided in place, without waiting for anybody.

use aegis_actors::rate_limiter::Limiter;

use super::{Applying, Decision, longer, tightest};

/// Charges all limits or none.
pub fn decide(limiter: &Limiter, applying: &[Applying<'_>], now: u64) -> Decision {
    if let [Applying { limited, key }] = applying {
        return match limiter.charge(&limited.shared, *key, now, limited.cost) {
            Ok(standing) => Decision::Pass(Some((0, standing))),
            Err(refusal) => Decision::Refused(0, refusal),
        };
    }
    let mut refused = None;
    for (at, Applying { limited, key }) in applying.iter().enumerate() {
        let shared = &limited.shared;
        if let Err(refusal) = shared.buckets.probe(&shared.plan, *key, now, limited.cost) {
            refused = longer(refused, (at, refusal));
        }
    }
    if let Some((at, refusal)) = refused {
        return Decision::Refused(at, refusal);
    }
    let mut least = None;
    for (at, Applying { limited, key }) in applying.iter().enumerate() {
        match limiter.charge(&limited.shared, *key, now, limited.cost) {
            Ok(standing) => least = tightest(applying, least, (at, standing)),
            // Another worker was faster between the look and the charge.
            Err(refusal) => {
                for Applying { limited, key } in &applying[..at] {
                    limiter.refund(&limited.shared, *key, now, limited.cost);
                }
                return Decision::Refused(at, refusal);
            }
        }
    }
    Decision::Pass(least)
}
