//! Start, drain and stop; exit codes (section 1; A9).

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{
    Backend, Builder, Call, Client, Folder, Gate, Gateway, SOON, Then, Upstream, eventually, holds_for, run,
    run_fed, run_unheard, run_with,
};

/// Time enough for what these tests do between the signal and the end.
const PATIENT: &str = "shutdownTimeoutMs: 3000";

/// An upstream that holds `/slow` until the gate opens.
fn holding() -> (Upstream, Gate, Builder) {
    let gate = Gate::new();
    let theirs = gate.clone();
    let upstream = Upstream::start(move |exchange| {
        if exchange.target().starts_with("/slow") {
            theirs.wait();
        }
        if exchange.target() == "/half" {
            return exchange.answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", Then::Keep);
        }
        exchange.ok("finished")
    });
    let builder = Gateway::builder().server(PATIENT).backend(Backend::all(&upstream).with("retries: 0"));
    (upstream, gate, builder)
}

fn draining(gateway: &Gateway) -> bool {
    eventually(SOON, || Client::connect(gateway.admin).get("/ready").status == 503)
}

#[test]
fn sigterm_answers_every_request_in_flight_and_then_ends_with_0() {
    for signal in ["TERM", "INT"] {
        let (upstream, gate, builder) = holding();
        let mut gateway = builder.start();
        let mut clients: Vec<_> = (0..20).map(|_| gateway.client()).collect();
        clients.iter_mut().for_each(|client| client.start(&Call::get("/slow")));
        assert!(eventually(SOON, || upstream.count() == 20));
        gateway.signal(signal);
        assert!(draining(&gateway), "/ready turns 503");
        assert!(
            holds_for(Duration::from_millis(300), || gateway.exit(Duration::ZERO).is_none()),
            "it waits for them"
        );
        gate.open();
        for client in &mut clients {
            let response = client.read("GET").expect("an accepted request is answered");
            assert_eq!((response.status, response.text().as_str()), (200, "finished"));
            assert!(
                response.head.lists("connection", "close"),
                "keep-alive is told to end: {:?}",
                response.head
            );
            assert!(client.ends());
        }
        assert_eq!(gateway.exit(SOON).expect("it stops").code(), Some(0), "SIG{signal}");
    }
}

#[test]
fn sigterm_under_load_loses_no_request_that_was_taken() {
    let upstream = Upstream::start(|exchange| {
        thread::sleep(Duration::from_millis(20)); // work that takes a while
        exchange.ok("done")
    });
    let backend = Backend::all(&upstream).with("retries: 0");
    let mut gateway = Gateway::builder().server(PATIENT).backend(backend).start();
    let (answered, wrong, addr) = (AtomicUsize::new(0), AtomicUsize::new(0), gateway.addr);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                // Until the listener is gone. A connection that never got through is not an accepted request.
                while let Ok(mut client) = Client::try_connect(addr) {
                    match client.try_send(&Call::get("/x")) {
                        Ok(response) if response.text() == "done" => drop(answered.fetch_add(1, Relaxed)),
                        Err(crate::harness::Broken::Closed) => {}
                        _ => drop(wrong.fetch_add(1, Relaxed)),
                    }
                }
            });
        }
        assert!(eventually(SOON, || answered.load(Relaxed) > 50));
        gateway.signal("TERM");
        assert_eq!(gateway.exit(SOON).expect("it stops").code(), Some(0));
    });
    assert_eq!(wrong.load(Relaxed), 0);
    assert_eq!(answered.load(Relaxed), upstream.count(), "what the upstream answered, the clients have");
}

#[test]
fn a_successor_takes_the_port_while_a_slow_request_is_still_being_answered() {
    let (upstream, gate, builder) = holding();
    let mut gateway =
        builder.server("shutdownTimeoutMs: 20000").server("drainPeriodMs: 300").server("workers: 1").start();
    let mut slow = gateway.client();
    slow.start(&Call::get("/slow"));
    assert!(eventually(SOON, || upstream.count() == 1));
    gateway.signal("TERM");
    // Until the listener is gone, whoever gets through is served.
    let (mut served, asked) = (0, Instant::now());
    while let Ok(mut client) = Client::try_connect(gateway.addr) {
        match client.try_send(&Call::get(&format!("/fast/{served}"))) {
            Ok(response) => assert_eq!(response.text(), "finished"),
            Err(crate::harness::Broken::Closed) => break,
            Err(broken) => panic!("{broken:?}"),
        }
        served += 1;
    }
    assert!(asked.elapsed() >= Duration::from_millis(250) && served > 0, "{served} in {:?}", asked.elapsed());
    let mut successor = None;
    let bound = || {
        // With the same configuration it wants the admin listener's port, too.
        successor =
            TcpListener::bind(gateway.addr).and_then(|own| Ok((own, TcpListener::bind(gateway.admin)?))).ok();
        successor.is_some()
    };
    assert!(eventually(SOON, bound), "the ports are free");
    assert!(gateway.exit(Duration::ZERO).is_none(), "and the slow request is still there");
    gate.open();
    assert_eq!(slow.read("GET").expect("it is answered").text(), "finished");
    assert_eq!(gateway.exit(SOON).expect("it stops").code(), Some(0));
    let log = gateway.log();
    assert_eq!(log.matches("\"path\":\"/fast/").count(), served, "every one is in the log: {log}");
}

#[test]
fn who_waits_in_the_queue_of_a_full_gateway_when_the_listener_closes_is_served_and_logged() {
    let (upstream, gate, builder) = holding();
    let builder = builder.server("shutdownTimeoutMs: 20000").server("drainPeriodMs: 100");
    let mut gateway = builder.server("workers: 1").server("maxConnections: 1").start();
    let mut slow = gateway.client();
    slow.start(&Call::get("/slow"));
    assert!(eventually(SOON, || upstream.count() == 1), "the only place is taken");
    let mut queued = gateway.client();
    queued.start(&Call::get("/queued"));
    gateway.signal("TERM");
    let response = queued.read("GET").expect("it is answered though no worker has taken it");
    assert_eq!((response.status, response.text().as_str()), (200, "finished"));
    assert!(response.head.lists("connection", "close"), "{:?}", response.head);
    let logged = || gateway.log().contains("\"path\":\"/queued\"");
    assert!(eventually(SOON, logged), "while the slow one is still under way");
    gate.open();
    assert_eq!(slow.read("GET").expect("it is answered").text(), "finished");
    assert_eq!(gateway.exit(SOON).expect("it stops").code(), Some(0));
}

#[test]
fn the_drain_period_leaves_most_of_a_short_stop_to_the_requests_unless_it_is_written() {
    let (_upstream, _gate, builder) = holding();
    let folder = Folder::new();
    let said = |lines: &[&str]| {
        let yaml = lines.iter().fold(builder.clone(), |builder, line| builder.server(line)).yaml();
        std::fs::write(folder.path().join("aegis.yaml"), yaml).unwrap();
        let output = run(folder.path(), &["check", "-c", "aegis.yaml"]);
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(!said(&["shutdownTimeoutMs: 500"]).contains("drainPeriodMs"));
    assert!(!said(&["shutdownTimeoutMs: 500", "drainPeriodMs: 499"]).contains("drainPeriodMs"));
    let warned = said(&["shutdownTimeoutMs: 500", "drainPeriodMs: 500"]);
    assert!(warned.contains("warning") && warned.contains("leaves nothing"), "{warned}");
    let gateway = builder.server("shutdownTimeoutMs: 500").start();
    assert_eq!(gateway.admin_json("/_aegis/config")["server"]["drainPeriodMs"], 125);
}

#[test]
fn idle_keep_alive_connections_do_not_hold_the_stop_up() {
    let (_upstream, _gate, builder) = holding();
    let mut gateway = builder.server("shutdownTimeoutMs: 20000").start();
    let mut client = gateway.client();
    assert_eq!(client.get("/x").text(), "finished");
    gateway.signal("TERM");
    assert_eq!(gateway.exit(SOON).expect("it stops").code(), Some(0));
    assert!(client.ends());
}

#[test]
fn a_request_that_never_ends_is_cut_after_the_shutdown_timeout() {
    let (upstream, _gate, builder) = holding();
    let mut gateway = builder.server("shutdownTimeoutMs: 500").start();
    let mut client = gateway.client();
    client.start(&Call::get("/slow"));
    assert!(eventually(SOON, || upstream.count() == 1));
    let asked = Instant::now();
    gateway.signal("TERM");
    assert!(gateway.exit(SOON).expect("it stops").code().is_some(), "by itself, not by a signal");
    assert!(asked.elapsed() >= Duration::from_millis(450), "it had its time: {:?}", asked.elapsed());
}

#[test]
fn what_a_stop_cuts_off_is_said_to_be_cut_off_and_not_left_by_its_client() {
    for ordered in [false, true] {
        let (upstream, _gate, builder) = holding();
        let folder = Folder::new();
        let store = format!("metrics: {{store: \"sqlite://{}\"}}", folder.path().join("m.db").display());
        let builder = builder.top(&store).server(if ordered {
            "shutdownTimeoutMs: 30000"
        } else {
            "shutdownTimeoutMs: 500"
        });
        let mut gateway = builder.clone().start();
        let (mut slow, mut half) = (gateway.client(), gateway.client());
        slow.start(&Call::get("/slow"));
        half.start(&Call::get("/half"));
        assert_eq!(half.read_head("GET").unwrap().status, 200);
        assert!(eventually(SOON, || upstream.count() == 2));
        gateway.signal("TERM");
        if ordered {
            assert!(draining(&gateway));
            gateway.signal("TERM");
        }
        assert!(gateway.exit(SOON).expect("it stops").code().is_some());
        let log = gateway.log();
        let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let line =
            |path: &str| lines.iter().find(|line| line["path"] == path).unwrap_or_else(|| panic!("{log}"));
        let again = builder.start();
        for (path, status) in [("/slow", 503), ("/half", 200)] {
            let line = line(path);
            assert_eq!((&line["status"], &line["reason"]), (&status.into(), &"draining".into()), "{line}");
            let id = line["requestId"].as_str().unwrap();
            let kept = again.admin_json(&format!("/api/requests/{id}"))["data"].clone();
            assert_eq!((&kept["status"], &kept["reason"]), (&status.into(), &"draining".into()), "{kept}");
            assert!(
                kept["details"]["why"].as_str().is_some_and(|why| why.contains("shutdownTimeoutMs")),
                "{kept}"
            );
            let output = run(
                again.file(".").as_path(),
                &["why", id, "--set", &format!("admin.port={}", again.admin.port())],
            );
            let said = String::from_utf8(output.stdout).unwrap();
            assert!(said.contains("cut it off") && !said.contains("left before"), "{said}");
        }
        assert!(!log.contains("client_gone"), "{log}");
        assert_eq!(again.admin_json("/api/requests?reason=draining")["data"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    let (upstream, _gate, builder) = holding();
    let mut gateway = builder.server("shutdownTimeoutMs: 30000").start();
    let mut client = gateway.client();
    client.start(&Call::get("/slow"));
    assert!(eventually(SOON, || upstream.count() == 1));
    gateway.signal("TERM");
    assert!(draining(&gateway));
    gateway.signal("TERM");
    assert!(gateway.exit(Duration::from_secs(2)).expect("it stops now").code().is_some());
}

#[test]
fn a_port_in_use_is_said_plainly() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (_upstream, _gate, builder) = holding();
    for builder in [builder.clone().server(&format!("port: {port}")), builder.admin(&format!("port: {port}"))]
    {
        let (code, log) = builder.start_and_fail();
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains(&port.to_string()) && log.to_lowercase().contains("in use"), "{log}");
        assert!(!log.contains("panicked"), "{log}");
    }
}

#[test]
fn a_bad_configuration_at_the_start_prints_every_problem_and_ends_with_1() {
    let (_upstream, _gate, builder) = holding();
    let (code, log) = builder.server("prot: 1").top("hotReload: perhaps").top("nonsense: 1").start_and_fail();
    assert_eq!(code, Some(1), "{log}");
    for problem in ["prot", "hotReload", "nonsense", "aegis.yaml:", "did you mean"] {
        assert!(log.contains(problem), "{problem} is missing in {log}");
    }
}

#[test]
fn an_admin_listener_for_everybody_needs_a_token() {
    let (_upstream, _gate, builder) = holding();
    let (code, log) = builder.clone().admin("host: 0.0.0.0").start_and_fail();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("token"), "{log}");
}

#[test]
fn the_command_line_ends_with_0_1_or_2() {
    let folder = Folder::new();
    let (_upstream, _gate, builder) = holding();
    std::fs::write(folder.path().join("good.yaml"), builder.yaml()).unwrap();
    std::fs::write(folder.path().join("bad.yaml"), builder.top("unknownKey: 1").yaml()).unwrap();
    for (arguments, code) in [
        (vec!["--version"], 0),
        (vec!["--help"], 0),
        (vec!["check", "-c", "good.yaml"], 0),
        (vec!["check", "-c", "bad.yaml"], 1),
        (vec!["check", "-c", "missing.yaml"], 1),
        (vec!["routes", "-c", "good.yaml"], 0),
        (vec!["serve", "-c", "missing.yaml"], 1),
        (vec!["migrate", "--store", "sqlite://data/x.db", "--status"], 0),
        (vec!["migrate", "--store", "sqlite://data/x.db"], 0),
        (vec!["migrate", "-c", "good.yaml", "--set", "metrics.store=sqlite://data/x.db", "--revert"], 0),
        (vec!["migrate", "-c", "good.yaml", "--set", "metrics.store=none"], 1),
        (vec!["migrate", "-c", "bad.yaml"], 1),
        (vec!["migrate", "--store", "postgres://u:hunter2@127.0.0.1:1/d"], 1),
        (vec!["migrate", "--store", "mysql://u:hunter2@h/d"], 2),
        (vec!["migrate", "--status", "--revert"], 2),
        (vec!["--no-such-option"], 2),
        (vec!["no-such-command"], 2),
    ] {
        let output = run(folder.path(), &arguments);
        let said =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("hunter2"), "{arguments:?}: {said}");
    }
    let output = run(folder.path(), &["migrate", "--store", "sqlite://data/x.db", "--status"]);
    assert!(
        String::from_utf8_lossy(&output.stdout).ends_with("sqlite://data/x.db: 1 migration pending\n"),
        "{output:?}"
    );
    let output = run(folder.path(), &["check", "-c", "bad.yaml"]);
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("bad.yaml:") && said.contains("error:") && said.contains("unknownKey"), "{said}");
}

#[test]
fn the_file_that_tells_the_ports_goes_with_the_process_and_another_ones_does_not() {
    let (_upstream, _gate, builder) = holding();
    let mut gateway = builder.clone().start();
    let file = gateway.file("ports.json");
    assert!(file.exists());
    gateway.signal("TERM");
    assert_eq!(gateway.exit(SOON).expect("it stops").code(), Some(0));
    assert!(!file.exists());
    let mut gateway = builder.start();
    let file = gateway.file("ports.json");
    std::fs::write(&file, "a successor's").unwrap();
    gateway.signal("TERM");
    assert_eq!(gateway.exit(SOON).expect("it stops").code(), Some(0));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a successor's");
}

#[test]
fn the_help_tells_what_surrounds_a_command() {
    let folder = Folder::new();
    for arguments in [&["--help"][..], &["serve", "--help"], &["-h"]] {
        let text = String::from_utf8_lossy(&run(folder.path(), arguments).stdout).into_owned();
        for part in ["AEGIS__SERVER__PORT", "${NAME}", "AEGIS_PORT_FILE", "SIGTERM", "SIGHUP", "Exit codes"] {
            assert!(text.contains(part), "{arguments:?} does not tell of {part}: {text}");
        }
    }
}

#[test]
fn a_configuration_comes_from_standard_input_too() {
    let folder = Folder::new();
    let (_upstream, _gate, builder) = holding();
    let said = |arguments: &[&str], text: &str| {
        let output = run_fed(folder.path(), arguments, text);
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, text) = said(&["check", "-c", "-"], &builder.yaml());
    assert_eq!((code, text.as_str()), (Some(0), "standard input: ok: 1 backend, 1 route\n"));
    let (code, text) = said(&["routes", "-c", "-", "--json"], &builder.yaml());
    assert!(code == Some(0) && text.contains("/**"), "{text}");
    for command in ["check", "serve"] {
        let (code, text) = said(&[command, "-c", "-"], "backends: []\nprot: 1\n");
        assert!(code == Some(1) && text.contains("standard input:2:1: error: unknown key `prot`"), "{text}");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_panic() {
    let folder = Folder::new();
    let (_upstream, _gate, builder) = holding();
    std::fs::write(folder.path().join("good.yaml"), builder.yaml()).unwrap();
    std::fs::write(folder.path().join("bad.yaml"), builder.top("unknownKey: 1").yaml()).unwrap();
    for (arguments, code) in [
        (vec!["check", "-c", "bad.yaml"], 1),
        (vec!["check", "-c", "good.yaml"], 0),
        (vec!["routes", "-c", "good.yaml"], 0),
        (vec!["routes", "-c", "bad.yaml"], 1),
        (vec!["serve", "-c", "bad.yaml"], 1),
        (vec!["why", "x", "-c", "bad.yaml"], 1),
        (vec!["why", "x", "-c", "good.yaml", "--set", "admin.port=1"], 1),
        (vec!["migrate", "-c", "bad.yaml"], 1),
        (vec!["migrate", "--store", "mysql://h/d"], 2),
        (vec!["migrate", "--store", "sqlite://data/x.db"], 0),
    ] {
        assert_eq!(run_unheard(folder.path(), &arguments).code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn settings_come_from_the_environment_and_from_set_too() {
    let (_upstream, _gate, builder) = holding();
    let folder = Folder::new();
    std::fs::write(folder.path().join("aegis.yaml"), builder.yaml()).unwrap();
    let serve = ["serve", "-c", "aegis.yaml"];
    let set = ["--set", "server.workers=many"];
    let many = ("AEGIS__SERVER__WORKERS", "many");
    for (output, name) in [
        (run(folder.path(), &[&serve[..], &set].concat()), "--set"),
        (run_with(folder.path(), &[many], &serve), many.0),
    ] {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("workers") && said.contains(name), "{said}");
    }
    let output =
        run_with(folder.path(), &[many], &["check", "-c", "aegis.yaml", "--set", "server.workers=2"]);
    assert_eq!(output.status.code(), Some(0), "what is set comes last: {output:?}");
}

#[test]
fn a_stop_takes_the_shutdown_timeout_and_no_longer() {
    let (upstream, _gate, builder) = holding();
    let mut gateway = builder.server("shutdownTimeoutMs: 2000").start();
    let mut client = gateway.client();
    client.start(&Call::get("/slow"));
    assert!(eventually(SOON, || upstream.count() == 1));
    gateway.signal("TERM");
    // Sooner than the upstream would answer.
    assert_eq!(gateway.exit(SOON).expect("it stops").code(), Some(0));
    // By the gateway's own clock: how long the process then takes to go is the machine's business.
    let log = gateway.log();
    let at = |what: &str| {
        let line =
            log.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("no {what:?}: {log}"));
        let line: Value = serde_json::from_str(line).unwrap();
        humantime::parse_rfc3339(line["time"].as_str().unwrap()).unwrap()
    };
    let took = at("1 requests in flight are cut").duration_since(at("stopping: ")).unwrap();
    assert!(took >= Duration::from_millis(1950) && took < Duration::from_millis(4000), "{took:?}");
    assert!(log.contains("\"path\":\"/slow\""), "what is cut is logged too: {log}");
}

#[test]
fn the_time_for_a_stop_is_what_the_last_reload_said() {
    let (upstream, _gate, builder) = holding();
    let mut gateway = builder.clone().server("shutdownTimeoutMs: 30000").start();
    let mut client = gateway.client();
    client.start(&Call::get("/slow"));
    assert!(eventually(SOON, || upstream.count() == 1));
    gateway.rewrite(&builder.server("shutdownTimeoutMs: 300"));
    let response = gateway.admin_post("/_aegis/reload", "");
    assert_eq!(
        response.json()["applied"],
        serde_json::json!(["server.drainPeriodMs", "server.shutdownTimeoutMs"])
    );
    gateway.signal("TERM");
    assert!(gateway.exit(Duration::from_secs(3)).is_some(), "it stops by the new limit");
}

#[test]
fn a_connection_that_says_nothing_does_not_hold_the_stop_up() {
    let (_upstream, _gate, builder) = holding();
    let builder = builder.server("shutdownTimeoutMs: 20000").server("headerTimeoutMs: 20000");
    let mut gateway = builder.start();
    let mut silent = gateway.client();
    assert_eq!(gateway.get("/x").status, 200, "a later connection is served, so the silent one is accepted");
    gateway.signal("TERM");
    assert_eq!(gateway.exit(SOON).expect("it stops").code(), Some(0));
    assert!(silent.ends());
}

#[test]
fn a_signal_right_after_the_start_is_heard() {
    for _ in 0..5 {
        let (_upstream, _gate, builder) = holding();
        let mut gateway = builder.start();
        gateway.signal("TERM");
        assert_eq!(gateway.exit(SOON).expect("it stops").code(), Some(0));
    }
}
