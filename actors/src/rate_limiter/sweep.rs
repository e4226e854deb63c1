//! Keeps the number of buckets within bounds: what is idle goes, and where that is not enough, what was used the least.

use std::sync::Arc;

use super::buckets::Population;
use super::cells::LimitCells;

/// Above this share of the bound room is made, down to the other.
const FULL: (usize, usize) = (7, 8);
const ROOM: (usize, usize) = (3, 4);

/// 16ths of its limit from which on a bucket is never forgotten before it is idle: it is being limited, or soon will be.
const SPARED: usize = 8;

/// Sweeps all limits once.
pub fn sweep(limits: &[Arc<LimitCells>], population: &Population, now: u64) {
    for limit in limits {
        limit.buckets.sweep(population, &limit.plan, now);
        limit.leases.sweep(population, now);
    }
    let part = |(of, all): (usize, usize)| population.most() / all * of;
    if population.take_overflowed() || population.live() > part(FULL) {
        make_room(limits, population, now, population.live().saturating_sub(part(ROOM)));
    }
}

/// Forgets at least `needed` buckets, if there are as many that have used less than half of their limit.
fn make_room(limits: &[Arc<LimitCells>], population: &Population, now: u64, needed: usize) {
    let mut by_use = [0; 16];
    for limit in limits {
        for (sum, count) in by_use.iter_mut().zip(limit.buckets.by_use(&limit.plan, now)) {
            *sum += count;
        }
    }
    let mut found = 0;
    let enough = by_use[..SPARED].iter().position(|count| {
        found += count;
        found >= needed
    });
    let sixteenths = enough.unwrap_or(SPARED - 1);
    let evict = |limit: &Arc<LimitCells>| limit.buckets.evict(population, &limit.plan, now, sixteenths);
    let forgotten: usize = limits.iter().map(evict).sum();
    log::warn!(
        "rateLimit.maxKeys ({}) is nearly reached: {forgotten} clients that have used little of their limit were forgotten",
        population.most()
    );
}
