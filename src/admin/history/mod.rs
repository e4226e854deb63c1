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
use serde::Serialize;

use self::question::{By, Question};
use super::{Admin, answer, backends};
use crate::gateway::shared::InternalAnswer;
use crate::store::{Bucket, Detail};

/// Seconds of `realtime`.
const NOW: i64 = 5;

/// Answers one of the questions; `None` when there is no such.
pub async fn answer(admin: &Admin, what: &str, query: &str) -> Option<InternalAnswer> {
    let now = counted_until(admin);
    let question = match Question::read(query, now) {
        Ok(question) => question,
        Err(why) => return Some(answer::bad_request(why)),
    };
    let range = (&*question.name, question.bucket_seconds);
    Some(match what {
        "overview" => shown(range, overview(admin, &question).await),
        // It has a range of its own.
        "realtime" => shown(("5s", NOW as u32), realtime(admin).await),
        "request-rate" => {
            let row = |bucket: &Bucket| rows::request_rate(bucket, question.bucket_seconds);
            shown(range, by_bucket(admin, &question, Detail::Counts, row).await)
        }
        "latency" => shown(range, by_bucket(admin, &question, Detail::Latency, rows::latency).await),
        "status" => shown(range, by_bucket(admin, &question, Detail::Counts, rows::status).await),
        "errors" => shown(range, by_bucket(admin, &question, Detail::Counts, rows::errors).await),
        "top-endpoints" => shown(range, top(admin, &question).await),
        "rate-limits" => shown(range, limits(admin, &question).await),
        "backends" => shown(range, Ok((backends::backends(admin).await, None))),
        _ => return None,
    })
}

/// Every answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a, T> {
    range: &'a str,
    bucket_seconds: u32,
    data: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

/// Data, and what is to be said of it if it is not all that there is.
type Data<T> = Result<(T, Option<&'static str>), String>;

fn shown<T: Serialize>((range, bucket_seconds): (&str, u32), data: Data<T>) -> InternalAnswer {
    match data {
        Ok((data, note)) => answer::ok(&Answer { range, bucket_seconds, data, note }),
        Err(why) => answer::unavailable(format!("the metrics store did not answer: {why}")),
    }
}

async fn by_bucket<T>(
    admin: &Admin,
    question: &Question,
    detail: Detail,
    row: impl Fn(&Bucket) -> T,
) -> Data<Vec<T>> {
    let source = source::open(admin).await;
    let series = source.series(admin, question, detail).await?;
    Ok((series.iter().map(row).collect(), source.note(admin, question)))
}

async fn overview(admin: &Admin, question: &Question) -> Data<Overview> {
    let source = source::open(admin).await;
    let mut sum = Tally::default();
    for bucket in source.series(admin, question, Detail::Latency).await? {
        sum.merge(&bucket.tally);
    }
    let overview = rows::overview(question.range.from, source.covered(admin, question), &sum);
    Ok((with_gauges(admin, overview), source.note(admin, question)))
}

async fn realtime(admin: &Admin) -> Data<Overview> {
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

/// What was counted, and what is there now.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Overview {
    #[serde(flatten)]
    counted: rows::Overview,
    active_connections: usize,
    healthy_backends: usize,
    total_backends: usize,
}

fn with_gauges(admin: &Admin, counted: rows::Overview) -> Overview {
    let shared = &admin.shared;
    let snapshot = shared.snapshot.load();
    Overview {
        counted,
        active_connections: shared.connections.load(Ordering::Relaxed),
        healthy_backends: snapshot.backends.iter().filter(|one| backends::usable_targets(one) > 0).count(),
        total_backends: snapshot.backends.len(),
    }
}

async fn top(admin: &Admin, question: &Question) -> Data<Vec<rows::TopEndpoint>> {
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

async fn limits(admin: &Admin, question: &Question) -> Data<Vec<rows::RateLimits>> {
    let source = source::open(admin).await;
    let mut buckets = source.series(admin, question, Detail::Counts).await?;
    // Where no limit applied there is nothing to tell, however many requests there were.
    buckets.retain(|bucket| bucket.tally.limits != LimitTally::default());
    Ok((buckets.iter().map(rows::rate_limits).collect(), source.note(admin, question)))
}
