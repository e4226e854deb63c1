//! One limit as everybody shares it, and the limiter around all of them.
//!
//! Both outlive the actor's instances and reloads that do not change them, and so do the buckets in them.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::buckets::{Buckets, KeyQuota};
use super::clock::Clock;
use super::key::{Fingerprints, Key, KeyedBy};
use super::lease::Leases;
use super::limit::{Plan, Refusal, Standing};
use super::settings::{Limit, RedisSettings};
use crate::traffic::Counters;

/// Unique for the life of the process; a limit that a reload changes gets a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitId(u64);

impl LimitId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The state of one limit that workers and the actor share.
pub struct SharedLimit {
    /// Identity, for reports.
    pub id: LimitId,
    /// The rule's id; the label in answers and metrics.
    pub name: Arc<str>,
    /// As configured; a limit that changes in it gets new state.
    pub limit: Limit,
    /// Whose buckets they are; as `limit`.
    pub keyed_by: KeyedBy,
    /// The limit, ready to be computed with.
    pub plan: Plan,
    /// For limits of this process alone, and for its share while the shared store is away.
    pub buckets: Buckets,
    /// Among how many instances it was divided when a request last went by a share, and what that took; 0 before.
    divided: AtomicU64,
    /// For limits of all instances.
    pub leases: Leases,
    /// Kept by name: it outlives a change of the limit.
    pub decisions: Arc<Decisions>,
    /// In front of its keys in the shared store: two limits that differ share no bucket.
    prefix: String,
    /// Where its buckets are counted.
    counted: OnceLock<Arc<AtomicUsize>>,
}

impl SharedLimit {
    /// A limit of which nothing is used up.
    pub fn new(name: &str, limit: &Limit, keyed_by: KeyedBy, decisions: Arc<Decisions>) -> Arc<Self> {
        let (requests, burst, seconds) = (limit.requests, limit.burst, limit.window.as_secs());
        let prefix = format!("{name}:{:?}.{requests}.{burst}.{seconds}:", limit.algorithm);
        Arc::new(Self {
            id: LimitId::next(),
            name: name.into(),
            limit: limit.clone(),
            keyed_by,
            plan: Plan::new(limit),
            buckets: Buckets::new(limit.algorithm),
            divided: AtomicU64::new(0),
            leases: Leases::default(),
            decisions,
            prefix,
            counted: OnceLock::new(),
        })
    }

    /// Its buckets are among these from now on, and leave them with it.
    pub(super) fn belong_to(&self, key_quota: &KeyQuota) {
        self.counted.get_or_init(|| key_quota.count());
    }

    /// Whether this is the state of such a limit.
    pub fn is(&self, name: &str, limit: &Limit, keyed_by: KeyedBy) -> bool {
        *self.name == *name && self.limit == *limit && self.keyed_by == keyed_by
    }

    /// The plan by which its buckets are counted: where there is a shared store, its share's.
    pub fn counted_by(&self, mode: Mode) -> Plan {
        match self.divided.load(Ordering::Relaxed) {
            divided if divided > 0 && mode != Mode::Local => {
                self.plan.share(divided >> 32, divided & u64::from(u32::MAX)).0
            }
            _ => self.plan,
        }
    }

    fn divide(&self, instances: u64, cost: u64) {
        let divided = instances << 32 | cost.min(u32::MAX.into());
        // All workers read it.
        if self.divided.load(Ordering::Relaxed) != divided {
            self.divided.store(divided, Ordering::Relaxed);
        }
    }

    /// The key's bucket in the shared store.
    pub fn store_key(&self, key: &Key<'_>) -> String {
        format!("{}{key}", self.prefix)
    }
}

impl Drop for SharedLimit {
    /// A limit that a reload changes or removes takes its buckets with it, once nobody uses it any more.
    fn drop(&mut self) {
        if let Some(live) = self.counted.get() {
            let gone = self.buckets.len() + self.leases.len();
            let _ = live
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |live| Some(live.saturating_sub(gone)));
        }
    }
}

/// How often a limit decided what; see the metrics.
pub struct Decisions {
    pub allowed: Counters,
    /// Refused.
    pub limited: Counters,
    /// Would have been refused, by a rule in shadow.
    pub shadow: Counters,
    /// Not asked, because the request is exempt.
    pub bypassed: Counters,
    /// The shared store could not be asked; the rule's `onError` decided.
    pub error: Counters,
}

impl Decisions {
    /// Counters at zero for `workers` workers.
    pub fn new(workers: usize) -> Arc<Self> {
        let counters = || Counters::new(workers);
        Arc::new(Self {
            allowed: counters(),
            limited: counters(),
            shadow: counters(),
            bypassed: counters(),
            error: counters(),
        })
    }
}

/// Who keeps the limits now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// This process, alone.
    Local,
    /// The shared store.
    Shared,
    /// The shared store, which is away: each rule's `onError` decides.
    Degraded,
}

/// What all limits have in common.
pub struct Limiter {
    pub clock: Clock,
    pub prints: Fingerprints,
    pub key_quota: KeyQuota,
    mode: AtomicU8,
    instances: AtomicU64,
    /// Why the shared store is away, or there only in part.
    error: ArcSwapOption<String>,
    /// The longest that an answer of the shared store is waited for, microseconds.
    patience: AtomicU64,
    /// By how much the wall clock has been set since the clock of limits was, in nanoseconds.
    behind: AtomicI64,
}

impl Limiter {
    /// Without limits yet, for at most that many buckets; `shared` where a shared store is to be asked from the start.
    pub fn new(max_keys: usize, shared: bool) -> Arc<Self> {
        let mode = if shared { Mode::Shared } else { Mode::Local };
        Arc::new(Self {
            clock: Clock::start(),
            prints: Fingerprints::default(),
            key_quota: KeyQuota::new(max_keys),
            mode: AtomicU8::new(mode as u8),
            instances: AtomicU64::new(0),
            error: ArcSwapOption::empty(),
            patience: AtomicU64::new(RedisSettings::PATIENCE.as_micros() as u64),
            behind: AtomicI64::new(0),
        })
    }

    /// Who keeps the limits now.
    pub fn mode(&self) -> Mode {
        match self.mode.load(Ordering::Relaxed) {
            mode if mode == Mode::Shared as u8 => Mode::Shared,
            mode if mode == Mode::Degraded as u8 => Mode::Degraded,
            _ => Mode::Local,
        }
    }

    /// What the wall clock says at a moment of the clock of limits.
    pub fn wall(&self, moment: u64) -> u64 {
        moment.saturating_add_signed(self.behind.load(Ordering::Relaxed))
    }

    /// Published by the actor.
    pub(super) fn set_behind(&self, behind: i64) {
        self.behind.store(behind, Ordering::Relaxed);
    }

    /// Published by the actor.
    pub(super) fn set_error(&self, error: Option<&str>) {
        let known = self.error.load();
        if known.as_ref().map(|known| known.as_str()) != error {
            self.error.store(error.map(|error| Arc::new(error.to_owned())));
        }
    }

    /// Why the shared store is away, or there only in part.
    pub fn error(&self) -> Option<Arc<String>> {
        self.error.load_full()
    }

    /// Published by the actor; `None`: there is no shared store.
    pub(super) fn set_patience(&self, patience: Option<Duration>) {
        let patience = patience.unwrap_or(RedisSettings::PATIENCE);
        self.patience.store(u64::try_from(patience.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The longest that an answer of the shared store is waited for.
    pub fn patience(&self) -> Duration {
        Duration::from_micros(self.patience.load(Ordering::Relaxed))
    }

    /// Published by the actor.
    pub(super) fn set_mode(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::Relaxed);
    }

    /// Instances that share the store and lived when it was last asked, this one included. Alone, as far as it knows, until
    /// the store has been [heard of](Limiter::knows_instances).
    pub fn instances(&self) -> u64 {
        self.instances.load(Ordering::Relaxed).max(1)
    }

    /// Whether anybody has counted the instances yet.
    pub fn knows_instances(&self) -> bool {
        self.instances.load(Ordering::Relaxed) > 0
    }

    /// Published by the actor.
    pub(super) fn set_instances(&self, instances: u64) {
        self.instances.store(instances, Ordering::Relaxed);
    }

    /// Charges this process's own bucket of a limit.
    ///
    /// # Errors
    /// [`Refusal`], when there is not enough; nothing is charged then.
    pub fn charge(&self, limit: &SharedLimit, key: u64, now: u64, cost: u64) -> Result<Standing, Refusal> {
        limit.buckets.charge(&self.key_quota, &limit.plan, key, now, cost)
    }

    /// Takes a charge of [`Limiter::charge`] at `then` back.
    pub fn refund(&self, limit: &SharedLimit, key: u64, then: u64, cost: u64) {
        limit.buckets.refund(&self.key_quota, &limit.plan, key, then, cost);
    }

    /// This instance's part of a limit, for a request that takes `cost`. `late`: the shared store is in use, and only late
    /// with an answer.
    pub fn share(&self, limit: &SharedLimit, cost: u64, late: bool) -> Share {
        let instances = self.instances();
        let takes = cost;
        let (plan, cost) = limit.plan.share(instances, takes);
        Share { plan, cost, takes, instances, late }
    }

    /// What requests that take `cost` each could use of a limit by the shares of all instances together: about the whole limit,
    /// more where a share is less than a request, for each instance lets one pass. `None` where nobody has counted the
    /// instances.
    pub fn by_shares(&self, limit: &SharedLimit, cost: u64) -> Option<u64> {
        let Share { plan, cost: charged, instances, .. } = self.share(limit, cost, false);
        let each = (plan.capacity / charged.max(1)).saturating_mul(cost);
        self.knows_instances().then(|| each.saturating_mul(instances))
    }

    /// [`Limiter::charge`] for this instance's share of a limit. Where the shared store is only late with an answer, the
    /// share is no more than a part of what the store has left, as far as is known: whoever passes by it is charged in the
    /// store afterwards, and is to find room there.
    ///
    /// # Errors
    /// [`Refusal`], when there is not enough; nothing is charged then.
    pub fn charge_share(
        &self,
        limit: &SharedLimit,
        key: u64,
        now: u64,
        share: &Share,
    ) -> Result<Standing, Refusal> {
        let Share { plan, cost, instances, late, takes } = *share;
        limit.divide(instances, takes);
        let unheard = if instances > 1 { limit.plan.capacity.div_ceil(UNHEARD) } else { 0 };
        let part = |left: u64| left.saturating_sub(unheard) / instances;
        if late {
            limit.leases.grant_provisionally(&limit.plan, key, now, cost, part)?;
        }
        let charged = limit.buckets.charge(&self.key_quota, &plan, key, now, cost);
        if late && charged.is_err() {
            limit.leases.revoke_provisional(key, cost);
        }
        charged
    }

    /// What [`Limiter::charge_share`] would answer while the shared store is away; nothing is charged.
    ///
    /// # Errors
    /// [`Refusal`], when there is not enough.
    pub fn probe_share(
        &self,
        limit: &SharedLimit,
        key: u64,
        now: u64,
        cost: u64,
    ) -> Result<Standing, Refusal> {
        let Share { plan, cost, .. } = self.share(limit, cost, false);
        limit.buckets.probe(&plan, key, now, cost)
    }

    /// Takes a charge of [`Limiter::charge_share`] at `then` back.
    pub fn refund_share(&self, limit: &SharedLimit, key: u64, then: u64, share: &Share) {
        limit.buckets.refund(&self.key_quota, &share.plan, key, then, share.cost);
        if share.late {
            limit.leases.revoke_provisional(key, share.cost);
        }
    }
}

/// One part in so many of a limit is left to what other instances may have taken since the shared store was last heard of.
const UNHEARD: u64 = 4;

/// This instance's part of a limit, and what a request takes of it.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    plan: Plan,
    /// What it is charged.
    cost: u64,
    /// What the request takes of the whole.
    takes: u64,
    instances: u64,
    late: bool,
}
