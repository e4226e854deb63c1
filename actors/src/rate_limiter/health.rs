//! Whether the shared store is worth asking: its own small breaker.
//!
//! A call that fails says little by itself: it may be one key's, or those of one node of a cluster. So a failure is
//! followed by a probe at once. Only when that fails too, with no answer in between, the store is given up; where it is
//! answered, the store is there in part, and only the keys that failed are left alone for a while.

/// Failures in a row after which it is not asked any more, a probe among them.
const PATIENCE: u32 = 2;
/// Good probes in a row after which it is asked again.
const PROOF: u32 = 2;
/// Ticks without a failure after which it is there as a whole again.
const QUIET: u32 = 5;

/// See the module. Starts with trust.
#[derive(Clone, Debug, Default)]
pub struct Health {
    down: bool,
    /// Failures in a row while up, good probes in a row while down.
    streak: u32,
    /// A probe is among the failures.
    probed: bool,
    /// A call has failed since the last probe.
    unsure: bool,
    /// Ticks until a store that is there in part is trusted as a whole.
    partly: u32,
    error: Option<String>,
}

/// What has changed; for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Lost,
    Back,
    /// Some keys fail while others are answered.
    Partly,
    /// No key fails any more.
    Whole,
}

impl Health {
    /// Whether it is to be asked.
    pub fn is_up(&self) -> bool {
        !self.down
    }

    /// Whether a key that failed is to be left alone for a while.
    pub fn is_partly(&self) -> bool {
        self.partly > 0 && !self.down
    }

    /// Why it is not asked, or not for every key.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref().filter(|_| self.down || self.partly > 0)
    }

    /// Notes how a call for some keys ended: whether any was answered, and why another was not. After a failure it wants
    /// a [probe](Health::probe).
    pub fn call(&mut self, answered: bool, error: Option<&str>) -> Option<Turn> {
        if self.down {
            // It was under way when the store was given up.
            return None;
        }
        if let Some(error) = error {
            self.failed(error);
            self.unsure = true;
        }
        if answered {
            (self.streak, self.probed) = (0, false);
        }
        // Only in one and the same answer: otherwise the one may have come before the other's cause.
        if answered && error.is_some() { self.partly_if_unsure() } else { None }
    }

    /// Notes how a probe ended.
    pub fn probe(&mut self, result: Result<(), &str>) -> Option<Turn> {
        match (self.down, result) {
            (false, Ok(())) => {
                (self.streak, self.probed) = (0, false);
                self.partly_if_unsure()
            }
            (false, Err(error)) => {
                self.failed(error);
                self.probed = true;
                if self.streak < PATIENCE {
                    return None;
                }
                *self = Self { down: true, error: self.error.take(), ..Self::default() };
                Some(Turn::Lost)
            }
            (true, Ok(())) => {
                self.streak += 1;
                if self.streak < PROOF {
                    return None;
                }
                *self = Self::default();
                Some(Turn::Back)
            }
            (true, Err(error)) => {
                self.streak = 0;
                self.error = Some(error.to_owned());
                None
            }
        }
    }

    /// To be called every second.
    pub fn tick(&mut self) -> Option<Turn> {
        let was = self.partly;
        self.partly = was.saturating_sub(1);
        (was == 1).then_some(Turn::Whole)
    }

    /// It answers, but not for every key.
    fn partly_if_unsure(&mut self) -> Option<Turn> {
        if !std::mem::take(&mut self.unsure) {
            return None;
        }
        let was = std::mem::replace(&mut self.partly, QUIET);
        (was == 0).then_some(Turn::Partly)
    }

    fn failed(&mut self, error: &str) {
        self.streak += 1;
        self.error = Some(error.to_owned());
        if self.partly > 0 {
            self.partly = QUIET;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: (bool, Option<&str>) = (false, Some("slow"));

    fn call(health: &mut Health, (answered, error): (bool, Option<&str>)) -> Option<Turn> {
        health.call(answered, error)
    }

    #[test]
    fn calls_alone_condemn_nothing_but_a_call_and_a_probe_do() {
        let mut health = Health::default();
        assert_eq!((call(&mut health, FAILED), call(&mut health, FAILED)), (None, None));
        assert!(health.is_up());
        assert_eq!(health.probe(Err("gone")), Some(Turn::Lost));
        assert_eq!((health.is_up(), health.error()), (false, Some("gone")));
    }

    #[test]
    fn one_bad_probe_is_forgiven_and_one_good_one_is_no_proof() {
        let mut health = Health::default();
        let mut probes = |results: [Result<(), &str>; 3]| results.map(|result| health.probe(result));
        assert_eq!(probes([Err("slow"), Ok(()), Err("slow")]), [None; 3]);
        assert_eq!(call(&mut health, (true, None)), None);
        assert_eq!((health.probe(Err("slow")), health.is_up()), (None, true));
        assert_eq!(health.probe(Err("gone")), Some(Turn::Lost));
        let mut probes = |results: [Result<(), &str>; 3]| results.map(|result| health.probe(result));
        assert_eq!(probes([Ok(()), Err("gone again"), Ok(())]), [None; 3]);
        assert_eq!(call(&mut health, (true, None)), None, "it was under way before");
        assert_eq!(health.error(), Some("gone again"));
        assert_eq!(health.probe(Ok(())), Some(Turn::Back));
        assert!(health.is_up() && health.error().is_none());
    }

    #[test]
    fn where_some_are_answered_it_is_there_in_part_until_it_has_been_quiet() {
        let mut health = Health::default();
        assert_eq!((call(&mut health, FAILED), call(&mut health, (true, None))), (None, None));
        assert!(!health.is_partly(), "nobody knows yet");
        assert_eq!((health.probe(Ok(())), health.is_partly()), (Some(Turn::Partly), true));
        assert_eq!(health.error(), Some("slow"));
        (1..QUIET).for_each(|_| assert_eq!(health.tick(), None));
        assert_eq!(call(&mut health, (true, Some("one node"))), None);
        (1..QUIET).for_each(|_| assert_eq!(health.tick(), None));
        assert_eq!((health.tick(), health.is_partly(), health.error()), (Some(Turn::Whole), false, None));
        assert_eq!((health.tick(), health.probe(Ok(()))), (None, None));
        assert_eq!(call(&mut health, (true, Some("one node"))), Some(Turn::Partly));
    }
}
