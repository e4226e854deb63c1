//! Which route a request belongs to: the canonical path, route patterns and the compiled route table.
//!
//! Owns: what a path means ([`canonicalise`]), what a pattern means ([`Pattern`]), the order of routes and the
//! search for the best one ([`Router`]), and what `check` says about routes that hide each other
//! ([`Router::conflicts`]). Refuses: every path that two servers could read differently, either when it is
//! canonicalised ([`BadPath`]) or when its readings lead to different routes ([`Found::Ambiguous`]). Does no I/O,
//! knows no HTTP types and keeps no state; the gateway calls `canonicalise` once per request and `find` once, on
//! a table that is built anew for each configuration and shared read-only by all workers. What else is written in
//! patterns (permissions, anonymous paths) is asked through a [`PatternSet`].

mod bare;
mod canonical;
mod conflicts;
mod escapes;
mod glob;
mod hosts;
mod methods;
mod near;
mod overlap;
mod pattern;
mod pattern_error;
mod pattern_set;
mod readings;
mod route;
mod table;
mod ties;
mod tree;

pub(crate) use self::methods::{Method, MethodSet};
pub use canonical::{BadPath, Canonical, canonicalise};
pub use conflicts::{Conflict, ConflictKind};
pub use glob::Glob;
pub use hosts::{HostPattern, HostSet};
pub use near::{Lost, NearMiss};
pub use pattern::{Pattern, Segment};
pub use pattern_error::PatternError;
pub use pattern_set::PatternSet;
pub use readings::{Reading, readings, routing_form};
pub use route::{CompiledRoute, RouteSpec};
pub use table::{Found, RequestFacts, RequestHeaders, Router};

#[cfg(test)]
mod tests;
