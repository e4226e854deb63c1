//! What an upstream says of places, in the client's terms (section 6): `Location`, `Content-Location`, cookies.

use crate::harness::{Authority, Backend, Builder, Call, Client, Folder, Gateway, Response, Upstream};

/// An upstream whose answers say of places what the request's `X-Say` says, `TARGET` standing for its own authority.
fn saying() -> Upstream {
    Upstream::start(|exchange| {
        let own = exchange.wire.tcp().local_addr().unwrap().to_string();
        let said = exchange.head.get("x-say").unwrap_or_default().replace("TARGET", &own);
        let cookie = exchange.head.get("x-cookie").unwrap_or_default().replace("TARGET", "127.0.0.1");
        let fields = [("Location", &*said), ("Content-Location", &*said), ("Set-Cookie", &*cookie)];
        exchange.reply(302, &fields, b"elsewhere")
    })
}

/// Backends with every way to rewrite a path.
fn gateway(upstream: &Upstream) -> Builder {
    let backend = |name: &str, more: &str| {
        let route = format!("{{path: /{name}/**, {more}}}");
        Backend::named(name).to(upstream).route(&route)
    };
    Gateway::builder()
        .backend(backend("plain", ""))
        .backend(backend("strip", "stripPrefix: /strip"))
        .backend(backend("add", "stripPrefix: /add, addPrefix: /v2"))
        .backend(backend("kept", "stripPrefix: /kept").with("preserveHost: true"))
        .backend(backend("off", "stripPrefix: /off").with("rewriteRedirects: false"))
        .backend(
            backend("cookies", "stripPrefix: /cookies").with("rewriteCookies: {path: true, domain: true}"),
        )
        .backend(backend("paths", "stripPrefix: /paths").with("rewriteCookies: {path: true}"))
}

fn ask(target: &str, said: &str) -> Call {
    Call::get(target).header("X-Say", said)
}

/// What the client is told, the same by both fields.
fn place(response: &Response) -> String {
    assert_eq!(response.status, 302, "{response:?}");
    let place = response.header("location").unwrap_or_default().to_owned();
    assert_eq!(response.header("content-location"), Some(place.as_str()));
    place
}

#[test]
fn a_place_at_the_target_is_one_at_the_gateway() {
    let upstream = saying();
    let gateway = gateway(&upstream).start();
    for (target, said, expected) in [
        ("/plain/x", "http://TARGET/login?next=%2F#top", "http://shop.test/login?next=%2F#top"),
        ("/plain/x", "HTTP://TARGET", "http://shop.test/"),
        ("/plain/x", "http://TARGET?a", "http://shop.test/?a"),
        ("/plain/x", "//TARGET/login", "http://shop.test/login"),
        ("/strip/x", "http://TARGET/login", "http://shop.test/strip/login"),
        ("/strip/x", "http://TARGET/strip/login", "http://shop.test/strip/login"),
        ("/strip/x", "http://TARGET/", "http://shop.test/strip/"),
        ("/add/x", "http://TARGET/v2/login", "http://shop.test/add/login"),
        ("/add/x", "http://TARGET/other", "http://shop.test/other"),
        ("/kept/x", "http://TARGET/login", "http://shop.test/kept/login"),
    ] {
        let response = gateway.send(&ask(target, said).header("Host", "shop.test"));
        assert_eq!(place(&response), expected, "{target} {said}");
    }
}

#[test]
fn a_place_elsewhere_stays_where_it_is() {
    let upstream = saying();
    let gateway = gateway(&upstream).start();
    for (target, said) in [
        ("/strip/x", "/login"),
        ("/strip/x", "login?next=http://TARGET/"),
        ("/strip/x", "../up"),
        ("/strip/x", "?again"),
        ("/strip/x", ""),
        ("/strip/x", "https://TARGET/x"),
        ("/strip/x", "ftp://TARGET/x"),
        ("/strip/x", "http://127.0.0.1/x"),
        ("/strip/x", "http://127.0.0.1:1/x"),
        ("/strip/x", "http://TARGET0/x"),
        ("/strip/x", "http://TARGET.evil.test/x"),
        ("/strip/x", "http://TARGET@evil.test/x"),
        ("/strip/x", "http://user@TARGET/x"),
        ("/strip/x", "http://evil.test/?http://TARGET/"),
        ("/strip/x", "http:/TARGET/x"),
        ("/strip/x", "mailto:a@b.test"),
        ("/kept/x", "http://shop.test/login"),
        ("/off/x", "http://TARGET/login"),
    ] {
        let response = gateway.send(&ask(target, said).header("Host", "shop.test"));
        assert_eq!(place(&response), said.replace("TARGET", &upstream.addr().to_string()), "{target} {said}");
    }
}

#[test]
fn only_a_trusted_proxy_says_what_the_client_asked_it() {
    let upstream = saying();
    let trusting = gateway(&upstream).server("trustedProxies: [127.0.0.1]").start();
    let other = gateway(&upstream).start();
    let edge = |proto: &str, host: &str| {
        ask("/strip/x", "http://TARGET/login")
            .header("Host", "inner.test")
            .header("X-Forwarded-For", "203.0.113.1, 127.0.0.1")
            .header("X-Forwarded-Proto", proto)
            .header("X-Forwarded-Host", host)
    };
    for (proto, host, expected) in [
        ("https", "shop.test", "https://shop.test/strip/login"),
        ("HTTPS", "shop.test:8443", "https://shop.test:8443/strip/login"),
        ("https, http", "shop.test, edge.test", "https://shop.test/strip/login"),
        ("gopher, https, http", "evil.test, shop.test, edge.test", "https://shop.test/strip/login"),
        ("gopher", "shop.test", "http://shop.test/strip/login"),
        ("https", "evil.test/?", "https://inner.test/strip/login"),
        ("https", "a@evil.test", "https://inner.test/strip/login"),
        ("", "", "http://inner.test/strip/login"),
    ] {
        assert_eq!(place(&trusting.send(&edge(proto, host))), expected, "{proto} {host}");
        assert_eq!(place(&other.send(&edge(proto, host))), "http://inner.test/strip/login", "{proto} {host}");
    }
}

#[test]
fn the_scheme_is_that_of_the_clients_connection() {
    let upstream = saying();
    let (authority, folder) = (Authority::new(), Folder::new());
    let (cert, key) = authority.issue(&["127.0.0.1"]).write_pem(folder.path());
    let files = format!("tls: {{certFile: \"{}\", keyFile: \"{}\"}}", cert.display(), key.display());
    let gateway = gateway(&upstream).server(&files).start();
    let (mut client, _) = Client::secure(gateway.addr, &authority.client(&[])).unwrap();
    let response = client.send(&ask("/strip/x", "http://TARGET/login").header("Host", "shop.test"));
    assert_eq!(place(&response), "https://shop.test/strip/login");
}

#[test]
fn a_client_that_has_named_no_host_gets_a_path() {
    let upstream = saying();
    let gateway = gateway(&upstream).start();
    let mut client = gateway.client();
    let say = format!("X-Say: http://{}/login?a", upstream.addr());
    client.write(format!("GET /strip/x HTTP/1.0\r\n{say}\r\n\r\n"));
    assert_eq!(place(&client.read("GET").unwrap()), "/strip/login?a");
}

#[test]
fn cookies_hold_where_the_client_is_if_asked_for() {
    let upstream = saying();
    let gateway = gateway(&upstream).start();
    for (target, said, expected) in [
        ("/strip/x", "a=b; Path=/; Domain=TARGET", "a=b; Path=/; Domain=127.0.0.1"),
        ("/paths/x", "a=b; Path=/; Domain=TARGET", "a=b; Path=/paths; Domain=127.0.0.1"),
        (
            "/cookies/x",
            "a=b; Path=/; Domain=TARGET; HttpOnly",
            "a=b; Path=/cookies; Domain=shop.test; HttpOnly",
        ),
        ("/cookies/x", "a=b; path=/in; secure", "a=b; Path=/cookies/in; secure"),
        ("/cookies/x", "a=b; Path=/cookies/in", "a=b; Path=/cookies/in"),
        ("/cookies/x", "a=\"b; c\"; Domain=other.test", "a=\"b; c\"; Domain=other.test"),
        ("/cookies/x", "a=b", "a=b"),
        ("/cookies/x", "a=b; Path=; Domain=", "a=b; Path=; Domain="),
    ] {
        let call = Call::get(target).header("X-Cookie", said).header("Host", "shop.test:8080");
        let response = gateway.send(&call);
        assert_eq!(response.header("set-cookie"), Some(expected), "{target} {said}");
    }
}
