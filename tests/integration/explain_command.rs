//! `aegis explain`: by a configuration alone, and by the running gateway (sections 1 and 9).

use std::path::Path;

use serde_json::{Value, json};

use crate::explain::{KEY, MAIN, builder};
use crate::harness::identity::sha256;
use crate::harness::tokens::{SECRET, claims, hs256};
use crate::harness::{Backend, Call, Folder, Gateway, Port, Upstream, run, run_fed};

/// `aegis explain` with these arguments: exit code, output, what it complains of.
fn explain(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = run(folder, &[&["explain"], arguments].concat());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn without_a_gateway_the_configuration_tells_with_its_lines() {
    let folder = Folder::new();
    let port = Port::reserve();
    let upstream = Backend::named("main").target(&format!("url: '{}'", port.url()));
    let backend = MAIN.iter().fold(upstream, |backend, route| backend.route(route));
    let hash = sha256(KEY);
    let yaml = Gateway::builder()
        .top(&format!(
            "auth: {{enabled: true, apiKey: {{keys: [{{id: k1, hashes: ['{hash}'], userId: ann}}]}}}}"
        ))
        .backend(backend)
        .yaml();
    std::fs::write(folder.path().join("a.yaml"), &yaml).unwrap();
    let line = |of: &str| yaml.lines().position(|line| line.contains(of)).unwrap() + 1;
    let (code, out, err) = explain(folder.path(), &["GET", "http://a.test/api/users/me", "-c", "a.yaml"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    for part in [
        "GET /api/users/me of a.test from 127.0.0.1 would be refused: 401 auth_missing.",
        "It would be told to bring: Key realm=\"aegis\"",
        &format!(
            "Route: /api/users/me of backend main (specificity 330), `backends[main].routes[/api/users/me]`, a.yaml:{}:",
            line("/users/me")
        ),
        "not /api/users/:id of main: it is less specific: 315, not 330",
        "not /api/** of main: it is less specific: 160, not 330",
        "Credential: required, by `auth.enabled`, a.yaml:",
        &format!(
            "Time: 5000 ms for the whole request, `backends[main].routes[/api/users/me].timeout`, a.yaml:{}:",
            line("/users/me")
        ),
        "Time: 2000 ms to connect, `backends[main].connectTimeoutMs`, a default",
        "Retries: up to 2 where a try fails",
        "targets have no state here",
    ] {
        assert!(out.contains(part), "{part} is not in:\n{out}");
    }
    let (code, out, err) = explain(
        folder.path(),
        &["DELETE", "/api/users/me", "-c", "a.yaml", "-H", &format!("X-API-Key: {KEY}")],
    );
    assert_eq!(code, Some(0));
    assert!(err.contains("other users of this machine see credentials"), "{err}");
    for part in [
        "would be forwarded to backend main.",
        "Identity: user ann, by apiKey, key k1.",
        "Headers removed: X-API-Key.",
        "Upstream: asked for /v2/users/me.",
    ] {
        assert!(out.contains(part), "{part} is not in:\n{out}");
    }
    assert!(!(out + &err).contains(KEY));
    // From a file and from standard input nothing is warned of.
    std::fs::write(folder.path().join("key"), format!("X-API-Key: {KEY}\n")).unwrap();
    let (code, out, err) = explain(folder.path(), &["GET", "/api/x", "-c", "a.yaml", "-H", "@key", "--json"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&said["verdict"]["outcome"], &said["live"]), (&"forwarded".into(), &false.into()));
    assert_eq!(
        said["upstream"]["targets"][0],
        json!({"url": port.url(), "eligible": true, "chosen": true, "state": null})
    );
    assert!(!out.contains(KEY));
    let arguments = ["explain", "GET", "/api/deny", "-c", "a.yaml", "-H", "@-", "--json"];
    let output = run_fed(folder.path(), &arguments, &format!("X-API-Key: {KEY}\n"));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["verdict"]["decidedBy"], "backends[main].routes[/api/deny].deny");
    assert_eq!(said["verdict"]["line"], line("/api/deny"));
}

#[test]
fn what_is_no_request_is_wrong_usage_and_what_nobody_can_tell_a_failure() {
    let folder = Folder::new();
    std::fs::write(
        folder.path().join("a.yaml"),
        "backends: [{name: a, url: 'http://127.0.0.1:1', routes: [/x]}]\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("bad.yaml"), "backends: 7\n").unwrap();
    let port = Port::reserve();
    let admin = format!("admin.port={}", port.addr().port());
    for (arguments, wanted, complaint) in [
        (&["GET", "a.test/x", "-c", "a.yaml"][..], 2, "is no URL"),
        (&["GET", "/a b", "-c", "a.yaml"], 2, "is no URL"),
        (&["G T", "/x", "-c", "a.yaml"], 2, "is no method"),
        (&["GET", "/x", "-c", "a.yaml", "-H", "secret-word"], 2, "-H takes"),
        (&["GET", "/x", "-c", "a.yaml", "--ip", "here"], 2, "invalid"),
        (&["GET", "/x", "-c", "-", "-H", "@-"], 2, "standard input is read once"),
        (&["GET", "/x", "-c", "a.yaml", "-H", "@nowhere"], 1, "nowhere"),
        (&["GET", "/x", "-c", "bad.yaml"], 1, "backends"),
        (&["GET", "/x", "-c", "a.yaml", "--live", "--set", &admin], 1, "does not answer"),
        (&["GET", "/nowhere", "-c", "a.yaml"], 0, ""),
        (&["CONNECT", "/x", "-c", "a.yaml"], 0, ""),
    ] {
        let (code, out, err) = explain(folder.path(), arguments);
        assert_eq!(code, Some(wanted), "{arguments:?}: {out}{err}");
        assert!(err.contains(complaint) && !err.contains("secret-word"), "{arguments:?}: {err}");
        assert_eq!(out.is_empty(), wanted != 0, "{arguments:?}: {out}");
    }
}

#[test]
fn the_running_gateway_is_asked_with_its_token_and_shows_no_credential() {
    let (main, other) = (Upstream::echo(), Upstream::echo());
    let gateway = builder(&main, &other).admin("token: the-token-of-operators").start();
    let config = gateway.file("aegis.yaml").display().to_string();
    let port = format!("admin.port={}", gateway.admin.port());
    let folder = gateway.file(".");
    std::fs::write(gateway.file("key"), format!("X-API-Key: {KEY}\n")).unwrap();
    let common = ["-c", &config, "--set", &port, "--live"];
    let (code, out, err) =
        explain(&folder, &[&["GET", "/api/far", "-H", "@key", "--ip", "10.9.9.9"][..], &common].concat());
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    for part in [
        "would be forwarded to backend main.",
        "would be chosen: healthy, breaker closed, 0 in flight",
        "As the gateway is now: generation 1",
        "its lines are not named",
        "user:ann",
    ] {
        assert!(out.contains(part), "{part} is not in:\n{out}");
    }
    assert!(!out.contains(KEY) && !out.contains("the-token"), "{out}");
    let (code, _, err) = explain(
        &folder,
        &[&["GET", "/x", "--set", "admin.token=another-token-than-that"][..], &common].concat(),
    );
    assert!(code == Some(1) && err.contains("401"), "{err}");
    // With `GET`, of a request without headers; what is wrong with a question is told without its values.
    let said = gateway.admin_json("/_aegis/explain?method=GET&url=/api/far&ip=10.9.9.9");
    assert_eq!(said["verdict"]["reason"], "auth_missing");
    for query in ["", "?url=", "?url=/x&ip=7", "?url=/x&headers=a", "?url=nonsense", "?url=/x&method=G%20T"] {
        let response = gateway.ask_admin(Call::get(&format!("/_aegis/explain{query}")));
        response.assert_problem(400, "bad_request");
    }
    for body in [
        "",
        "[]",
        "{}",
        r#"{"url": "/x", "headers": {"A": 7}}"#,
        r#"{"url": "/x", "ip": "secret-word"}"#,
        r#"{"url": "/x", "headers": "secret-word"}"#,
        r#"{"url": "/x", "header": {"A": "secret-word"}}"#,
        r#"{"url": "/x", "headers": {"A": "secret-word\r\nB: 1"}}"#,
    ] {
        let response = gateway.admin_post("/_aegis/explain", body);
        response.assert_problem(400, "bad_request");
        assert!(!response.text().contains("secret-word"), "{body}: {}", response.text());
    }
}

#[test]
fn keys_of_an_issuer_that_are_not_here_leave_it_undetermined() {
    let folder = Folder::new();
    let yaml = "auth: {enabled: true, issuers: [{name: id, issuer: 'http://127.0.0.1:1', audience: api}]}\nbackends: [{name: a, url: 'http://127.0.0.1:1', routes: [/x]}]\n";
    std::fs::write(folder.path().join("a.yaml"), yaml).unwrap();
    let foreign =
        hs256(SECRET, &json!({"alg": "RS256", "kid": "k"}), &claims(json!({"iss": "http://127.0.0.1:1"})));
    let fed = format!("Authorization: Bearer {foreign}\n");
    let output = run_fed(folder.path(), &["explain", "GET", "/x", "-c", "a.yaml", "-H", "@-"], &fed);
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.contains("cannot be judged from here") && out.contains("issuer id"), "{out}");
    assert!(!out.contains(&foreign[..40]), "{out}");
}
