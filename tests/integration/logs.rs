//! The access log: one line for each request, in JSON or text, with nothing raw in it (section 7).

use serde_json::Value;

use crate::harness::{Backend, Builder, Call, Gateway, SOON, Upstream, eventually};

fn logging(format: &str) -> (Upstream, Builder) {
    let upstream = Upstream::echo();
    let backend = Backend::named("main").to(&upstream).route("/x/**").route("{path: /admin, deny: true}");
    let logging = format!("logging: {{level: info, format: {format}, accessLog: true}}");
    (upstream, Gateway::builder().top(&logging).backend(backend))
}

/// The access lines (those with a request id and a status) whose path starts with `path`.
fn lines(gateway: &Gateway, path: &str) -> Vec<Value> {
    let log = gateway.log();
    let parsed = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let access = parsed.filter(|line| line["requestId"].is_string() && line["status"].is_number());
    access.filter(|line| line["path"].as_str().is_some_and(|p| p.starts_with(path))).collect()
}

fn line(gateway: &Gateway, path: &str) -> Value {
    assert!(eventually(SOON, || !lines(gateway, path).is_empty()), "no line for {path} in {}", gateway.log());
    lines(gateway, path).remove(0)
}

#[test]
fn every_request_has_one_json_line_with_the_id_that_client_and_upstream_saw() {
    let (upstream, builder) = logging("json");
    let gateway = builder.start();
    let response = gateway.send(&Call::post("/x/one?q=1", "hello"));
    let id = response.header("x-request-id").unwrap();
    assert_eq!(upstream.last().head.get("x-request-id"), Some(id));
    let line = line(&gateway, "/x/one");
    assert_eq!(line["requestId"], id);
    for (field, value) in [
        ("method", Value::from("POST")),
        ("status", 200.into()),
        ("route", "/x/**".into()),
        ("backend", "main".into()),
        ("clientIp", "127.0.0.1".into()),
        ("bytesIn", 5.into()),
        ("bytesOut", response.body.len().into()),
    ] {
        assert_eq!(line[field], value, "{field} in {line}");
    }
    assert!(line["durationMs"].as_f64().is_some_and(|ms| ms >= 0.0), "{line}");
}

#[test]
fn refused_requests_are_logged_like_any_other_with_their_reason() {
    let (_upstream, builder) = logging("json");
    let gateway = builder.start();
    for (target, status, reason) in
        [("/nothing", 404, "no_route"), ("/admin", 403, "denied"), ("/bad%00path", 400, "bad_path")]
    {
        let response = gateway.get(target);
        response.assert_problem(status, reason);
        let line = line(&gateway, &target[..4]);
        assert_eq!((&line["status"], &line["reason"]), (&status.into(), &reason.into()), "{line}");
        assert_eq!(line["requestId"], response.header("x-request-id").unwrap());
    }
}

#[test]
fn each_request_is_logged_exactly_once_also_when_they_come_fast() {
    let (_upstream, builder) = logging("json");
    let gateway = builder.start();
    let mut client = gateway.client();
    (0..500).for_each(|i| assert_eq!(client.get(&format!("/x/{i}")).status, 200));
    assert!(eventually(SOON, || lines(&gateway, "/x/").len() >= 500));
    let lines = lines(&gateway, "/x/");
    let mut ids: Vec<_> = lines.iter().map(|line| line["requestId"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((lines.len(), ids.len()), (500, 500));
}

#[test]
fn nothing_that_a_client_sends_can_forge_a_line_or_move_the_terminal() {
    for format in ["json", "text"] {
        let (_upstream, builder) = logging(format);
        let gateway = builder.start();
        let forged = "{\"status\":200}";
        gateway.send(
            &Call::get(&format!("/x/evil%0a{forged}?a=%1b[31m"))
                .header("User-Agent", "a\u{9b}31m\tb\"\\c")
                .header("Referer", forged),
        );
        gateway.get("/x/fine");
        assert!(eventually(SOON, || gateway.log().contains("/x/fine")), "{format}: {}", gateway.log());
        let log = gateway.log();
        let raw = log.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(raw, None, "{format}: {log:?}");
        assert!(!log.lines().any(|line| line.starts_with(forged)), "{format}: {log}");
    }
}

#[test]
fn the_text_format_is_one_readable_line_for_each_request() {
    let (_upstream, builder) = logging("text");
    let gateway = builder.start();
    let response = gateway.get("/x/readable");
    let id = response.header("x-request-id").unwrap();
    let of_request =
        || gateway.log().lines().filter(|line| line.contains(id)).map(str::to_owned).collect::<Vec<_>>();
    assert!(eventually(SOON, || !of_request().is_empty()), "{}", gateway.log());
    let lines = of_request();
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].contains("GET") && lines[0].contains("/x/readable") && lines[0].contains("200"),
        "{lines:?}"
    );
    assert!(serde_json::from_str::<Value>(&lines[0]).is_err(), "text, not JSON: {}", lines[0]);
}

#[test]
fn the_access_log_can_be_turned_off() {
    let (_upstream, builder) = logging("json");
    let mut gateway = builder.top("logging: {level: info, format: json, accessLog: false}").start();
    let response = gateway.get("/x/silent");
    // A gateway that has ended has written all that it will.
    gateway.signal("TERM");
    assert!(gateway.exit(SOON).is_some_and(|status| status.success()));
    assert!(gateway.log().contains("stopping"), "{}", gateway.log());
    assert!(!gateway.log().contains(response.header("x-request-id").unwrap()), "{}", gateway.log());
}

#[test]
fn the_access_log_does_not_depend_on_the_level() {
    let (_upstream, builder) = logging("json");
    let gateway = builder.top("logging: {level: warn, format: json, accessLog: true}").start();
    assert_eq!(gateway.get("/x/quiet").status, 200);
    assert_eq!(line(&gateway, "/x/quiet")["status"], 200);
    assert!(!gateway.log().contains("\"level\":\"info\""), "{}", gateway.log());
}

#[test]
fn what_a_client_calls_itself_can_be_read_from_the_log_whatever_bytes_it_sends() {
    let (_upstream, builder) = logging("json");
    let gateway = builder.start();
    let cases: [(&[u8], &str); 6] = [
        (b"plain/1.0", "plain/1.0"),
        ("Fútbol/1.0".as_bytes(), "Fútbol/1.0"),
        (b"F\xfatbol/\xff1", "F\\xFAtbol/\\xFF1"),
        ("a\u{2028}b\u{85}c".as_bytes(), "a\u{2028}b\u{85}c"),
        (b"a\"b\\c\td", "a\"b\\c\td"),
        (b"cut \xe2\x80", "cut \\xE2\\x80"),
    ];
    for (n, (sent, seen)) in cases.iter().enumerate() {
        let head = format!("GET /x/agent{n} HTTP/1.1\r\nHost: a\r\nUser-Agent: ");
        let request = [head.as_bytes(), sent, b"\r\nReferer: http://a/", sent, b"\r\n\r\n"];
        let mut client = gateway.client();
        client.write(request.concat());
        assert_eq!(client.read("GET").unwrap().status, 200, "{seen}");
        let line = line(&gateway, &format!("/x/agent{n}"));
        assert_eq!(line["userAgent"], *seen);
        assert_eq!(line["referer"], format!("http://a/{seen}"));
    }
    // Whatever a reader takes for the end of a line.
    let log = gateway.log();
    assert!(log.lines().any(|line| line.contains(r"a\u2028b\u0085c")), "{log}");
    assert!(!log.contains(['\u{2028}', '\u{85}']), "{log}");
}

#[test]
fn queries_stay_out_of_the_log_unless_they_are_asked_for_and_passwords_always() {
    for (query, format) in [(false, "json"), (true, "json"), (false, "text"), (true, "text")] {
        let (_upstream, builder) = logging(format);
        let gateway = builder.top(&format!("logging: {{format: {format}, query: {query}}}")).start();
        let page = "http://a.test/page?from=secret2#part";
        let sent = page.replace("a.test", "ann:secret3@a.test");
        gateway.send(&Call::get("/x/asked?token=secret1&x").header("Referer", &sent));
        assert!(eventually(SOON, || gateway.log().contains("/x/asked")), "{}", gateway.log());
        let log = gateway.log();
        assert_eq!([log.contains("secret1"), log.contains("secret2")], [query; 2], "{format}: {log}");
        assert!(log.contains("http://a.test/page") && !log.contains("secret3"), "{format}: {log}");
        if format == "json" {
            let line = line(&gateway, "/x/asked");
            let expected = if query { Value::from("token=secret1&x") } else { Value::Null };
            assert_eq!((&line["query"], &line["path"]), (&expected, &"/x/asked".into()));
            assert_eq!(line["referer"], if query { page } else { "http://a.test/page" });
        } else {
            assert_eq!(log.contains(" /x/asked?token=secret1&x 200 "), query, "{log}");
        }
    }
}

#[test]
fn a_line_says_what_path_the_upstream_was_asked_for() {
    for format in ["json", "text"] {
        let (upstream, builder) = logging(format);
        let backend =
            Backend::named("moved").to(&upstream).route("{path: /api/**, stripPrefix: /api, addPrefix: /v2}");
        let gateway = builder.backend(backend).start();
        gateway.get("/api//users?q=1");
        assert_eq!(upstream.last().head.start, "GET /v2/users?q=1 HTTP/1.1");
        gateway.get("/x/same");
        gateway.get("/admin/none");
        assert!(eventually(SOON, || gateway.log().contains("/admin/none")), "{}", gateway.log());
        if format == "text" {
            let log = gateway.log();
            assert_eq!(log.matches(" upstreamPath=/v2/users ").count(), 1, "{log}");
            assert_eq!(log.matches("upstreamPath").count(), 1, "only where it is another: {log}");
            continue;
        }
        let path = |of| line(&gateway, of)["upstreamPath"].clone();
        assert_eq!(path("/api//users"), "/v2/users");
        assert_eq!(path("/x/same"), "/x/same");
        assert_eq!(path("/admin/none"), Value::Null, "it was never sent");
    }
}

#[test]
fn probes_have_no_line_unless_they_are_asked_for() {
    for probes in [false, true] {
        let (_upstream, builder) = logging("json");
        let gateway = builder.top(&format!("logging: {{probes: {probes}}}")).start();
        let paths = ["/health", "/healthz", "/ready"];
        paths.iter().for_each(|path| assert_eq!(gateway.get(path).status, 200));
        // One worker may write its lines before another: a line of each worker is waited for.
        let mut client = gateway.client();
        paths.iter().for_each(|path| assert_eq!(client.get(path).status, 200));
        assert_eq!(client.get("/x/after").status, 200);
        assert_eq!(client.get("/healthy").status, 404);
        line(&gateway, "/x/after");
        line(&gateway, "/healthy");
        let seen = || paths.map(|path| !lines(&gateway, path).iter().all(|line| line["path"] != *path));
        if probes {
            assert!(eventually(SOON, || seen() == [true; 3]), "{}", gateway.log());
        }
        assert_eq!(seen(), [probes; 3], "{}", gateway.log());
    }
}
