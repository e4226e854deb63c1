//! The oracle: whether what the client saw of an exchange is one of the things that it may see.

use super::super::answers::End;
use super::message::Passed;
use super::script::Script;
use crate::harness::{Framing, Response};

/// What gateways say themselves beside what passes.
const OWN: [&str; 6] = ["via", "x-request-id", "date", "connection", "content-length", "transfer-encoding"];

/// What a client saw.
pub enum Saw {
    /// An answer, whole or to where it was cut.
    Answer { response: Box<Response>, cut: bool },
    /// The end of the connection or of the stream, with so many bytes of a body before it.
    Nothing { body: Option<usize> },
    /// Something that is never right.
    Wrong(String),
}

impl Saw {
    /// Of an answer of the gateway's own.
    pub fn reason(&self) -> Option<&str> {
        if let Self::Answer { response, .. } = self { response.reason() } else { None }
    }
}

impl From<End> for Saw {
    fn from(end: End) -> Self {
        match end {
            End::Closed | End::Reset => Self::Nothing { body: None },
            // As a reset does that comes behind it.
            End::Malformed(what) if what == "Reset within a head" => Self::Nothing { body: None },
            End::Silence => Self::Wrong("nothing comes, and no end".into()),
            End::Malformed(what) => Self::Wrong(what),
        }
    }
}

/// What is wrong with it. `sorts`: fields of several names have no order.
pub fn judge(script: &Script, saw: &Saw, sorts: bool) -> Result<(), String> {
    let may_cut = script.passed.as_ref().filter(|passed| passed.cut);
    match saw {
        Saw::Wrong(what) => Err(what.clone()),
        Saw::Nothing { body } => {
            let most = may_cut.map(|passed| passed.body.len() + passed.slack);
            match most {
                Some(most) if body.is_none_or(|body| body <= most) => Ok(()),
                _ => Err(format!("the connection was cut, behind {body:?} bytes of a body")),
            }
        }
        Saw::Answer { response, cut } => match &script.passed {
            Some(passed) if response.reason().is_none() => passes(script, passed, response, *cut, sorts),
            _ if *cut => Err("an answer of the gateway's is cut".into()),
            _ => own(script, response),
        },
    }
}

/// An answer of the gateway's own.
fn own(script: &Script, response: &Response) -> Result<(), String> {
    let reason = response.reason().unwrap_or_default();
    if !script.gateway.contains(&(response.status, reason)) {
        let due = script.passed.as_ref().map(|passed| passed.status);
        return Err(format!("{} {reason:?} instead of {due:?} or {:?}", response.status, script.gateway));
    }
    if script.ask.method == "HEAD" { Ok(()) } else { response.check_problem(response.status, reason) }
}

fn passes(
    script: &Script,
    passed: &Passed,
    response: &Response,
    cut: bool,
    sorts: bool,
) -> Result<(), String> {
    if response.status != passed.status {
        return Err(format!("status {} instead of {}", response.status, passed.status));
    }
    let (mut seen, mut due) = (fields(&response.head.headers), fields(&passed.fields));
    if sorts {
        seen.sort_by(|(one, _), (other, _)| one.cmp(other));
        due.sort_by(|(one, _), (other, _)| one.cmp(other));
    }
    if seen != due {
        return Err(format!("the fields {seen:?} instead of {due:?}"));
    }
    for (name, times) in [("via", 1), ("x-request-id", 1), ("content-length", 0), ("transfer-encoding", 0)] {
        let found = response.head.all(name).len();
        if found > 1 || found < times {
            return Err(format!("{name} stands there {found} times"));
        }
    }
    let (body, data) = (&response.body, &passed.body);
    if cut {
        let known = body.len().min(data.len());
        let fits = body[..known] == data[..known] && body.len() <= data.len() + passed.slack;
        return match (passed.cut, fits) {
            (true, true) => Ok(()),
            (false, _) => Err(format!("cut behind {} of {} bytes", body.len(), data.len())),
            (_, false) => Err("not the bytes of the answer, and cut".into()),
        };
    }
    if !passed.whole {
        return Err(format!("a broken answer passes for a whole one of {} bytes", body.len()));
    }
    if body != data {
        let same = body.iter().zip(data).take_while(|(a, b)| a == b).count();
        return Err(format!("{} bytes instead of {}, the first {same} right", body.len(), data.len()));
    }
    // The length of what a GET would get (RFC 9110 §8.6).
    let alone = script.ask.method == "HEAD" || response.status == 304;
    match response.framing {
        Framing::Length(length) if !alone && length != data.len() as u64 => {
            Err(format!("content-length {length} of {}", data.len()))
        }
        _ => Ok(()),
    }
}

/// Those that are the upstream's, in their order.
fn fields(all: &[(String, String)]) -> Vec<(String, String)> {
    let passed = all.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    passed.filter(|(name, _)| !OWN.contains(&name.as_str()) && !name.starts_with(':')).collect()
}
