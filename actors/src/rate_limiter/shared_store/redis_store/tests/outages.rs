//! Servers that freeze, die, forget, refuse and come back.

use futures_util::future::join_all;

use super::servers::Server;
use super::*;

fn any(key: &str) -> Take {
    one(key, plan(Algorithm::TokenBucket, 1_000_000, Duration::from_secs(60)))
}

async fn works(store: &RedisStore, patience: Duration) {
    until("the store to work", patience, async || ask(store, &any("k")).await.ok()).await;
}

#[actix_rt::test]
async fn scripts_that_the_server_forgot_are_sent_again() {
    let server = Server::start(&[]);
    let store = patient(&server.url());
    let takes: Vec<Take> = ALGORITHMS.map(|algorithm| one("k", plan(algorithm, 10, LONG))).into();
    let takes: Vec<Take> =
        takes.into_iter().enumerate().map(|(at, take)| Take { key: format!("k{at}"), ..take }).collect();
    for left in (0..10).rev() {
        let _: () = server.ask("SCRIPT FLUSH");
        let answers = store.take(takes.clone()).await;
        assert!(answers.iter().all(|answer| answer.as_ref().unwrap().remaining == left), "{answers:?}");
    }
    let _: () = server.ask("SCRIPT FLUSH");
    assert_eq!(store.register().await, Ok(1));
}

#[actix_rt::test]
async fn a_connection_that_the_server_has_closed_costs_no_question() {
    let server = Server::start(&[]);
    let store = patient(&server.url());
    works(&store, ms(2000)).await;
    for n in 0..20 {
        let _: () = server.ask("CLIENT KILL TYPE normal SKIPME yes");
        let answers = store.take((0..3).map(|k| any(&format!("n{n}-{k}"))).collect()).await;
        assert!(answers.iter().all(Result::is_ok), "{n}: {answers:?}");
    }
}

#[actix_rt::test]
async fn what_a_server_will_never_do_is_told_with_the_mend() {
    let server = Server::start(&[]);
    let store = patient(&server.url());
    works(&store, ms(2000)).await;
    // Counting the instances still works.
    let _: () = server.ask("ACL SETUSER default -get");
    let error = ask(&store, &any("k2")).await.unwrap_err();
    assert!(error.refused && error.why.contains("its ACL keeps this user"), "{error:?}");
    assert_eq!(store.register().await, Ok(1));
    let _: () = server.ask("ACL SETUSER default +get");
    let _: () = server.ask("REPLICAOF 127.0.0.1 1");
    let error = ask(&store, &any("k2")).await.unwrap_err();
    assert!(!error.refused && error.why.contains("this is a replica"), "{error:?}");
}

#[actix_rt::test]
async fn a_frozen_server_costs_a_bounded_wait_and_nothing_piles_up() {
    let server = Server::start(&[]);
    let store = store(&server.url());
    works(&store, ms(2000)).await;
    server.freeze();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let (mut calls, in_time, begun) = (0, InTime::default(), Instant::now());
    while begun.elapsed() < ms(2500) {
        let asked = Instant::now();
        let takes: Vec<Take> = (0..3).map(|n| any(&format!("k{n}"))).collect();
        // More at a time than may be on their way.
        let answers = join_all((0..400).map(|_| store.take(takes.clone()))).await;
        assert!(answers.iter().flatten().all(Result::is_err));
        in_time.judge(asked, 2 * BOUND, &"400 at a time");
        calls += answers.len();
        // The attempt to connect, and the task of the connection that it makes.
        assert!(tasks() <= before + 2, "{} tasks, {before} before", tasks());
        tokio::time::sleep(ms(1)).await;
    }
    assert!(calls > 2_000, "a frozen server held up the rest: {calls} calls");
    server.thaw();
    let back = Instant::now();
    works(&store, ms(1000)).await;
    assert!(back.elapsed() < ms(2000), "{:?}", back.elapsed());
    // What was sent before the first call had failed was charged, and no more.
    let taken = until("an answer", ms(1000), async || ask(&store, &any("k0")).await.ok()).await;
    assert!(taken.remaining > 1_000_000 - 1000, "{taken:?}");
    let clients: String = server.ask("CLIENT LIST");
    assert!(clients.lines().count() <= 3, "{clients}");
}

#[actix_rt::test]
async fn each_call_against_a_frozen_server_ends_in_time() {
    let server = Server::start(&[]);
    let store = store(&server.url());
    works(&store, ms(2000)).await;
    server.freeze();
    let (mut waits, in_time) = (Vec::new(), InTime::default());
    for _ in 0..30 {
        let asked = Instant::now();
        let error = ask(&store, &any("k")).await.unwrap_err();
        waits.push(asked.elapsed());
        in_time.judge(asked, BOUND, &error);
        let asked = Instant::now();
        assert!(store.register().await.is_err());
        store
            .give_back(vec![GiveBack { key: "k".into(), plan: any("k").plan, unspent: 1, spend_by: 1 }])
            .await;
        store.unregister().await;
        in_time.judge(asked, 3 * BOUND, &"three calls");
    }
    assert!(waits[0] >= RedisSettings::PATIENCE, "{waits:?}");
    waits.sort();
    assert!(waits[15] < ms(60), "{waits:?}");
    server.thaw();
    works(&store, ms(1000)).await;
}

#[actix_rt::test]
async fn a_server_that_died_is_found_again_on_its_port_and_starts_empty() {
    let mut server = Server::start(&[]);
    let store = store(&server.url());
    let in_time = InTime::default();
    for _ in 0..3 {
        works(&store, ms(2000)).await;
        assert!(server.ask::<u64>("DBSIZE") > 0);
        server.kill();
        let (mut errors, begun) = (0, Instant::now());
        while begun.elapsed() < ms(300) || errors < 3 {
            let asked = Instant::now();
            let error = ask(&store, &any("k")).await.unwrap_err();
            in_time.judge(asked, BOUND, &error);
            errors += 1;
            tokio::time::sleep(ms(1)).await;
        }
        server.run();
        let back = Instant::now();
        works(&store, ms(1000)).await;
        assert!(back.elapsed() < ms(2500), "{:?}", back.elapsed());
        assert_eq!(until("a count", ms(1000), async || store.register().await.ok()).await, 1);
    }
}

#[actix_rt::test]
async fn a_server_that_was_never_there_is_an_error_that_says_so() {
    let mut server = Server::start(&[]);
    server.kill();
    let store = store(&server.url());
    let error = until("the reason", ms(2000), async || {
        ask(&store, &any("k")).await.err().filter(|error| error.why.contains("refused"))
    })
    .await;
    assert!(error.why.starts_with("redis is away"), "{error}");
}

#[actix_rt::test]
async fn a_wrong_password_is_named_but_not_told() {
    let server = Server::start(&["--requirepass", "right-one"]);
    let place = format!("127.0.0.1:{}", server.port);
    for (url, reason) in [
        (format!("redis://:wrong-one@{place}/"), "Password authentication failed"),
        (format!("redis://nobody:wrong-one@{place}/"), "Password authentication failed"),
        (format!("redis://{place}/"), "NOAUTH"),
    ] {
        let store = store(&url);
        let error = until("the reason", ms(2000), async || {
            ask(&store, &any("k")).await.err().filter(|error| error.why.contains(reason))
        })
        .await;
        assert!(!error.why.contains("-one"), "{error}");
    }
    works(&store(&format!("redis://:right-one@{place}/")), ms(2000)).await;
    works(&store(&format!("redis://default:right%2Done@{place}/3")), ms(2000)).await;
}

#[actix_rt::test]
async fn a_server_that_turned_replica_is_asked_anew() {
    let (server, other) = (Server::start(&[]), Server::start(&[]));
    let store = store(&server.url());
    works(&store, ms(2000)).await;
    let _: () = server.ask(&format!("REPLICAOF 127.0.0.1 {}", other.port));
    // First from the connection that was there, then from new ones.
    for _ in 0..5 {
        let error = until("its refusal", ms(2000), async || {
            ask(&store, &any("k")).await.err().filter(|error| error.why.contains("ReadOnly"))
        })
        .await;
        assert!(error.why.contains("redis"), "{error}");
    }
    let _: () = server.ask("REPLICAOF NO ONE");
    works(&store, ms(1000)).await;
}

#[test]
fn an_url_that_cannot_be_used_is_refused_without_being_repeated() {
    for url in [
        "127.0.0.1:6379",
        "http://secret@127.0.0.1",
        "redis+tls://secret@h:1/",
        "redis://:secret@/",
        "redis://:secret@h:1/db",
        "redis://:secret@h:port/",
        "rediss://:secret@h:1/#insecure",
        "redis://h:1/?password=secret",
        "redis-cluster://:secret@h:1,h:2/1",
        "redis-cluster://:secret@h:1,,h:2",
        "redis-sentinel://:secret@h:1,h:2",
        "redis-sentinel://:secret@h:1,h:2/",
        "redis-sentinel://:secret@h:1/main/db",
        "redis-sentinel://",
    ] {
        let error = RedisStore::new(&settings(url), "instance".to_owned()).unwrap_err();
        assert!(error.why.starts_with("the redis url") && !error.why.contains("secret"), "{url}: {error}");
    }
    for url in [
        "redis://h",
        "rediss://u:p%40q@h:6380/2",
        "redis://[::1]:6379/",
        "redis-cluster://u:p@h:1,[::1]:2,h",
        "rediss-cluster://h:1/",
        "redis-sentinel://h,[::1],h:1/main",
        "rediss-sentinel://u:p@h:1/main/3",
    ] {
        assert!(RedisStore::new(&settings(url), "instance".to_owned()).is_ok(), "{url}");
    }
}
