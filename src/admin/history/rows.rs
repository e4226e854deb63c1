//! Tallies as the rows of the history API: durations in milliseconds, rates per second, times at the bucket's start.

use aegis_actors::metrics_aggregator::Tally;
use serde::Serialize;

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
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    timestamp: String,
    requests_per_second: f64,
    avg_latency: f64,
    p50_latency: f64,
    p95_latency: f64,
    p99_latency: f64,
    error_rate: f64,
    total_requests: u64,
    successful_requests: u64,
    failed_requests: u64,
    rate_limited_requests: u64,
}

pub fn overview(start: i64, seconds: f64, tally: &Tally) -> Overview {
    Overview {
        timestamp: rfc3339(start),
        requests_per_second: tally.requests as f64 / seconds,
        avg_latency: average(tally),
        p50_latency: percentile(tally, 0.50),
        p95_latency: percentile(tally, 0.95),
        p99_latency: percentile(tally, 0.99),
        error_rate: rate(tally.failed, tally.requests),
        total_requests: tally.requests,
        successful_requests: tally.requests
            - tally.failed.min(tally.requests)
            - tally.limited.min(tally.requests),
        failed_requests: tally.failed,
        rate_limited_requests: tally.limited,
    }
}

/// `request-rate`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestRate {
    timestamp: String,
    count: u64,
    requests_per_second: f64,
}

pub fn request_rate(bucket: &Bucket, seconds: u32) -> RequestRate {
    RequestRate {
        timestamp: rfc3339(bucket.start),
        count: bucket.tally.requests,
        requests_per_second: bucket.tally.requests as f64 / f64::from(seconds),
    }
}

/// `latency`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    timestamp: String,
    p50: f64,
    p95: f64,
    p99: f64,
    avg: f64,
    max: f64,
}

pub fn latency(bucket: &Bucket) -> Latency {
    let tally = &bucket.tally;
    Latency {
        timestamp: rfc3339(bucket.start),
        p50: percentile(tally, 0.50),
        p95: percentile(tally, 0.95),
        p99: percentile(tally, 0.99),
        avg: average(tally),
        max: ms(tally.longest_us),
    }
}

/// `status`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    timestamp: String,
    status2xx: u64,
    status3xx: u64,
    status4xx: u64,
    status5xx: u64,
}

pub fn status(bucket: &Bucket) -> Status {
    Status {
        timestamp: rfc3339(bucket.start),
        status2xx: bucket.classes[1],
        status3xx: bucket.classes[2],
        status4xx: bucket.classes[3],
        status5xx: bucket.classes[4],
    }
}

/// `errors`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Errors {
    timestamp: String,
    total: u64,
    client_errors: u64,
    server_errors: u64,
    error_rate: f64,
}

pub fn errors(bucket: &Bucket) -> Errors {
    let (client, server) = (bucket.classes[3], bucket.classes[4]);
    Errors {
        timestamp: rfc3339(bucket.start),
        total: client + server,
        client_errors: client,
        server_errors: server,
        error_rate: rate(bucket.tally.failed, bucket.tally.requests),
    }
}

/// `top-endpoints`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TopEndpoint {
    route: String,
    method: String,
    backend: String,
    count: u64,
    error_rate: f64,
    p50: f64,
    p95: f64,
    p99: f64,
}

pub fn endpoint(endpoint: &Endpoint) -> TopEndpoint {
    let tally = &endpoint.tally;
    TopEndpoint {
        route: endpoint.route.clone(),
        method: endpoint.method.clone(),
        backend: endpoint.backend.clone(),
        count: tally.requests,
        error_rate: rate(tally.failed, tally.requests),
        p50: percentile(tally, 0.50),
        p95: percentile(tally, 0.95),
        p99: percentile(tally, 0.99),
    }
}

/// `rate-limits`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimits {
    timestamp: String,
    allowed: u64,
    limited: u64,
    shadow: u64,
    bypassed: u64,
}

pub fn rate_limits(bucket: &Bucket) -> RateLimits {
    let limits = &bucket.tally.limits;
    RateLimits {
        timestamp: rfc3339(bucket.start),
        allowed: limits.allowed,
        limited: limits.limited,
        shadow: limits.shadow,
        bypassed: limits.bypassed,
    }
}
