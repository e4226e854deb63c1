//! Ports for servers that are killed and come back.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

/// A free port of 127.0.0.1 that no outgoing connection is given meanwhile: below those the system gives out by itself.
/// None twice in a process: who is given one need not use it at once.
pub fn free_port() -> u16 {
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok() && taken.insert(*port);
    std::iter::repeat_with(|| fastrand::u16(10_000..30_000))
        .take(1000)
        .find(|port| free(port))
        .expect("a free port")
}
