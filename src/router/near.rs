//! Routes that a request has nearly come to: their pattern is that of its path, and they were not chosen. For `explain`, not for
//! requests: every host is searched.

use std::cmp::Reverse;

use super::readings::routing_form;
use super::route::{CompiledRoute, OrderKey};
use super::table::{Asked, RequestFacts, Router};
use super::tree::{Candidates, NO_RANK, Path};

/// A route that was not chosen though its pattern matches.
#[derive(Debug)]
pub struct NearMiss<'r, T> {
    pub route: &'r CompiledRoute<T>,
    pub lost: Lost,
}

/// Why a route was not chosen: what about the request is not its own, else what puts the chosen one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It is for other hosts.
    Host,
    /// A header that it asks for is not there, or has another value: the first such, by its number among the route's.
    Header(usize),
    /// It is for other methods.
    Method,
    Priority,
    Specificity,
    /// The chosen one has more literal characters.
    Literals,
    /// The chosen one is for narrower hosts.
    Hosts,
    /// The chosen one asks for more headers.
    Headers,
    /// The chosen one stands before it in the file.
    Order,
    /// It would have been chosen, and another reading of the path leads elsewhere.
    Reading,
}

impl<T> Router<T> {
    /// Every route whose pattern matches the request's path, but for the one that [`Router::find`] chooses; in match order.
    pub fn near<'r>(
        &'r self,
        request: &RequestFacts<'_>,
        chosen: Option<&CompiledRoute<T>>,
    ) -> Vec<NearMiss<'r, T>> {
        let (asked, path) = (self.asked(request), routing_form(request.path));
        let path = Path { text: &path, trailing_slash: request.trailing_slash, headers: asked.headers };
        let mut all = Every(Vec::new());
        for root in self.exact.values().chain(self.under.values()).chain([&self.anywhere]) {
            self.tree.search(*root, &path, &mut all);
        }
        all.0.sort_unstable();
        all.0.dedup();
        let routes = all.0.iter().map(|rank| &self.routes[*rank as usize]);
        let others = routes.filter(|route| chosen.is_none_or(|chosen| !std::ptr::eq(*route, chosen)));
        others.map(|route| NearMiss { route, lost: asked.lost(route, chosen) }).collect()
    }
}

impl<T> Asked<'_, T> {
    fn lost(&self, route: &CompiledRoute<T>, chosen: Option<&CompiledRoute<T>>) -> Lost {
        if !route.hosts().is_empty() && !route.hosts().iter().any(|host| host.holds(self.host.name())) {
            return Lost::Host;
        }
        if !self.headers_fit(route) {
            let fits = |header: &(String, String)| self.header_fits(header);
            return Lost::Header(route.headers().iter().position(|header| !fits(header)).unwrap_or(0));
        }
        if !route.methods.has(self.method) {
            return Lost::Method;
        }
        chosen.map_or(Lost::Reading, |chosen| behind(route.order(), chosen.order()))
    }
}

/// What puts a route with this place in the order behind the other.
fn behind(Reverse(own): OrderKey, Reverse(other): OrderKey) -> Lost {
    match () {
        () if own.0 != other.0 => Lost::Priority,
        () if own.1 != other.1 => Lost::Specificity,
        () if own.2 != other.2 => Lost::Literals,
        () if own.3 != other.3 => Lost::Hosts,
        () if own.4 != other.4 => Lost::Headers,
        () => Lost::Order,
    }
}

/// Takes the ranks of all, whatever their headers.
struct Every(Vec<u32>);

impl Candidates for Every {
    fn bound(&self) -> u32 {
        NO_RANK
    }

    fn offer(&mut self, rank: u32) {
        self.0.push(rank);
    }

    fn takes_any_header(&self) -> bool {
        true
    }
}
