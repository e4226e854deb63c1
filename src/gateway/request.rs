//! A request on its way through the stages, and its refusal.

use std::rc::Rc;

use super::answer::Cause;
use super::peer::Peer;
use super::rate_limit::{ExceededLimit, Quota};
use super::record::RequestRecord;
use super::request_body::Source;
use super::request_context::{self, RequestId, Trace};
use super::request_parts::RequestParts;
use super::snapshot::SnapshotRef;
use super::upstream::Owner;
use super::worker::Worker;

/// See the module.
pub struct Request {
    pub worker: Rc<Worker>,
    pub snapshot: SnapshotRef,
    pub peer: Rc<Peer>,
    pub head: Rc<RequestParts>,
    /// Where its body comes from, until a stage takes it.
    pub body: Option<Box<dyn Source>>,
    /// The socket peer is a trusted proxy.
    pub trusted: bool,
    /// How many entries of `X-Forwarded-For` lead to the client.
    pub hops: usize,
    /// What the client is told of its limit.
    pub quota: Option<Quota>,
    /// What it is told that it could bring: `WWW-Authenticate`, a line each.
    pub challenges: Vec<String>,
    pub record: Box<RequestRecord>,
}

impl Request {
    /// Begins a request and its record.
    pub fn new(
        worker: Rc<Worker>,
        peer: Rc<Peer>,
        head: RequestParts,
        body: Option<Box<dyn Source>>,
    ) -> Box<Self> {
        worker.in_flight_begin();
        let head = Rc::new(head);
        let snapshot = worker.snapshot();
        let trusted = request_context::is_trusted(&snapshot.trusted_proxies, peer.ip());
        let (client, hops) = request_context::client(&head.fields, &peer, &snapshot.trusted_proxies);
        let (arrived_ms, started) = worker.shared.metrics.stamp();
        let arrived_ms = arrived_ms as u64;
        let request_id = RequestId::of(&head.fields, trusted, arrived_ms);
        let draw = worker.random(|random| (random.u128(..), random.u64(..)));
        let trace = Trace::of(&head.fields, draw);
        let record = Box::new(RequestRecord {
            started,
            arrived_ms,
            head: head.clone(),
            client,
            request_id,
            trace,
            route: None,
            rewritten: None,
            own: None,
            target: None,
            tries: 0,
            upstream: None,
            waited: std::time::Duration::ZERO,
            request_trace: Default::default(),
            answered: None,
            stream: false,
            uploading: std::time::Duration::ZERO,
            streamed: false,
            bytes_in: 0,
            bytes_out: 0,
            status: 0,
            cause: None,
            limits: Default::default(),
            asked: false,
            principal: None,
            certificate: None,
            shadow_denied: false,
            auth_detail: None,
            broken: false,
            cut: false,
            complete: false,
            worker: worker.clone(),
            snapshot: snapshot.clone(),
        });
        Box::new(Self {
            worker,
            snapshot,
            peer,
            head,
            body,
            trusted,
            hops,
            quota: None,
            challenges: Vec::new(),
            record,
        })
    }
}

impl Request {
    /// Who has the upstream connections that this request's client has for itself.
    pub fn owner(&self) -> Owner {
        (self.peer.private.clone(), self.record.client)
    }
}

/// A request that a stage has refused.
pub struct Refused {
    pub request: Box<Request>,
    pub cause: Cause,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u64>,
    /// For 405.
    pub allow: Option<String>,
    /// For 429.
    pub more: Option<ExceededLimit>,
}

impl Refused {
    /// A refusal with nothing more to say.
    pub fn new(request: Box<Request>, cause: Cause) -> Self {
        Self { request, cause, retry_after: None, allow: None, more: None }
    }
}
