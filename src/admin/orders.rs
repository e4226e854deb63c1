//! What operators order: a reload, a drained target, held breakers.

use std::time::Duration;

use actix_http::StatusCode;
use aegis_actors::circuit_breaker::{self, HoldState};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Admin, answer};
use crate::config::settings::Address;
use crate::config::{Problem, Severity};
use crate::gateway::shared::InternalAnswer;
use crate::supervisor::{Drain, Expected, Hold, Reload, ReloadBy};

/// Beside the problem document of a refused reload.
#[derive(Serialize)]
struct Refused {
    /// Lines.
    errors: Vec<String>,
    problems: Vec<Problem>,
}

#[derive(Serialize)]
struct Drained<'a> {
    backend: &'a str,
    target: usize,
    drained: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Held<'a> {
    backend: &'a str,
    state: HoldState,
    ttl_ms: Option<u64>,
    breakers: usize,
}

#[cfg(feature = "test-hooks")]
#[derive(Serialize)]
struct Done {
    ok: bool,
}

/// Loads the configuration again.
pub async fn reload(admin: &Admin) -> InternalAnswer {
    match admin.supervisor.send(Reload { by: ReloadBy::Admin }).await {
        Ok(Ok(report)) => answer::ok(&report),
        Ok(Err(problems)) => {
            let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
            let detail = format!(
                "{errors} error{}; the running configuration stays",
                if errors == 1 { "" } else { "s" }
            );
            let errors: Vec<String> = problems.iter().map(ToString::to_string).collect();
            answer::problem(
                StatusCode::UNPROCESSABLE_ENTITY,
                "bad_config",
                detail,
                Refused { errors, problems },
            )
        }
        Err(_) => answer::gone(),
    }
}

/// The largest body of an order to one target.
const EXPECTED: usize = 4096;

/// What the body expects of the target.
fn expected(body: &[u8]) -> Result<Expected, String> {
    let mut expected = Expected::default();
    if body.trim_ascii().is_empty() {
        return Ok(expected);
    }
    if body.len() > EXPECTED {
        return Err(format!("the body is larger than {EXPECTED} bytes"));
    }
    const FORM: &str = r#"the body must be {"url": …, "generation": …}, one of them, or none at all"#;
    let members: serde_json::Map<String, Value> =
        serde_json::from_slice(body).map_err(|error| format!("{FORM}: {error}"))?;
    if members.is_empty() {
        return Err(FORM.to_owned());
    }
    for (name, value) in members {
        match (name.as_str(), value) {
            ("url", Value::String(url)) => {
                expected.url =
                    Some(url.parse::<Address>().map_err(|why| format!("url is {url:?}: {why}"))?.to_string());
            }
            ("url", value) => {
                return Err(format!("url must be a text, the target's as status shows it, not {value}"));
            }
            ("generation", value) => match value.as_u64() {
                Some(generation) => expected.generation = Some(generation),
                None => return Err(format!("generation must be a number, as status shows it, not {value}")),
            },
            (name, _) => return Err(format!("{FORM}; there is no member {name:?}")),
        }
    }
    Ok(expected)
}

/// Keeps new requests away from one target, or lets them come again.
pub async fn drain(admin: &Admin, backend: &str, target: &str, drained: bool, body: &[u8]) -> InternalAnswer {
    let Ok(target) = target.parse::<usize>() else {
        return answer::bad_request(format!("{target:?} is not a target's number; they count from 0"));
    };
    let expected = match expected(body) {
        Ok(expected) => expected,
        Err(why) => return answer::bad_request(why),
    };
    match admin.supervisor.send(Drain { backend: backend.to_owned(), target, drained, expected }).await {
        Ok(Ok(())) => answer::ok(&Drained { backend, target, drained }),
        Ok(Err(why)) => answer::command_error(&why),
        Err(_) => answer::gone(),
    }
}

/// How long breakers may be held, up to a year.
const LONGEST_HOLD_MS: std::ops::RangeInclusive<u64> = 1..=365 * 86_400_000;

/// The body of a breaker request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HoldRequest {
    state: HoldState,
    ttl_ms: Option<u64>,
}

/// Holds the breakers of a backend, or lets go.
pub async fn hold(admin: &Admin, backend: &str, body: &[u8]) -> InternalAnswer {
    const FORM: &str = r#"the body must be {"state":"open"|"closed"|"auto","ttlMs":…}, ttlMs from 1 to 31536000000 or left out"#;
    let request = serde_json::from_slice::<HoldRequest>(body).ok();
    let Some(request) =
        request.filter(|request| request.ttl_ms.is_none_or(|ms| LONGEST_HOLD_MS.contains(&ms)))
    else {
        return answer::bad_request(FORM);
    };
    let ttl = request.ttl_ms.map(Duration::from_millis);
    let hold = circuit_breaker::Hold { backend: backend.to_owned(), state: request.state, ttl };
    match admin.supervisor.send(Hold(hold)).await {
        Ok(Ok(count)) => {
            answer::ok(&Held { backend, state: request.state, ttl_ms: request.ttl_ms, breakers: count })
        }
        Ok(Err(why)) => answer::command_error(&why),
        Err(_) => answer::gone(),
    }
}

/// Test builds: `panic/ACTOR`, `panic/next-request`, `hang/ACTOR`, `hang/reader`.
#[cfg(feature = "test-hooks")]
pub async fn inject_fault(admin: &Admin, what: &str, actor: &str) -> InternalAnswer {
    use crate::supervisor::InjectFault;
    if (what, actor) == ("panic", "next-request") {
        admin.shared.panic_next.store(true, std::sync::atomic::Ordering::Relaxed);
        return answer::ok(&Done { ok: true });
    }
    let hang = (what == "hang").then_some(Duration::from_secs(5));
    match admin.supervisor.send(InjectFault { actor: actor.to_owned(), hang }).await {
        Ok(true) => answer::ok(&Done { ok: true }),
        // It was the supervisor that panicked.
        Err(_) => answer::gone(),
        Ok(false) => answer::not_found(format!("no actor is named {actor:?}")),
    }
}
