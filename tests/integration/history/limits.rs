//! What rate limits decided, over time: by route, backend and instance (section 3).

use serde_json::Value;

use super::answers;
use crate::harness::history::{data, sum};
use crate::harness::{Backend, Builder, Folder, Gateway, SOON, Upstream, eventually};

/// Two backends with four routes: under the default limit, under a rule, under a rule in shadow, and exempt.
fn limiting(upstream: &Upstream, store: &str, instance: &str) -> Builder {
    let rule = |id: &str, requests: u32, more: &str| {
        format!(
            "{{id: {id}, match: {{endpoint: /{id}}}, rateLimit: {{requests: {requests}, windowSeconds: 600}}{more}}}"
        )
    };
    let rules = [rule("few", 2, ""), rule("trial", 1, ", shadow: true")].join(", ");
    Gateway::builder()
        .top(&format!("metrics: {{store: \"{store}\", flushIntervalMs: 100, instance: {instance}}}"))
        .top(&format!(
            "rateLimit: {{defaultRequests: 1000000, bypass: {{paths: [/free/**]}}, rules: [{rules}]}}"
        ))
        .backend(Backend::named("one").to(upstream).route("/plain").route("/few"))
        .backend(Backend::named("two").to(upstream).route("/trial").route("/free/**"))
}

/// Requests of which limits decide something different on each route.
fn limited_mix(gateway: &Gateway) {
    let statuses = |path: &str, count| (0..count).map(|_| gateway.get(path).status).collect::<Vec<_>>();
    assert_eq!(statuses("/plain", 3), [200; 3]);
    assert_eq!(statuses("/few", 5), [200, 200, 429, 429, 429]);
    assert_eq!(statuses("/trial", 4), [200; 4]);
    assert_eq!(statuses("/free/x", 2), [200; 2]);
    assert_eq!(statuses("/none", 2), [404; 2]);
}

/// What `rate-limits` tells of the mix, `times` times, with this in the query.
fn judge_limits(gateway: &Gateway, times: u64, also: &str) {
    for (query, told) in [
        ("", [10, 3, 3, 2]),
        ("&route=/plain", [3, 0, 0, 0]),
        ("&route=/few", [2, 3, 0, 0]),
        // A rule in shadow leaves a request to the default limit, which lets it pass.
        ("&route=/trial", [5, 0, 3, 0]),
        ("&route=/free/**", [0, 0, 0, 2]),
        ("&backend=one", [5, 3, 0, 0]),
        ("&backend=two", [5, 0, 3, 2]),
        ("&backend=one&route=/few", [2, 3, 0, 0]),
        ("&backend=two&route=/few", [0; 4]),
        ("&route=none", [0; 4]),
    ] {
        let wanted = told.map(|count: u64| count * times);
        let (mut rows, mut sums) = (Value::Null, [0; 4]);
        // A worker that the machine holds up reports after the patience of whoever asks.
        let _ = eventually(SOON, || {
            rows = data(gateway, &format!("rate-limits?range=15m{also}{query}"));
            sums = ["allowed", "limited", "shadow", "bypassed"].map(|member| sum(&rows, member) as u64);
            sums == wanted
        });
        assert_eq!(sums, wanted, "{also}{query}: {rows}");
        assert!(times * told.iter().sum::<u64>() > 0 || rows == Value::Array(Vec::new()), "{rows}");
    }
}

#[test]
fn what_limits_decided_is_told_by_route_backend_and_instance_and_survives_a_restart() {
    let upstream = answers();
    let folder = Folder::new();
    let store = format!("sqlite://{}", folder.path().join("m.db").display());
    let gateway = limiting(&upstream, &store, "gw-1").start();
    limited_mix(&gateway);
    judge_limits(&gateway, 1, "");
    drop(gateway);
    // Another instance on the same store, to which nothing has been sent yet.
    let gateway = limiting(&upstream, &store, "gw-2").start();
    judge_limits(&gateway, 1, "");
    judge_limits(&gateway, 1, "&instance=gw-1");
    judge_limits(&gateway, 0, "&instance=gw-2");
    limited_mix(&gateway);
    judge_limits(&gateway, 2, "");
    judge_limits(&gateway, 1, "&instance=gw-1");
    judge_limits(&gateway, 1, "&instance=gw-2");
}

#[test]
fn without_a_store_what_limits_decided_is_told_from_memory_by_the_same_filters() {
    let upstream = answers();
    let gateway = limiting(&upstream, "none", "gw-1").start();
    limited_mix(&gateway);
    judge_limits(&gateway, 1, "");
    judge_limits(&gateway, 1, "&instance=gw-1");
    judge_limits(&gateway, 0, "&instance=gw-2");
}
