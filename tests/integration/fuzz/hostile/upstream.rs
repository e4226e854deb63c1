//! The upstream that plays the scripts, and looks after its connections: who may ask on them, and whether anybody may.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::super::content::Token;
use super::script::{Script, Step};
use crate::harness::{Framing, Head, Then, Upstream, Wire};

/// What a client's connection is called.
pub const CLIENT: &str = "X-Client";

#[derive(Default)]
struct State {
    wrong: Vec<String>,
    played: BTreeMap<String, usize>,
    reused: usize,
    /// How often each request that must not be repeated has come.
    posts: HashMap<(u64, usize), usize>,
}

/// What it has seen, and what of that was wrong.
#[derive(Clone, Default)]
pub struct Notes(Arc<Mutex<State>>);

impl Notes {
    /// A seed begins, once more if it was played before.
    pub fn begin(&self, seed: u64) {
        self.0.lock().unwrap().posts.retain(|(of, _), _| *of != seed);
    }

    /// What was wrong, and has not been told.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().wrong)
    }

    /// How often each kind was played, and how many requests came over a connection that had been used.
    pub fn counts(&self) -> (BTreeMap<String, usize>, usize) {
        let state = self.0.lock().unwrap();
        (state.played.clone(), state.reused)
    }

    /// Whether a POST has come.
    pub fn has_come(&self, token: Token) -> bool {
        self.0.lock().unwrap().posts.contains_key(&(token.seed, token.index))
    }

    fn wrong(&self, what: String) {
        self.0.lock().unwrap().wrong.push(what);
    }

    fn begun(&self, token: Token, script: &Script, reused: bool) {
        let mut state = self.0.lock().unwrap();
        *state.played.entry(script.kind.to_owned()).or_default() += 1;
        state.reused += usize::from(reused);
        if script.ask.method == "POST" {
            let times = state.posts.entry((token.seed, token.index)).or_default();
            *times += 1;
            let times = *times;
            if times > 1 {
                state.wrong.push(format!("{token}: a POST came {times} times"));
            }
        }
    }
}

/// What was asked before on a connection.
#[derive(Default)]
struct Before {
    last: Option<(Token, &'static str)>,
    spoiled: bool,
    owner: Option<String>,
}

/// Starts it.
pub fn start() -> (Upstream, Notes) {
    let notes = Notes::default();
    let theirs = notes.clone();
    let upstream = Upstream::raw(move |wire, _| {
        let mut before = Before::default();
        loop {
            match exchange(wire, &theirs, &mut before) {
                Ok(Then::Keep) => {}
                Ok(then) => return Ok(then),
                Err(error) => {
                    if error.kind() == io::ErrorKind::InvalidData {
                        theirs.wrong(format!("behind {:?}: {error}", before.last));
                    }
                    return Ok(Then::Drop);
                }
            }
        }
    });
    (upstream, notes)
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

fn exchange(wire: &mut Wire, notes: &Notes, before: &mut Before) -> io::Result<Then> {
    wire.timeout(Duration::from_secs(60));
    let Some(bytes) = wire.through(b"\r\n\r\n")? else { return Ok(Then::Drop) };
    wire.timeout(Duration::from_secs(20));
    let head = Head::parse(&bytes).map_err(invalid)?;
    let framing = head.framing().map_err(invalid)?.unwrap_or(Framing::Nothing);
    let target = head.start.split(' ').nth(1).unwrap_or_default();
    let token: Token = target.trim_start_matches('/').parse().map_err(|()| invalid(head.start.clone()))?;
    let script = Script::of(token, &wire.tcp().local_addr()?.to_string());
    let client = head.get(CLIENT).unwrap_or_default();
    if before.spoiled {
        return Err(invalid(format!("{token} came on a connection that was spoiled")));
    }
    if before.owner.as_deref().is_some_and(|owner| owner != client) {
        return Err(invalid(format!("{token} of {client} came on a connection of {:?}", before.owner)));
    }
    if !head.start.starts_with(&format!("{} ", script.ask.method)) {
        return Err(invalid(format!("{token}: {}", head.start)));
    }
    notes.begun(token, &script, before.last.is_some());
    before.last = Some((token, script.kind));
    before.spoiled = script.spoils;
    if script.binds {
        before.owner = Some(client.to_owned());
    }
    play(wire, &script, framing)
}

fn play(wire: &mut Wire, script: &Script, framing: Framing) -> io::Result<Then> {
    let mut unread = true;
    let mut read = |wire: &mut Wire| {
        let mut body = Vec::new();
        if std::mem::replace(&mut unread, false) {
            wire.body(framing, &mut |piece| body.extend_from_slice(piece))?;
            if body != script.ask.body {
                return Err(invalid(format!("{} bytes of a body that are none of its own", body.len())));
            }
        }
        Ok(())
    };
    for step in &script.steps {
        match step {
            Step::Write(bytes) => wire.write(bytes)?,
            Step::Pause(ms) => thread::sleep(Duration::from_millis(*ms)),
            Step::Body => read(wire)?,
            Step::Hang => wire.body(Framing::Close, &mut |_| {})?,
        }
    }
    if script.end == Then::Keep {
        read(wire)?;
    }
    Ok(script.end)
}
