//! Upstreams that are odd or hostile: heads, framing, resets, slow pieces, challenges. Each exchange has a script that both
//! ends know, and an oracle says of each what the client may see: exactly what the upstream has framed, an answer of the
//! gateway's, or a connection that is cut; never a clean end of a broken body, a byte of another answer, or a field that was
//! none.
//!
//! A seed is one client with some exchanges, over HTTP/1.1 or HTTP/2; all clients share the gateway and its connections to
//! the upstream. Scripts come from `script`, with the parts of `message`, `heads` and `bodies`; `upstream` plays them and looks after
//! its connections, `client` asks, `judge` is the oracle.

use std::collections::BTreeMap;

use super::{Runs, wish};
use crate::harness::{Backend, Gateway, SOON, backend_status, eventually};

mod bodies;
mod client;
mod heads;
mod judge;
mod message;
mod script;
mod upstream;

/// The longest silence of an upstream.
const SILENCE: &str = "4s";

#[test]
fn what_upstreams_send_arrives_as_it_was_framed_or_not_at_all() {
    let (upstream, notes) = upstream::start();
    let backend = Backend::all(&upstream).without_breaker().with("retries: 0");
    let backend = backend
        .with(&format!("firstByteTimeoutMs: {SILENCE}"))
        .with(&format!("idleTimeoutMs: {SILENCE}"))
        .with("rewriteCookies: {path: true, domain: true}");
    let gateway = Gateway::builder()
        .top(&format!("logging: {{accessLog: {}}}", wish("AEGIS_FUZZ_SEED").is_some()))
        .backend(backend)
        .start();
    Runs::new().each(|seed| client::play(gateway.addr, &upstream.addr().to_string(), &notes, seed));
    assert!(eventually(4 * SOON, || gateway.in_flight() == 0), "requests are left in the gateway");
    let tunnels = || backend_status(&gateway, "main")["targets"][0]["tunnels"].clone();
    assert!(eventually(SOON, || tunnels() == 0), "tunnels are left in the gateway: {}", tunnels());
    drop(gateway);
    assert!(eventually(SOON, || upstream.open() == 0), "connections are left at the upstream");
    let wrong = notes.take();
    assert!(wrong.is_empty(), "when the seeds were over: {wrong:#?}");
    let (played, reused) = notes.counts();
    eprintln!("{}; {reused} over a connection that had been used", told(&played));
    assert!(wish("AEGIS_FUZZ_SEED").is_some() || reused > 0, "no connection was ever used again");
}

fn told(played: &BTreeMap<String, usize>) -> String {
    played.iter().map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join(", ")
}
