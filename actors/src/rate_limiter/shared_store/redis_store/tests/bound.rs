//! The bound itself: several instances, one bucket, and every request spent at the worst permitted moment.

use std::cell::RefCell;
use std::rc::Rc;

use futures_util::future::join_all;

use super::models::Grant;
use super::servers::Server;
use super::*;

const WINDOW: Duration = Duration::from_secs(1);
const LASTS: Duration = Duration::from_millis(3_300);

#[actix_rt::test]
async fn several_instances_never_admit_more_than_the_limit() {
    let server = Server::start(&[]);
    // All at the same time, each with its own bucket. 400 is counted in slots.
    let runs = ALGORITHMS.into_iter().flat_map(|algorithm| [(algorithm, 60), (algorithm, 400)]);
    join_all(runs.map(|(algorithm, requests)| hammer(&server, plan(algorithm, requests, WINDOW)))).await;
}

async fn hammer(server: &Server, plan: Plan) {
    let grants: Rc<RefCell<Vec<Grant>>> = Rc::default();
    let begun = Instant::now();
    let instances = (0..4).map(|id| {
        let (store, grants) = (named(&server.url(), &id.to_string()), grants.clone());
        async move {
            while begun.elapsed() < LASTS {
                let least = fastrand::u64(1..=3);
                let most = if fastrand::bool() { least } else { fastrand::u64(least..30) };
                let take =
                    lease(&format!("{:?}{}", plan.algorithm, plan.capacity), plan, least, most, ms(80));
                let take = Take { awaited: fastrand::u64(least..=most), ..take };
                // An answer that is lost was never spent.
                let Ok(taken) = ask(&store, &take).await else { continue };
                let mut grant = Grant::of(&taken);
                tokio::time::sleep(Duration::from_micros(fastrand::u64(0..6_000))).await;
                if fastrand::u8(0..4) == 0 && grant.requests > 0 {
                    // Whether or not Redis hears of it, and in time: it is not spent.
                    let unspent = fastrand::u64(1..=grant.requests);
                    store.give_back(vec![back(&take, &taken, unspent)]).await;
                    grant.requests -= unspent;
                }
                grants.borrow_mut().push(grant);
            }
        }
    });
    join_all(instances).await;
    let mut grants = grants.take();
    grants.retain(|grant| grant.requests > 0);
    grants.sort_by_key(|grant| grant.at);
    let sum: u64 = grants.iter().map(|grant| grant.requests).sum();
    assert!(sum >= plan.capacity, "{plan:?} was hardly used: {sum}");
    check(&plan, &grants);
}

/// `grants` in order of `at`.
fn check(plan: &Plan, grants: &[Grant]) {
    let window = plan.window / 1000;
    for from in grants.iter().map(|grant| grant.until) {
        // All that can be spent from then on, by those granted until each later moment.
        let mut spent = 0;
        for grant in grants.iter().filter(|grant| grant.until >= from) {
            spent += grant.requests;
            let to = grant.at.max(from);
            match plan.algorithm {
                Algorithm::TokenBucket => {
                    let gained = u128::from(to - from) * 1000 / u128::from(plan.interval);
                    let bound = u128::from(plan.capacity) + gained;
                    assert!(u128::from(spent) <= bound, "{spent} within {} µs, {plan:?}", to - from);
                }
                Algorithm::SlidingWindow if to - from >= window => break,
                Algorithm::FixedWindow if grant.until / window != from / window => break,
                _ => assert!(spent <= plan.capacity, "{spent} within {} µs, {plan:?}", to - from),
            }
            assert!(plan.algorithm != Algorithm::FixedWindow || grant.at / window == grant.until / window);
        }
    }
    if plan.algorithm == Algorithm::FixedWindow {
        let mut windows = std::collections::HashMap::new();
        for grant in grants {
            *windows.entry(grant.at / window).or_insert(0) += grant.requests;
        }
        assert!(windows.values().all(|spent| *spent <= plan.capacity), "{windows:?}");
    }
}

#[actix_rt::test]
async fn a_lease_spent_late_leaves_no_room_for_more_than_the_capacity_at_once() {
    let server = Server::start(&[]);
    let store = patient(&server.url());
    // 100 tokens, one in 10 ms. Out on leases of 300 ms: a good half. At their end 100 may be spent in all, not the
    // 30 more that the bucket has gained meanwhile.
    let plan = plan(Algorithm::TokenBucket, 100, WINDOW);
    let mut grants = Vec::new();
    for _ in 0..8 {
        grants.push(Grant::of(&sure(&store, &lease("k", plan, 1, 100, ms(300))).await));
    }
    let leased: u64 = grants.iter().map(|grant| grant.requests).sum();
    assert!(leased > 50, "{leased}");
    let last = grants[7].until;
    until("the last lease to be about to end", ms(2000), async || {
        let clock: (u64, u64) = server.ask("TIME");
        (clock.0 * 1_000_000 + clock.1 + 20_000 > last).then_some(())
    })
    .await;
    loop {
        let taken = sure(&store, &one("k", plan)).await;
        grants.push(Grant::of(&taken));
        if taken.granted == 0 || decided(&taken) > last {
            break;
        }
    }
    check(&plan, &grants);
}
