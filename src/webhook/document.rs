//! What a webhook is sent: a document of our own, or what an incoming webhook of Slack takes.

use std::time::{Duration, UNIX_EPOCH};

use aegis_actors::alerts::{Alert, Told};
use serde_json::{Value, json};

/// An alert as the administration interface and webhooks show it.
pub fn alert(alert: &Alert) -> Value {
    let Alert {
        id,
        rule,
        name,
        severity,
        metric,
        operator,
        threshold,
        window_seconds,
        backend,
        value,
        message,
        instance,
        fired_at_ms,
        acknowledged_at_ms,
        resolved_at_ms,
        reason,
    } = alert;
    json!({
        "id": id,
        "rule": rule,
        "name": name,
        "severity": severity,
        "status": if resolved_at_ms.is_some() { "resolved" } else { "firing" },
        "message": message,
        "metric": metric,
        "operator": operator,
        "threshold": threshold,
        "value": value,
        "windowSeconds": (*window_seconds > 0).then_some(window_seconds),
        "backend": backend,
        "instance": instance,
        "startedAt": time(*fired_at_ms),
        "acknowledgedAt": acknowledged_at_ms.map(time),
        "resolvedAt": resolved_at_ms.map(time),
        "reason": reason,
    })
}

/// The document of format `json`: the alert, and what happened to it. `sender` is the instance that sends it.
pub fn json(subject: &Alert, told: Told, sender: &str) -> Value {
    let mut document = json!({
        "version": 1,
        "event": told.as_str(),
        // The same for every try: who gets it twice can tell.
        "delivery": format!("{}-{}", subject.id, told.as_str()),
        "sentBy": sender,
    });
    if let (Some(members), Value::Object(more)) = (document.as_object_mut(), as_told(subject, told)) {
        members.extend(more);
    }
    document
}

/// An alert may have resolved before anybody could be told that it fired.
fn as_told(subject: &Alert, told: Told) -> Value {
    match told {
        Told::Fired => alert(&Alert { resolved_at_ms: None, reason: None, ..subject.clone() }),
        Told::Resolved => alert(subject),
    }
}

/// The message of format `slack`.
pub fn slack(alert: &Alert, told: Told) -> Value {
    let (word, colour) = match (told, alert.severity.as_str()) {
        (Told::Resolved, _) => ("RESOLVED", "good"),
        (Told::Fired, "critical") => ("FIRING", "danger"),
        (Told::Fired, "warning") => ("FIRING", "warning"),
        (Told::Fired, _) => ("FIRING", "#439FE0"),
    };
    let text = format!("[{word}] {} ({}): {}", escaped(&alert.name), alert.severity, escaped(&alert.message));
    let field = |title: &str, value: &str| json!({"title": title, "value": escaped(value), "short": true});
    let mut fields = vec![
        field("Rule", &alert.rule),
        field("Instance", &alert.instance),
        field("Since", &time(alert.fired_at_ms)),
    ];
    if let Some(backend) = &alert.backend {
        fields.push(field("Backend", backend));
    }
    if let (Told::Resolved, Some(at)) = (told, alert.resolved_at_ms) {
        fields.push(field("Resolved", &time(at)));
        fields.extend(alert.reason.as_ref().map(|reason| field("Reason", reason)));
    }
    json!({
        "text": text,
        "attachments": [{
            "color": colour,
            "fallback": text,
            "fields": fields,
            "footer": format!("aegis {}", alert.id),
            "ts": alert.fired_at_ms / 1_000,
        }],
    })
}

/// Slack reads these three as its own markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// RFC 3339, from milliseconds since the Unix epoch.
pub fn time(ms: i64) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    humantime::format_rfc3339_millis(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Alert {
        Alert {
            id: "01-ab".into(),
            rule: "errors".into(),
            name: "Many <errors> & co".into(),
            severity: "critical".into(),
            metric: "error_rate".into(),
            operator: ">".into(),
            threshold: 0.05,
            window_seconds: 60,
            backend: Some("users".into()),
            value: 0.25,
            message: "error rate is 25 % over 60 s (> 5 %) at backend users".into(),
            instance: "gw-1".into(),
            fired_at_ms: 1_700_000_000_000,
            acknowledged_at_ms: None,
            resolved_at_ms: Some(1_700_000_060_000),
            reason: None,
        }
    }

    #[test]
    fn json_says_everything_of_the_moment_that_it_tells_of() {
        let fired = json(&some(), Told::Fired, "gw-2");
        assert_eq!(
            fired,
            json!({
                "version": 1, "event": "fired", "delivery": "01-ab-fired", "sentBy": "gw-2",
                "id": "01-ab", "rule": "errors", "name": "Many <errors> & co", "severity": "critical",
                "status": "firing", "message": "error rate is 25 % over 60 s (> 5 %) at backend users",
                "metric": "error_rate", "operator": ">", "threshold": 0.05, "value": 0.25, "windowSeconds": 60,
                "backend": "users", "instance": "gw-1", "startedAt": "2023-11-14T22:13:20.000Z",
                "acknowledgedAt": null, "resolvedAt": null, "reason": null,
            })
        );
        let resolved = json(&some(), Told::Resolved, "gw-2");
        assert_eq!(
            (&resolved["event"], &resolved["status"], &resolved["resolvedAt"]),
            (&json!("resolved"), &json!("resolved"), &json!("2023-11-14T22:14:20.000Z"))
        );
    }

    #[test]
    fn slack_gets_a_text_that_it_does_not_read_as_markup() {
        let fired = slack(&some(), Told::Fired);
        assert_eq!(
            fired["text"],
            "[FIRING] Many &lt;errors&gt; &amp; co (critical): error rate is 25 % over 60 s (&gt; 5 %) at backend users"
        );
        assert_eq!(fired["attachments"][0]["color"], "danger");
        let resolved = slack(&some(), Told::Resolved);
        assert!(resolved["text"].as_str().unwrap().starts_with("[RESOLVED] "), "{resolved}");
        assert_eq!(resolved["attachments"][0]["color"], "good");
    }
}
