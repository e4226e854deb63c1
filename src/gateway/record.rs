//! What one request came to: collected along the way, written when its response is complete or given up.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use actix_http::header::HeaderValue;
use actix_http::{Method, Uri, Version};
use aegis_actors::metrics_aggregator::{LimitCounts, Record, method_index};

use super::answer::{CLIENT_CLOSED_REQUEST, Cause};
use super::downstream::ConnState;
use super::identity::{RequestId, Trace};
use super::snapshot::{SnapshotRef, Target};
use super::story::{self, Story};
use super::worker::Worker;
use crate::config::settings::LogFormat;
use crate::logging::printable;

/// The rules of limits that refused a request, and those in shadow that would have, as the access log calls them.
const LIMITED_BY: [(&str, bool); 2] = [("limitedBy", false), ("wouldLimit", true)];

/// The story of one request. Dropping it ends the story: counted and logged exactly once, on every way out.
pub struct RequestRecord {
    pub worker: Rc<Worker>,
    pub snapshot: SnapshotRef,
    pub connection: Rc<ConnState>,
    pub started: Instant,
    /// The same moment by the wall clock, in milliseconds since the Unix epoch.
    pub arrived_ms: u64,
    pub method: Method,
    pub uri: Uri,
    pub version: Version,
    pub host: Option<HeaderValue>,
    pub user_agent: Option<HeaderValue>,
    pub client: std::net::IpAddr,
    pub request_id: RequestId,
    pub trace: Trace,
    /// Index into the snapshot's routes.
    pub route: Option<usize>,
    /// Position of the last target tried among its backend's.
    pub target: Option<usize>,
    pub tries: u32,
    /// From sending the last try to its response head.
    pub upstream: Option<Duration>,
    /// Waiting for upstreams and for the next try, all tries together.
    pub waited: Duration,
    /// From the arrival to the upstream's response head.
    pub answered: Option<Duration>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Status of the answer; 0 until there is one.
    pub status: u16,
    pub cause: Option<Cause>,
    /// What the rate limits have decided so far: a client that leaves while a limit is asked leaves this behind.
    pub limits: Cell<LimitCounts>,
    /// How it came to its answer, step by step.
    pub story: Story,
    /// The upstream's answer broke off after its head had been passed on.
    pub broken: bool,
    /// The response was handed over completely.
    pub complete: bool,
}

impl RequestRecord {
    /// Notes the answer that the gateway makes itself.
    pub fn refuse(&mut self, cause: Cause) {
        self.cause = Some(cause);
        // Nobody reads the answer to a client that is gone; the log keeps its own number for it.
        self.status =
            if cause == Cause::ClientGone { CLIENT_CLOSED_REQUEST } else { cause.status().as_u16() };
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let now = Instant::now();
        self.connection.end(now);
        let worker = self.worker.clone();
        worker.in_flight_end();
        if std::thread::panicking() {
            self.refuse(Cause::Internal);
        } else if !self.complete && !self.broken && self.cause.is_none() {
            // The dispatcher dropped the handler or the body: nobody is there any more.
            self.cause = Some(Cause::ClientGone);
        }
        let status = if self.status == 0 { CLIENT_CLOSED_REQUEST } else { self.status };
        let took = now.saturating_duration_since(self.started);
        worker.count(self, status, took);
        if self.snapshot.metrics
            && let Some(worth) = story::worth(self, took)
        {
            worker.tell(worth, || story::sample(self, status, took));
        }
        if self.snapshot.access_log {
            worker.log(|out| self.write(out, status, took));
        }
    }
}

impl RequestRecord {
    /// What the metrics count of it; `took` since its arrival.
    pub fn counted(&self, status: u16, took: Duration) -> Record {
        // A tunnel lives for as long as its ends please: its latency is that of its opening.
        let opened = self.answered.filter(|_| status == 101);
        Record {
            ended_ms: self.arrived_ms + took.as_millis() as u64,
            route: self.route.map(|route| route as u32),
            method: method_index(self.method.as_str()),
            status,
            reason: self.reason().filter(|_| !self.is_abandoned()),
            duration_us: micros(opened.unwrap_or(took)),
            upstream_us: self.upstream.map(micros),
            overhead_us: self.answered.map(|answered| micros(answered.saturating_sub(self.waited))),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            limits: self.limits.get(),
        }
    }

    fn write(&self, out: &mut String, status: u16, took: Duration) {
        match self.snapshot.log_format {
            LogFormat::Json => self.write_json(out, status, took),
            LogFormat::Text => self.write_text(out, status, took),
        }
    }

    pub fn target(&self) -> Option<&Target> {
        let backend = &self.snapshot.routes[self.route?].backend;
        Some(&backend.targets[self.target?])
    }

    /// The rules that refused the request or, in `shadow`, would have.
    fn limited_by(&self, shadow: bool) -> impl Iterator<Item = &str> {
        let refused = self.story.limits.iter().filter(move |one| one.refused && one.shadow == shadow);
        let limits = self.snapshot.limits.as_ref();
        refused.filter_map(move |one| limits?.find(one.limit)).map(|limited| &*limited.cells.name)
    }

    /// The client has left before its answer was complete: neither the gateway's answer nor a failure of anybody's.
    pub fn is_abandoned(&self) -> bool {
        self.cause == Some(Cause::ClientGone)
    }

    /// Why the gateway answered itself, or the answer was cut off.
    pub fn reason(&self) -> Option<&'static str> {
        match self.cause {
            Some(cause) => Some(cause.code()),
            None if self.broken => Some(Cause::UpstreamReset.code()),
            None => None,
        }
    }

    fn write_json(&self, out: &mut String, status: u16, took: Duration) {
        use std::fmt::Write as _;
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        let _ =
            write!(out, r#"{{"time":"{time}","type":"access","requestId":"{}""#, self.request_id.as_str());
        let _ = write!(out, r#","clientIp":"{}","method":"#, self.client);
        string(out, self.method.as_str());
        if let Some(host) = &self.host {
            out.push_str(r#","host":"#);
            string(out, text(host));
        }
        out.push_str(r#","path":"#);
        string(out, self.uri.path());
        let _ = write!(out, r#","protocol":"{:?}","status":{status}"#, self.version);
        if let Some(reason) = self.reason() {
            let _ = write!(out, r#","reason":"{reason}""#);
        }
        for (field, shadow) in LIMITED_BY {
            let mut rules = self.limited_by(shadow).peekable();
            if rules.peek().is_none() {
                continue;
            }
            let _ = write!(out, r#","{field}":["#);
            for (at, rule) in rules.enumerate() {
                if at > 0 {
                    out.push(',');
                }
                string(out, rule);
            }
            out.push(']');
        }
        if let Some(route) = self.route {
            let route = &self.snapshot.routes[route];
            out.push_str(r#","route":"#);
            string(out, &route.pattern);
            out.push_str(r#","backend":"#);
            string(out, &route.backend.name);
        }
        if let Some(target) = self.target() {
            out.push_str(r#","upstream":"#);
            string(out, &target.cells.url);
        }
        let _ = write!(out, r#","tries":{},"durationMs":{:.3}"#, self.tries, millis(took));
        if let Some(upstream) = self.upstream {
            let _ = write!(out, r#","upstreamMs":{:.3}"#, millis(upstream));
        }
        let _ = write!(out, r#","bytesIn":{},"bytesOut":{}"#, self.bytes_in, self.bytes_out);
        if let Some(agent) = &self.user_agent {
            out.push_str(r#","userAgent":"#);
            string(out, text(agent));
        }
        let _ = writeln!(out, r#","traceId":"{}"}}"#, self.trace.id());
    }

    fn write_text(&self, out: &mut String, status: u16, took: Duration) {
        use std::fmt::Write as _;
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        let _ = write!(
            out,
            "{time} {} {} {} {status} {:.1}ms",
            self.client,
            printable(self.method.as_str()),
            printable(self.uri.path()),
            millis(took),
        );
        if let Some(route) = self.route {
            let _ = write!(out, " backend={}", self.snapshot.routes[route].backend.name);
        }
        if let Some(target) = self.target() {
            let _ = write!(out, " upstream={}", target.cells.url);
        }
        if let Some(reason) = self.reason() {
            let _ = write!(out, " reason={reason}");
        }
        for (field, shadow) in LIMITED_BY {
            for rule in self.limited_by(shadow) {
                let _ = write!(out, " {field}={rule}");
            }
        }
        if self.tries > 1 {
            let _ = write!(out, " tries={}", self.tries);
        }
        let _ = writeln!(out, " id={}", self.request_id.as_str());
    }
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("?")
}

/// `value` as a JSON string, control characters escaped.
fn string(out: &mut String, value: &str) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => {
                use std::fmt::Write as _;
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
