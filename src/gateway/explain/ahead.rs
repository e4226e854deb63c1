//! What lies behind the route: targets, time limits, retries, and what is sent.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::told::{Budget, Field, Headers, LimitStage, Retries, Target, TargetState, TimeLimit, Upstream};
use super::{Known, needs};
use crate::auth::Identity;
use crate::config::is_secret_field;
use crate::config::settings::Via;
use crate::gateway::balance::{Prospect, prospect};
use crate::gateway::client_certificate;
use crate::gateway::decided::limit_key;
use crate::gateway::fields::Fields;
use crate::gateway::forward::{is_idempotent, judged};
use crate::gateway::headers::{Forwarding, to_upstream};
use crate::gateway::rate_limit::peek::{Peek, Says};
use crate::gateway::request_context::Trace;
use crate::gateway::retry_budget;
use crate::gateway::snapshot::{self, Route};

/// What is set anew for each request.
const NEW: [&str; 2] = ["X-Request-ID", "traceparent"];

/// See the module.
pub struct Ahead<'a> {
    known: &'a Known<'a>,
    route: &'a Route,
    prospect: Prospect,
}

impl<'a> Ahead<'a> {
    /// Of a request on that route.
    pub fn new(known: &'a Known<'a>, route: &'a Route) -> Self {
        Self { known, route, prospect: prospect(&route.backend, needs(known, route), Instant::now()) }
    }

    /// Which targets a first try could go to.
    pub fn prospect(&self) -> &Prospect {
        &self.prospect
    }

    /// All of it that does not depend on who asks.
    pub fn upstream(&self) -> Upstream {
        let backend = &self.route.backend;
        let kept = self.known.head.host().filter(|_| backend.settings.preserve_host);
        let targets = backend.targets.iter().enumerate();
        Upstream {
            backend: backend.name.clone(),
            path: None,
            host: kept.map(str::to_owned),
            load_balance: backend.settings.load_balance.as_str().to_owned(),
            targets: targets.map(|(at, target)| self.target(at, target)).collect(),
            time_limits: self.time_limits(),
            retries: Retries {
                tries: backend.settings.retries.saturating_add(1),
                decided_by: self.route.backend_key("retries"),
                idempotent: is_idempotent(&self.known.head.method),
                budget: Budget {
                    percent_of_requests: retry_budget::PER_REQUEST,
                    per_second: retry_budget::PER_SECOND,
                },
            },
            headers: None,
        }
    }

    fn target(&self, at: usize, target: &snapshot::Target) -> Target {
        let shared = &target.shared;
        let state = self.known.moment.live.then(|| TargetState {
            healthy: shared.health.is_healthy(),
            circuit: shared.breaker.peek().as_str().to_owned(),
            drained: shared.drained.load(Ordering::Relaxed),
            in_flight: shared.in_flight.load(Ordering::Relaxed),
            tunnels: shared.tunnels.load(Ordering::Relaxed),
        });
        Target {
            url: shared.url.clone(),
            eligible: self.prospect.could.contains(&at),
            chosen: self.prospect.would == Some(at),
            state,
        }
    }

    fn time_limits(&self) -> Vec<TimeLimit> {
        let (route, settings) = (self.route, &self.route.backend.settings);
        let limit = |what: &str, time: Duration, decided_by| TimeLimit {
            what: what.to_owned(),
            ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            decided_by,
        };
        vec![
            limit("request", route.timeout, route.timeout_key()),
            limit("firstByte", route.first_byte_timeout.min(route.timeout), route.first_byte_key()),
            limit("connect", settings.connect_timeout, route.backend_key("connectTimeoutMs")),
            limit("idle", settings.idle_timeout, route.backend_key("idleTimeoutMs")),
        ]
    }

    /// What becomes of the request's fields on the way to a target. `asked`: somebody had to say who it is.
    pub fn headers(&self, identity: Option<&Identity>, asked: bool) -> Headers {
        let Known { snapshot, head, hops, trusted, client, .. } = *self.known;
        let peer = &self.known.asked.peer;
        let trace = Trace::of(&head.fields, (1, 1));
        let facts = Forwarding {
            peer: peer.ip_text(),
            client: (hops > 0).then_some(client),
            hops,
            trusted,
            secure: peer.secure,
            request_id: b"-",
            trace: &trace,
            via: snapshot.via == Via::Both,
            stripped: self.route.strip_prefix.as_deref(),
            identity_fields: &snapshot.identity_fields,
            identity,
            certificate: client_certificate::told(
                peer,
                self.route.client_auth,
                self.route.backend.settings.forward_client_cert,
            ),
            credentials: judged(snapshot, self.route, asked),
        };
        let mut lines = Vec::new();
        to_upstream(head, &facts, &mut lines);
        let mut sent = Fields::default();
        sent.push_lines(&lines);
        compare(&head.fields, &sent)
    }
}

/// What of the fields that came does not go on, and what goes on that did not come.
fn compare(came: &Fields, sent: &Fields) -> Headers {
    let goes = |name: &str| sent.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    // Said by whoever puts a request on the wire: they are there, of the gateway's making.
    let framing = ["host", "content-length", "transfer-encoding"];
    let gone = came.iter().map(|(name, _)| name).filter(|name| !goes(name));
    let gone = gone.filter(|name| !framing.iter().any(|own| own.eq_ignore_ascii_case(name)));
    let removed: BTreeSet<&str> = gone.collect();
    let same = |name: &str, value: &[u8]| came.get_all(name).any(|known| known == value);
    let set = sent.iter().filter(|(name, value)| !same(name, value)).map(|(name, value)| {
        let is_told = !NEW.contains(&name) && !is_secret_field(name);
        let value = is_told.then(|| String::from_utf8_lossy(value).into_owned());
        Field { name: name.to_owned(), value }
    });
    Headers { removed: removed.into_iter().map(str::to_owned).collect(), set: set.collect() }
}

/// A limit that applies, as it is told.
pub fn limit(peek: &Peek<'_>, key_id: Option<&str>) -> LimitStage {
    let Peek { limited, key, says } = peek;
    let shared = &limited.shared;
    LimitStage {
        rule: shared.name.to_string(),
        decided_by: limit_key(limited, "rateLimit", key_id),
        key: key.clone(),
        limit: shared.plan.capacity,
        window_seconds: shared.limit.window.as_secs(),
        cost: limited.cost,
        shadow: limited.shadow,
        left: says.left(limited.cost),
        says: match says {
            Says::Enough(_) => "enough",
            Says::Refused(_) => "refuses",
            Says::Uncounted => "uncounted",
            Says::Unavailable => "unavailable",
            Says::Unknown => "unknown",
            Says::Exempt => "exempt",
        }
        .to_owned(),
        retry_after_seconds: says.retry_after(),
    }
}
