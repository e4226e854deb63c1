//! Limits of this instance alone: decided in place, without waiting for anybody.

use aegis_actors::rate_limiter::Limiter;

use super::{Applying, Decision, longer, refund, tightest};

/// Charges all limits or none.
pub fn decide<'a>(limiter: &Limiter, applying: &[Applying<'a>], now: u64) -> Decision<'a> {
    if let [one] = applying {
        return match limiter.charge(&one.limited.cells, one.key, now, one.limited.cost) {
            Ok(standing) => Decision::Pass(Some((one.limited, standing))),
            Err(refusal) => Decision::Refused(one.limited, refusal),
        };
    }
    let mut refused = None;
    for Applying { limited, key } in applying {
        let cells = &limited.cells;
        if let Err(refusal) = cells.buckets.probe(&cells.plan, *key, now, limited.cost) {
            refused = longer(refused, (limited, refusal));
        }
    }
    if let Some((limited, refusal)) = refused {
        return Decision::Refused(limited, refusal);
    }
    let mut least = None;
    for (charged, Applying { limited, key }) in applying.iter().enumerate() {
        match limiter.charge(&limited.cells, *key, now, limited.cost) {
            Ok(standing) => least = tightest(least, (limited, standing)),
            // Another worker was faster between the look and the charge.
            Err(refusal) => {
                refund(limiter, &applying[..charged], now);
                return Decision::Refused(limited, refusal);
            }
        }
    }
    Decision::Pass(least)
}
