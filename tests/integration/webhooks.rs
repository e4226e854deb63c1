//! How webhooks are told: with the fields that the configuration gives, and under TLS as they can be trusted.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Authority, Backend, Builder, Folder, Gateway, SOON, Upstream, eventually, run};

/// A gateway with a rule that fires at the first failure, told to the webhook with these keys beside its URL.
fn judged(upstream: &Upstream, url: &str, keys: &str) -> Builder {
    let alerts = format!(
        "alerts: {{checkIntervalMs: 100, webhooks: [{{name: ops, url: \"{url}/hook\"{keys}}}], rules: [{{id: errors, \
         condition: {{metric: error_rate, operator: '>', threshold: 0.5, windowSeconds: 5}}, actions: ['webhook:ops']}}]}}"
    );
    let backend = Backend::all(upstream).without_breaker().with("retries: 0");
    Gateway::builder().top("metrics: {store: none}").top(&alerts).backend(backend)
}

/// What `/api/alerts` says of the push, once it says something while requests fail.
fn push(gateway: &Gateway, key: &str) -> Value {
    let mut said = Value::Null;
    let told = eventually(SOON, || {
        gateway.get("/bad");
        said = gateway.admin_json("/api/alerts")["data"][0]["webhooks"][0][key].clone();
        !said.is_null()
    });
    assert!(told, "no {key}: {} {}", gateway.admin_json("/api/alerts"), gateway.log());
    said
}

/// A receiver with a certificate of the house's own authority, in `ca.pem` of a folder.
fn private() -> (Upstream, Folder, String) {
    let (authority, folder) = (Authority::new(), Folder::new());
    let receiver = Upstream::start_tls(authority.server(&["127.0.0.1"]), |exchange| exchange.ok("taken"));
    let file = folder.path().join("ca.pem");
    authority.write_pem(&file);
    (receiver, folder, file.display().to_string())
}

#[test]
fn a_webhook_is_sent_the_fields_of_its_own_and_nobody_is_shown_them() {
    let (upstream, receiver) = (Upstream::status(500), Upstream::ok("taken"));
    let keys = ", headers: {Authorization: 'Bearer s3cret', X-Team: \"s3cret too\", User-Agent: ours}";
    let gateway = judged(&upstream, &receiver.url(), keys).start();
    assert_eq!(push(&gateway, "told"), "fired");
    let head = receiver.last().head;
    assert_eq!(
        ["authorization", "x-team", "user-agent", "content-type"].map(|name| head.all(name)),
        [vec!["Bearer s3cret"], vec!["s3cret too"], vec!["ours"], vec!["application/json"]]
    );
    let config = gateway.admin_json("/_aegis/config");
    let shown = &config["alerts"]["webhooks"][0]["headers"];
    assert_eq!(
        (&shown["authorization"], &shown["x-team"]),
        (&Value::from("[redacted]"), &Value::from("[redacted]"))
    );
    assert!(!format!("{config}{}", gateway.log()).contains("s3cret"));
}

#[test]
fn a_receiver_with_a_certificate_of_the_house_is_told_where_its_authority_is_named() {
    let upstream = Upstream::status(500);
    let (receiver, folder, ca) = private();
    let stranger = judged(&upstream, &receiver.url(), "").start();
    let why = push(&stranger, "error").to_string();
    assert!(why.contains("issuer is unknown"), "{why}");
    assert_eq!(receiver.count(), 0, "nothing is sent to a stranger");

    let named = judged(&upstream, &receiver.url(), &format!(", caFile: {ca}")).start();
    assert_eq!(push(&named, "told"), "fired");

    let by_environment = judged(&upstream, &receiver.url(), "").variable("SSL_CERT_FILE", &ca).start();
    assert_eq!(push(&by_environment, "told"), "fired");
    assert_eq!(receiver.count(), 2);

    // The file is read for each push: another authority's does not help, and the right one does when it is back.
    let good = std::fs::read(&ca).unwrap();
    let other = folder.path().join("other.pem");
    Authority::new().write_pem(&other);
    let changing = judged(&upstream, &receiver.url(), &format!(", caFile: {}", other.display())).start();
    assert!(push(&changing, "error").to_string().contains("TLS: "));
    std::fs::write(&other, good).unwrap();
    let told = || changing.admin_json("/api/alerts")["data"][0]["webhooks"][0]["told"] == "fired";
    assert!(eventually(Duration::from_secs(30), || changing.get("/bad").status == 500 && told()));
}

#[test]
fn what_cannot_be_sent_to_a_webhook_is_said_without_the_secret() {
    let folder = Folder::new();
    let check = |keys: &str| {
        let text = judged(&Upstream::ok(""), "http://127.0.0.1:1", keys).yaml();
        std::fs::write(folder.path().join("a.yaml"), text).unwrap();
        let output = run(folder.path(), &["check", "-c", "a.yaml"]);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    for (keys, said) in [
        (
            "headers: {Content-Length: s3cret}",
            "`alerts.webhooks[0].headers.content-length` is set by the gateway itself",
        ),
        (
            "headers: {X-Key: s3cret, x-key: s3cret}",
            "the header `x-key` is in `alerts.webhooks[0].headers` twice",
        ),
        ("headers: {'X Key': s3cret}", "a name in `alerts.webhooks[0].headers` is not a header name"),
        ("headers: {X-Key: \"s3cret\\n\"}", "`alerts.webhooks[0].headers.X-Key` ends in a line break"),
        ("headers: {X-Key: s3cretß}", "`alerts.webhooks[0].headers.x-key` holds characters beyond ASCII"),
        ("headers: {X-Key: [s3cret]}", "`alerts.webhooks[0].headers.X-Key` must be text"),
        ("headers: {X-Key: 5123}", "`alerts.webhooks[0].headers.X-Key` must be text"),
        ("caFile: none.pem", "`alerts.webhooks[0].caFile`: cannot read `none.pem`"),
        ("caFile: a.yaml", "warning: `alerts.webhooks[0].caFile` has no effect: its URL is not https://"),
    ] {
        let output = check(&format!(", {keys}"));
        assert!(output.contains(said), "{keys}: {output}");
        assert!(!output.contains("s3cret") && !output.contains("5123"), "{keys}: {output}");
    }
}
