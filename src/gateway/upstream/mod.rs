//! Towards the upstream: pooled connections on awc, with a transport of our own below it.
//!
//! `framing` is the pure core (bytes in, borders and violations out), `transport` the socket around it, `sending` what goes
//! out on it, `body` the way of an answer's body, `connector` opens connections, `pool` is what the forwarder calls,
//! `exchange` carries facts between them. Refuses nothing by itself: it reports, `attempt` and `retry` decide.

mod body;
pub mod connector;
pub mod exchange;
mod failure;
pub mod framing;
pub mod pool;
mod pool_keys;
mod sending;
mod tls;
mod transport;

pub use body::{Body, Transfer, Write};
pub use connector::{Dialer, TargetTls, Terms};
pub use exchange::{Exchange, RequestLines};
pub use failure::{unconnected, why};
pub use framing::{Asked, Head, Violation};
pub use pool::Pool;
pub use pool_keys::{Owner, Private};
pub use tls::{TlsError, client_config};
