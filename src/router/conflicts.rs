//! What `check` warns about: routes that can never match, and ties that only the order in the file decides.
//!
//! Owns the search for routes hidden by others; ties are found in [`super::ties`]. Both look at few pairs, so that
//! thousands of routes are checked in well under a second. Never warns without a reason; a hidden route may go
//! unnoticed where only several others together hide it.

use std::collections::HashSet;
use std::fmt;

use super::hosts::{HostPattern, RequestHost};
use super::overlap::conditions_cover;
use super::pattern::Segment;
use super::route::CompiledRoute;
use super::table::Router;
use super::ties;
use super::tree::{NO_RANK, NodeId, Tree};

/// Two routes of which one hides the other or may.
#[derive(Debug)]
pub struct Conflict<'r, T> {
    /// What is the matter.
    pub kind: ConflictKind,
    /// The route that loses.
    pub route: &'r CompiledRoute<T>,
    /// The route that goes first.
    pub winner: &'r CompiledRoute<T>,
}

/// The kinds of conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictKind {
    /// The winner matches every request that the route matches.
    Unreachable,
    /// Both are of equal rank and can match the same request; the order in the file decides.
    Tie,
}

impl<T> fmt::Display for Conflict<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (route, winner) = (self.route.pattern().text(), self.winner.pattern().text());
        match self.kind {
            ConflictKind::Unreachable => write!(
                f,
                "route `{route}` can never match: `{winner}` goes first and takes every request that it would; \
                 remove it, narrow `{winner}`, or give it a higher priority"
            ),
            ConflictKind::Tie => write!(
                f,
                "routes `{winner}` and `{route}` are equally specific and can match the same request; the one \
                 that stands first in the file, `{winner}`, wins; set a priority to make that plain"
            ),
        }
    }
}

impl<T> Router<T> {
    /// Routes that can never match, each with a route that hides it, then ties; both in match order.
    ///
    /// A route that can never match takes no part in ties. At most 1 000 ties are given.
    pub fn conflicts(&self) -> Vec<Conflict<'_, T>> {
        let mut found = Vec::new();
        let mut reachable = Vec::with_capacity(self.routes.len());
        for (rank, route) in self.routes.iter().enumerate() {
            match self.hidden_by(rank as u32) {
                Some(winner) => found.push(Conflict { kind: ConflictKind::Unreachable, route, winner }),
                None => reachable.push(route),
            }
        }
        found.extend(ties::ties(&reachable).into_iter().map(|(winner, route)| Conflict {
            kind: ConflictKind::Tie,
            route,
            winner,
        }));
        found
    }

    /// The best route in front of `rank` that covers it.
    fn hidden_by(&self, rank: u32) -> Option<&CompiledRoute<T>> {
        let route = &self.routes[rank as usize];
        let mut walk = CoverWalk { router: self, route, best: rank, seen: HashSet::new() };
        // A route that covers this one covers its first host, so it is filed where that host is looked up.
        match route.hosts().first() {
            None => {}
            Some(HostPattern::Exact(name)) => {
                self.exact.get(name.as_str()).into_iter().for_each(|root| walk.visit(*root, 0));
                walk.visit_suffixes(name);
            }
            Some(HostPattern::Under(suffix)) => {
                self.under.get(suffix.as_str()).into_iter().for_each(|root| walk.visit(*root, 0));
                walk.visit_suffixes(suffix);
            }
        }
        walk.visit(self.anywhere, 0);
        (walk.best < rank).then(|| &self.routes[walk.best as usize])
    }
}

/// Leads a route's own pattern through the tree, along every branch that matches all that the pattern stands for.
struct CoverWalk<'r, T> {
    router: &'r Router<T>,
    route: &'r CompiledRoute<T>,
    /// Rank of the best covering route so far; at the start that of the route itself.
    best: u32,
    seen: HashSet<(NodeId, usize)>,
}

impl<T> CoverWalk<'_, T> {
    fn visit_suffixes(&mut self, host: &str) {
        for suffix in RequestHost::new(host).suffixes() {
            if let Some(root) = self.router.under.get(suffix) {
                self.visit(*root, 0);
            }
        }
    }

    fn visit(&mut self, id: NodeId, at: usize) {
        let tree: &Tree = &self.router.tree;
        let node = tree.node(id);
        if node.best >= self.best || !self.seen.insert((id, at)) {
            return;
        }
        let rest = &self.route.pattern().segments()[at..];
        let Some((segment, after)) = rest.split_first() else {
            return self.offer(node.ends.as_deref());
        };
        self.offer(node.tails.as_deref());
        match segment {
            // At the end `**` may stand for no segment at all, which only another such `**` covers.
            Segment::Deep if after.is_empty() => return,
            Segment::Deep => {}
            Segment::Literal(text) => {
                node.literals.get(text.as_str()).into_iter().for_each(|child| self.visit(*child, at + 1));
                if let Some(globs) = &node.globs {
                    globs.visit(text, |child| self.visit(child, at + 1));
                }
            }
            Segment::Glob(glob) => {
                let same = node.globs.as_ref().and_then(|globs| globs.get(glob));
                same.into_iter().for_each(|child| self.visit(child, at + 1));
            }
            Segment::Parameter(_) | Segment::Any => {}
        }
        if let (Some(child), false) = (node.single, *segment == Segment::Deep) {
            self.visit(child, at + 1);
        }
        if let Some(child) = node.deep {
            let ends_open = rest.last() == Some(&Segment::Deep);
            for taken in 1..=rest.len() - usize::from(ends_open) {
                self.visit(child, at + taken);
            }
        }
    }

    fn offer(&mut self, ends: Option<&super::tree::Ends>) {
        let Some(ends) = ends else { return };
        let covering = ends
            .ranks_asking_no_more_than(self.route.headers())
            .filter(|rank| *rank < self.best)
            .find(|rank| conditions_cover(&self.router.routes[*rank as usize], self.route));
        self.best = self.best.min(covering.unwrap_or(NO_RANK));
    }
}
