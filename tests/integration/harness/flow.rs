//! Steady traffic of several kinds at once, with how long each request took.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::client::Client;
use super::flood::moment;
use super::limits::{get_from, somebody};

/// One request of a flow.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Which of the flow's targets.
    pub target: &'static str,
    /// When it was sent, see [`moment`].
    pub at: Duration,
    pub took: Duration,
    pub status: u16,
    pub reason: Option<String>,
}

/// Running traffic.
pub struct Flow {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Sample>>>,
}

impl Flow {
    /// Two connections to each gateway with a request every `pause` or so to each of `targets` in turn, and as many with
    /// the same for `control`: what holds the machine or a gateway up hits as many requests of each kind. Every other
    /// request comes from a client of its own, the rest all from one.
    pub fn start(
        gateways: &[SocketAddr],
        targets: &'static [&'static str],
        control: &'static [&'static str],
        pause: Duration,
    ) -> Self {
        let (stop, one) = (Arc::new(AtomicBool::new(false)), somebody());
        let mut threads = Vec::new();
        for place in gateways {
            // One after the other, and in this order: a gateway gives its two workers connections in turn, so that each
            // of them gets one of each kind.
            for targets in [targets, targets, control, control] {
                let (stop, one) = (Arc::clone(&stop), one.clone());
                let client = Client::connect(*place);
                threads.push(thread::spawn(move || ask(client, targets, &one, pause, &stop)));
            }
        }
        Self { stop, threads }
    }

    /// Ends it: every request, in the order in which they were sent.
    pub fn stop(self) -> Samples {
        self.stop.store(true, Relaxed);
        let mut samples: Vec<_> =
            self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        samples.sort_by_key(|sample| sample.at);
        Samples(samples)
    }
}

/// Asks for `targets` in turn until it shall stop, every other time as `one`.
fn ask(
    mut client: Client,
    targets: &'static [&'static str],
    one: &str,
    pause: Duration,
    stop: &AtomicBool,
) -> Vec<Sample> {
    let mut samples = Vec::new();
    for at in 0.. {
        if stop.load(Relaxed) {
            break;
        }
        let target = targets[at % targets.len()];
        let from = if (at / targets.len()).is_multiple_of(2) { one.to_owned() } else { somebody() };
        let sent = moment();
        let response = client.send(&get_from(&from, target));
        samples.push(Sample {
            target,
            at: sent,
            took: moment() - sent,
            status: response.status,
            reason: response.reason().map(str::to_owned),
        });
        thread::sleep(pause);
    }
    samples
}

/// What a flow has seen.
#[derive(Clone, Debug)]
pub struct Samples(pub Vec<Sample>);

impl Samples {
    /// Those of a stretch of time.
    pub fn between(&self, from: Duration, to: Duration) -> Self {
        self.only(|sample| (from..to).contains(&sample.at))
    }

    /// Those that are wanted.
    pub fn only(&self, wanted: impl Fn(&Sample) -> bool) -> Self {
        Self(self.0.iter().filter(|sample| wanted(sample)).cloned().collect())
    }

    /// The longest time that one took.
    pub fn worst(&self) -> Duration {
        self.0.iter().map(|sample| sample.took).max().unwrap_or_default()
    }

    /// The time that 99 of a hundred took at most.
    pub fn p99(&self) -> Duration {
        let mut took: Vec<_> = self.0.iter().map(|sample| sample.took).collect();
        took.sort_unstable();
        took.get(took.len() * 99 / 100).copied().unwrap_or_default()
    }
}
