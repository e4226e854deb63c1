//! Limits that two gateways share through one Redis: exact, and told right (section 8; R1, R6).

use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::harness::limits::{
    ALGORITHMS, MONTH, get_from, limited, rule, shared, somebody, together, undisturbed,
};
use crate::harness::{Client, Gateway, Redis, Response, SOON, Upstream, eventually};

/// What is told may be off by as long as Redis's answer took, in seconds: on a busy machine longer than is
/// waited for it.
const SLACK: f64 = 0.5;

/// Seconds since the epoch, with fractions.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// An answer, and between which moments the gateway decided.
struct Answer {
    from: f64,
    to: f64,
    response: Response,
}

impl Answer {
    fn passed(&self) -> bool {
        self.response.status == 200
    }

    /// Fails unless a header is the time from the decision until a moment, in whole seconds, begun ones counted.
    /// `early`, `late`: when the moment is, at the earliest and at the latest.
    fn assert_waits_until(&self, early: f64, late: f64, context: &str) {
        let told = self.response.number("retry-after") as f64;
        // Never too little. What is remembered of a refusal is later by as long as Redis's answer took.
        let least = (early - self.to).ceil().max(1.0);
        let most = (late - self.from + SLACK).ceil().max(1.0);
        assert!((least..=most).contains(&told), "{context}: Retry-After {told}, not {least} to {most}");
    }

    fn assert_reset(&self, early: f64, late: f64, context: &str) {
        let told = self.response.number("x-ratelimit-reset") as f64;
        // What is told is reckoned from when the question was sent, so it may be a little early.
        let (least, most) = ((early - SLACK).ceil(), late.ceil());
        assert!((least..=most).contains(&told), "{context}: reset {told}, not {least} to {most}");
    }
}

/// 25 requests in sequence, by turns to each gateway, over so many connections in all.
fn twenty_five(gateways: [&Gateway; 2], connections: usize, client: &str, target: &str) -> Vec<Answer> {
    let each = connections.div_ceil(2);
    let mut pool: Vec<Client> = (0..2 * each).map(|at| gateways[at % 2].client()).collect();
    let call = get_from(client, target);
    let all = pool.len();
    (0..25)
        .map(|at| {
            let from = now();
            let response = pool[at % all].send(&call);
            Answer { from, to: now(), response }
        })
        .collect()
}

fn two_gateways(upstream: &Upstream, redis: &Redis, limits: &str) -> [Gateway; 2] {
    // Whoever was there before is not counted any more.
    redis.command(&["FLUSHALL"]);
    let start = || shared(upstream, &redis.url(), limits).start();
    let gateways = [start(), start()];
    together(&[&gateways[0], &gateways[1]]);
    gateways
}

/// The end of the fixed window of so many seconds.
fn end_of_window(at: f64, seconds: f64) -> f64 {
    ((at / seconds).floor() + 1.0) * seconds
}

#[test]
fn each_algorithm_lets_exactly_its_limit_pass_over_two_gateways() {
    let (upstream, redis) = (Upstream::ok("ok"), Redis::start());
    let rules = ALGORITHMS.map(|name| {
        rule(
            name,
            &format!("endpoint: /{name}"),
            &format!("algorithm: {name}, requests: 10, windowSeconds: {MONTH}"),
            "",
        )
    });
    let [a, b] = two_gateways(&upstream, &redis, &format!("rules: [{}]", rules.join(", ")));
    for (algorithm, connections) in ALGORITHMS.iter().flat_map(|name| [(*name, 2), (*name, 8)]) {
        let (answers, _) = undisturbed(&[&a, &b], |client| {
            twenty_five([&a, &b], connections, client, &format!("/{algorithm}"))
        });
        let (first, month) = (&answers[0], MONTH as f64);
        for (at, answer) in answers.iter().enumerate() {
            let context = format!("{algorithm}, request {at} over {connections} connections");
            let response = &answer.response;
            assert_eq!(response.number("x-ratelimit-limit"), 10, "{context}");
            assert_eq!(response.remaining(), 9_u64.saturating_sub(at as u64), "{context}");
            assert_eq!(answer.passed(), at < 10, "{context}");
            let last = &answers[at.min(9)];
            let (early, late) = match algorithm {
                // Empty by a tenth for each that has passed.
                "tokenBucket" => {
                    let tokens = (at + 1).min(10) as f64 * month / 10.0;
                    (first.from + tokens, first.to + tokens)
                }
                "slidingWindow" => (last.from + month, last.to + month),
                _ => (end_of_window(answer.from, month), end_of_window(answer.to, month)),
            };
            answer.assert_reset(early, late, &context);
            if at >= 10 {
                response.assert_problem(429, "rate_limited");
                let (early, late) = match algorithm {
                    "tokenBucket" => (first.from + month / 10.0, first.to + month / 10.0),
                    "slidingWindow" => (first.from + month, first.to + month),
                    _ => (early, late),
                };
                answer.assert_waits_until(early, late, &context);
            }
        }
    }
}

#[test]
fn after_the_window_exactly_the_right_number_pass_again() {
    const WINDOW: f64 = 3.0;
    let (upstream, redis) = (Upstream::ok("ok"), Redis::start());
    for algorithm in ALGORITHMS {
        let limits = format!("defaultAlgorithm: {algorithm}, defaultRequests: 10, defaultWindowSeconds: 3");
        let [a, b] = two_gateways(&upstream, &redis, &limits);
        let wait = |until: f64| sleep(Duration::from_secs_f64((until - now()).max(0.0)));
        let (rounds, _) = undisturbed(&[&a, &b], |client| {
            [(); 2].map(|()| {
                if algorithm == "fixedWindow" {
                    wait(end_of_window(now(), WINDOW) + 0.01);
                }
                let answers = twenty_five([&a, &b], 8, client, "/x");
                let last = answers.iter().rev().find(|answer| answer.passed()).unwrap().to;
                wait(last + WINDOW + 0.01);
                answers
            })
        });
        for (round, answers) in rounds.iter().enumerate() {
            let context = format!("{algorithm}, round {round}");
            let (first, last) = (&answers[0], &answers[24]);
            let passed = answers.iter().filter(|answer| answer.passed()).count();
            if algorithm == "tokenBucket" {
                let refilled = |time: f64| (time / WINDOW * 10.0).floor() as usize;
                // What is there at least when a request is decided. Of those that a pause held up some are missing.
                let (mut there, mut least, mut before) = (10.0_f64, 0, first.from);
                for answer in answers {
                    there = (there + (answer.from - before).max(0.0) / WINDOW * 10.0).min(10.0);
                    before = answer.to;
                    if there >= 1.0 {
                        (there, least) = (there - 1.0, least + 1);
                    }
                }
                let most = 10 + refilled(last.to - first.from).min(15);
                assert!((least..=most).contains(&passed), "{context}: {passed}, not {least} to {most}");
            } else if last.to - first.from < WINDOW - 0.1 {
                assert_eq!(passed, 10, "{context}");
            }
            for answer in answers.iter().filter(|answer| !answer.passed()) {
                let (early, late) = match algorithm {
                    "tokenBucket" => (answer.from, answer.to + WINDOW / 10.0),
                    "slidingWindow" => (first.from + WINDOW, first.to + WINDOW),
                    _ => (end_of_window(answer.from, WINDOW), end_of_window(answer.to, WINDOW)),
                };
                answer.assert_waits_until(early, late, &context);
            }
        }
    }
}

#[test]
fn a_rule_in_shadow_counts_in_redis_and_keeps_its_counts_when_it_is_switched_on() {
    let (upstream, redis) = (Upstream::ok("ok"), Redis::start());
    let with = |shadow: bool| {
        let limit = format!("requests: 3, windowSeconds: {MONTH}");
        let rule = rule("r", "", &limit, &format!(", shadow: {shadow}"));
        shared(&upstream, &redis.url(), &format!("rules: [{rule}]"))
    };
    let (a, b) = (with(true).start(), with(true).start());
    let before = [&a, &b].map(|gateway| gateway.decisions("r"));
    let (statuses, client) = undisturbed(&[&a, &b], |client| {
        [&a, &b, &a, &b, &a, &b, &a, &b].map(|gateway| gateway.send(&get_from(client, "/x")).status)
    });
    assert_eq!(statuses, [200; 8]);
    let after = [&a, &b].map(|gateway| gateway.decisions("r"));
    // The shadow is judged beside the request, not in front of it: it may count a moment later.
    assert!(eventually(SOON, || {
        let now = [&a, &b].map(|gateway| gateway.decisions("r"));
        let shadow: u64 = now.iter().zip(&before).map(|(now, before)| now.shadow - before.shadow).sum();
        shadow >= 5
    }));
    assert_eq!(after[0].limited + after[1].limited, 0);
    for gateway in [&a, &b] {
        gateway.rewrite(&with(false));
        assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
        gateway.send(&get_from(&client, "/x")).assert_problem(429, "rate_limited");
    }
    let now = [&a, &b].map(|gateway| gateway.decisions("r"));
    assert!(now[0].shadow >= after[0].shadow && now[0].limited == 1, "{now:?}");
}

#[test]
fn several_rules_are_all_checked_before_any_is_charged() {
    let (upstream, redis) = (Upstream::ok("ok"), Redis::start());
    let rules = [
        rule("all", "", &format!("requests: 6, windowSeconds: {MONTH}"), ""),
        rule("few", "endpoint: /few", &format!("requests: 2, windowSeconds: {MONTH}"), ", priority: 10"),
    ];
    let [a, b] = two_gateways(&upstream, &redis, &format!("rules: [{}]", rules.join(", ")));
    let ((few, others), _) = undisturbed(&[&a, &b], |client| {
        let ask = |at: usize, path: &str| [&a, &b][at % 2].send(&get_from(client, path));
        let few: Vec<Response> = (0..10).map(|at| ask(at, "/few")).collect();
        let others: Vec<Response> = (0..10).map(|at| ask(at, "/other")).collect();
        (few, others)
    });
    let told = |response: &Response| response.header("ratelimit-policy").unwrap().to_owned();
    for (at, response) in few.iter().enumerate() {
        assert_eq!(response.status, if at < 2 { 200 } else { 429 }, "request {at}");
        assert!(told(response).starts_with("\"few\""), "{}", told(response));
    }
    let passed = others.iter().filter(|response| response.status == 200).count();
    // Two have passed of six. Those that `few` refused took nothing of `all`, except at most one on each gateway: the one
    // that learned of the refusal.
    assert!((2..=4).contains(&passed), "{passed}");
    let refused = others.last().unwrap();
    assert_eq!((refused.status, refused.json()["rule"].as_str()), (429, Some("all")));
}

#[test]
fn the_password_of_redis_is_used_and_never_told() {
    let upstream = Upstream::ok("ok");
    let redis = Redis::start_with(&["--requirepass", "pa/ss@word"]);
    let url = |password: &str| format!("redis://:{password}@{}", redis.addr());
    let limits = format!("defaultRequests: 10, defaultWindowSeconds: {MONTH}");
    let loud = |url: &str| shared(&upstream, url, &limits).top("logging: {level: trace}");
    let gateway = loud(&url("pa%2Fss%40word")).start();
    together(&[&gateway]);
    undisturbed(&[&gateway], |client| gateway.send(&get_from(client, "/x")));
    let keys = redis.command(&["KEYS", "*"]);
    assert!(keys.lines().any(|key| key.contains("default")), "{keys}");
    // With another one nothing is shared, and the page says why.
    gateway.rewrite(&loud(&url("wr%40ng-one")));
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    assert!(eventually(SOON, || gateway.limit_mode() == "degraded"), "{}", gateway.limits());
    assert_eq!(gateway.get("/x").status, 200);
    let pages = ["rate-limit", "status", "config"]
        .map(|page| gateway.ask_admin(crate::harness::Call::get(&format!("/_aegis/{page}"))).text());
    for text in pages.iter().chain([&gateway.log()]) {
        for secret in ["pa/ss", "pa%2Fss", "wr@ng", "wr%40ng"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    assert!(pages[0].contains("assword"), "{}", pages[0]);
}

#[test]
fn redis_and_limits_come_and_go_by_reload() {
    let (upstream, first, second) = (Upstream::ok("ok"), Redis::start(), Redis::start());
    let limits = format!("defaultRequests: 10, defaultWindowSeconds: {MONTH}");
    let alone = limited(&upstream, &limits).server("trustedProxies: [127.0.0.0/8]");
    let at = |redis: &Redis| shared(&upstream, &redis.url(), &limits);
    let [a, b] = [alone.clone().start(), alone.clone().start()];
    let reload = |builder: &crate::harness::Builder| {
        for gateway in [&a, &b] {
            gateway.rewrite(builder);
            assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
        }
    };
    let left = |client: &str| [&a, &b].map(|gateway| gateway.send(&get_from(client, "/x")).remaining());
    assert_eq!((left(&somebody()), a.limit_mode().as_str()), ([9, 9], "local"));
    reload(&at(&first));
    let (seen, client) = undisturbed(&[&a, &b], left);
    assert_eq!(seen, [9, 8]);
    // The same Redis under another prefix, and another Redis: nothing is used up there.
    let url = first.url();
    reload(&at(&first).top(&format!("redis: {{url: \"{url}\", keyPrefix: other}}")));
    together(&[&a, &b]);
    assert!(eventually(SOON, || left(&somebody()) == [9, 8]));
    reload(&at(&second));
    assert!(eventually(SOON, || left(&somebody()) == [9, 8]));
    assert!(second.command(&["KEYS", "*"]).contains("default"));
    // Back at the first, where what was used up still is.
    reload(&at(&first));
    together(&[&a, &b]);
    assert!(eventually(SOON, || left(&somebody()) == [9, 8]));
    assert!(left(&client)[0] <= 7);
    // Without limits; without Redis.
    reload(&at(&first).top("rateLimit: {enabled: false}"));
    assert_eq!(a.send(&get_from(&client, "/x")).header("x-ratelimit-limit"), None);
    reload(&alone);
    assert_eq!((left(&somebody()), a.limit_mode().as_str()), ([9, 9], "local"));
    assert_eq!(a.limits()["instances"], 1);
    reload(&at(&second));
    together(&[&a, &b]);
    assert!(eventually(SOON, || left(&somebody()) == [9, 8]));
}

#[test]
fn a_hot_key_costs_hardly_any_calls_of_redis() {
    let (upstream, redis) = (Upstream::ok("ok"), Redis::start());
    for algorithm in ALGORITHMS {
        let limits =
            format!("defaultAlgorithm: {algorithm}, defaultRequests: 1000000, defaultWindowSeconds: 60");
        redis.command(&["FLUSHALL"]);
        let gateway = shared(&upstream, &redis.url(), &limits).start();
        together(&[&gateway]);
        let calls = || gateway.limits()["storeCalls"].as_u64().unwrap();
        let send = |count: usize| {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let mut client = gateway.client();
                        (0..count / 4).for_each(|_| assert_eq!(client.get("/x").status, 200));
                    });
                }
            });
        };
        send(400);
        let (before, began) = (calls(), Instant::now());
        send(4000);
        let (cost, took) = (calls() - before, began.elapsed());
        println!("{algorithm}: {cost} calls for 4000 requests in {took:?}");
        // By the clock each second: five leases of 200 ms, of a few calls each.
        let most = 200.max(100 + took.as_millis() as u64 * 4 * 5 / 1000);
        assert!(cost < most, "{algorithm}: {cost} calls for 4000 requests in {took:?}");
    }
}
