//! The paths of the gateway listener that the gateway answers on its own account. They are no traffic: a request to one is
//! counted here, and by nothing that tells of the backends' work.

use std::sync::Arc;

use aegis_actors::traffic::Counters;

use crate::config::settings::Probes;
use crate::router::{HostSet, Pattern, PatternError};

/// Where the administration interface is, for those with the token.
const RESERVED: &str = "/_aegis/";
/// The server itself (RFC 9110 §9.3.7): who asks that has no other question than whether it is there.
const SERVER: &str = "*";

/// What is answered at such a path. The first two are there once, at their places in [`OwnPaths::all`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    Server,
    Reserved,
    Health,
    Ready,
}

/// Where the probes begin.
const PROBES: usize = Answers::Health as usize;

/// One of the paths.
pub struct OwnPath {
    /// In canonical form; the label in metrics.
    pub path: String,
    pub answers: Answers,
    pub requests: Arc<Counters>,
}

/// See the module. Bounded by the configuration.
pub struct OwnPaths {
    /// The server and the reserved prefix, and then the probes.
    pub all: Vec<OwnPath>,
    /// Of the probes.
    hosts: HostSet,
}

impl OwnPaths {
    /// Those of a configuration; what `before` has counted goes on.
    ///
    /// # Errors
    /// A path that no request has; `check` refuses it before.
    pub fn new(probes: &Probes, before: Option<&Self>, workers: usize) -> Result<Self, PatternError> {
        let own = |path: String, answers| {
            let known = before.into_iter().flat_map(|before| &before.all).find(|known| known.path == path);
            let requests =
                known.map_or_else(|| Arc::new(Counters::new(workers)), |known| known.requests.clone());
            OwnPath { path, answers, requests }
        };
        let mut all =
            vec![own(SERVER.to_owned(), Answers::Server), own(RESERVED.to_owned(), Answers::Reserved)];
        for (paths, answers) in [(&probes.health, Answers::Health), (&probes.ready, Answers::Ready)] {
            for path in paths {
                all.extend(Pattern::parse(path)?.only_path().map(|path| own(path, answers)));
            }
        }
        Ok(Self { all, hosts: HostSet::new(&probes.hosts) })
    }

    /// The place of the one that answers a request for the server itself.
    pub fn server(&self) -> usize {
        Answers::Server as usize
    }

    /// The place of the one that a canonical path belongs to, asked of `host`.
    pub fn find(&self, canonical: &str, host: &str) -> Option<usize> {
        if canonical.strip_prefix("/_aegis").is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Some(Answers::Reserved as usize);
        }
        let at = self.all.iter().skip(PROBES).position(|own| own.path == canonical)?;
        self.hosts.has(host).then_some(at + PROBES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(own: &OwnPaths, path: &str, host: &str) -> Option<Answers> {
        own.find(path, host).map(|at| own.all[at].answers)
    }

    #[test]
    fn probes_are_answered_on_their_hosts_and_the_reserved_prefix_on_every_one() {
        let probes = Probes {
            health: vec!["/up".into(), "/\u{e9}".into()],
            ready: vec!["/".into()],
            hosts: vec!["lb.test".into(), "*.probe.test".into()],
        };
        let own = OwnPaths::new(&probes, None, 1).unwrap();
        for host in ["lb.test", "LB.test.", "a.probe.test"] {
            assert_eq!(answers(&own, "/up", host), Some(Answers::Health), "{host}");
            assert_eq!(answers(&own, "/%C3%A9", host), Some(Answers::Health), "{host}");
            assert_eq!(answers(&own, "/", host), Some(Answers::Ready), "{host}");
        }
        for (path, host) in [("/up", "a.test"), ("/up", ""), ("/up/x", "lb.test"), ("/health", "lb.test")] {
            assert_eq!(answers(&own, path, host), None, "{path} on {host:?}");
        }
        for path in ["/_aegis", "/_aegis/status"] {
            assert_eq!(answers(&own, path, "a.test"), Some(Answers::Reserved), "{path}");
        }
        assert_eq!(answers(&own, "/_aegisx", "a.test"), None);
    }

    #[test]
    fn counts_go_on_over_a_change_of_what_a_path_answers() {
        let first = OwnPaths::new(&Probes::default(), None, 1).unwrap();
        let at = first.find("/ready", "").unwrap();
        first.all[at].requests.add(0, 3);
        let turned = Probes { health: vec!["/ready".into()], ready: Vec::new(), hosts: Vec::new() };
        let second = OwnPaths::new(&turned, Some(&first), 1).unwrap();
        let at = second.find("/ready", "").unwrap();
        assert_eq!((second.all[at].answers, second.all[at].requests.sum()), (Answers::Health, 3));
        assert_eq!(second.find("/health", ""), None);
    }
}
