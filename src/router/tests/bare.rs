//! `/x/**` without `/x`.

use super::*;

/// Each route that is told of, and where the path above it goes.
fn told(specs: Vec<Spec>) -> Vec<String> {
    let router = router(specs);
    // Those of one "backend" begin with the same two characters.
    let alike = |a: &&str, b: &&str| a[..2] == b[..2];
    let tell = |(route, other): (&CompiledRoute<&str>, Option<&CompiledRoute<&str>>)| {
        format!("{}: {}", route.payload(), other.map_or("nowhere", |other| other.payload()))
    };
    router.bare(alike).map(tell).collect()
}

fn all(patterns: &[&'static str]) -> Vec<String> {
    told(patterns.iter().map(|pattern| route(pattern)).collect())
}

#[test]
fn deep_routes_are_told_of_where_nobody_takes_the_path_above() {
    assert_eq!(all(&["/api/**"]), ["/api/**: nowhere"]);
    assert_eq!(all(&["/api/:id/x/**"]), ["/api/:id/x/**: nowhere"]);
    assert_eq!(all(&["/api/**", "/api"]), [""; 0]);
    assert_eq!(all(&["/api/**", "/:any"]), [""; 0], "somebody has thought of it");
    assert_eq!(all(&["/**"]), [""; 0]);
    assert_eq!(all(&["/api/v*/**"]), [""; 0], "no single path stands for all of them");
}

#[test]
fn a_route_for_everything_takes_it_unseen_unless_it_is_as_good() {
    assert_eq!(all(&["/api/**", "/**"]), ["/api/**: /**"]);
    assert_eq!(all(&["/api/x/**", "/api/**"]), ["/api/**: nowhere"]);
}

#[test]
fn hosts_methods_and_headers_are_those_of_the_route() {
    let deep = || RouteSpec { hosts: owned(&["*.a.test"]), methods: owned(&["POST"]), ..route("/api/**") };
    let bare = |host: &str| RouteSpec { hosts: owned(&[host]), ..route("/api") };
    assert_eq!(told(vec![deep(), bare("x.a.test")]), [""; 0]);
    assert_eq!(told(vec![deep(), bare("b.test")]), ["/api/**: nowhere"]);
    let header = |spec: Spec| RouteSpec { headers: vec![("x-v".into(), "2".into())], ..spec };
    assert_eq!(told(vec![header(route("/api/**")), header(route("/api"))]), [""; 0]);
}
