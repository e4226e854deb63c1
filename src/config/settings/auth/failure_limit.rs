//! `auth.failureLimit`: how many wrong credentials one client may present.

use std::time::Duration;

use aegis_schema::section;

section! {
    /// `auth.failureLimit`: how many wrong credentials one client address may present. From then on, until its window ends,
    /// only keys that are known and tokens that were verified before pass; what would need a signature or a question is 429
    /// `auth_throttled`. Each instance counts for itself. IPv6 addresses are one client as in `rateLimit`.
    pub struct FailureLimit {
        /// so many in one window; 0 = never refuse for that
        failures: u32 = 20, "failures" int(0..=100_000);
        /// one window after the other; whole seconds, at most a day
        window: Duration = Duration::from_secs(60), "windowSeconds" seconds(1..=86_400);
    }
}
