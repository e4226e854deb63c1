//! Clients that send HTTP/2 frames as fast as they are taken, and what that does to everybody else.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::client::Client;
use super::h2_client::RawHttp2;
use super::h2_frames::PREFACE;
use super::wait::{SOON, eventually};

/// Connections that a flood may use up.
const CONNECTIONS: usize = 2_000;
/// Connections that it leaves open where the gateway takes no more from them. They share one worker, to which a frame full of
/// fields is the work of a tenth of a second in a build without optimisation.
const STALLED: usize = if cfg!(debug_assertions) { 4 } else { 20 };
/// The longest that it lasts.
const SPAN: Duration = Duration::from_secs(60);

/// A kind of flood.
pub struct Kind {
    pub name: &'static str,
    /// What each connection begins with, behind the preface.
    pub opening: fn() -> Vec<u8>,
    /// What it sends then, again and again; the number counts from 0 on each connection.
    pub piece: fn(u32) -> Vec<u8>,
    /// It reads what the gateway answers.
    pub reads: bool,
    /// The gateway has to end a connection that goes on like that.
    pub is_ended: bool,
}

/// A running flood. It ends with this.
pub struct Flood {
    stop: Arc<AtomicBool>,
    ended: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Toll>>,
}

/// What became of a flood.
#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "printed, and shown when the test fails")]
pub struct Toll {
    /// Pieces sent.
    pub pieces: usize,
    /// Connections that the gateway ended.
    pub ended: usize,
    /// Connections that it took nothing more from.
    pub stalled: usize,
}

impl Flood {
    /// Starts it, and waits until it is under way.
    pub fn start(addr: SocketAddr, kind: &'static Kind) -> Self {
        let (stop, pieces, ended) = (Arc::default(), Arc::<AtomicUsize>::default(), Arc::default());
        let pouring =
            Pouring { stop: Arc::clone(&stop), pieces: Arc::clone(&pieces), ended: Arc::clone(&ended) };
        let thread = thread::spawn(move || pouring.pour(addr, kind));
        let flood = Self { stop, ended, thread: Some(thread) };
        assert!(eventually(SOON, || pieces.load(Relaxed) > 50), "the flood does not begin");
        flood
    }

    /// Waits until the gateway has ended one of its connections; false when it does not.
    #[must_use]
    pub fn is_fought(&self) -> bool {
        eventually(4 * SOON, || self.ended.load(Relaxed) > 0)
    }

    /// Ends it.
    pub fn stop(mut self) -> Toll {
        self.stop.store(true, Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The flood's own side of it.
struct Pouring {
    stop: Arc<AtomicBool>,
    pieces: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

impl Pouring {
    fn pour(&self, addr: SocketAddr, kind: &Kind) -> Toll {
        let &Kind { opening, piece, reads, is_ended, .. } = kind;
        let end = Instant::now() + SPAN;
        let is_over = || self.stop.load(Relaxed) || Instant::now() > end;
        let mut kept = Vec::new();
        for _ in 0..CONNECTIONS {
            let Ok(mut client) = RawHttp2::try_bare(addr) else { break };
            client.patience(Duration::from_millis(200));
            let mut sent = client.try_write([PREFACE, &opening()].concat());
            for n in 0.. {
                if sent.is_err() || is_over() {
                    break;
                }
                sent = client.try_write(piece(n));
                self.pieces.fetch_add(1, Relaxed);
                if reads {
                    client.drain();
                }
            }
            match sent {
                Ok(()) => break,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    kept.push(client);
                    if kept.len() >= STALLED {
                        break;
                    }
                }
                Err(_) => {
                    self.ended.fetch_add(1, Relaxed);
                }
            }
        }
        // What is stalled stays so until the end, or until the gateway ends it.
        while !is_over() {
            thread::sleep(Duration::from_millis(5));
            kept.retain_mut(|client: &mut RawHttp2| {
                // To look is to read: only where it changes nothing that somebody reads.
                let is_closed = is_ended && client.closes_within(Duration::from_millis(1));
                self.ended.fetch_add(usize::from(is_closed), Relaxed);
                !is_closed
            });
        }
        Toll { pieces: self.pieces.load(Relaxed), ended: self.ended.load(Relaxed), stalled: kept.len() }
    }
}

/// How long 99 of a hundred requests for `/well` take at most, asked one after the other on one connection: so many, more
/// where they are over in no time, and fewer where they take long.
pub fn p99(addr: SocketAddr, requests: usize) -> Duration {
    let (mut client, begun) = (Client::connect(addr), Instant::now());
    let mut took = Vec::new();
    let is_short = |asked: usize| asked < requests || begun.elapsed() < Duration::from_millis(300);
    while is_short(took.len()) && begun.elapsed() < SOON {
        let sent = Instant::now();
        let answer = client.get("/well");
        assert_eq!(answer.status, 200, "{}", answer.text());
        took.push(sent.elapsed());
    }
    took.sort_unstable();
    took[took.len() * 99 / 100]
}
