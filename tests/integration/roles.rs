//! What roles may do, and which addresses may come in (section 9).

use serde_json::Value;

use crate::harness::identity::{Way, sha256};
use crate::harness::{Backend, Builder, Gateway, SOON, Upstream, eventually};

const RBAC: &str = "rbac: {enabled: true, superAdminRoles: [root], defaultRole: guest, roles: [\
    {name: anonymous, permissions: [{resource: /open/**, actions: [GET]}]}, \
    {name: guest, permissions: [{resource: /hello, actions: [GET]}]}, \
    {name: reader, permissions: [{resource: '/api/**', actions: [GET]}]}, \
    {name: editor, inherits: [reader], permissions: [{resource: '/api/docs/:id', actions: [PUT, POST]}]}, \
    {name: owner, inherits: [editor], permissions: [{resource: '/api/**', actions: ['*']}]}, \
    {name: near, permissions: [{resource: /near, actions: [GET], conditions: [{type: ip, operator: in, value: [127.0.0.0/8]}]}, \
        {resource: /far, actions: [GET], conditions: [{type: ip, operator: in, value: [10.0.0.0/8]}]}, \
        {resource: /flag, actions: [GET], conditions: [{type: header, header: X-Flag, operator: equals, value: on}]}]}]}";

const WHO: [(&str, &str); 7] = [
    ("reader-key", "roles: [reader]"),
    ("editor-key", "roles: [editor]"),
    ("owner-key", "roles: [owner]"),
    ("root-key", "roles: [root]"),
    ("near-key", "roles: [near, unknown]"),
    ("nobody-key", "roles: []"),
    ("own-key", "roles: [guest], permissions: {/api/own/**: [GET, DELETE]}"),
];

fn guarded(upstream: &Upstream, auth: &str, routes: &[&str]) -> Builder {
    let keys = WHO.map(|(key, more)| format!("{{id: {key}, hashes: ['{}'], {more}}}", sha256(key)));
    let backend =
        routes.iter().fold(Backend::named("main").to(upstream), |backend, route| backend.route(route));
    let keys = keys.join(", ");
    let auth =
        format!("auth: {{enabled: true, failureLimit: {{failures: 0}}, apiKey: {{keys: [{keys}]}}, {auth}}}");
    Gateway::builder().top(&auth).backend(backend)
}

/// What the documentation says of a request: `None` = it passes.
fn expected(who: Option<&str>, method: &str, path: &str) -> Option<&'static str> {
    let get = matches!(method, "GET" | "HEAD");
    let api = path.strip_prefix("/api/").is_some_and(|rest| !rest.is_empty());
    let document = path.strip_prefix("/api/docs/").is_some_and(|id| !id.is_empty() && !id.contains('/'));
    let permitted = match who {
        None => get && path.starts_with("/open/"),
        Some("root-key") => true,
        Some("reader-key") => get && api,
        Some("editor-key") => get && api || document && matches!(method, "PUT" | "POST"),
        Some("owner-key") => api,
        Some("near-key") => get && path == "/near",
        Some("nobody-key") => get && path == "/hello",
        Some("own-key") => {
            get && path == "/hello" || (get || method == "DELETE") && path.starts_with("/api/own/")
        }
        Some(_) => unreachable!(),
    };
    match (permitted, who) {
        (true, _) => None,
        (false, Some(_)) => Some("rbac_denied"),
        (false, None) => Some("auth_missing"),
    }
}

#[test]
fn each_role_may_what_its_permissions_say_and_nothing_else() {
    let upstream = Upstream::echo();
    let gateway = guarded(&upstream, &format!("allowAnonymous: true, {RBAC}"), &["/**"]).start();
    let paths = [
        "/hello",
        "/api/x",
        "/api/docs/7",
        "/api/docs/7/8",
        "/api/own/a",
        "/open/x",
        "/near",
        "/far",
        "/flag",
        "/",
    ];
    let who = WHO.iter().map(|(key, _)| Some(*key)).chain([None]);
    let mut rows = 0;
    for who in who {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"] {
            for path in paths {
                let before = upstream.count();
                let fields: Vec<_> = who.map(|key| ("X-API-Key", key)).into_iter().collect();
                let got = gateway.ask(Way::Http1, method, path, &fields);
                let passed = upstream.count() > before;
                assert_eq!(
                    (got.reason.as_deref(), passed),
                    (expected(who, method, path), expected(who, method, path).is_none()),
                    "{who:?} {method} {path}: {got:?}"
                );
                rows += 1;
            }
        }
    }
    assert_eq!(rows, 480);
}

#[test]
fn no_spelling_of_a_path_is_permitted_that_its_upstream_could_take_for_another() {
    let upstream = Upstream::echo();
    let gateway = guarded(&upstream, RBAC, &["/**"]).start();
    for path in [
        "/api/../secret",
        "/api/..%2fsecret",
        "/api/..;/secret",
        "//secret",
        "/%73ecret",
        "/API/x",
        "/api",
        "/secret#/api/",
        "/secret?x=/api/",
        "/api%2fx",
        "/secret;/api/x",
    ] {
        let fields =
            [("X-API-Key", "reader-key"), ("X-HTTP-Method-Override", "GET"), ("X-Original-URL", "/api/x")];
        let got = gateway.ask(Way::Http1, "GET", path, &fields);
        assert!(
            matches!(got.reason.as_deref(), Some("rbac_denied" | "bad_path" | "bad_request")),
            "{path}: {got:?}"
        );
    }
    for path in ["/api/x/", "/%61pi/x", "/api//x", "/x/../api/x", "/api/x?y"] {
        assert!(gateway.ask(Way::Http1, "GET", path, &[("X-API-Key", "reader-key")]).passed(), "{path}");
    }
    // An override is the upstream's affair, and is judged as what it is.
    let post = gateway.ask(
        Way::Http1,
        "POST",
        "/api/x",
        &[("X-API-Key", "reader-key"), ("X-HTTP-Method-Override", "GET")],
    );
    assert_eq!(post.reason.as_deref(), Some("rbac_denied"));
}

#[test]
fn a_condition_on_a_field_holds_for_every_value_of_it() {
    let upstream = Upstream::echo();
    let gateway = guarded(&upstream, RBAC, &["/**"]).start();
    let ask = |flags: &[&str]| {
        let fields: Vec<_> =
            flags.iter().map(|flag| ("X-Flag", *flag)).chain([("X-API-Key", "near-key")]).collect();
        gateway.ask(Way::Http1, "GET", "/flag", &fields).status
    };
    assert_eq!((ask(&["on"]), ask(&["on", "on"])), (200, 200));
    assert_eq!(
        (ask(&[]), ask(&["off"]), ask(&["on", "off"]), ask(&["off", "on"]), ask(&["on, off"])),
        (403, 403, 403, 403, 403)
    );
}

#[test]
fn in_shadow_what_would_be_denied_passes_and_is_told() {
    let upstream = Upstream::echo();
    let rbac = RBAC.replace("enabled: true", "enabled: true, shadow: true");
    let gateway = guarded(&upstream, &rbac, &["/**", "{path: /admin, roles: [owner]}"]).start();
    for (path, status) in [("/api/x", 200), ("/secret", 200), ("/admin", 403)] {
        assert_eq!(
            gateway.ask(Way::Http1, "GET", path, &[("X-API-Key", "reader-key")]).status,
            status,
            "{path}"
        );
    }
    let told = |path: &str| {
        let log = gateway.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["path"] == path).map(|line| line["wouldDeny"] == true).next()
    };
    assert!(
        eventually(SOON, || told("/secret") == Some(true) && told("/api/x") == Some(false)),
        "{}",
        gateway.log()
    );
    let metrics = gateway.ask_admin(crate::harness::Call::get("/metrics")).text();
    assert!(
        metrics.contains("aegis_auth_decisions_total{method=\"apiKey\",result=\"shadow_denied\"} 1\n"),
        "{metrics}"
    );
}

#[test]
fn a_super_admin_needs_no_role_of_a_route_but_its_scopes() {
    let upstream = Upstream::echo();
    let routes = [
        "{path: /roles, roles: [owner]}",
        "{path: /scopes, scopes: [all]}",
        "{path: /inherited, roles: [reader]}",
    ];
    let gateway = guarded(
        &upstream,
        "rbac: {superAdminRoles: [root], roles: [{name: reader}, {name: editor, inherits: [reader]}]}",
        &routes,
    )
    .start();
    for (key, path, status) in [
        ("root-key", "/roles", 200),
        ("root-key", "/scopes", 403),
        ("editor-key", "/inherited", 200),
        ("editor-key", "/roles", 403),
    ] {
        assert_eq!(
            gateway.ask(Way::Http1, "GET", path, &[("X-API-Key", key)]).status,
            status,
            "{key} {path}"
        );
    }
}

#[test]
fn addresses_are_judged_before_anything_else_for_all_a_backend_and_a_route() {
    let upstream = Upstream::echo();
    let backend = Backend::named("main")
        .to(&upstream)
        .route("/**")
        .route("{path: /few, ip: {allow: [198.51.100.7]}}")
        .with("ip: {deny: [198.51.100.66]}");
    let gateway = Gateway::builder()
        .server("trustedProxies: [127.0.0.0/8]")
        .top("auth: {ip: {allow: [127.0.0.0/8, 198.51.100.0/24, '2001:db8::/32'], deny: [198.51.100.99, '2001:db8:bad::/48']}}")
        .backend(backend)
        .start();
    for way in Way::ALL.into_iter().take(2) {
        for (client, path, passes) in [
            ("198.51.100.7", "/x", true),
            ("198.51.100.7", "/few", true),
            ("198.51.100.8", "/few", false),
            ("198.51.100.66", "/x", false),
            ("198.51.100.99", "/x", false),
            ("203.0.113.1", "/x", false),
            ("2001:db8::1", "/x", true),
            ("2001:db8:bad::1", "/x", false),
            ("::ffff:198.51.100.7", "/few", true),
        ] {
            let got = gateway.ask(way, "GET", path, &[("X-Forwarded-For", client)]);
            let reason = if passes { None } else { Some("ip_denied") };
            assert_eq!(
                (got.passed(), got.reason.as_deref()),
                (passes, reason),
                "{way:?} {client} {path}: {got:?}"
            );
        }
    }
    // Its own word on who it is moves nobody in: the proxy is trusted, the client before it is not.
    let got = gateway.ask(Way::Http1, "GET", "/few", &[("X-Forwarded-For", "198.51.100.7, 203.0.113.1")]);
    assert_eq!(got.reason.as_deref(), Some("ip_denied"));
}
