//! Accounts against a store that is a plain counter.

use std::sync::Arc;
use std::time::Duration;

use crate::rate_limiter::lease::News;
use crate::rate_limiter::settings::{Algorithm, KeyStrategy, Limit};
use crate::rate_limiter::shared_store::{Take, Taken};
use crate::rate_limiter::state::Accounts;
use crate::rate_limiter::{
    Decisions, Key, KeyQuota, KeyedBy, Limiter, OwnedKey, Reply, SharedLimit, Spending, Subject,
};

const MS: u64 = 1_000_000;
const NOW: u64 = 1_700_000_000_000 * MS;

struct Rig {
    limit: Arc<SharedLimit>,
    owner: OwnedKey,
    key_quota: KeyQuota,
    accounts: Accounts<u32>,
    /// What the store has left.
    left: u64,
    replies: Vec<(u32, Reply)>,
    calls: u32,
}

impl Rig {
    fn new(requests: u32) -> Self {
        let limit =
            Limit { algorithm: Algorithm::FixedWindow, requests, window: Duration::from_secs(60), burst: 0 };
        let keyed_by = KeyedBy { strategy: KeyStrategy::Ip, ipv6_prefix: 64 };
        Self {
            limit: SharedLimit::new("r", &limit, keyed_by, Decisions::new(1)),
            owner: Key { subject: Subject::User("ann"), endpoint: None }.into(),
            key_quota: KeyQuota::new(100),
            accounts: Accounts::default(),
            left: requests.into(),
            replies: Vec::new(),
            calls: 0,
        }
    }

    fn id(&self) -> (crate::rate_limiter::LimitId, u64) {
        (self.limit.id, 1)
    }

    fn wait(&mut self, waiter: u32) -> bool {
        self.accounts.wait(&self.limit, 1, &self.owner, (1, false), waiter)
    }

    fn add_debt(&mut self, cost: u64, now: u64) -> bool {
        self.accounts.add_debt(&self.limit, 1, &self.owner, cost, now)
    }

    fn store(&mut self, take: &Take) -> Taken {
        self.calls += 1;
        let granted = if self.left < take.least {
            0
        } else {
            let awaited = take.awaited.min(self.left - self.left % take.least);
            take.most.min(awaited.max(if take.most > take.least { self.left / 8 } else { 0 }))
        };
        self.left -= granted;
        Taken {
            granted,
            good_for: if granted > take.least || (granted > 0 && take.returnable) {
                take.lease
            } else {
                Duration::ZERO
            },
            spend_by: 1_000 + u64::from(self.calls),
            remaining: self.left,
            reset: Duration::from_secs(30),
            retry_after: if granted == 0 { Duration::from_secs(30) } else { Duration::ZERO },
        }
    }

    /// Asks the store until nobody waits.
    fn settle(&mut self, now: u64) {
        let id = self.id();
        while let Some(take) = self.accounts.question(id, now, |_| false) {
            let taken = self.store(&take);
            let replies = &mut self.replies;
            let serve = |waiter, reply| {
                replies.push((waiter, reply));
                true
            };
            self.accounts.answered(id, &taken, &self.key_quota, now, serve);
        }
    }

    /// One request: from the lease if there is one, else from the store.
    fn request(&mut self, now: u64) -> bool {
        match self.limit.leases.spend(1, now, 1) {
            Spending::Spent { .. } => true,
            Spending::Refused(_) | Spending::BackOff => false,
            Spending::Ask => {
                self.wait(0);
                self.settle(now);
                matches!(self.replies.pop(), Some((0, Reply::Granted { .. })))
            }
        }
    }
}

#[test]
fn requests_that_come_during_a_call_wait_for_it_and_share_the_next() {
    let mut rig = Rig::new(1_000);
    assert!(rig.wait(0), "the first asks");
    let first = rig.accounts.question(rig.id(), NOW, |_| false).unwrap();
    assert_eq!((first.least, first.most), (1, 1));
    assert!((1..9).all(|waiter| !rig.wait(waiter)), "the others wait");
    assert!(rig.accounts.question(rig.id(), NOW, |_| false).is_none(), "one call at a time");
    let taken = rig.store(&first);
    let id = rig.id();
    let replies = &mut rig.replies;
    let more = rig.accounts.answered(id, &taken, &rig.key_quota, NOW, |w, r| {
        replies.push((w, r));
        true
    });
    assert!(more && rig.replies.len() == 1);
    rig.settle(NOW);
    assert_eq!(rig.replies.len(), 9);
    assert!(rig.replies.iter().all(|(_, reply)| matches!(reply, Reply::Granted { .. })));
    assert_eq!(rig.calls, 2);
}

#[test]
fn all_who_wait_are_served_by_one_call_near_the_limit_too() {
    let mut rig = Rig::new(10);
    (0..20).for_each(|waiter| {
        rig.wait(waiter);
    });
    rig.settle(NOW);
    let granted = rig.replies.iter().filter(|(_, reply)| matches!(reply, Reply::Granted { .. })).count();
    assert_eq!((rig.replies.len(), granted), (20, 10));
    assert_eq!(rig.calls, 2, "one that grants what is there, one that refuses the rest");
}

#[test]
fn a_hot_key_costs_few_calls_and_its_limit_stays_exact() {
    let mut rig = Rig::new(10_000);
    let passed = (0..20_000).filter(|i| rig.request(NOW + i * MS / 100)).count();
    assert_eq!(passed, 10_000);
    assert!(rig.calls < 200, "{} calls", rig.calls);
}

#[test]
fn a_small_limit_is_never_leased_ahead() {
    let mut rig = Rig::new(10);
    for i in 0..10 {
        assert!(rig.request(NOW + i * MS));
        assert_eq!(rig.limit.leases.outstanding(NOW + i * MS), 0);
    }
    assert!(!rig.request(NOW + 10 * MS));
    let calls = rig.calls;
    assert!((0..1_000).all(|i| !rig.request(NOW + 10 * MS + i)));
    assert_eq!(rig.calls, calls, "a refusal is remembered");
}

#[test]
fn what_is_not_spent_is_given_back() {
    let mut rig = Rig::new(100_000);
    (0..50).for_each(|i| assert!(rig.request(NOW + i * MS)));
    let now = NOW + 50 * MS;
    let leased = rig.limit.leases.outstanding(now);
    assert!(leased > 0);
    let end = rig.accounts.sooner().unwrap();
    rig.accounts.collect(end - 1);
    assert!(rig.accounts.unspent().is_empty());
    rig.accounts.collect(now + 150 * MS);
    let back = rig.accounts.unspent();
    assert_eq!(back.iter().map(|back| back.unspent).sum::<u64>() + 50, 100_000 - rig.left);
    assert!(back.iter().all(|back| back.unspent <= leased));
    let mut grants: Vec<_> = back.iter().map(|back| back.spend_by).collect();
    grants.dedup();
    assert_eq!(grants.len(), back.len(), "each grant is given back by itself");
    assert_eq!(rig.limit.leases.outstanding(now), 0);
    while let Some(end) = rig.accounts.sooner() {
        rig.accounts.collect(end);
    }
    assert!(rig.accounts.is_empty(), "an idle key is forgotten");
}

#[test]
fn what_is_not_spent_is_given_back_also_where_the_next_question_comes_before_it_is_collected() {
    let mut rig = Rig::new(100_000);
    (0..50).for_each(|i| assert!(rig.request(NOW + i * MS)));
    let leased = rig.limit.leases.outstanding(NOW + 50 * MS);
    assert!(leased > 0);
    // The lease has ended, and the timer that collects it is late.
    assert!(rig.request(NOW + 500 * MS));
    let back = rig.accounts.unspent();
    assert_eq!(back.iter().map(|back| back.unspent).sum::<u64>(), leased);
    let kept = rig.limit.leases.outstanding(NOW + 500 * MS);
    assert_eq!(rig.left + leased + kept + 51, 100_000, "nothing is lost");
}

#[test]
fn who_has_gone_while_waiting_takes_nothing() {
    let mut rig = Rig::new(1_000);
    (0..3).for_each(|waiter| assert_eq!(rig.wait(waiter), waiter == 0));
    let take = rig.accounts.question(rig.id(), NOW, |_| false).unwrap();
    let taken = rig.store(&take);
    assert_eq!(taken.granted, 3);
    let id = rig.id();
    rig.accounts.answered(id, &taken, &rig.key_quota, NOW, |waiter, _| waiter == 2);
    assert_eq!(rig.limit.leases.outstanding(NOW), 2, "what they would have taken is there for others");
}

#[test]
fn who_comes_during_a_call_that_fails_is_asked_for_by_the_next() {
    let mut rig = Rig::new(1_000);
    let id = rig.id();
    (0..2).for_each(|waiter| assert_eq!(rig.wait(waiter), waiter == 0));
    let _ = rig.accounts.question(id, NOW, |_| false).unwrap();
    (2..5).for_each(|waiter| assert!(!rig.wait(waiter)));
    let mut told = Vec::new();
    let tell = |waiter, reply| {
        told.push((waiter, reply));
        true
    };
    assert!(rig.accounts.failed(id, NOW, true, tell), "the others still wait");
    let unavailable = Reply::Unavailable { charged: true };
    assert_eq!(told, [(0, unavailable), (1, unavailable)]);
    let next = rig.accounts.question(id, NOW + MS, |_| false).unwrap();
    assert_eq!((next.least, next.awaited), (1, 3));
    assert!(!rig.accounts.failed(id, NOW + MS, true, |_, _| true));
    assert!(rig.accounts.collect(NOW + 300 * MS).is_empty());
    assert!(rig.accounts.is_empty());
}

#[test]
fn what_has_passed_without_the_store_is_paid_once_and_first() {
    let mut rig = Rig::new(10);
    let id = rig.id();
    assert!(rig.add_debt(3, NOW), "nobody else asks for it");
    rig.settle(NOW);
    assert_eq!((rig.left, rig.calls, rig.replies.len()), (7, 1, 0));
    assert!(rig.accounts.question(id, NOW, |_| false).is_none(), "once");
    // Owed while a call is under way: the next one pays.
    rig.wait(0);
    let take = rig.accounts.question(id, NOW, |_| false).unwrap();
    assert!(!rig.add_debt(2, NOW));
    let taken = rig.store(&take);
    let mut told = Vec::new();
    let more = rig.accounts.answered(id, &taken, &rig.key_quota, NOW, |waiter, reply| {
        told.push((waiter, reply));
        true
    });
    assert!(more && told.is_empty(), "the grant went to what is owed, the request is asked for again");
    rig.settle(NOW);
    assert_eq!((rig.replies.len(), rig.left), (1, 4));
    // More than there is: nobody passes, and it is not asked for again.
    assert!(rig.add_debt(9, NOW));
    rig.settle(NOW);
    assert_eq!((rig.left, rig.limit.leases.outstanding(NOW)), (0, 0));
    assert!(rig.accounts.question(id, NOW, |_| false).is_none());
}

#[test]
fn what_is_owed_is_paid_out_of_a_lease_first() {
    let mut rig = Rig::new(100_000);
    (0..50).for_each(|i| assert!(rig.request(NOW + i * MS)));
    let now = NOW + 50 * MS;
    let (leased, calls) = (rig.limit.leases.outstanding(now), rig.calls);
    assert!(leased > 3);
    rig.add_debt(3, now);
    rig.settle(now);
    assert_eq!((rig.limit.leases.outstanding(now), rig.calls), (leased - 3, calls), "nobody is asked");
    rig.accounts.collect(now + 150 * MS);
    let back = rig.accounts.unspent();
    assert_eq!(
        back.iter().map(|back| back.unspent).sum::<u64>(),
        leased - 3,
        "the rest is given back as ever"
    );
}

#[test]
fn who_has_gone_is_not_asked_for_nor_owed_twice() {
    let mut rig = Rig::new(1_000);
    let id = rig.id();
    (0..3).for_each(|waiter| assert_eq!(rig.wait(waiter), waiter == 0));
    let take = rig.accounts.question(id, NOW, |waiter| *waiter != 1).unwrap();
    assert_eq!(take.awaited, 1);
    // It loses patience while it is asked for, and passes by the share; the store has the question.
    assert!(!rig.add_debt(1, NOW));
    assert!(!rig.accounts.failed(id, NOW, true, |_, _| false));
    assert!(rig.accounts.question(id, NOW + MS, |_| false).is_none(), "it is charged already");
    // Everybody has gone: nothing is asked, and nothing stays.
    rig.wait(0);
    assert!(rig.accounts.question(id, NOW + MS, |_| true).is_none());
    rig.accounts.collect(NOW + 300 * MS);
    assert!(rig.accounts.is_empty());
}

#[test]
fn for_what_is_owed_alone_a_store_that_fails_is_not_asked_at_each_request() {
    let mut rig = Rig::new(1_000);
    let id = rig.id();
    assert!(rig.add_debt(1, NOW));
    let _ = rig.accounts.question(id, NOW, |_| false).unwrap();
    assert!(!rig.accounts.failed(id, NOW, false, |_, _| true));
    assert!((1..99).all(|i| !rig.add_debt(1, NOW + i * MS)));
    assert_eq!(rig.accounts.collect(NOW + 100 * MS), [id]);
    assert!(rig.add_debt(10_000, NOW + 101 * MS));
    let take = rig.accounts.question(id, NOW + 101 * MS, |_| false).unwrap();
    assert_eq!(take.awaited, 1_000, "never more than the limit");
}

#[test]
fn what_is_owed_is_kept_until_the_store_can_be_told_or_its_window_is_over() {
    let mut rig = Rig::new(10);
    let id = rig.id();
    assert!(rig.add_debt(2, NOW));
    let unreachable = |rig: &mut Rig, now| {
        let take = rig.accounts.question(id, now, |_| false).unwrap();
        assert_eq!((take.awaited, take.most), (2, 2));
        assert!(!rig.accounts.failed(id, now, false, |_, _| true), "not again at once");
    };
    for again in 0..20 {
        unreachable(&mut rig, NOW + again * 200 * MS);
        assert_eq!(rig.accounts.collect(NOW + again * 200 * MS + 150 * MS), [id]);
    }
    assert!(rig.accounts.question(id, NOW + 60_000 * MS, |_| false).is_none(), "the window is over");
    assert!(rig.accounts.collect(NOW + 60_200 * MS).is_empty());
    assert!(rig.accounts.is_empty());
    // A store that has the question will decide it.
    let now = NOW + 61_000 * MS;
    assert!(rig.add_debt(2, now));
    let _ = rig.accounts.question(id, now, |_| false).unwrap();
    assert!(!rig.accounts.failed(id, now, true, |_, _| true));
    let now = now + 200 * MS;
    assert!(rig.accounts.question(id, now, |_| false).is_none());
    // A store that is given up is owed nothing.
    assert!(rig.add_debt(2, now));
    rig.accounts.give_up(|_, _| true);
    assert!(rig.accounts.question(id, now, |_| false).is_none());
}

#[test]
fn without_room_for_a_lease_what_is_not_spent_goes_back_at_once() {
    let mut rig = Rig::new(1_000);
    rig.key_quota.set_most(0, 1);
    for i in 0..100 {
        assert!(rig.request(NOW + i * MS));
        rig.left += rig.accounts.unspent().iter().map(|back| back.unspent).sum::<u64>();
    }
    assert_eq!(rig.left, 900);
}

#[test]
fn nobody_is_left_waiting_for_a_key_that_is_spared() {
    let mut rig = Rig::new(1_000);
    (0..3).for_each(|waiter| assert_eq!(rig.wait(waiter), waiter == 0));
    let _ = rig.accounts.question(rig.id(), NOW, |_| false).unwrap();
    rig.wait(3);
    let id = rig.id();
    let mut told = Vec::new();
    let tell = |waiter, reply| {
        told.push((waiter, reply));
        true
    };
    rig.accounts.back_off(id, &rig.key_quota, NOW + MS, true, tell);
    assert_eq!(rig.limit.leases.spend(1, NOW, 1), Spending::BackOff);
    // The question was sent for all but the last one: a store that is slow will count them.
    let charged: Vec<_> =
        told.iter().map(|(_, reply)| *reply == Reply::Unavailable { charged: true }).collect();
    assert_eq!(charged, [true, true, true, false]);
    assert!(rig.accounts.is_empty());
}

#[test]
fn a_refusal_is_believed_for_a_second_and_told_whole() {
    let mut rig = Rig::new(1);
    assert!(rig.request(NOW) && !rig.request(NOW));
    let calls = rig.calls;
    let Spending::Refused(refusal) = rig.limit.leases.spend(1, NOW + 999 * MS, 1) else { panic!("asked") };
    assert_eq!(refusal.retry_after, 30_000 * MS - 999 * MS);
    // Another instance has given back what it did not spend.
    rig.left = 1;
    assert!(rig.request(NOW + 1_000 * MS));
    assert_eq!(rig.calls, calls + 1);
}

#[test]
fn the_leases_of_a_short_window_are_collected_in_time_beside_those_of_a_long_one() {
    let mut rig = Rig::new(100_000);
    let mut short = Rig::new(100_000);
    let limit = Limit { window: Duration::from_secs(1), ..short.limit.limit.clone() };
    short.limit = SharedLimit::new("short", &limit, short.limit.keyed_by, Decisions::new(1));
    (0..50).for_each(|i| assert!(rig.request(NOW + i * MS)));
    let now = NOW + 50 * MS;
    let alarm = rig.accounts.sooner().unwrap();
    assert!(alarm > now + 90 * MS);
    assert_eq!(rig.accounts.sooner(), None, "it is known already");
    std::mem::swap(&mut rig.accounts, &mut short.accounts);
    (0..50).for_each(|i| assert!(short.request(now + i * MS / 10)));
    let sooner = short.accounts.sooner().unwrap();
    assert!(sooner < now + 15 * MS, "{} ms", (sooner - now) / MS);
    assert!(sooner < alarm);
    short.accounts.collect(sooner);
    assert!(short.accounts.sooner().is_some_and(|next| next > sooner), "and the long one's afterwards");
}

#[test]
fn while_the_store_is_late_the_share_is_a_part_of_what_it_has_left() {
    for algorithm in [Algorithm::TokenBucket, Algorithm::SlidingWindow, Algorithm::FixedWindow] {
        let limit = Limit { algorithm, requests: 100, window: Duration::from_secs(10), burst: 0 };
        let keyed_by = KeyedBy { strategy: KeyStrategy::Ip, ipv6_prefix: 64 };
        let shared = SharedLimit::new("r", &limit, keyed_by, Decisions::new(1));
        let limiter = Limiter::new(1_000, true);
        let passed = |key, late| {
            let share = limiter.share(&shared, 1, late);
            (0..200).filter(|_| limiter.charge_share(&shared, key, NOW, &share).is_ok()).count()
        };
        limiter.set_instances(2);
        let reset_at = NOW + 6_900 * MS;
        let news = News { count: 1, until: NOW + MS, remaining: 31, reset_at, provisional: 0 };
        assert!(shared.leases.granted(&limiter.key_quota, 1, NOW, news));
        // Half of what is left but for what the other may have taken since.
        assert_eq!(passed(1, true), 3, "{algorithm:?}");
        assert_eq!(passed(2, true), 50, "{algorithm:?}: nothing is known of that one");
        limiter.set_instances(1);
        assert!(shared.leases.granted(&limiter.key_quota, 4, NOW, news));
        assert_eq!(passed(4, true), 31, "{algorithm:?}: there is no other");
        limiter.set_instances(2);
        // Where it is away, the rule decides by its share of the whole.
        assert!(shared.leases.granted(&limiter.key_quota, 3, NOW, news));
        assert_eq!(passed(3, false), 50, "{algorithm:?}");
    }
}

#[test]
fn what_was_charged_to_a_share_is_taken_back_from_it() {
    let limit =
        Limit { algorithm: Algorithm::TokenBucket, requests: 10, window: Duration::from_secs(10), burst: 0 };
    let keyed_by = KeyedBy { strategy: KeyStrategy::Ip, ipv6_prefix: 64 };
    let shared = SharedLimit::new("r", &limit, keyed_by, Decisions::new(1));
    let limiter = Limiter::new(1_000, true);
    limiter.set_instances(5);
    // Two are all that there are of it; the request costs three.
    let share = limiter.share(&shared, 3, false);
    for _ in 0..5 {
        assert!(limiter.charge_share(&shared, 1, NOW, &share).is_ok());
        assert!(limiter.charge_share(&shared, 1, NOW, &share).is_err());
        limiter.refund_share(&shared, 1, NOW, &share);
    }
    let one = limiter.share(&shared, 1, false);
    let passed = (0..10).filter(|_| limiter.charge_share(&shared, 1, NOW, &one).is_ok()).count();
    assert_eq!(passed, 2);
}

#[test]
fn what_another_limit_makes_needless_is_there_for_the_next_request_or_given_back() {
    let mut rig = Rig::new(10);
    let id = rig.id();
    let ask = |rig: &mut Rig| {
        rig.accounts.wait(&rig.limit, 1, &rig.owner, (1, true), 0);
        rig.settle(NOW);
        let Some((0, Reply::Granted { until, .. })) = rig.replies.pop() else { panic!("not granted") };
        rig.limit.leases.put_back(1, NOW, until, 1);
    };
    ask(&mut rig);
    assert_eq!((rig.left, rig.limit.leases.outstanding(NOW)), (9, 1));
    assert!(rig.request(NOW), "spent by the next");
    assert_eq!(rig.left, 9);
    ask(&mut rig);
    rig.accounts.collect(NOW + MS);
    assert!(rig.accounts.unspent().is_empty());
    rig.accounts.collect(NOW + 190 * MS);
    let back = rig.accounts.unspent();
    assert_eq!(back.iter().map(|back| back.unspent).sum::<u64>(), 1);
    assert!(rig.accounts.question(id, NOW, |_| false).is_none());
}
