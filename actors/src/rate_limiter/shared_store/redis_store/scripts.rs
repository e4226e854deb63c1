//! The scripts: what they are asked, what they answer, and why a limit holds although leases are spent late.
//!
//! Each runs atomically on one key and reads the time from Redis, so that all instances count by one clock, in
//! microseconds (Lua's numbers are doubles: nanoseconds since the epoch would not fit). What a grant may be spent for
//! begins when Redis decides; `now` below is that moment.
//!
//! **What is to be shown.** A grant made at `t` is spent at some moment `u`. A grant of `least` is spent at once, `u = t`, unless it is
//! returnable.
//! A lease of `n` may be spent until `e = t + lease`: `t <= u <= e`. Whatever the moments `u` are, no window may see more
//! than the limit.
//!
//! *Fixed window.* All of it is spent within the window that it was counted in, because `e` is before that window's end.
//!
//! *Sliding window.* A grant counts from `t` until a window after `e`. Let a stretch of time shorter than or as long as
//! the window begin at `a`; take the last grant that is spent in it, made at `t`. Every other grant spent in the stretch
//! was made before `t`, and its `e` is not before `a`, so it still counted at `t`: their sum was at most the capacity.
//!
//! *Token bucket* with capacity `C` and interval `I`: between any `a <= b` at most `C + (b - a) / I` may be spent. Spent
//! there may be every grant made until `b` whose `e` is not before `a`. So the bucket's time
//! `T = max over a <= now of (a + I × what is granted with e >= a)` must never pass `now + C × I`; and as leases that are
//! still out count for every `a <= now`, it suffices to keep `T` and what is out:
//! - a grant adds `n × I` to `T`, and a lease adds `n` to what is out;
//! - at the end of a lease, `T` becomes at least `e + I × what was out`, then its `n` is not out any more;
//! - `T` is at least `now + I × what is out`.
//!
//! Without leases that is plain GCRA. What is out is kept as two sums with one end each, the newer of which collects
//! until the older is over; a lease then counts as out for up to twice its length, which errs on the tight side. A lease
//! given back before its end was contained in every term of the maximum, so taking it out of all of them is exact; after
//! its end that is no longer so, and nothing is given back.

use std::time::Duration;

use deadpool_redis::redis::{Cmd, Script, Value, cmd, from_redis_value};

use super::super::super::limit::Plan;
use super::super::super::settings::Algorithm;
use super::super::{GiveBack, StoreError, Take, Taken};

/// All scripts with their hashes.
pub(super) struct Scripts {
    token_bucket: Code,
    sliding_window: Code,
    fixed_window: Code,
    instances: Code,
}

struct Code {
    text: &'static str,
    sha1: String,
}

impl Code {
    fn new(text: &'static str) -> Self {
        Self { text, sha1: Script::new(text).get_hash().to_owned() }
    }
}

/// One run of a script.
pub(super) struct Call<'s> {
    code: &'s Code,
    key: String,
    arguments: Vec<Argument<'s>>,
}

enum Argument<'s> {
    Word(&'s str),
    Number(u64),
}

impl Call<'_> {
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// By hash, which fails with NOSCRIPT where the server does not have the script (any more).
    pub(super) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", &self.code.sha1)
    }

    /// By text, which runs it and makes the server keep it: the one that needs it, wherever in a cluster that is.
    pub(super) fn by_text(&self) -> Cmd {
        self.command("EVAL", self.code.text)
    }

    fn command(&self, verb: &str, script: &str) -> Cmd {
        let mut command = cmd(verb);
        command.arg(script).arg(1).arg(&self.key);
        for argument in &self.arguments {
            match argument {
                Argument::Word(word) => command.arg(*word),
                Argument::Number(number) => command.arg(*number),
            };
        }
        command
    }
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            token_bucket: Code::new(include_str!("token_bucket.lua")),
            sliding_window: Code::new(include_str!("sliding_window.lua")),
            fixed_window: Code::new(include_str!("fixed_window.lua")),
            instances: Code::new(include_str!("instances.lua")),
        }
    }

    pub(super) fn take(&self, prefix: &str, take: &Take) -> Call<'_> {
        let most = take.most.max(take.least);
        let awaited = take.awaited.clamp(take.least, most);
        let numbers = [take.least, most, micros(take.lease), take.returnable.into(), awaited];
        self.bucket("take", prefix, &take.key, &take.plan, &numbers)
    }

    pub(super) fn give_back(&self, prefix: &str, unspent: &GiveBack) -> Call<'_> {
        let numbers = [unspent.unspent, unspent.spend_by];
        self.bucket("back", prefix, &unspent.key, &unspent.plan, &numbers)
    }

    /// `silence`: an instance that was not heard of for longer is not counted.
    pub(super) fn register<'s>(&'s self, prefix: &str, instance: &'s str, silence: Duration) -> Call<'s> {
        let words = [Argument::Word("register"), Argument::Word(instance), Argument::Number(micros(silence))];
        Call { code: &self.instances, key: format!("{prefix}:instances"), arguments: words.into() }
    }

    pub(super) fn unregister<'s>(&'s self, prefix: &str, instance: &'s str) -> Call<'s> {
        let words = [Argument::Word("unregister"), Argument::Word(instance)];
        Call { code: &self.instances, key: format!("{prefix}:instances"), arguments: words.into() }
    }

    /// The key's braces are a hash tag: whatever else will be kept of this bucket lives on the same node.
    fn bucket(&self, mode: &'static str, prefix: &str, key: &str, plan: &Plan, numbers: &[u64]) -> Call<'_> {
        let window = plan.window.div_ceil(1000);
        let (code, of_plan) = match plan.algorithm {
            Algorithm::TokenBucket => (&self.token_bucket, vec![plan.capacity, plan.interval, window]),
            Algorithm::SlidingWindow => {
                (&self.sliding_window, vec![plan.capacity, window, plan.slot.div_ceil(1000)])
            }
            Algorithm::FixedWindow => (&self.fixed_window, vec![plan.capacity, window]),
        };
        let all = of_plan.into_iter().chain(numbers.iter().copied()).map(Argument::Number);
        let arguments = std::iter::once(Argument::Word(mode)).chain(all).collect();
        Call { code, key: format!("{prefix}:limit:{{{key}}}"), arguments }
    }
}

/// What `take` answered.
pub(super) fn taken(value: Value) -> Result<Taken, StoreError> {
    let [granted, good_for, remaining, reset, retry_after, spend_by]: [u64; 6] = from_redis_value(value)
        .map_err(|_| StoreError::new("redis: not the answer of a limit's script".to_owned()))?;
    let duration = Duration::from_micros;
    Ok(Taken {
        granted,
        good_for: duration(good_for),
        remaining,
        reset: duration(reset),
        retry_after: duration(retry_after),
        spend_by,
    })
}

/// What `register` answered.
pub(super) fn count(value: Value) -> Result<u64, StoreError> {
    from_redis_value(value).map_err(|_| StoreError::new("redis: not a number of instances".to_owned()))
}

/// The ranges that `CLUSTER SLOTS` answered, as first and last slots; `None` where there is none.
pub(super) fn ranges(value: Value) -> Option<Vec<(u16, u16)>> {
    let entries: Vec<Vec<Value>> = from_redis_value(value).ok()?;
    let slot = |entry: &[Value], at: usize| from_redis_value(entry.get(at)?.clone()).ok();
    let ranges = entries.iter().filter_map(|entry| slot(entry, 0).zip(slot(entry, 1)));
    Some(ranges.collect()).filter(|ranges: &Vec<_>| !ranges.is_empty())
}

/// Rounded up.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX)
}
