//! The upstream that writes down what arrives and judges it as it comes: every byte of every connection must belong to a
//! well-formed request that a plan holds, with the body that the plan gave it.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::content::{Answer, Reach, Token, answer_body, digest, request_body};
use crate::harness::{Frame, Framing, Head, Opcode, Then, Upstream, Wire};

const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub token: Token,
    pub start: String,
    /// `Upgrade` came with it.
    pub offer: bool,
    /// Bytes of its body.
    pub received: usize,
    /// They are the first ones of those that the plan gave it.
    pub intact: bool,
    /// The body came to an end of its own.
    pub whole: bool,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, received, .. } = self;
        let offer = if self.offer { ", offers an upgrade" } else { "" };
        let whole = if self.whole { "whole" } else { "cut" };
        let intact = if self.intact { "" } else { ", NOT THE BYTES OF THE PLAN" };
        write!(f, "{start}{offer}, body of {received} bytes, {whole}{intact}")
    }
}

#[derive(Default)]
struct State {
    /// Of seeds under way.
    seen: HashMap<u64, Vec<Seen>>,
    /// Seeds that are over, with the last place in the plan that the client has an answer for.
    over: HashMap<u64, usize>,
    wrong: Vec<(Option<u64>, String)>,
}

/// See the module.
#[derive(Clone, Default)]
pub struct Record(Arc<Mutex<State>>);

impl Record {
    /// A seed begins, once more if it was played before.
    pub fn begin_seed(&self, seed: u64) {
        let mut state = self.0.lock().unwrap();
        state.over.remove(&seed);
        state.seen.remove(&seed);
    }

    /// What arrived of a seed's requests, and what was wrong meanwhile, with this one or with nobody that can be named.
    /// From now on nothing of it may arrive but the rests of what was answered.
    pub fn finish(&self, seed: u64, last: usize) -> (Vec<Seen>, Vec<String>) {
        let mut state = self.0.lock().unwrap();
        state.over.insert(seed, last);
        let seen = state.seen.remove(&seed).unwrap_or_default();
        let (mine, others) =
            std::mem::take(&mut state.wrong).into_iter().partition(|(of, _)| of.is_none_or(|of| of == seed));
        state.wrong = others;
        let mine: Vec<(Option<u64>, String)> = mine;
        (seen, mine.into_iter().map(|(_, what)| what).collect())
    }

    /// What went wrong after its seed was over.
    pub fn late(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().wrong).into_iter().map(|(_, what)| what).collect()
    }

    fn wrong(&self, of: Option<u64>, what: String) {
        self.0.lock().unwrap().wrong.push((of, what));
    }

    /// Writes down a head; answers where its body's story goes.
    fn begin(&self, seen: Seen) -> usize {
        let mut state = self.0.lock().unwrap();
        let Token { seed, index, reach } = seen.token;
        let unwanted = match (reach, state.over.get(&seed)) {
            (Reach::Never | Reach::Bait, _) => Some("never was to reach the upstream"),
            (_, Some(last)) if index > *last => Some("came behind an answer that ended its connection"),
            _ => None,
        };
        if let Some(why) = unwanted {
            state.wrong.push((Some(seed), format!("{seen}: {why}")));
        }
        if state.over.contains_key(&seed) {
            return usize::MAX;
        }
        let list = state.seen.entry(seed).or_default();
        list.push(seen);
        list.len() - 1
    }

    fn end(&self, token: Token, place: usize, body: &[u8], whole: bool) {
        let intact = request_body(token, body.len()) == body;
        let mut state = self.0.lock().unwrap();
        if whole && token.reach == Reach::Partly {
            state.wrong.push((Some(token.seed), format!("{token} is whole at the upstream")));
        }
        if !intact {
            let text = format!("{token}: {} bytes that the plan did not give it", body.len());
            state.wrong.push((Some(token.seed), text));
        }
        if let Some(seen) = state.seen.get_mut(&token.seed).and_then(|list| list.get_mut(place)) {
            (seen.received, seen.intact, seen.whole) = (body.len(), intact, whole);
        }
    }
}

/// Starts it.
pub fn start(record: &Record) -> Upstream {
    let record = record.clone();
    Upstream::raw(move |wire, _| {
        let mut before = None;
        loop {
            match serve(wire, &record, &mut before) {
                Ok(Then::Keep) => {}
                Ok(then) => return Ok(then),
                Err(error) => {
                    // The others are connections that ended, as those of clients that went away do.
                    if error.kind() == io::ErrorKind::InvalidData {
                        let pending = String::from_utf8_lossy(wire.pending()).into_owned();
                        let of = Token::find(&pending).or(before).map(|token: Token| token.seed);
                        let pending = pending.escape_debug().take(300).collect::<String>();
                        record.wrong(of, format!("{error}, then {pending:?}"));
                    }
                    return Ok(Then::Drop);
                }
            }
        }
    })
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn serve(wire: &mut Wire, record: &Record, before: &mut Option<Token>) -> io::Result<Then> {
    wire.timeout(Duration::from_secs(60));
    let bytes = match wire.through(b"\r\n\r\n") {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Then::Drop),
        Err(_) if !wire.pending().is_empty() => {
            return Err(invalid("the connection ended in what is no whole head".into()));
        }
        Err(error) => return Err(error),
    };
    wire.timeout(Duration::from_secs(30));
    let head = Head::parse(&bytes).map_err(invalid)?;
    let framing = head.framing().map_err(invalid)?.unwrap_or(Framing::Nothing);
    let (token, answer) = known(&head.start).ok_or_else(|| {
        invalid(format!("a request that nobody sent: {:?} (before it {before:?})", head.start))
    })?;
    *before = Some(token);
    let offer = !head.all("upgrade").is_empty() && head.lists("connection", "upgrade");
    let start = head.start.clone();
    let nothing = framing == Framing::Nothing;
    let place = record.begin(Seen {
        token,
        start,
        offer,
        received: 0,
        intact: true,
        whole: nothing && !answer.is_early(),
    });
    if head.lists("expect", "100-continue") && !answer.is_early() {
        wire.write("HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut exchange = Exchange { wire, record, token, place, framing, head: &head, got: "nothing".into() };
    if answer.is_early() {
        // `got` stays: nothing has been read.
        exchange.early(answer)
    } else {
        exchange.body()?;
        exchange.answer(answer, offer)
    }
}

/// Whose it is and how it is to be answered, where the start line is one of a plan's.
fn known(start: &str) -> Option<(Token, Answer)> {
    let [_, target, "HTTP/1.1"] = start.split(' ').collect::<Vec<_>>()[..] else { return None };
    let mut segments = target.split('?').next()?.rsplit('/');
    let token = segments.next()?.parse().ok()?;
    Some((token, segments.next()?.parse().ok()?))
}

struct Exchange<'a> {
    wire: &'a mut Wire,
    record: &'a Record,
    token: Token,
    place: usize,
    framing: Framing,
    head: &'a Head,
    /// What had arrived when the answer was made.
    got: String,
}

impl Exchange<'_> {
    /// Reads the body and writes down what came of it, also where it breaks off.
    fn body(&mut self) -> io::Result<()> {
        let mut body = Vec::new();
        let end = match self.framing {
            Framing::Chunked => chunks(self.wire, &mut body),
            framing => self.wire.body(framing, &mut |piece| body.extend_from_slice(piece)),
        };
        self.record.end(self.token, self.place, &body, end.is_ok());
        self.got = digest(&body);
        end
    }

    fn head(&mut self, status: u16, framing: &str) -> io::Result<()> {
        let (token, got) = (self.token, &self.got);
        self.wire
            .write(format!("HTTP/1.1 {status} Said\r\nX-Token: {token}\r\nX-Got: {got}\r\n{framing}\r\n"))
    }

    fn early(&mut self, answer: Answer) -> io::Result<Then> {
        let then = if matches!(answer, Answer::EarlyKeep(_)) { Then::Keep } else { Then::Close };
        let close = if then == Then::Close { "Connection: close\r\n" } else { "" };
        self.sized(answer, close)?;
        if then == Then::Keep {
            self.body()?;
        }
        Ok(then)
    }

    fn sized(&mut self, answer: Answer, more: &str) -> io::Result<()> {
        let body = answer_body(self.token, &self.got, answer.size());
        self.head(answer.status(), &format!("{more}Content-Length: {}\r\n", body.len()))?;
        if self.is_head() { Ok(()) } else { self.wire.write(body) }
    }

    fn is_head(&self) -> bool {
        self.head.start.starts_with("HEAD ")
    }

    fn answer(&mut self, answer: Answer, offer: bool) -> io::Result<Then> {
        let body = answer_body(self.token, &self.got, answer.size());
        match answer {
            Answer::Length(_) | Answer::EarlyKeep(_) | Answer::EarlyClose(_) => self.sized(answer, "")?,
            Answer::Hints(_) => {
                self.wire.write("HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n")?;
                self.sized(answer, "")?;
            }
            Answer::Chunked(_) => {
                self.head(200, "Transfer-Encoding: chunked\r\n")?;
                if !self.is_head() {
                    let pieces = body.chunks(body.len() / 3 + 1).map(chunk).collect::<Vec<_>>();
                    pieces.iter().try_for_each(|piece| self.wire.write(piece))?;
                    self.wire.write("0\r\n\r\n")?;
                }
            }
            Answer::Close(_) => {
                self.head(200, "")?;
                // An end that nothing has announced is for what it delimits.
                if !self.is_head() {
                    self.wire.write(body)?;
                    return Ok(Then::Close);
                }
            }
            Answer::Empty(status) => self.head(status, "")?,
            Answer::CutLength(_) => {
                self.head(200, &format!("Content-Length: {}\r\n", body.len()))?;
                self.wire.write(&body[..body.len() / 2])?;
                return Ok(Then::Drop);
            }
            Answer::CutChunked(_) | Answer::ResetChunked(_) => {
                self.head(200, "Transfer-Encoding: chunked\r\n")?;
                self.wire.write(chunk(&body[..body.len() / 2]))?;
                return Ok(if matches!(answer, Answer::CutChunked(_)) { Then::Drop } else { Then::Reset });
            }
            Answer::Silent(_) => return Ok(Then::Drop),
            Answer::Declined(426) => self.sized(answer, "Upgrade: foo\r\nConnection: upgrade\r\n")?,
            Answer::Declined(_) => self.sized(answer, "")?,
            Answer::Socket(_) | Answer::Lines(_) if !offer => {
                self.sized(Answer::Length(20), "X-Offer: none\r\n")?
            }
            Answer::Socket(_) => return self.socket(),
            Answer::Lines(_) => return self.lines(),
        }
        Ok(Then::Keep)
    }

    fn socket(&mut self) -> io::Result<Then> {
        self.head(101, &format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{ACCEPT}"))?;
        loop {
            let (frame, masked) = Frame::read(self.wire)?;
            if !masked {
                return Err(invalid(format!("{}: an unmasked frame", self.token)));
            }
            self.wire.write(frame.bytes(None))?;
            if frame.opcode == Opcode::Close {
                return Ok(Then::Close);
            }
        }
    }

    fn lines(&mut self) -> io::Result<Then> {
        self.head(101, "Connection: Upgrade\r\nUpgrade: foo\r\n")?;
        while let Some(line) = self.wire.through(b"\n")? {
            self.wire.write(line)?;
        }
        self.wire.write("bye\n")?;
        Ok(Then::Close)
    }
}

fn chunk(piece: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()
}

/// Chunked coding as RFC 9112 §7.1 writes it; [`Wire::body`] looks at neither extensions nor trailers.
fn chunks(wire: &mut Wire, body: &mut Vec<u8>) -> io::Result<()> {
    let line = |wire: &mut Wire| -> io::Result<String> {
        let line = wire.through(b"\r\n")?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let text = String::from_utf8_lossy(&line[..line.len() - 2]).into_owned();
        let fine = text.bytes().all(|b| b == b'\t' || (b >= b' ' && b != 0x7f));
        if fine { Ok(text) } else { Err(invalid(format!("a control character in {text:?}"))) }
    };
    loop {
        let text = line(wire)?;
        let digits = text.split(';').next().unwrap_or_default();
        let size = digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| usize::from_str_radix(digits, 16));
        let Some(Ok(size)) = size else { return Err(invalid(format!("chunk size {text:?}"))) };
        if size == 0 {
            break;
        }
        let mut data = Vec::new();
        let end = wire.body(Framing::Length(size as u64), &mut |piece| data.extend_from_slice(piece));
        body.extend(data);
        end?;
        if wire.exact(2)? != b"\r\n" {
            return Err(invalid(format!("no CRLF behind a chunk of {size} bytes")));
        }
    }
    let mut trailers = Vec::new();
    loop {
        let text = line(wire)?;
        if text.is_empty() {
            break;
        }
        trailers.push(text);
    }
    let fields = trailers.iter().map(|line| format!("{line}\r\n")).collect::<String>();
    Head::parse(format!("TRAILERS\r\n{fields}\r\n").as_bytes()).map(drop).map_err(invalid)
}
