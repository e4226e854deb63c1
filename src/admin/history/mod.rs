//! `GET /api/metrics/…`: what was counted, over any range, of one instance or of all.
//!
//! | file | holds |
//! |---|---|
//! | `question` | what is asked |
//! | `source` | the store, or memory where there is none or it is away |
//! | `rows` | the rows of the answers |

mod question;
mod rows;
pub mod source;

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use aegis_actors::metrics_aggregator::{LimitTally, Tally};
use serde_json::{Value, json};

use self::question::{By, Question};
use super::{Admin, answer, status};
use crate::gateway::shared::InternalAnswer;
use crate::store::Detail;

/// Seconds of `realtime`.
const NOW: i64 = 5;

/// Answers one of the questions; `None` when there is no such.
pub async fn answer(admin: &Admin, what: &str, query: &str) -> Option<InternalAnswer> {
    let now = counted_until(admin);
    let question = match Question::read(query, now) {
        Ok(question) => question,
        Err(why) => return Some(answer::bad_request(why)),
    };
    let data = match what {
        "overview" => overview(admin, &question).await,
        "realtime" => realtime(admin).await,
        "request-rate" => {
            by_bucket(admin, &question, Detail::Counts, |bucket| {
                rows::request_rate(bucket, question.bucket_seconds)
            })
            .await
        }
        "latency" => by_bucket(admin, &question, Detail::Latency, rows::latency).await,
        "status" => by_bucket(admin, &question, Detail::Counts, rows::status).await,
        "errors" => by_bucket(admin, &question, Detail::Counts, rows::errors).await,
        "top-endpoints" => top(admin, &question).await,
        "rate-limits" => limits(admin, &question).await,
        "backends" => Ok((Value::Array(status::backends(admin).await), None)),
        _ => return None,
    };
    Some(match data {
        Ok((data, note)) => {
            // `realtime` has a range of its own.
            let (range, seconds) = match what {
                "realtime" => ("5s", NOW as u32),
                _ => (&*question.name, question.bucket_seconds),
            };
            let mut document = json!({"range": range, "bucketSeconds": seconds, "data": data});
            if let Some(note) = note {
                document["note"] = note.into();
            }
            answer::ok(&document)
        }
        Err(why) => answer::unavailable(format!("the metrics store did not answer: {why}")),
    })
}

/// Data, and what is to be said of it if it is not all that there is.
type Data = Result<(Value, Option<&'static str>), String>;

async fn by_bucket(
    admin: &Admin,
    question: &Question,
    detail: Detail,
    row: impl Fn(&crate::store::Bucket) -> Value,
) -> Data {
    let source = source::open(admin).await;
    let series = source.series(admin, question, detail).await?;
    Ok((series.iter().map(row).collect(), source.note(admin, question)))
}

async fn overview(admin: &Admin, question: &Question) -> Data {
    let source = source::open(admin).await;
    let mut sum = Tally::default();
    for bucket in source.series(admin, question, Detail::Latency).await? {
        sum.merge(&bucket.tally);
    }
    let overview = rows::overview(question.range.from, source.covered(admin, question), &sum);
    Ok((with_gauges(admin, overview), source.note(admin, question)))
}

async fn realtime(admin: &Admin) -> Data {
    source::reported(admin).await;
    let now = counted_until(admin).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // The second that has begun counts as well, so that the newest request does at once.
    let (second, begun) = (now.as_secs() as i64, f64::from(now.subsec_nanos()) / 1e9);
    let lately = admin.shared.metrics.state().lately(second + 1, NOW + 1);
    Ok((with_gauges(admin, rows::overview(second - NOW, NOW as f64 + begun, &lately)), None))
}

/// Now, by the clock that requests are counted by.
fn counted_until(admin: &Admin) -> SystemTime {
    let now = u64::try_from(admin.shared.metrics.now_ms()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(now)
}

fn with_gauges(admin: &Admin, mut overview: Value) -> Value {
    let shared = &admin.shared;
    let snapshot = shared.snapshot.load();
    let healthy = snapshot.backends.iter().filter(|backend| status::usable_targets(backend) > 0).count();
    overview["activeConnections"] = json!(shared.connections.load(Ordering::Relaxed));
    overview["healthyBackends"] = json!(healthy);
    overview["totalBackends"] = json!(snapshot.backends.len());
    overview
}

async fn top(admin: &Admin, question: &Question) -> Data {
    let source = source::open(admin).await;
    let mut endpoints = source.top(admin, question).await?;
    let order = |endpoint: &crate::store::Endpoint| match question.by {
        By::Requests => endpoint.tally.requests,
        By::Errors => endpoint.tally.failed,
        By::Latency => endpoint.tally.latency.quantile(0.95).unwrap_or(0),
    };
    endpoints.sort_by_cached_key(|endpoint| std::cmp::Reverse(order(endpoint)));
    endpoints.truncate(question.limit);
    Ok((endpoints.iter().map(rows::endpoint).collect(), source.note(admin, question)))
}

async fn limits(admin: &Admin, question: &Question) -> Data {
    let source = source::open(admin).await;
    let mut buckets = source.series(admin, question, Detail::Counts).await?;
    // Where no limit applied there is nothing to tell, however many requests there were.
    buckets.retain(|bucket| bucket.tally.limits != LimitTally::default());
    Ok((buckets.iter().map(rows::rate_limits).collect(), source.note(admin, question)))
}
