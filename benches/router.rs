//! Cost of routing: flat from one route to fifty thousand, by path and by host, and of canonicalising a path.

use std::hint::black_box;

use aegis::config::settings::EscapedSlash;
use aegis::router::{RequestFacts, RouteSpec, Router, canonicalise};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const SIZES: [usize; 4] = [1, 100, 5_000, 50_000];

fn facts<'a>(host: &'a str, path: &'a str) -> RequestFacts<'a> {
    RequestFacts { method: "GET", host, path, trailing_slash: false, headers: &() }
}

fn find_by_path(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("find, routes differ by path");
    for size in SIZES {
        let shapes = ["", "/:id", "/:id/posts", "/**", "/*.json"];
        let specs = (0..size).map(|number| RouteSpec {
            pattern: format!("/api/service{}{}", number / shapes.len(), shapes[number % shapes.len()]),
            payload: number,
            ..RouteSpec::default()
        });
        let router = Router::build(specs.collect()).expect("the patterns are valid");
        let service = size.saturating_sub(1) / shapes.len();
        for (what, path) in [
            ("literal", format!("/api/service{service}")),
            ("parameter", format!("/api/service{service}/42/posts")),
            ("no route", "/nothing/here/at/all".to_owned()),
        ] {
            group.bench_with_input(BenchmarkId::new(what, size), &path, |bencher, path| {
                bencher.iter(|| router.find(black_box(&facts("api.example.com", path))));
            });
        }
    }
    group.finish();
}

fn find_by_host(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("find, routes differ by host");
    for size in SIZES {
        let specs = (0..size).map(|number| RouteSpec {
            pattern: "/**".to_owned(),
            hosts: vec![format!("{}tenant{number}.example.com", if number % 2 == 0 { "" } else { "*." })],
            payload: number,
            ..RouteSpec::default()
        });
        let router = Router::build(specs.collect()).expect("the patterns and hosts are valid");
        for (what, host) in [("exact", "Tenant0.example.com"), ("wildcard", "www.tenant1.example.com")] {
            group.bench_with_input(BenchmarkId::new(what, size), host, |bencher, host| {
                bencher.iter(|| router.find(black_box(&facts(host, "/api/users/42"))));
            });
        }
    }
    group.finish();
}

fn hostile_path(criterion: &mut Criterion) {
    let specs = ["/**/a/**/b", "/**/a/**/a/**/c"].map(|pattern| RouteSpec {
        pattern: pattern.to_owned(),
        payload: (),
        ..RouteSpec::default()
    });
    let router = Router::build(specs.into()).expect("the patterns are valid");
    let path = "/a".repeat(3_000);
    criterion.bench_function("find, 3000 segments against four double stars", |bencher| {
        bencher.iter(|| router.find(black_box(&facts("", &path))));
    });
}

fn canonical(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("canonicalise");
    for (what, path) in [
        ("nothing to do", "/api/v1/users/42/posts/2026-01-01"),
        ("trailing slash", "/api/v1/users/42/posts/"),
        ("escapes", "/api/v1/us%65rs/a%20b/%C3%A9"),
        ("dot segments", "/api//v1/./users/../users/42"),
    ] {
        group.bench_with_input(BenchmarkId::from_parameter(what), path, |bencher, path| {
            bencher.iter(|| canonicalise(black_box(path), EscapedSlash::Reject));
        });
    }
    group.finish();
}

criterion_group!(benches, find_by_path, find_by_host, hostile_path, canonical);
criterion_main!(benches);
