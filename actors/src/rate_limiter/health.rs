//! Whether the shared store is worth asking: its own small breaker.

/// Failures in a row after which it is not asked any more.
const PATIENCE: u32 = 2;
/// Good probes in a row after which it is asked again.
const PROOF: u32 = 2;

/// See the module. Starts with trust.
#[derive(Clone, Debug, Default)]
pub struct Health {
    down: bool,
    /// Failures in a row while up, good probes in a row while down.
    streak: u32,
    error: Option<String>,
}

impl Health {
    /// Whether it is to be asked.
    pub fn is_up(&self) -> bool {
        !self.down
    }

    /// Why it is not asked.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref().filter(|_| self.down)
    }

    /// Notes how a call or a probe ended. Answers whether that has turned the verdict.
    pub fn note(&mut self, result: Result<(), &str>) -> bool {
        match (self.down, result) {
            (false, Ok(())) => self.streak = 0,
            (true, Err(error)) => {
                self.streak = 0;
                self.error = Some(error.to_owned());
            }
            (down, result) => {
                self.streak += 1;
                if let Err(error) = result {
                    self.error = Some(error.to_owned());
                }
                if self.streak >= if down { PROOF } else { PATIENCE } {
                    *self = Self { down: !down, streak: 0, error: self.error.take() };
                    return true;
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_call_is_forgiven_and_one_good_probe_is_no_proof() {
        let mut health = Health::default();
        assert!(!health.note(Err("slow")) && !health.note(Ok(())) && !health.note(Err("slow")));
        assert!(health.is_up() && health.error().is_none());
        assert!(health.note(Err("gone")));
        assert_eq!((health.is_up(), health.error()), (false, Some("gone")));
        assert!(!health.note(Ok(())) && !health.note(Err("gone again")) && !health.note(Ok(())));
        assert_eq!(health.error(), Some("gone again"));
        assert!(health.note(Ok(())));
        assert!(health.is_up() && health.error().is_none());
    }
}
