//! Tallies as the rows of the history API: durations in milliseconds, rates per second, times at the bucket's start.

use aegis_actors::metrics_aggregator::Tally;
use serde_json::{Value, json};

use super::question::rfc3339;
use crate::store::{Bucket, Endpoint};

fn ms(micros: u64) -> f64 {
    micros as f64 / 1e3
}

/// The duration that the share `q` of the requests did not exceed; 0 without requests.
fn percentile(tally: &Tally, q: f64) -> f64 {
    // The longest is known exactly, a percentile up to the width of its bucket.
    ms(tally.latency.quantile(q).unwrap_or(0).min(tally.longest_us))
}

fn average(tally: &Tally) -> f64 {
    if tally.requests == 0 { 0.0 } else { ms(tally.total_us) / tally.requests as f64 }
}

fn rate(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// One object for a whole range of `seconds`.
pub fn overview(start: i64, seconds: f64, tally: &Tally) -> Value {
    json!({
        "timestamp": rfc3339(start),
        "requestsPerSecond": tally.requests as f64 / seconds,
        "avgLatency": average(tally),
        "p50Latency": percentile(tally, 0.50),
        "p95Latency": percentile(tally, 0.95),
        "p99Latency": percentile(tally, 0.99),
        "errorRate": rate(tally.failed, tally.requests),
        "totalRequests": tally.requests,
        "successfulRequests": tally.requests - tally.failed.min(tally.requests) - tally.limited.min(tally.requests),
        "failedRequests": tally.failed,
        "rateLimitedRequests": tally.limited,
    })
}

/// `request-rate`.
pub fn request_rate(bucket: &Bucket, seconds: u32) -> Value {
    json!({
        "timestamp": rfc3339(bucket.start),
        "count": bucket.tally.requests,
        "requestsPerSecond": bucket.tally.requests as f64 / f64::from(seconds),
    })
}

/// `latency`.
pub fn latency(bucket: &Bucket) -> Value {
    let tally = &bucket.tally;
    json!({
        "timestamp": rfc3339(bucket.start),
        "p50": percentile(tally, 0.50),
        "p95": percentile(tally, 0.95),
        "p99": percentile(tally, 0.99),
        "avg": average(tally),
        "max": ms(tally.longest_us),
    })
}

/// `status`.
pub fn status(bucket: &Bucket) -> Value {
    json!({
        "timestamp": rfc3339(bucket.start),
        "status2xx": bucket.classes[1],
        "status3xx": bucket.classes[2],
        "status4xx": bucket.classes[3],
        "status5xx": bucket.classes[4],
    })
}

/// `errors`.
pub fn errors(bucket: &Bucket) -> Value {
    let (client, server) = (bucket.classes[3], bucket.classes[4]);
    json!({
        "timestamp": rfc3339(bucket.start),
        "total": client + server,
        "clientErrors": client,
        "serverErrors": server,
        "errorRate": rate(bucket.tally.failed, bucket.tally.requests),
    })
}

/// `top-endpoints`.
pub fn endpoint(endpoint: &Endpoint) -> Value {
    let tally = &endpoint.tally;
    json!({
        "route": endpoint.route,
        "method": endpoint.method,
        "backend": endpoint.backend,
        "count": tally.requests,
        "errorRate": rate(tally.failed, tally.requests),
        "p50": percentile(tally, 0.50),
        "p95": percentile(tally, 0.95),
        "p99": percentile(tally, 0.99),
    })
}

/// `rate-limits`.
pub fn rate_limits(bucket: &Bucket) -> Value {
    let limits = &bucket.tally.limits;
    json!({
        "timestamp": rfc3339(bucket.start),
        "allowed": limits.allowed,
        "limited": limits.limited,
        "shadow": limits.shadow,
        "bypassed": limits.bypassed,
    })
}
