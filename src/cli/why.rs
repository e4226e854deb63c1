//! `aegis why`: what happened to one request, for a reader who knows nothing of it.

use std::fmt::Write as _;

use serde_json::Value;

use super::running::Running;
use super::{complain, say};
use crate::config::{Located, Place, Source, load};
use crate::gateway::request_context::is_request_id;

/// Asks the running gateway for the record of a request and describes it; exit code 1 when there is none or nobody answers.
pub fn run(source: &Source, request_id: &str, json: bool) -> i32 {
    let loaded = match load(source) {
        Ok(loaded) => loaded,
        Err(problems) => {
            complain(problems);
            return 1;
        }
    };
    if !is_request_id(request_id.as_bytes()) {
        complain(format_args!(
            "aegis why: {request_id:?} is no request id: it is in X-Request-ID of the answer and in the log"
        ));
        return 1;
    }
    let gateway = Running::of(&loaded.settings.admin);
    let record = match gateway.get(&format!("/api/requests/{request_id}")) {
        Ok(answer) => answer["data"].clone(),
        Err(why) => {
            complain(format_args!("aegis why: {why}"));
            return 1;
        }
    };
    let text = match json {
        true => format!("{record:#}"),
        false => describe(&record, &loaded.hash, |path| loaded.places.locate(path)),
    };
    say(text.trim_end());
    0
}

/// What each reason means, in a sentence that needs no other.
fn meaning(reason: &str) -> &'static str {
    match reason {
        "no_route" => "No route of the configuration matches this host and path.",
        "method_not_allowed" => "A route matches the path, but none for this method.",
        "bad_path" => "The path could be read in more than one way, so it was refused.",
        "bad_request" => "The request was malformed.",
        "denied" => "The route refuses every request.",
        "misdirected" => {
            "The route wants a client certificate, and the connection was opened for another host, or before that was so."
        }
        "rate_limited" => "The client has used up a rate limit.",
        "limiter_unavailable" => {
            "The rate limit is kept in Redis, which did not answer, and its rule refuses then."
        }
        "body_too_large" => "The request's body was larger than this route takes.",
        "header_timeout" => "The request's head did not arrive in time.",
        "body_timeout" => "The client stopped sending the request's body.",
        "circuit_open" => {
            "The breaker of every target that could be asked is open, and lets no request pass."
        }
        "no_healthy_target" => {
            "No target may take requests: their health checks fail, or an operator has drained them."
        }
        "pool_full" => "Every target has as many requests in flight, or tunnels, as it may.",
        "overloaded" => {
            "The requests that the client had open on one HTTP/2 connection were too large together."
        }
        "draining" => "The gateway was stopped, and cut it off; its client was told nothing.",
        "connect_failed" => "No connection to the service could be made.",
        "upstream_reset" => "The service closed the connection before it had answered whole.",
        "upstream_bad_response" => {
            "The service answered with something that cannot be passed on: not HTTP, or beyond a bound."
        }
        "upstream_timeout" => "The service did not answer in time.",
        "auth_missing" => {
            "It brought no credential or client certificate, and one is wanted; below /_aegis/ the admin token."
        }
        "auth_invalid" => {
            "It brought a credential or certificate that is wrong, or not taken there; below /_aegis/ only the admin token is."
        }
        "auth_expired" => "The token has expired; nothing else is wrong with it.",
        "auth_throttled" => {
            "Its address has brought too many wrong credentials, and no new one is looked at for a while."
        }
        "auth_unavailable" => "The keys of the token's issuer are not there, so it cannot be judged.",
        "insufficient_scope" => "The credential is right, and lacks a scope that the route wants.",
        "rbac_denied" => {
            "The credential is right, and whose it is has not the role, tier or claim that the route wants, or no permission."
        }
        "ip_denied" => "The client's address may not come in, whoever it is.",
        "internal_error" => "The gateway itself failed; its log has more.",
        _ => "The gateway answered itself.",
    }
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or("?")
}

/// The record in words, for a reader whose configuration has the hash `here`.
pub fn describe(record: &Value, here: &str, locate: impl Fn(&str) -> Located) -> String {
    let details = &record["details"];
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{} {} from {} at {} was answered {} after {} ms.",
        text(record, "method"),
        text(record, "path"),
        text(record, "client"),
        text(record, "timestamp"),
        record["status"],
        record["durationMs"],
    );
    match record["reason"].as_str() {
        Some("draining") if details["brokeOff"] == true => {
            out.push_str("The answer is the service's own; the gateway was stopped, and cut it off before it was complete.\n");
        }
        Some("draining") => {
            let _ = writeln!(out, "There was no answer: draining. {}", meaning("draining"));
        }
        Some(_) if details["brokeOff"] == true => {
            out.push_str("The answer is the service's own, and broke off before it was complete.\n");
        }
        Some("client_gone") => out.push_str("The client left before the answer was complete.\n"),
        Some(reason) => {
            let _ = writeln!(out, "The gateway made that answer itself: {reason}. {}", meaning(reason));
        }
        None if details["tries"].as_array().is_none_or(Vec::is_empty) => {
            out.push_str("The gateway answered it itself, as it was asked to.\n");
        }
        None => out.push_str("The answer is the service's own.\n"),
    }
    if let Some(why) = details["why"].as_str() {
        let _ = writeln!(out, "{why}");
    }
    let there = text(details, "configHash");
    if let Some(path) = details["decidedBy"].as_str() {
        let place = placed(&locate(path));
        let _ = match here == there {
            true => writeln!(out, "Decided by `{path}`, {place}."),
            false => writeln!(
                out,
                "Decided by `{path}`, as the gateway had it. The configuration here differs from the gateway's; here that is \
                 `{path}`, {place}."
            ),
        };
    }
    sender(&mut out, &details["auth"]);
    let _ = match (text(record, "route"), text(record, "backend")) {
        ("none", _) => writeln!(out, "Route: none."),
        (route, backend) => writeln!(out, "Route: {route}, of backend {backend}."),
    };
    limits(&mut out, details);
    tries(&mut out, details);
    for target in details["targets"].as_array().into_iter().flatten() {
        let _ = writeln!(
            out,
            "Target {} when it was over: breaker {}, {}{}, {} requests in flight.",
            text(target, "target"),
            text(target, "circuit"),
            if target["healthy"] == true { "healthy" } else { "unhealthy" },
            if target["drained"] == true { ", drained" } else { "" },
            target["inFlight"],
        );
    }
    if let Some(more) = details["moreTargets"].as_u64() {
        let _ = writeln!(out, "And {more} more targets.");
    }
    // A request that could not be read has none.
    let trace = details["traceId"].as_str().map(|trace| format!(", trace {trace}")).unwrap_or_default();
    let _ = writeln!(
        out,
        "Configuration generation {}, hash {there}, instance {}{trace}.",
        details["generation"],
        text(record, "instance"),
    );
    if here != there {
        let _ = writeln!(out, "The configuration here is another one, with the hash {here}.");
    }
    out
}

/// Where a key is, for people.
pub fn placed(located: &Located) -> String {
    match located {
        Located::Written(place) => at(place),
        Located::Variable(name) => format!("set by the variable {name}"),
        Located::Argument(key) => format!("set by --set {key}"),
        Located::Default(Some(place)) => {
            format!("which has its default; it would be written below {}", at(place))
        }
        Located::Default(None) => "which has its default".to_owned(),
    }
}

fn at(Place { file, line, column }: &Place) -> String {
    format!("{file}:{line}:{column}")
}

/// Who has sent it, where that is known.
fn sender(out: &mut String, auth: &Value) {
    let Some(user) = auth["userId"].as_str() else { return };
    let _ = write!(out, "Sent by {user}, by {}", text(auth, "kind"));
    for (name, key) in [("of issuer", "issuer"), ("with key", "keyId"), ("of tier", "tier")] {
        if let Some(value) = auth[key].as_str() {
            let _ = write!(out, ", {name} {value}");
        }
    }
    let roles: Vec<_> = auth["roles"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let _ = match roles.as_slice() {
        [] => writeln!(out, ", without roles."),
        roles => writeln!(out, ", with roles {}.", roles.join(", ")),
    };
}

fn limits(out: &mut String, details: &Value) {
    for limit in details["limits"].as_array().into_iter().flatten() {
        let verdict = match (limit["refused"] == true, limit["shadow"] == true) {
            (true, false) => "refused it",
            (true, true) => "would have refused it, were it not in shadow",
            (false, _) => "let it pass",
        };
        let _ = write!(
            out,
            "Limit {} ({} requests per {} s) {verdict}",
            text(limit, "rule"),
            limit["limit"],
            limit["windowSeconds"]
        );
        let _ = match limit["remaining"].as_u64() {
            Some(remaining) => writeln!(out, ", {remaining} left."),
            None => writeln!(out, "."),
        };
    }
}

fn tries(out: &mut String, details: &Value) {
    let tries = details["tries"].as_array().map_or(&[][..], Vec::as_slice);
    if tries.is_empty() {
        out.push_str("It was not sent to any target.\n");
    }
    for (number, one) in tries.iter().enumerate() {
        let outcome = match (one["status"].as_u64(), one["failed"].as_str()) {
            (Some(status), _) => format!("answered {status}"),
            (None, Some(failed)) => match one["why"].as_str() {
                Some(why) => format!("failed: {failed}, {why},"),
                None => format!("failed: {failed}"),
            },
            (None, None) => "unknown".to_owned(),
        };
        let _ = writeln!(
            out,
            "Try {}: {} on a {} connection, {outcome} after {} ms.",
            number + 1,
            text(one, "target"),
            text(one, "connection"),
            one["tookMs"],
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_is_described_with_its_reason_its_line_and_what_was_tried() {
        let record = json!({
            "method": "GET", "path": "/a", "client": "10.0.0.1", "timestamp": "2026-11-23T09:00:00.000Z",
            "status": 504, "durationMs": 1500.2, "reason": "upstream_timeout", "route": "/a", "backend": "one",
            "instance": "gw-1",
            "details": {
                "decidedBy": "backends[one].firstByteTimeoutMs", "generation": 3, "configHash": "0a", "traceId": "t",
                "tries": [{"target": "http://10.0.0.2:80", "tookMs": 1500.0, "connection": "new", "failed": "upstream_timeout"}],
                "limits": [{"rule": "default", "limit": 100, "windowSeconds": 60, "remaining": 7, "refused": false}],
                "targets": [{"target": "http://10.0.0.2:80", "circuit": "open", "healthy": true, "drained": false, "inFlight": 0}],
            },
        });
        let place = Place { file: "aegis.yaml".into(), line: 7, column: 5 };
        let text = describe(&record, "0a", |_| Located::Written(place.clone()));
        for part in [
            "was answered 504 after 1500.2 ms",
            "upstream_timeout. The service did not answer in time.",
            "Decided by `backends[one].firstByteTimeoutMs`, aegis.yaml:7:5.",
            "Limit default (100 requests per 60 s) let it pass, 7 left.",
            "Try 1: http://10.0.0.2:80 on a new connection, failed: upstream_timeout after 1500.0 ms.",
            "breaker open, healthy, 0 requests in flight",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
        let text = describe(&record, "0b", |_| Located::Written(place.clone()));
        for part in [
            "Decided by `backends[one].firstByteTimeoutMs`, as the gateway had it.",
            "here that is `backends[one].firstByteTimeoutMs`, aegis.yaml:7:5.",
            "generation 3, hash 0a,",
            "The configuration here is another one, with the hash 0b.",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
        let text = describe(&json!({"status": 200, "route": "none"}), "0a", |_| Located::Default(None));
        assert!(text.contains("The gateway answered it itself") && text.contains("not sent to any target"));
        let auth = json!({"kind": "jwt", "issuer": "id", "userId": "ann", "keyId": null, "roles": ["a", "b"], "tier": "pro"});
        let sent = json!({"status": 429, "reason": "rate_limited", "details": {"auth": auth}});
        let text = describe(&sent, "0a", |_| Located::Default(None));
        let who = "Sent by ann, by jwt, of issuer id, of tier pro, with roles a, b.\n";
        assert!(text.contains(who), "{text}");
        let own = json!({"status": 500, "details": {"tries": [{"target": "http://a", "status": 500}]}});
        let text = describe(&own, "0a", |_| Located::Default(None));
        assert!(text.contains("The answer is the service's own.") && text.contains("answered 500"), "{text}");
    }
}
