//! Which questions for the shared store are open, what is asked next, and who gets what of an answer.
//!
//! One account per key that is being asked for or has leased something. There is never more than one call for a key under
//! way; requests that come meanwhile wait for it and go with the next one. Whoever loses patience is asked for all the same:
//! it has been let pass by the instance's share, and so the store comes to know of it. A key that comes back before its lease has
//! ended is given as much the next time as it spends in half of that time, though at most twice as much as before: a hot
//! key costs a few calls per second, and hardly anything that was leased is left over.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::buckets::Population;
use super::cells::{LimitCells, LimitId};
use super::key::OwnedKey;
use super::lease::{LARGEST, News};
use super::limit::{Refusal, Standing};
use super::messages::Reply;
use super::shared_store::{GiveBack, Take, Taken};

/// A bucket of the shared store.
pub type AccountId = (LimitId, u64);

/// How long a lease may be spent: a 100th of the window, within these. What is not spent counts as used until then.
const LEASE: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_millis(200);

/// Requests per lease at most.
const MOST: u64 = 16_384;

/// How long a refusal is believed at most: another instance may give back what it has leased in vain.
const REFUSED: Duration = Duration::from_secs(1);

struct Account<W> {
    limit: Arc<LimitCells>,
    store_key: String,
    cost: u64,
    /// Taken meanwhile without the store's knowledge, by the instance's share.
    owed: u64,
    /// One of those who wait may not need it after all.
    returnable: bool,
    /// Requests to lease the next time.
    want: u64,
    /// What was granted the last time, and when it was asked for.
    granted: (u64, u64),
    waiting: VecDeque<W>,
    /// When the call that is under way was sent, and for how many of those who wait.
    asked: Option<(u64, usize)>,
    /// A key that comes back before then is hot; one that does not is forgotten.
    remembered: u64,
    /// What was leased and may be unspent, oldest first: by when it is to be spent in the store's time, and how much.
    leased: Vec<(u64, u64)>,
    /// When what is unspent of it is collected: before the lease ends, since afterwards nothing is given back.
    collect_at: u64,
}

impl<W> Account<W> {
    /// How many requests it would spend in half of a lease's time, if it goes on as since the last grant, of which
    /// `left` is unspent. What is not spent in time may be lost to the limit, so a lease is not to last to its end.
    fn fitting(&self, left: u64, now: u64) -> u64 {
        let (granted, asked) = self.granted;
        let spent = u128::from(granted.saturating_sub(left / self.cost));
        let half = nanos(lease_time(&self.limit)) / 2;
        let fitting = spent * u128::from(half) / u128::from(now.saturating_sub(asked).max(1));
        u64::try_from(fitting).unwrap_or(u64::MAX)
    }

    /// Notes that `left` of its leases was not spent.
    fn collect(&mut self, mut left: u64, now: u64, unspent: &mut Vec<GiveBack>) {
        if left > 0 {
            self.want = self.want.min(self.fitting(left, now));
        }
        // Spent is what was leased first.
        for (spend_by, count) in self.leased.drain(..).rev() {
            let back = count.min(left);
            left -= back;
            if back > 0 {
                let (key, plan) = (self.store_key.clone(), self.limit.plan);
                unspent.push(GiveBack { key, plan, unspent: back, spend_by });
            }
        }
    }
}

/// See the module. `W` is whoever waits for an answer.
pub struct Accounts<W> {
    accounts: HashMap<AccountId, Account<W>>,
    ends: BinaryHeap<Reverse<(u64, AccountId)>>,
    /// When the next [`Accounts::collect`] is due, as far as has been told.
    alarm: Option<u64>,
    /// Collected and not yet given back.
    unspent: Vec<GiveBack>,
}

impl<W> Default for Accounts<W> {
    fn default() -> Self {
        Self { accounts: HashMap::new(), ends: BinaryHeap::new(), alarm: None, unspent: Vec::new() }
    }
}

/// How long a lease of that limit may be spent.
pub fn lease_time(limit: &LimitCells) -> Duration {
    (limit.limit.window / 100).clamp(*LEASE.start(), *LEASE.end())
}

impl<W> Accounts<W> {
    /// A request waits for `cost` of a key. Answers whether the key is to be [asked for](Accounts::question).
    pub fn wait(
        &mut self,
        limit: &Arc<LimitCells>,
        key: u64,
        owner: &OwnedKey,
        (cost, returnable): (u64, bool),
        waiter: W,
    ) -> bool {
        let account = self.accounts.entry((limit.id, key)).or_insert_with(|| Account {
            limit: limit.clone(),
            store_key: limit.store_key(&owner.as_key()),
            cost,
            owed: 0,
            returnable: false,
            want: 0,
            granted: (0, 0),
            waiting: VecDeque::new(),
            asked: None,
            remembered: 0,
            leased: Vec::new(),
            collect_at: 0,
        });
        account.cost = cost;
        account.returnable |= returnable;
        account.waiting.push_back(waiter);
        account.asked.is_none() && account.waiting.len() == 1
    }

    /// The question for a key, now under way. `None` when nobody waits or it is under way already.
    pub fn question(&mut self, id: AccountId, now: u64) -> Option<Take> {
        let account = self.accounts.get_mut(&id)?;
        if account.waiting.is_empty() || account.asked.is_some() {
            return None;
        }
        account.asked = Some((now, account.waiting.len()));
        // A lease that ended before it was collected; the answer's would take its place.
        let left = account.limit.leases.take_ended(id.1, now);
        account.collect(left, now, &mut self.unspent);
        if account.remembered > now {
            // What it had is spent before it ended: the key is hot.
            account.want = account.fitting(0, now).clamp(1, (account.want * 2).clamp(1, MOST));
        }
        let waiting = account.waiting.len() as u64;
        let awaited = account.owed.saturating_add(account.cost.saturating_mul(waiting));
        let ahead = account.cost.saturating_mul(account.want);
        Some(Take {
            key: account.store_key.clone(),
            plan: account.limit.plan,
            least: account.cost,
            awaited: awaited.min(LARGEST).max(account.cost),
            most: awaited.saturating_add(ahead).min(LARGEST).max(account.cost),
            returnable: std::mem::take(&mut account.returnable),
            lease: lease_time(&account.limit),
        })
    }

    /// The store has answered. Whoever can be served is, and who has gone meanwhile is charged; the rest of a grant goes into
    /// the lease. Answers whether those who still wait are to be asked for again.
    pub fn answered(
        &mut self,
        id: AccountId,
        taken: &Taken,
        population: &Population,
        now: u64,
        mut serve: impl FnMut(W, Reply),
    ) -> bool {
        let Some(account) = self.accounts.get_mut(&id) else { return false };
        let asked = account.asked.take().map_or(now, |(at, _)| at);
        let limit = account.limit.clone();
        // The store decided between the question and now. A moment is told at the earliest that it can be, for windows end
        // with whole seconds; how long to wait, at the longest.
        let reset_at = asked.saturating_add(nanos(taken.reset));
        let news = |count, until| News { count, until, remaining: taken.remaining, reset_at };
        let reset = reset_at.saturating_sub(now);
        if taken.granted < account.cost {
            let until = asked.saturating_add(nanos(taken.retry_after.min(REFUSED)));
            let standing = Standing { remaining: taken.remaining, reset };
            let refusal = Refusal { standing, retry_after: nanos(taken.retry_after).max(1) };
            limit.leases.refused(
                population,
                id.1,
                until,
                now.saturating_add(refusal.retry_after),
                news(0, 0),
            );
            account.waiting.drain(..).for_each(|waiter| serve(waiter, Reply::Refused(refusal)));
            account.remembered = asked.saturating_add(nanos(lease_time(&limit)));
            self.ends.push(Reverse((account.remembered, id)));
            return false;
        }
        account.granted = (taken.granted / account.cost, asked);
        let until = asked.saturating_add(nanos(taken.good_for));
        let paid = account.owed.min(taken.granted);
        account.owed -= paid;
        let mut left = taken.granted - paid;
        while left >= account.cost {
            let Some(waiter) = account.waiting.pop_front() else { break };
            left -= account.cost;
            let standing = Standing { remaining: taken.remaining + left, reset };
            serve(waiter, Reply::Granted { standing, until });
        }
        account.remembered = asked.saturating_add(nanos(lease_time(&limit)));
        account.collect_at = account.remembered;
        // Somebody had to ask, so what was leased before is spent or collected.
        account.leased.clear();
        // What was served of a lease may be put back into it.
        if !taken.good_for.is_zero() && limit.leases.granted(population, id.1, now, news(left, until)) {
            account.leased.push((taken.spend_by, taken.granted));
            account.collect_at = asked.saturating_add(nanos(taken.good_for) / 4 * 3);
        }
        self.ends.push(Reverse((account.collect_at, id)));
        !account.waiting.is_empty()
    }

    /// The store did not answer: those whom it was asked for wait no longer. Where the question was `sent` they count as
    /// charged, for a store that is slow will decide it; else the next question asks for what they take meanwhile, too.
    /// Answers whether there are others to be asked for.
    pub fn failed(&mut self, id: AccountId, now: u64, sent: bool, mut serve: impl FnMut(W, Reply)) -> bool {
        let Some(account) = self.accounts.get_mut(&id) else { return false };
        let (_, asked) = account.asked.take().unwrap_or_default();
        let asked = asked.min(account.waiting.len());
        account.waiting.drain(..asked).for_each(|waiter| serve(waiter, Reply::Unavailable));
        if !sent {
            account.owed = account.owed.saturating_add(account.cost.saturating_mul(asked as u64));
        }
        let others = !account.waiting.is_empty();
        if !others {
            account.remembered = now.saturating_add(nanos(lease_time(&account.limit)));
            account.collect_at = account.remembered;
            self.ends.push(Reverse((account.remembered, id)));
        }
        others
    }

    /// Nobody waits any longer for a key, and until `spared` nobody asks for it.
    pub fn leave(
        &mut self,
        id: AccountId,
        population: &Population,
        spared: Option<u64>,
        mut serve: impl FnMut(W, Reply),
    ) {
        if let Some(account) = self.accounts.remove(&id) {
            if let Some(until) = spared {
                account.limit.leases.spare(population, id.1, until);
            }
            account.waiting.into_iter().for_each(|waiter| serve(waiter, Reply::Unavailable));
        }
    }

    /// Nobody waits any longer; for when the store is given up.
    pub fn give_up(&mut self, mut serve: impl FnMut(W, Reply)) {
        for account in self.accounts.values_mut() {
            account.waiting.drain(..).for_each(|waiter| serve(waiter, Reply::Unavailable));
        }
    }

    /// Collects what is unspent of the leases that are about to end at `now`.
    pub fn collect(&mut self, now: u64) {
        self.alarm = None;
        while let Some(Reverse((end, id))) = self.ends.peek().copied() {
            if end > now {
                break;
            }
            self.ends.pop();
            let Some(account) = self.accounts.get_mut(&id) else { continue };
            if account.collect_at > now || account.asked.is_some() || !account.waiting.is_empty() {
                // It has leased again, or is about to: there is or will be another end.
                continue;
            }
            let left = account.limit.leases.take(id.1);
            account.collect(left, now, &mut self.unspent);
            if account.remembered > now {
                self.ends.push(Reverse((account.remembered, id)));
                account.collect_at = account.remembered;
            } else {
                self.accounts.remove(&id);
            }
        }
    }

    /// What has been collected and is to be given back.
    pub fn unspent(&mut self) -> Vec<GiveBack> {
        std::mem::take(&mut self.unspent)
    }

    /// When [`Accounts::collect`] has something to do, where that is sooner than has been told: leases differ in length.
    pub fn sooner(&mut self) -> Option<u64> {
        let next = self.ends.peek().map(|Reverse((end, _))| *end)?;
        let sooner = self.alarm.is_none_or(|alarm| next < alarm).then_some(next);
        self.alarm = sooner.or(self.alarm);
        sooner
    }

    /// Whether nobody waits and nothing is leased.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
