//! Black-box tests: the real `aegis` binary between a byte-exact client and upstreams that can misbehave.
//!
//! Each test starts its own gateway on ports of its own and speaks to it over real sockets; nothing here
//! links against the gateway's code. `harness` holds the three players and the waits; every other module is
//! one capability of the contract. Build with `--features test-hooks` for the tests that kill actors.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop there")]
#![cfg_attr(not(feature = "test-hooks"), allow(dead_code, reason = "the players that only `hooks` needs"))]

mod accounts;
mod admin;
mod alerts;
mod api_keys;
mod breaker;
mod cardinality;
mod certificate_identity;
mod client_cert_field;
mod client_certificates;
mod client_faults;
mod client_identity;
mod client_revocation;
mod commands;
mod connection_auth;
mod connections;
mod counting;
mod explain;
mod explain_command;
mod exposure;
mod failures;
mod forwarding;
mod framing;
mod fuzz;
mod harness;
mod head_bounds;
mod headers;
mod health;
mod history;
#[cfg(feature = "test-hooks")]
mod hooks;
mod http2;
mod http2_bounds;
mod http2_early_answers;
mod http2_ends;
mod http2_floods;
mod http2_heads;
mod http2_lengths;
mod http2_malformed;
mod http2_rules;
mod http2_streams;
mod identity_docs;
mod kept_requests;
mod large_answers;
mod lifecycle;
mod listener_tls;
mod logs;
#[cfg(feature = "test-hooks")]
mod panics;
mod paths;
mod pipelined;
mod prometheus;
mod provider_keys;
mod rate_limits;
mod recovery;
mod redirects;
mod reload;
mod retries;
mod roles;
mod routing;
mod shared_cluster;
mod shared_faults;
mod shared_flood;
mod shared_limits;
mod streaming;
mod targets;
mod time_limits;
mod tokens;
mod tunnels;
mod upstream_faults;
mod upstream_idle;
mod upstream_tls;
mod webhooks;
