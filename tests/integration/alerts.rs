//! Alerts: fired once, told by webhook until it is taken, kept over restarts, resolved by themselves (section 11, M7).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{
    Backend, Builder, Call, Exchange, Folder, Gateway, Postgres, SOON, Then, Upstream, eventually, holds_for,
};

/// Long enough for a window, a lease or a few tries to pass, on a busy machine too.
const LATER: Duration = Duration::from_secs(60);

/// Windows, seconds. An alert goes on for one after the last failure: enough for a few looks at it while it fires.
const SHORT: u64 = 5;
/// For those who wait for no end of it.
const LONG: u64 = 60;

/// An upstream that fails below `/bad`.
fn upstream() -> Upstream {
    Upstream::start(|exchange| match exchange.target().starts_with("/bad") {
        true => exchange.reply(500, &[], b"no"),
        false => exchange.ok("ok"),
    })
}

/// A receiver that takes everything.
fn receiver() -> Upstream {
    Upstream::start(|exchange| exchange.reply(204, &[], b""))
}

/// A gateway that is told at once when more than half of the requests of the last `window` seconds fail.
fn judged(
    upstream: &Upstream,
    window: u64,
    store: &str,
    instance: &str,
    webhooks: &str,
    actions: &str,
) -> Builder {
    Gateway::builder()
        .top(&format!("metrics: {{store: \"{store}\", flushIntervalMs: 100, instance: {instance}}}"))
        .top(&rules(window, 100, webhooks, actions))
        .backend(Backend::all(upstream).without_breaker().with("retries: 0"))
}

fn rules(window: u64, interval_ms: u32, webhooks: &str, actions: &str) -> String {
    format!(
        "alerts: {{checkIntervalMs: {interval_ms}, cooldownMs: 600000, webhooks: [{webhooks}], rules: [{{id: errors, \
         name: Many errors, severity: critical, condition: {{metric: error_rate, operator: '>', threshold: 0.5, \
         windowSeconds: {window}, backend: main}}, actions: [{actions}]}}]}}"
    )
}

fn webhook(name: &str, receiver: &Upstream, format: &str) -> String {
    format!(
        "{{name: {name}, url: \"{}/hook/s3cret?k=s3cret\", format: {format}, timeoutMs: 2000}}",
        receiver.url()
    )
}

fn firing(gateway: &Gateway) -> Vec<Value> {
    gateway.admin_json("/api/alerts")["data"].as_array().unwrap().clone()
}

fn history(gateway: &Gateway) -> Vec<Value> {
    gateway.admin_json("/api/alerts/history")["data"].as_array().unwrap().clone()
}

/// Whether every webhook of an alert has been told everything there is to tell.
fn all_told(alert: &Value, what: &str) -> bool {
    let webhooks = alert["webhooks"].as_array().unwrap();
    !webhooks.is_empty() && webhooks.iter().all(|webhook| webhook["told"] == what)
}

/// Fails requests until an alert fires; answers it.
fn provoke(gateway: &Gateway) -> Value {
    let mut alert = None;
    assert!(eventually(SOON, || {
        assert_eq!(gateway.get("/bad").status, 500);
        alert = firing(gateway).pop();
        alert.is_some()
    }));
    alert.unwrap()
}

/// Whether the alert comes to be as wanted while requests go on to fail, so that it goes on itself.
fn becomes(gateway: &Gateway, mut wanted: impl FnMut(&Value) -> bool) -> bool {
    eventually(SOON, || {
        gateway.get("/bad");
        firing(gateway).first().is_some_and(&mut wanted)
    })
}

fn told(receiver: &Upstream) -> Vec<Value> {
    let bodies = receiver.requests().into_iter().filter(|request| request.complete);
    bodies.filter_map(|request| serde_json::from_slice(&request.body).ok()).collect()
}

fn events(receiver: &Upstream) -> Vec<String> {
    told(receiver).iter().map(|body| body["event"].as_str().unwrap_or_default().to_owned()).collect()
}

fn file_of(folder: &Folder) -> String {
    format!("sqlite://{}", folder.path().join("m.db").display())
}

#[test]
fn an_alert_fires_once_is_told_in_both_formats_resolves_by_itself_and_is_remembered() {
    let (upstream, json, slack) = (upstream(), receiver(), receiver());
    let folder = Folder::new();
    let hooks = format!("{}, {}", webhook("ops", &json, "json"), webhook("chat", &slack, "slack"));
    let gateway =
        judged(&upstream, SHORT, &file_of(&folder), "gw-1", &hooks, "log, webhook:ops, webhook:chat").start();
    assert_eq!(gateway.get("/good").status, 200);
    let before = gateway.admin_json("/api/alerts");
    assert_eq!((&before["enabled"], &before["store"]), (&Value::from(true), &Value::from("ok")), "{before}");
    assert_eq!(before["data"], Value::Array(Vec::new()));

    let alert = provoke(&gateway);
    assert_eq!(
        [&alert["rule"], &alert["severity"], &alert["status"], &alert["backend"], &alert["instance"]],
        ["errors", "critical", "firing", "main", "gw-1"],
        "{alert}"
    );
    assert!(alert["value"].as_f64().unwrap() > 0.5 && alert["message"].as_str().unwrap().contains("> 50 %"));
    assert!(becomes(&gateway, |_| told(&json).len() == 1 && told(&slack).len() == 1));
    // It goes on failing, and nobody is told again.
    assert!(holds_for(Duration::from_millis(700), || {
        gateway.get("/bad");
        json.count() == 1 && slack.count() == 1 && firing(&gateway).len() == 1
    }));
    assert!(becomes(&gateway, |alert| all_told(alert, "fired")), "{:?}", firing(&gateway));
    let body = &told(&json)[0];
    assert_eq!(
        (&body["event"], &body["id"], &body["status"]),
        (&"fired".into(), &alert["id"], &"firing".into())
    );
    assert_eq!((&body["threshold"], &body["windowSeconds"]), (&0.5.into(), &SHORT.into()), "{body}");
    let request = json.last();
    assert_eq!(request.head.get("content-type"), Some("application/json"));
    assert_eq!(request.target, "/hook/s3cret?k=s3cret");
    let text = told(&slack)[0]["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("[FIRING] Many errors (critical): error rate is "), "{text}");

    // Nothing happens any more: the window empties.
    assert!(eventually(LATER, || firing(&gateway).is_empty()));
    assert!(eventually(SOON, || told(&json).len() == 2 && told(&slack).len() == 2));
    assert_eq!(events(&json), ["fired", "resolved"]);
    assert!(told(&slack)[1]["text"].as_str().unwrap().starts_with("[RESOLVED] "));
    assert!(eventually(SOON, || all_told(&history(&gateway)[0], "resolved")), "{:?}", history(&gateway));
    let past = &history(&gateway)[0];
    assert_eq!((&past["id"], &past["status"]), (&alert["id"], &"resolved".into()), "{past}");

    // Within the cooldown it does not fire again.
    assert!(eventually(SOON, || {
        gateway.get("/bad");
        gateway.admin_json("/api/alerts")["rules"][0]["state"] == "cooling"
    }));
    assert!(firing(&gateway).is_empty() && json.count() == 2);

    let log = gateway.log();
    assert_eq!(
        log.matches("alert errors (Many errors), critical, fires: error rate is ").count(),
        1,
        "{log}"
    );
    assert_eq!(log.matches("alert errors (Many errors), critical, resolved after ").count(), 1, "{log}");
    let events = gateway.admin_json("/_aegis/status")["events"].to_string();
    assert!(
        events.contains("errors (critical) fires: ") && events.contains("errors is resolved"),
        "{events}"
    );
    // The URL is a secret.
    let config = gateway.admin_json("/_aegis/config");
    assert_eq!(config["alerts"]["webhooks"][0]["url"], format!("{}/[redacted]", json.url()), "{config}");
    assert!(!log.contains("s3cret") && !config.to_string().contains("s3cret"));
}

/// A receiver that fails in a different way each time, before it takes anything.
fn awkward(misses: Arc<AtomicUsize>) -> Upstream {
    Upstream::start(move |exchange: &mut Exchange<'_>| {
        exchange.body()?;
        match misses.fetch_add(1, SeqCst) {
            0 => exchange.reply(500, &[], b"oops"),
            1 => Ok(Then::Drop),
            2 => {
                // Longer than the webhook's time limit.
                exchange.wait_for_close();
                Ok(Then::Drop)
            }
            3 => exchange.reply(302, &[("Location", "/elsewhere")], b""),
            4 => exchange.reply(429, &[("Retry-After", "1")], b""),
            _ => exchange.reply(200, &[], b"thanks"),
        }
    })
}

#[test]
fn a_webhook_is_tried_until_it_answers_and_is_told_of_the_end_after_the_beginning() {
    let misses = Arc::new(AtomicUsize::new(0));
    let (upstream, ops) = (upstream(), awkward(misses.clone()));
    let folder = Folder::new();
    let gateway =
        judged(&upstream, SHORT, &file_of(&folder), "gw-1", &webhook("ops", &ops, "json"), "webhook:ops")
            .start();
    let alert = provoke(&gateway);
    // What was wrong with each try is in the log: the page shows the last.
    assert!(becomes(&gateway, |alert| alert["webhooks"][0]["error"].is_string()));
    assert!(eventually(LATER, || all_told(&history(&gateway)[0], "resolved")), "{}", gateway.log());
    // The alert was over before anybody had listened.
    assert_eq!(events(&ops), ["fired", "fired", "fired", "fired", "fired", "fired", "resolved"]);
    assert!(told(&ops).iter().all(|body| body["id"] == alert["id"]));
    assert!(
        ops.requests().iter().all(|request| request.target.starts_with("/hook/")),
        "no redirect was followed"
    );
    let log = gateway.log();
    for why in [
        "status 500",
        "no answer within 2000 ms",
        "status 302, a redirect, which is not followed",
        "status 429",
    ] {
        assert!(
            log.contains(&format!(
                "webhook ops did not take alert errors fired [{}]: {why}; try ",
                alert["id"].as_str().unwrap()
            )),
            "{why}: {log}"
        );
    }
    assert!(!log.contains("s3cret") && !log.contains("oops"), "{log}");
}

#[test]
fn a_receiver_that_refuses_is_not_asked_again() {
    let (upstream, ops) = (upstream(), Upstream::status(404));
    let gateway =
        judged(&upstream, SHORT, "none", "gw-1", &webhook("ops", &ops, "json"), "log, webhook:ops").start();
    provoke(&gateway);
    assert!(becomes(&gateway, |_| gateway.log().contains("webhook ops refuses alert errors fired")));
    assert!(holds_for(Duration::from_millis(700), || {
        gateway.get("/bad");
        told(&ops).len() == 1
    }));
    assert!(becomes(&gateway, |alert| alert["webhooks"][0]["error"] == "status 404"));
    assert_eq!(gateway.admin_json("/api/alerts")["store"], "none");
    // Without a store everything works, for as long as the process lives.
    assert!(eventually(LATER, || firing(&gateway).is_empty()));
    assert!(eventually(SOON, || events(&ops) == ["fired", "resolved"]));
    assert_eq!(history(&gateway)[0]["status"], "resolved");
}

/// Ends a gateway: with SIGKILL, or in order.
fn end(mut gateway: Gateway, kill: bool) {
    if kill {
        gateway.signal("KILL");
        gateway.exit(SOON).unwrap();
    }
}

#[test]
fn a_restart_leaves_it_firing_and_tells_nobody_twice() {
    for kill in [false, true] {
        let (upstream, ops) = (upstream(), receiver());
        let folder = Folder::new();
        let start = || {
            judged(
                &upstream,
                SHORT,
                &file_of(&folder),
                "gw-1",
                &webhook("ops", &ops, "json"),
                "log, webhook:ops",
            )
            .start()
        };
        let gateway = start();
        let alert = provoke(&gateway);
        assert!(becomes(&gateway, |alert| all_told(alert, "fired")));
        end(gateway, kill);
        let gateway = start();
        assert!(becomes(&gateway, |same| same["id"] == alert["id"]));
        assert!(eventually(LATER, || firing(&gateway).is_empty()));
        assert!(eventually(SOON, || events(&ops) == ["fired", "resolved"]), "{:?}", events(&ops));
        assert!(!gateway.log().contains("fires: "), "{}", gateway.log());
    }
}

#[test]
fn what_nobody_has_taken_is_told_after_a_restart() {
    let (upstream, ops) = (upstream(), receiver());
    ops.stop();
    let folder = Folder::new();
    let start = || {
        judged(&upstream, SHORT, &file_of(&folder), "gw-1", &webhook("ops", &ops, "json"), "webhook:ops")
            .start()
    };
    let gateway = start();
    let alert = provoke(&gateway);
    assert!(becomes(&gateway, |alert| alert["webhooks"][0]["failedTries"].as_u64() > Some(0)));
    end(gateway, true);
    ops.restart();
    let gateway = start();
    assert!(eventually(LATER, || events(&ops) == ["fired", "resolved"]), "{}", gateway.log());
    assert!(told(&ops).iter().all(|body| body["id"] == alert["id"]));
}

#[test]
fn an_alert_is_acknowledged_once_and_fires_on() {
    let upstream = upstream();
    let folder = Folder::new();
    let store = file_of(&folder);
    let gateway = judged(&upstream, LONG, &store, "gw-1", "", "log").start();
    let alert = provoke(&gateway);
    assert_eq!(alert["acknowledgedAt"], Value::Null);
    let path = format!("/api/alerts/{}/acknowledge", alert["id"].as_str().unwrap());
    let first = gateway.admin_post(&path, "");
    assert_eq!(first.status, 200, "{}", first.text());
    let at = first.json()["data"]["acknowledgedAt"].clone();
    assert!(at.is_string());
    assert_eq!(gateway.admin_post(&path, "").json()["data"]["acknowledgedAt"], at);
    assert_eq!(
        (&firing(&gateway)[0]["acknowledgedAt"], &firing(&gateway)[0]["status"]),
        (&at, &"firing".into())
    );
    assert!(eventually(SOON, || history(&gateway)[0]["acknowledgedAt"] == at));
    gateway.admin_post("/api/alerts/nothing/acknowledge", "").assert_problem(404, "not_found");
    gateway.ask_admin(Call::get(&path)).assert_problem(405, "method_not_allowed");
    drop(gateway);
    let gateway = judged(&upstream, LONG, &store, "gw-1", "", "log").start();
    assert!(eventually(SOON, || firing(&gateway).first().is_some_and(|alert| alert["acknowledgedAt"] == at)));
    for (query, reason) in
        [("limit=0", "limit must be"), ("before=now", "before must be"), ("x=1", "unknown")]
    {
        let response = gateway.ask_admin(Call::get(&format!("/api/alerts/history?{query}")));
        response.assert_problem(400, "bad_request");
        assert!(response.text().contains(reason), "{}", response.text());
    }
}

#[test]
fn a_rule_that_a_reload_takes_away_takes_its_alert_along() {
    let (upstream, ops) = (upstream(), receiver());
    let builder = judged(&upstream, LONG, "none", "gw-1", &webhook("ops", &ops, "json"), "log, webhook:ops");
    let gateway = builder.clone().start();
    provoke(&gateway);
    assert!(eventually(SOON, || all_told(&firing(&gateway)[0], "fired")));
    let hooks = webhook("ops", &ops, "json");
    gateway.rewrite(&builder.top(&format!("alerts: {{checkIntervalMs: 100, webhooks: [{hooks}]}}")));
    let reloaded = gateway.admin_post("/_aegis/reload", "").json();
    assert!(reloaded["applied"].to_string().contains("alerts.rules"), "{reloaded}");
    assert!(eventually(SOON, || events(&ops) == ["fired", "resolved"]));
    assert_eq!(told(&ops)[1]["reason"], "its rule is gone");
}

#[test]
fn two_instances_on_one_database_tell_once_and_resolve_when_neither_sees_it() {
    let postgres = Postgres::shared();
    let url = postgres.database();
    let (upstream, ops) = (upstream(), receiver());
    let start = |name: &str| {
        judged(&upstream, SHORT, &url, name, &webhook("ops", &ops, "json"), "log, webhook:ops").start()
    };
    let (one, two) = (start("gw-1"), start("gw-2"));
    assert!(eventually(LATER, || {
        assert_eq!((one.get("/bad").status, two.get("/bad").status), (500, 500));
        !firing(&one).is_empty() && !firing(&two).is_empty()
    }));
    let id = firing(&one)[0]["id"].clone();
    assert_eq!(firing(&two)[0]["id"], id);
    assert!(becomes(&two, |alert| all_told(alert, "fired")));
    // One of them goes on seeing it, so it goes on.
    assert!(holds_for(Duration::from_secs(SHORT + 2), || {
        two.get("/bad");
        firing(&one).len() == 1 && told(&ops).len() == 1
    }));
    // The one that sees it dies; the other one ends it and tells.
    end(two, true);
    assert!(eventually(LATER, || firing(&one).is_empty()), "{}", one.log());
    assert!(eventually(LATER, || events(&ops) == ["fired", "resolved"]), "{:?}", events(&ops));
    assert!(told(&ops).iter().all(|body| body["id"] == id));
    assert_eq!(history(&one).len(), 1);
}

#[test]
fn a_store_that_is_away_holds_up_no_alert_and_learns_of_it_later() {
    let (upstream, ops) = (upstream(), receiver());
    let folder = Folder::new();
    let place = folder.path().join("sub");
    // A file stands where the store's folder should be.
    std::fs::write(&place, "in the way").unwrap();
    let store = format!("sqlite://{}", place.join("m.db").display());
    let gateway =
        judged(&upstream, SHORT, &store, "gw-1", &webhook("ops", &ops, "json"), "log, webhook:ops").start();
    let alert = provoke(&gateway);
    assert!(becomes(&gateway, |_| events(&ops) == ["fired"]));
    assert_eq!(gateway.admin_json("/api/alerts")["store"], "away");
    assert_eq!(gateway.log().matches("the store of alerts does not answer").count(), 1);
    let told_of = gateway.admin_json("/api/alerts/history");
    assert!(told_of["note"].is_string() && told_of["data"][0]["id"] == alert["id"], "{told_of}");
    std::fs::remove_file(&place).unwrap();
    assert!(eventually(LATER, || gateway.admin_json("/api/alerts")["store"] == "ok"));
    assert!(eventually(LATER, || events(&ops) == ["fired", "resolved"]), "{}", gateway.log());
    assert!(eventually(SOON, || {
        let past = gateway.admin_json("/api/alerts/history");
        past["note"].is_null()
            && past["data"][0]["id"] == alert["id"]
            && all_told(&past["data"][0], "resolved")
    }));
}

#[test]
fn a_store_that_keeps_the_history_waiting_is_not_asked_a_second_question() {
    let postgres = Postgres::shared();
    let url = postgres.database();
    let database = url.rsplit('/').next().unwrap();
    let (upstream, ops) = (upstream(), receiver());
    let hooks = webhook("ops", &ops, "json");
    let often = judged(&upstream, LONG, &url, "gw-1", &hooks, "webhook:ops");
    let gateway = often.clone().start();
    let alert = provoke(&gateway);
    assert!(becomes(&gateway, |alert| all_told(alert, "fired")));
    drop(gateway);
    // This one knows of the alert, and does not ask again for long.
    let gateway = often.top(&rules(LONG, 600_000, &hooks, "webhook:ops")).start();
    assert!(eventually(SOON, || !firing(&gateway).is_empty()));
    assert!(history(&gateway)[0]["webhooks"][0]["told"] == "fired");
    std::thread::scope(|scope| {
        let lock = "BEGIN; LOCK TABLE alerts, alert_pushes; SELECT pg_sleep(600)";
        scope.spawn(|| postgres.psql(database, lock));
        let active = |what: &str| {
            let of = format!("datname = '{database}' AND state = 'active' AND query LIKE '%{what}%'");
            let ids = format!("SELECT pid FROM pg_stat_activity WHERE {of} AND pid <> pg_backend_pid()");
            postgres.psql("postgres", &ids).unwrap()
        };
        assert!(eventually(SOON, || !active("pg_sleep(600)").is_empty()));
        let asking = scope.spawn(|| gateway.admin_json("/api/alerts/history"));
        let mut asked = String::new();
        while !asking.is_finished() {
            asked += &active("FROM \"alert_pushes\"");
        }
        let told = asking.join().unwrap();
        postgres
            .psql("postgres", &format!("SELECT pg_terminate_backend({})", active("pg_sleep(600)")))
            .unwrap();
        assert!(told["note"].is_string() && told["data"][0]["id"] == alert["id"], "{told}");
        assert_eq!(asked, "", "it was asked how far the webhooks have been told");
    });
}
