//! API keys: who has one comes in, and nobody else (section 9).

use serde_json::Value;

use crate::harness::identity::{Got, Way, hmac_sha256, sha256, sha512};
use crate::harness::{Backend, Builder, Gateway, SOON, Upstream, echo_websocket, eventually, run};

const KEY: &str = "ak_test1_correct-horse-battery-staple";
const OTHER: &str = "ak_test2_another-key-of-somebody-else";
const PEPPER: &str = "0123456789abcdef0123456789abcdef";

/// Echoes what arrives, and speaks websockets.
fn upstream() -> Upstream {
    Upstream::start(|exchange| match exchange.head.get("upgrade") {
        Some(_) => echo_websocket(exchange),
        None => exchange.echo(),
    })
}

/// A gateway that takes keys: `more` stands in `auth`, `keys` are its entries.
fn guarded(upstream: &Upstream, more: &str, keys: &[String], routes: &[&str]) -> Builder {
    let keys = keys.join(", ");
    let backend =
        routes.iter().fold(Backend::named("main").to(upstream), |backend, route| backend.route(route));
    Gateway::builder()
        .top(&format!(
            "auth: {{enabled: true, {more} apiKey: {{peppers: {{p1: {PEPPER}}}, keys: [{keys}]}}}}"
        ))
        .backend(backend)
}

fn key(id: &str, key: &str, more: &str) -> String {
    format!("{{id: {id}, hashes: [\"{}\"], {more}}}", sha256(key))
}

fn refused(got: &Got, status: u16, reason: &str) {
    assert_eq!((got.status, got.reason.as_deref()), (status, Some(reason)), "{got:?}");
}

#[test]
fn a_key_lets_in_and_whatever_is_no_key_does_not() {
    let upstream = upstream();
    let long = "a".repeat(8192);
    let hash = sha256(KEY);
    let keys = [
        key("k1", KEY, "userId: ann"),
        key("old", "expired-key", "expiresAt: 2020-01-01T00:00:00Z"),
        key("off", "inactive-key", "active: false"),
        key("far", "far-key", "allowedIps: [10.0.0.0/8]"),
        key("near", "near-key", "allowedIps: [127.0.0.0/8, 10.0.0.0/8]"),
    ];
    let gateway = guarded(&upstream, "failureLimit: {failures: 0},", &keys, &["/**"]).start();
    for way in Way::ALL {
        let ask = |key: &str| gateway.ask(way, "GET", "/x", &[("X-API-Key", key)]);
        assert!(ask(KEY).passed() && ask("near-key").passed(), "{way:?}");
        let before = upstream.count();
        let none = gateway.ask(way, "GET", "/x", &[]);
        refused(&none, 401, "auth_missing");
        assert_eq!(none.challenges, [r#"Key realm="aegis""#]);
        let wrong = [
            "expired-key",
            "inactive-key",
            "far-key",
            "nobody's",
            "",
            &KEY.to_uppercase(),
            &KEY[1..],
            &format!("{KEY}x"),
            &format!("{KEY},{KEY}"),
            &format!("Key {KEY}"),
            &KEY.replace('_', "%5F"),
            &hash,
            &hash["sha256:".len()..],
            &long,
        ];
        for wrong in wrong {
            let got = ask(wrong);
            refused(&got, 401, "auth_invalid");
            // Which kind of wrong is for the log alone.
            let own_id = |got: &Got| serde_json::from_str::<Value>(&got.body).unwrap()["detail"].clone();
            assert_eq!(
                (got.challenges.clone(), own_id(&got)),
                (none.challenges.clone(), own_id(&ask("nobody's")))
            );
        }
        let twice = gateway.ask(way, "GET", "/x", &[("X-API-Key", KEY), ("X-API-Key", KEY)]);
        refused(&twice, 400, "bad_request");
        let target = format!("/x?api_key={KEY}&X-API-Key={KEY}");
        refused(&gateway.ask(way, "GET", &target, &[]), 401, "auth_missing");
        assert_eq!(upstream.count(), before, "{way:?}: something of the refused has passed");
    }
}

#[test]
fn keys_of_every_digest_are_found_and_two_of_one_while_they_are_exchanged() {
    let upstream = upstream();
    let both = format!(
        "{{id: both, hashes: [\"{}\", \"{}\"]}}",
        sha512("first"),
        hmac_sha256("p1", PEPPER, "second")
    );
    let gateway = guarded(&upstream, "", &[key("k1", KEY, ""), both], &["/**"]).start();
    for (key, id) in [(KEY, "k1"), ("first", "both"), ("second", "both")] {
        let got = gateway.ask(Way::Http1, "GET", "/x", &[("x-api-key", key)]);
        assert_eq!(got.status, 200, "{key}: {got:?}");
        assert_eq!(upstream.last().head.get("x-user-id"), Some(id));
    }
}

#[test]
fn an_upstream_is_told_who_it_is_by_the_gateway_alone_and_never_sees_the_key() {
    let upstream = upstream();
    let keys = [key("k1", KEY, "userId: \"zoë\", roles: [reader, editor], tier: pro, metadata: {team: red}")];
    let more = "allowAnonymous: true, claimHeaders: {X-Team: team}, anonymousPaths: [/open/**],";
    let routes = ["/**", "{path: /none, auth: none}", "{path: /kept, forwardCredentials: true}"];
    let gateway = guarded(&upstream, more, &keys, &routes).start();
    let spoofed = [
        ("X-User-ID", "root"),
        ("x-user-id", "root"),
        ("X_User_ID", "root"),
        ("X.User.Id", "root"),
        ("x-user-roles", "admin"),
        ("X_USER-ROLES", "admin"),
        ("X-User-Tier", "gold"),
        ("X-User-Email", "root@x"),
        ("X-Auth-Type", "jwt"),
        ("X-Team", "blue"),
        ("X_Team", "blue"),
        ("X-Kept", "kept"),
    ];
    let names = ["user", "auth-type", "auth.type", "team", "api-key", "api.key"];
    let seen = |upstream: &Upstream| {
        let fields = upstream.last().head.headers;
        let told = fields.into_iter().map(|(name, value)| (name.to_lowercase().replace('_', "-"), value));
        told.filter(|(name, _)| names.iter().any(|known| name.contains(known))).collect::<Vec<_>>()
    };
    for way in Way::ALL {
        // HTTP/2 has names in lower case alone.
        let spoofed: Vec<_> = spoofed
            .into_iter()
            .filter(|(name, _)| way != Way::Http2 || !name.contains("x-user-id"))
            .collect();
        for target in ["/none", "/open/x", "/x"] {
            assert!(gateway.ask(way, "GET", target, &spoofed).passed(), "{way:?} {target}");
            assert_eq!(seen(&upstream), [], "{way:?} {target}");
            assert_eq!(upstream.last().head.get("x-kept"), Some("kept"));
        }
        let with_key: Vec<_> = spoofed.iter().copied().chain([("X-API-Key", KEY)]).collect();
        assert!(gateway.ask(way, "GET", "/x", &with_key).passed(), "{way:?}");
        let told = [
            ("x-user-id", "zo%C3%AB"),
            ("x-user-tier", "pro"),
            ("x-user-roles", "reader,editor"),
            ("x-auth-type", "apiKey"),
            ("x-team", "red"),
        ];
        assert_eq!(seen(&upstream), told.map(|(name, value)| (name.to_owned(), value.to_owned())), "{way:?}");
        assert!(
            gateway.ask(way, "GET", "/none", &[("X-API-Key", KEY), ("Authorization", "Basic YTpi")]).passed()
        );
        assert_eq!(seen(&upstream), [], "a key is the gateway's, also where nobody is asked");
        assert_eq!(upstream.last().head.get("authorization"), Some("Basic YTpi"));
        assert!(
            gateway.ask(way, "GET", "/x", &[("X-API-Key", KEY), ("Authorization", "Basic YTpi")]).passed()
        );
        assert_eq!(upstream.last().head.get("authorization"), None);
        assert!(gateway.ask(way, "GET", "/kept", &[("X-API-Key", KEY)]).passed());
        assert_eq!(upstream.last().head.get("x-api-key"), Some(KEY));
    }
}

#[test]
fn a_route_says_whom_it_wants() {
    let upstream = upstream();
    let keys = [
        key("k1", KEY, "roles: [editor], scopes: [read, write], tier: pro, metadata: {plan: team}"),
        key("k2", OTHER, "roles: [guest], scopes: [read]"),
    ];
    let routes = [
        "/any",
        "{path: /optional, auth: optional}",
        "{path: /none, auth: none}",
        "{path: /one, auth: {any: [apiKey]}}",
        "{path: /roles, roles: [admin, editor]}",
        "{path: /scopes, scopes: [read, write]}",
        "{path: /tiers, tiers: [pro, max]}",
        "{path: /claims, claims: {plan: [team, solo]}}",
        "{path: /maybe-role, auth: optional, roles: [editor]}",
    ];
    let gateway = guarded(&upstream, "", &keys, &routes).start();
    let table = [
        ("/any", "auth_missing", "", ""),
        ("/optional", "", "", ""),
        ("/none", "", "", ""),
        ("/one", "auth_missing", "", ""),
        ("/roles", "auth_missing", "", "rbac_denied"),
        ("/scopes", "auth_missing", "", "insufficient_scope"),
        ("/tiers", "auth_missing", "", "rbac_denied"),
        ("/claims", "auth_missing", "", "rbac_denied"),
        ("/maybe-role", "auth_missing", "", "rbac_denied"),
    ];
    for way in Way::ALL {
        for (target, nobody, first, second) in table {
            for (fields, reason) in [(None, nobody), (Some(KEY), first), (Some(OTHER), second)] {
                let fields: Vec<_> = fields.map(|key| ("X-API-Key", key)).into_iter().collect();
                let got = gateway.ask(way, "GET", target, &fields);
                let status = match reason {
                    "" => {
                        if way == Way::WebSocket {
                            101
                        } else {
                            200
                        }
                    }
                    "auth_missing" => 401,
                    _ => 403,
                };
                assert_eq!(
                    (got.status, got.reason.as_deref().unwrap_or("")),
                    (status, reason),
                    "{way:?} {target} {fields:?}"
                );
            }
        }
        // A wrong key is wrong where none is wanted, too.
        refused(&gateway.ask(way, "GET", "/optional", &[("X-API-Key", "x")]), 401, "auth_invalid");
        assert!(gateway.ask(way, "GET", "/none", &[("X-API-Key", "x")]).passed());
    }
}

#[test]
fn no_spelling_of_a_path_is_anonymous_that_some_server_reads_otherwise() {
    let upstream = upstream();
    let gateway =
        guarded(&upstream, "anonymousPaths: [/public/**, /login],", &[key("k1", KEY, "")], &["/**"]).start();
    for target in [
        "/public/a",
        "/login",
        "/login/",
        "/public/a/../b",
        "//public/a",
        "/%70ublic/a",
        "/public/",
        "/login?x=/",
    ] {
        assert_eq!(gateway.ask(Way::Http1, "GET", target, &[]).status, 200, "{target}");
    }
    for target in [
        "/public/../admin",
        "/admin",
        "/admin/",
        "//admin",
        "/%61dmin",
        "/admin?x=/public/",
        "/public",
        "/PUBLIC/a",
        "/login/more",
        "/login;x=1/../admin",
        "/publi%63%2f..%2fadmin",
        "/public/..;/admin",
        "/public/..%2fadmin",
        "/public%2f..%2fadmin",
        "/admin%00",
        "/admin#/public/",
    ] {
        let got = gateway.ask(
            Way::Http1,
            "GET",
            target,
            &[("X-Original-URL", "/public/a"), ("X-HTTP-Method-Override", "GET")],
        );
        let closed = matches!(got.reason.as_deref(), Some("auth_missing" | "bad_path" | "bad_request"));
        assert!(closed, "{target}: {got:?}");
    }
}

#[test]
fn a_key_may_come_behind_a_scheme_in_authorization() {
    let upstream = upstream();
    let auth = format!(
        "auth: {{enabled: true, apiKey: {{headerName: Authorization, prefix: 'Key ', keys: [{}]}}}}",
        key("k1", KEY, "")
    );
    let gateway = Gateway::builder().top(&auth).backend(Backend::all(&upstream)).start();
    let ask = |value: &str| gateway.ask(Way::Http1, "GET", "/x", &[("Authorization", value)]);
    assert_eq!((ask(&format!("Key {KEY}")).status, ask(&format!("key {KEY}")).status), (200, 200));
    for wrong in [KEY, &format!("Bearer {KEY}"), "Key", "Key ", &format!("Key  {KEY}")] {
        refused(&ask(wrong), 401, "auth_invalid");
    }
    assert_eq!(gateway.ask(Way::Http1, "GET", "/x", &[]).challenges, [r#"Key realm="aegis""#]);
}

#[test]
fn a_key_has_a_limit_of_its_own_before_that_of_its_tier() {
    let upstream = upstream();
    let keys = [
        key("k1", KEY, "tier: pro, rateLimit: {requests: 2, windowSeconds: 3600}"),
        key("k2", OTHER, "tier: pro"),
        key("k3", "third", "tier: pro, rateLimit: {requests: 2, windowSeconds: 3600}"),
    ];
    let gateway = guarded(&upstream, "", &keys, &["/**"])
        .top("rateLimit: {defaultRequests: 1, tierLimits: {pro: {requests: 3, windowSeconds: 3600}}}")
        .start();
    for (key, most) in [(KEY, 2), (OTHER, 3), ("third", 2)] {
        for n in 0..5 {
            let got = gateway.ask(Way::Http1, "GET", "/x", &[("X-API-Key", key)]);
            assert_eq!(got.status, if n < most { 200 } else { 429 }, "{key} {n}");
        }
    }
}

#[test]
fn the_log_and_the_metrics_say_who_it_was_and_what_was_wrong_but_never_the_key() {
    let upstream = upstream();
    // One worker: two would write their lines in any order.
    let keys = [key("k1", KEY, "userId: ann, tier: pro")];
    let gateway = guarded(&upstream, "", &keys, &["/**"]).server("workers: 1").start();
    gateway.ask(Way::Http1, "GET", "/x", &[("X-API-Key", KEY)]);
    gateway.ask(Way::Http1, "GET", "/x", &[("X-API-Key", OTHER)]);
    gateway.ask(Way::Http1, "GET", "/x", &[]);
    let told = |line: &Value| {
        let text = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
        [text("auth"), text("userId"), text("keyId"), text("tier"), text("authDetail")].join(" ")
    };
    let lines = || {
        let lines = gateway.log();
        let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["type"] == "access").map(|line| told(&line)).collect::<Vec<_>>()
    };
    assert!(eventually(SOON, || lines().len() == 3), "{}", gateway.log());
    assert_eq!(lines(), ["apiKey ann k1 pro -", "- - - - a key that is not known", "- - - - -"]);
    let metrics = gateway.ask_admin(crate::harness::Call::get("/metrics")).text();
    for (method, result) in [("apiKey", "allowed"), ("apiKey", "invalid"), ("none", "missing")] {
        let line = format!("aegis_auth_decisions_total{{method=\"{method}\",result=\"{result}\"}} 1\n");
        assert!(metrics.contains(&line), "{line} of {metrics}");
    }
    let shown =
        [gateway.log(), metrics, gateway.ask_admin(crate::harness::Call::get("/_aegis/config")).text()]
            .concat();
    for secret in [KEY, OTHER, &sha256(KEY)["sha256:".len()..], PEPPER] {
        assert!(!shown.contains(secret), "{secret} is shown");
    }
}

#[test]
fn a_key_that_leaves_the_file_is_refused_after_the_reload() {
    let upstream = upstream();
    let with = |keys: &[String]| guarded(&upstream, "failureLimit: {failures: 0},", keys, &["/**"]);
    let gateway = with(&[key("k1", KEY, ""), key("k2", OTHER, "")]).start();
    let mut client = gateway.client();
    let call = crate::harness::Call::get("/x").header("X-API-Key", KEY);
    assert_eq!(client.send(&call).status, 200);
    gateway.rewrite(&with(&[key("k2", OTHER, "")]));
    assert_eq!(gateway.admin_post("/_aegis/reload", "").status, 200);
    client.send(&call).assert_problem(401, "auth_invalid");
    assert_eq!(client.send(&crate::harness::Call::get("/x").header("X-API-Key", OTHER)).status, 200);
}

#[test]
fn check_tells_what_is_wrong_with_keys_and_routes() {
    let folder = crate::harness::Folder::new();
    let digest = sha256(KEY);
    for (auth, route, said) in [
        (
            format!(
                "{{enabled: true, apiKey: {{keys: [{{id: a, hashes: ['{digest}']}}, {{id: a, hashes: ['{}']}}]}}}}",
                sha256("b")
            ),
            "/x",
            "ids must differ",
        ),
        (
            format!(
                "{{enabled: true, apiKey: {{keys: [{{id: a, hashes: ['{digest}']}}, {{id: b, hashes: ['{digest}']}}]}}}}"
            ),
            "/x",
            "one key cannot be two",
        ),
        (
            "{enabled: true, apiKey: {keys: [{id: a, hashes: ['bcrypt:x']}]}}".into(),
            "/x",
            "hashes for passwords take a tenth",
        ),
        (
            "{enabled: true, apiKey: {keys: [{id: a, hashes: ['sha256:00']}]}}".into(),
            "/x",
            "as many hex digits",
        ),
        (
            "{enabled: true, apiKey: {keys: [{id: a}]}}".into(),
            "/x",
            "`auth.apiKey.keys[0].hashes` is required",
        ),
        (
            format!(
                "{{enabled: true, apiKey: {{peppers: {{p1: {PEPPER}}}, keys: [{{id: a, hashes: ['{}']}}]}}}}",
                hmac_sha256("p2", PEPPER, "a")
            ),
            "/x",
            "did you mean `p1`?",
        ),
        ("{enabled: true, apiKey: {peppers: {p1: short}}}".into(), "/x", "shorter than 32 bytes"),
        (
            format!(
                "{{enabled: true, apiKey: {{keys: [{{id: a, hashes: ['{digest}'], rateLimit: {{requests: 5}}}}]}}}}"
            ),
            "/x",
            "nothing is limited without `rateLimit`",
        ),
        ("{enabled: true, apiKey: {enabled: false}}".into(), "/x", "takes none"),
        ("{enabled: false}".into(), "{path: /x, roles: [admin]}", "has no effect, for nobody is asked"),
        ("{enabled: false}".into(), "{path: /x, auth: required}", "has no effect, for nobody is asked"),
        ("{enabled: true}".into(), "{path: /x, auth: none, scopes: [a]}", "has no effect under `auth: none`"),
        ("{enabled: true}".into(), "{path: /x, auth: {any: [jwt]}}", "which nobody can have"),
        ("{enabled: true}".into(), "{path: /x, auth: {any: [apikey]}}", "did you mean `apiKey`?"),
        (
            "{enabled: true}".into(),
            "{path: /x, auth: {any: [apiKey], all: [apiKey]}}",
            "either `any` or `all`",
        ),
        ("{enabled: true}".into(), "{path: /x, auth: {any: []}}", "name at least one kind"),
        ("{enabled: true}".into(), "{path: /x, auth: apiKey}", "write `{any: [apiKey]}`"),
        ("{enabled: true}".into(), "{path: /x, auth: {any: [basic]}}", "not available in this version"),
        ("{enabled: true, oidc: {}}".into(), "/x", "not available in this version"),
        ("{enabled: true, anonymousPaths: [public]}".into(), "/x", "must start with `/`"),
        ("{enabled: true, identityHeaders: {user: Host}}".into(), "/x", "for something else"),
        ("{enabled: true, claimHeaders: {Content-Length: n}}".into(), "/x", "for something else"),
        ("{enabled: true, claimHeaders: {x_real_ip: n}}".into(), "/x", "for something else"),
        ("{enabled: true, apiKey: {headerName: Client-Cert}}".into(), "/x", "must be the name of a field"),
        (
            "{enabled: true, claimHeaders: {x_user_roles: n}}".into(),
            "/x",
            "services could not tell them apart",
        ),
        (
            "{enabled: true, identityHeaders: {user: X-User-Roles}}".into(),
            "/x",
            "services could not tell them apart",
        ),
        ("{rbac: {enabled: true, roles: [{name: a}]}}".into(), "/x", "has no effect, for nobody is asked"),
        (
            "{enabled: true, anonymousPaths: [/x/**]}".into(),
            "{path: /x/:id, roles: [admin]}",
            "lets everybody in there",
        ),
    ] {
        let yaml = format!(
            "auth: {auth}\nbackends:\n  - {{name: b, url: 'http://127.0.0.1:1', routes: [{route}]}}\n"
        );
        std::fs::write(folder.path().join("a.yaml"), &yaml).unwrap();
        let output = run(folder.path(), &["check", "-c", "a.yaml"]);
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && text.contains(said), "{yaml}\n{said}\n{text}");
        assert!(!text.contains(&digest["sha256:".len()..]), "{text}");
    }
}

#[test]
fn a_pepper_that_came_from_a_file_is_named_in_no_problem() {
    let folder = crate::harness::Folder::new();
    let secret = folder.path().join("hash");
    std::fs::write(&secret, format!("hmac-sha256:MyPepperSecret:{:064}", 0)).unwrap();
    let yaml = format!(
        "auth: {{enabled: true, apiKey: {{keys: [{{id: a, hashes: ['${{file:{}}}']}}]}}}}\nbackends: []\n",
        secret.display()
    );
    std::fs::write(folder.path().join("a.yaml"), yaml).unwrap();
    let output = run(folder.path(), &["check", "-c", "a.yaml"]);
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("names the pepper in the value put in for"), "{text}");
    assert!(!text.contains("MyPepperSecret"), "{text}");
}
