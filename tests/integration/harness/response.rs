//! A response as the client read it, and what the contract says of those that the gateway makes.

use serde_json::Value;

use super::head::{Framing, Head};

/// A final response.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    pub head: Head,
    pub body: Vec<u8>,
    pub framing: Framing,
    /// Statuses of the interim (1xx) responses that came before.
    pub interim: Vec<u16>,
}

impl Response {
    /// The only value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {:?}", self.text()))
    }

    /// The `Aegis-Reason` of an answer that the gateway made.
    pub fn reason(&self) -> Option<&str> {
        self.header("aegis-reason")
    }

    /// True when the connection may carry another request.
    pub fn keeps_alive(&self) -> bool {
        self.version == "HTTP/1.1"
            && self.framing != Framing::Close
            && !self.head.lists("connection", "close")
    }

    /// Fails unless this is what section 7 of the contract promises for `reason`.
    pub fn assert_problem(&self, status: u16, reason: &str) {
        self.check_problem(status, reason).unwrap_or_else(|e| panic!("{e}\n{self:?}"));
    }

    /// What differs from the promise of section 7.
    pub fn check_problem(&self, status: u16, reason: &str) -> Result<(), String> {
        let expect = |what: &str, ok: bool| if ok { Ok(()) } else { Err(format!("{reason}: {what}")) };
        expect(&format!("status {} instead of {status}", self.status), self.status == status)?;
        expect("Aegis-Reason", self.reason() == Some(reason))?;
        let kind = self.header("content-type").unwrap_or_default();
        expect("content type", kind.starts_with("application/problem+json"))?;
        let body: Value = serde_json::from_slice(&self.body).map_err(|e| format!("{reason}: body: {e}"))?;
        expect("status in the body", body["status"] == status)?;
        expect("reason in the body", body["reason"] == reason)?;
        for member in ["type", "title", "detail", "requestId"] {
            expect(member, body[member].as_str().is_some_and(|text| !text.is_empty()))?;
        }
        expect("request id", self.header("x-request-id") == body["requestId"].as_str())?;
        expect("Retry-After", status != 429 && reason != "circuit_open" || self.retry_after() >= 1)?;
        let text = self.text();
        let leak = ["127.0.0.1", "localhost", "panicked", "src/", ".rs:"].iter().find(|s| text.contains(*s));
        leak.map_or(Ok(()), |leak| Err(format!("{reason}: the body gives away {leak:?}")))
    }

    fn retry_after(&self) -> u64 {
        self.header("retry-after").and_then(|seconds| seconds.parse().ok()).unwrap_or(0)
    }
}
