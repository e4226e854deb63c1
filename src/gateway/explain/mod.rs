//! How a request would be handled, without sending it.
//!
//! Asks the functions that serving asks, in the order of [`super::stages`], of a snapshot that serves or of one that was only
//! built; it charges nothing, takes no permit and no place, counts nothing and asks nobody else. What depends on the answer of
//! somebody else is undetermined. The order is held to that of the stages by `tests/integration/explain.rs`.

mod ahead;
mod asked;
mod identity;
mod near;
pub mod told;

use std::net::IpAddr;

use actix_http::{Method, StatusCode};
use aegis_actors::rate_limiter::Limiter;

use self::ahead::Ahead;
pub use self::asked::Asked;
use self::told::{ChosenRoute, Explanation, Outcome, Verdict};
use super::answer::Cause;
use super::balance::{self, Needs};
use super::decided::{Decided, limit_key};
use super::lead::{self, Place};
use super::own_paths::Answers;
use super::rate_limit::peek::{Says, peek};
use super::rate_limit::rules;
use super::request_context;
use super::request_parts::RequestParts;
use super::snapshot::{Route, Snapshot};
use super::{client_certificate, forward, rewrite};
use crate::auth::Principal;
use crate::router::{Canonical, canonicalise};

/// When and where a request would come.
pub struct Moment<'a> {
    /// Of the running gateway, or a new one.
    pub limiter: &'a Limiter,
    /// The gateway runs: what is known of its targets and limits counts.
    pub live: bool,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// What all stages know of the request.
struct Known<'a> {
    snapshot: &'a Snapshot,
    asked: &'a Asked,
    head: &'a RequestParts,
    moment: &'a Moment<'a>,
    client: IpAddr,
    hops: usize,
    trusted: bool,
}

/// Why a request would go no further.
struct Stop {
    cause: Option<Cause>,
    verdict: Box<Verdict>,
}

impl From<Cause> for Stop {
    fn from(cause: Cause) -> Self {
        Self::because(cause, Verdict::default())
    }
}

impl Stop {
    /// A refusal, of which `verdict` has what its cause does not say.
    fn because(cause: Cause, verdict: Verdict) -> Self {
        Self { cause: Some(cause), verdict: Box::new(verdict) }
    }

    /// What depends on others.
    fn undetermined(why: String) -> Self {
        Self { cause: None, verdict: Box::new(Verdict { why: Some(why), ..Verdict::default() }) }
    }

    fn answered(status: Option<StatusCode>, why: &str) -> Self {
        let status = status.map(|status| status.as_u16());
        let (outcome, why) = (Outcome::Answered, Some(why.to_owned()));
        Self { cause: None, verdict: Box::new(Verdict { outcome, status, why, ..Verdict::default() }) }
    }
}

/// Explains what would become of a request.
pub fn explain(snapshot: &Snapshot, asked: &Asked, moment: &Moment<'_>) -> Explanation {
    let mut told = Explanation {
        method: asked.method.clone(),
        path: asked.target.split('?').next().unwrap_or("").to_owned(),
        client: asked.peer.ip().to_string(),
        live: moment.live,
        generation: snapshot.generation,
        config_hash: snapshot.config_hash.clone(),
        ..Explanation::default()
    };
    let mut decided = Decided {
        snapshot,
        route: None,
        client: asked.peer.ip(),
        decider: None,
        detail: None,
        limit: None,
        key_id: None,
    };
    let stop = match &asked.head {
        Err(cause) => Stop::from(*cause),
        Ok(head) => {
            let (client, hops) =
                request_context::client(&head.fields, &asked.peer, &snapshot.trusted_proxies);
            let trusted = request_context::is_trusted(&snapshot.trusted_proxies, asked.peer.ip());
            decided.client = client;
            told.host = head.host().map(str::to_owned);
            told.client = client.to_string();
            let known = Known { snapshot, asked, head, moment, client, hops, trusted };
            match stages(&known, &mut told, &mut decided) {
                Ok(()) => {
                    told.verdict.outcome = Outcome::Forwarded;
                    return told;
                }
                Err(stop) => stop,
            }
        }
    };
    told.verdict = *stop.verdict;
    if let Some(cause) = stop.cause {
        let verdict = &mut told.verdict;
        let why = verdict.why.take().or_else(|| decided.detail.map(str::to_owned));
        let decided_by = verdict.decided_by.take().or_else(|| decided.by(cause));
        verdict.challenges.extend(cause.challenge().map(str::to_owned));
        *verdict = Verdict {
            outcome: Outcome::Refused,
            status: Some(cause.status().as_u16()),
            reason: Some(cause.code().to_owned()),
            detail: Some(cause.detail().into_owned()),
            why,
            decided_by,
            ..std::mem::take(verdict)
        };
    }
    told
}

/// [`super::stages`], asked and not gone through.
fn stages<'a>(known: &Known<'a>, told: &mut Explanation, decided: &mut Decided<'a>) -> Result<(), Stop> {
    let Known { snapshot, head, client, .. } = *known;
    let place = lead::lead(snapshot, head);
    if let Ok(canonical) = canonicalise(head.target.path(), snapshot.escaped_slash)
        && head.check().is_ok()
        && !head.asks_server()
    {
        told.canonical_path = Some(canonical.path.clone().into_owned());
        if !matches!(place, Ok(Place::Own(_))) {
            near::tell(snapshot, &lead::facts(head, &canonical), told);
        }
    }
    let (index, canonical) = match place {
        Ok(Place::Route(index, canonical)) => (index, canonical),
        Ok(Place::Server) => {
            return Err(Stop::answered(Some(StatusCode::NO_CONTENT), "The server itself is asked."));
        }
        Ok(Place::Own(own)) => return Err(own_path(snapshot, own)),
        Err((cause, _)) => {
            let why = near::other_reading(snapshot, head);
            return Err(Stop::because(cause, Verdict { why, ..Verdict::default() }));
        }
    };
    let route = &snapshot.routes[index];
    decided.route = Some(route);
    let ahead = Ahead::new(known, route);
    told.upstream = Some(ahead.upstream());
    if let Err((cause, detail)) = lead::admit(snapshot, route, head, client) {
        decided.detail = detail;
        return Err(cause.into());
    }
    let peer = &known.asked.peer;
    client_certificate::verdict(peer, route.client_auth, head.host_name(), known.moment.now_ms)?;
    let mut principal = None;
    let mut was_asked = false;
    if let Some(auth) = &snapshot.auth {
        let admitted = identity::judge(known, auth, route, &canonical, told, decided)?;
        (principal, was_asked) = (admitted.principal, admitted.asked);
    }
    limits(known, route, &canonical, principal.as_ref(), told)?;
    let rewritten = rewrite::target(route, &canonical, &head.target)?;
    if head.is_at_last_hop() {
        let status = if head.method == Method::TRACE { StatusCode::OK } else { StatusCode::NO_CONTENT };
        return Err(Stop::answered(Some(status), "Max-Forwards lets it be forwarded no further."));
    }
    if let Some(upstream) = &mut told.upstream {
        let sent = rewritten.as_deref().unwrap_or_else(|| head.target.path_and_query());
        upstream.path = Some(sent.split('?').next().unwrap_or("").to_owned());
        let identity = principal.as_ref().and_then(|who| who.identity(snapshot.auth.as_ref()?));
        upstream.headers = Some(ahead.headers(identity, was_asked));
    }
    match &ahead.prospect().refusal {
        None => Ok(()),
        Some(refusal) => {
            decided.decider = balance::decider(&route.backend, needs(known, route), refusal.cause);
            let seconds = refusal.retry_after.as_millis().div_ceil(1000).max(1) as u64;
            let verdict = Verdict { retry_after_seconds: Some(seconds), ..Verdict::default() };
            Err(Stop::because(refusal.cause, verdict))
        }
    }
}

/// One of the gateway's own paths.
fn own_path(snapshot: &Snapshot, own: usize) -> Stop {
    match snapshot.own_paths.all[own].answers {
        Answers::Server => Stop::answered(Some(StatusCode::NO_CONTENT), "The server itself is asked."),
        Answers::Health => Stop::answered(Some(StatusCode::OK), "The gateway says that it lives."),
        Answers::Ready => {
            Stop::answered(None, "The gateway says whether it can serve: 200, or 503 where it cannot.")
        }
        Answers::Reserved => Stop::answered(
            None,
            "The prefix is the administration interface's: it answers with the admin token, 401 without, 404 where none is \
             configured.",
        ),
    }
}

/// What the choice of a target goes by. Nobody has a connection of their own yet.
fn needs(known: &Known<'_>, route: &Route) -> Needs {
    let key = forward::hash_key(known.head, known.client, &route.backend);
    Needs { tunnel: known.head.upgrade.is_some(), bound: None, key }
}

/// The limits, and what all of them say together.
fn limits(
    known: &Known<'_>,
    route: &Route,
    canonical: &Canonical<'_>,
    principal: Option<&Principal>,
    told: &mut Explanation,
) -> Result<(), Stop> {
    let Known { snapshot, head, client, trusted, moment, .. } = *known;
    let Some(limits) = &snapshot.limits else { return Ok(()) };
    let auth = snapshot.auth.as_ref();
    let identity = principal.and_then(|who| who.identity(auth?));
    let key = principal.and_then(|who| auth?.key(who.key()?));
    let facts = rules::Facts {
        method: head.method.as_str(),
        host: head.host_name(),
        path: &canonical.path,
        trailing_slash: canonical.trailing_slash,
        route: &route.limited_as,
        behind_proxy: trusted,
        client,
        verified: rules::Verified::of(identity, key),
    };
    let peeks = peek(limits, moment.limiter, &facts);
    let key_id = facts.verified.api_key;
    told.limits = peeks.iter().map(|one| ahead::limit(one, key_id)).collect();
    let enforced = || peeks.iter().filter(|one| !one.limited.shadow);
    let refused = enforced().filter(|one| matches!(one.says, Says::Refused(_)));
    let refused = refused.max_by_key(|one| one.says.retry_after());
    let refused = refused.map(|one| (one, Cause::RateLimited, "rateLimit"));
    let unavailable = || enforced().find(|one| matches!(one.says, Says::Unavailable));
    let unavailable = || unavailable().map(|one| (one, Cause::LimiterUnavailable, "onError"));
    if let Some((one, cause, key)) = refused.or_else(unavailable) {
        let decided_by = limit_key(one.limited, key, key_id);
        let retry_after_seconds = one.says.retry_after();
        let verdict = Verdict { decided_by, retry_after_seconds, ..Verdict::default() };
        return Err(Stop::because(cause, verdict));
    }
    if let Some(one) = enforced().find(|one| matches!(one.says, Says::Unknown)) {
        let name = &one.limited.shared.name;
        return Err(Stop::undetermined(format!(
            "What is left of the limit {name} for {} is known to the shared store alone.",
            one.key
        )));
    }
    Ok(())
}

/// The route that was chosen, as it is told.
fn chosen(route: &Route, specificity: i64, priority: Option<i64>) -> ChosenRoute {
    ChosenRoute {
        path: route.pattern.clone(),
        backend: route.backend.name.clone(),
        key: format!("backends[{}].routes[{}]", route.backend.name, route.pattern),
        specificity,
        priority,
    }
}
