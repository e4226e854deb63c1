//! Steady traffic in the background, on keep-alive connections, that forgives nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::client::{Call, Client};
use super::wait::eventually;

/// Running traffic; [`stop`](Self::stop) tells what became of it.
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// `clients` connections, each sending `GET target` again and again with `pause` in between.
    /// Everything but a 200 on a connection that was promised to live is a failure.
    pub fn start(addr: SocketAddr, clients: usize, pause: Duration, target: &str) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let threads = (0..clients)
            .map(|_| {
                let (stop, done, call) = (Arc::clone(&stop), Arc::clone(&done), Call::get(target));
                thread::spawn(move || drive(addr, &call, pause, &stop, &done))
            })
            .collect();
        Self { stop, done, threads }
    }

    /// Requests answered with 200 so far.
    pub fn done(&self) -> usize {
        self.done.load(Relaxed)
    }

    /// Waits until `count` more requests have been answered.
    pub fn wait_for(&self, count: usize) {
        let goal = self.done() + count;
        assert!(eventually(Duration::from_secs(20), || self.done() >= goal), "the traffic stopped moving");
    }

    /// Ends the traffic: requests answered with 200, and what went wrong with the others.
    pub fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Relaxed);
        let failures = self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        (self.done.load(Relaxed), failures)
    }

    /// Ends the traffic and fails the test unless every request was answered with 200.
    pub fn stop_flawless(self) -> usize {
        let (done, failures) = self.stop();
        assert!(failures.is_empty(), "{} of {done} requests failed, first: {}", failures.len(), failures[0]);
        assert!(done > 0, "no traffic at all");
        done
    }
}

fn drive(
    addr: SocketAddr,
    call: &Call,
    pause: Duration,
    stop: &AtomicBool,
    done: &AtomicUsize,
) -> Vec<String> {
    let (mut client, mut failures) = (None, Vec::new());
    while !stop.load(Relaxed) && failures.len() < 100 {
        let mut connection = match client.take().map_or_else(|| Client::try_connect(addr), Ok) {
            Ok(connection) => connection,
            Err(e) => {
                failures.push(format!("connect: {e}"));
                continue;
            }
        };
        match connection.try_send(call) {
            Ok(response) if response.status == 200 => {
                done.fetch_add(1, Relaxed);
                client = response.keeps_alive().then_some(connection);
            }
            Ok(response) => failures.push(format!("{} {:?}", response.status, response.text())),
            Err(broken) => failures.push(format!("{broken:?}")),
        }
        thread::sleep(pause);
    }
    failures
}
