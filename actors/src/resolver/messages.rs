//! What the resolver understands.

use std::net::SocketAddr;
use std::sync::Arc;

use actix::Message;

use crate::target::TargetState;

/// The complete set of targets that are named by host name; an IP literal is not watched. Names that are not
/// listed are forgotten; a name that is new, or has a new target, is looked up at once.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Watch {
    /// Target, host name without brackets or port, port.
    pub targets: Vec<(Arc<TargetState>, String, u16)>,
}

/// Asks for a report on every name, ordered by name and port.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Vec<Report>")]
pub struct Inspect;

/// One name as an operator wants to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The name.
    pub host: String,
    /// The port that its targets share.
    pub port: u16,
    /// The last good answer; empty if there was none.
    pub addresses: Vec<SocketAddr>,
    /// Why the last look-up failed; `None` if it did not.
    pub failing: Option<String>,
}
