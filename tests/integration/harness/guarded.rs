//! An upstream that authenticates connections instead of requests, as NTLM and Negotiate do (RFC 4559, [MS-NTHT]).

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::exchange::Then;
use super::head::{Framing, Head};
use super::upstream::Upstream;
use super::wire::{Wire, invalid};

/// What a request says of the client's connection that it came on, for this upstream to hold connections to one each.
pub const CLIENT: &str = "X-Client";

/// A connection as the upstream knows it.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Who it is authenticated as.
    pub user: Option<String>,
    /// It has been challenged, or somebody has sent what authenticates it.
    pub bound: bool,
    /// Clients' connections with requests on it since then.
    pub clients: BTreeSet<String>,
    pub open: bool,
}

/// See the module. Below `/public` nobody has to be anybody; the answer's body is [`said`]. `close` in the target: the
/// connection ends with the answer, `unsaid`: without a word about it, `drop`: instead of an answer, `endless`: in the middle
/// of an endless one, `fail`: the answer is 503.
pub struct Guarded {
    pub upstream: Upstream,
    known: Arc<Mutex<HashMap<usize, Known>>>,
}

/// What it answers this user, in some length.
pub fn said(user: Option<&str>, target: &str) -> String {
    let line = format!("{} asked {target}\n", user.unwrap_or("nobody"));
    let times = if target.contains("large") { 3_000 } else { 1 };
    line.repeat(times)
}

impl Guarded {
    /// Starts one.
    pub fn start() -> Self {
        let known = Arc::<Mutex<HashMap<usize, Known>>>::default();
        let (theirs, challenges) = (known.clone(), AtomicUsize::new(0));
        let upstream = Upstream::raw(move |wire, id| {
            let change = |change: &mut dyn FnMut(&mut Known)| {
                change(theirs.lock().unwrap().entry(id).or_default());
            };
            change(&mut |known| known.open = true);
            let end = serve(wire, &change, &challenges);
            change(&mut |known| known.open = false);
            end
        });
        Self { upstream, known }
    }

    /// Every connection so far.
    pub fn known(&self) -> Vec<Known> {
        self.known.lock().unwrap().values().cloned().collect()
    }

    /// How many of them are bound and open.
    pub fn bound(&self) -> usize {
        self.known().iter().filter(|known| known.bound && known.open).count()
    }

    /// Fails when one that was bound served two clients' connections.
    pub fn assert_unshared(&self) {
        for known in self.known() {
            assert!(known.clients.len() <= 1, "one connection for several clients: {known:?}");
        }
    }
}

type Change<'a> = dyn Fn(&mut dyn FnMut(&mut Known)) + 'a;

fn serve(wire: &mut Wire, change: &Change<'_>, challenges: &AtomicUsize) -> io::Result<Then> {
    let (mut user, mut challenge): (Option<String>, Option<String>) = (None, None);
    loop {
        wire.timeout(Duration::from_secs(60));
        let Some(bytes) = wire.through(b"\r\n\r\n")? else { return Ok(Then::Drop) };
        let head = Head::parse(&bytes).map_err(invalid)?;
        wire.body(head.framing().map_err(invalid)?.unwrap_or(Framing::Nothing), &mut |_| {})?;
        let target = head.start.split(' ').nth(1).unwrap_or_default();
        let credentials = head.get("authorization").map(str::to_owned);
        let words: Vec<&str> = credentials.as_deref().unwrap_or_default().split(' ').collect();
        let mut demand = None;
        match words[..] {
            ["NTLM", "type1"] => {
                challenge = Some(format!("challenge{}", challenges.fetch_add(1, SeqCst)));
                (user, demand) = (None, challenge.clone().map(|challenge| format!("NTLM {challenge}")));
            }
            // Another connection's, or none any more.
            ["NTLM", "type3", _, theirs] if challenge.take().as_deref() != Some(theirs) => user = None,
            ["NTLM", "type3", name, _] | ["Negotiate", name] => user = Some(name.to_owned()),
            _ => {}
        }
        if demand.is_none() && user.is_none() && !target.starts_with("/public") {
            demand = Some("Negotiate, NTLM".into());
        }
        change(&mut |known| {
            known.user = user.clone();
            known.bound |= demand.is_some() || credentials.is_some();
            if known.bound {
                known.clients.extend(head.get(CLIENT).map(str::to_owned));
            }
        });
        if target.contains("drop") {
            return Ok(Then::Drop);
        }
        if let Some(demand) = demand {
            wire.write(format!(
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {demand}\r\nContent-Length: 0\r\n\r\n"
            ))?;
            continue;
        }
        if target.contains("endless") {
            wire.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            let piece = said(user.as_deref(), target);
            loop {
                wire.write(format!("{:x}\r\n{piece}\r\n", piece.len()))?;
            }
        }
        let body = said(user.as_deref(), target);
        let status = if target.contains("fail") { "503 No" } else { "200 OK" };
        let close = if target.contains("close") { "Connection: close\r\n" } else { "" };
        wire.write(format!("HTTP/1.1 {status}\r\n{close}Content-Length: {}\r\n\r\n{body}", body.len()))?;
        if target.contains("close") || target.contains("unsaid") {
            return Ok(Then::Close);
        }
    }
}
