//! Towards the client: a stream around every accepted socket.
//!
//! actix-http parses and frames; what it leaves open, the stream closes: a time limit for every request head (actix
//! has one for the first only), for writes that a client does not read and for half-closed connections; a reset
//! instead of a clean end where a response broke off; problem documents in place of actix's empty 400, 408 and 431; one
//! request at a time, since actix mixes up the answers to requests that it has decoded behind each other;
//! and the fields that the gateway adds to an answer, as lines: in actix's map each would be hashed, counted and dropped
//! again for every answer.

mod head_lines;
mod inbound;
mod insert;
mod pump;
mod read;
mod state;
mod stream;
pub mod turns;
mod while_open;

pub use pump::Pump;
pub use state::{ConnState, Limits, TakenOver};
pub use stream::{ClientSocket, ClientStream};
pub use while_open::EndOfConnection;
