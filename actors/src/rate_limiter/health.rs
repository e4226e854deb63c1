//! Whether the shared store is worth asking: its own small breaker.
//!
//! A call that fails says little by itself: it may be one key's, or those of one node of a cluster, or the store has stood
//! still for a moment. So a failure is followed by a probe. Only when one fails that was sent after a failure, with no
//! answer in between, the store is given up. Where it is answered and the store is several servers, it is there in part,
//! and only the keys that failed are left alone for a while. So it is where a single one answers that it will not do what
//! it is asked for: its ACL lacks a command, or it is a node of a cluster and has some of the keys only.

/// Good probes in a row after which it is asked again.
const PROOF: u32 = 2;
/// Ticks (seconds) without a failure after which it is there as a whole again.
const RECOVERY: u32 = 5;
/// The same where it has said that it will not: that does not pass by itself.
const REFUSED_RECOVERY: u32 = 60;

/// See the module. Starts with trust.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// It is several servers, of which one may be away: a single one that answers at all answers for every key.
    several: bool,
    down: bool,
    /// Something has failed since the last answer.
    failing: bool,
    /// The probe that is under way was sent after that.
    following: bool,
    /// Good probes in a row while down.
    good: u32,
    /// A call has failed since the last probe.
    unsure: bool,
    /// It has answered that it will not do what it was asked for.
    refused: bool,
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
    /// Of a store of one server, or of several that share its keys.
    pub fn new(several: bool) -> Self {
        Self { several, ..Self::default() }
    }

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
            self.answered();
        }
        // Only in one and the same answer: otherwise the one may have come before the other's cause.
        if answered && error.is_some() { self.partly_if_unsure() } else { None }
    }

    /// Notes, before the call's end, that its error was an answer.
    pub fn refused(&mut self) {
        self.refused = true;
    }

    /// Notes that a probe is sent.
    pub fn probing(&mut self) {
        self.following = self.failing;
    }

    /// Notes how the probe ended. After a failure that does not condemn the store it wants another one.
    pub fn probe(&mut self, result: Result<(), &str>) -> Option<Turn> {
        match (self.down, result) {
            (false, Ok(())) => {
                self.answered();
                self.partly_if_unsure()
            }
            (false, Err(error)) => {
                self.failed(error);
                if !self.following {
                    return None;
                }
                *self = Self { down: true, error: self.error.take(), ..Self::new(self.several) };
                Some(Turn::Lost)
            }
            (true, Ok(())) => {
                self.good += 1;
                if self.good < PROOF {
                    return None;
                }
                *self = Self::new(self.several);
                Some(Turn::Back)
            }
            (true, Err(error)) => {
                self.good = 0;
                self.error = Some(error.to_owned());
                None
            }
        }
    }

    /// To be called every second.
    pub fn tick(&mut self) -> Option<Turn> {
        let was = self.partly;
        self.partly = was.saturating_sub(1);
        self.refused &= self.partly > 0;
        (was == 1).then_some(Turn::Whole)
    }

    /// It answers, but not for every key.
    fn partly_if_unsure(&mut self) -> Option<Turn> {
        if !std::mem::take(&mut self.unsure) || !(self.several || self.refused) {
            return None;
        }
        let ticks = self.recovery();
        let was = std::mem::replace(&mut self.partly, ticks);
        (was == 0).then_some(Turn::Partly)
    }

    fn answered(&mut self) {
        (self.failing, self.following) = (false, false);
    }

    fn failed(&mut self, error: &str) {
        self.failing = true;
        self.error = Some(error.to_owned());
        if self.partly > 0 {
            self.partly = self.recovery();
        }
    }

    fn recovery(&self) -> u32 {
        if self.refused { REFUSED_RECOVERY } else { RECOVERY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: (bool, Option<&str>) = (false, Some("slow"));

    fn call(health: &mut Health, (answered, error): (bool, Option<&str>)) -> Option<Turn> {
        health.call(answered, error)
    }

    fn probe(health: &mut Health, result: Result<(), &str>) -> Option<Turn> {
        health.probing();
        health.probe(result)
    }

    #[test]
    fn calls_alone_condemn_nothing_but_a_probe_after_one_does() {
        let mut health = Health::default();
        assert_eq!((call(&mut health, FAILED), call(&mut health, FAILED)), (None, None));
        assert!(health.is_up());
        assert_eq!(probe(&mut health, Err("gone")), Some(Turn::Lost));
        assert_eq!((health.is_up(), health.error()), (false, Some("gone")));
    }

    #[test]
    fn a_probe_that_was_sent_before_the_first_failure_condemns_nothing_but_the_next_does() {
        let mut health = Health::default();
        health.probing();
        assert_eq!(call(&mut health, FAILED), None);
        assert_eq!((health.probe(Err("a moment")), health.is_up()), (None, true));
        assert_eq!(probe(&mut health, Err("gone")), Some(Turn::Lost));
    }

    #[test]
    fn an_answer_while_a_probe_is_under_way_is_a_sign_of_life() {
        let mut health = Health::default();
        assert_eq!(call(&mut health, FAILED), None);
        health.probing();
        assert_eq!(call(&mut health, (true, None)), None);
        assert_eq!((health.probe(Err("slow")), health.is_up()), (None, true));
        assert_eq!(probe(&mut health, Err("gone")), Some(Turn::Lost));
    }

    #[test]
    fn one_bad_probe_is_forgiven_and_one_good_one_is_no_proof() {
        let mut health = Health::default();
        for result in [Err("slow"), Ok(()), Err("slow")] {
            assert_eq!(probe(&mut health, result), None);
        }
        assert_eq!(call(&mut health, (true, None)), None);
        assert_eq!((probe(&mut health, Err("slow")), health.is_up()), (None, true));
        assert_eq!(probe(&mut health, Err("gone")), Some(Turn::Lost));
        for result in [Ok(()), Err("gone again"), Ok(())] {
            assert_eq!(probe(&mut health, result), None);
        }
        assert_eq!(call(&mut health, (true, None)), None, "it was under way before");
        assert_eq!(health.error(), Some("gone again"));
        assert_eq!(probe(&mut health, Ok(())), Some(Turn::Back));
        assert!(health.is_up() && health.error().is_none());
    }

    #[test]
    fn a_single_server_that_has_stood_still_for_a_moment_is_there_as_a_whole() {
        let mut health = Health::new(false);
        assert_eq!((call(&mut health, FAILED), probe(&mut health, Ok(()))), (None, None));
        assert_eq!((health.is_partly(), health.error()), (false, None));
    }

    #[test]
    fn a_single_server_that_answers_that_it_will_not_is_there_in_part_for_a_minute() {
        let mut health = Health::new(false);
        health.refused();
        assert_eq!(call(&mut health, (false, Some("NOPERM"))), None);
        assert_eq!((probe(&mut health, Ok(())), health.error()), (Some(Turn::Partly), Some("NOPERM")));
        (1..REFUSED_RECOVERY).for_each(|_| assert_eq!(health.tick(), None));
        assert_eq!((health.tick(), health.error()), (Some(Turn::Whole), None));
        // And a moment's silence is one again.
        assert_eq!((call(&mut health, FAILED), probe(&mut health, Ok(()))), (None, None));
    }

    #[test]
    fn where_some_are_answered_it_is_there_in_part_until_it_has_been_quiet() {
        let mut health = Health::new(true);
        assert_eq!((call(&mut health, FAILED), call(&mut health, (true, None))), (None, None));
        assert!(!health.is_partly(), "nobody knows yet");
        assert_eq!((probe(&mut health, Ok(())), health.is_partly()), (Some(Turn::Partly), true));
        assert_eq!(health.error(), Some("slow"));
        (1..RECOVERY).for_each(|_| assert_eq!(health.tick(), None));
        assert_eq!(call(&mut health, (true, Some("one node"))), None);
        (1..RECOVERY).for_each(|_| assert_eq!(health.tick(), None));
        assert_eq!((health.tick(), health.is_partly(), health.error()), (Some(Turn::Whole), false, None));
        assert_eq!((health.tick(), probe(&mut health, Ok(()))), (None, None));
        assert_eq!(call(&mut health, (true, Some("one node"))), Some(Turn::Partly));
    }
}
