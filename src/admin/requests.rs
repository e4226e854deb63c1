//! `GET /api/requests` and `/api/requests/{id}`: requests that were kept in whole.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use aegis_actors::metrics_aggregator::Sample;
use serde::Serialize;
use serde_json::Value;

use super::history::source::{self, Source};
use super::{Admin, answer, query};
use crate::gateway::answer::Cause;
use crate::gateway::shared::InternalAnswer;
use crate::store::{KeptSamples, StoredSample, Wanted};
use crate::webhook::document;

/// Requests shown unless asked for another number.
const SHOWN: u32 = 50;
const MOST: u32 = 1000;

/// Parameters of the list.
const KNOWN: &str = "limit, status, backend, route, reason, client, from, to";

/// What `reason` asks for answers that the gateway did not make.
const NO_REASON: &str = "none";

/// `/api/requests`.
#[derive(Serialize)]
struct Newest {
    data: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

/// `/api/requests/{id}`.
#[derive(Serialize)]
struct One {
    data: Row,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    timestamp: String,
    request_id: String,
    instance: String,
    method: String,
    path: String,
    route: String,
    backend: String,
    status: u16,
    reason: Option<String>,
    duration_ms: f64,
    client: String,
    /// The decision record.
    details: Value,
}

/// The newest that are asked for.
pub async fn newest(admin: &Admin, text: &str) -> InternalAnswer {
    let (limit, wanted) = match read(text) {
        Ok(question) => question,
        Err(why) => return answer::bad_request(why),
    };
    let source = source::open(admin).await;
    let data: Vec<Row> = match &source {
        Source::Store(store) => match store.samples(limit, wanted).await {
            Ok(samples) => samples.iter().map(stored).collect(),
            Err(error) => return answer::unavailable(format!("the metrics store did not answer: {error}")),
        },
        Source::Memory => {
            let state = admin.shared.metrics.state();
            let mut found: Vec<&Sample> =
                state.samples.newest().filter(|sample| wanted.has(sample)).collect();
            // They wait in the order in which the workers have reported them.
            found.sort_by_key(|sample| Reverse(sample.at_ms));
            found.into_iter().take(limit as usize).map(remembered).collect()
        }
    };
    answer::ok(&Newest { data, note: source.away(admin) })
}

/// How many, and which.
fn read(text: &str) -> Result<(u32, Wanted), String> {
    let (mut limit, mut wanted) = (SHOWN, Wanted::default());
    let mut seen: Vec<String> = Vec::new();
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        if seen.contains(&name.to_string()) {
            return Err(format!("{name} stands there twice: ask for one, or for a class such as status=5xx"));
        }
        match &*name {
            "limit" => limit = query::number("limit", &value, MOST)?,
            "status" => wanted.status = Some(status(&value)?),
            "backend" | "route" if value.is_empty() => {
                return Err(format!("{name} is empty: write the name of one, or leave it out"));
            }
            "backend" => wanted.backend = Some(query::name("backend", &value)?),
            "route" => wanted.route = Some(query::name("route", &value)?),
            "reason" => wanted.reason = Some(reason(&value)?),
            "client" => {
                let address: IpAddr = value
                    .parse()
                    .map_err(|_| format!("client must be an address such as 192.0.2.7, not {value:?}"))?;
                wanted.client = Some(address.to_string());
            }
            "from" => wanted.from_ms = Some(millis(query::moment("from", &value)?)),
            "to" => wanted.to_ms = Some(millis(query::moment("to", &value)?)),
            _ => return Err(query::unknown(&name, KNOWN)),
        }
        seen.push(name.into_owned());
    }
    if let (Some(from), Some(to)) = (wanted.from_ms, wanted.to_ms)
        && to <= from
    {
        return Err("to must be after from".into());
    }
    Ok((limit, wanted))
}

/// `503`, or `5xx` for all of a class.
fn status(value: &str) -> Result<(u16, u16), String> {
    let class = || {
        let (class, rest) = value.split_at_checked(1)?;
        let class: u16 = class.parse().ok().filter(|_| rest.eq_ignore_ascii_case("xx"))?;
        Some((class * 100, class * 100 + 99))
    };
    let exact = || Some(value).filter(|value| value.len() == 3)?.parse().ok().map(|status| (status, status));
    let range = exact().or_else(class).filter(|(low, high)| *low >= 100 && *high <= 599);
    range.ok_or_else(|| {
        format!("status must be a number from 100 to 599 or a class such as 5xx, not {value:?}")
    })
}

/// A reason that there is, or that there was none.
fn reason(value: &str) -> Result<Option<String>, String> {
    let mut known: Vec<&str> = Cause::ALL.iter().map(|cause| cause.code()).collect();
    if value == NO_REASON {
        return Ok(None);
    }
    if known.contains(&value) {
        return Ok(Some(value.to_owned()));
    }
    known.sort_unstable();
    known.dedup();
    let known = known.join(", ");
    Err(format!("reason must be one of {known}, or {NO_REASON} for a service's own answers, not {value:?}"))
}

fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// One.
pub async fn one(admin: &Admin, id: &str) -> InternalAnswer {
    source::reported(admin).await;
    // Memory first: what leaves it meanwhile is in the store by then.
    let in_memory = {
        let state = admin.shared.metrics.state();
        state.samples.newest().find(|sample| sample.request_id == id).map(remembered)
    };
    let found = match (in_memory, &admin.history.store) {
        (None, Some(store)) => match store.sample(id.to_owned()).await {
            Ok(sample) => sample.as_ref().map(stored),
            Err(error) => return answer::unavailable(format!("the metrics store did not answer: {error}")),
        },
        (in_memory, _) => in_memory,
    };
    match found {
        Some(data) => answer::ok(&One { data }),
        None => answer::not_found(format!("no record of request {id:?}: {}", kept(admin).await)),
    }
}

/// Which requests are kept and how many there are, for the 404 of one that is not.
async fn kept(admin: &Admin) -> String {
    let snapshot = admin.shared.snapshot.load_full();
    if !snapshot.metrics {
        return "with metrics.enabled: false no request is kept".to_owned();
    }
    let slow = match snapshot.slow_request.as_millis() {
        0 => String::new(),
        ms => format!(", every request that took {ms} ms (metrics.slowRequestMs)"),
    };
    let kinds = format!(
        "kept are every answer that the gateway made itself, every 5xx of a service{slow}, and about one in a hundred of \
         the rest; in a flood as many as there is room for"
    );
    let counts = match source::open(admin).await {
        Source::Store(store) => store.kept_samples().await.ok(),
        Source::Memory => Some(in_memory(admin)),
    };
    let now = match counts {
        None => "how many there are the metrics store did not say".to_owned(),
        Some(KeptSamples { since_ms: None, .. }) => "there are none yet".to_owned(),
        Some(KeptSamples { own, failed, others, since_ms: Some(since) }) => format!(
            "there are {} since {}: {own} of the gateway's own answers, {failed} 5xx of services, {others} others",
            own + failed + others,
            document::time(since),
        ),
    };
    let until = match &admin.history.store {
        Some(_) => "they are kept for metrics.retentionDays, and the newest 100000 at most",
        None => "without a metrics store the newest 10000 are kept, and only while the gateway runs",
    };
    format!("{kinds}. At the moment {now}; {until}")
}

fn in_memory(admin: &Admin) -> KeptSamples {
    let state = admin.shared.metrics.state();
    let mut kept = KeptSamples::default();
    for sample in state.samples.newest() {
        let kind = match sample.reason {
            Some(reason) if reason != Cause::ClientGone.code() => &mut kept.own,
            _ if sample.status >= 500 => &mut kept.failed,
            _ => &mut kept.others,
        };
        *kind += 1;
        kept.since_ms = Some(kept.since_ms.map_or(sample.at_ms, |since| since.min(sample.at_ms)));
    }
    kept
}

fn stored(sample: &StoredSample) -> Row {
    row(
        (sample.at_ms, &sample.request_id, &sample.instance),
        (&sample.method, &sample.path, &sample.client),
        (&sample.route, &sample.backend),
        (
            u16::try_from(sample.status).unwrap_or(0),
            sample.reason.as_deref(),
            u64::try_from(sample.duration_us).unwrap_or(0),
        ),
        &sample.details,
    )
}

fn remembered(sample: &Sample) -> Row {
    row(
        (sample.at_ms, &sample.request_id, &sample.instance),
        (&sample.method, &sample.path, &sample.client),
        (&sample.route, &sample.backend),
        (sample.status, sample.reason, sample.duration_us),
        &sample.details,
    )
}

fn row(
    (at_ms, request_id, instance): (i64, &str, &str),
    (method, path, client): (&str, &str, &str),
    (route, backend): (&str, &str),
    (status, reason, duration_us): (u16, Option<&str>, u64),
    details: &str,
) -> Row {
    Row {
        timestamp: document::time(at_ms),
        request_id: request_id.to_owned(),
        instance: instance.to_owned(),
        method: method.to_owned(),
        path: path.to_owned(),
        route: route.to_owned(),
        backend: backend.to_owned(),
        status,
        reason: reason.map(str::to_owned),
        duration_ms: duration_us as f64 / 1e3,
        client: client.to_owned(),
        details: serde_json::from_str(details).unwrap_or(Value::Null),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_is_read() {
        let text = "limit=7&status=5XX&backend=a%20b&route=/x/**&reason=pool_full&client=2001:DB8::1&\
                    from=2023-11-14T22:13:20.5Z&to=2023-11-14T23:13:21%2B01:00";
        let wanted = Wanted {
            from_ms: Some(1_700_000_000_500),
            to_ms: Some(1_700_000_001_000),
            status: Some((500, 599)),
            route: Some("/x/**".into()),
            backend: Some("a b".into()),
            reason: Some(Some("pool_full".into())),
            client: Some("2001:db8::1".into()),
        };
        assert_eq!(read(text), Ok((7, wanted)));
        assert_eq!(read(""), Ok((SHOWN, Wanted::default())));
        assert_eq!(read("status=404").unwrap().1.status, Some((404, 404)));
        assert_eq!(read("reason=none").unwrap().1.reason, Some(None));
    }

    #[test]
    fn a_value_that_means_nothing_is_refused_with_what_would() {
        for (text, why) in [
            ("status=abc", "status must be a number from 100 to 599 or a class such as 5xx, not \"abc\""),
            ("status=99", "status must be"),
            ("status=600", "status must be"),
            ("status=6xx", "status must be"),
            ("status=0xx", "status must be"),
            ("status=xx", "status must be"),
            ("status=+50", "status must be"),
            ("status=", "status must be"),
            ("status=500&status=502", "status stands there twice"),
            ("reason=ratelimited", "reason must be one of auth_expired, auth_invalid, auth_missing"),
            ("client=localhost", "client must be an address"),
            ("client=10.0.0.0/8", "client must be an address"),
            ("backend=", "backend is empty"),
            ("route=%00", "control characters"),
            ("from=yesterday", "from must be a time such as"),
            ("from=2023-11-14T22:13:20Z&to=2023-11-14T22:13:20Z", "to must be after from"),
            ("limit=0", "limit must be a number"),
            ("stauts=500", "unknown parameter \"stauts\"; known: limit, status"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
