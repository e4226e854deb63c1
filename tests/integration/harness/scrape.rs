//! `GET /metrics`, read as strictly as Prometheus would.

use std::collections::BTreeMap;

use super::client::Call;
use super::gateway::Gateway;

/// Every sample of a scrape by its name and labels as written.
pub fn scrape(gateway: &Gateway) -> BTreeMap<String, f64> {
    let response = gateway.ask_admin(Call::get("/metrics"));
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    parse(&response.text())
}

/// The text format, read strictly: every sample belongs to the metric announced last.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let (mut samples, mut family) = (BTreeMap::new(), String::new());
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split(' ').next().unwrap().to_owned();
            assert!(help.len() > family.len() + 1, "{line}: no help");
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, family, "TYPE follows its HELP");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            continue;
        }
        let (key, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        let name = key.split('{').next().unwrap();
        let base =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(name == family || base == family, "{line} stands under {family}");
        let before = samples.insert(key.to_owned(), value.parse().unwrap());
        assert!(before.is_none(), "{key} twice");
    }
    samples
}

/// The sum of a metric's samples whose labels hold this text.
pub fn sum(samples: &BTreeMap<String, f64>, name: &str, label: &str) -> f64 {
    let is = |key: &&String| key.split('{').next() == Some(name) && key.contains(label);
    samples.keys().filter(is).map(|key| samples[key]).sum()
}
