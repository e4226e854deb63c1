//! Random schedules, replayed by models that are plain and slow, at the times that Redis answered.

use futures_util::future::join_all;

use super::servers::Server;
use super::*;

/// A grant as a model sees it: microseconds, and requests not given back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub(super) at: u64,
    pub(super) until: u64,
    pub(super) requests: u64,
}

impl Grant {
    pub(super) fn of(taken: &Taken) -> Self {
        Self { at: decided(taken), until: taken.spend_by, requests: taken.granted }
    }
}

/// What is there, and until the whole is there again.
type Left = (u64, Duration);

fn sliding(plan: &Plan, grants: &[Grant], now: u64) -> Left {
    let (slot, window) = (plan.slot.div_ceil(1000), plan.window / 1000);
    let over = |grant: &Grant| (grant.until / slot + 1) * slot + window;
    let counting = || grants.iter().filter(|grant| over(grant) > now && grant.requests > 0);
    let used: u64 = counting().map(|grant| grant.requests).sum();
    let reset = counting().map(|grant| over(grant) - now).max().unwrap_or(0);
    (plan.capacity - used, Duration::from_micros(reset))
}

fn fixed(plan: &Plan, grants: &[Grant], now: u64) -> Left {
    let window = plan.window / 1000;
    let used: u64 = grants.iter().filter(|grant| grant.at / window == now / window).map(|g| g.requests).sum();
    let reset = if used > 0 { window - now % window } else { 0 };
    (plan.capacity - used, Duration::from_micros(reset))
}

/// The definition in `scripts.rs`, computed anew each time, with leases that end `later` (a multiple of their length).
fn token(plan: &Plan, grants: &[Grant], now: u64, later: u64) -> Left {
    let end = |grant: &Grant| grant.until + (grant.until - grant.at) * later;
    let granted_since = |a: u64| -> u64 { grants.iter().filter(|g| end(g) >= a).map(|g| g.requests).sum() };
    let term =
        |a: u64| (i128::from(a) - i128::from(now)) * 1000 + i128::from(granted_since(a) * plan.interval);
    let past = grants.iter().map(end).filter(|end| *end <= now);
    let ahead = past.chain([now]).map(term).max().unwrap().max(0);
    let future = grants.iter().map(end).filter(|end| *end > now);
    let settled = future.map(term).max().unwrap_or(0).max(ahead);
    let full = i128::from(plan.capacity * plan.interval);
    let there = ((full - ahead) / i128::from(plan.interval)).max(0);
    (u64::try_from(there).unwrap(), Duration::from_micros(u64::try_from((settled + 999) / 1000).unwrap()))
}

#[actix_rt::test]
async fn single_requests_are_counted_as_the_models_count() {
    let server = Server::start(&[]);
    let store = patient(&server.url());
    let runs = ALGORITHMS.into_iter().flat_map(|algorithm| [(algorithm, 20), (algorithm, 300)]);
    join_all(runs.map(async |(algorithm, requests)| {
        let plan = plan(algorithm, requests, Duration::from_secs(1));
        let most = u64::from(requests) / 10;
        let mut grants: Vec<Grant> = Vec::new();
        let refused = |grants: &[Grant]| grants.iter().filter(|grant| grant.requests == 0).count();
        // The slower the machine, the fewer are refused.
        while grants.len() < 250 || (refused(&grants) <= 10 && grants.len() < 1000) {
            let take = one(&format!("{algorithm:?}{requests}"), plan);
            let least = fastrand::u64(1..=most);
            let taken = sure(&store, &Take { least, awaited: least, most: least, ..take }).await;
            let now = decided(&taken);
            let model = |grants: &[Grant]| match algorithm {
                Algorithm::TokenBucket => token(&plan, grants, now, 0),
                Algorithm::SlidingWindow => sliding(&plan, grants, now),
                Algorithm::FixedWindow => fixed(&plan, grants, now),
            };
            let (there, _) = model(&grants);
            assert_eq!(
                taken.granted,
                if there >= least { least } else { 0 },
                "{algorithm:?} {taken:?} {there}"
            );
            grants.push(Grant::of(&taken));
            assert_eq!((taken.remaining, taken.reset), model(&grants), "{algorithm:?} {taken:?}");
            tokio::time::sleep(Duration::from_micros(fastrand::u64(0..12_000))).await;
        }
        let (refused, all) = (refused(&grants), grants.len());
        assert!(refused > 10 && refused < all - 10, "the schedule tests little: {refused} of {all} refused");
    }))
    .await;
}

#[actix_rt::test]
async fn leases_are_counted_as_the_models_count() {
    let server = Server::start(&[]);
    let store = patient(&server.url());
    join_all(ALGORITHMS.map(async |algorithm| {
        let key = format!("{algorithm:?}");
        let plan = plan(algorithm, 200, Duration::from_secs(1));
        let (mut grants, mut out): (Vec<Grant>, Vec<(usize, Take, Taken)>) = (Vec::new(), Vec::new());
        for _ in 0..300 {
            let least = fastrand::u64(1..=3);
            let length = ms([20, 60][fastrand::usize(0..2)]);
            let most = fastrand::u64(least..40);
            let awaited = if fastrand::bool() { least } else { fastrand::u64(least..=most) };
            let take = Take { awaited, ..lease(&key, plan, least, most, length) };
            let taken = sure(&store, &take).await;
            let now = decided(&taken);
            // What the store does not keep apart makes a token bucket tighter, within what its documentation says.
            let model = |grants: &[Grant]| match algorithm {
                Algorithm::TokenBucket => (token(&plan, grants, now, 5), token(&plan, grants, now, 0)),
                Algorithm::SlidingWindow => (sliding(&plan, grants, now), sliding(&plan, grants, now)),
                Algorithm::FixedWindow => (fixed(&plan, grants, now), fixed(&plan, grants, now)),
            };
            let grant = |there: u64| match there {
                there if there < least => 0,
                there => take.most.min(awaited.min(there - there % least).max(there / 8)),
            };
            let ((fewest, _), (most, _)) = model(&grants);
            assert!(
                (grant(fewest)..=grant(most)).contains(&taken.granted),
                "{algorithm:?} {taken:?} {fewest} {most}"
            );
            out.push((grants.len(), take, taken));
            grants.push(Grant::of(&taken));
            let ((fewest, latest), (most, earliest)) = model(&grants);
            assert!((fewest..=most).contains(&taken.remaining), "{algorithm:?} {taken:?} {fewest} {most}");
            assert!(
                (earliest..=latest).contains(&taken.reset),
                "{algorithm:?} {taken:?} {earliest:?} {latest:?}"
            );
            if fastrand::u8(0..3) == 0 {
                let (at, take, taken) = out.swap_remove(fastrand::usize(0..out.len()));
                // Well before its end, so that the model knows whether it is taken back.
                if taken.good_for > ms(10) && taken.spend_by > now + 15_000 {
                    let unspent = fastrand::u64(1..=taken.granted);
                    store.give_back(vec![back(&take, &taken, unspent)]).await;
                    let clock: (u64, u64) = server.ask("TIME");
                    if clock.0 * 1_000_000 + clock.1 >= taken.spend_by {
                        // The machine was busy; neither outcome is known. A new bucket.
                        let _: () = server.ask(&format!("DEL test:limit:{{{key}}}"));
                        (grants, out) = (Vec::new(), Vec::new());
                        continue;
                    }
                    grants[at].requests -= unspent;
                }
            }
            tokio::time::sleep(Duration::from_micros(fastrand::u64(0..8_000))).await;
        }
    }))
    .await;
}
