//! How long an answer may take to begin: `timeout` and `firstByteTimeoutMs`, of the backend and of the route (section 2).

use std::fs;
use std::time::{Duration, Instant};

use crate::harness::{Backend, Call, Folder, Gateway, Then, Upstream, run};

/// Reads requests and never answers.
fn silent() -> Upstream {
    Upstream::start(|exchange| {
        exchange.body()?;
        exchange.wait_for_close();
        Ok(Then::Drop)
    })
}

#[test]
fn a_first_byte_is_awaited_for_what_the_route_else_the_backend_else_the_timeout_says() {
    let upstream = silent();
    let backend = |name: &str| Backend::named(name).to(&upstream).without_breaker().with("retries: 0");
    let route = |path: &str, more: &str| format!("{{path: {path}, {more}}}");
    let gateway = Gateway::builder()
        .backend(
            backend("written")
                .with("firstByteTimeoutMs: 400")
                .with("timeout: 20s")
                .route("/written/own")
                .route(&route("/written/longer", "firstByteTimeoutMs: 1600"))
                .route(&route("/written/timeout", "timeout: 1s"))
                .route(&route("/written/short", "timeout: 200, firstByteTimeoutMs: 100")),
        )
        .backend(
            backend("unwritten")
                .with("timeout: 900")
                .route("/unwritten/own")
                .route(&route("/unwritten/longer", "timeout: 1700"))
                .route(&route("/unwritten/first", "timeout: 20s, firstByteTimeoutMs: 300")),
        )
        .start();
    for (path, limit) in [
        ("/written/own", 400),
        ("/written/longer", 1600),
        ("/written/timeout", 400),
        ("/written/short", 100),
        ("/unwritten/own", 900),
        ("/unwritten/longer", 1700),
        ("/unwritten/first", 300),
    ] {
        for call in [Call::get(path), Call::post(path, "some body")] {
            let begun = Instant::now();
            gateway.send(&call).assert_problem(504, "upstream_timeout");
            let took = begun.elapsed();
            let limit = Duration::from_millis(limit);
            assert!(took >= limit, "{path}: {took:?} instead of {limit:?}");
            assert!(took < limit + Duration::from_secs(3), "{path}: {took:?} instead of {limit:?}");
        }
    }
}

#[test]
fn check_says_which_limit_undercuts_which() {
    let folder = Folder::new();
    let told = |backend: &str, route: &str| {
        let yaml = format!(
            "backends:\n  - name: b\n    url: http://127.0.0.1:1\n{backend}    routes:\n      - {{path: /x, {route}}}\n"
        );
        fs::write(folder.path().join("aegis.yaml"), yaml).unwrap();
        let output = run(folder.path(), &["check", "-c", "aegis.yaml"]);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(output.status.code(), Some(0), "{text}");
        let lines = text.lines().filter(|line| line.contains("imeout"));
        lines.map(str::to_owned).collect::<Vec<_>>().join("\n")
    };
    for (backend, route, parts) in [
        ("    timeout: 10s\n    firstByteTimeoutMs: 20s\n", "", &["firstByteTimeoutMs", "timeout"][..]),
        ("    timeout: 10s\n", "firstByteTimeoutMs: 20s", &["routes[0].firstByteTimeoutMs", "shorten it"]),
        (
            "    firstByteTimeoutMs: 5s\n",
            "timeout: 20s",
            &["routes[0].timeout", "5000", "for this route too"],
        ),
        ("", "timeout: 5s, firstByteTimeoutMs: 6s", &["routes[0].firstByteTimeoutMs", "shorten it"]),
        (
            "    firstByteTimeoutMs: 5s\n",
            "timeout: 4s, firstByteTimeoutMs: 4500",
            &["routes[0].firstByteTimeoutMs"],
        ),
    ] {
        let told = told(backend, route);
        for part in parts {
            assert!(told.contains(part), "{backend}{route}: {part} is not in {told:?}");
        }
    }
    for (backend, route) in [
        ("", ""),
        ("    timeout: 5s\n", ""),
        ("    timeout: 5s\n", "timeout: 60s"),
        ("    firstByteTimeoutMs: 5s\n", "timeout: 5s"),
        ("    firstByteTimeoutMs: 5s\n", "timeout: 20s, firstByteTimeoutMs: 20s"),
    ] {
        assert_eq!(told(backend, route), "", "{backend}{route}");
    }
}
