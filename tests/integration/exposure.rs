//! Who may ask the admin API, and from where (section 3).

use crate::harness::{Backend, Builder, Call, Client, Gateway, Upstream};

const TOKEN: &str = "s3cret-t0ken";
const ENDPOINTS: [&str; 3] = ["/_aegis/status", "/_aegis/routes", "/_aegis/config"];

fn guarded() -> (Upstream, Builder) {
    let upstream = Upstream::ok("ok");
    let builder = Gateway::builder().backend(Backend::all(&upstream));
    (upstream, builder)
}

fn bearer(target: &str, token: &str) -> Call {
    Call::get(target).header("Authorization", &format!("Bearer {token}"))
}

#[test]
fn with_a_token_the_admin_api_answers_nobody_else() {
    let (_upstream, builder) = guarded();
    let gateway = builder.admin(&format!("token: {TOKEN}")).start();
    let ask = |call: &Call| Client::connect(gateway.admin).send(call);
    for target in ENDPOINTS {
        ask(&Call::get(target)).assert_problem(401, "auth_missing");
        assert_eq!(ask(&bearer(target, TOKEN)).status, 200, "{target}");
        for wrong in ["", "wrong", &TOKEN[1..], &format!("{TOKEN}x"), &TOKEN.to_uppercase()] {
            let response = ask(&bearer(target, wrong));
            assert_eq!(response.status, 401, "{target} with {wrong:?}");
            assert!(response.header("www-authenticate").is_some(), "{target} with {wrong:?}");
        }
        let basic = Call::get(target).header("Authorization", &format!("Basic {TOKEN}"));
        assert_eq!(ask(&basic).status, 401, "{target}");
    }
    let reload = ask(&Call::post("/_aegis/reload", ""));
    assert_eq!(reload.status, 401);
    for open in ["/health", "/healthz", "/ready"] {
        assert_eq!(ask(&Call::get(open)).status, 200, "{open} needs no token");
    }
}

#[test]
fn a_foreign_host_is_403_so_that_no_web_page_can_rebind_its_name_to_us() {
    let (_upstream, builder) = guarded();
    let gateway = builder.admin("allowedOrigins: [\"https://ops.example.com\"]").start();
    let port = gateway.admin.port();
    let ask = |host: &str| {
        let status = Client::connect(gateway.admin).send(&Call::get("/_aegis/status").header("Host", host));
        status.status
    };
    for host in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("[::1]:{port}"),
        format!("LOCALHOST:{port}"),
        format!("localhost.:{port}"),
        "ops.example.com".into(),
    ] {
        assert_eq!(ask(&host), 200, "{host}");
    }
    for host in [
        "evil.test".into(),
        format!("evil.test:{port}"),
        format!("127.0.0.1.evil.test:{port}"),
        format!("localhost.evil.test:{port}"),
        "ops.example.com.evil.test".into(),
        format!("notlocalhost:{port}"),
    ] {
        assert_eq!(ask(&host), 403, "{host}");
    }
    let call = Call::post("/_aegis/reload", "").header("Host", "evil.test");
    assert_eq!(Client::connect(gateway.admin).send(&call).status, 403);
}

#[test]
fn without_a_token_the_reserved_prefix_on_the_gateway_listener_is_404() {
    let (upstream, builder) = guarded();
    let gateway = builder.start();
    for target in [
        "/_aegis/status",
        "/_aegis/",
        "/_aegis/reload",
        "//_aegis/status",
        "/x/../_aegis/status",
        "/%5faegis/x",
    ] {
        let response = gateway.get(target);
        assert_eq!(response.status, 404, "{target}");
    }
    assert_eq!(upstream.count(), 0, "the prefix is never proxied");
}

#[test]
fn with_a_token_the_reserved_prefix_on_the_gateway_listener_asks_for_it() {
    let (upstream, builder) = guarded();
    let gateway = builder.admin(&format!("token: {TOKEN}")).start();
    for target in ENDPOINTS {
        gateway.get(target).assert_problem(401, "auth_missing");
        gateway.send(&bearer(target, "wrong")).assert_problem(401, "auth_invalid");
        assert_eq!(gateway.send(&bearer(target, TOKEN)).status, 200, "{target}");
    }
    assert_eq!(gateway.get("//_aegis/status").status, 401, "however it is spelled");
    assert_eq!(gateway.send(&bearer("/_aegis/nothing", TOKEN)).status, 404);
    assert_eq!(upstream.count(), 0);
}

#[test]
fn metrics_and_the_history_api_are_never_on_the_gateway_listener() {
    let upstream = Upstream::ok("ok");
    let gateway = Gateway::with(Backend::named("main").to(&upstream).route("/app/**"));
    for target in ["/metrics", "/api/metrics/overview", "/ws/metrics"] {
        gateway.get(target).assert_problem(404, "no_route");
    }
}

#[test]
fn a_listener_on_every_address_answers_to_addresses_and_still_not_to_foreign_names() {
    let (_upstream, builder) = guarded();
    let gateway = builder.admin("host: 0.0.0.0").admin(&format!("token: {TOKEN}")).start();
    let ask = |host: &str| {
        let call = bearer("/_aegis/status", TOKEN).header("Host", host);
        Client::connect(gateway.admin).send(&call).status
    };
    for host in ["10.1.2.3:8081", "[fd00::1]:8081", "localhost:8081"] {
        assert_eq!(ask(host), 200, "{host}");
    }
    let foreign = |target: &str| Call::get(target).header("Host", "aegis.monitoring.svc:8081");
    let send = |call: &Call| Client::connect(gateway.admin).send(call);
    for probe in ["/health", "/healthz", "/ready"] {
        assert_eq!(send(&foreign(probe)).status, 200, "{probe}: who probes asks by whatever name it knows");
    }
    let right = format!("Bearer {TOKEN}");
    assert_eq!(
        send(&foreign("/metrics").header("Authorization", &right)).status,
        200,
        "no page knows the token"
    );
    for refused in [foreign("/metrics"), foreign("/metrics").header("Authorization", "Bearer wrong")] {
        let refused = send(&refused);
        assert_eq!(refused.status, 403);
        assert!(refused.text().contains("admin.allowedOrigins"), "it says the mend: {}", refused.text());
    }
}

#[test]
fn the_target_in_absolute_form_is_who_is_asked_whatever_the_host_field_says() {
    let (_upstream, builder) = guarded();
    let gateway = builder.start();
    let mut client = Client::connect(gateway.admin);
    client.write("GET http://evil.test/_aegis/status HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.read("GET").unwrap().status, 403);
    let mut client = Client::connect(gateway.admin);
    client.write("GET /ready HTTP/1.0\r\n\r\n");
    assert_eq!(client.read("GET").unwrap().status, 200, "a probe of HTTP/1.0 names nobody");
}

#[test]
fn a_page_of_another_origin_cannot_change_anything_not_even_from_another_port_of_this_machine() {
    let (_upstream, builder) = guarded();
    let gateway = builder.admin("allowedOrigins: [\"https://ops.example.com\"]").start();
    let port = gateway.admin.port();
    let reload = |origin: &str| {
        let call = Call::post("/_aegis/reload", "").header("Origin", origin);
        Client::connect(gateway.admin).send(&call).status
    };
    for origin in
        ["http://127.0.0.1:3000", "http://localhost:3000", "http://127.0.0.1", "http://evil.test", "null"]
    {
        assert_eq!(reload(origin), 403, "{origin}");
    }
    for origin in ["http://ops.example.com", "https://ops.example.com:8443"] {
        assert_eq!(reload(origin), 403, "{origin}: an allowed origin is more than its host");
    }
    assert_eq!(gateway.admin_json("/_aegis/status")["config"]["generation"], 1);
    assert_eq!(reload(&format!("http://127.0.0.1:{port}")), 200, "its own page");
    assert_eq!(reload("https://ops.example.com"), 200, "an allowed one");
}

#[test]
fn a_reload_cannot_give_the_bound_listener_another_name() {
    let (_upstream, builder) = guarded();
    let gateway = builder.clone().admin(&format!("token: {TOKEN}")).start();
    gateway.rewrite(&builder.admin("host: evil.test").admin(&format!("token: {TOKEN}")));
    let reload = gateway.admin_post("/_aegis/reload", "");
    assert_eq!((reload.status, &reload.json()["needsRestart"][0]), (200, &"admin.host".into()));
    let call = Call::get("/_aegis/status").header("Host", "evil.test");
    assert_eq!(Client::connect(gateway.admin).send(&call).status, 403);
}

#[test]
fn a_reload_cannot_take_the_token_away_from_a_listener_that_everybody_can_reach() {
    let (_upstream, builder) = guarded();
    let gateway = builder.clone().admin("host: 0.0.0.0").admin(&format!("token: {TOKEN}")).start();
    // Fine after a restart; until then the listener is still bound to every address.
    gateway.rewrite(&builder.admin("host: 127.0.0.1"));
    let reload = gateway.admin_post("/_aegis/reload", "");
    assert_eq!(reload.status, 422, "{}", reload.text());
    assert!(reload.text().contains("admin.token"), "{}", reload.text());
    assert_eq!(Client::connect(gateway.admin).send(&Call::get("/_aegis/status")).status, 401);
}

#[test]
fn a_trace_that_ends_at_the_gateway_tells_nothing_by_which_its_sender_is_known() {
    let (_upstream, builder) = guarded();
    let gateway = builder.start();
    let mut call = Call::new("TRACE", "/x").header("Max-Forwards", "0").header("X-Seen", "plain");
    let secret = [
        "Authorization",
        "Proxy-Authorization",
        "Cookie",
        "X-API-Key",
        "X-Auth-Token",
        "Client_Secret",
        "X-Session-Id",
        "Ocp-Apim-Subscription-Key",
    ];
    for name in secret {
        call = call.header(name, "hunter2");
    }
    let answer = gateway.send(&call);
    let body = answer.text();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("message/http")), "{body}");
    assert!(body.starts_with("TRACE /x HTTP/1.1\r\n") && body.contains("X-Seen: plain\r\n"), "{body}");
    assert!(!body.contains("hunter2"), "{body}");
}
