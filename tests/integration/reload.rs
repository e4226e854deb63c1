//! Reloads: applied whole or not at all, without a failed request (sections 2 and 3; A8).

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{
    Authority, Backend, Builder, Call, Client, Folder, Gateway, Load, SOON, Upstream, eventually, holds_for,
};

/// A configuration whose route `/generation/N` tells which one is live.
fn generation(upstream: &Upstream, n: usize) -> Builder {
    Gateway::builder()
        .backend(Backend::named("main").to(upstream).route("/steady").route(&format!("/generation/{n}")))
}

fn live(gateway: &Gateway, n: usize) -> bool {
    gateway.get(&format!("/generation/{n}")).status == 200
}

#[test]
fn reloads_under_load_fail_no_request() {
    let (count, span) = match std::env::var_os("AEGIS_TEST_BIG") {
        Some(_) => (100, Duration::from_secs(60)),
        None => (20, Duration::from_secs(4)),
    };
    let upstream = Upstream::ok("ok");
    let gateway = generation(&upstream, 0).start();
    let load = Load::start(gateway.addr, 8, Duration::from_millis(4), "/steady");
    let started = Instant::now();
    for n in 1..=count {
        let other = Backend::named(&format!("other{}", n % 3)).to(&upstream).route("/other");
        gateway.rewrite(&generation(&upstream, n).backend(other));
        let response = gateway.admin_post("/_aegis/reload", "");
        assert_eq!(response.status, 200, "reload {n}: {}", response.text());
        assert!(live(&gateway, n) && !live(&gateway, n - 1), "reload {n} is applied when it is answered");
        // Spread over the span; the traffic goes on meanwhile.
        std::thread::sleep((span / count as u32 * n as u32).saturating_sub(started.elapsed()));
    }
    let done = load.stop_flawless();
    assert!(done > 100, "only {done} requests");
    let status = gateway.admin_json("/_aegis/status");
    assert_eq!(status["config"]["generation"], count + 1, "{status}");
}

#[test]
fn a_reload_says_what_it_kept_added_removed_and_changed() {
    let upstream = Upstream::ok("ok");
    let backend = |name: &str| Backend::named(name).to(&upstream).route(&format!("/{name}"));
    let base = Gateway::builder();
    let gateway =
        base.clone().backend(backend("kept")).backend(backend("gone")).backend(backend("edited")).start();
    let edited = backend("edited").with("timeout: 5s");
    gateway.rewrite(&base.backend(backend("kept")).backend(edited).backend(backend("new")));
    let response = gateway.admin_post("/_aegis/reload", "");
    assert_eq!(response.status, 200);
    let said = response.json();
    for (what, names) in [("kept", "kept"), ("added", "new"), ("removed", "gone"), ("changed", "edited")] {
        assert_eq!(said[what], serde_json::json!([names]), "{said}");
    }
    assert_eq!(gateway.get("/new").status, 200);
    gateway.get("/gone").assert_problem(404, "no_route");
}

#[test]
fn a_broken_file_leaves_the_running_configuration_and_says_what_is_wrong_and_where() {
    let upstream = Upstream::ok("ok");
    let gateway = generation(&upstream, 0).start();
    let good = generation(&upstream, 1).yaml();
    let broken = [
        ("an unknown key", good.replace("    routes:", "    timeuot: 5s\n    routes:"), "timeuot"),
        ("a bad value", good.replace("workers: 2", "workers: many"), "workers"),
        ("not YAML", format!("{good}\n  : ["), "aegis.yaml"),
        (
            "two of a name",
            format!("{good}{}", Backend::named("main").to(&upstream).route("/y").yaml()),
            "main",
        ),
        ("no file", String::new(), ""),
    ];
    for (name, yaml, mention) in broken {
        match name {
            "no file" => fs::remove_file(gateway.file("aegis.yaml")).unwrap(),
            _ => gateway.rewrite_text(&yaml),
        }
        let response = gateway.admin_post("/_aegis/reload", "");
        assert_eq!(response.status, 422, "{name}: {}", response.text());
        assert!(response.text().contains(mention), "{name}: {}", response.text());
        let line =
            yaml.lines().position(|line| line.contains("timeuot")).map(|index| format!(":{}:", index + 1));
        assert!(line.is_none_or(|line| response.text().contains(&line)), "{name}: {}", response.text());
        assert!(live(&gateway, 0) && !live(&gateway, 1), "{name}");
        let status = gateway.admin_json("/_aegis/status");
        assert_eq!(status["config"]["generation"], 1, "{name}");
        assert!(status["lastReload"]["errors"].as_array().is_some_and(|e| !e.is_empty()), "{name}: {status}");
    }
    gateway.rewrite_text(&good);
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    assert!(live(&gateway, 1));
    let errors = gateway.admin_json("/_aegis/status")["lastReload"]["errors"].clone();
    assert_eq!(errors, serde_json::json!([]));
}

#[test]
fn sighup_reloads_and_survives_a_broken_file() {
    let upstream = Upstream::ok("ok");
    let gateway = generation(&upstream, 0).start();
    gateway.rewrite(&generation(&upstream, 1));
    gateway.signal("HUP");
    assert!(eventually(SOON, || live(&gateway, 1)));
    gateway.rewrite_text("backends: 7\n");
    gateway.signal("HUP");
    let told = || gateway.admin_json("/_aegis/status")["lastReload"]["errors"] != serde_json::json!([]);
    assert!(eventually(SOON, told));
    assert!(live(&gateway, 1));
}

#[test]
fn the_file_is_watched_when_hot_reload_is_on() {
    let upstream = Upstream::ok("ok");
    let watched = |n| generation(&upstream, n).top("hotReload: true");
    let gateway = watched(0).start();
    gateway.rewrite(&watched(1));
    assert!(eventually(SOON, || live(&gateway, 1)), "replaced by a rename");
    fs::write(gateway.file("aegis.yaml"), watched(2).yaml()).unwrap();
    assert!(eventually(SOON, || live(&gateway, 2)), "written in place");
    gateway.rewrite(&watched(3));
    assert!(eventually(SOON, || live(&gateway, 3)), "replaced again");
}

#[test]
fn the_file_is_left_alone_when_hot_reload_is_off() {
    let upstream = Upstream::ok("ok");
    let gateway = generation(&upstream, 0).start();
    gateway.rewrite(&generation(&upstream, 1));
    assert!(holds_for(Duration::from_millis(700), || live(&gateway, 0)));
}

#[test]
fn what_a_reload_does_not_change_keeps_its_breaker_its_drain_and_its_connections() {
    let (ill, well) = (Upstream::status(500), Upstream::ok("ok"));
    let breaker = "circuitBreaker: {minRequests: 2}";
    let tripped = Backend::named("tripped").to(&ill).route("/tripped").with("retries: 0").with(breaker);
    let drained = Backend::named("drained").to(&well).route("/drained");
    let busy = Backend::named("busy").to(&well).route("/busy");
    let base = Gateway::builder().server("workers: 1").backend(tripped).backend(drained).backend(busy);
    let gateway = base.clone().start();
    assert!(eventually(SOON, || gateway.get("/tripped").reason() == Some("circuit_open")));
    gateway.hold_open("tripped");
    let opened = gateway.opened("tripped");
    assert_eq!(gateway.admin_post("/_aegis/backends/drained/targets/0/drain", "").status, 200);
    assert_eq!(gateway.get("/busy").status, 200);
    let (tries, connections) = (ill.count(), well.connections());

    gateway.rewrite(&base.backend(Backend::named("new").to(&well).route("/new")));
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    assert_eq!(gateway.get("/busy").status, 200);
    assert_eq!(well.connections(), connections, "the pooled connection is used again");
    for _ in 0..10 {
        gateway.get("/tripped").assert_problem(503, "circuit_open");
        gateway.get("/drained").assert_problem(503, "no_healthy_target");
    }
    assert_eq!((ill.count(), gateway.opened("tripped")), (tries, opened));
    assert_eq!(gateway.get("/new").status, 200);
}

#[test]
fn a_target_whose_connections_are_made_otherwise_is_still_drained_and_held() {
    let (ill, well) = (Upstream::status(500), Upstream::ok("ok"));
    let breaker = "circuitBreaker: {minRequests: 2}";
    let configured = |timeout: u32| {
        let timeout = format!("connectTimeoutMs: {timeout}");
        let tripped = Backend::named("tripped").to(&ill).route("/tripped").with("retries: 0").with(breaker);
        let drained = Backend::named("drained").to(&well).route("/drained");
        let busy = Backend::named("busy").to(&well).route("/busy");
        [tripped, drained, busy]
            .into_iter()
            .fold(Gateway::builder().server("workers: 1"), |all, one| all.backend(one.with(&timeout)))
    };
    let gateway = configured(1000).start();
    assert!(eventually(SOON, || gateway.get("/tripped").reason() == Some("circuit_open")));
    gateway.hold_open("tripped");
    let opened = gateway.opened("tripped");
    assert_eq!(gateway.admin_post("/_aegis/backends/drained/targets/0/drain", "").status, 200);
    assert_eq!(gateway.get("/busy").status, 200);
    let (tries, connections) = (ill.count(), well.connections());
    gateway.rewrite(&configured(1500));
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    gateway.get("/tripped").assert_problem(503, "circuit_open");
    gateway.get("/drained").assert_problem(503, "no_healthy_target");
    assert_eq!((gateway.get("/busy").status, ill.count()), (200, tries));
    assert_eq!(gateway.opened("tripped"), opened);
    assert_eq!(well.connections(), connections + 1, "and its connections are new ones");
}

#[test]
fn what_needs_a_restart_is_said_until_it_is_done_and_is_not_shown_as_running() {
    let upstream = Upstream::ok("ok");
    let gateway = generation(&upstream, 0).start();
    let port = gateway.admin_json("/_aegis/config")["server"]["port"].clone();
    let changed = |n| generation(&upstream, n).server("maxConnections: 77").server("keepAliveMs: 5000");
    for n in [1, 2] {
        gateway.rewrite(&changed(n));
        let said = gateway.admin_post("/_aegis/reload", "").json();
        assert_eq!(said["needsRestart"], json!(["server.maxConnections"]), "{said}");
        let config = gateway.admin_json("/_aegis/config");
        let server = &config["server"];
        assert_eq!((&server["maxConnections"], &server["keepAliveMs"]), (&json!(25_000), &json!(5_000)));
        assert_eq!(server["port"], port);
        let status = gateway.admin_json("/_aegis/status");
        assert_eq!(status["config"]["pendingRestart"], json!(["server.maxConnections"]));
    }
    gateway.rewrite(&generation(&upstream, 3));
    assert_eq!(gateway.admin_post("/_aegis/reload", "").json()["needsRestart"], json!([]));
}

#[test]
fn a_file_that_says_nothing_any_more_or_names_no_backends_is_not_applied() {
    let upstream = Upstream::ok("ok");
    let watched = |n| generation(&upstream, n).top("hotReload: true");
    let gateway = watched(0).start();
    let errors = || gateway.admin_json("/_aegis/status")["lastReload"].to_string();
    let whole = watched(1).yaml();
    let half = &whole[..whole.find("  - name").unwrap()];
    let shorter = half.strip_suffix("backends:\n").unwrap();
    for (text, said) in [
        ("", "nothing is configured"),
        ("\n\n", "nothing is configured"),
        ("# soon\n", "nothing is configured"),
        (half, "every backend is gone"),
        (shorter, "every backend is gone"),
    ] {
        fs::write(gateway.file("aegis.yaml"), text).unwrap();
        assert!(eventually(SOON, || errors().contains(said)), "{text:?}: {}", errors());
        assert!(errors().contains("`backends: []`") && live(&gateway, 0));
        gateway.rewrite(&watched(0));
        assert!(eventually(SOON, || errors().contains("\"ok\":true")), "{}", errors());
    }
    gateway.rewrite_text("backends: []\n");
    assert!(eventually(SOON, || !live(&gateway, 0)), "said in so many words");
    let applied = || gateway.admin_json("/_aegis/status")["config"]["generation"].as_u64();
    let before = applied();
    gateway.rewrite_text("backends:\n");
    assert!(eventually(SOON, || applied() > before), "there was none to lose: {}", errors());
}

/// How long a change may take of which the system tells nothing: two looks, two seconds apart.
const LOOKED_AT: Duration = Duration::from_secs(15);

#[test]
fn a_file_that_is_being_written_is_applied_once_it_is_closed() {
    let upstream = Upstream::ok("ok");
    let main = |n: usize| Backend::named(&format!("b{n}")).to(&upstream).route(&format!("/b{n}"));
    let two = || Gateway::builder().top("hotReload: true").backend(main(0)).backend(main(1));
    let gateway = two().start();
    let (yaml, three) = (two().yaml(), two().backend(main(2)).yaml());
    let half = &yaml[..yaml.find("  - name: b1").unwrap()];
    let mut file = fs::File::create(gateway.file("aegis.yaml")).unwrap();
    file.write_all(half.as_bytes()).unwrap();
    // Through the look after a touch, and through two of those that need none.
    assert!(
        holds_for(Duration::from_millis(4500), || gateway.get("/b1").status == 200),
        "half a list is a list: {}",
        gateway.log()
    );
    file.write_all(&three.as_bytes()[half.len()..]).unwrap();
    drop(file);
    assert!(eventually(SOON, || gateway.get("/b2").status == 200), "{}", gateway.log());
    assert_eq!(gateway.admin_json("/_aegis/status")["config"]["generation"], 2, "one change, one reload");
}

#[test]
fn what_a_link_points_to_is_looked_at_where_it_is() {
    let upstream = Upstream::ok("ok");
    let watched = |n| generation(&upstream, n).top("hotReload: true");
    let gateway = watched(0).start();
    let elsewhere = Folder::new();
    let real = elsewhere.path().join("real.yaml");
    fs::write(&real, watched(1).yaml()).unwrap();
    std::os::unix::fs::symlink(&real, gateway.file("link")).unwrap();
    fs::rename(gateway.file("link"), gateway.file("aegis.yaml")).unwrap();
    assert!(eventually(SOON, || live(&gateway, 1)), "the link has come");
    fs::write(&real, watched(2).yaml()).unwrap();
    assert!(eventually(LOOKED_AT, || live(&gateway, 2)), "its target has changed: {}", gateway.log());
}

#[test]
fn a_folder_that_is_removed_and_made_again_is_watched_again() {
    let upstream = Upstream::ok("ok");
    let folder = Folder::new();
    let certificates = folder.path().join("certificates");
    let bundle = certificates.join("ca.pem");
    let renew = || {
        let _ = fs::remove_dir_all(&certificates);
        fs::create_dir(&certificates).unwrap();
        Authority::new().write_pem(&bundle);
    };
    renew();
    let secure = Backend::named("secure").target("url: \"https://127.0.0.1:1\"").route("/secure");
    let secure = secure.with(&format!("tls: {{caFile: {}}}", bundle.display()));
    let gateway = generation(&upstream, 0).top("hotReload: true").backend(secure).start();
    let applied = || gateway.admin_json("/_aegis/status")["config"]["generation"].as_u64().unwrap();
    for _ in 0..2 {
        let before = applied();
        renew();
        assert!(eventually(LOOKED_AT, || applied() > before), "{}", gateway.log());
    }
}

#[test]
fn requests_in_flight_finish_under_the_configuration_that_they_began_with() {
    let gate = crate::harness::Gate::new();
    let theirs = gate.clone();
    let slow = Upstream::start(move |exchange| {
        theirs.wait();
        exchange.ok("finished")
    });
    let other = Upstream::ok("other");
    let gateway = Gateway::with(Backend::all(&slow));
    let mut client = gateway.client();
    client.start(&Call::get("/x"));
    assert!(eventually(SOON, || slow.count() == 1));
    gateway.rewrite(&Gateway::builder().backend(Backend::all(&other)));
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    assert_eq!(gateway.get("/x").text(), "other");
    gate.open();
    assert_eq!(client.read("GET").unwrap().text(), "finished");
}

#[test]
fn the_header_timeout_applies_to_the_next_connection() {
    let upstream = Upstream::ok("ok");
    let base = generation(&upstream, 0);
    let gateway = base.clone().server("headerTimeoutMs: 60000").start();
    gateway.rewrite(&base.server("headerTimeoutMs: 300"));
    let said = gateway.admin_post("/_aegis/reload", "").json();
    assert_eq!((&said["applied"], &said["needsRestart"]), (&json!(["server.headerTimeoutMs"]), &json!([])));
    let mut client = gateway.client();
    client.write("GET / HTT");
    client.read("GET").unwrap().assert_problem(408, "header_timeout");
}

#[test]
fn turning_hot_reload_on_takes_effect_and_turning_it_off_too() {
    let upstream = Upstream::ok("ok");
    let version = |n, on: bool| generation(&upstream, n).top(&format!("hotReload: {on}"));
    let gateway = version(0, false).start();
    gateway.rewrite(&version(1, true));
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    gateway.rewrite(&version(2, false));
    assert!(eventually(SOON, || live(&gateway, 2)), "it is watched now");
    gateway.rewrite(&version(3, true));
    assert!(holds_for(Duration::from_millis(700), || live(&gateway, 2)), "and now it is not");
}

#[test]
fn a_file_that_a_reload_brought_in_is_watched_as_well() {
    let upstream = Upstream::ok("ok");
    let folder = Folder::new();
    let bundle = folder.path().join("ca.pem");
    Authority::new().write_pem(&bundle);
    let secure = Backend::named("secure").target("url: \"https://127.0.0.1:1\"").route("/secure");
    let secure = secure.with(&format!("tls: {{caFile: {}}}", bundle.display()));
    let base = generation(&upstream, 0).top("hotReload: true");
    let gateway = base.clone().start();
    let applied = || gateway.admin_json("/_aegis/status")["config"]["generation"].clone();
    gateway.rewrite(&base.backend(secure));
    assert!(eventually(SOON, || applied() == 2));
    assert!(holds_for(Duration::from_millis(400), || applied() == 2), "one change, one reload");
    Authority::new().write_pem(&bundle);
    assert!(eventually(SOON, || applied() == 3), "the bundle lies in another folder than the configuration");
}

#[test]
fn a_secret_in_a_file_of_its_own_is_read_again_when_it_changes() {
    let upstream = Upstream::ok("ok");
    let folder = Folder::new();
    let secret = folder.path().join("admin");
    fs::write(&secret, "first\n").unwrap();
    let token = format!("token: ${{file:{}}}", secret.display());
    let gateway = generation(&upstream, 0).top("hotReload: true").admin(&token).start();
    let ask = |token: &str| {
        let call = Call::get("/_aegis/config").header("Authorization", &format!("Bearer {token}"));
        Client::connect(gateway.admin).send(&call)
    };
    assert_eq!((ask("first").status, ask("second").status), (200, 401));
    fs::write(&secret, "second\n").unwrap();
    assert!(eventually(SOON, || ask("second").status == 200), "{}", gateway.log());
    assert_eq!(ask("first").status, 401);
    let (log, config) = (gateway.log(), ask("second").text());
    assert!(!log.contains("second\"") && log.contains("admin.token"), "{log}");
    assert!(config.contains("[redacted]") && !config.contains("second\""), "{config}");
}
