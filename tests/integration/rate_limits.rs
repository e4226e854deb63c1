//! Rate limits of one instance (section 8; R1, R5, R6).

use std::time::{Duration, Instant};

use crate::harness::limits::{ALGORITHMS, Decisions, MONTH, limited, rule, unix_now};
use crate::harness::{
    Backend, Call, Gateway, Response, SOON, Upstream, echo_websocket, eventually, upgrade_request,
};

fn decided(allowed: u64, limited: u64, shadow: u64) -> Decisions {
    Decisions { allowed, limited, shadow, error: 0 }
}

#[test]
fn each_algorithm_lets_exactly_its_limit_pass_and_tells_what_is_left() {
    let upstream = Upstream::ok("ok");
    for algorithm in ALGORITHMS {
        let limits =
            format!("defaultAlgorithm: {algorithm}, defaultRequests: 10, defaultWindowSeconds: {MONTH}");
        let gateway = limited(&upstream, &limits).start();
        let mut client = gateway.client();
        for left in (0..10).rev() {
            let response = client.get("/x");
            assert_eq!(response.status, 200, "{algorithm}");
            assert_eq!(response.number("x-ratelimit-limit"), 10, "{algorithm}");
            assert_eq!(response.number("x-ratelimit-remaining"), left, "{algorithm}");
            let reset = response.number("x-ratelimit-reset");
            assert!((unix_now()..=unix_now() + MONTH + 1).contains(&reset), "{algorithm}: {reset}");
            assert_eq!(response.header("ratelimit-policy"), Some(&*format!("\"default\";q=10;w={MONTH}")));
            let state = response.header("ratelimit").unwrap();
            let window: u64 =
                state.strip_prefix(&format!("\"default\";r={left};t=")).unwrap().parse().unwrap();
            if algorithm == "tokenBucket" {
                // What is left comes back in as many tenths of the window.
                assert!(window.abs_diff(MONTH / 10 * left.max(1)) <= 60, "{left}: {window}");
            }
            assert!(window <= MONTH, "{algorithm}: {window}");
        }
        for _ in 0..15 {
            let response = client.get("/x");
            response.assert_problem(429, "rate_limited");
            assert_eq!(response.number("x-ratelimit-remaining"), 0, "{algorithm}");
            let wait = response.number("retry-after");
            // A token comes every tenth of the window; a log frees nothing before its first entry is a window old.
            let expected = match algorithm {
                "tokenBucket" => MONTH / 10 - 60..=MONTH / 10,
                "slidingWindow" => MONTH - 60..=MONTH,
                _ => 1..=MONTH,
            };
            assert!(expected.contains(&wait), "{algorithm}: {wait}");
            let state = format!("\"default\";r=0;t={wait}");
            assert_eq!(response.header("ratelimit"), Some(&*state), "{algorithm}");
        }
        assert_eq!(gateway.decisions("default"), decided(10, 15, 0), "{algorithm}");
    }
    assert_eq!(upstream.count(), 30);
}

#[test]
fn a_limit_is_exact_over_eight_connections_and_two_workers() {
    let upstream = Upstream::ok("ok");
    for algorithm in ALGORITHMS {
        let limits =
            format!("defaultAlgorithm: {algorithm}, defaultRequests: 100, defaultWindowSeconds: {MONTH}");
        let gateway = limited(&upstream, &limits).start();
        let workers: Vec<_> = (0..8)
            .map(|_| {
                let mut client = gateway.client();
                std::thread::spawn(move || {
                    let passed = (0..25).map(|_| client.get("/x")).filter(|response| response.status == 200);
                    passed.map(|response| response.number("x-ratelimit-remaining")).collect::<Vec<_>>()
                })
            })
            .collect();
        let mut left: Vec<u64> = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
        left.sort_unstable();
        assert_eq!(left.len(), 100, "{algorithm}: exactly the limit passes");
        // A token bucket tells what is there by the clock, which two workers read microseconds apart: where one is behind
        // the first charge, its part of a token is not there yet.
        let off = u64::from(algorithm == "tokenBucket");
        let told = (0..100).zip(&left).all(|(number, told)| told.abs_diff(number) <= off);
        assert!(told, "{algorithm}: every number is told exactly once: {left:?}");
    }
}

#[test]
fn after_retry_after_a_request_passes_and_after_the_window_all_do() {
    let upstream = Upstream::ok("ok");
    for algorithm in ALGORITHMS {
        let limits = format!("defaultAlgorithm: {algorithm}, defaultRequests: 4, defaultWindowSeconds: 2");
        let gateway = limited(&upstream, &limits).start();
        let mut client = gateway.client();
        let wait = loop {
            let response = client.get("/x");
            if response.status == 429 {
                break response.number("retry-after");
            }
        };
        assert!((1..=2).contains(&wait), "{algorithm}: {wait}");
        std::thread::sleep(Duration::from_secs(wait));
        assert_eq!(client.get("/x").status, 200, "{algorithm}: Retry-After was kept");
        std::thread::sleep(Duration::from_millis(2_010));
        let began = Instant::now();
        let passed = (0..12).filter(|_| client.get("/x").status == 200).count();
        // What came back while the requests were on their way.
        let more = match algorithm {
            "tokenBucket" => began.elapsed().as_millis() / 500 + 1,
            _ if began.elapsed() < Duration::from_secs(2) => {
                if algorithm == "fixedWindow" {
                    4
                } else {
                    0
                }
            }
            _ => 8,
        };
        assert!(passed >= 4 && passed as u128 <= 4 + more, "{algorithm}: {passed}, {:?}", began.elapsed());
    }
}

#[test]
fn a_refusal_names_the_rule_and_never_reaches_the_upstream() {
    let upstream = Upstream::ok("ok");
    let login = rule("login", "endpoint: /auth/login, methods: [POST]", "requests: 1, windowSeconds: 60", "");
    let gateway = limited(&upstream, &format!("rules: [{login}]")).start();
    let call = Call::post("/auth/login", "secret");
    assert_eq!(gateway.send(&call).status, 200);
    let refused = gateway.send(&call);
    refused.assert_problem(429, "rate_limited");
    let problem = refused.json();
    assert_eq!((problem["rule"].as_str(), problem["limit"].as_u64()), (Some("login"), Some(1)), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("login"), "{problem}");
    assert_eq!(problem["retryAfterSeconds"], refused.number("retry-after"), "{problem}");
    assert_eq!(upstream.count(), 1);
    assert_eq!(gateway.get("/auth/login").status, 200, "another method");
    assert_eq!(gateway.send(&Call::post("/auth/other", "x")).status, 200, "another path");
}

#[test]
fn rules_find_their_endpoints_on_the_canonical_path() {
    let upstream = Upstream::ok("ok");
    let one = "requests: 1, windowSeconds: 3600";
    let kind = |kind: &str, endpoint: &str| format!("endpoint: \"{endpoint}\", endpointMatchType: {kind}");
    let rules = [
        rule("exact", &kind("exact", "/exact"), one, ""),
        rule("prefix", &kind("prefix", "/pre/"), one, ""),
        rule("glob", &kind("glob", "/glob/*/x"), one, ""),
        rule("regex", &kind("regex", "^/re/[0-9]+$"), one, ""),
    ];
    let limits = format!("defaultRequests: 1000, rules: [{}]", rules.join(", "));
    let gateway = limited(&upstream, &limits).start();
    for (rule, paths) in [
        ("exact", ["/exact", "//exact", "/exact;x=1", "/%65xact"]),
        ("prefix", ["/pre/a", "/pre/b/c", "//pre/d", "/pre/%65"]),
        ("glob", ["/glob/a/x", "/glob/b/x", "/glob//c/x", "/glob/./d/x"]),
        ("regex", ["/re/1", "/re/23", "//re/4", "/re/5/"]),
    ] {
        let statuses = paths.map(|path| gateway.get(path).status);
        assert_eq!(statuses, [200, 429, 429, 429], "{rule}");
        assert_eq!(gateway.decisions(rule), decided(1, 3, 0));
    }
    for path in ["/exact/more", "/pr", "/glob/a/b/x", "/re/1a"] {
        assert_eq!(gateway.get(path).status, 200, "{path}");
    }
}

#[test]
fn where_several_rules_apply_all_are_checked_before_any_is_charged() {
    let upstream = Upstream::ok("ok");
    let rules = [
        rule("all", "", &format!("requests: 5, windowSeconds: {MONTH}"), ""),
        rule("few", "endpoint: /few", &format!("requests: 2, windowSeconds: {MONTH}"), ", priority: 10"),
    ];
    let gateway = limited(&upstream, &format!("defaultRequests: 1, rules: [{}]", rules.join(", "))).start();
    let told = |response: &Response| response.header("ratelimit-policy").unwrap().to_owned();
    let first = gateway.get("/few");
    assert_eq!((first.status, first.number("x-ratelimit-remaining")), (200, 1));
    assert!(told(&first).starts_with("\"few\""), "the tightest is told");
    assert_eq!(gateway.get("/few").status, 200);
    for _ in 0..10 {
        let refused = gateway.get("/few");
        assert_eq!((refused.status, refused.json()["rule"].as_str()), (429, Some("few")));
    }
    // The refused ones have taken nothing from the other rule.
    let other = gateway.get("/other");
    assert_eq!((other.status, other.number("x-ratelimit-remaining")), (200, 2));
    assert_eq!([gateway.get("/other").status, gateway.get("/other").status], [200, 200]);
    let refused = gateway.get("/other");
    assert_eq!((refused.status, refused.json()["rule"].as_str()), (429, Some("all")));
}

#[test]
fn only_verified_facts_make_a_key() {
    let upstream = Upstream::ok("ok");
    for strategy in ["ip", "user", "apiKey", "composite"] {
        let limits = format!("keyStrategy: {strategy}, defaultRequests: 3, defaultWindowSeconds: {MONTH}");
        let gateway = limited(&upstream, &limits).start();
        let mut passed = 0;
        for i in 0..10 {
            let call = Call::get("/x")
                .header("X-Forwarded-For", &format!("203.0.113.{i}"))
                .header("X-Real-IP", &format!("203.0.113.{i}"))
                .header("Forwarded", &format!("for=203.0.113.{i}"))
                .header("X-API-Key", &format!("made-up-{i}"))
                .header("X-User-ID", &format!("user-{i}"))
                .header("Authorization", &format!("Bearer made-up-{i}"));
            passed += usize::from(gateway.send(&call).status == 200);
        }
        assert_eq!(passed, 3, "{strategy}");
    }
}

#[test]
fn behind_a_trusted_proxy_the_client_that_it_names_is_limited() {
    let upstream = Upstream::ok("ok");
    let limits = format!("defaultRequests: 1, defaultWindowSeconds: {MONTH}");
    let gateway = limited(&upstream, &limits).server("trustedProxies: [127.0.0.0/8]").start();
    let from = |address: &str| gateway.send(&Call::get("/x").header("X-Forwarded-For", address)).status;
    assert_eq!([from("203.0.113.1"), from("203.0.113.1"), from("203.0.113.2")], [200, 429, 200]);
    assert_eq!(
        from("198.51.100.9, 203.0.113.1"),
        429,
        "what stands left of the first untrusted hop is anybody's"
    );
    assert_eq!([from("2001:db8::1"), from("2001:db8::2"), from("2001:db8:0:1::1")], [200, 429, 200]);
}

#[test]
fn a_limit_of_everybody_counts_all_clients_together() {
    let upstream = Upstream::ok("ok");
    let month = format!("requests: 2, windowSeconds: {MONTH}");
    let rules = [
        rule("all", "endpoint: '/all/**', endpointMatchType: glob", &month, ", key: global"),
        rule("each", "endpoint: '/each/**', endpointMatchType: glob", &month, ", key: endpoint"),
    ];
    let gateway = Gateway::builder()
        .top(&format!("rateLimit: {{rules: [{}]}}", rules.join(", ")))
        .server("trustedProxies: [127.0.0.0/8]")
        .backend(
            Backend::named("one")
                .to(&upstream)
                .route("/all/a")
                .route("/all/b")
                .route("/each/a")
                .route("/each/b"),
        )
        .start();
    let mut client = 0;
    let mut get = |target: &str| {
        client += 1;
        let call = Call::get(target).header("X-Forwarded-For", &format!("203.0.113.{client}"));
        gateway.send(&call).status
    };
    assert_eq!(["/all/a", "/all/b", "/all/a", "/all/b"].map(&mut get), [200, 200, 429, 429]);
    assert_eq!(["/each/a", "/each/a", "/each/a"].map(&mut get), [200, 200, 429]);
    assert_eq!(["/each/b", "/each/b", "/each/b"].map(&mut get), [200, 200, 429]);
    let page = gateway.limits();
    let limited: Vec<_> = page["rules"].as_array().unwrap().iter().map(|rule| rule["key"].clone()).collect();
    assert_eq!(limited, ["global", "endpoint", "composite"]);
}

#[test]
fn a_rule_in_shadow_lets_pass_and_counts_and_keeps_its_counts_when_it_is_switched_on() {
    let upstream = Upstream::ok("ok");
    let with = |shadow: bool| {
        let shadow = format!(", shadow: {shadow}");
        limited(
            &upstream,
            &format!("rules: [{}]", rule("r", "", "requests: 3, windowSeconds: 3600", &shadow)),
        )
    };
    let gateway = with(true).start();
    assert!((0..8).all(|_| gateway.get("/x").status == 200));
    assert_eq!(gateway.decisions("r"), decided(3, 0, 5));
    let logged = |what: &str| gateway.log().lines().filter(|line| line.contains(what)).count();
    assert!(eventually(SOON, || logged(r#""wouldLimit":["r"]"#) == 5), "{}", gateway.log());
    assert_eq!(logged("limitedBy"), 0);
    gateway.rewrite(&with(false));
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    gateway.get("/x").assert_problem(429, "rate_limited");
    assert_eq!(gateway.decisions("r"), decided(3, 1, 5));
    assert!(eventually(SOON, || logged(r#""reason":"rate_limited","limitedBy":["r"]"#) == 1));
}

#[test]
fn a_reload_keeps_what_is_used_up_unless_the_numbers_change() {
    let upstream = Upstream::ok("ok");
    let with = |requests: u32, more: &str| {
        let limit = format!("requests: {requests}, windowSeconds: 3600");
        limited(&upstream, &format!("{more}rules: [{}]", rule("r", "", &limit, "")))
    };
    let gateway = with(2, "").start();
    assert_eq!(
        [gateway.get("/x").status, gateway.get("/x").status, gateway.get("/x").status],
        [200, 200, 429]
    );
    gateway.rewrite(&with(2, "maxKeys: 5000, "));
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    assert_eq!(gateway.get("/x").status, 429, "unchanged");
    gateway.rewrite(&with(3, ""));
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    let response = gateway.get("/x");
    assert_eq!((response.status, response.number("x-ratelimit-remaining")), (200, 2), "another limit");
    gateway.rewrite(&Gateway::builder().backend(Backend::all(&upstream)));
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    let response = gateway.get("/x");
    assert_eq!((response.status, response.header("x-ratelimit-limit")), (200, None), "no limits any more");
    assert!(eventually(SOON, || gateway.limits()["keys"] == 0), "what was counted for them is freed");
}

#[test]
fn exempt_requests_are_not_limited_and_counted_as_such() {
    let upstream = Upstream::ok("ok");
    let limits =
        |bypass: &str| format!("defaultRequests: 1, defaultWindowSeconds: 3600, bypass: {{{bypass}}}");
    for (bypass, path) in [
        ("paths: [/free/**]", "/free/x"),
        ("ips: [127.0.0.1]", "/x"),
        ("ips: [127.0.0.0/8]", "/x"),
        ("internal: true", "/x"),
    ] {
        let gateway = limited(&upstream, &limits(bypass)).start();
        assert!((0..5).all(|_| gateway.get(path).status == 200), "{bypass}");
        assert_eq!(gateway.rule_page("default")["decisions"]["bypassed"], 5, "{bypass}");
    }
    let gateway = limited(&upstream, &limits("paths: [/free/**]")).start();
    assert_eq!([gateway.get("/x").status, gateway.get("/x").status], [200, 429]);
    assert_eq!(gateway.get("/x;/free/y").status, 429, "a server that strips parameters reads another path");
    // Who comes through a proxy is not internal because the proxy is, nor because a header says so.
    let gateway = limited(&upstream, &limits("internal: true")).server("trustedProxies: [127.0.0.1]").start();
    let call = |address: &str| gateway.send(&Call::get("/x").header("X-Forwarded-For", address)).status;
    assert_eq!([call("203.0.113.1"), call("203.0.113.1")], [200, 429]);
    assert_eq!([call("10.0.0.1"), call("10.0.0.1")], [200, 429]);
}

#[test]
fn costs_bursts_and_endpoints_count_as_configured() {
    let upstream = Upstream::ok("ok");
    let passes = |gateway: &Gateway, path: &str, count: usize| {
        (0..count).filter(|_| gateway.get(path).status == 200).count()
    };
    let limit = format!("requests: 10, windowSeconds: {MONTH}, cost: 3");
    let gateway = limited(&upstream, &format!("rules: [{}]", rule("r", "", &limit, ""))).start();
    assert_eq!(passes(&gateway, "/x", 9), 3);
    let limit = format!("requests: 2, windowSeconds: {MONTH}, burst: 3");
    let gateway = limited(&upstream, &format!("rules: [{}]", rule("r", "", &limit, ""))).start();
    assert_eq!(passes(&gateway, "/x", 9), 5);
    let backend = Backend::named("main").to(&upstream).route("/a/**").route("/b/:id");
    let limits = format!("keyStrategy: ipEndpoint, defaultRequests: 2, defaultWindowSeconds: {MONTH}");
    let gateway = Gateway::builder().top(&format!("rateLimit: {{{limits}}}")).backend(backend).start();
    assert_eq!((passes(&gateway, "/a/1", 2), passes(&gateway, "/a/2", 1)), (2, 0), "one route, one bucket");
    assert_eq!(passes(&gateway, "/b/1", 5), 2);
}

#[test]
fn one_pattern_of_two_services_or_hosts_is_two_endpoints() {
    let upstream = Upstream::ok("ok");
    let limits = format!("keyStrategy: endpoint, defaultRequests: 1, defaultWindowSeconds: {MONTH}");
    let backend = |name: &str, hosts: [&str; 2]| {
        let route =
            |methods: &str, host: &str| format!("{{path: /**, methods: [{methods}], hosts: [{host}]}}");
        let [one, other] = hosts;
        let backend = Backend::named(name).to(&upstream).route(&route("GET", one));
        backend.route(&route("POST", one)).route(&route("GET", other))
    };
    let gateway = Gateway::builder()
        .top(&format!("rateLimit: {{{limits}}}"))
        .backend(backend("one", ["a.test", "b.test"]))
        .backend(backend("two", ["c.test", "d.test"]))
        .start();
    for host in ["a.test", "b.test", "c.test", "d.test"] {
        let get = || gateway.send(&Call::get("/x").header("Host", host)).status;
        assert_eq!([get(), get()], [200, 429], "{host}");
    }
    let post = gateway.send(&Call::post("/x", "").header("Host", "a.test"));
    assert_eq!(post.status, 429, "another method of the same service");
}

#[test]
fn an_upgrade_is_limited_like_any_request() {
    let upstream = Upstream::start(echo_websocket);
    let limits = format!("defaultRequests: 1, defaultWindowSeconds: {MONTH}");
    let gateway = limited(&upstream, &limits).start();
    let mut first = gateway.client();
    first.start(&upgrade_request("/ws"));
    assert_eq!(first.read_head("GET").unwrap().status, 101);
    let mut second = gateway.client();
    second.start(&upgrade_request("/ws"));
    second.read("GET").unwrap().assert_problem(429, "rate_limited");
}

#[test]
fn without_headers_only_retry_after_is_told() {
    let upstream = Upstream::ok("ok");
    let limits = format!("headers: false, defaultRequests: 1, defaultWindowSeconds: {MONTH}");
    let gateway = limited(&upstream, &limits).start();
    let (passed, refused) = (gateway.get("/x"), gateway.get("/x"));
    assert_eq!((passed.status, refused.status), (200, 429));
    for response in [&passed, &refused] {
        for name in [
            "x-ratelimit-limit",
            "x-ratelimit-remaining",
            "x-ratelimit-reset",
            "ratelimit",
            "ratelimit-policy",
        ] {
            assert_eq!(response.header(name), None, "{name}");
        }
    }
    assert!(refused.number("retry-after") > 0);
}

#[test]
fn an_upstreams_own_limit_fields_give_way_to_the_gateways_unless_it_refuses() {
    let upstream = Upstream::start(|exchange| {
        let status = if exchange.target() == "/refused" { 429 } else { 200 };
        exchange.reply(status, &[("X-RateLimit-Remaining", "777")], b"ok")
    });
    let limits = format!("defaultRequests: 5, defaultWindowSeconds: {MONTH}");
    let gateway = limited(&upstream, &limits).start();
    assert_eq!(gateway.get("/x").header("x-ratelimit-remaining"), Some("4"));
    let refused = gateway.get("/refused");
    assert_eq!((refused.status, refused.header("x-ratelimit-remaining")), (429, Some("777")));
    assert_eq!(refused.header("ratelimit"), None);
    let gateway = limited(&upstream, &format!("{limits}, headers: false")).start();
    assert_eq!(gateway.get("/x").header("x-ratelimit-remaining"), Some("777"));
}

#[test]
fn what_the_gateway_refuses_before_or_answers_itself_costs_nothing() {
    let upstream = Upstream::ok("ok");
    let limits = format!("defaultRequests: 1, defaultWindowSeconds: {MONTH}");
    let backend = Backend::named("main")
        .to(&upstream)
        .route("/a")
        .route("{path: /denied, deny: true}")
        .route("{path: /short, bodyLimitBytes: 3}");
    let gateway = Gateway::builder().top(&format!("rateLimit: {{{limits}}}")).backend(backend).start();
    gateway.send(&Call::post("/short", "long")).assert_problem(413, "body_too_large");
    for (path, status) in
        [("/none", 404), ("/denied", 403), ("/health", 200), ("/ready", 200), ("/%2e%2e/a", 400)]
    {
        assert_eq!([gateway.get(path).status, gateway.get(path).status], [status, status], "{path}");
    }
    assert_eq!([gateway.get("/a").status, gateway.get("/a").status], [200, 429]);
}

#[test]
fn the_page_lists_the_busiest_and_most_limited_clients() {
    let upstream = Upstream::ok("ok");
    let limits = format!("defaultRequests: 100, defaultWindowSeconds: {MONTH}");
    let gateway = limited(&upstream, &limits).start();
    let mut client = gateway.client();
    (0..300).for_each(|_| drop(client.get("/x")));
    let listed = || {
        let page = gateway.admin_json("/_aegis/rate-limit");
        assert_eq!((page["mode"].as_str(), page["instances"].as_u64()), (Some("local"), Some(1)), "{page}");
        let first = |list: &str| page[list][0].clone();
        (first("busiest"), first("mostLimited"))
    };
    assert!(eventually(SOON, || listed().1["requests"] == 200));
    let (busiest, limited) = listed();
    // What is an estimate says so, and how it is made.
    let lists = gateway.admin_json("/_aegis/rate-limit")["lists"].clone();
    let sampled = lists["busiest"]["oneIn"].as_u64().unwrap();
    assert!(
        sampled > 1 && busiest["requests"].as_u64().unwrap().is_multiple_of(sampled),
        "{lists} {busiest}"
    );
    assert!(lists["busiest"]["what"].as_str().unwrap().starts_with("estimated: one in 16"), "{lists}");
    assert_eq!((&lists["mostLimited"]["oneIn"], &lists["seconds"][0]), (&1.into(), &60.into()), "{lists}");
    assert_eq!(limited["key"], "ip:127.0.0.1");
    assert_eq!((busiest["rule"].as_str(), busiest["key"].as_str()), (Some("default"), Some("ip:127.0.0.1")));
}
