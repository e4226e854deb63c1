//! Waiting on conditions. Nothing else in these tests may use a pause to put two things in order.

use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Long enough for anything that should happen at once, on a busy machine too.
pub const SOON: Duration = Duration::from_secs(5);

/// Asks `condition` until it holds; false when `limit` passed first.
#[must_use]
pub fn eventually(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// True when `condition` holds all through `span`: for "nothing more happens" after the cause has been seen.
#[must_use]
pub fn holds_for(span: Duration, mut condition: impl FnMut() -> bool) -> bool {
    !eventually(span, || !condition())
}

/// A door that handlers wait at and the test opens. Clones share it; open at the latest after ten seconds.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// A closed door.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// True while open.
    pub fn is_open(&self) -> bool {
        *self.0.0.lock().unwrap()
    }

    /// Blocks until the door opens.
    pub fn wait(&self) {
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_timeout_while(open, Duration::from_secs(10), |open| !*open).unwrap());
    }
}
