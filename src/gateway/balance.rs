//! Which target gets a try: policy, health, breaker, in-flight bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aegis_actors::circuit_breaker::{Admission, BreakerState, CircuitState, Phase};
use aegis_actors::{COLD, TargetId, TargetState};

use super::answer::Cause;
use super::record::Decider;
use super::snapshot::{Backend, Target};
use super::worker::Worker;
use crate::config::settings::{LoadBalance, WhenAllUnhealthy};

/// A target chosen for one try, with what the try holds of it.
pub struct Pick<'a> {
    pub target: &'a Target,
    /// Position among the backend's targets.
    pub position: usize,
    pub admission: Admission,
    pub in_flight: InFlight,
}

/// One request, or one tunnel, counted at a target until dropped.
pub struct InFlight {
    shared: Arc<TargetState>,
    of: fn(&TargetState) -> &AtomicUsize,
}

impl InFlight {
    fn take(shared: &Arc<TargetState>, of: fn(&TargetState) -> &AtomicUsize, most: usize) -> Option<Self> {
        if of(shared).fetch_add(1, Ordering::Relaxed) >= most {
            of(shared).fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Self { shared: shared.clone(), of })
    }

    /// The same target's for a tunnel; `None` where there are as many as there may be.
    pub fn into_tunnel(self, most: usize) -> Option<Self> {
        Self::take(&self.shared, |shared| &shared.tunnels, most)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        (self.of)(&self.shared).fetch_sub(1, Ordering::Relaxed);
    }
}

/// No target may have the try.
#[derive(Debug, PartialEq)]
pub struct NoTarget {
    pub cause: Cause,
    /// When asking again makes sense.
    pub retry_after: Duration,
}

/// What a request needs of its target.
#[derive(Clone, Copy)]
pub struct Needs {
    /// It may become a tunnel.
    pub tunnel: bool,
    /// A connection to this one belongs to the client, by position.
    pub bound: Option<usize>,
    /// What `hash` goes by.
    pub key: u64,
}

/// Chooses a target that is not in `tried`; if all are, one that is.
///
/// # Errors
/// [`NoTarget`] with the most telling cause: open breakers before full targets before unhealthy ones.
pub fn pick<'a>(
    backend: &'a Backend,
    worker: &Worker,
    needs: Needs,
    tried: &[TargetId],
    now: Instant,
) -> Result<Pick<'a>, NoTarget> {
    // The usual case: one target, first try.
    if let ([only], []) = (backend.targets.as_slice(), tried) {
        return take_only(backend, only, needs, now);
    }
    let mut candidates = eligible(backend, tried);
    // All have been tried: any but the last, where there is another.
    for but in [&tried[tried.len().saturating_sub(1)..], &[]] {
        if candidates.is_empty() && !tried.is_empty() {
            candidates = eligible(backend, but);
        }
    }
    if let Some(at) = needs.bound.and_then(|bound| candidates.iter().position(|it| *it == bound))
        && let Ok(pick) = take(backend, candidates[at], needs, now)
    {
        return Ok(pick);
    }
    let mut refusal: Option<NoTarget> = None;
    while !candidates.is_empty() {
        let at = choose(backend, worker, &candidates, needs.key, now);
        match take(backend, candidates.swap_remove(at), needs, now) {
            Ok(pick) => return Ok(pick),
            Err(new) => refusal = Some(telling(refusal, new)),
        }
        // Chosen by index into the order of targets, which swapping changed.
        candidates.sort_unstable();
    }
    Err(refusal.unwrap_or(NoTarget { cause: Cause::NoHealthyTarget, retry_after: Duration::from_secs(1) }))
}

fn take_only<'a>(
    backend: &'a Backend,
    target: &Target,
    needs: Needs,
    now: Instant,
) -> Result<Pick<'a>, NoTarget> {
    let shared = &target.shared;
    let healthy =
        shared.health.is_healthy() || backend.settings.when_all_unhealthy == WhenAllUnhealthy::RouteAll;
    if !healthy || shared.drained.load(Ordering::Relaxed) {
        return Err(NoTarget { cause: Cause::NoHealthyTarget, retry_after: Duration::from_secs(1) });
    }
    take(backend, 0, needs, now)
}

/// Indices of targets that are neither drained, unhealthy nor tried. When nothing is healthy and the backend says so,
/// health is ignored.
fn eligible(backend: &Backend, tried: &[TargetId]) -> Vec<usize> {
    let collect = |healthy_only: bool| -> Vec<usize> {
        let usable = |target: &Arc<Target>| {
            let shared = &target.shared;
            !shared.drained.load(Ordering::Relaxed) && (!healthy_only || shared.health.is_healthy())
        };
        (0..backend.targets.len())
            .filter(|i| usable(&backend.targets[*i]) && !tried.contains(&backend.targets[*i].shared.id))
            .collect()
    };
    let healthy = collect(true);
    if healthy.is_empty() && backend.ignores_health() {
        return collect(false);
    }
    healthy
}

fn take(backend: &Backend, position: usize, needs: Needs, now: Instant) -> Result<Pick<'_>, NoTarget> {
    let target = &backend.targets[position];
    let shared = &target.shared;
    let in_flight = InFlight::take(shared, |shared| &shared.in_flight, backend.settings.max_in_flight);
    let is_full = needs.tunnel && shared.tunnels.load(Ordering::Relaxed) >= backend.settings.max_tunnels;
    let Some(in_flight) = in_flight.filter(|_| !is_full) else {
        return Err(NoTarget { cause: Cause::PoolFull, retry_after: Duration::from_secs(1) });
    };
    match target.shared.breaker.admit(now) {
        Ok(admission) => Ok(Pick { target, position, admission, in_flight }),
        Err(refusal) => Err(NoTarget { cause: Cause::CircuitOpen, retry_after: refusal.retry_after }),
    }
}

/// Who keeps every target of `backend` away: the configuration, if it keeps at least one.
pub fn decider(backend: &Backend, needs: Needs, cause: Cause) -> Option<Decider> {
    let mut shared = backend.targets.iter().map(|target| &target.shared);
    let (by_itself, decider) = match cause {
        Cause::CircuitOpen => {
            let refuses =
                |breaker: &BreakerState| breaker.circuit() != CircuitState::Closed && !breaker.forced();
            (shared.any(|shared| refuses(&shared.breaker.load())), Decider::Breaker)
        }
        Cause::NoHealthyTarget => {
            let refused =
                |shared: &TargetState| !shared.drained.load(Ordering::Relaxed) && !shared.health.is_healthy();
            (shared.any(|shared| refused(shared)), Decider::HealthCheck)
        }
        Cause::PoolFull => {
            let most = backend.settings.max_tunnels;
            let full = needs.tunnel && shared.any(|shared| shared.tunnels.load(Ordering::Relaxed) >= most);
            return full.then_some(Decider::Tunnels);
        }
        _ => return None,
    };
    Some(if by_itself { decider } else { Decider::Operator })
}

/// Of two refusals the one that says more; of two open breakers the one that lets pass sooner.
fn telling(old: Option<NoTarget>, new: NoTarget) -> NoTarget {
    match old {
        None => new,
        Some(old) if old.cause == new.cause => {
            NoTarget { cause: new.cause, retry_after: old.retry_after.min(new.retry_after) }
        }
        Some(old) if old.cause == Cause::CircuitOpen => old,
        Some(_) => new,
    }
}

/// Position in `candidates` of the one that the policy prefers. Targets whose breaker is open are asked last.
fn choose(backend: &Backend, worker: &Worker, candidates: &[usize], key: u64, now: Instant) -> usize {
    if candidates.len() == 1 {
        return 0;
    }
    let targets = &backend.targets;
    // A half-open breaker needs a request to learn from; its permits bound how many it gets.
    if let Some(at) = candidates.iter().position(|i| probe_wanted(&targets[*i])) {
        return at;
    }
    let open = |at: usize| targets[candidates[at]].shared.breaker.peek() != CircuitState::Closed;
    match &backend.settings.load_balance {
        LoadBalance::LeastRequest => {
            let (a, b) = worker.random(|random| two(random, targets, candidates, now));
            match (open(a), open(b)) {
                (true, false) => b,
                (false, true) => a,
                (true, true) => (0..candidates.len()).find(|at| !open(*at)).unwrap_or(a),
                (false, false) => {
                    let load = |at: usize| load(&targets[candidates[at]], now);
                    if load(b) < load(a) { b } else { a }
                }
            }
        }
        LoadBalance::RoundRobin => {
            let warmth = |at: usize| targets[candidates[at]].shared.warmth(now);
            // Where all have just come back, the warmest carries a full share.
            let mut warmest = None;
            let mut full = || {
                *warmest.get_or_insert_with(|| {
                    (0..candidates.len()).filter(|at| !open(*at)).map(warmth).fold(COLD, f32::max)
                })
            };
            let mut next = 0;
            for _ in 0..backend.turns.len() {
                let turn = backend.turn.fetch_add(1, Ordering::Relaxed) % backend.turns.len();
                let Some(at) = candidates.iter().position(|i| *i == backend.turns[turn]) else { continue };
                if open(at) {
                    continue;
                }
                let warmth = warmth(at);
                if warmth >= 1.0 || worker.random(|random| random.f32()) * full() < warmth {
                    return at;
                }
                next = at;
            }
            next
        }
        LoadBalance::Hash => by_hash(backend, candidates, key),
    }
}

fn by_hash(backend: &Backend, candidates: &[usize], key: u64) -> usize {
    let target = |at: usize| &backend.targets[candidates[at]];
    let open = |at| target(at).shared.breaker.peek() != CircuitState::Closed;
    let score = |at| if open(at) { -1.0 } else { rendezvous(key, target(at)) };
    (0..candidates.len()).max_by(|a, b| score(*a).total_cmp(&score(*b))).unwrap_or(0)
}

/// Which targets a first try could go to.
pub struct Prospect {
    /// Positions of those that could be chosen now.
    pub could: Vec<usize>,
    /// The one of them that would be, where that is no matter of chance or turns.
    pub would: Option<usize>,
    /// What the request is told where there is none.
    pub refusal: Option<NoTarget>,
}

/// What [`pick`] would do with a first try; nothing is taken, and no turn used up.
pub fn prospect(backend: &Backend, needs: Needs, now: Instant) -> Prospect {
    let eligible = eligible(backend, &[]);
    let (mut could, mut refusal) = (Vec::new(), None);
    for position in eligible {
        match would_take(backend, position, needs, now) {
            Ok(()) => could.push(position),
            Err(new) => refusal = Some(telling(refusal, new)),
        }
    }
    let would = match could.as_slice() {
        [only] => Some(*only),
        _ if backend.settings.load_balance == LoadBalance::Hash && !could.is_empty() => {
            let probe = could.iter().find(|at| probe_wanted(&backend.targets[**at])).copied();
            Some(probe.unwrap_or_else(|| could[by_hash(backend, &could, needs.key)]))
        }
        _ => None,
    };
    let none = || NoTarget { cause: Cause::NoHealthyTarget, retry_after: Duration::from_secs(1) };
    let refusal = could.is_empty().then(|| refusal.unwrap_or_else(none));
    Prospect { could, would, refusal }
}

/// What [`take`] would answer.
fn would_take(backend: &Backend, position: usize, needs: Needs, now: Instant) -> Result<(), NoTarget> {
    let (shared, settings) = (&backend.targets[position].shared, &backend.settings);
    if shared.in_flight.load(Ordering::Relaxed) >= settings.max_in_flight
        || (needs.tunnel && shared.tunnels.load(Ordering::Relaxed) >= settings.max_tunnels)
    {
        return Err(NoTarget { cause: Cause::PoolFull, retry_after: Duration::from_secs(1) });
    }
    let admits = shared.breaker.load().would_admit(now);
    admits.map_err(|refusal| NoTarget { cause: Cause::CircuitOpen, retry_after: refusal.retry_after })
}

fn probe_wanted(target: &Target) -> bool {
    target.shared.breaker.peek() == CircuitState::HalfOpen
        && matches!(&target.shared.breaker.load().phase, Phase::HalfOpen { permits, .. } if permits.free() > 0)
}

/// Two different positions in `candidates`, which has at least two: the first by weight, so that idle targets are
/// used by weight as well, the second evenly.
fn two(
    random: &mut fastrand::Rng,
    targets: &[Arc<Target>],
    candidates: &[usize],
    now: Instant,
) -> (usize, usize) {
    let share = |i: &usize| targets[*i].weight as f32 * targets[*i].shared.warmth(now);
    let mut left = random.f32() * candidates.iter().map(share).sum::<f32>();
    let first = candidates.iter().position(|i| {
        left -= share(i);
        left <= 0.0
    });
    let first = first.unwrap_or(candidates.len() - 1);
    let other = random.usize(..candidates.len() - 1);
    (first, if other >= first { other + 1 } else { other })
}

/// Requests and tunnels per unit of current weight.
fn load(target: &Target, now: Instant) -> f32 {
    let shared = &target.shared;
    let in_flight = shared.in_flight.load(Ordering::Relaxed) + shared.tunnels.load(Ordering::Relaxed);
    in_flight as f32 / (target.weight as f32 * target.shared.warmth(now))
}

/// Weighted rendezvous hashing: the target's score for `key`; a removed target moves only its own keys.
fn rendezvous(key: u64, target: &Target) -> f64 {
    let hash = mix(key ^ fnv(target.shared.url.as_bytes()));
    let unit = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -f64::from(target.weight) / unit.ln()
}

/// FNV-1a, 64 bits: the same on every instance and in every release, as consistent hashing needs it.
pub fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The finaliser of MurmurHash3: FNV alone leaves similar keys close together.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}
