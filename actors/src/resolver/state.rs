//! One name's answers as a pure machine: a look-up's result in, what to publish and what to log out.

use std::net::SocketAddr;
use std::time::Duration;

/// What a look-up's result changed. Nothing is logged for a result that is like the one before.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The addresses are other ones than before.
    Moved,
    /// Look-ups have begun to fail; the last answer stays.
    Lost,
    /// Look-ups succeed again, with the same addresses as before.
    Back,
}

/// What is known of one name.
#[derive(Debug, Default)]
pub(super) struct Name {
    /// The last good answer, settled.
    pub addresses: Vec<SocketAddr>,
    /// Why the last look-up failed.
    pub failing: Option<String>,
}

impl Name {
    /// Starts from what a target already has, so that a replaced actor does not announce it as new.
    pub fn known(addresses: Option<Vec<SocketAddr>>) -> Self {
        Self { addresses: settle(addresses.unwrap_or_default()), failing: None }
    }

    /// Takes in a look-up's result.
    pub fn on_answer(&mut self, answer: Result<Vec<SocketAddr>, String>) -> Option<News> {
        let answer = match answer {
            Ok(found) if found.is_empty() => Err("the name has no address".to_owned()),
            other => other.map(settle),
        };
        match answer {
            Err(error) => self.failing.replace(error).is_none().then_some(News::Lost),
            Ok(found) => {
                let was_failing = self.failing.take().is_some();
                if found != self.addresses {
                    self.addresses = found;
                    return Some(News::Moved);
                }
                was_failing.then_some(News::Back)
            }
        }
    }

    /// The wait before the next look-up.
    pub fn wait(&self, refresh: Duration, retry: Duration) -> Duration {
        if self.addresses.is_empty() { retry } else { refresh }
    }
}

/// Without duplicates and in an order that does not turn with every answer: name servers rotate theirs. The
/// family that the system put first stays first (RFC 6724), within a family addresses are sorted.
pub(super) fn settle(mut found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let six_first = found.first().is_some_and(SocketAddr::is_ipv6);
    found.sort_by_key(|address| (address.is_ipv6() != six_first, *address));
    found.dedup();
    found
}
