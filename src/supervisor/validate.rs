//! Validation of a configuration by those who work with it: what `config` alone cannot know.
//!
//! `load_with` takes it as a further validation, at start, at a reload and for `aegis check`.

mod bundles;
mod identity;

use std::time::{Duration, SystemTime};

use crate::config::settings::ServerTls;
use crate::config::{Places, Problem, Settings};
use crate::router::{Conflict, ConflictKind, Pattern, PatternError, RouteSpec, Router};
use crate::tls::{self, Asked, Certificate};

/// A route by the numbers of its backend and of itself, as in [`Settings::backends`].
pub type RouteNumbers = (usize, usize);

/// A certificate that ends sooner should have been replaced.
const RENEWED: Duration = Duration::from_secs(30 * 86_400);

/// Patterns that the router cannot compile, routes that hide each other or that the gateway's own paths hide, certificates and
/// keys that cannot be served.
pub fn validate(settings: &Settings, places: &Places) -> Vec<Problem> {
    let mut problems = routes(settings, places);
    if let Some(tls) = &settings.server.tls {
        problems.extend(certificates(tls, Asked::of(settings), places, SystemTime::now()));
    }
    problems.extend(identity::problems(settings, places));
    problems.extend(bundles::problems(settings, places));
    problems
}

fn certificates(tls: &ServerTls, asked: Asked, places: &Places, now: SystemTime) -> Vec<Problem> {
    match tls::read(tls, asked) {
        Ok(served) => {
            let doubts = served.clients.iter().flat_map(|clients| clients.doubts(now));
            let key = "server.tls.crlFile";
            let doubts = doubts.map(|what| places.file(key).warning(format!("`{key}` {what}")));
            let certificates = served.certificates.iter().flat_map(|one| validity(one, places, now));
            certificates.chain(doubts).collect()
        }
        Err(errors) => {
            errors.0.iter().map(|error| places.file(&error.key).error(error.to_string())).collect()
        }
    }
}

/// That a certificate is not valid yet, or not for long.
fn validity(certificate: &Certificate, places: &Places, now: SystemTime) -> Vec<Problem> {
    let Certificate { key, name, begins, ends } = certificate;
    let begins = begins.filter(|begins| *begins > now).map(|begins| {
        let date = humantime::format_rfc3339_seconds(begins);
        format!("is not valid before {date}, and clients refuse it until then: use one that is, or set this machine's clock")
    });
    let ends = ends.and_then(|ends| {
        let date = humantime::format_rfc3339_seconds(ends);
        match ends.duration_since(now) {
            Err(_) => Some(format!("expired at {date}, and clients refuse it: renew it")),
            Ok(left) if left < RENEWED => {
                Some(format!("expires at {date}, in {} days: renew it", left.as_secs() / 86_400))
            }
            Ok(_) => None,
        }
    });
    let warning = |what| places.file(key).warning(format!("`{key}` {name} {what}"));
    begins.into_iter().chain(ends).map(warning).collect()
}

/// The router's view.
fn routes(settings: &Settings, places: &Places) -> Vec<Problem> {
    let (own, mut problems) = own_paths(settings, places);
    // Routes in front of all others.
    let own = own.map(|(pattern, hosts)| RouteSpec {
        pattern,
        hosts,
        priority: Some(i64::MAX),
        ..RouteSpec::default()
    });
    let router = match Router::build(specs(settings, Some).chain(own).collect()) {
        Ok(router) => router,
        Err(errors) => {
            let at: Vec<RouteNumbers> = numbers(settings).collect();
            let place = |n: usize| at.get(n).map(|(backend, route)| places.route(*backend, *route));
            let problem =
                |(n, error): (usize, PatternError)| place(n).map(|place| place.error(error.to_string()));
            problems.extend(errors.into_iter().filter_map(problem));
            return problems;
        }
    };
    let warn = |conflict: Conflict<'_, Option<RouteNumbers>>| {
        let (backend, route) = (*conflict.route.payload())?;
        let place = places.route(backend, route);
        let Some((winner_backend, winner_route)) = *conflict.winner.payload() else {
            let (route, own) = (conflict.route.pattern().text(), conflict.winner.pattern().text());
            let hint = if own.starts_with("/_aegis") { "" } else { ", or change `server.probes`" };
            let what = format!(
                "route `{route}` is never reached: the gateway answers `{own}` itself; use another path{hint}"
            );
            return Some(place.warning(what));
        };
        let line = places.route(winner_backend, winner_route).line;
        let which = match conflict.kind {
            ConflictKind::Unreachable => "the one that hides it",
            ConflictKind::Tie => "the winner",
        };
        Some(place.warning(format!("{conflict} ({which} is on line {line})")))
    };
    let kind = |at: &Option<RouteNumbers>| {
        at.map(|(backend, number)| (backend, settings.backends[backend].routes[number].deny))
    };
    let alike = |a: &Option<RouteNumbers>, b: &Option<RouteNumbers>| kind(a) == kind(b);
    let bare = router.bare(alike).filter_map(|(route, other)| {
        let (backend, number) = (*route.payload())?;
        let text = route.pattern().text();
        let path = text.strip_suffix("/**").unwrap_or(text);
        let goes = match other {
            None => "finds no route".to_owned(),
            Some(other) => format!("goes to `{}`", other.pattern().text()),
        };
        let what = format!(
            "`{text}` takes what is below `{path}/`, and not `{path}` itself, which {goes}: add `{path}` to the routes of \
             the backend that it is for"
        );
        Some(places.route(backend, number).warning(what))
    });
    problems.extend(router.conflicts().into_iter().filter_map(warn).chain(bare));
    problems
}

/// The gateway's own paths with their hosts, as patterns, and what is wrong with those of the probes.
fn own_paths(
    settings: &Settings,
    places: &Places,
) -> (impl Iterator<Item = (String, Vec<String>)>, Vec<Problem>) {
    let probes = &settings.server.probes;
    let (mut known, mut problems) = (Vec::new(), Vec::new());
    for (number, path) in probes.health.iter().chain(&probes.ready).enumerate() {
        let (name, place) = places.probe(number);
        let trouble = match Pattern::parse(path).map(|pattern| pattern.only_path()) {
            Err(error) => error.to_string(),
            Ok(None) => "it stands for several paths; write each of them".to_owned(),
            Ok(Some(path)) if path == "/_aegis" || path.starts_with("/_aegis/") => {
                "this prefix is the administration interface's; use another path".to_owned()
            }
            Ok(Some(path)) if known.contains(&path) => {
                "it is there already; remove one of the two".to_owned()
            }
            Ok(Some(path)) => {
                known.push(path);
                continue;
            }
        };
        problems.push(place.error(format!("`{name}` is `{path}`: {trouble}")));
    }
    let reserved = ["/_aegis", "/_aegis/**"].map(|path| (path.to_owned(), Vec::new()));
    let hosts = probes.hosts.clone();
    (reserved.into_iter().chain(known.into_iter().map(move |path| (path, hosts.clone()))), problems)
}

/// The route table of the settings; a route leads to its numbers in [`Settings::backends`].
///
/// # Errors
/// Every pattern that does not compile, by the route's position.
pub fn compile(settings: &Settings) -> Result<Router<RouteNumbers>, Vec<(usize, PatternError)>> {
    Router::build(specs(settings, |numbers| numbers).collect())
}

/// Every route, in the order of the file.
fn specs<T>(settings: &Settings, payload: impl Fn(RouteNumbers) -> T) -> impl Iterator<Item = RouteSpec<T>> {
    numbers(settings).map(move |(backend, number)| {
        let route = &settings.backends[backend].routes[number];
        RouteSpec {
            pattern: route.path.clone(),
            methods: route.methods.clone(),
            hosts: route.hosts.clone(),
            headers: route.headers.clone(),
            priority: route.priority,
            payload: payload((backend, number)),
        }
    })
}

/// Every route as (backend, route), in the order of the file.
fn numbers(settings: &Settings) -> impl Iterator<Item = RouteNumbers> {
    let backends = settings.backends.iter().enumerate();
    backends.flat_map(|(backend, b)| (0..b.routes.len()).map(move |route| (backend, route)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::EscapedSlash;
    use crate::config::{Env, Source, load_with};
    use crate::router::{Found, RequestFacts, canonicalise};

    #[test]
    fn what_the_production_example_denies_cannot_be_reached_by_a_more_specific_route() {
        let text = include_str!("../../config/production.yaml");
        let source = Source {
            text: Some(("production.yaml".into(), text.into())),
            env: Env::from_iter([("AEGIS_ADMIN_TOKEN", "x")]),
            ..Source::default()
        };
        let loaded = load_with(&source, validate).expect("a good configuration");
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        let router = compile(&loaded.settings).expect("good patterns");
        let denied = |method: &str, path: &str| {
            let canonical = canonicalise(path, EscapedSlash::Reject).expect("a good path");
            let facts = RequestFacts {
                method,
                host: "api.example.com",
                path: &canonical.path,
                trailing_slash: canonical.trailing_slash,
                headers: &(),
            };
            let Found::Route(route) = router.find(&facts) else { panic!("no route for {path}") };
            let (backend, number) = *route.payload();
            loaded.settings.backends[backend].routes[number].deny
        };
        for below in ["", "/", "/avatar", "/a/b"] {
            let path = format!("/api/users/internal{below}");
            assert!(denied("PUT", &path) && denied("GET", &path), "{path}");
        }
        assert!(!denied("PUT", "/api/users/7/avatar") && !denied("GET", "/api/users/7"));
    }

    /// What is said of `server` with a backend of these `routes`.
    fn said(server: &str, routes: &str) -> Vec<String> {
        let text = format!(
            "server: {server}\nbackends:\n  - {{name: b, url: \"http://127.0.0.1:1\", routes: [{routes}]}}\n"
        );
        let source = Source { text: Some(("a.yaml".into(), text)), env: Env::default(), ..Source::default() };
        let problems = match load_with(&source, validate) {
            Ok(loaded) => loaded.warnings,
            Err(problems) => problems.0,
        };
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_route_that_the_gateways_own_paths_hide_is_a_warning() {
        for hidden in [
            "/health",
            "/healthz",
            "{path: /ready, methods: [POST], headers: {x-a: b}, priority: 9}",
            "{path: /health, hosts: [a.test]}",
            "/%68ealth",
            "/_aegis",
            "/_aegis/**",
            "/_aegis/a/:b",
        ] {
            let said = said("{}", &format!("/a, {hidden}"));
            assert!(said.len() == 1 && said[0].contains("is never reached"), "{hidden}: {said:?}");
            assert!(said[0].starts_with("a.yaml:3:"), "{hidden}: {said:?}");
        }
        for reached in ["/**", "/:page", "/healthy", "/health/deep", "/_aegisx", "/h*"] {
            assert_eq!(said("{}", reached), [""; 0], "{reached}");
        }
        let elsewhere = "{probes: {health: [/up], hosts: [lb.test]}}";
        for reached in ["/health", "/up", "{path: /up, hosts: [a.test, lb.test]}"] {
            assert_eq!(said(elsewhere, reached), [""; 0], "{reached}");
        }
        let said = said(elsewhere, "{path: /up, hosts: [lb.test]}");
        assert!(said.len() == 1 && said[0].contains("or change `server.probes`"), "{said:?}");
    }

    #[test]
    fn a_probe_has_one_path_that_requests_may_have() {
        for (probes, name, why) in [
            ("{health: [up]}", "server.probes.health[0]", "does not start with a slash; write `/up`"),
            ("{health: [/a, /up/]}", "server.probes.health[1]", "ends in a slash"),
            ("{ready: [/up/**]}", "server.probes.ready[0]", "stands for several paths"),
            ("{ready: ['/:x']}", "server.probes.ready[0]", "stands for several paths"),
            ("{ready: [/_aegis/ready]}", "server.probes.ready[0]", "administration interface"),
            ("{ready: [/%68ealth]}", "server.probes.ready[0]", "is there already"),
            ("{health: ['/a?b']}", "server.probes.health[0]", "the path alone"),
            ("{hosts: ['a:80']}", "server.probes.hosts[0]", "without a port"),
        ] {
            let said = said(&format!("{{probes: {probes}}}"), "/b");
            assert!(said.len() == 1 && said[0].contains(name) && said[0].contains(why), "{probes}: {said:?}");
            assert!(said[0].starts_with("a.yaml:1:"), "{probes}: {said:?}");
        }
        assert_eq!(said("{probes: {health: [], ready: [/]}}", "/health"), [""; 0]);
    }

    /// A folder with a certificate that is good for so many days from now on, and its key.
    fn pair(name: &str, days: i64) -> std::path::PathBuf {
        pair_from(name, SystemTime::UNIX_EPOCH, days)
    }

    /// Likewise, not good before `begin`.
    fn pair_from(name: &str, begin: SystemTime, days: i64) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("aegis-validate-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(vec!["x.test".to_owned()]).expect("a name");
        let day = Duration::from_secs(86_400);
        let end = SystemTime::now() + Duration::from_secs(3_600);
        let end = if days < 0 { end - day * -days as u32 } else { end + day * days as u32 };
        params.not_before = begin.into();
        params.not_after = end.into();
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(folder.join("cert.pem"), certificate.pem()).expect("it is written");
        std::fs::write(folder.join("key.pem"), key.serialize_pem()).expect("it is written");
        folder
    }

    fn problems_of(folder: &std::path::Path, ca: &str) -> Vec<String> {
        let folder = folder.display();
        let text = format!(
            "server:\n  tls:\n    certFile: {folder}/cert.pem\n    keyFile: {folder}/key.pem\nbackends:\n  - name: a\n    \
             url: https://h:1\n    routes: [/x]\n    tls:\n      caFile: {folder}/{ca}\n"
        );
        let source = Source { text: Some(("a.yaml".into(), text)), env: Env::empty(), ..Source::default() };
        let problems = crate::config::inspect_with(&source, validate).problems;
        problems.0.into_iter().map(|problem| problem.to_string()).collect()
    }

    #[test]
    fn certificates_keys_and_authorities_are_opened_as_they_would_be_to_serve() {
        let folder = pair("opened", 90);
        assert_eq!(problems_of(&folder, "cert.pem"), [""; 0]);
        let said = problems_of(&folder, "key.pem");
        assert!(said[0].starts_with("a.yaml:10:15: error: `backends[0].tls.caFile`"), "{said:?}");
        std::fs::write(folder.join("key.pem"), rcgen::KeyPair::generate().expect("a key").serialize_pem())
            .expect("it is written");
        let said = problems_of(&folder, "cert.pem");
        assert!(
            said[0].starts_with("a.yaml:4:14: error: ") && said[0].contains("not the certificate's"),
            "{said:?}"
        );
        std::fs::copy(folder.join("cert.pem"), folder.join("key.pem")).expect("it is copied");
        let said = problems_of(&folder, "cert.pem");
        assert!(
            said[0].starts_with("a.yaml:4:14: error: ") && said[0].contains("no PEM private key"),
            "{said:?}"
        );
        std::fs::write(folder.join("cert.pem"), "junk").expect("it is written");
        let said = problems_of(&folder, "cert.pem");
        assert!(said[0].starts_with("a.yaml:3:15: error: server.tls.certFile"), "{said:?}");
        std::fs::remove_dir_all(folder).expect("it is removed");
    }

    #[test]
    fn a_certificate_that_ends_within_thirty_days_or_has_ended_is_a_warning() {
        for (days, said) in
            [(31, None), (29, Some("in 29 days")), (0, Some("in 0 days")), (-1, Some("expired at"))]
        {
            let folder = pair(&format!("expiry{days}"), days);
            let lines = problems_of(&folder, "cert.pem");
            match said {
                None => assert_eq!(lines, [""; 0]),
                Some(said) => {
                    assert!(
                        lines[0].starts_with("a.yaml:3:15: warning: ") && lines[0].contains(said),
                        "{lines:?}"
                    );
                }
            }
            std::fs::remove_dir_all(folder).expect("it is removed");
        }
    }

    #[test]
    fn a_certificate_that_is_not_good_yet_is_a_warning() {
        let hour = Duration::from_secs(3_600);
        for (begin, days, said) in [
            (SystemTime::now() - hour, 90, vec![]),
            (SystemTime::now() + hour, 90, vec!["is not valid before "]),
            (SystemTime::now() + hour, 9, vec!["is not valid before ", "in 9 days"]),
        ] {
            let folder = pair_from(&format!("begin{days}"), begin, days);
            let lines = problems_of(&folder, "cert.pem");
            assert_eq!(lines.len(), said.len(), "{lines:?}");
            for (line, said) in lines.iter().zip(said) {
                assert!(line.starts_with("a.yaml:3:15: warning: ") && line.contains(said), "{line}");
            }
            std::fs::remove_dir_all(folder).expect("it is removed");
        }
    }

    /// What is said of these further entries of `server.tls.certificates`, on lines 6 and 7, whose files are in the folder.
    fn problems_of_named(folder: &std::path::Path, entries: &[(&str, &str)]) -> Vec<String> {
        let pair =
            |name: &str| format!("certFile: {0}/{name}.pem, keyFile: {0}/{name}.key", folder.display());
        let entries: String =
            entries.iter().map(|(name, hosts)| format!("      - {{{}{hosts}}}\n", pair(name))).collect();
        let text = format!(
            "server:\n  tls:\n    {}\n    certificates:\n{entries}backends:\n  - {{name: a, url: http://h:1, routes: [/x]}}\n",
            pair("default").replace(", ", "\n    ")
        );
        let source = Source { text: Some(("a.yaml".into(), text)), env: Env::empty(), ..Source::default() };
        let problems = crate::config::inspect_with(&source, validate).problems;
        problems.0.into_iter().map(|problem| problem.to_string()).collect()
    }

    #[test]
    fn of_several_certificates_each_must_be_whole_and_have_names_of_its_own() {
        let folder = std::env::temp_dir().join(format!("aegis-validate-{}-named", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let write = |file: &str, names: &[&str], kind, end| {
            let key = rcgen::KeyPair::generate_for(kind).expect("a key");
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let mut params = rcgen::CertificateParams::new(names).expect("names");
            params.not_after = end;
            let certificate = params.self_signed(&key).expect("a certificate");
            std::fs::write(folder.join(file).with_extension("pem"), certificate.pem())
                .expect("it is written");
            std::fs::write(folder.join(file).with_extension("key"), key.serialize_pem())
                .expect("it is written");
        };
        let (ecdsa, ed25519) = (&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519);
        let (late, past) = (rcgen::date_time_ymd(4000, 1, 1), rcgen::date_time_ymd(2020, 1, 1));
        write("default", &["d.test"], ecdsa, late);
        write("a", &["a.test"], ecdsa, late);
        write("ad", &["a.test", "d.test"], ecdsa, late);
        write("b", &["a.test", "b.test"], ecdsa, late);
        write("ed", &["a.test"], ed25519, late);
        write("address", &["192.0.2.1"], ecdsa, late);
        write("old", &["old.test"], ecdsa, past);
        std::fs::write(folder.join("junk.pem"), "junk").expect("it is written");
        std::fs::write(folder.join("junk.key"), "junk").expect("it is written");
        std::fs::copy(folder.join("a.pem"), folder.join("mixed.pem")).expect("it is copied");
        std::fs::copy(folder.join("b.key"), folder.join("mixed.key")).expect("it is copied");

        let here = |n: usize, key: &str| format!("server.tls.certificates[{n}].{key}");
        for (entries, said) in [
            (
                &[("a", ""), ("old", ", hosts: [b.test]")][..],
                vec![("7", "warning", here(1, "certFile"), "expired at")],
            ),
            (
                &[("old", ", hosts: [b.test]"), ("old", "")],
                vec![("6", "warning", here(0, "certFile"), "expired at")],
            ),
            (&[("a", ""), ("ed", "")], vec![]),
            (&[("ad", ", hosts: [d.test, a.test]"), ("b", ", hosts: [b.test]")], vec![]),
            (
                &[("a", ""), ("b", "")],
                vec![(
                    "7",
                    "error",
                    here(1, "certFile"),
                    "is for `a.test`, and so is server.tls.certificates[0].certFile:",
                )],
            ),
            (
                &[("a", ", hosts: ['*.x.test']"), ("b", ", hosts: ['*.X.test']")],
                vec![(
                    "7",
                    "error",
                    here(1, "hosts"),
                    "is for `*.x.test`, and so is server.tls.certificates[0].hosts:",
                )],
            ),
            (
                &[("a", ""), ("b", ", hosts: [a.test]")],
                vec![("7", "error", here(1, "hosts"), "[0].certFile")],
            ),
            (
                &[("ad", "")],
                vec![("6", "error", here(0, "certFile"), "is for `d.test`, and so is server.tls.certFile:")],
            ),
            (&[("address", "")], vec![("6", "error", here(0, "certFile"), "holds no DNS name")]),
            (&[("address", ", hosts: [x.test]")], vec![]),
            (
                &[("junk", ""), ("mixed", "")],
                vec![
                    ("6", "error", here(0, "certFile"), "no PEM"),
                    ("7", "error", here(1, "keyFile"), "not the certificate's"),
                ],
            ),
            (
                &[("gone", "")],
                vec![
                    ("6", "error", here(0, "certFile"), "cannot read"),
                    ("6", "error", here(0, "keyFile"), "cannot read"),
                ],
            ),
        ] {
            let lines = problems_of_named(&folder, entries);
            assert_eq!(lines.len(), said.len(), "{entries:?}: {lines:#?}");
            for (line, (at, severity, key, what)) in lines.iter().zip(said) {
                assert!(line.starts_with(&format!("a.yaml:{at}:")), "{entries:?}: {line}");
                assert!(
                    line.contains(&format!(": {severity}: ")) && line.contains(&key) && line.contains(what),
                    "{line}"
                );
            }
        }
        std::fs::remove_dir_all(folder).expect("it is removed");
    }
}
