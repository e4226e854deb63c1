//! Redis dies, freezes, is slow, flaps and comes back; so does the actor that asks it (R3).
//!
//! How long requests may take is compared with requests that no limit applies to: as many, at the same time, through the
//! same gateways. What the machine is busy with slows both.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::flood::moment;
use crate::harness::flow::{Flow, Samples};
use crate::harness::limits::{MONTH, get_from, rule, shared, somebody, together};
use crate::harness::{Gateway, Redis, SOON, Upstream, eventually};

/// One for each `onError`.
const TARGETS: &[&str] = &["/local", "/allow", "/deny"];

/// Exempt: tells what the machine does to everybody.
const CONTROL: &[&str] = &["/free"];

/// Connections of a flow that limits apply to: two to each of two gateways.
const LIMITED_CONNECTIONS: usize = 4;

/// No request may wait longer for Redis.
const BOUND: Duration = Duration::from_millis(50);

const GIVEN_UP: &str = "Redis is given up";
const SHARED_AGAIN: &str = "limits are shared again";

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A rule for each `onError`, too large to refuse anybody, and `/few` with ten requests a month.
fn limits() -> String {
    let mut rules: Vec<_> = ["local", "allow", "deny"]
        .iter()
        .map(|name| {
            let more = format!(", onError: {name}");
            rule(name, &format!("endpoint: /{name}"), "requests: 1000000, windowSeconds: 60", &more)
        })
        .collect();
    for (name, more) in [("few", "local"), ("few-deny", "deny"), ("few-allow", "allow")] {
        let numbers = format!("algorithm: slidingWindow, requests: 10, windowSeconds: {MONTH}");
        rules.push(rule(name, &format!("endpoint: /{name}"), &numbers, &format!(", onError: {more}")));
    }
    format!("rules: [{}], bypass: {{paths: [/free]}}", rules.join(", "))
}

struct Scene {
    a: Gateway,
    b: Gateway,
    redis: Redis,
    _upstream: Upstream,
}

impl Scene {
    fn start() -> Self {
        let (upstream, redis) = (Upstream::ok("ok"), Redis::start());
        let start = || shared(&upstream, &redis.url(), &limits()).start();
        let (a, b) = (start(), start());
        together(&[&a, &b]);
        Self { a, b, redis, _upstream: upstream }
    }

    fn both(&self) -> [&Gateway; 2] {
        [&self.a, &self.b]
    }

    fn flow(&self) -> Flow {
        Flow::start(&[self.a.addr, self.b.addr], TARGETS, CONTROL, ms(8))
    }

    /// Whether a new client's requests to both gateways are counted together.
    fn is_shared(&self) -> bool {
        let client = somebody();
        self.both().map(|gateway| gateway.send(&get_from(&client, "/few")).remaining()) == [9, 8]
    }

    /// Until limits are shared again: how long that took.
    fn wait_until_shared(&self) -> Duration {
        let began = Instant::now();
        assert!(eventually(ms(10_000), || self.is_shared()), "{}", self.a.limits());
        let took = began.elapsed();
        assert!(eventually(SOON, || self.both().iter().all(|gateway| mode(gateway) == "redis")));
        took
    }

    fn wait_until_degraded(&self) -> Duration {
        let began = Instant::now();
        let degraded = || self.both().iter().all(|gateway| mode(gateway) == "degraded");
        assert!(eventually(SOON, degraded), "{}\n{}", self.a.limits(), self.b.limits());
        began.elapsed()
    }

    /// How often a line is in the logs of both.
    fn logged(&self, line: &str) -> usize {
        self.both().iter().map(|gateway| gateway.log().matches(line).count()).sum()
    }
}

/// The mode, if both pages tell the same.
fn mode(gateway: &Gateway) -> String {
    let (page, status) = (gateway.limits(), gateway.admin_json("/_aegis/status"));
    let both = [&page["mode"], &status["rateLimiter"]["mode"]].map(|mode| mode.as_str().unwrap());
    if both[0] == both[1] { both[0].to_owned() } else { format!("{both:?}") }
}

/// A stretch of time in which Redis was away, from when until when a gateway may have thought so.
struct Outage {
    name: &'static str,
    /// It comes and goes, so that there is no calm in it.
    flaps: bool,
    from: Duration,
    until: Duration,
    /// How often the log says so.
    losses: usize,
    degraded_after: Duration,
    shared_after: Duration,
}

/// Judges what a flow has seen of some outages, after a quiet stretch of time at its beginning.
fn judge(samples: &Samples, quiet: Duration, outages: &[Outage]) {
    let begun = samples.0[0].at;
    let free = samples.only(|sample| sample.target == "/free");
    let limited = samples.only(|sample| sample.target != "/free");
    let baseline = limited.between(begun, begun + quiet);
    println!(
        "{} requests; before: p99 {:.1?}, worst {:.1?} (exempt ones {:.1?}, {:.1?})",
        samples.0.len(),
        baseline.p99(),
        baseline.worst(),
        free.between(begun, begun + quiet).p99(),
        free.between(begun, begun + quiet).worst(),
    );
    for outage in outages {
        let (whole, later) = ((outage.from, outage.until), (outage.from + ms(1000), outage.until));
        let of = |samples: &Samples, (from, to): (Duration, Duration)| samples.between(from, to);
        println!(
            "{}: given up after {:.0?}, shared again after {:.0?}; worst {:.1?} (exempt {:.1?}); after a second p99 {:.1?} \
             (exempt {:.1?})",
            outage.name,
            outage.degraded_after,
            outage.shared_after,
            of(&limited, whole).worst(),
            of(&free, whole).worst(),
            of(&limited, later).p99(),
            of(&free, later).p99(),
        );
        let noise = of(&free, later).p99().max(baseline.p99());
        let calm = outage.flaps || of(&limited, later).p99() <= noise * 2 + ms(15);
        assert!(calm, "{}: p99 a second later", outage.name);
    }
    // Where nobody gets an answer in time, Redis does not either, and is given up though nothing is wrong with it.
    let busy = free.worst() > ms(25);
    if busy {
        println!("this machine is busy: exempt requests took up to {:?}", free.worst());
    }
    for outage in outages {
        let soon = outage.shared_after < ms(2000);
        assert!(busy || soon, "{}: shared again after {:?}", outage.name, outage.shared_after);
        assert!(
            // Twice, where Redis alone was held up.
            busy || (2..=4).contains(&outage.losses),
            "{}: given up {} times by two gateways",
            outage.name,
            outage.losses
        );
    }
    // What the machine itself does to a request can hit one twice: while it asks, and while it is forwarded.
    let bound = BOUND + free.worst().max(baseline.worst()) * 2 + ms(50);
    let slow = limited.only(|sample| sample.took > bound);
    // What holds up only these may hit the one that is under way on each of their connections.
    let few = slow.0.len() <= LIMITED_CONNECTIONS && slow.worst() <= bound + ms(1000);
    assert!(few, "requests took up to {:?}, more than {bound:?}: {:?}", slow.worst(), slow.0);
    let mut strays = 0;
    for sample in &samples.0 {
        let away = outages.iter().any(|away| sample.at < away.until && sample.at + sample.took > away.from);
        let denied = sample.status == 503 && sample.reason.as_deref() == Some("limiter_unavailable");
        let fine = sample.status == 200 || (sample.target == "/deny" && denied);
        assert!(fine, "{sample:?}, away: {away}");
        strays += usize::from(sample.status != 200 && !away && !busy);
    }
    // Redis alone may be held up, too.
    let deniable = limited.only(|sample| sample.target == "/deny").0.len();
    assert!(strays * 200 <= deniable, "{strays} of {deniable} denied while Redis was there");
    let denied = limited.only(|sample| sample.status == 503).0.len();
    assert!(denied > 0, "`deny` never denied");
}

#[test]
fn redis_that_dies_or_freezes_costs_nobody_much_and_is_shared_again_soon() {
    let mut scene = Scene::start();
    let bounds =
        |scene: &Scene| scene.both().map(|gateway| gateway.rule_page("few")["overAdmissionBound"].clone());
    assert_eq!(bounds(&scene), [0, 0]);
    let flow = scene.flow();
    let quiet = ms(1500);
    sleep(quiet); // the baseline
    let (mut outages, mut lost) = (Vec::new(), scene.logged(GIVEN_UP));
    for (name, killed) in [("killed and restarted empty", true), ("frozen and thawed", false)] {
        let from = moment();
        if killed {
            scene.redis.kill()
        } else {
            scene.redis.freeze()
        }
        let degraded_after = scene.wait_until_degraded();
        for gateway in scene.both() {
            // Half of the limit for each of two, and what the rule says.
            let client = somebody();
            let passed = |path: &str| {
                let statuses = (0..12).map(|_| gateway.send(&get_from(&client, path)).status);
                statuses.filter(|status| *status == 200).count()
            };
            assert_eq!((passed("/few"), passed("/few-allow")), (5, 12), "{name}");
            let refused = gateway.send(&get_from(&client, "/few-deny"));
            refused.assert_problem(503, "limiter_unavailable");
            assert!((1..=5).contains(&refused.number("retry-after")), "{name}");
            assert_eq!(gateway.limits()["instances"], 2, "{name}");
            assert_eq!(bounds(&scene), [10, 10], "{name}");
            assert!(gateway.limits()["error"].as_str().is_some_and(|error| !error.is_empty()), "{name}");
        }
        sleep((from + ms(2500)).saturating_sub(moment())); // the p99 of the second second
        let until_back = moment();
        if killed {
            scene.redis.restart()
        } else {
            scene.redis.thaw()
        }
        let start = moment() - until_back;
        let shared_after = scene.wait_until_shared();
        println!("{name}: the server took {start:?} to come back");
        assert_eq!(bounds(&scene), [10, 10], "what passed meanwhile Redis does not know of");
        outages.push(Outage {
            name,
            flaps: false,
            from,
            until: moment(),
            losses: 0,
            degraded_after,
            shared_after,
        });
        // A thread of its own writes the log.
        let mut given_up = 0;
        let as_often = eventually(SOON, || {
            given_up = scene.logged(GIVEN_UP);
            given_up == scene.logged(SHARED_AGAIN)
        });
        assert!(as_often, "{}", scene.a.log());
        outages.last_mut().unwrap().losses = given_up - lost;
        lost = given_up;
        sleep(ms(500)); // some quiet between the outages
    }
    judge(&flow.stop(), quiet, &outages);
}

#[test]
fn slow_and_flapping_redis_never_costs_a_request_more_than_the_bound() {
    let mut scene = Scene::start();
    let flow = scene.flow();
    let quiet = ms(1000);
    sleep(quiet); // the baseline
    let mut outages = Vec::new();
    let mut during = |name: &'static str, scene: &mut Scene, trouble: &dyn Fn(&mut Scene)| {
        let (from, lost) = (moment(), scene.logged(GIVEN_UP));
        trouble(scene);
        let shared_after = scene.wait_until_shared();
        println!("{name}: given up {} times by two gateways", scene.logged(GIVEN_UP) - lost);
        let until = moment();
        outages.push(Outage {
            name,
            flaps: true,
            from,
            until,
            losses: 2,
            degraded_after: Duration::ZERO,
            shared_after,
        });
    };
    let slow = |scene: &mut Scene, pause: &str| {
        let began = Instant::now();
        while began.elapsed() < ms(2000) {
            scene.redis.command(&["CLIENT", "PAUSE", pause, "ALL"]);
        }
    };
    during("answers within 30 ms", &mut scene, &|scene| slow(scene, "30"));
    during("answers within 200 ms", &mut scene, &|scene| slow(scene, "200"));
    during("frozen for 150 ms in every 300", &mut scene, &|scene| {
        for _ in 0..8 {
            scene.redis.freeze();
            sleep(ms(150)); // the fault itself
            scene.redis.thaw();
            sleep(ms(150));
        }
    });
    during("killed four times", &mut scene, &|scene| {
        for _ in 0..4 {
            scene.redis.kill();
            sleep(ms(200)); // the fault itself
            scene.redis.restart();
            sleep(ms(300));
        }
    });
    judge(&flow.stop(), quiet, &outages);
}

#[test]
fn where_redis_was_never_there_the_rules_decide_from_the_first_request_on() {
    let (upstream, mut redis) = (Upstream::ok("ok"), Redis::start());
    redis.kill();
    let gateway = shared(&upstream, &redis.url(), &limits()).start();
    let client = somebody();
    let ask = |path: &str| gateway.send(&get_from(&client, path)).status;
    assert_eq!([ask("/local"), ask("/allow"), ask("/deny")], [200, 200, 503]);
    assert!(eventually(SOON, || mode(&gateway) == "degraded"));
    let passed = (0..20).filter(|_| ask("/few") == 200).count();
    assert_eq!(passed, 10, "alone, its share is the whole");
    redis.restart();
    let fresh = || gateway.send(&get_from(&somebody(), "/few")).remaining() == 9;
    assert!(eventually(2 * SOON, || mode(&gateway) == "redis" && fresh()));
    assert!(redis.command(&["KEYS", "*few*"]).contains("few"));
}

#[test]
#[cfg(feature = "test-hooks")]
fn the_limiter_dies_under_load_and_nobody_notices() {
    use crate::harness::Load;
    let mut scene = Scene::start();
    scene.a.expect_panics();
    let load = Load::start(scene.a.addr, 4, ms(2), "/local");
    let restarts = |gateway: &Gateway| {
        let status = gateway.admin_json("/_aegis/status");
        let actors = status["actors"].as_array().unwrap().clone();
        let limiter = actors.iter().find(|actor| actor["name"] == "rate_limiter").unwrap().clone();
        (limiter["restarts"].as_u64().unwrap(), limiter["alive"] == true)
    };
    for round in 1..=4 {
        together(&scene.both());
        let errors = || scene.both().iter().map(|gateway| gateway.decisions("few").error).sum::<u64>();
        let (client, before) = (&*somebody(), errors());
        load.wait_for(10);
        // Requests on their way while the actor dies.
        let passed = std::thread::scope(|scope| {
            let clients = scene.both().map(|gateway| [gateway.client(), gateway.client()]);
            let asking: Vec<_> = clients
                .into_iter()
                .flatten()
                .map(|mut gateway| {
                    scope.spawn(move || {
                        let call = get_from(client, "/few");
                        (0..40).filter(|_| gateway.send(&call).status == 200).count()
                    })
                })
                .collect();
            assert!(scene.a.admin_post("/_aegis/test/panic/rate_limiter", "").status < 300);
            asking.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        // What was granted to the dying actor is lost, never more than there were requests on their way. On a busy machine
        // the next one may come too late for some; then `onError` decides.
        let most = if errors() == before { 10 } else { 20 };
        assert!((5..=most).contains(&passed), "round {round}: {passed} of {most}");
        assert!(eventually(SOON, || restarts(&scene.a).0 >= round && restarts(&scene.a).1), "round {round}");
    }
    load.stop_flawless();
    assert_eq!(scene.a.limits()["instances"], 2, "an actor that is replaced is no other instance");
}
