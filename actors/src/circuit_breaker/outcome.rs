//! What a call says about its target, and what a breaker holds against one. What of a request makes which outcome
//! is the table "what a failure is" of `docs/configuration.md`.

/// Statuses that never say how well a target is: who asks decides whether they are answered. A caller that is slow
/// gets 408, one that asks too often 429, and an unknown method or version 501 or 505.
pub const UNJUDGED: [u16; 4] = [408, 429, 501, 505];

/// How a call ended. One that says nothing at all (its client left, a pooled connection had been closed) has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody takes connections there: refused, unreachable, no such name.
    Refused,
    /// Somebody may be there and does not answer: silent, no TLS, a reset, no head in time or an unusable one.
    Unanswered,
    /// An answer whose status counts as a failure.
    Failed,
    /// An answer that shows that the target is there, and no more.
    Reached,
    /// Any other answer.
    Answered,
    /// An answer that was reported as `Answered` and whose body broke off.
    BrokeOff,
}

impl Outcome {
    /// Whether it is held against the target.
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::Reached | Self::Answered)
    }

    /// What it still adds when the same request has told of the same target before: the tries of one request count
    /// once. That the target was reached ends a row of failures all the same.
    pub fn again(self) -> Option<Self> {
        match self {
            Self::Failed | Self::Answered => Some(Self::Reached),
            Self::Reached => Some(self),
            Self::Refused | Self::Unanswered | Self::BrokeOff => None,
        }
    }
}

/// What a breaker holds against its target while it is not closed. A probe is asked the same question: where the
/// target was not reached any answer will do, where its answers were bad it must be a good one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nobody takes connections.
    Refused,
    /// Nobody answers.
    Unanswered,
    /// Too many answers are failures, or slow.
    #[default]
    Answers,
}

impl Fault {
    /// Whether a probe that ended like this has failed.
    pub(super) fn stays(self, probe: Outcome, slow: bool) -> bool {
        match probe {
            Outcome::Refused | Outcome::Unanswered => true,
            Outcome::Failed | Outcome::BrokeOff => self == Self::Answers,
            Outcome::Answered => self == Self::Answers && slow,
            Outcome::Reached => false,
        }
    }
}
