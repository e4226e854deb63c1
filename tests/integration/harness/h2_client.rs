//! An HTTP/2 client that writes any frame, lawful or not, and tells what the gateway makes of it (RFC 9113).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::h2_frames::{Frame, PREFACE, code, flag, frame, headers, kind, setting, settings};
use super::hpack::{Block, Decoder};
use super::wait::SOON;

/// A whole answer.
#[derive(Clone)]
pub struct Reply {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// The first value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(600)]);
        write!(f, "{} {:?} {body}", self.status, self.field("aegis-reason").unwrap_or_default())
    }
}

/// What became of a stream.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Answered whole.
    Answer(Reply),
    /// RST_STREAM with this code, before a whole answer.
    Reset(u32),
    /// The connection was ended with this code.
    GoAway(#[expect(dead_code, reason = "shown when the test fails")] u32),
    /// The connection was closed without a word.
    Ended,
    /// Nothing came in time.
    Silent,
}

impl Outcome {
    /// The status of the answer.
    pub fn status(&self) -> Option<u16> {
        if let Self::Answer(reply) = self { Some(reply.status) } else { None }
    }

    /// True when the connection is gone with it.
    pub fn is_connection_error(&self) -> bool {
        matches!(self, Self::GoAway(_) | Self::Ended)
    }
}

#[derive(Default)]
struct Progress {
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    is_whole: bool,
    reset: Option<u32>,
}

/// See the module. Acknowledges SETTINGS and PING and gives back what it has read, unless told otherwise.
pub struct RawHttp2 {
    stream: TcpStream,
    unread: Vec<u8>,
    decoder: Decoder,
    block: Vec<u8>,
    streams: HashMap<u32, Progress>,
    /// What the gateway has given and we have used of its windows, beyond where they began.
    windows: HashMap<u32, i64>,
    /// The gateway's settings, as announced so far.
    pub settings: BTreeMap<u16, u32>,
    /// Last stream and code of each GOAWAY.
    pub goaways: Vec<(u32, u32)>,
    /// The gateway has closed.
    pub is_ended: bool,
    /// Sends WINDOW_UPDATE for every byte that it reads.
    pub takes_data: bool,
}

impl RawHttp2 {
    /// Connects and sends nothing.
    pub fn bare(addr: SocketAddr) -> Self {
        Self::try_bare(addr).unwrap_or_else(|e| panic!("cannot connect to {addr}: {e}"))
    }

    /// The same if somebody listens.
    pub fn try_bare(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self {
            stream,
            unread: Vec::new(),
            decoder: Decoder::new(),
            block: Vec::new(),
            streams: HashMap::new(),
            windows: HashMap::new(),
            settings: BTreeMap::new(),
            goaways: Vec::new(),
            is_ended: false,
            takes_data: true,
        })
    }

    /// Connects with prior knowledge and waits for the gateway's SETTINGS.
    pub fn connect(addr: SocketAddr) -> Self {
        Self::connect_with(addr, &[])
    }

    /// The same with settings of our own.
    pub fn connect_with(addr: SocketAddr, values: &[(u16, u32)]) -> Self {
        let mut client = Self::bare(addr);
        client.write([PREFACE, &settings(values)].concat());
        let first = client.frame(SOON).expect("the gateway's SETTINGS");
        assert_eq!((first.kind, first.flags), (kind::SETTINGS, flag::NONE), "{first:?}");
        client
    }

    /// Sends bytes as they are, as far as the gateway takes them.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.try_write(bytes);
    }

    /// The same.
    ///
    /// # Errors
    /// When the gateway has closed, or takes nothing for ten seconds.
    pub fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// How long a write may take.
    pub fn patience(&self, limit: Duration) {
        self.stream.set_write_timeout(Some(limit)).unwrap();
    }

    /// Throws away what is there, without waiting for more.
    pub fn drain(&mut self) {
        self.stream.set_nonblocking(true).unwrap();
        let mut chunk = [0; 65536];
        while self.stream.read(&mut chunk).is_ok_and(|read| read > 0) {}
        self.stream.set_nonblocking(false).unwrap();
    }

    /// Sends a frame.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) {
        self.write(frame(kind, flags, stream, payload));
    }

    /// Sends the head of a request; `end` when no body follows.
    pub fn headers(&mut self, stream: u32, block: &Block, end: bool) {
        self.write(headers(stream, block, end));
    }

    /// Sends a piece of a body.
    pub fn data(&mut self, stream: u32, bytes: impl AsRef<[u8]>, end: bool) {
        for window in [0, stream] {
            *self.windows.entry(window).or_default() -= bytes.as_ref().len() as i64;
        }
        self.send(kind::DATA, if end { flag::END_STREAM } else { flag::NONE }, stream, bytes);
    }

    /// How much of a body the gateway takes now (§6.9).
    pub fn room(&self, stream: u32) -> i64 {
        let initial = self.settings.get(&setting::INITIAL_WINDOW_SIZE).copied().unwrap_or(65_535);
        let left = |window: u32, initial: u32| {
            i64::from(initial) + self.windows.get(&window).copied().unwrap_or_default()
        };
        left(0, 65_535).min(left(stream, initial))
    }

    /// Sends RST_STREAM.
    pub fn reset(&mut self, stream: u32, code: u32) {
        self.send(kind::RST_STREAM, flag::NONE, stream, code.to_be_bytes());
    }

    /// Sends WINDOW_UPDATE.
    pub fn window_update(&mut self, stream: u32, increment: u32) {
        self.send(kind::WINDOW_UPDATE, flag::NONE, stream, increment.to_be_bytes());
    }

    /// `GET path` on that stream, to its end.
    pub fn get(&mut self, stream: u32, path: &str) -> Outcome {
        self.headers(stream, &Block::request("GET", path), true);
        self.outcome(stream)
    }

    /// Waits for what becomes of a stream.
    pub fn outcome(&mut self, stream: u32) -> Outcome {
        self.outcome_within(stream, SOON)
    }

    /// The same with a limit of the caller's.
    pub fn outcome_within(&mut self, stream: u32, limit: Duration) -> Outcome {
        let end = Instant::now() + limit;
        loop {
            if let Some(outcome) = self.known(stream) {
                return outcome;
            }
            if self.frame(end.saturating_duration_since(Instant::now())).is_none() && !self.is_ended {
                return Outcome::Silent;
            }
        }
    }

    fn known(&self, stream: u32) -> Option<Outcome> {
        if let Some(progress) = self.streams.get(&stream) {
            let reply = || {
                let status = progress.fields.iter().find(|(name, _)| name == ":status")?.1.parse().ok()?;
                Some(Reply { status, fields: progress.fields.clone(), body: progress.body.clone() })
            };
            if progress.is_whole
                && let Some(reply) = reply()
            {
                return Some(Outcome::Answer(reply));
            }
            if let Some(code) = progress.reset {
                return Some(Outcome::Reset(code));
            }
        }
        match self.goaways.last() {
            // A GOAWAY without an error lets what has begun go on (§6.8).
            Some(&(_, code)) if code != code::NO_ERROR || self.is_ended => Some(Outcome::GoAway(code)),
            _ => self.is_ended.then_some(Outcome::Ended),
        }
    }

    /// Status of a stream's answer, once its head is there.
    pub fn status(&mut self, stream: u32) -> Option<u16> {
        let has_head = |client: &Self| client.streams.get(&stream).is_some_and(|s| !s.fields.is_empty());
        let _ = self.read_until(SOON, has_head);
        let fields = &self.streams.get(&stream)?.fields;
        fields.iter().find(|(name, _)| name == ":status")?.1.parse().ok()
    }

    /// How much of a stream's body is there.
    pub fn received(&self, stream: u32) -> usize {
        self.streams.get(&stream).map_or(0, |progress| progress.body.len())
    }

    /// True once a stream has been answered whole or reset.
    pub fn is_over(&self, stream: u32) -> bool {
        self.known(stream).is_some()
    }

    /// The code of the gateway's RST_STREAM, also of one behind a whole answer.
    pub fn reset_code(&self, stream: u32) -> Option<u32> {
        self.streams.get(&stream)?.reset
    }

    /// Sends PING and reads until it comes back: everything before it has been seen. False when it does not.
    #[must_use]
    pub fn round_trip(&mut self) -> bool {
        self.send(kind::PING, flag::NONE, 0, "far away");
        while let Some(frame) = self.frame(SOON) {
            if (frame.kind, frame.flags & flag::ACK) == (kind::PING, flag::ACK) {
                return true;
            }
        }
        false
    }

    /// Reads until `condition` holds; false when the limit passed or the connection ended first.
    #[must_use]
    pub fn read_until(&mut self, limit: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        let end = Instant::now() + limit;
        loop {
            if condition(self) {
                return true;
            }
            if self.frame(end.saturating_duration_since(Instant::now())).is_none() {
                return condition(self);
            }
        }
    }

    /// Reads until the gateway closes; false when it does not in time.
    #[must_use]
    pub fn ends_within(&mut self, limit: Duration) -> bool {
        self.read_until(limit, |client| client.is_ended)
    }

    /// Reads bytes of any protocol until the gateway closes; false when it does not in time.
    #[must_use]
    pub fn closes_within(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while !self.is_ended {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.fill(left) {
                return self.is_ended;
            }
        }
        true
    }

    /// The next frame, filed and answered where it has to be. `None` when none comes in time or ever.
    pub fn frame(&mut self, limit: Duration) -> Option<Frame> {
        let frame = self.bare_frame(limit)?;
        self.file(&frame);
        Some(frame)
    }

    fn bare_frame(&mut self, limit: Duration) -> Option<Frame> {
        let end = Instant::now() + limit;
        loop {
            if let Some(head) = self.unread.first_chunk::<9>() {
                let length = 9 + u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                let (kind, flags) = (head[3], head[4]);
                let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
                if self.unread.len() >= length {
                    let payload = self.unread.drain(..length).skip(9).collect();
                    return Some(Frame { kind, flags, stream, payload });
                }
            }
            if self.is_ended {
                return None;
            }
            if !self.fill(end.saturating_duration_since(Instant::now())) {
                return None;
            }
        }
    }

    /// Reads what is there, or waits for it; false when nothing came in time.
    fn fill(&mut self, limit: Duration) -> bool {
        // Zero is no limit to the system.
        self.stream.set_read_timeout(Some(limit.max(Duration::from_millis(1)))).unwrap();
        let mut chunk = [0; 65536];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.is_ended = true,
            Ok(read) => self.unread.extend_from_slice(&chunk[..read]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return false,
            Err(_) => self.is_ended = true,
        }
        true
    }

    fn file(&mut self, frame: &Frame) {
        let number = |at: usize| {
            let bytes = frame.payload.get(at..at + 4).and_then(|bytes| bytes.first_chunk::<4>());
            u32::from_be_bytes(*bytes.unwrap_or_else(|| panic!("a short frame: {frame:?}")))
        };
        match frame.kind {
            kind::SETTINGS if frame.flags & flag::ACK == 0 => {
                for entry in frame.payload.chunks_exact(6) {
                    let name = u16::from_be_bytes([entry[0], entry[1]]);
                    let value = u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]);
                    self.settings.insert(name, value);
                }
                self.send(kind::SETTINGS, flag::ACK, 0, []);
            }
            kind::PING if frame.flags & flag::ACK == 0 => {
                self.send(kind::PING, flag::ACK, 0, &frame.payload);
            }
            kind::GOAWAY => self.goaways.push((number(0) & 0x7fff_ffff, number(4))),
            kind::WINDOW_UPDATE => *self.windows.entry(frame.stream).or_default() += i64::from(number(0)),
            kind::RST_STREAM => {
                let progress = self.streams.entry(frame.stream).or_default();
                progress.reset = Some(number(0));
            }
            kind::HEADERS | kind::CONTINUATION => self.file_fields(frame),
            kind::DATA => {
                let progress = self.streams.entry(frame.stream).or_default();
                progress.body.extend_from_slice(&frame.payload);
                progress.is_whole |= frame.flags & flag::END_STREAM != 0;
                if self.takes_data && !frame.payload.is_empty() {
                    let length = frame.payload.len() as u32;
                    self.window_update(0, length);
                    if frame.flags & flag::END_STREAM == 0 {
                        self.window_update(frame.stream, length);
                    }
                }
            }
            _ => {}
        }
    }

    fn file_fields(&mut self, frame: &Frame) {
        self.block.extend_from_slice(&frame.payload);
        let progress = self.streams.entry(frame.stream).or_default();
        let ends = frame.kind == kind::HEADERS && frame.flags & flag::END_STREAM != 0;
        progress.is_whole |= ends;
        if frame.flags & flag::END_HEADERS == 0 {
            return;
        }
        let block = std::mem::take(&mut self.block);
        let fields = self.decoder.decode(&block).unwrap_or_else(|e| panic!("{e} in {block:?}"));
        let is_interim = fields.iter().any(|(name, value)| name == ":status" && value.starts_with('1'));
        // What comes behind the final head is trailers.
        if !is_interim && progress.fields.is_empty() {
            progress.fields = fields;
        }
    }
}
