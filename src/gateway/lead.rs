//! What is decided of a request by its head alone: where it leads, and whether it is turned away there whoever it is from.
//!
//! Pure, and asked by those who serve and by those who explain.

use std::net::IpAddr;

use super::answer::Cause;
use super::request_parts::RequestParts;
use super::response;
use super::snapshot::{Route, Snapshot};
use crate::auth::ip_rules::{self, IpRules};
use crate::router::{Canonical, Found, RequestFacts, canonicalise};

/// Where a request leads.
pub enum Place<'a> {
    /// To the server itself.
    Server,
    /// To one of the gateway's own paths, by its place among them.
    Own(usize),
    /// To a route, by its index, with the path that it is judged by.
    Route(usize, Canonical<'a>),
}

/// Finds out where a request leads.
///
/// # Errors
/// Nowhere: the cause, with `Allow` for a 405.
pub fn lead<'a>(snapshot: &Snapshot, head: &'a RequestParts) -> Result<Place<'a>, (Cause, Option<String>)> {
    head.check().map_err(|cause| (cause, None))?;
    if head.asks_server() {
        return Ok(Place::Server);
    }
    let canonical = canonicalise(head.target.path(), snapshot.escaped_slash)
        .map_err(|bad| (Cause::BadPath(response::bad_path(bad)), None))?;
    if let Some(own) = snapshot.own_paths.find(&canonical.path, head.host_name()) {
        return Ok(Place::Own(own));
    }
    match snapshot.router.find(&facts(head, &canonical)) {
        Found::Route(route) => Ok(Place::Route(*route.payload(), canonical)),
        Found::NoRoute => Err((Cause::NoRoute, None)),
        Found::Ambiguous { .. } => {
            Err((Cause::BadPath("Another reading of the path leads to another route."), None))
        }
        Found::MethodNotAllowed { allow } => Err((Cause::MethodNotAllowed, Some(allow))),
    }
}

/// What the router judges a request by.
pub fn facts<'a>(head: &'a RequestParts, canonical: &'a Canonical<'_>) -> RequestFacts<'a> {
    RequestFacts {
        method: head.method.as_str(),
        host: head.host_name(),
        path: &canonical.path,
        trailing_slash: canonical.trailing_slash,
        headers: &head.fields,
    }
}

/// Whether the route takes such a request from that address at all.
///
/// # Errors
/// It does not: the cause, and what is for the log alone.
pub fn admit(
    snapshot: &Snapshot,
    route: &Route,
    head: &RequestParts,
    client: IpAddr,
) -> Result<(), (Cause, Option<&'static str>)> {
    if route.deny {
        return Err((Cause::Denied, None));
    }
    if route.is_too_long(head.framing) {
        return Err((Cause::BodyTooLarge, None));
    }
    for rules in addresses(snapshot, route).into_iter().filter(|rules| !rules.is_open()) {
        rules.judge(client).map_err(|why| {
            let detail = match why {
                ip_rules::Refused::Denied => "an address that is denied",
                ip_rules::Refused::NotAllowed => "an address that is not among those allowed",
            };
            (Cause::IpDenied, Some(detail))
        })?;
    }
    Ok(())
}

/// The rules for addresses that a request comes by: for all, of the route, of its backend.
pub fn addresses<'a>(snapshot: &'a Snapshot, route: &'a Route) -> [&'a IpRules; 3] {
    let [own, backend] = &route.access.ip;
    [&snapshot.ip, own, backend]
}
