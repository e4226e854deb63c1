//! One plan over one connection of HTTP/1, and every check of what came back and of what the upstream saw.

use std::collections::HashSet;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use super::answers::{Answers, Came, End, PATIENCE};
use super::check;
use super::content::Answer;
use super::expected::{After, Expected, reach};
use super::plan::{Kind, Pause, Plan, Request};
use super::report;
use super::upstream::Record;
use super::writer::{Progress, steps, take};
use crate::harness::Framing;

/// A client that has ended its side may be taken for gone after a second (ADR 0003); less what clocks differ.
const GONE: Duration = Duration::from_millis(900);

/// What a gateway reads at least of what a client sends behind the last answer of a connection.
const LINGER_BYTES: usize = 128 << 10;

/// Plays a plan. The error is the whole report.
pub fn play(addr: SocketAddr, record: &Record, plan: &Plan) -> Result<(), String> {
    record.begin_seed(plan.seed);
    let stream = TcpStream::connect(addr).map_err(|e| format!("seed {}: cannot connect: {e}", plan.seed))?;
    let _ = stream.set_nodelay(true);
    let _ = stream.set_write_timeout(Some(PATIENCE));
    let clone = stream.try_clone().map_err(|e| format!("seed {}: {e}", plan.seed))?;
    let (progress, sent) = (Progress::default(), Mutex::new(Vec::new()));
    let mut reader = Reader {
        plan,
        answers: Answers::new(clone),
        progress: &progress,
        ids: HashSet::new(),
        told: Told::default(),
    };
    let mut wrong = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| take(steps(plan), plan, &stream, &progress, &sent));
        let read = reader.read();
        progress.over();
        match read {
            Ok(()) => wrong.extend(reader.end(&stream)),
            Err(what) => wrong.push(what),
        }
        let _ = stream.shutdown(Shutdown::Both);
    });
    let Reader { answers, told, .. } = reader;
    let (seen, others) = record.finish(plan.seed, told.last);
    wrong.extend(others);
    // What reached the upstream behind the first thing that went wrong tells nothing more.
    if !told.failed {
        let reach_of = |index: usize, request: &Request| {
            let known = told.gone.is_none_or(|gone| index < gone);
            known.then(|| reach(request, told.by_upstream[index]))
        };
        wrong.extend(check::arrived(&plan.requests, &seen, told.last, reach_of));
        wrong.extend(check::in_order(&seen));
        if told.cause.is_some_and(|cause| seen.iter().all(|seen| seen.token.index != cause)) {
            wrong.push("the connection was reset, and no broken answer is the cause".into());
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(report::http1(plan, &wrong, &sent.into_inner().unwrap(), &answers.bytes, &seen))
}

/// What the answers have told so far.
#[derive(Default)]
struct Told {
    /// The place of the last request that was answered, or may have been served without an answer.
    last: usize,
    /// From this place on anything may have become of a request that arrived.
    gone: Option<usize>,
    /// The request whose broken answer has reset the connection.
    cause: Option<usize>,
    /// Whether the upstream had made each answer.
    by_upstream: Vec<bool>,
    failed: bool,
}

struct Reader<'a> {
    plan: &'a Plan,
    answers: Answers,
    progress: &'a Progress,
    ids: HashSet<String>,
    told: Told,
}

impl Reader<'_> {
    /// Reads the answers until the last one, or until one ends the connection.
    fn read(&mut self) -> Result<(), String> {
        let mut unsaid = false;
        for (index, request) in self.plan.requests.iter().enumerate() {
            let expected = Expected::of(request);
            self.told.by_upstream.push(false);
            let ends = match self.answer(index, request, &expected) {
                Ok(ends) => ends,
                Err(fault) if self.is_fair(index, &expected, &fault) => true,
                // HTTP/1.0: the answer before was the last one, and both knew.
                Err(Fault::Ended(End::Closed | End::Reset)) if unsaid => return Ok(()),
                Err(fault) => {
                    self.told.failed = true;
                    self.told.last = self.plan.requests.len();
                    return Err(format!("request {index}: {fault}"));
                }
            };
            self.told.last = self.told.last.max(index);
            if ends {
                return Ok(());
            }
            self.progress.answered(index + 1, false);
            unsaid = expected.after == After::MayEndUnsaid;
        }
        Ok(())
    }

    /// Whether the plan made it impossible that the answer arrives whole; if so, `told` knows what may have happened.
    fn is_fair(&mut self, index: usize, expected: &Expected, fault: &Fault) -> bool {
        let reset = match fault {
            Fault::Ended(End::Closed) | Fault::BrokenOff(End::Closed, _) => false,
            Fault::Ended(End::Reset) | Fault::BrokenOff(End::Reset, _) => true,
            _ => return false,
        };
        if expected.unanswered && matches!(fault, Fault::Ended(_)) {
            return true;
        }
        self.told.gone = Some(index);
        // Taken for gone.
        if self.progress.half_closed().is_some_and(|ago| ago >= GONE) {
            self.told.last = self.plan.requests.len();
            return true;
        }
        // The reset that a broken answer ends with takes along what the client has not read of those before it. Nor need
        // a gateway read on and on behind an answer that ends the connection, so that all before it may arrive.
        let behind = self.plan.requests.iter().enumerate().skip(index);
        let unheard = |request: &Request| !request.waits && request.pause != Pause::Continue;
        let mut sent = behind.take_while(|(at, request)| *at == index || unheard(request));
        let cause = sent.find(|(at, request)| {
            (breaks_off(request) && *at > index)
                || (Expected::of(request).after != After::Stays && self.plan.bytes_behind(*at) > LINGER_BYTES)
        });
        let Some((at, request)) = cause.filter(|_| reset) else { return false };
        self.told.last = at;
        self.told.cause = breaks_off(request).then_some(at);
        true
    }

    /// Reads the answer to one request; true when it is the connection's last.
    fn answer(&mut self, index: usize, request: &Request, expected: &Expected) -> Result<bool, Fault> {
        let (mut hundreds, mut others) = (0, 0);
        let (status, head) = loop {
            match self.answers.head().map_err(Fault::Ended)? {
                (100, _) if !request.old => {
                    hundreds += 1;
                    self.progress.told(index);
                }
                (102..200, _) if !request.old => others += 1,
                found => break found,
            }
        };
        // The upstream may have said 100 as well.
        let hinted = matches!(request.kind, Kind::Served(Answer::Hints(_)));
        if hundreds > if request.expect { 2 } else { 0 } || others > usize::from(hinted) {
            return Err(Fault::wrong(format!("{hundreds} times 100 and {others} other interim answers")));
        }
        let came = self.answers.body(status, head, request.method).map_err(Fault::Ended)?;
        match came.cut {
            Some(end) if !breaks_off(request) => {
                return Err(Fault::BrokenOff(end, came.response.body.len()));
            }
            _ => {}
        }
        let by_upstream = check::answer(request, expected, &came, &mut self.ids).map_err(Fault::Wrong)?;
        self.told.by_upstream[index] = by_upstream;
        if status == 101 {
            self.progress.answered(index + 1, true);
            self.tunnel(request)?;
            return Ok(true);
        }
        let says = says_end(request, &came);
        let half_closed = self.plan.half_closes && index + 1 == self.plan.requests.len();
        match expected.after {
            After::Stays if says && !half_closed => {
                Err(Fault::wrong("the connection ends and nothing asked for it".into()))
            }
            After::EndsSaid if !says => {
                Err(Fault::wrong("the answer does not say that the connection ends".into()))
            }
            After::Ends | After::EndsSaid => Ok(true),
            After::Stays | After::MayEnd | After::MayEndUnsaid => Ok(says),
        }
    }

    /// What a tunnel brings back: each message as it was sent, and the other side's farewell.
    fn tunnel(&mut self, request: &Request) -> Result<(), Fault> {
        let (socket, lines) = match &request.kind {
            Kind::Tunnel { answer, lines, .. } => (matches!(answer, Answer::Socket(_)), lines.as_slice()),
            _ => (false, &[][..]),
        };
        let due = if socket { check::frames(lines) } else { [&lines.concat()[..], b"bye\n"].concat() };
        let back = self.answers.take(due.len());
        if back.as_ref().ok() == Some(&due) {
            return Ok(());
        }
        let pending = report::escaped(self.answers.pending(), 300);
        Err(Fault::wrong(format!(
            "the tunnel brought back {pending} instead of {}",
            report::escaped(&due, 300)
        )))
    }

    /// Behind the last answer nothing comes but the end.
    fn end(&mut self, stream: &TcpStream) -> Option<String> {
        if !self.plan.sends_on || self.told.last + 1 >= self.plan.requests.len() {
            let _ = stream.shutdown(Shutdown::Write);
        }
        match self.answers.rest() {
            (rest, _) if !rest.is_empty() => {
                Some(format!("behind the last answer came {}", report::escaped(&rest, 300)))
            }
            (_, End::Silence) => Some("the connection stays open behind its last answer".into()),
            _ => None,
        }
    }
}

fn breaks_off(request: &Request) -> bool {
    matches!(request.kind, Kind::Served(answer) if answer.is_cut())
}

fn says_end(request: &Request, came: &Came) -> bool {
    let response = &came.response;
    let kept = response.head.lists("connection", "keep-alive");
    came.cut.is_some()
        || response.framing == Framing::Close
        || response.head.lists("connection", "close")
        || (response.version == "HTTP/1.0" && !(request.old && kept))
}

/// Why there is no right answer.
#[derive(Debug)]
enum Fault {
    Ended(End),
    /// Behind so many bytes of a body.
    BrokenOff(End, usize),
    Wrong(Vec<String>),
}

impl Fault {
    fn wrong(what: String) -> Self {
        Self::Wrong(vec![what])
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ended(End::Malformed(what)) => write!(f, "what came is no answer: {what}"),
            Self::Ended(end) => write!(f, "no answer: {end:?}"),
            Self::BrokenOff(end, bytes) => write!(f, "{end:?} behind {bytes} bytes of the answer's body"),
            Self::Wrong(what) => write!(f, "{}", what.join("; ")),
        }
    }
}
