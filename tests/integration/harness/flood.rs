//! As many requests as clients can send, and when each was sent, admitted and answered.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Call, Client};
use super::upstream::Upstream;

/// Moments are told as time since this one.
fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

/// The time now, as in [`Shot`].
pub fn moment() -> Duration {
    epoch().elapsed()
}

/// One request of a flood.
#[derive(Clone, Copy, Debug)]
pub struct Shot {
    pub sent: Duration,
    /// When the upstream had it, or the answer where no upstream did.
    pub arrived: Duration,
    pub answered: Duration,
    pub status: u16,
    /// `X-RateLimit-Reset`; 0 without it.
    pub reset: u64,
}

/// An upstream that tells when a request arrived.
pub fn clocked() -> Upstream {
    Upstream::start(|exchange| exchange.ok(&moment().as_nanos().to_string()))
}

/// Four threads, each with several connections, spread evenly over the gateways, send without a pause for so long.
pub fn flood(gateways: &[SocketAddr], call: &Call, span: Duration) -> Vec<Shot> {
    const THREADS: usize = 4;
    const EACH: usize = 4;
    let end = moment() + span;
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (gateways, call) = (gateways.to_vec(), call.clone());
            thread::spawn(move || {
                let place = |at: usize| gateways[(thread + at) % gateways.len()];
                let mut clients: Vec<_> = (0..EACH).map(|at| Client::connect(place(at))).collect();
                let mut shots = Vec::new();
                while moment() < end {
                    let sent = volley(&mut clients, &call);
                    for (client, sent) in clients.iter_mut().zip(sent) {
                        let response = client.read("GET").expect("an answer");
                        let answered = moment();
                        let told = response.text().parse().map(Duration::from_nanos);
                        let reset = response.header("x-ratelimit-reset").and_then(|reset| reset.parse().ok());
                        shots.push(Shot {
                            sent,
                            arrived: told.unwrap_or(answered),
                            answered,
                            status: response.status,
                            reset: reset.unwrap_or(0),
                        });
                    }
                }
                shots
            })
        })
        .collect();
    threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
}

/// Sends the request on every connection; answers when.
fn volley(clients: &mut [Client], call: &Call) -> Vec<Duration> {
    let send = |client: &mut Client| {
        let sent = moment();
        client.start(call);
        sent
    };
    clients.iter_mut().map(send).collect()
}
