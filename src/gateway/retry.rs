//! The retry policy: whether a request whose try has failed is tried again. Pure: facts in, a decision out.

use std::ops::RangeInclusive;

/// Tries of one request that may meet a closed pooled connection and still not count.
const MOST_STALE: u32 = 4;

/// What a failure means for another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// No other try could do better.
    Final,
    /// The upstream had closed the pooled connection: repeated at once, and without touching the budget.
    StaleConnection,
    /// Another try may do better.
    Transient,
}

/// All that the decision goes by.
#[derive(Clone, Copy)]
pub struct Facts {
    pub kind: FailureKind,
    /// The request's method is idempotent.
    pub idempotent: bool,
    /// Some of the request has gone out: it may have been processed.
    pub sent: bool,
    /// Its body can be sent again from the start.
    pub replayable: bool,
    /// The time for all tries is not over.
    pub in_time: bool,
    /// Tries so far that met a closed pooled connection, and the others.
    pub stale: u32,
    pub tries: u32,
    /// The most retries.
    pub retries: u32,
}

/// What follows a failed try.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    RetryAtOnce,
    RetryAfterPause,
    GiveUp(Reason),
}

/// Why there is no further try.
#[derive(Debug, PartialEq, Eq)]
pub enum Reason {
    /// Another would do no better.
    Final,
    /// The request may have been processed, and its method is not idempotent.
    MaybeProcessed,
    /// Not all of the body has been kept.
    BodyNotKept,
    OutOfTime,
    TriesUsed,
    /// The backend's retry budget is spent.
    OverBudget,
}

impl Facts {
    /// Decides; `spend` takes a retry from the budget, and is asked only where one would follow.
    pub fn decide(self, spend: impl FnOnce() -> bool) -> Decision {
        match self.kind {
            FailureKind::Final => Decision::GiveUp(Reason::Final),
            _ if self.sent && !self.idempotent => Decision::GiveUp(Reason::MaybeProcessed),
            _ if !self.replayable => Decision::GiveUp(Reason::BodyNotKept),
            _ if !self.in_time => Decision::GiveUp(Reason::OutOfTime),
            FailureKind::StaleConnection if self.stale < MOST_STALE => Decision::RetryAtOnce,
            FailureKind::Transient if self.tries <= self.retries => match spend() {
                true => Decision::RetryAfterPause,
                false => Decision::GiveUp(Reason::OverBudget),
            },
            FailureKind::StaleConnection | FailureKind::Transient => Decision::GiveUp(Reason::TriesUsed),
        }
    }
}

/// From which pauses, in milliseconds, one is drawn after so many tries: at most 50, doubled by each try, up to 250.
pub fn pauses_ms(tries: u32) -> RangeInclusive<u64> {
    25..=(25u64 << tries.min(4)).min(250)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAFE: Facts = Facts {
        kind: FailureKind::Transient,
        idempotent: true,
        sent: true,
        replayable: true,
        in_time: true,
        stale: 0,
        tries: 1,
        retries: 2,
    };

    #[test]
    fn each_fact_decides_as_the_table_says() {
        use Decision::*;
        let unsafe_ = Facts { idempotent: false, ..SAFE };
        let stale = Facts { kind: FailureKind::StaleConnection, tries: 3, ..SAFE };
        for (facts, expected) in [
            (SAFE, RetryAfterPause),
            (Facts { tries: 2, ..SAFE }, RetryAfterPause),
            (Facts { tries: 3, ..SAFE }, GiveUp(Reason::TriesUsed)),
            (Facts { retries: 0, ..SAFE }, GiveUp(Reason::TriesUsed)),
            (Facts { kind: FailureKind::Final, ..SAFE }, GiveUp(Reason::Final)),
            (Facts { replayable: false, ..SAFE }, GiveUp(Reason::BodyNotKept)),
            (Facts { in_time: false, ..SAFE }, GiveUp(Reason::OutOfTime)),
            (unsafe_, GiveUp(Reason::MaybeProcessed)),
            (Facts { sent: false, ..unsafe_ }, RetryAfterPause),
            (stale, RetryAtOnce),
            (Facts { stale: 3, ..stale }, RetryAtOnce),
            (Facts { stale: 4, ..stale }, GiveUp(Reason::TriesUsed)),
            (Facts { idempotent: false, ..stale }, GiveUp(Reason::MaybeProcessed)),
            (Facts { idempotent: false, sent: false, ..stale }, RetryAtOnce),
            (Facts { replayable: false, ..stale }, GiveUp(Reason::BodyNotKept)),
            (Facts { in_time: false, ..stale }, GiveUp(Reason::OutOfTime)),
        ] {
            assert_eq!(facts.decide(|| true), expected);
            // Only what would be tried again after a pause costs anything.
            let broke = if expected == RetryAfterPause { GiveUp(Reason::OverBudget) } else { expected };
            assert_eq!(facts.decide(|| false), broke);
        }
    }

    #[test]
    fn pauses_double_up_to_a_quarter_of_a_second() {
        assert_eq!([1, 2, 3, 4, 100].map(|tries| *pauses_ms(tries).end()), [50, 100, 200, 250, 250]);
    }
}
