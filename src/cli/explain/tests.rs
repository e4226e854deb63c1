//! What `aegis explain` prints, in words and as JSON.

use super::text::describe;
use crate::config::{Located, Place};
use crate::gateway::explain::told::{
    AuthStage, ChosenRoute, Considered, Explanation, Field, Headers, LimitStage, NearMiss, Outcome,
    Permissions, Retries, Target, TargetState, TimeLimit, Upstream, Verdict, Want, Who,
};

fn here(_: &str) -> Located {
    Located::Written(Place { file: "a.yaml".into(), line: 7, column: 5 })
}

fn told() -> Explanation {
    let text = |text: &str| Some(text.to_owned());
    let limit = |rule: &str, says: &str, left| LimitStage {
        rule: rule.into(),
        key: "user:ann".into(),
        limit: 100,
        window_seconds: 60,
        cost: 1,
        left,
        says: says.into(),
        ..LimitStage::default()
    };
    Explanation {
        method: "GET".into(),
        path: "/a//b".into(),
        host: text("a.test"),
        client: "10.0.0.1".into(),
        live: true,
        generation: 3,
        config_hash: "0a".into(),
        verdict: Verdict {
            outcome: Outcome::Refused,
            status: Some(403),
            reason: text("rbac_denied"),
            detail: text("Whoever this is may not do this."),
            why: text("none of the route's roles"),
            decided_by: text("backends[one].routes[/a/**].roles"),
            retry_after_seconds: Some(4),
            challenges: vec!["Bearer".into()],
        },
        canonical_path: text("/a/b"),
        route: Some(ChosenRoute {
            path: "/a/**".into(),
            backend: "one".into(),
            key: "backends[one].routes[/a/**]".into(),
            specificity: 160,
            priority: Some(2),
        }),
        near_misses: (0..30)
            .map(|at| NearMiss {
                path: format!("/{at}"),
                backend: "two".into(),
                lost: "method".into(),
                why: "it takes POST only".into(),
            })
            .collect(),
        more_near_misses: 5,
        auth: Some(AuthStage {
            rule: "any of jwt:id".into(),
            decided_by: "backends[one].auth".into(),
            wants: vec![Want {
                what: "one of the roles admin".into(),
                decided_by: "backends[one].roles".into(),
            }],
            identity: Some(Who {
                kind: "jwt".into(),
                user_id: "ann".into(),
                issuer: text("id"),
                ..Who::default()
            }),
            roles: vec!["reader".into(), "guest".into()],
            permissions: Some(Permissions {
                permitted: false,
                considered: vec![Considered {
                    role: "reader".into(),
                    resource: "/a/*".into(),
                    outcome: "condition 1".into(),
                    key: "auth.rbac.roles[reader].permissions[0]".into(),
                }],
                ..Permissions::default()
            }),
        }),
        limits: vec![
            limit("default", "enough", Some(9)),
            LimitStage { shadow: true, ..limit("dark", "refuses", Some(0)) },
            LimitStage { cost: 5, ..limit("far", "unknown", None) },
        ],
        upstream: Some(Upstream {
            backend: "one".into(),
            path: text("/v2/b"),
            load_balance: "hash".into(),
            targets: vec![
                Target {
                    url: "http://10.0.0.2:80".into(),
                    eligible: true,
                    chosen: true,
                    state: Some(TargetState {
                        healthy: true,
                        circuit: "closed".into(),
                        in_flight: 2,
                        ..TargetState::default()
                    }),
                },
                Target {
                    url: "http://10.0.0.3:80".into(),
                    state: Some(TargetState {
                        circuit: "open".into(),
                        drained: true,
                        ..TargetState::default()
                    }),
                    ..Target::default()
                },
            ],
            time_limits: vec![TimeLimit {
                what: "connect".into(),
                ms: 2000,
                decided_by: "backends[one].connectTimeoutMs".into(),
            }],
            retries: Retries { tries: 3, decided_by: "backends[one].retries".into(), ..Retries::default() },
            headers: Some(Headers {
                removed: vec!["X-User-ID".into()],
                set: vec![
                    Field { name: "X-Real-IP".into(), value: text("10.0.0.1") },
                    Field { name: "traceparent".into(), value: None },
                ],
            }),
            ..Upstream::default()
        }),
    }
}

#[test]
fn each_decision_is_a_line_with_what_decides_it_and_the_outcome_comes_first() {
    let text = describe(&told(), None, here);
    let lines: Vec<&str> = text.lines().collect();
    let wanted = [
        "GET /a//b of a.test from 10.0.0.1 would be refused: 403 rbac_denied. Whoever this is may not do this.",
        "Why: None of the route's roles.",
        "Decided by `backends[one].routes[/a/**].roles`, a.yaml:7:5.",
        "Worth another try in 4 s.",
        "It would be told to bring: Bearer",
        "Path: judged as /a/b.",
        "Route: /a/** of backend one (specificity 160, priority 2), `backends[one].routes[/a/**]`, a.yaml:7:5.",
        "  not /0 of two: it takes POST only",
        "  and 15 more routes",
        "Credential: any of jwt:id, by `backends[one].auth`, a.yaml:7:5.",
        "Identity: user ann, by jwt, issuer id.",
        "Roles: reader, guest.",
        "The route wants one of the roles admin: `backends[one].roles`, a.yaml:7:5.",
        "Permissions: none.",
        "  /a/* of role reader does not hold: condition 1, `auth.rbac.roles[reader].permissions[0]`, a.yaml:7:5",
        "Limit default: 100 requests per 60 s for user:ann, 9 left.",
        "Limit dark: 100 requests per 60 s for user:ann, 0 left; used up, and in shadow: it would pass.",
        "Limit far: 100 requests per 60 s for user:ann, of which this takes 5; what is left is known to the shared store alone.",
        "Upstream: asked for /v2/b.",
        "Targets of one, by hash:",
        "  http://10.0.0.2:80 would be chosen: healthy, breaker closed, 2 in flight, 0 tunnels",
        "  http://10.0.0.3:80 could not be chosen: unhealthy, drained, breaker open, 0 in flight, 0 tunnels",
        "Time: 2000 ms to connect, `backends[one].connectTimeoutMs`, a.yaml:7:5.",
        "Headers removed: X-User-ID.",
        "  X-Real-IP: 10.0.0.1",
        "  traceparent: (not shown)",
        "As the gateway is now: generation 3, hash 0a.",
    ];
    let mut rest = lines.iter();
    for line in wanted {
        assert!(rest.any(|is| *is == line), "{line:?} is not in its place in:\n{text}");
    }
}

#[test]
fn of_another_configuration_no_line_is_named() {
    let text = describe(&told(), Some("0b"), here);
    assert!(
        text.contains("Decided by `backends[one].routes[/a/**].roles`.") && !text.contains("a.yaml"),
        "{text}"
    );
    assert!(text.contains("is another one, with the hash 0b"), "{text}");
}

#[test]
fn json_has_every_member_and_is_read_back() {
    let told = told();
    let value = serde_json::to_value(&told).unwrap();
    assert_eq!(value["verdict"]["decidedBy"], "backends[one].routes[/a/**].roles");
    assert_eq!(value["upstream"]["timeLimits"][0]["ms"], 2000);
    assert_eq!(value["nearMisses"].as_array().unwrap().len(), 30);
    assert_eq!(serde_json::from_value::<Explanation>(value).unwrap(), told);
}
