//! Towards the upstream: pooled connections on awc, with a transport of our own below it.
//!
//! `framing` is the pure core (bytes in, borders and violations out), `transport` the socket around it, `incoming` what
//! has been read and not yet handed on, `connector` opens connections, `pool` is what the forwarder calls, `exchange`
//! carries facts between them. Refuses nothing by itself: it reports, `forward` decides.

pub mod connector;
pub mod detached;
pub mod exchange;
pub mod framing;
mod incoming;
pub mod pool;
mod slots;
mod socket;
mod tls;
mod transport;

pub use connector::{Dialer, TargetTls};
pub use detached::{Detached, Transfer, Write};
pub use exchange::Exchange;
pub use framing::{Asked, Violation};
pub use pool::{Pool, RawStream, Upgraded};
pub use tls::{TlsError, client_config};
