//! Clusters and sentinels.

use super::servers::{Server, cluster};
use super::*;

/// A host that takes no connection and refuses none.
async fn silent() -> (u16, impl Drop) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    // Until nobody else may wait to be accepted.
    while let Ok(connected) = tokio::time::timeout(ms(100), tokio::net::TcpStream::connect(address)).await {
        waiting.push(connected.unwrap());
    }
    struct Kept<T>(#[allow(dead_code)] T);
    impl<T> Drop for Kept<T> {
        fn drop(&mut self) {}
    }
    (address.port(), Kept((listener, waiting)))
}

fn wide(n: usize) -> Take {
    one(&format!("key-{n}"), plan(ALGORITHMS[n % 3], 10, LONG))
}

fn url(nodes: &[Server]) -> String {
    let hosts: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    format!("redis-cluster://{}", hosts.join(","))
}

#[actix_rt::test]
async fn a_cluster_keeps_each_bucket_on_the_node_of_its_key() {
    let nodes = cluster();
    // One node is enough to find the others.
    let store = patient(&url(&nodes[..1]));
    let takes: Vec<Take> = (0..120).map(wide).collect();
    for left in (0..10).rev() {
        let answers = store.take(takes.clone()).await;
        assert!(answers.iter().all(|answer| answer.as_ref().unwrap().remaining == left), "{answers:?}");
        // A node may forget its scripts by itself.
        let _: () = nodes[left as usize % 3].ask("SCRIPT FLUSH");
    }
    assert!(store.take(takes.clone()).await.iter().all(|answer| answer.as_ref().unwrap().granted == 0));
    let kept: Vec<u64> = nodes.iter().map(|node| node.ask("DBSIZE")).collect();
    assert!(kept.iter().all(|kept| *kept > 10) && kept.iter().sum::<u64>() == 120, "{kept:?}");
    assert_eq!(store.register().await, Ok(1));
    store.unregister().await;
}

#[actix_rt::test]
async fn a_node_that_is_frozen_or_dead_costs_only_its_own_keys() {
    let mut nodes = cluster();
    let store = store(&url(&nodes));
    let takes: Vec<Take> = (0..60).map(wide).collect();
    let in_time = InTime::default();
    let answered = async |patience, count: fn(usize) -> bool| {
        until("that many answers", patience, async || {
            let asked = Instant::now();
            let answers = store.take(takes.clone()).await;
            in_time.judge(asked, BOUND, &answers);
            count(answers.iter().filter(|answer| answer.is_ok()).count()).then_some(())
        })
        .await;
    };
    answered(ms(3000), |count| count == 60).await;
    nodes[1].freeze();
    // For longer than the whole connection may answer nothing.
    let (begun, mut quick) = (Instant::now(), 0);
    while begun.elapsed() < ms(1300) || quick <= 5 {
        assert!(begun.elapsed() < ms(10_000), "every batch waited for the frozen node");
        answered(ms(1000), |count| count > 10 && count < 60).await;
        let asked = Instant::now();
        let answers = store.take(takes.clone()).await;
        if asked.elapsed() < RedisSettings::PATIENCE {
            quick += 1;
            let unsent = answers.iter().filter_map(|answer| answer.as_ref().err()).all(|error| !error.sent);
            assert!(unsent, "nobody waited for an answer, so nothing was sent: {answers:?}");
        }
        tokio::time::sleep(ms(1)).await;
    }
    // A store that begins now finds the others all the same.
    let late = super::store(&url(&nodes));
    until("an answer to a late one", ms(5000), async || {
        late.take(takes.clone()).await.iter().any(Result::is_ok).then_some(())
    })
    .await;
    nodes[1].thaw();
    answered(ms(2000), |count| count == 60).await;
    nodes[1].kill();
    let begun = Instant::now();
    while begun.elapsed() < ms(300) {
        answered(ms(1000), |count| count > 10 && count < 60).await;
    }
}

#[actix_rt::test]
async fn questions_for_a_dead_node_stand_in_the_way_of_no_others() {
    let mut nodes = cluster();
    let store = patient(&url(&nodes));
    let takes: Vec<Take> = (0..2000).map(wide).collect();
    assert!(store.take(takes.clone()).await.iter().all(Result::is_ok));
    nodes[1].kill();
    // Wherever they are in front of the others.
    let errors: Vec<_> = store.take(takes.clone()).await.into_iter().filter_map(Result::err).collect();
    assert!(errors.len() > 100, "{}", errors.len());
    let away = |error: &&StoreError| !error.refused && error.why.starts_with("redis: a node of the cluster");
    assert_eq!(errors.iter().find(|error| !away(error)), None);
    // Each look at who owns which slot keeps the living waiting.
    let looks = || {
        let of_node = |node: &Server| {
            let stats: String = node.ask("INFO commandstats");
            let calls =
                stats.split_once("cmdstat_cluster|slots:calls=").and_then(|(_, rest)| rest.split_once(','));
            calls.map_or(0, |(calls, _)| calls.parse::<u128>().unwrap())
        };
        of_node(&nodes[0]) + of_node(&nodes[2])
    };
    let (before, begun) = (looks(), Instant::now());
    let mut failed = 0;
    for take in &takes {
        failed += usize::from(ask(&store, take).await.is_err());
    }
    assert!(failed == errors.len(), "{failed} of them, {} before", errors.len());
    // A question from time to time, which looks three times; and one for the ranges themselves.
    let looked = looks() - before;
    assert!(looked <= 4 * (begun.elapsed().as_millis() / 150 + 1), "{looked} looks in {:?}", begun.elapsed());
}

#[actix_rt::test]
async fn a_slot_that_moved_is_followed() {
    let nodes = cluster();
    let store = store(&url(&nodes));
    let take = wide(0);
    until("an answer", ms(3000), async || ask(&store, &take).await.ok()).await;
    let slot: u64 = nodes[0].ask(&format!("CLUSTER KEYSLOT test:limit:{{{}}}", take.key));
    let id: String = nodes[2].ask("CLUSTER MYID");
    let from = (slot / 5462) as usize;
    assert!(from < 2, "the key was chosen to live on one of the first two nodes: slot {slot}");
    let _: () = nodes[from].ask("FLUSHALL");
    // Announced, so that the new home gets a newer epoch: what the old one has just said of itself would win otherwise.
    let old: String = nodes[from].ask("CLUSTER MYID");
    let _: () = nodes[2].ask(&format!("CLUSTER SETSLOT {slot} IMPORTING {old}"));
    let _: () = nodes[from].ask(&format!("CLUSTER SETSLOT {slot} MIGRATING {id}"));
    for node in [2, from, 1 - from] {
        let _: () = nodes[node].ask(&format!("CLUSTER SETSLOT {slot} NODE {id}"));
    }
    until("an answer from there", ms(2000), async || ask(&store, &take).await.ok()).await;
    assert_eq!(nodes[2].ask::<u64>("DBSIZE"), 1);
}

#[actix_rt::test]
async fn a_cluster_asked_as_one_server_says_what_is_wrong() {
    let nodes = cluster();
    let store = store(&nodes[0].url());
    let error = until("a redirection", ms(5000), async || {
        let answers = store.take((0..30).map(wide).collect()).await;
        answers.into_iter().filter_map(Result::err).find(|error| error.why.contains("Moved"))
    })
    .await;
    assert!(error.why.contains("redis-cluster://"), "{error}");
}

#[actix_rt::test]
async fn sentinels_lead_to_the_master_and_after_a_failover_to_the_new_one() {
    let mut first = Server::start(&[]);
    let second = Server::start(&[]);
    let _: () = second.ask(&format!("REPLICAOF 127.0.0.1 {}", first.port));
    until("the replica to follow", ms(10_000), async || {
        second.ask::<String>("INFO replication").contains("master_link_status:up").then_some(())
    })
    .await;
    let sentinel = Server::sentinel(&first, "");
    until("the sentinel to know the replica", ms(15_000), async || {
        let replicas: Vec<Vec<String>> = sentinel.ask("SENTINEL REPLICAS main");
        (!replicas.is_empty()).then_some(())
    })
    .await;
    let store = store(&format!("redis-sentinel://127.0.0.1:{}/main/2", sentinel.port));
    until("an answer", ms(3000), async || ask(&store, &wide(0)).await.ok()).await;
    assert_eq!(first.ask::<String>("INFO keyspace").matches("db2:keys=1").count(), 1);
    first.kill();
    // Errors until the failover, each in time.
    let in_time = InTime::default();
    until("an answer of the new master", ms(15_000), async || {
        let asked = Instant::now();
        let answer = ask(&store, &wide(1)).await;
        in_time.judge(asked, BOUND, &answer);
        answer.ok()
    })
    .await;
    assert!(second.ask::<String>("INFO replication").contains("role:master"));
}

#[actix_rt::test]
async fn sentinels_that_are_silent_hide_none_that_answers_and_a_password_is_theirs_alone() {
    let master = Server::start(&[]);
    let sentinel = Server::sentinel(&master, "requirepass theirs");
    let (first, _first) = silent().await;
    let (second, _second) = silent().await;
    let places = [first, second, first, second, sentinel.port].map(|port| format!("127.0.0.1:{port}"));
    let store = |sentinel_password: Option<&str>| {
        let url = format!("redis-sentinel://{}/main", places.join(","));
        let settings =
            RedisSettings { sentinel_password: sentinel_password.map(Into::into), ..settings(&url) };
        RedisStore::new(&settings, "instance".to_owned()).unwrap()
    };
    let right = store(Some("theirs"));
    until("an answer", ms(6000), async || ask(&right, &wide(0)).await.ok()).await;
    for login in [None, Some("another")] {
        let wrong = store(login);
        let error = until("the sentinel's refusal", ms(6000), async || {
            let error = ask(&wrong, &wide(0)).await.unwrap_err();
            ["NOAUTH", "WRONGPASS", "AuthenticationFailed"].iter().find(|code| error.why.contains(**code))?;
            Some(error)
        })
        .await;
        assert!(!error.why.contains("another"), "{error}");
    }
}
