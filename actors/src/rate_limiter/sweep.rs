//! Keeps the number of buckets within bounds: what is idle goes, and where that is not enough, what was used the least.

use std::sync::Arc;
use std::time::Duration;

use super::buckets::KeyQuota;
use super::shared_limit::{Mode, SharedLimit};

/// Above 13 of 16 parts of `maxKeys` buckets are evicted, down to 3 of 4. Both are less than the bound without the eighth that
/// is reserved for limits that have few.
const FULL: (usize, usize) = (13, 16);
const ROOM: (usize, usize) = (3, 4);

/// A bucket leaves so long after it is idle at the latest.
const LONGEST: Duration = Duration::from_secs(30);

/// A bucket that has used half of its limit (8 of 16 parts) is never evicted before it is idle: it is being limited, or soon
/// will be.
const SPARED: usize = 8;

/// How long after a sweep that found so many buckets the next one is due.
///
/// Most clients that come once come again, and a bucket that is found is cheaper than one that is begun: the idle ones may
/// stay as long as there is room.
pub fn pause(key_quota: &KeyQuota, found: usize) -> Duration {
    let scarce = key_quota.is_scarce();
    // A look at a bucket takes about a tenth of a microsecond: a twentieth of a core at most, or next to nothing.
    let each = Duration::from_micros(if scarce { 2 } else { 250 });
    (each * found as u32).min(LONGEST)
}

/// Sweeps all limits once. `mode`: who keeps them now.
pub fn sweep(limits: &[Arc<SharedLimit>], key_quota: &KeyQuota, mode: Mode, now: u64) {
    for limit in limits {
        limit.buckets.sweep(key_quota, &limit.counted_by(mode), now);
        limit.leases.sweep(key_quota, now, key_quota.is_scarce());
    }
    let part = |(of, all): (usize, usize)| key_quota.most() / all * of;
    // What was idle may have been enough.
    let needed = key_quota.live().saturating_sub(part(ROOM));
    if (key_quota.take_overflowed() && needed > 0) || key_quota.live() > part(FULL) {
        make_room(limits, key_quota, mode, now, needed);
    }
}

/// Forgets at least `needed` buckets, if there are as many that have used less than half of their limit, of limits that
/// have more than their part.
fn make_room(limits: &[Arc<SharedLimit>], key_quota: &KeyQuota, mode: Mode, now: u64, needed: usize) {
    let has_many = |limit: &&Arc<SharedLimit>| !key_quota.is_modest(limit.buckets.len());
    let mut by_use = [0; 16];
    for limit in limits.iter().filter(has_many) {
        for (sum, count) in by_use.iter_mut().zip(limit.buckets.by_use(&limit.counted_by(mode), now)) {
            *sum += count;
        }
    }
    let mut found = 0;
    let enough = by_use[..SPARED].iter().position(|count| {
        found += count;
        found >= needed
    });
    let sixteenths = enough.unwrap_or(SPARED - 1);
    let evict =
        |limit: &Arc<SharedLimit>| limit.buckets.evict(key_quota, &limit.counted_by(mode), now, sixteenths);
    let forgotten: usize = limits.iter().filter(has_many).map(evict).sum();
    log::warn!(
        "rateLimit.maxKeys ({}) is nearly reached: {forgotten} clients that have used little of their limit were forgotten",
        key_quota.most()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_buckets_are_looked_at_seldom_while_there_is_room_and_often_where_it_is_scarce() {
        let key_quota = KeyQuota::new(400);
        assert_eq!(pause(&key_quota, 0), Duration::ZERO);
        assert_eq!(pause(&key_quota, 100_000), Duration::from_secs(25));
        assert_eq!(pause(&key_quota, 100_000_000), LONGEST);
        (0..201).for_each(|_| assert!(key_quota.acquire(0)));
        assert_eq!(pause(&key_quota, 100_000), Duration::from_millis(200));
    }
}
