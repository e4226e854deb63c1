//! Whatever clients think of, what is counted of it stays small: no series from a request, bounded memory, bounded rows (M6).

use std::collections::BTreeMap;
use std::time::Instant;

use diesel::prelude::*;

use crate::harness::scrape::{scrape, sum};
use crate::harness::{Backend, Broken, Call, Client, Folder, Gateway, SOON, Then, Upstream, eventually};

/// 10 000, or 100 000 with `AEGIS_TEST_BIG=1`.
fn requests() -> usize {
    if std::env::var_os("AEGIS_TEST_BIG").is_some() { 100_000 } else { 10_000 }
}

/// What a metric tells apart; everything else about a request is random.
#[derive(Clone, Copy)]
struct Kind {
    method: &'static str,
    path: &'static str,
    host: &'static str,
}

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "OTHER"];
/// Below each of three routes, and below none.
const PATHS: [&str; 4] = ["/api/", "/api/deep/er/", "/hosted/", "/nowhere/"];
/// The route's, random ones, and very long ones.
const HOSTS: [&str; 3] = ["hosted", "random", "long"];

fn kinds() -> Vec<Kind> {
    let with = |method| PATHS.map(|path| HOSTS.map(|host| Kind { method, path, host }));
    METHODS.into_iter().flat_map(with).flatten().collect()
}

fn text(random: &mut fastrand::Rng, alphabet: &str, most: usize) -> String {
    let letters: Vec<char> = alphabet.chars().collect();
    (0..random.usize(1..=most)).map(|_| letters[random.usize(..letters.len())]).collect()
}

/// A request of its kind, with everything that clients may make up.
fn made_up(kind: Kind, random: &mut fastrand::Rng) -> Call {
    const LOWER: &str = "abcdefghijklmnopqrstuvwxyz0123456789";
    const ANY: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~";
    // Without those of RFC 9110's that the parser does not take in a method: `#$%&'`.
    const TOKEN: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-.^_`|~";
    let method = match kind.method {
        // No method that is told apart begins so.
        "OTHER" => format!("X{}", text(random, TOKEN, 40)),
        known => known.to_owned(),
    };
    let escaped = if random.bool() { "%C3%A9" } else { "" };
    let target = format!(
        "{}x{}{escaped}?{}={}",
        kind.path,
        text(random, ANY, 80),
        text(random, LOWER, 8),
        random.u64(..)
    );
    let host = match kind.host {
        "hosted" => "hosted.test".to_owned(),
        "long" => text(random, LOWER, 1).repeat(20_000),
        _ => format!("{}.{}:{}", text(random, LOWER, 60), text(random, LOWER, 20), random.u16(1..)),
    };
    Call::new(&method, &target)
        .header("Host", &host)
        .header("X-Request-ID", &text(random, ANY, 128))
        .header("X-API-Key", &text(random, ANY, 64))
        .header("Authorization", &format!("Bearer {}", text(random, ANY, 200)))
        .header("X-Forwarded-For", &format!("10.{}.{}.{}", random.u8(..), random.u8(..), random.u8(..)))
        .header("X-User-ID", &text(random, ANY, 20))
        .header("User-Agent", &text(random, ANY, 200))
        .header("traceparent", &format!("00-{:032x}-{:016x}-01", random.u128(1..), random.u64(1..)))
}

/// One request; whoever closes the connection with its answer is met again on another.
fn send(gateway: &Gateway, client: &mut Option<Client>, call: &Call) {
    let mut connection = client.take().unwrap_or_else(|| gateway.client());
    match connection.try_send(call) {
        Ok(response) => *client = response.keeps_alive().then_some(connection),
        Err(Broken::Closed) => panic!("no answer to {call:?}"),
        Err(broken) => panic!("{broken:?} to {call:?}"),
    }
}

#[test]
fn whatever_clients_make_up_adds_no_series_and_bounded_memory_and_rows() {
    // Remembers nothing, unlike the harness's others.
    let upstream = Upstream::raw(|wire, _| {
        while let Some(head) = wire.through(b"\r\n\r\n")? {
            let body = if head.starts_with(b"HEAD ") { "" } else { "ok" };
            wire.write(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}"))?;
        }
        Ok(Then::Drop)
    });
    let folder = Folder::new();
    let file = folder.path().join("m.db");
    let gateway = Gateway::builder()
        .top(&format!("metrics: {{store: \"sqlite://{}\"}}", file.display()))
        .top("logging: {accessLog: false}")
        .top("rateLimit: {defaultRequests: 10000000, rules: [{id: few, match: {endpoint: /api/deep/**, endpointMatchType: glob}, rateLimit: {requests: 10000000, windowSeconds: 600}, key: ipEndpoint}]}")
        .backend(
            Backend::named("main")
                .to(&upstream)
                .route("/api/:id")
                .route("/api/**")
                .route("{path: /hosted/**, hosts: [hosted.test]}")
                .without_breaker(),
        )
        .measuring_memory()
        .start();
    let (mut client, mut random, started) = (None, fastrand::Rng::with_seed(6), Instant::now());
    let kinds = kinds();
    // Every kind that there is, and the memory that any traffic takes.
    let first: Vec<Kind> = kinds.iter().cycle().take(8 * kinds.len()).copied().collect();
    first.iter().for_each(|kind| send(&gateway, &mut client, &made_up(*kind, &mut random)));
    let counted = |samples: &BTreeMap<String, f64>| sum(samples, "aegis_requests_total", "") as usize;
    assert!(eventually(4 * SOON, || counted(&scrape(&gateway)) == first.len()));
    let (before, memory) = (scrape(&gateway), gateway.peak_memory());
    let threads = 4;
    let other: usize = std::thread::scope(|scope| {
        let threads = (0..threads).map(|thread| {
            let (gateway, kinds) = (&gateway, &kinds);
            scope.spawn(move || {
                let (mut client, mut random, mut other) = (None, fastrand::Rng::with_seed(thread), 0);
                for _ in 0..requests() / threads as usize {
                    let kind = kinds[random.usize(..kinds.len())];
                    other += usize::from(kind.method == "OTHER");
                    send(gateway, &mut client, &made_up(kind, &mut random));
                }
                other
            })
        });
        threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let all = first.len() + requests();
    assert!(eventually(4 * SOON, || counted(&scrape(&gateway)) == all), "{}", counted(&scrape(&gateway)));
    let after = scrape(&gateway);
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    let others = sum(&after, "aegis_requests_total", r#"method="OTHER""#) as usize;
    assert_eq!(others, other + first.iter().filter(|kind| kind.method == "OTHER").count());
    // What may be held: 10 000 samples of 2.5 KiB that wait for the store, and four times the 2 000 of one write.
    let grown = gateway.peak_memory().saturating_sub(memory) / 1024;
    eprintln!(
        "{} requests in {:?}: {} samples of metrics, {grown} KiB more",
        all,
        started.elapsed(),
        after.len()
    );
    assert!(grown < 48 * 1024, "{grown} KiB more");
    let series = after.keys().filter(|key| key.starts_with("aegis_requests_total{")).count();
    drop(gateway);
    let mut rows = Rows(SqliteConnection::establish(&file.to_string_lossy()).unwrap());
    let stretches = rows.count("SELECT count(DISTINCT start) AS n FROM rollups");
    assert!(rows.count("SELECT count(*) AS n FROM rollups") <= stretches * series as i64);
    assert_eq!(rows.count("SELECT count(*) AS n FROM (SELECT DISTINCT route, backend, method, class FROM rollups UNION SELECT route, backend, method, class FROM series WHERE scope = 0)"), series as i64);
    // What waited at the end, and 2 000 every five seconds until then.
    let writes = started.elapsed().as_secs() as i64 / 5 + 2;
    let kept = rows.count("SELECT count(*) AS n FROM request_samples");
    assert!(kept > 0 && kept <= 10_000 + 2_000 * writes, "{kept} samples of requests");
    let longest = rows.count("SELECT max(length(path) + length(method) + length(details) + length(request_id)) AS n FROM request_samples");
    eprintln!(
        "{stretches} stretches of time, {series} series, {kept} samples of requests of {longest} bytes at most"
    );
    assert!(longest < 2_560, "{longest} bytes of one sample");
}

struct Rows(SqliteConnection);

impl Rows {
    fn count(&mut self, sql: &str) -> i64 {
        #[derive(QueryableByName)]
        struct Count {
            #[diesel(sql_type = diesel::sql_types::BigInt)]
            n: i64,
        }
        let told: Count = diesel::sql_query(sql).get_result(&mut self.0).unwrap();
        told.n
    }
}
