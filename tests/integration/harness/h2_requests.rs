//! Requests over HTTP/2 that are malformed, each beside one that is innocent on the same connection (RFC 9113 §8.1.1).

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::backend::Backend;
use super::cases::{Cases, Verdict, expect};
use super::gateway::Gateway;
use super::h2_client::{Outcome, RawHttp2};
use super::h2_frames::{flag, frame, headers, kind};
use super::hpack::Block;
use super::upstream::{Request, Upstream};

/// The stream of the request in question.
pub const STREAM: u32 = 3;

/// What must become of a request.
#[derive(Clone, Copy)]
pub enum Expect {
    /// Refused alone, and nothing of it at the upstream.
    Refused,
    /// The same, with this status.
    RefusedWith(u16),
    /// Refused; the connection may go with it, as a stream error may be treated as one of the connection (§5.4.1). Only
    /// for what a library finds while it decompresses fields: names, values and pseudo-fields that cannot be.
    RefusedWithConnection,
    /// Refused when its head may be under way already: it never becomes a whole request at the upstream.
    BrokenOff,
    /// Refused, or passed on in a way that satisfies this.
    RefusedOr(fn(&Request) -> bool),
    /// Answered with 200 by the upstream, which saw what satisfies this.
    Passes(fn(&Request) -> bool),
    /// Answered by the gateway with 200 or 204.
    Answered,
}

/// A request and what must become of it.
pub struct Case {
    name: &'static str,
    frames: Vec<u8>,
    expect: Expect,
}

/// A request without a body.
pub fn bare(name: &'static str, block: Block, expect: Expect) -> Case {
    Case { name, frames: headers(STREAM, &block, true), expect }
}

/// A request with a body of these DATA frames, the last of them the end.
pub fn with_body(name: &'static str, block: Block, pieces: &[&str], expect: Expect) -> Case {
    let mut frames = headers(STREAM, &block, false);
    for (place, piece) in pieces.iter().enumerate() {
        let flags = if place + 1 == pieces.len() { flag::END_STREAM } else { flag::NONE };
        frames.extend(frame(kind::DATA, flags, STREAM, piece));
    }
    Case { name, frames, expect }
}

/// A request with a body of five bytes and these trailers.
pub fn with_trailers(name: &'static str, trailers: Block, end: bool, expect: Expect) -> Case {
    let mut frames = headers(STREAM, &Block::request("POST", "/x"), false);
    frames.extend(frame(kind::DATA, flag::NONE, STREAM, "hello"));
    frames.extend(headers(STREAM, &trailers, end));
    Case { name, frames, expect }
}

/// Runs the cases against one gateway, each on a connection of its own.
pub fn judge(group: &'static str, table: Vec<Case>) {
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream).without_breaker().with("retries: 0"));
    let (mut cases, passed) = (Cases::of(group), AtomicUsize::new(0));
    for case in &table {
        cases.case(case.name, || {
            let before = foreign(&upstream).len();
            let verdict = judge_one(&gateway, &upstream, case, before);
            passed.fetch_add(foreign(&upstream).len() - before, Relaxed);
            verdict
        });
    }
    // What was late is found here.
    cases.case("nothing came later", || {
        let seen = foreign(&upstream).len();
        expect(seen == passed.into_inner(), || format!("{seen} requests reached the upstream"))
    });
    cases.end();
}

/// What reached the upstream beside the innocent requests.
fn foreign(upstream: &Upstream) -> Vec<Request> {
    upstream.requests().into_iter().filter(|request| !request.target.starts_with("/innocent")).collect()
}

fn judge_one(gateway: &Gateway, upstream: &Upstream, case: &Case, before: usize) -> Verdict {
    let mut client = RawHttp2::connect(gateway.addr);
    client.headers(1, &Block::request("POST", "/innocent").field("content-length", "8"), false);
    client.data(1, "inno", false);
    client.write(&case.frames);
    let outcome = client.outcome(STREAM);
    let seen = || format!("{outcome:?}");
    if outcome.is_connection_error() {
        expect(matches!(case.expect, Expect::RefusedWithConnection), seen)?;
    } else {
        client.data(1, "cent", true);
        let innocent = client.outcome(1);
        let is_whole = |outcome: &Outcome| {
            matches!(outcome, Outcome::Answer(reply) if reply.status == 200
                && String::from_utf8_lossy(&reply.body).contains("\"innocent\""))
        };
        expect(is_whole(&innocent), || {
            format!("the innocent request beside it: {innocent:?} ({outcome:?})")
        })?;
        let after = client.get(STREAM + 2, "/innocent/after");
        expect(after.status() == Some(200), || format!("the next request: {after:?} ({outcome:?})"))?;
    }
    let reached = foreign(upstream).split_off(before);
    let refused = is_refusal(&outcome);
    let told = || format!("{outcome:?}; at the upstream: {reached:?}");
    match case.expect {
        Expect::Refused | Expect::RefusedWithConnection => expect(refused && reached.is_empty(), told),
        Expect::RefusedWith(status) => expect(outcome.status() == Some(status) && reached.is_empty(), told),
        Expect::BrokenOff => expect(refused && !reached.iter().any(|request| request.complete), told),
        Expect::RefusedOr(satisfies) => match reached.as_slice() {
            [] => expect(refused, told),
            [request] => expect(outcome.status() == Some(200) && satisfies(request), told),
            _ => Err(told()),
        },
        Expect::Passes(satisfies) => {
            let one = matches!(reached.as_slice(), [request] if satisfies(request));
            expect(one && outcome.status() == Some(200), told)
        }
        Expect::Answered => {
            let answered = matches!(outcome.status(), Some(200 | 204));
            expect(answered && reached.is_empty(), told)
        }
    }
}

fn is_refusal(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Answer(reply) => [400, 405, 414, 431, 501].contains(&reply.status),
        Outcome::Reset(_) | Outcome::GoAway(_) | Outcome::Ended => true,
        Outcome::Silent => false,
    }
}
