//! Who is asked for a certificate in the handshake: clients that ask for a name (SNI) which can lead to a route that wants
//! one. Nobody else is, for a browser that is asked shows its user a list to choose from.

use std::collections::HashSet;

use crate::config::settings::{ClientAuth, Settings};
use crate::router::HostPattern;

/// See the module. A look-up costs the same however many routes there are.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// A route for every host wants one.
    everybody: bool,
    exact: HashSet<String>,
    /// Of `*.suffix`, the suffix.
    under: HashSet<String>,
}

impl Asked {
    /// As the routes of these settings want it.
    pub fn of(settings: &Settings) -> Self {
        let mut asked = Self::default();
        let all = settings.backends.iter().flat_map(|one| one.routes.iter().map(move |route| (one, route)));
        for (backend, route) in all {
            if settings.client_auth(backend, route) == ClientAuth::None {
                continue;
            }
            asked.everybody |= route.hosts.is_empty();
            // One that cannot be read is no request's.
            for host in route.hosts.iter().filter_map(|host| HostPattern::parse(host).ok()) {
                match host {
                    HostPattern::Exact(name) => asked.exact.insert(name),
                    HostPattern::Under(suffix) => asked.under.insert(suffix),
                };
            }
        }
        asked
    }

    /// Whether anybody is.
    pub fn is_anybody(&self) -> bool {
        self.everybody || !self.exact.is_empty() || !self.under.is_empty()
    }

    /// Whether a client is that asks for this name, in lower case and without a dot at its end. Who asks for none may send
    /// requests for any host.
    pub fn asks(&self, name: Option<&str>) -> bool {
        let Some(name) = name else { return self.is_anybody() };
        let mut suffixes = name.match_indices('.').map(|(at, _)| &name[at + 1..]);
        self.everybody || self.exact.contains(name) || suffixes.any(|suffix| self.under.contains(suffix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{Backend, Route, ServerTls};

    fn settings(listener: ClientAuth, routes: &[(Option<ClientAuth>, &[&str])]) -> Settings {
        let route = |(client_auth, hosts): &(_, &[&str])| Route {
            client_auth: *client_auth,
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            ..Route::default()
        };
        let routes = routes.iter().map(route).collect();
        let mut settings =
            Settings { backends: vec![Backend { routes, ..Backend::default() }], ..Settings::default() };
        settings.server.tls = Some(ServerTls { client_auth: listener, ..ServerTls::default() });
        settings
    }

    #[test]
    fn only_names_that_lead_to_a_route_that_wants_one_are_asked_for() {
        use ClientAuth::{None as Nobody, Optional, Required};
        for (listener, routes, asked, not) in [
            (Nobody, &[(None, &[][..])][..], &[][..], &[Some("a.test"), None][..]),
            (Required, &[(None, &[])], &[Some("a.test"), None], &[]),
            (Optional, &[(Some(Nobody), &[])], &[], &[Some("a.test"), None]),
            (
                Nobody,
                &[(Some(Required), &["A.test", "*.b.test"]), (None, &[])],
                &[Some("a.test"), Some("x.b.test"), Some("y.x.b.test"), None],
                &[Some("b.test"), Some("c.test"), Some("x.a.test")],
            ),
            (Nobody, &[(Some(Optional), &[]), (None, &["a.test"])], &[Some("a.test"), Some("z.test")], &[]),
        ] {
            let rules = Asked::of(&settings(listener, routes));
            for name in asked {
                assert!(rules.asks(*name), "{name:?} of {routes:?}");
            }
            for name in not {
                assert!(!rules.asks(*name), "{name:?} of {routes:?}");
            }
            assert_eq!(rules.is_anybody(), !asked.is_empty());
        }
    }
}
