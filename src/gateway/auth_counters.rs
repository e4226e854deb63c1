//! How often which kind of credential was judged how.

use aegis_actors::traffic::Counters;

use crate::auth::Kind;

/// What came of judging a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Allowed,
    Missing,
    Invalid,
    Expired,
    Throttled,
    Unavailable,
    InsufficientScope,
    Denied,
    /// It may pass, and could not without `auth.rbac.shadow`.
    ShadowDenied,
}

impl Outcome {
    /// Each of them in its order, as metrics call it.
    const NAMES: [&str; 9] = [
        "allowed",
        "missing",
        "invalid",
        "expired",
        "throttled",
        "unavailable",
        "insufficient_scope",
        "denied",
        "shadow_denied",
    ];
}

/// Kinds of credentials in the order of [`Kind`], and none.
const METHODS: [&str; 4] = ["apiKey", "jwt", "mtls", "none"];

/// A counter for each kind and outcome.
pub struct AuthCounters {
    decisions: [[Counters; Outcome::NAMES.len()]; METHODS.len()],
    /// Tokens that were known, and that were not.
    hits: Counters,
    misses: Counters,
}

impl AuthCounters {
    /// Counters at zero for `workers` workers.
    pub fn new(workers: usize) -> Self {
        let counters = || Counters::new(workers);
        let decisions = std::array::from_fn(|_| std::array::from_fn(|_| counters()));
        Self { decisions, hits: counters(), misses: counters() }
    }

    /// Counts a request that was judged by a credential of this kind, or by none.
    pub fn count(&self, worker: usize, kind: Option<Kind>, outcome: Outcome) {
        let method = kind.map_or(METHODS.len() - 1, |kind| kind as usize);
        self.decisions[method][outcome as usize].add(worker, 1);
    }

    /// Counts a token that was looked for among those that are known.
    pub fn count_look_up(&self, worker: usize, found: bool) {
        let counters = if found { &self.hits } else { &self.misses };
        counters.add(worker, 1);
    }

    /// How many of them were known, and were not.
    pub fn look_ups(&self) -> (u64, u64) {
        (self.hits.sum(), self.misses.sum())
    }

    /// Each kind and outcome with what was counted.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let rows = METHODS.iter().zip(&self.decisions);
        rows.flat_map(|(method, row)| {
            Outcome::NAMES.iter().zip(row).map(|(outcome, count)| (*method, *outcome, count.sum()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_and_outcome_is_counted_under_its_name() {
        let counters = AuthCounters::new(1);
        for (at, kind) in [Kind::ApiKey, Kind::Jwt, Kind::Mtls].into_iter().enumerate() {
            assert_eq!(METHODS[at], kind.as_str());
        }
        counters.count(0, Some(Kind::Jwt), Outcome::ShadowDenied);
        counters.count(0, None, Outcome::Missing);
        let counted: Vec<_> = counters.all().filter(|(.., count)| *count > 0).collect();
        assert_eq!(counted, [("jwt", "shadow_denied", 1), ("none", "missing", 1)]);
    }
}
