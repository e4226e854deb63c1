//! A compiled route and its place in the order.

use std::cmp::Reverse;

use super::hosts::HostPattern;
use super::methods::MethodSet;
use super::pattern::Pattern;
use super::pattern_error::PatternError;

/// A route as configured. Everything but the pattern may be left at its default, which restricts nothing.
#[derive(Clone, Debug, Default)]
pub struct RouteSpec<T> {
    /// The path pattern, `/api/users/:id`.
    pub pattern: String,
    /// Methods in upper case; empty = every method. GET takes HEAD along.
    pub methods: Vec<String>,
    /// Exact hosts or `*.suffix`; empty = every host.
    pub hosts: Vec<String>,
    /// Header names and the exact values they must have; all must match. Of a repeated header one value suffices.
    pub headers: Vec<(String, String)>,
    /// Higher goes first, before specificity. None = 0.
    pub priority: Option<i64>,
    /// What the route leads to.
    pub payload: T,
}

/// A route of a [`super::Router`].
#[derive(Clone, Debug)]
pub struct CompiledRoute<T> {
    pattern: Pattern,
    pub(super) methods: MethodSet,
    hosts: Vec<HostPattern>,
    headers: Vec<(String, String)>,
    priority: Option<i64>,
    position: usize,
    payload: T,
}

/// What orders routes before their place in the file does; the smallest goes first. In words: priority,
/// specificity, literal characters, how narrow the hosts are, number of headers.
pub(super) type OrderKey = Reverse<(i64, i64, usize, usize, usize)>;

impl<T> CompiledRoute<T> {
    pub(super) fn new(position: usize, spec: RouteSpec<T>) -> Result<Self, PatternError> {
        let mut hosts: Vec<HostPattern> = Vec::with_capacity(spec.hosts.len());
        for host in &spec.hosts {
            let host = HostPattern::parse(host)?;
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        let mut headers: Vec<(String, String)> =
            spec.headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        headers.sort();
        headers.dedup();
        Ok(Self {
            pattern: Pattern::parse(&spec.pattern)?,
            methods: MethodSet::new(spec.methods),
            hosts,
            headers,
            priority: spec.priority,
            position,
            payload: spec.payload,
        })
    }

    /// The path pattern.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// The methods as configured; empty = every method.
    pub fn methods(&self) -> &[String] {
        self.methods.names()
    }

    /// The hosts; empty = every host.
    pub fn hosts(&self) -> &[HostPattern] {
        &self.hosts
    }

    /// Lower-case header names with the values they must have, sorted.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The priority, if one is set.
    pub fn priority(&self) -> Option<i64> {
        self.priority
    }

    /// See [`Pattern::specificity`].
    pub fn specificity(&self) -> i64 {
        self.pattern.specificity()
    }

    /// The route's index among those given to [`super::Router::build`], which is the order in the file.
    pub fn position(&self) -> usize {
        self.position
    }

    /// What the route leads to.
    pub fn payload(&self) -> &T {
        &self.payload
    }

    pub(super) fn order(&self) -> OrderKey {
        // A route for several hosts is as narrow as the widest of them.
        let host = self.hosts.iter().map(HostPattern::narrowness).min().unwrap_or(0);
        let priority = self.priority.unwrap_or(0);
        Reverse((
            priority,
            self.pattern.specificity(),
            self.pattern.literal_characters(),
            host,
            self.headers.len(),
        ))
    }
}
