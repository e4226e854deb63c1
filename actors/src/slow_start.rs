//! How a target that comes back takes up load: linearly over ten seconds, never all at once.
//!
//! A target that has just recovered has cold caches and empty pools; its full share at once is what knocks it
//! over again. Used by the health cell and the breaker; a target that was never away is warm from the start.

use std::time::{Duration, Instant};

/// Time from coming back to carrying a full share.
pub const SLOW_START: Duration = Duration::from_secs(10);

/// Share of its weight that a target carries at the moment it comes back.
pub const COLD: f32 = 0.1;

/// The share of its weight that a target carries, [`COLD`] to 1.0; `None` is a target that was never away.
pub(crate) fn warmth(back_since: Option<Instant>, now: Instant) -> f32 {
    let Some(since) = back_since else { return 1.0 };
    let elapsed = now.saturating_duration_since(since).as_secs_f32() / SLOW_START.as_secs_f32();
    (COLD + (1.0 - COLD) * elapsed).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warmth_rises_in_a_line_from_a_tenth_to_one() {
        let back = Instant::now();
        assert_eq!(warmth(None, back), 1.0);
        assert_eq!(warmth(Some(back), back), COLD);
        assert!((warmth(Some(back), back + SLOW_START / 2) - 0.55).abs() < 1e-6);
        assert_eq!(warmth(Some(back), back + SLOW_START * 3), 1.0);
    }
}
