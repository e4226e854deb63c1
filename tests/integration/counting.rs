//! What counts as traffic, and as latency (section 3).

use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::harness::history::data;
use crate::harness::scrape::{scrape, sum};
use crate::harness::{
    Backend, Call, Exchange, Gateway, SOON, Then, Upstream, WebSocket, echo_websocket, eventually,
};

/// Every number that tells of traffic.
fn traffic(gateway: &Gateway) -> (u64, f64, Value, usize) {
    let overview = data(gateway, "overview?range=5m");
    let status = gateway.admin_json("/_aegis/status");
    let top = data(gateway, "top-endpoints");
    (
        overview["totalRequests"].as_u64().unwrap(),
        sum(&scrape(gateway), "aegis_requests_total", ""),
        status["requests"].clone(),
        top.as_array().unwrap().len(),
    )
}

#[test]
fn what_the_gateway_answers_on_its_own_account_is_no_traffic() {
    let upstream = Upstream::ok("ok");
    let gateway = Gateway::builder()
        .top("metrics: {store: none}")
        .admin("token: sesame")
        .backend(Backend::named("main").to(&upstream).route("/x"))
        .start();
    for _ in 0..20 {
        assert_eq!(gateway.get("/health").status, 200);
        assert_eq!(gateway.get("/healthz/").status, 200);
        assert_eq!(gateway.get("/ready").status, 200);
        assert_eq!(gateway.get("/_aegis/status").status, 401);
    }
    let bearer = Call::get("/_aegis/status").header("Authorization", "Bearer sesame");
    assert_eq!(gateway.send(&bearer).status, 200);
    assert_eq!(gateway.send(&Call::new("OPTIONS", "*")).status, 204);
    assert_eq!(gateway.get("/x").status, 200);
    let endpoint =
        |path: &str| sum(&scrape(&gateway), "aegis_internal_requests_total", &format!("endpoint=\"{path}\""));
    assert!(eventually(SOON, || traffic(&gateway).0 == 1));
    let (total, counted, status, top) = traffic(&gateway);
    assert_eq!((total, counted, top), (1, 1.0, 1), "the one that a route served");
    assert_eq!((&status["total"], &status["madeByGateway"]), (&1.into(), &0.into()), "{status}");
    let endpoints = ["/health", "/healthz", "/ready", "/_aegis/", "*"].map(endpoint);
    assert_eq!(endpoints, [20.0, 20.0, 20.0, 21.0, 1.0]);
    assert_eq!(sum(&scrape(&gateway), "aegis_gateway_responses_total", ""), 0.0);
}

#[test]
fn a_probe_that_is_told_not_ready_is_no_failure() {
    let dead = Backend::named("main").target("url: http://127.0.0.1:1").route("/**");
    let gateway = Gateway::builder()
        .top("metrics: {store: none}")
        .top("alerts: {checkIntervalMs: 100, rules: [{id: errors, condition: {metric: error_rate, operator: '>', threshold: 0.5, windowSeconds: 60}}, {id: silence, condition: {metric: request_rate, operator: '<', threshold: 0.1, windowSeconds: 2}}]}")
        .backend(dead.with("healthCheck: {intervalMs: 100, unhealthyThreshold: 1}"))
        .start();
    let firing = || -> Vec<String> {
        let alerts = gateway.admin_json("/api/alerts");
        let rules = alerts["data"].as_array().unwrap().iter();
        rules.map(|alert| alert["rule"].as_str().unwrap().to_owned()).collect()
    };
    assert!(eventually(SOON, || gateway.get("/ready").status == 503));
    // Asked all the time, and yet nobody asks for anything.
    assert!(eventually(4 * SOON, || gateway.get("/ready").status == 503 && !firing().is_empty()));
    assert_eq!(firing(), ["silence"]);
    let overview = data(&gateway, "overview?range=5m");
    assert_eq!(
        (&overview["totalRequests"], &overview["failedRequests"]),
        (&0.into(), &0.into()),
        "{overview}"
    );
    assert_eq!(gateway.admin_json("/api/requests")["data"], serde_json::json!([]));
}

#[test]
fn the_probes_have_the_paths_and_hosts_that_are_configured() {
    let upstream = Upstream::ok("theirs");
    let with = |probes: &str| {
        Gateway::builder().server(&format!("probes: {probes}")).backend(Backend::all(&upstream))
    };
    let gateway = with("{health: [/up], ready: [/go, /go/on], hosts: [lb.test]}").start();
    let ask = |host: &str, path: &str| gateway.send(&Call::get(path).header("Host", host)).text();
    for path in ["/up", "/go", "/go/on", "/up/"] {
        assert!(ask("lb.test", path).contains("status"), "{path}");
        assert_eq!(ask("a.test", path), "theirs", "{path}");
    }
    for path in ["/health", "/healthz", "/ready", "/up/x"] {
        assert_eq!(ask("lb.test", path), "theirs", "{path}");
    }
    gateway.rewrite(&with("{health: [/health], ready: [/up]}"));
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    assert!(ask("a.test", "/up").contains("ready"));
    assert_eq!(ask("lb.test", "/go"), "theirs");
    assert_eq!(sum(&scrape(&gateway), "aegis_internal_requests_total", "\"/up\""), 3.0, "over the reload");
    gateway.rewrite(&with("{ready: ['/:any']}"));
    let refused = gateway.admin_post("/_aegis/reload", "");
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("stands for several paths"), "{}", refused.text());
}

/// How long each stream lives.
const LIFE: Duration = Duration::from_secs(2);

/// Streams of every kind by their path; `/late` takes as long to begin.
fn streams(exchange: &mut Exchange) -> std::io::Result<Then> {
    const LARGE: usize = 2 << 20;
    let head =
        |framing: &str| format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}\r\n\r\n");
    match exchange.target() {
        "/events" | "/late" => {
            let late = exchange.target() == "/late";
            if late {
                thread::sleep(LIFE);
            }
            exchange.wire.write(head("Transfer-Encoding: chunked") + "3\r\na\n\n\r\n")?;
            if !late {
                thread::sleep(LIFE);
            }
            exchange.wire.write("0\r\n\r\n")?;
        }
        "/until-close" => {
            exchange.wire.write(head("Connection: close") + "a")?;
            thread::sleep(LIFE);
            return Ok(Then::Drop);
        }
        "/large" => {
            exchange.wire.write(head(&format!("Content-Length: {LARGE}")))?;
            thread::sleep(LIFE);
            exchange.wire.write(vec![b'x'; LARGE])?;
        }
        "/ws" => return echo_websocket(exchange),
        _ => {
            exchange.body()?;
            return exchange.ok("done");
        }
    }
    Ok(Then::Keep)
}

#[test]
fn a_streams_lifetime_is_its_length_and_no_latency() {
    const KINDS: [&str; 5] = ["/events", "/until-close", "/large", "/ws", "/upload"];
    let upstream = Upstream::start(streams);
    let routes =
        KINDS.iter().fold(Backend::named("main").to(&upstream).route("/late"), |b, kind| b.route(kind));
    let gateway =
        Gateway::builder().top("metrics: {store: none, slowRequestMs: 1500}").backend(routes).start();
    let open = |kind: &str| match kind {
        "/ws" => {
            let socket = WebSocket::open(gateway.addr, kind);
            thread::sleep(LIFE);
            drop(socket);
        }
        "/upload" => {
            let mut client = gateway.client();
            let half = format!("10000\r\n{}\r\n", "x".repeat(65_536));
            client.write(format!(
                "POST {kind} HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{half}{half}"
            ));
            thread::sleep(LIFE);
            client.write("0\r\n\r\n");
            assert_eq!(client.read("POST").unwrap().text(), "done");
        }
        _ => assert_eq!(gateway.get(kind).status, 200, "{kind}"),
    };
    thread::scope(|scope| {
        for kind in [KINDS, KINDS, KINDS].concat() {
            scope.spawn(move || open(kind));
        }
    });
    let of = |name: &str, route: &str| {
        sum(&scrape(&gateway), &format!("aegis_{name}"), &format!("route=\"{route}\",backend=\"main\"}}"))
    };
    for kind in KINDS {
        assert!(eventually(SOON, || of("request_duration_seconds_count", kind) == 3.0), "{kind}");
        assert_eq!(of("stream_duration_seconds_count", kind), 3.0, "{kind}");
        let (latency, length) =
            (of("request_duration_seconds_sum", kind), of("stream_duration_seconds_sum", kind));
        assert!(latency < LIFE.as_secs_f64(), "{kind}: {latency} s of latency, three together");
        // On a busy machine the gateway comes to some of them when a part of their lives is over.
        assert!(length > LIFE.as_secs_f64(), "{kind}: {length} s long, three together");
        assert!(of("upstream_duration_seconds_sum", kind) < LIFE.as_secs_f64(), "{kind}");
    }
    let longest = data(&gateway, "overview?range=5m")["p99Latency"].as_f64().unwrap();
    assert!(longest < 1e3 * LIFE.as_secs_f64(), "{longest}");
    let kept = |path: &str| {
        let requests = gateway.admin_json("/api/requests?limit=100");
        requests["data"].as_array().unwrap().iter().filter(|request| request["path"] == *path).count()
    };
    // One in a hundred is kept by chance.
    let by_chance: usize = KINDS.iter().map(|kind| kept(kind)).sum();
    assert!(by_chance < 5, "{by_chance} of {} are kept as slow", 3 * KINDS.len());
    // What is late with its head is slow, stream or not.
    assert_eq!(gateway.get("/late").status, 200);
    assert!(eventually(SOON, || kept("/late") == 1));
    assert!(of("request_duration_seconds_sum", "/late") >= LIFE.as_secs_f64() - 0.1);
}

#[test]
fn bytes_are_counted_as_they_go_and_not_only_when_all_is_over() {
    let upstream = Upstream::start(streams);
    let gateway = Gateway::with(Backend::named("main").to(&upstream).route("/ws").route("/upload"));
    let bytes = |direction: &str, route: &str| {
        sum(&scrape(&gateway), &format!("aegis_{direction}_bytes_total"), &format!("route=\"{route}\","))
    };
    let mut socket = WebSocket::open(gateway.addr, "/ws");
    socket.text("hello");
    socket.read();
    // A head of two bytes, a mask of four from clients.
    assert!(eventually(SOON, || (bytes("request", "/ws"), bytes("response", "/ws")) == (11.0, 7.0)));
    let mut client = gateway.client();
    client.write("POST /upload HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n");
    client.write("x".repeat(70_000));
    assert!(eventually(SOON, || bytes("request", "/upload") == 70_000.0));
    // What was sent has been sent, whoever leaves.
    drop((client, socket));
    assert_eq!(gateway.get("/none").status, 404);
    assert_eq!((bytes("request", "/upload"), bytes("request", "/ws")), (70_000.0, 11.0));
    assert!(bytes("response", "none") > 100.0);
    gateway.rewrite(&Gateway::builder().backend(Backend::named("main").to(&upstream).route("/ws")));
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    assert_eq!((bytes("request", "/upload"), bytes("request", "/ws")), (0.0, 11.0));
}

#[test]
fn the_time_in_which_a_client_sends_a_small_body_is_no_latency() {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::named("main").to(&upstream).route("/slowly"));
    let mut client = gateway.client();
    client.write("POST /slowly HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\na");
    thread::sleep(LIFE); // the pace of the client
    client.write("b");
    assert_eq!(client.read("POST").unwrap().status, 200);
    let seconds = |name: &str| sum(&scrape(&gateway), &format!("aegis_{name}_duration_seconds_sum"), "main");
    let count = || sum(&scrape(&gateway), "aegis_request_duration_seconds_count", "/slowly");
    assert!(eventually(SOON, || count() == 1.0));
    assert_eq!(
        sum(&scrape(&gateway), "aegis_stream_duration_seconds_count", "/slowly"),
        0.0,
        "it is no stream"
    );
    for name in ["request", "upstream", "target"] {
        assert!(seconds(name) < LIFE.as_secs_f64() / 2.0, "{name}: {} s", seconds(name));
    }
}
