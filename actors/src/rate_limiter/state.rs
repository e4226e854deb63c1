//! Which questions for the shared store are open, what is asked next, and who gets what of an answer.
//!
//! One account per key that is being asked for or has leased something. There is never more than one call for a key under
//! way; requests that come meanwhile wait for it and go with the next one. What has passed by the instance's share while the
//! store was late is a debt: it is asked for in front of everything else, so that the store comes to know of it. A key
//! that comes back before its lease has ended is given as much the next time as it spends in half of that time, though at
//! most twice as much as before: a hot key costs a few calls per second, and hardly anything that was leased is left over.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::buckets::KeyQuota;
use super::key::OwnedKey;
use super::lease::{LARGEST, News};
use super::limit::{Refusal, Standing};
use super::messages::Reply;
use super::shared_limit::{LimitId, SharedLimit};
use super::shared_store::{GiveBack, Take, Taken};

/// A bucket of the shared store.
pub type AccountId = (LimitId, u64);

/// How long a lease may be spent: a 100th of the window, within these. What is not spent counts as used until then.
const LEASE: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_millis(200);

/// Requests per lease at most.
const MOST: u64 = 16_384;

/// How long a refusal is believed at most: another instance may give back what it has leased in vain.
const REFUSED: Duration = Duration::from_secs(1);

/// After a debt could not be paid, until that is tried again.
const PAY_AGAIN: Duration = Duration::from_millis(100);

struct Account<W> {
    limit: Arc<SharedLimit>,
    store_key: String,
    cost: u64,
    /// Taken without the store's knowledge, by the instance's share, and until when the store may be told.
    debt: u64,
    debt_until: u64,
    /// The store has failed: for the debt alone it is not asked before.
    pay_after: u64,
    /// One of those who wait may not need it after all.
    returnable: bool,
    /// Requests to lease the next time.
    want: u64,
    /// What was granted the last time, and when it was asked for.
    granted: (u64, u64),
    waiting: VecDeque<W>,
    /// The call that is under way.
    asked: Option<Asked>,
    /// A key that comes back before then is hot; one that does not is forgotten.
    remembered: u64,
    /// What was leased and may be unspent, oldest first: by when it is to be spent in the store's time, and how much.
    leased: Vec<(u64, u64)>,
    /// When what is unspent of it is collected: before the lease ends, since afterwards nothing is given back.
    collect_at: u64,
}

/// A call for one key.
#[derive(Clone, Copy, Default)]
struct Asked {
    /// When it was sent.
    at: u64,
    /// For how many of those who wait.
    waiting: usize,
    /// For how much of the debt.
    debt: u64,
}

impl<W> Account<W> {
    fn new(limit: &Arc<SharedLimit>, owner: &OwnedKey, cost: u64) -> Self {
        Self {
            limit: limit.clone(),
            store_key: limit.store_key(&owner.as_key()),
            cost,
            debt: 0,
            debt_until: 0,
            pay_after: 0,
            returnable: false,
            want: 0,
            granted: (0, 0),
            waiting: VecDeque::new(),
            asked: None,
            remembered: 0,
            leased: Vec::new(),
            collect_at: 0,
        }
    }

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
pub fn lease_time(limit: &SharedLimit) -> Duration {
    (limit.limit.window / 100).clamp(*LEASE.start(), *LEASE.end())
}

impl<W> Accounts<W> {
    /// A request waits for `cost` of a key. Answers whether the key is to be [asked for](Accounts::question).
    pub fn wait(
        &mut self,
        limit: &Arc<SharedLimit>,
        key: u64,
        owner: &OwnedKey,
        (cost, returnable): (u64, bool),
        waiter: W,
    ) -> bool {
        let account = self.accounts.entry((limit.id, key));
        let account = account.or_insert_with(|| Account::new(limit, owner, cost));
        account.cost = cost;
        account.returnable |= returnable;
        account.waiting.push_back(waiter);
        account.asked.is_none() && account.waiting.len() == 1
    }

    /// `cost` of a key has passed by the share at `now`. Answers whether the key is to be [asked for](Accounts::question).
    pub fn add_debt(
        &mut self,
        limit: &Arc<SharedLimit>,
        key: u64,
        owner: &OwnedKey,
        cost: u64,
        now: u64,
    ) -> bool {
        let account = self.accounts.entry((limit.id, key));
        let account = account.or_insert_with(|| Account::new(limit, owner, cost));
        if account.debt == 0 || account.debt_until <= now {
            // A window later it is no part of the limit any more.
            (account.debt, account.debt_until) = (0, now.saturating_add(limit.plan.window));
        }
        account.debt = account.debt.saturating_add(cost).min(limit.plan.capacity);
        account.asked.is_none() && account.waiting.is_empty() && account.pay_after <= now
    }

    /// The question for a key, now under way. `None` when nobody waits and there is no debt, or it is under way already.
    /// `gone`: nobody waits there any longer.
    pub fn question(&mut self, id: AccountId, now: u64, gone: impl Fn(&W) -> bool) -> Option<Take> {
        let account = self.accounts.get_mut(&id)?;
        if account.asked.is_some() {
            return None;
        }
        account.waiting.retain(|waiter| !gone(waiter));
        if account.debt_until <= now {
            account.debt = 0;
        }
        // What has been leased meanwhile is charged already.
        account.debt -= account.limit.leases.pay(id.1, now, account.debt);
        if account.waiting.is_empty() && account.debt == 0 {
            if account.leased.is_empty() {
                // Everybody has gone: it is forgotten like a key that has been answered for.
                account.collect_at = account.remembered.max(now);
                self.ends.push(Reverse((account.collect_at, id)));
            }
            return None;
        }
        account.asked = Some(Asked { at: now, waiting: account.waiting.len(), debt: account.debt });
        // A lease that ended before it was collected; the answer's would take its place.
        let left = account.limit.leases.take_ended(id.1, now);
        account.collect(left, now, &mut self.unspent);
        if account.remembered > now {
            // What it had is spent before it ended: the key is hot.
            account.want = account.fitting(0, now).clamp(1, (account.want * 2).clamp(1, MOST));
        }
        let waiting = account.waiting.len() as u64;
        let awaited = account.debt.saturating_add(account.cost.saturating_mul(waiting));
        let ahead = if waiting > 0 { account.cost.saturating_mul(account.want) } else { 0 };
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

    /// The store has answered. The debt is paid, then whoever can be served is; the rest of a grant goes into the lease.
    /// Answers whether those who still wait are to be asked for again.
    pub fn answered(
        &mut self,
        id: AccountId,
        taken: &Taken,
        key_quota: &KeyQuota,
        now: u64,
        mut serve: impl FnMut(W, Reply) -> bool,
    ) -> bool {
        let Some(account) = self.accounts.get_mut(&id) else { return false };
        let Asked { at: asked, debt, .. } =
            account.asked.take().unwrap_or(Asked { at: now, ..Asked::default() });
        let paid = account.debt.min(taken.granted);
        // What was asked for and is not there has passed beyond the limit: nobody can pay it.
        account.debt = account.debt.saturating_sub(paid.max(debt));
        let limit = account.limit.clone();
        // The store decided between the question and now. A moment is told at the earliest that it can be, for windows end
        // with whole seconds; how long to wait, at the longest.
        let reset_at = asked.saturating_add(nanos(taken.reset));
        let provisional = account.debt;
        let news = |count, until| News { count, until, remaining: taken.remaining, reset_at, provisional };
        let reset = reset_at.saturating_sub(now);
        if taken.granted < account.cost {
            let until = asked.saturating_add(nanos(taken.retry_after.min(REFUSED)));
            let standing = Standing { remaining: taken.remaining, reset };
            let refusal = Refusal { standing, retry_after: nanos(taken.retry_after).max(1) };
            limit.leases.refused(key_quota, id.1, until, now.saturating_add(refusal.retry_after), news(0, 0));
            account.waiting.drain(..).for_each(|waiter| {
                serve(waiter, Reply::Refused(refusal));
            });
            account.remembered = asked.saturating_add(nanos(lease_time(&limit)));
            self.ends.push(Reverse((account.remembered, id)));
            return account.debt > 0;
        }
        account.granted = (taken.granted / account.cost, asked);
        let until = asked.saturating_add(nanos(taken.good_for));
        let mut left = taken.granted - paid;
        while left >= account.cost {
            let Some(waiter) = account.waiting.pop_front() else { break };
            let standing = Standing { remaining: taken.remaining + left - account.cost, reset };
            // Who has gone meanwhile takes nothing; if it passed by the share, that is a debt.
            if serve(waiter, Reply::Granted { standing, until }) {
                left -= account.cost;
            }
        }
        account.remembered = asked.saturating_add(nanos(lease_time(&limit)));
        account.collect_at = account.remembered;
        // Somebody had to ask, so what was leased before is spent or collected.
        account.leased.clear();
        if taken.good_for.is_zero() {
            limit.leases.learn(id.1, news(0, 0));
        } else if limit.leases.granted(key_quota, id.1, now, news(left, until)) {
            // What was served of a lease may be put back into it.
            account.leased.push((taken.spend_by, taken.granted));
            account.collect_at = asked.saturating_add(nanos(taken.good_for) / 4 * 3);
        } else {
            // There is no room to keep it: the store has it back, and nothing more is leased ahead.
            if left > 0 {
                let (key, plan, spend_by) = (account.store_key.clone(), limit.plan, taken.spend_by);
                self.unspent.push(GiveBack { key, plan, unspent: left, spend_by });
            }
            (account.want, account.remembered) = (0, now);
        }
        self.ends.push(Reverse((account.collect_at, id)));
        !account.waiting.is_empty() || account.debt > 0
    }

    /// The store did not answer: those whom it was asked for wait no longer. Where the question was `sent`, they and the
    /// debt count as charged, for a store that is slow will decide it. Answers whether there are others to be asked for.
    pub fn failed(
        &mut self,
        id: AccountId,
        now: u64,
        sent: bool,
        mut serve: impl FnMut(W, Reply) -> bool,
    ) -> bool {
        let Some(account) = self.accounts.get_mut(&id) else { return false };
        let asked = account.asked.take().unwrap_or_default();
        let waiting = asked.waiting.min(account.waiting.len());
        let heard = account
            .waiting
            .drain(..waiting)
            .map(|waiter| serve(waiter, Reply::Unavailable { charged: sent }));
        // Who has gone meanwhile has passed by the share and is a debt, though it was asked for.
        let gone = heard.filter(|heard| !heard).count() as u64;
        if sent {
            let charged = asked.debt.saturating_add(account.cost.saturating_mul(gone));
            account.debt = account.debt.saturating_sub(charged);
        }
        account.pay_after = now.saturating_add(nanos(PAY_AGAIN));
        (account.remembered, account.collect_at) = (account.pay_after, account.pay_after);
        self.ends.push(Reverse((account.collect_at, id)));
        !account.waiting.is_empty()
    }

    /// Nobody waits any longer for a key.
    pub fn leave(&mut self, id: AccountId, mut serve: impl FnMut(W, Reply) -> bool) {
        if let Some(account) = self.accounts.remove(&id) {
            account.waiting.into_iter().for_each(|waiter| {
                serve(waiter, Reply::Unavailable { charged: false });
            });
        }
    }

    /// The store did not answer for a key, and is not asked for it until `until`: nobody waits any longer. Of those who did,
    /// whom it was asked for count as charged where the question was `sent`, as in [`Accounts::failed`].
    pub fn back_off(
        &mut self,
        id: AccountId,
        key_quota: &KeyQuota,
        until: u64,
        sent: bool,
        mut serve: impl FnMut(W, Reply) -> bool,
    ) {
        let Some(account) = self.accounts.remove(&id) else { return };
        account.limit.leases.back_off(key_quota, id.1, until);
        let asked = account.asked.unwrap_or_default().waiting;
        for (at, waiter) in account.waiting.into_iter().enumerate() {
            serve(waiter, Reply::Unavailable { charged: sent && at < asked });
        }
    }

    /// Nobody waits any longer, and there is no debt; for when the store is given up.
    pub fn give_up(&mut self, mut serve: impl FnMut(W, Reply) -> bool) {
        for account in self.accounts.values_mut() {
            account.debt = 0;
            account.waiting.drain(..).for_each(|waiter| {
                serve(waiter, Reply::Unavailable { charged: false });
            });
        }
    }

    /// Collects what is unspent of the leases that are about to end at `now`. Answers which keys are to be asked for,
    /// because they still have a debt.
    pub fn collect(&mut self, now: u64) -> Vec<AccountId> {
        self.alarm = None;
        let mut indebted = Vec::new();
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
            if account.debt > 0 && account.debt_until > now {
                account.collect_at = now.saturating_add(nanos(PAY_AGAIN));
                self.ends.push(Reverse((account.collect_at, id)));
                indebted.push(id);
            } else if account.remembered > now {
                self.ends.push(Reverse((account.remembered, id)));
                account.collect_at = account.remembered;
            } else {
                self.accounts.remove(&id);
            }
        }
        indebted
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
