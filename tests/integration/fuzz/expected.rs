//! The model: what must become of a request, by RFC 9110, RFC 9112 and the contract. Where two ways are right, both are
//! allowed, and no third one.

use super::content::{Answer, Reach};
use super::plan::{Kind, Request};

/// What becomes of the connection behind an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It carries the next request: nothing of this one stands in the way.
    Stays,
    /// It may end where the answer says so: this request's body may not have been read to its end.
    MayEnd,
    /// It may end, said or not: HTTP/1.0, where each side finds its own way to say it.
    MayEndUnsaid,
    /// It ends: the client has asked for it.
    Ends,
    /// It ends and the answer says so: what follows cannot be made out.
    EndsSaid,
}

/// What may come back for one request, and what may become of it.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The upstream's answer, whole unless it [`Answer::is_cut`].
    pub upstream: Option<Answer>,
    /// Answers that the gateway makes: status and reason.
    pub gateway: Vec<(u16, &'static str)>,
    /// No answer at all is right, too.
    pub unanswered: bool,
    pub after: After,
    /// How often it may arrive at the upstream where it does.
    pub times: usize,
}

const MALFORMED: (u16, &str) = (400, "bad_request");

impl Expected {
    /// For a request of HTTP/1.
    pub fn of(request: &Request) -> Self {
        let has_body = request.body.has_bytes();
        let unread = if has_body { After::MayEnd } else { After::Stays };
        let by_gateway =
            |gateway: Vec<_>, after| Self { upstream: None, gateway, unanswered: false, after, times: 1 };
        let by_upstream =
            |answer: Answer, after| Self { upstream: Some(answer), ..by_gateway(Vec::new(), after) };
        let mut expected = match &request.kind {
            Kind::Served(answer) => served(*answer, has_body, by_upstream(*answer, After::Stays)),
            Kind::Refused(400, reason) => by_gateway(vec![(400, *reason)], After::MayEnd),
            Kind::Refused(status, reason) => by_gateway(vec![(*status, *reason)], unread),
            Kind::TooLarge => by_gateway(vec![(413, "body_too_large")], After::MayEnd),
            Kind::Dead => by_gateway(vec![(502, "connect_failed")], unread),
            Kind::BrokenHead(_) => by_gateway(vec![MALFORMED], After::EndsSaid),
            Kind::BrokenChunks => by_gateway(vec![MALFORMED], After::EndsSaid),
            Kind::Unfinished => {
                let gateway =
                    [MALFORMED, (400, "client_gone"), (408, "body_timeout"), (408, "header_timeout")];
                Self { unanswered: true, ..by_gateway(gateway.to_vec(), After::Ends) }
            }
            // RFC 9113 §8.1.1: a stream error, before which it may be answered.
            Kind::Lie(_) => Self { unanswered: true, ..by_gateway(vec![MALFORMED], After::Stays) },
            Kind::Tunnel { answer, .. } => by_upstream(*answer, After::Ends),
            Kind::Uncarried => by_gateway(vec![MALFORMED, (501, "bad_request")], After::MayEnd),
            Kind::Carried(answer) => {
                let refusals = vec![MALFORMED, (501, "bad_request")];
                Self { upstream: Some(*answer), ..by_gateway(refusals, After::MayEnd) }
            }
        };
        if request.ends && matches!(request.kind, Kind::Refused(..) | Kind::Dead) {
            // Its chunks break later: told before they are read, or because of them.
            expected.gateway.push(MALFORMED);
            expected.after = After::MayEnd;
        }
        let fields = |wanted: &str| request.fields.contains(&wanted);
        if fields("Connection: close") || (request.old && !fields("Connection: keep-alive")) {
            if expected.after != After::EndsSaid {
                expected.after = After::Ends;
            }
        } else if request.old {
            expected.after = After::MayEndUnsaid;
        }
        expected
    }

    /// Whether an answer of the gateway's with this status and reason is one of them.
    pub fn allows(&self, status: u16, reason: &str) -> bool {
        self.gateway.contains(&(status, reason))
    }
}

fn served(answer: Answer, has_body: bool, plain: Expected) -> Expected {
    match answer {
        // Either side is in the middle of a request then.
        Answer::EarlyKeep(_) | Answer::EarlyClose(_) if has_body => {
            Expected { after: After::MayEnd, ..plain }
        }
        // What ends with the connection may do so on this side as well, and says it by that.
        Answer::Close(_) => Expected { after: After::MayEnd, ..plain },
        // The client may have sent something for the tunnel already.
        Answer::Declined(_) => Expected { after: After::MayEnd, ..plain },
        // Whole where nothing had been passed on yet, else broken off, perhaps before its first byte has left.
        cut if cut.is_cut() => Expected {
            gateway: vec![(502, "upstream_reset"), (502, "upstream_bad_response")],
            unanswered: true,
            after: After::MayEnd,
            ..plain
        },
        // It may be tried once more: a connection that had been kept may have ended before (contract, section 6).
        Answer::Silent(_) => Expected {
            upstream: None,
            gateway: vec![(502, "upstream_reset"), (502, "upstream_bad_response")],
            times: 3,
            ..plain
        },
        _ => plain,
    }
}

/// What must have arrived at the upstream of a request that was answered, by the upstream or not.
pub fn reach(request: &Request, by_upstream: bool) -> Reach {
    match request.kind {
        Kind::Carried(_) if !by_upstream => Reach::Never,
        _ => request.token.reach,
    }
}
