//! What the store has kept is what clients have sent: counts exactly, percentiles within one per cent; after a restart, over
//! an outage of the store, and of several instances together (M1, M2, M3).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use diesel::prelude::*;

use crate::harness::history::{data, sum};
use crate::harness::traffic::{
    ADMITTED, LIMITED, Seen, Traffic, counting, percentile, scripted, timed, totals,
};
use crate::harness::{Authority, Folder, Gateway, Postgres, SOON, eventually};

/// Requests of one account.
const REQUESTS: usize = 10_000;

fn big() -> bool {
    std::env::var_os("AEGIS_TEST_BIG").is_some()
}

/// How long PostgreSQL is away: 6 s, or 30 s with `AEGIS_TEST_BIG=1`.
fn outage() -> Duration {
    Duration::from_secs(if big() { 30 } else { 6 })
}

/// Connections that an account comes from. The fewer, the longer it takes, and the less a busy machine adds to the delays
/// that were asked for.
fn connections() -> usize {
    if big() { 40 } else { 200 }
}

/// What the history API says of these requests and no others; `only` selects an instance.
fn judge(gateway: &Gateway, seen: &[Seen], only: Option<&str>) {
    let only = only.map_or_else(String::new, |instance| format!("&instance={instance}"));
    let overview = data(gateway, &format!("overview?range=1h{only}"));
    let number = |member: &str| overview[member].as_u64().unwrap_or_else(|| panic!("{member} in {overview}"));
    let count = |wanted: fn(&Seen) -> bool| seen.iter().filter(|one| wanted(one)).count() as u64;
    let limited = count(|one| one.status == 429);
    let failed = count(|one| one.status >= 500 || one.route == "none");
    assert_eq!(number("totalRequests"), seen.len() as u64, "{overview}");
    assert_eq!((number("rateLimitedRequests"), number("failedRequests")), (limited, failed), "{overview}");
    let mut told = BTreeMap::new();
    for route in ["/quick/:id", "/slow/:id", LIMITED, "none"] {
        for bucket in data(gateway, &format!("status?range=1h&route={route}{only}")).as_array().unwrap() {
            for class in 2..=5_u16 {
                let count = bucket[format!("status{class}xx")].as_u64().unwrap();
                if count > 0 {
                    *told.entry((route.to_owned(), class)).or_default() += count;
                }
            }
        }
        let limits = data(gateway, &format!("rate-limits?range=1h&route={route}{only}"));
        // One limit applies to each request that meets a route.
        let decided = |is_limited: bool| {
            let wanted = |one: &&Seen| one.route == route && (one.status == 429) == is_limited;
            if route == "none" { 0.0 } else { seen.iter().filter(wanted).count() as f64 }
        };
        let told = (sum(&limits, "allowed"), sum(&limits, "limited"));
        assert_eq!(told, (decided(false), decided(true)), "{route}: {limits}");
    }
    assert_eq!(told, totals(seen));
    // The percentiles of everything, and of each endpoint that an upstream kept waiting.
    let all: Vec<&Seen> = seen.iter().collect();
    let mut told = vec![("everything".to_owned(), all, overview.clone(), "Latency")];
    let endpoints = data(gateway, &format!("top-endpoints?range=1h{only}"));
    for row in endpoints.as_array().unwrap() {
        let of = |one: &&Seen| row["route"] == one.route && row["method"] == one.method;
        let these: Vec<&Seen> = seen.iter().filter(of).collect();
        assert_eq!(row["count"], these.len(), "{row}");
        if these[0].route.ends_with("/:id") {
            let name = format!("{} {}", these[0].method, these[0].route);
            told.push((name, these, row.clone(), ""));
        }
    }
    assert_eq!(told.len(), 4, "everything and three endpoints: {endpoints}");
    let mut direct = 0;
    for (name, seen, row, suffix) in told {
        for (member, q) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
            let told = row[format!("{member}{suffix}")].as_f64().unwrap();
            let [upstream, exact, client] = percentile(&seen, q);
            let what = format!(
                "{member} of {name}: {told} ms; upstream {upstream:.2}, logged {exact:.2}, client {client:.2}"
            );
            eprintln!("{what}");
            assert!((told - exact).abs() <= exact * 0.01, "{what}");
            // What the gateway measured lies between its two ends, and so do the percentiles.
            assert!(exact >= upstream && exact <= client, "{what}");
            // Where those agree, it is the client's own: half a per cent between them, and 0.4 of a bucket's width.
            if client <= upstream * 1.005 {
                direct += 1;
                assert!((told - client).abs() <= client * 0.01, "{what}");
            }
        }
    }
    eprintln!("{direct} of 12 percentiles compared with the client's own");
}

/// The totals as SQL finds them: what is not merged yet, and what is.
const TOTALS: &str = "SELECT route || '|' || class || '|' || sum(requests) AS line FROM (\
     SELECT route, class, requests FROM rollups UNION ALL \
     SELECT s.route, s.class, m.requests FROM merged_rollups m JOIN series s ON s.id = m.series \
     WHERE s.scope = 0 AND m.seconds = 10) AS kept GROUP BY route, class";

/// What a store holds, without the gateway's help.
enum Kept<'a> {
    Sqlite(&'a Folder),
    Postgres(&'a Postgres, String),
}

impl Kept<'_> {
    fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => format!("sqlite://{}/m.db", folder.path().display()),
            Self::Postgres(_, url) => url.clone(),
        }
    }

    fn ask(&self, sql: &str) -> Vec<String> {
        match self {
            Self::Sqlite(folder) => {
                #[derive(QueryableByName)]
                struct Line {
                    #[diesel(sql_type = diesel::sql_types::Text)]
                    line: String,
                }
                let file = folder.path().join("m.db");
                let mut conn = SqliteConnection::establish(&file.to_string_lossy()).unwrap();
                let lines: Vec<Line> = diesel::sql_query(sql).load(&mut conn).unwrap();
                lines.into_iter().map(|line| line.line).collect()
            }
            Self::Postgres(server, url) => {
                let database = url.split('?').next().unwrap().rsplit('/').next().unwrap();
                let told = server.psql(database, sql).unwrap();
                told.lines().map(str::to_owned).collect()
            }
        }
    }

    fn totals(&self) -> BTreeMap<(String, u16), u64> {
        let read = |line: String| {
            let [route, class, count] = line.split('|').collect::<Vec<_>>().try_into().unwrap();
            ((route.to_owned(), class.parse().unwrap()), count.parse().unwrap())
        };
        self.ask(TOTALS).into_iter().map(read).collect()
    }
}

/// Ends a gateway in good order; its whole log.
fn stopped(mut gateway: Gateway) -> String {
    gateway.signal("TERM");
    assert!(gateway.exit(4 * SOON).is_some_and(|status| status.success()));
    gateway.log()
}

/// Sends the mix, stops the gateway, and asks the store: by SQL, and through a new gateway that remembers nothing.
fn account(store: &Kept<'_>) {
    let upstream = scripted();
    let gateway = counting(&upstream, &store.url(), "gw-1").start();
    let mut seen = Traffic::start(&[gateway.addr], connections(), REQUESTS).finish();
    assert_eq!(seen.len(), REQUESTS);
    let admitted = seen.iter().filter(|one| one.route == LIMITED && one.status == 200).count();
    assert_eq!(admitted, ADMITTED);
    timed(&mut seen, &stopped(gateway));
    assert_eq!(store.totals(), totals(&seen));
    let gateway = counting(&upstream, &store.url(), "gw-1").start();
    judge(&gateway, &seen, None);
}

#[test]
fn ten_thousand_requests_are_exactly_those_in_sqlite() {
    let folder = Folder::new();
    account(&Kept::Sqlite(&folder));
}

#[test]
fn ten_thousand_requests_are_exactly_those_in_postgresql() {
    let server = Postgres::shared();
    let url = server.database();
    account(&Kept::Postgres(&server, url));
}

#[test]
fn no_count_is_lost_while_postgresql_is_dead_and_no_request_waits_for_it() {
    let server = Postgres::start();
    let store = Kept::Postgres(&server, server.database());
    let upstream = scripted();
    let gateway = counting(&upstream, &store.url(), "gw-1").measuring_memory().start();
    // Beside it one whose store is well: it waits only when the machine does.
    let folder = Folder::new();
    let other = counting(&upstream, &Kept::Sqlite(&folder).url(), "gw-2").start();
    let traffic = Traffic::start(&[gateway.addr, other.addr], 100, usize::MAX);
    assert!(eventually(4 * SOON, || !store_is_new(&store) && traffic.sent() > 3_000));
    let memory = gateway.peak_memory();
    server.kill();
    let killed = Instant::now();
    let told = |what: &str| gateway.log().matches(what).count();
    assert!(eventually(4 * SOON, || told("the metrics store takes no writes") == 1), "{}", gateway.log());
    // Who asks meanwhile is told what memory has.
    let asked = Instant::now();
    let answer = gateway.admin_json("/api/metrics/overview?range=15m");
    assert!(answer["data"]["totalRequests"].as_u64().unwrap() > 1_000, "{answer}");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    std::thread::sleep(outage().saturating_sub(killed.elapsed()));
    let during = gateway.peak_memory();
    server.run();
    assert!(eventually(4 * SOON, || told("takes writes again") == 1), "{}", gateway.log());
    let (mut seen, beside): (Vec<Seen>, Vec<Seen>) =
        traffic.stop().into_iter().partition(|one| one.gateway == 0);
    timed(&mut seen, &stopped(gateway));
    assert_eq!(store.totals(), totals(&seen));
    // The delays asked for are known to the microsecond; whatever waited for the store would wait for seconds.
    let longest = |seen: &[Seen]| seen.iter().map(|one| one.took.saturating_sub(one.delayed)).max();
    let (waited, machine) = (longest(&seen).unwrap_or_default(), longest(&beside).unwrap_or_default());
    let what = format!(
        "{} requests over an outage of {:?}; longest wait {waited:?}, where the store is well {machine:?}",
        seen.len(),
        outage()
    );
    eprintln!("{what}");
    assert!(waited < Duration::from_secs(2) + machine, "{what}");
    // What waits: eleven series by stretches of ten seconds, and at most 10 000 samples of 2 KiB, of which a write that is
    // tried holds 2 000 several times over.
    eprintln!("memory: {} KiB before, {} KiB at the end of the outage", memory / 1024, during / 1024);
    assert!(during < memory + (40 << 20), "{memory} bytes before, {during} at the end of the outage");
    let gateway = counting(&upstream, &store.url(), "gw-1").start();
    judge(&gateway, &seen, None);
}

fn store_is_new(store: &Kept<'_>) -> bool {
    // Before the gateway's first write there is no table to ask.
    store.ask("SELECT to_regclass('rollups') IS NULL OR (SELECT count(*) FROM pg_stat_user_tables WHERE relname = 'rollups' AND n_tup_ins > 0) = 0")
        == ["t"]
}

#[test]
fn two_instances_that_started_at_once_on_an_empty_database_are_counted_together_and_apart() {
    // Under TLS, as over a network it would be.
    let (server, folder, authority) = (Postgres::start(), Folder::new(), Authority::new());
    let roots = folder.path().join("ca.pem");
    authority.write_pem(&roots);
    server.serve_tls(&authority.issue(&["127.0.0.1"]).write_pem(folder.path()));
    let url = format!("{}?sslmode=verify-full&sslrootcert={}", server.database(), roots.display());
    let store = Kept::Postgres(&server, url);
    let upstream = scripted();
    let names = ["gw-1", "gw-2"];
    let start = || -> Vec<Gateway> {
        std::thread::scope(|scope| {
            let begun = names.map(|name| scope.spawn(|| counting(&upstream, &store.url(), name).start()));
            begun.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    };
    let gateways = start();
    let addresses: Vec<_> = gateways.iter().map(|gateway| gateway.addr).collect();
    let mut seen = Traffic::start(&addresses, 150, 4_000).finish();
    for gateway in &gateways {
        for sign in ["\"level\":\"warn\"", "\"level\":\"error\"", "takes no writes", "migration failed"] {
            assert!(!gateway.log().contains(sign), "{}", gateway.log());
        }
    }
    let plain = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'aegis' AND NOT ssl";
    assert_eq!(store.ask(plain), ["0"]);
    timed(&mut seen, &gateways.into_iter().map(stopped).collect::<String>());
    // Each migration was applied once, by one of the two.
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres");
    let migrations = std::fs::read_dir(files).unwrap().count();
    assert_eq!(store.ask("SELECT count(*) FROM __diesel_schema_migrations"), [migrations.to_string()]);
    assert_eq!(store.totals(), totals(&seen));
    for gateway in start() {
        judge(&gateway, &seen, None);
        for (number, name) in names.iter().enumerate() {
            let these: Vec<_> = seen.iter().filter(|one| one.gateway == number).cloned().collect();
            assert!(these.len() > 1_000);
            judge(&gateway, &these, Some(name));
        }
        let nobody = data(&gateway, "overview?range=1h&instance=gw-3");
        assert_eq!(nobody["totalRequests"], 0, "{nobody}");
    }
}
