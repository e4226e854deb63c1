//! The route that is chosen, and those that nearly were.

use super::chosen;
use super::told::{Explanation, NearMiss};
use crate::gateway::lead;
use crate::gateway::request_parts::RequestParts;
use crate::gateway::snapshot::Snapshot;
use crate::router::{CompiledRoute, Found, Lost, RequestFacts, canonicalise};

/// Near misses that are told.
const TOLD: usize = 50;

/// Tells of the chosen route, where there is one, and why the others with a pattern for this path are not it.
pub fn tell(snapshot: &Snapshot, facts: &RequestFacts<'_>, told: &mut Explanation) {
    let winner = match snapshot.router.find(facts) {
        Found::Route(route) => Some(route),
        Found::MethodNotAllowed { .. } | Found::Ambiguous { .. } | Found::NoRoute => None,
    };
    told.route = winner.map(|compiled| {
        let route = &snapshot.routes[*compiled.payload()];
        chosen(route, compiled.specificity(), compiled.priority())
    });
    let near = snapshot.router.near(facts, winner);
    told.more_near_misses = near.len().saturating_sub(TOLD);
    let miss = |miss: &crate::router::NearMiss<'_, usize>| {
        let route = &snapshot.routes[*miss.route.payload()];
        let (lost, why) = said(miss.route, winner, miss.lost);
        NearMiss {
            path: route.pattern.clone(),
            backend: route.backend.name.clone(),
            lost: lost.to_owned(),
            why,
        }
    };
    told.near_misses = near.iter().take(TOLD).map(miss).collect();
}

/// Where another reading of a path leads elsewhere: that reading.
pub fn other_reading(snapshot: &Snapshot, head: &RequestParts) -> Option<String> {
    let canonical = canonicalise(head.target.path(), snapshot.escaped_slash).ok()?;
    match snapshot.router.find(&lead::facts(head, &canonical)) {
        Found::Ambiguous { reading } => Some(format!("Read as {reading}, the path leads elsewhere.")),
        _ => None,
    }
}

/// Why a route is not chosen: in one word, and in a sentence.
fn said(
    route: &CompiledRoute<usize>,
    winner: Option<&CompiledRoute<usize>>,
    lost: Lost,
) -> (&'static str, String) {
    let priority = |route: &CompiledRoute<usize>| route.priority().unwrap_or(0);
    let than = |of: &dyn Fn(&CompiledRoute<usize>) -> i64| winner.map(of).unwrap_or_default();
    match lost {
        Lost::Host => {
            let hosts: Vec<String> = route.hosts().iter().map(ToString::to_string).collect();
            ("host", format!("it is for the host {} only", hosts.join(", ")))
        }
        // Its value may be a secret that stands for a right to the route.
        Lost::Header(at) => {
            let name = route.headers().get(at).map_or("", |(name, _)| name);
            ("header", format!("it asks for another value of the header {name}"))
        }
        Lost::Method => ("method", format!("it takes {} only", route.methods().join(", "))),
        Lost::Priority => {
            ("priority", format!("its priority is {}, not {}", priority(route), than(&priority)))
        }
        Lost::Specificity => {
            let specificity = |route: &CompiledRoute<usize>| route.specificity();
            (
                "specificity",
                format!("it is less specific: {}, not {}", route.specificity(), than(&specificity)),
            )
        }
        Lost::Literals => ("literals", "it has fewer literal characters".to_owned()),
        Lost::Hosts => ("hosts", "it is for more hosts".to_owned()),
        Lost::Headers => ("headers", "it asks for fewer headers".to_owned()),
        Lost::Order => ("order", "it stands behind the chosen one in the file".to_owned()),
        Lost::Reading => ("reading", "another reading of the path leads elsewhere".to_owned()),
    }
}
