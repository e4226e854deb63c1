//! The table "what a failure is" of `docs/configuration.md`, row by row: what its client gets, what operators are told,
//! whether it is tried again, what the breaker counts, and what a health check makes of it.

use std::any::Any;
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::harness::scrape::{scrape, sum};
use crate::harness::{
    Backend, Broken, Call, Framing, Gate, Gateway, Port, SOON, Then, Upstream, backend_status, eventually,
    holds_for,
};

/// Sends one request with a method; what its client gets.
type Ask = Box<dyn Fn(&Gateway, &str) -> String + Send + Sync>;

/// A way in which a request may fail.
struct Kind {
    row: &'static str,
    /// Members of the target, and lines of its backend.
    target: String,
    settings: Vec<&'static str>,
    ask: Ask,
    /// Lives as long as the test.
    _kept: Box<dyn Any + Send + Sync>,
}

impl Kind {
    fn new(row: &'static str, target: String, kept: impl Any + Send + Sync) -> Self {
        Self { row, target, settings: Vec::new(), ask: Box::new(plainly), _kept: Box::new(kept) }
    }

    fn of(row: &'static str, upstream: Upstream) -> Self {
        Self::new(row, upstream.url(), upstream)
    }

    fn with(mut self, line: &'static str) -> Self {
        self.settings.push(line);
        self
    }

    fn asking(mut self, ask: impl Fn(&Gateway, &str) -> String + Send + Sync + 'static) -> Self {
        self.ask = Box::new(ask);
        self
    }

    fn backend(&self, name: &str) -> Backend {
        let target = format!("url: \"{}\"", self.target);
        let backend = Backend::named(name).target(&target).route(&format!("/{name}"));
        self.settings.iter().fold(backend, |backend, line| backend.with(line))
    }
}

/// More than all sockets on the way take.
const LARGE: u64 = 90_000_000;

/// What a client gets, as the table has it.
fn told(answer: Result<crate::harness::Response, Broken>) -> String {
    match answer {
        Ok(response) => match response.reason() {
            Some(reason) => format!("{} `{reason}`", response.status),
            None => "the answer".to_owned(),
        },
        // A reset may overtake what was sent before it.
        Err(Broken::Cut(_) | Broken::Closed) => "the answer, cut off".to_owned(),
        Err(other) => format!("{other:?}"),
    }
}

fn plainly(gateway: &Gateway, method: &str) -> String {
    let call = Call::new(method, "/main");
    told(gateway.client().try_send(&if method == "POST" { call.body("body") } else { call }))
}

/// Waits for nothing.
fn leaving(gateway: &Gateway, _: &str) -> String {
    let before = requests(gateway);
    let mut client = gateway.client();
    client.start(&Call::get("/main"));
    assert!(eventually(SOON, || requests(gateway) > before && gateway.in_flight() == 1));
    drop(client);
    assert!(eventually(SOON, || gateway.in_flight() == 0));
    "nothing".to_owned()
}

/// Sends half of a body and no more.
fn stalling(gateway: &Gateway, _: &str) -> String {
    let mut client = gateway.client();
    client.write("POST /main HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nhalf");
    told(client.read("POST"))
}

/// Sends its body but for the last byte, and that shortly before the time is over.
fn late(gateway: &Gateway, _: &str) -> String {
    let mut client = gateway.client();
    client.write("POST /main HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhalf");
    thread::sleep(Duration::from_millis(2500));
    client.write("!");
    told(client.read("POST"))
}

/// Takes nothing of a large answer until its upstream has lost its patience.
fn not_reading(gateway: &Gateway, given_up: &Gate) -> String {
    let mut client = gateway.client();
    client.start(&Call::get("/main"));
    client.read_head("GET").unwrap();
    assert!(eventually(SOON, || gateway.in_flight() == 1));
    assert!(eventually(SOON, || given_up.is_open()));
    let all = client.wire().body(Framing::Length(LARGE), &mut |_| {});
    if all.is_err() { "the answer, cut off" } else { "the answer" }.to_owned()
}

/// Has used the connection before, and it was closed behind its back.
fn again(gateway: &Gateway, method: &str) -> String {
    if method == "GET" {
        assert_eq!(gateway.get("/main").status, 200);
    }
    plainly(gateway, method)
}

fn requests(gateway: &Gateway) -> u64 {
    backend_status(gateway, "main")["targets"][0]["requests"].as_u64().unwrap()
}

/// A port that takes no connection and refuses none.
fn silent_port() -> (String, (socket2::Socket, Vec<TcpStream>)) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    while let Ok(connection) = TcpStream::connect_timeout(&addr, Duration::from_millis(200)) {
        waiting.push(connection);
    }
    (format!("http://{addr}"), (socket, waiting))
}

fn answer(status: u16) -> Upstream {
    Upstream::status(status)
}

fn silent() -> Upstream {
    Upstream::start(|exchange| {
        exchange.body()?;
        exchange.wait_for_close();
        Ok(Then::Drop)
    })
}

fn kinds() -> Vec<Kind> {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    let refusing = Port::reserve();
    let (nobody, kept) = silent_port();
    let plain = Upstream::raw(|wire, _| {
        let _ = wire.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        Ok(Then::Close)
    });
    let given_up = Gate::new();
    let lost = given_up.clone();
    vec![
        Kind::new("connection refused", refusing.url(), refusing),
        Kind::new("host or network unreachable", "http://224.0.0.1:80".to_owned(), ()),
        Kind::new("no such name", "http://no-such-host.invalid:80".to_owned(), ()),
        Kind::new("no connection in time", nobody, kept).with("connectTimeoutMs: 300"),
        Kind::new("TLS fails", format!("https://{}", plain.addr()), plain),
        Kind::of("reset or closed before a head", Upstream::answering("", Then::Reset)),
        Kind::of("no head in time", silent()).with("firstByteTimeoutMs: 300"),
        Kind::of("a head that nobody can use", Upstream::answering("HELLO\r\n\r\n", Then::Close)),
        Kind::of(
            "a head beyond a bound of the gateway",
            Upstream::answering(format!("{OK}X-Long: {}", "a".repeat(1 << 20)), Then::Close),
        ),
        Kind::of("the body breaks off", {
            Upstream::answering(format!("{OK}Content-Length: 20\r\n\r\nhalf"), Then::Reset)
        }),
        Kind::of("500", answer(500)),
        Kind::of("502, 503, 504", answer(503)),
        Kind::of("408, 429, 501, 505", answer(501)),
        Kind::of("another 4xx or 5xx", answer(507)),
        Kind::of("1xx, 2xx, 3xx", answer(302)),
        Kind::of(
            "a pooled connection had been closed",
            Upstream::start(|exchange| if exchange.nth > 0 { Ok(Then::Drop) } else { exchange.ok("well") }),
        )
        .asking(again),
        Kind::of("the client leaves", silent()).asking(leaving),
        Kind::of("the client stalls with its body", silent()).with("timeout: 600").asking(stalling),
        Kind::of("the client leaves too little time", silent()).with("timeout: 4s").asking(late),
        Kind::of(
            "reset while the client still sends",
            Upstream::start(|exchange| {
                exchange.wire.exact(4)?;
                Ok(Then::Reset)
            }),
        )
        .asking(stalling),
        Kind::of(
            "cut off while the client does not read",
            Upstream::start(move |exchange| {
                exchange.wire.tcp().set_write_timeout(Some(Duration::from_millis(1500)))?;
                exchange.wire.write(format!("{OK}Content-Length: {LARGE}\r\n\r\n"))?;
                while exchange.wire.write(vec![b'x'; 65_536]).is_ok() {}
                lost.open();
                Ok(Then::Reset)
            }),
        )
        .asking(move |gateway, _| not_reading(gateway, &given_up)),
    ]
}

/// Rows that no upstream can bring about, and where they are held to.
const ELSEWHERE: [&str; 1] = ["the gateway is short of descriptors, ports or memory"]; // gateway/forward.rs

/// The cells of each row behind its name: client, why, again, breaker, check.
fn table() -> BTreeMap<String, [String; 5]> {
    let text = include_str!("../../docs/configuration.md");
    let rows =
        text.split("#### What a failure is").nth(1).expect("the table").split("\n### ").next().unwrap();
    let rows = rows.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what happens"));
    let cells =
        |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    rows.map(|line| {
        let [row, client, why, again, breaker, check] =
            cells(line).try_into().unwrap_or_else(|_| panic!("six cells: {line}"));
        (row, [client, why, again, breaker, check])
    })
    .collect()
}

/// What the breaker is to have counted of one request.
fn counted(breaker: &str) -> serde_json::Value {
    let (row, calls, rate) = match breaker {
        "row and rate" => (1, 1, 1.0),
        "rate" => (0, 1, 1.0),
        "nothing" | "nothing, but it was reached" => (0, 0, 0.0),
        "a good call" => (0, 1, 0.0),
        other => panic!("the table says {other:?} of the breaker"),
    };
    serde_json::json!([row, calls, rate])
}

fn window(gateway: &Gateway) -> serde_json::Value {
    let window = backend_status(gateway, "main")["targets"][0]["window"].take();
    serde_json::json!([window["consecutiveFailures"], window["calls"], window["failureRate"]])
}

/// Who says `why` the request failed; the status of a target only where that is what failed.
fn told_why(gateway: &Gateway, why: &str, failed: bool) -> String {
    let says = |value: &serde_json::Value| value["why"].as_str().is_some_and(|said| said.contains(why));
    let logged = || {
        let log = gateway.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines.into_iter().any(|line: serde_json::Value| line["type"] == "access" && says(&line))
    };
    let told = || {
        let kept = gateway.admin_json("/api/requests?limit=5")["data"].take();
        let tries = |one: &serde_json::Value| one["details"]["tries"].as_array().cloned().unwrap_or_default();
        kept.as_array().unwrap().iter().any(|one| tries(one).iter().any(says))
    };
    let shown = || !failed || says(&backend_status(gateway, "main")["targets"][0]["lastFailure"]);
    let all = [("log", eventually(SOON, logged)), ("trace", eventually(SOON, told)), ("status", shown())];
    all.iter().filter(|(_, says)| *says).map(|(who, _)| *who).collect::<Vec<_>>().join(", ")
}

/// Everything in which the gateway differs from the row.
fn judge(kind: &Kind, [client, why, again, breaker, check]: &[String; 5]) -> Vec<String> {
    let main = kind.backend("main").with("retries: 1").with("circuitBreaker: {failureThreshold: 100}");
    let checks = "healthCheck: {path: /main, intervalMs: 100, timeoutMs: 3000, unhealthyThreshold: 1}";
    let gateway = Gateway::builder().server("workers: 1").backend(main).start();
    let mut wrong = Vec::new();
    let mut is = |what: &str, seen: String, wanted: &str| {
        if seen != wanted {
            wrong.push(format!("{}: {what}: {seen}, and not {wanted}", kind.row));
        }
    };
    is("GET", (kind.ask)(&gateway, "GET"), client);
    let (tries, used) = (requests(&gateway), u64::from(kind.row.starts_with("a pooled")));
    // The connection's first use, and the try that was answered, are two good calls beside the row.
    let expected = if used > 0 { serde_json::json!([0, 2, 0.0]) } else { counted(breaker) };
    let arrived = eventually(SOON, || window(&gateway) == expected);
    // Reports without a failure come within 600 ms.
    let stays = holds_for(Duration::from_millis(800), || window(&gateway) == expected);
    is("breaker", if arrived && stays { breaker.clone() } else { window(&gateway).to_string() }, breaker);
    if let Some(reason) = client.split('`').nth(1) {
        let line = format!("\"reason\":\"{reason}\"");
        assert!(eventually(SOON, || gateway.log().contains(&line)), "{}: {line} is not logged", kind.row);
        let count = sum(&scrape(&gateway), "aegis_gateway_responses_total", reason);
        is("counted", (count >= 1.0).to_string(), "true");
    }
    if why != "–" {
        is("why", told_why(&gateway, why, breaker == "row and rate"), "log, trace, status");
    }
    (kind.ask)(&gateway, "POST");
    let (get, post) = (tries - used, requests(&gateway) - tries);
    let seen = match (get, post) {
        (2, 2) => "any method",
        (2, 1) => "idempotent methods",
        (1, 1) => "no",
        _ => "?",
    };
    let wanted = again.split(',').next().unwrap();
    is(&format!("tries {get} and {post}"), seen.to_owned(), wanted);
    drop(gateway);
    if check != "–" {
        let gateway = Gateway::with(kind.backend("main").with(checks));
        let view = || backend_status(&gateway, "main")["targets"][0]["healthCheck"].clone();
        assert!(eventually(SOON, || !view()["lastCheck"].is_null()), "{}: never checked", kind.row);
        is("check", if view()["lastError"].is_null() { "passes" } else { "fails" }.to_owned(), check);
    }
    wrong
}

#[test]
fn every_kind_of_failure_means_what_the_reference_says() {
    let mut table = table();
    for row in ELSEWHERE {
        assert!(table.remove(row).is_some(), "{row} is not in the table");
    }
    let kinds = kinds();
    let mut wrong = Vec::new();
    for some in kinds.chunks(4) {
        thread::scope(|scope| {
            let judged: Vec<_> = some
                .iter()
                .map(|kind| {
                    let row = table.remove(kind.row);
                    let row = row.unwrap_or_else(|| panic!("{:?} is not in the table", kind.row));
                    scope.spawn(move || judge(kind, &row))
                })
                .collect();
            judged.into_iter().for_each(|judged| wrong.extend(judged.join().unwrap()));
        });
    }
    assert!(table.is_empty(), "rows that nothing brings about: {table:?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
