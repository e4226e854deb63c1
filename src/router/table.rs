//! The compiled route table.
//!
//! Owns the order of routes and the choice among those that match. Routes are filed by host first, then by
//! pattern, so that neither fifty thousand paths nor fifty thousand hosts make a request slower. Driven by the
//! gateway: built once per configuration, asked once per request.

use std::collections::HashMap;

use super::hosts::{HostPattern, RequestHost};
use super::methods::Method;
use super::pattern_error::PatternError;
use super::readings::{readings, routing_form};
use super::route::{CompiledRoute, RouteSpec};
use super::tree::{Candidates, NO_RANK, NodeId, Path, Tree};

/// Routes in match order with an index over them.
///
/// Of all routes that match a request the first in this order is taken: higher priority (0 when none is set),
/// higher specificity, more literal characters, narrower hosts (exact, then the longer wildcard suffix, then
/// none; of several hosts the widest counts), more headers, earlier in the file. Hosts and headers stand before
/// the file order so that a route for one host or header is not hidden by one for all that happens to come first.
#[derive(Debug)]
pub struct Router<T> {
    pub(super) routes: Vec<CompiledRoute<T>>,
    pub(super) tree: Tree,
    pub(super) exact: HashMap<Box<str>, NodeId>,
    pub(super) under: HashMap<Box<str>, NodeId>,
    pub(super) anywhere: NodeId,
}

/// What a request is routed by.
#[derive(Clone, Copy)]
pub struct RequestFacts<'a> {
    /// The method as received.
    pub method: &'a str,
    /// The host without its port, in any case; empty when there is none.
    pub host: &'a str,
    /// [`super::Canonical::path`].
    pub path: &'a str,
    /// [`super::Canonical::trailing_slash`].
    pub trailing_slash: bool,
    /// The headers, asked only for routes that name some.
    pub headers: &'a dyn RequestHeaders,
}

/// The header values of a request, by name.
pub trait RequestHeaders {
    /// Calls `visit` once for each value of the header `name`, which is given in lower case.
    fn visit(&self, name: &str, visit: &mut dyn FnMut(&[u8]));
}

/// No headers at all.
impl RequestHeaders for () {
    fn visit(&self, _name: &str, _visit: &mut dyn FnMut(&[u8])) {}
}

/// Names in any case with their values, one entry for each value.
impl RequestHeaders for Vec<(String, String)> {
    fn visit(&self, name: &str, visit: &mut dyn FnMut(&[u8])) {
        self.iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .for_each(|(_, v)| visit(v.as_bytes()));
    }
}

/// The outcome of a search.
#[derive(Debug)]
pub enum Found<'r, T> {
    /// The best route.
    Route(&'r CompiledRoute<T>),
    /// 405 `method_not_allowed`: path, host and headers fit routes for other methods only.
    MethodNotAllowed {
        /// The `Allow` header: the methods that those routes list, sorted. GET implies HEAD without listing it.
        allow: String,
    },
    /// 400 `bad_path`: another way to read the path leads to another route, so the upstream might judge a
    /// different path than the gateway did.
    Ambiguous {
        /// That other reading.
        reading: String,
    },
    /// 404 `no_route`.
    NoRoute,
}

enum Verdict {
    Route(u32),
    OtherMethods,
    Nothing,
}

impl<T> Router<T> {
    /// Compiles routes, given in the order of the file. On failure every bad route is named by its index.
    pub fn build(specs: Vec<RouteSpec<T>>) -> Result<Self, Vec<(usize, PatternError)>> {
        let mut routes = Vec::with_capacity(specs.len());
        let mut errors = Vec::new();
        for (position, spec) in specs.into_iter().enumerate() {
            match CompiledRoute::new(position, spec) {
                Ok(route) => routes.push(route),
                Err(error) => errors.push((position, error)),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        // A stable sort: the order in the file decides between equals.
        routes.sort_by_key(CompiledRoute::order);

        let mut tree = Tree::default();
        let anywhere = tree.root();
        let mut router = Self { routes, tree, exact: HashMap::new(), under: HashMap::new(), anywhere };
        for (rank, route) in router.routes.iter().enumerate() {
            let (tree, header) = (&mut router.tree, route.headers().first());
            if route.hosts().is_empty() {
                tree.insert(anywhere, route.pattern().segments(), rank as u32, header);
            }
            for host in route.hosts() {
                let root = match host {
                    HostPattern::Exact(name) => router.exact.entry(name.as_str().into()),
                    HostPattern::Under(suffix) => router.under.entry(suffix.as_str().into()),
                };
                let root = *root.or_insert_with(|| tree.root());
                tree.insert(root, route.pattern().segments(), rank as u32, header);
            }
        }
        Ok(router)
    }

    /// The routes in match order, first the one that beats all others.
    pub fn routes(&self) -> impl ExactSizeIterator<Item = &CompiledRoute<T>> {
        self.routes.iter()
    }

    /// Finds the route for a request.
    ///
    /// The cost does not grow with the number of routes, and nothing is allocated unless the path has a `;` or
    /// `%` in it, the answer is a 405, or patterns with two `**` before their last segment come into play.
    ///
    /// A path with parameters or kept separators has several [`readings()`]. Each must lead to the same route. One
    /// that leads nowhere is an ambiguity too, except when it takes an escaped separator for a slash: whoever keeps
    /// those has said that they are part of their segment.
    pub fn find(&self, request: &RequestFacts<'_>) -> Found<'_, T> {
        let asked = self.asked(request);
        if memchr::memchr2(b';', b'%', request.path.as_bytes()).is_none() {
            return self.found(&asked, request.path, request.trailing_slash);
        }
        let found = self.found(&asked, &routing_form(request.path), request.trailing_slash);
        let Found::Route(chosen) = &found else { return found };
        for reading in readings(request.path) {
            let trailing_slash = reading.trailing_slash || request.trailing_slash;
            match self.judge(&asked, &routing_form(&reading.path), trailing_slash) {
                Verdict::Route(rank) if std::ptr::eq(&self.routes[rank as usize], *chosen) => {}
                Verdict::Nothing if reading.separators_decoded => {}
                _ => return Found::Ambiguous { reading: reading.path },
            }
        }
        found
    }

    pub(super) fn asked<'a>(&'a self, request: &RequestFacts<'a>) -> Asked<'a, T> {
        Asked {
            routes: &self.routes,
            method: Method::new(request.method),
            host: RequestHost::new(request.host),
            headers: request.headers,
        }
    }

    fn found(&self, asked: &Asked<'_, T>, path: &str, trailing_slash: bool) -> Found<'_, T> {
        match self.judge(asked, path, trailing_slash) {
            Verdict::Route(rank) => Found::Route(&self.routes[rank as usize]),
            Verdict::Nothing => Found::NoRoute,
            Verdict::OtherMethods => match self.allowed(asked, path, trailing_slash) {
                Some(allow) => Found::MethodNotAllowed { allow },
                None => Found::NoRoute,
            },
        }
    }

    fn judge(&self, asked: &Asked<'_, T>, path: &str, trailing_slash: bool) -> Verdict {
        let mut best = Best { asked, rank: NO_RANK, other_methods: false };
        self.search(asked, path, trailing_slash, &mut best);
        match best {
            Best { rank: NO_RANK, other_methods: false, .. } => Verdict::Nothing,
            Best { rank: NO_RANK, .. } => Verdict::OtherMethods,
            Best { rank, .. } => Verdict::Route(rank),
        }
    }

    fn allowed(&self, asked: &Asked<'_, T>, path: &str, trailing_slash: bool) -> Option<String> {
        let mut union = Union { asked, methods: Vec::new() };
        self.search(asked, path, trailing_slash, &mut union);
        union.methods.sort_unstable();
        union.methods.dedup();
        (!union.methods.is_empty()).then(|| union.methods.join(", "))
    }

    fn search<C: Candidates>(&self, asked: &Asked<'_, T>, path: &str, trailing_slash: bool, into: &mut C) {
        let path = Path { text: path, trailing_slash, headers: asked.headers };
        if let Some(root) = self.exact.get(asked.host.name()) {
            self.tree.search(*root, &path, into);
        }
        if !self.under.is_empty() {
            for suffix in asked.host.suffixes() {
                if let Some(root) = self.under.get(suffix) {
                    self.tree.search(*root, &path, into);
                }
            }
        }
        self.tree.search(self.anywhere, &path, into);
    }
}

pub(super) struct Asked<'a, T> {
    pub(super) routes: &'a [CompiledRoute<T>],
    pub(super) method: Method<'a>,
    pub(super) host: RequestHost,
    pub(super) headers: &'a dyn RequestHeaders,
}

impl<T> Asked<'_, T> {
    pub(super) fn headers_fit(&self, route: &CompiledRoute<T>) -> bool {
        route.headers().iter().all(|header| self.header_fits(header))
    }

    pub(super) fn header_fits(&self, (name, wanted): &(String, String)) -> bool {
        let mut found = false;
        self.headers.visit(name, &mut |value| found |= value == wanted.as_bytes());
        found
    }
}

/// Keeps the best route.
struct Best<'a, T> {
    asked: &'a Asked<'a, T>,
    rank: u32,
    other_methods: bool,
}

impl<T> Candidates for Best<'_, T> {
    fn bound(&self) -> u32 {
        self.rank
    }

    fn offer(&mut self, rank: u32) {
        let route = &self.asked.routes[rank as usize];
        if !route.methods.has(self.asked.method) {
            self.other_methods = true;
        } else if self.asked.headers_fit(route) {
            self.rank = rank;
        }
    }
}

/// Collects the methods of all matching routes, none of which has the request's.
struct Union<'a, T> {
    asked: &'a Asked<'a, T>,
    methods: Vec<&'a str>,
}

impl<T> Candidates for Union<'_, T> {
    fn bound(&self) -> u32 {
        NO_RANK
    }

    fn offer(&mut self, rank: u32) {
        let route = &self.asked.routes[rank as usize];
        if self.asked.headers_fit(route) {
            self.methods.extend(route.methods().iter().map(String::as_str));
        }
    }
}
