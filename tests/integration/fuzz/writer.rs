//! The client's writing side: a plan as steps, and a thread that takes them while the answers are read.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::answers::PATIENCE;
use super::content::Answer;
use super::plan::{Kind, Pause, Plan, Request};
use crate::harness::{Frame, Opcode};

/// How long a client looks for an answer that may come in the middle of its body.
const GLANCE: Duration = Duration::from_millis(400);

/// What the client does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Write(Vec<u8>),
    /// Waits until so many requests are answered.
    Answered(usize),
    /// Waits until this one is answered or told to go on.
    Told(usize),
    /// Looks for an answer to this one, for a moment.
    Glance(usize),
    /// Waits for the 101 of this one; without it nothing more is sent.
    Tunnel(usize),
    /// Ends its side.
    End,
}

/// A plan's steps.
pub fn steps(plan: &Plan) -> Vec<Step> {
    let mut steps = Vec::new();
    for (index, request) in plan.requests.iter().enumerate() {
        if request.waits {
            steps.push(Step::Answered(index));
        }
        let mut bytes = if request.crlf { b"\r\n".to_vec() } else { Vec::new() };
        bytes.extend(request.head().into_bytes());
        let body = request.body();
        match request.pause {
            Pause::Never => bytes.extend(body),
            Pause::Continue => {
                steps.extend([Step::Write(std::mem::replace(&mut bytes, body)), Step::Told(index)]);
            }
            Pause::Within(at) => {
                bytes.extend(&body[..at]);
                let first = std::mem::replace(&mut bytes, body[at..].to_vec());
                steps.extend([Step::Write(first), Step::Glance(index)]);
            }
        }
        steps.push(Step::Write(bytes));
        tunnel(&mut steps, index, request);
    }
    if plan.half_closes {
        steps.push(Step::End);
    }
    cut(join(steps), plan)
}

fn tunnel(steps: &mut Vec<Step>, index: usize, request: &Request) {
    match &request.kind {
        Kind::Tunnel { answer: Answer::Socket(_), lines, .. } => {
            steps.push(Step::Tunnel(index));
            let mask = Some([0x37, 0xfa, 0x21, 0x3d]);
            let frames = lines.iter().map(|line| Frame::new(Opcode::Binary, line.as_slice()).bytes(mask));
            steps.extend(frames.map(Step::Write));
            steps.push(Step::Write(Frame::close(1000, "").bytes(mask)));
        }
        Kind::Tunnel { lines, at_once, .. } => {
            let lines = lines.iter().map(|line| Step::Write(line.clone()));
            if *at_once {
                steps.extend(lines);
                steps.push(Step::Tunnel(index));
            } else {
                steps.push(Step::Tunnel(index));
                steps.extend(lines);
            }
            steps.push(Step::End);
        }
        Kind::Carried(_) => steps.extend([Step::Tunnel(index), Step::End]),
        _ => {}
    }
}

/// What is written without a pause is one piece, so that a cut may be anywhere in it.
fn join(steps: Vec<Step>) -> Vec<Step> {
    let mut joined: Vec<Step> = Vec::new();
    for step in steps {
        match (joined.last_mut(), step) {
            (Some(Step::Write(bytes)), Step::Write(more)) => bytes.extend(more),
            (_, step) => joined.push(step),
        }
    }
    joined
}

fn cut(steps: Vec<Step>, plan: &Plan) -> Vec<Step> {
    let mut random = Rng::with_seed(plan.seed ^ 0xc07);
    // Small pieces are for the heads; of what lies behind them, it would be too many.
    let mut small = 1_500_usize;
    let mut pieces = Vec::new();
    for step in steps {
        let Step::Write(bytes) = step else {
            pieces.push(step);
            continue;
        };
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let longest = if small > 0 { plan.piece } else { plan.piece.max(20_000) };
            let (piece, behind) = rest.split_at(random.usize(1..=longest.min(rest.len())));
            small = small.saturating_sub(if plan.piece < 1_000 { piece.len() } else { 0 });
            pieces.push(Step::Write(piece.to_vec()));
            rest = behind;
        }
    }
    pieces
}

/// What the reading side has seen, for the writing side to wait for.
#[derive(Default)]
pub struct Progress {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    answered: usize,
    told: usize,
    tunnel: bool,
    over: bool,
    half_closed: Option<Instant>,
}

impl Progress {
    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap());
        self.changed.notify_all();
    }

    /// So many requests are answered; `tunnel` when the last of them by a 101.
    pub fn answered(&self, count: usize, tunnel: bool) {
        self.change(|seen| (seen.answered, seen.tunnel) = (count, tunnel));
    }

    /// The request at this place may send its body.
    pub fn told(&self, index: usize) {
        self.change(|seen| seen.told = index + 1);
    }

    /// Nothing more will be answered.
    pub fn over(&self) {
        self.change(|seen| seen.over = true);
    }

    /// How long ago the client ended its side, if it did.
    pub fn half_closed(&self) -> Option<Duration> {
        self.seen.lock().unwrap().half_closed.map(|at| at.elapsed())
    }

    /// Waits; false when it did not come.
    fn wait(&self, limit: Duration, condition: impl Fn(&Seen) -> bool) -> bool {
        let seen = self.seen.lock().unwrap();
        let wanted = |seen: &mut Seen| !seen.over && !condition(seen);
        let (seen, _) = self.changed.wait_timeout_while(seen, limit, wanted).unwrap();
        seen.over || condition(&seen)
    }
}

/// Takes the steps until there are no more, nothing is heard, or the gateway takes no more; every piece that was written
/// goes into `sent`.
pub fn take(
    steps: Vec<Step>,
    plan: &Plan,
    stream: &TcpStream,
    progress: &Progress,
    sent: &Mutex<Vec<Vec<u8>>>,
) {
    for step in steps {
        let over = progress.seen.lock().unwrap().over;
        if over && !plan.sends_on {
            return;
        }
        let goes_on = match step {
            Step::Write(bytes) => {
                let written = (&*stream).write_all(&bytes).is_ok();
                sent.lock().unwrap().push(bytes);
                written
            }
            Step::Answered(count) => progress.wait(PATIENCE, |seen| seen.answered >= count),
            Step::Told(index) => progress.wait(PATIENCE, |seen| seen.told > index || seen.answered > index),
            Step::Glance(index) => {
                let _ = progress.wait(GLANCE, |seen| seen.answered > index);
                true
            }
            Step::Tunnel(index) => {
                progress.wait(PATIENCE, |seen| seen.answered > index) && progress.seen.lock().unwrap().tunnel
            }
            Step::End => {
                progress.change(|seen| seen.half_closed = Some(Instant::now()));
                stream.shutdown(Shutdown::Write).is_ok()
            }
        };
        if !goes_on {
            return;
        }
    }
}
