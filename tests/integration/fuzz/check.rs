//! Whether one answer, and what arrived at the upstream, are what the model asks for.

use std::collections::HashSet;

use super::answers::Came;
use super::content::{Answer, Reach, answer_body, digest, request_body};
use super::expected::Expected;
use super::plan::{Kind, Request};
use super::upstream::Seen;
use crate::harness::{Frame, Framing, Opcode};

const ONCE: [&str; 6] =
    ["x-request-id", "content-length", "x-token", "x-got", "aegis-reason", "content-type"];

/// Checks an answer; says whether the upstream had made it.
pub fn answer(
    request: &Request,
    expected: &Expected,
    came: &Came,
    ids: &mut HashSet<String>,
) -> Result<bool, Vec<String>> {
    let mut wrong = Vec::new();
    let head = &came.response.head;
    for name in ONCE {
        if head.all(name).len() > 1 {
            wrong.push(format!("{name} is repeated"));
        }
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    match head.get("x-request-id") {
        None => wrong.push(format!("status {}: no request id", came.response.status)),
        Some(id) if !ids.insert(id.to_owned()) => wrong.push("the request id of another answer".into()),
        Some(_) => {}
    }
    if request.old && came.response.framing == Framing::Chunked {
        wrong.push("chunks for HTTP/1.0".into());
    }
    let token = head.get("x-token");
    match (token, expected.upstream) {
        (Some(token), _) if token != request.token.to_string() => {
            wrong.push(format!("the answer to {token}"));
        }
        (Some(_), Some(answer)) => from_upstream(request, answer, came, &mut wrong),
        (Some(_), None) => wrong.push(format!("status {} from the upstream", came.response.status)),
        (None, _) => from_gateway(request, expected, came, &mut wrong),
    }
    if wrong.is_empty() { Ok(token.is_some()) } else { Err(wrong) }
}

fn from_upstream(request: &Request, answer: Answer, came: &Came, wrong: &mut Vec<String>) {
    let response = &came.response;
    if response.status != answer.status() {
        wrong.push(format!("status {} instead of {}", response.status, answer.status()));
        return;
    }
    let got = if answer.is_early() {
        "nothing".into()
    } else {
        digest(&request_body(request.token, request.body.sent()))
    };
    if response.header("x-got") != Some(&got) {
        wrong.push(format!("the upstream got {:?} instead of {got:?}", response.header("x-got")));
        return;
    }
    let sized =
        !matches!(answer, Answer::Chunked(_) | Answer::Close(_) | Answer::Empty(_) | Answer::Silent(_));
    let sized = sized && !answer.is_cut() && response.status != 101;
    if sized && response.header("content-length") != Some(&answer.size().to_string()) {
        wrong.push(format!("content-length {:?}", response.header("content-length")));
    }
    if request.method == "HEAD" || answer.size() == 0 || response.status == 304 {
        if !response.body.is_empty() {
            wrong.push(format!("a body of {} bytes where there is none", response.body.len()));
        }
        if came.cut.is_some() {
            wrong.push(format!("{:?} within the answer", came.cut));
        }
        return;
    }
    let body = answer_body(request.token, &got, answer.size());
    let whole = response.body == body && came.cut.is_none();
    match answer.is_cut() {
        true if came.cut.is_none() => wrong.push("an answer that broke off passes for a whole one".into()),
        true if !body.starts_with(&response.body) => {
            wrong.push("not the bytes that the upstream sent".into())
        }
        false if !whole => {
            let same = body.iter().zip(&response.body).take_while(|(a, b)| a == b).count();
            let (came_bytes, due) = (response.body.len(), body.len());
            wrong.push(format!(
                "{came_bytes} bytes of {due}, the first {same} right, ended by {:?}",
                came.cut
            ));
        }
        _ => {}
    }
}

fn from_gateway(request: &Request, expected: &Expected, came: &Came, wrong: &mut Vec<String>) {
    let response = &came.response;
    let reason = response.reason().unwrap_or_default();
    if !expected.allows(response.status, reason) {
        let due = match expected.upstream {
            Some(answer) if expected.gateway.is_empty() => format!("{} of the upstream", answer.status()),
            Some(answer) => format!("{} of the upstream or {:?}", answer.status(), expected.gateway),
            None => format!("{:?}", expected.gateway),
        };
        wrong.push(format!("status {} {reason:?} of the gateway instead of {due}", response.status));
        return;
    }
    if came.cut.is_some() {
        wrong.push(format!("{:?} within the gateway's answer", came.cut));
    } else if request.method == "HEAD" {
        if !response.body.is_empty() {
            wrong.push("a body in the answer to HEAD".into());
        }
    } else if reason != "client_gone"
        && let Err(what) = response.check_problem(response.status, reason)
    {
        wrong.push(what);
    }
}

/// The echo of a websocket's messages.
pub fn frames(lines: &[Vec<u8>]) -> Vec<u8> {
    let echoed = lines.iter().flat_map(|line| Frame::new(Opcode::Binary, line.as_slice()).bytes(None));
    echoed.chain(Frame::close(1000, "").bytes(None)).collect()
}

/// Checks what reached the upstream of a connection whose last answer was for the request at `last`. Of what has no
/// reach anything may have become, but nothing else.
pub fn arrived(
    requests: &[Request],
    seen: &[Seen],
    last: usize,
    reach_of: impl Fn(usize, &Request) -> Option<Reach>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        let mine = seen.iter().filter(|seen| seen.token.index == index).collect::<Vec<_>>();
        let token = request.token;
        if index > last {
            if !mine.is_empty() {
                wrong.push(format!("{token} reached the upstream, behind the last answer of its connection"));
            }
            continue;
        }
        for seen in &mine {
            if seen.start != format!("{} {} HTTP/1.1", request.method, request.target) {
                wrong.push(format!("{token} arrived as {:?}", seen.start));
            }
            if seen.offer != offers(request) {
                wrong.push(format!("{token} arrived with an offer of an upgrade: {}", seen.offer));
            }
        }
        let Some(reach) = reach_of(index, request) else { continue };
        let whole = mine.iter().filter(|seen| seen.whole && seen.received == request.body.sent()).count();
        let times = Expected::of(request).times;
        let (fine, due) = match reach {
            Reach::Whole => ((1..=times).contains(&mine.len()) && whole == mine.len(), "once and whole"),
            Reach::Begun => (mine.len() == 1, "once"),
            Reach::Partly => {
                (mine.len() <= 1 && !mine.iter().any(|seen| seen.whole), "once at most, and not whole")
            }
            Reach::Never | Reach::Bait => (mine.is_empty(), "never"),
        };
        if !fine {
            let times = mine.len();
            wrong.push(format!(
                "{token} should have reached the upstream {due}: {times} times, {whole} of them whole"
            ));
        }
    }
    wrong
}

/// Checks that the requests of a connection reached the upstream one behind the other.
pub fn in_order(seen: &[Seen]) -> Vec<String> {
    let sure = seen.iter().filter(|seen| matches!(seen.token.reach, Reach::Whole | Reach::Begun));
    let sorted = sure.map(|seen| seen.token.index).is_sorted();
    let wrong = (!sorted).then(|| "requests reached the upstream in another order".to_owned());
    wrong.into_iter().collect()
}

fn offers(request: &Request) -> bool {
    match request.kind {
        Kind::Tunnel { .. } | Kind::Carried(_) => true,
        Kind::Served(answer) => matches!(answer, Answer::Declined(_)),
        _ => false,
    }
}
