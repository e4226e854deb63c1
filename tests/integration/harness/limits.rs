//! What the tests of rate limits share: configurations, clients nobody else is, and what the gateway tells.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::backend::Backend;
use super::client::Call;
use super::gateway::{Builder, Gateway};
use super::response::Response;
use super::upstream::Upstream;
use super::wait::{SOON, eventually};

/// The three algorithms by name.
pub const ALGORITHMS: [&str; 3] = ["tokenBucket", "slidingWindow", "fixedWindow"];

/// A window in seconds. No test lasts that long, and a fixed window of it begins on the first of a month at most.
pub const MONTH: u64 = 2_592_000;

/// Decisions of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decisions {
    pub allowed: u64,
    pub limited: u64,
    pub shadow: u64,
    /// The shared store did not answer.
    pub error: u64,
}

/// A gateway with this `rateLimit` section, its lines as members of a YAML flow mapping.
pub fn limited(upstream: &Upstream, limits: &str) -> Builder {
    Gateway::builder().top(&format!("rateLimit: {{{limits}}}")).backend(Backend::all(upstream))
}

/// The same with limits in Redis, for clients that `X-Forwarded-For` names.
pub fn shared(upstream: &Upstream, redis: &str, limits: &str) -> Builder {
    limited(upstream, limits)
        .top("logging: {accessLog: false}")
        .top(&format!("redis: {{url: \"{redis}\"}}"))
        .server("trustedProxies: [127.0.0.0/8]")
}

/// One entry of `rules`, each part as members of a YAML flow mapping.
pub fn rule(id: &str, matches: &str, limit: &str, more: &str) -> String {
    format!("{{id: {id}, match: {{{matches}}}, rateLimit: {{{limit}}}{more}}}")
}

/// An address that no other client of this run has.
pub fn somebody() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let [_, a, b, c] = NEXT.fetch_add(1, Relaxed).to_be_bytes();
    format!("10.{a}.{b}.{c}")
}

/// `GET target` of that client.
pub fn get_from(client: &str, target: &str) -> Call {
    Call::get(target).header("X-Forwarded-For", client)
}

/// Seconds since the epoch.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Waits until these gateways keep their limits in Redis and know how many they are.
pub fn together(gateways: &[&Gateway]) {
    let know = |gateway: &&Gateway| {
        let page = gateway.limits();
        page["mode"] == "redis" && page["instances"] == gateways.len()
    };
    assert!(
        eventually(2 * SOON, || gateways.iter().all(know)),
        "not together: {:?}",
        gateways.iter().map(|gateway| gateway.limits()).collect::<Vec<_>>()
    );
}

/// Plays a scene with a new client, again where Redis did not answer one of the gateways in time: on a busy machine
/// that happens, and `onError` decides then. Answers what was seen and the client that saw it.
pub fn undisturbed<T>(gateways: &[&Gateway], mut scene: impl FnMut(&str) -> T) -> (T, String) {
    let errors = || gateways.iter().map(|gateway| gateway.undecided()).sum::<u64>();
    for _ in 0..10 {
        together(gateways);
        let (before, client) = (errors(), somebody());
        let seen = scene(&client);
        if errors() == before {
            return (seen, client);
        }
        eprintln!("Redis did not answer in time: once more");
    }
    panic!("Redis never answered in time: {:?}", gateways[0].limits());
}

impl Response {
    /// A header that is a number.
    pub fn number(&self, name: &str) -> u64 {
        let value = self.header(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.head));
        value.parse().unwrap_or_else(|_| panic!("{name}: {value}"))
    }

    /// `X-RateLimit-Remaining`.
    pub fn remaining(&self) -> u64 {
        self.number("x-ratelimit-remaining")
    }
}

impl Gateway {
    /// `/_aegis/rate-limit`.
    pub fn limits(&self) -> Value {
        self.admin_json("/_aegis/rate-limit")
    }

    /// `local`, `redis` or `degraded`, the same on both pages.
    pub fn limit_mode(&self) -> String {
        self.limits()["mode"].as_str().unwrap().to_owned()
    }

    /// The page's entry of a rule.
    pub fn rule_page(&self, id: &str) -> Value {
        let page = self.limits();
        page["rules"].as_array().unwrap().iter().find(|rule| rule["id"] == id).unwrap_or(&page).clone()
    }

    /// How often the shared store did not answer, by whichever rule.
    fn undecided(&self) -> u64 {
        let page = self.limits();
        let rules = page["rules"].as_array().unwrap().iter();
        rules.map(|rule| rule["decisions"]["error"].as_u64().unwrap_or_else(|| panic!("{rule}"))).sum()
    }

    /// What a rule has decided so far.
    pub fn decisions(&self, id: &str) -> Decisions {
        let rule = self.rule_page(id);
        let count = |what: &str| rule["decisions"][what].as_u64().unwrap_or_else(|| panic!("{rule}"));
        Decisions {
            allowed: count("allowed"),
            limited: count("limited"),
            shadow: count("shadow"),
            error: count("error"),
        }
    }
}
