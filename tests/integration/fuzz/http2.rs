//! One plan over one connection of HTTP/2: all its streams at the same time, and every check of each.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join, join_all};
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{Error, Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request as Head2};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::answers::{Came, End, PATIENCE};
use super::bodies::Body;
use super::check;
use super::content::{Reach, request_body};
use super::expected::{Expected, reach};
use super::plan::{Kind, Lie, Request};
use super::report;
use super::streams::{GivesUp, Manner, Streams};
use super::upstream::Record;
use crate::harness::{Framing, Head, Response};

/// The window of a stream once every head is there.
const OPEN: u32 = 65_535;

/// Fields that HTTP/2 has no use for (RFC 9113 §8.2.2).
const FOREIGN: [&str; 5] = ["connection", "transfer-encoding", "keep-alive", "proxy-connection", "upgrade"];

/// Plays a plan. The error is the whole report.
pub fn play(addr: SocketAddr, record: &Record, streams: &Streams) -> Result<(), String> {
    record.begin_seed(streams.seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcomes = Rc::new(RefCell::new(vec![String::from("nothing"); streams.requests.len()]));
    let playing = async { timeout(3 * PATIENCE, connection(addr, streams, &outcomes)).await };
    let played = runtime.block_on(playing).unwrap_or_else(|_| Err(vec!["it takes for ever".into()]));
    runtime.shutdown_timeout(Duration::ZERO);
    let (seen, mut wrong) = record.finish(streams.seed, streams.requests.len());
    match played {
        Ok(by_upstream) => {
            let reach_of = |index: usize, request: &Request| match streams.manners[index].gives_up {
                GivesUp::Waiting => None,
                _ if request.token.reach == Reach::Begun => Some(Reach::Begun),
                _ => Some(reach(request, by_upstream[index])),
            };
            wrong.extend(check::arrived(&streams.requests, &seen, streams.requests.len(), reach_of));
        }
        Err(faults) => wrong.extend(faults),
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let plan = streams.requests.iter().zip(&streams.manners);
    let plan = plan.map(|(request, manner)| format!("{request}; {manner}")).collect::<Vec<_>>();
    let habits = format!("windows of {} bytes until every head is there", streams.window);
    let mut text = report::any(streams.seed, "HTTP/2", &wrong, &plan, &habits);
    let outcomes = outcomes.borrow();
    report::list(
        &mut text,
        "came of each",
        outcomes.iter().enumerate().map(|(at, what)| format!("{at}. {what}")),
    );
    report::list(&mut text, "the upstream saw", seen.iter());
    Err(text)
}

/// What the streams of a connection share.
struct Shared<'a> {
    ids: RefCell<HashSet<String>>,
    /// Streams without a head yet, and who opens the windows when there are none.
    headless: Cell<usize>,
    open: Cell<Option<oneshot::Sender<()>>>,
    outcomes: &'a RefCell<Vec<String>>,
}

impl Shared<'_> {
    /// One more has its head, or will never have one.
    fn has_head(&self) {
        self.headless.set(self.headless.get() - 1);
        if self.headless.get() == 0 {
            let _ = self.open.take().map(|open| open.send(()));
        }
    }
}

/// Whether the upstream answered each stream, or all that was wrong.
async fn connection(
    addr: SocketAddr,
    streams: &Streams,
    outcomes: &RefCell<Vec<String>>,
) -> Result<Vec<bool>, Vec<String>> {
    let stream = TcpStream::connect(addr).await.map_err(|e| vec![format!("cannot connect: {e}")])?;
    let _ = stream.set_nodelay(true);
    let handshake = h2::client::Builder::new().initial_window_size(streams.window).handshake(stream).await;
    let (sender, connection) = handshake.map_err(|e| vec![format!("no handshake: {e}")])?;
    let (open, opened) = oneshot::channel();
    tokio::spawn(drive(connection, opened, streams.window.max(OPEN)));
    let count = streams.requests.len() - 1;
    let shared =
        Shared { ids: RefCell::default(), headless: Cell::new(count), open: Cell::new(Some(open)), outcomes };
    let one = |index: usize| stream_of(sender.clone(), streams, index, &shared);
    let mut results = join_all((0..count).map(one)).await;
    shared.headless.set(1);
    results.push(one(count).await);
    let wrong = results.iter().enumerate().filter_map(|(index, result)| {
        result.as_ref().err().map(|what| format!("stream {index}: {}", what.join("; ")))
    });
    let wrong = wrong.collect::<Vec<_>>();
    if wrong.is_empty() {
        Ok(results.into_iter().map(|result| result == Ok(true)).collect())
    } else {
        Err(wrong)
    }
}

/// Keeps the connection going, and opens the windows when it is told to.
async fn drive(mut connection: Connection<TcpStream, Bytes>, mut opened: oneshot::Receiver<()>, window: u32) {
    let (mut told, mut done) = (false, false);
    poll_fn(|cx| {
        loop {
            if Pin::new(&mut connection).poll(cx).is_ready() {
                return Poll::Ready(());
            }
            told = told || Pin::new(&mut opened).poll(cx).is_ready();
            // It is refused until the gateway has acknowledged the first settings.
            if done || !told || connection.set_initial_window_size(window).is_err() {
                return Poll::Pending;
            }
            done = true;
        }
    })
    .await;
}

/// What came back on a stream.
enum Outcome {
    Answer(Came),
    /// It was reset, by the gateway.
    Reset(Error),
    /// The client gave it up, and had seen nothing wrong until then.
    GivenUp,
}

/// Plays one stream and checks it: whether the upstream answered.
async fn stream_of(
    mut sender: SendRequest<Bytes>,
    streams: &Streams,
    index: usize,
    shared: &Shared<'_>,
) -> Result<bool, Vec<String>> {
    let (request, manner) = (&streams.requests[index], &streams.manners[index]);
    lag(manner.lag).await;
    let ready = poll_fn(|cx| sender.poll_ready(cx)).await;
    let ends = !has_data(request) && !manner.ends_apart && !manner.trailers;
    let sent = ready.and_then(|()| sender.send_request(head(request), ends));
    let outcome = match sent {
        Err(error) => {
            shared.has_head();
            Err(format!("it could not be sent: {error}"))
        }
        Ok((answer, upload)) => {
            timeout(2 * PATIENCE, exchange(request, manner, answer, upload, ends, shared))
                .await
                .unwrap_or_else(|_| Err("it takes for ever".into()))
        }
    };
    shared.outcomes.borrow_mut()[index] = match &outcome {
        Ok(Outcome::Answer(Came { response, cut })) => {
            let body = report::escaped(&response.body, 150);
            format!(
                "{} {:?} {cut:?} {} bytes {body}",
                response.status,
                response.head.headers,
                response.body.len()
            )
        }
        Ok(Outcome::Reset(error)) => format!("{error}"),
        Ok(Outcome::GivenUp) => "given up".into(),
        Err(what) => what.clone(),
    };
    judge(request, manner, outcome.map_err(|what| vec![what])?, shared)
}

fn judge(
    request: &Request,
    manner: &Manner,
    outcome: Outcome,
    shared: &Shared<'_>,
) -> Result<bool, Vec<String>> {
    let mut expected = Expected::of(request);
    if request.host != "a.test" {
        expected.unanswered = true;
    }
    match outcome {
        Outcome::GivenUp => Ok(!matches!(manner.gives_up, GivesUp::Sending(_))),
        Outcome::Reset(error) if error.is_reset() && error.is_remote() && expected.unanswered => {
            Ok(expected.upstream.is_some())
        }
        Outcome::Reset(error) => Err(vec![format!("no answer: {error}")]),
        Outcome::Answer(came) => {
            let foreign = FOREIGN.iter().find(|name| !came.response.head.all(name).is_empty());
            if let Some(name) = foreign {
                return Err(vec![format!("{name} over HTTP/2")]);
            }
            check::answer(request, &expected, &came, &mut shared.ids.borrow_mut())
        }
    }
}

async fn exchange(
    request: &Request,
    manner: &Manner,
    answer: ResponseFuture,
    mut upload: SendStream<Bytes>,
    ends: bool,
    shared: &Shared<'_>,
) -> Result<Outcome, String> {
    match manner.gives_up {
        GivesUp::Sending(bytes) => {
            let _ = data(request, manner, &mut upload, bytes).await;
            upload.send_reset(Reason::CANCEL);
            shared.has_head();
            Ok(Outcome::GivenUp)
        }
        GivesUp::Waiting => {
            let _ = send(request, manner, &mut upload, ends).await;
            upload.send_reset(Reason::CANCEL);
            shared.has_head();
            Ok(Outcome::GivenUp)
        }
        GivesUp::Reading(bytes) => {
            let sending = send(request, manner, &mut upload, ends);
            let (_, outcome) = join(sending, read(answer, Some(bytes), shared)).await;
            upload.send_reset(Reason::CANCEL);
            outcome
        }
        // A gateway that has answered may take no more; what is left of the body then is nobody's.
        GivesUp::Never => join(send(request, manner, &mut upload, ends), read(answer, None, shared)).await.1,
    }
}

fn has_data(request: &Request) -> bool {
    request.body.sent() > 0 || matches!(request.body, Body::Chunked { .. })
}

/// The head as the plan has it.
fn head(request: &Request) -> Head2<()> {
    let uri = format!("http://{}{}", request.host, request.target);
    let mut head = Head2::builder().method(request.method).uri(uri).body(()).unwrap();
    let fields = head.headers_mut();
    let add = |fields: &mut HeaderMap, name: &'static str, value: &str| {
        fields.append(name, HeaderValue::from_str(value).unwrap());
    };
    if let Body::Length { declared, .. } = request.body {
        let declared =
            if request.kind == Kind::Lie(Lie::EmptyLength) { String::new() } else { declared.to_string() };
        add(fields, "content-length", &declared);
    }
    match request.kind {
        Kind::Lie(Lie::TwoLengths) => add(fields, "content-length", "1"),
        Kind::Lie(Lie::OtherHost) => add(fields, "host", "b.test"),
        Kind::Lie(Lie::TwoHosts) => {
            add(fields, "host", "a.test");
            add(fields, "host", "b.test");
        }
        _ => {}
    }
    if request.expect {
        add(fields, "expect", "100-continue");
    }
    head
}

async fn lag(times: usize) {
    for _ in 0..times {
        yield_now().await;
    }
}

/// Sends the body and the end of the stream, as far as the gateway takes it.
async fn send(
    request: &Request,
    manner: &Manner,
    upload: &mut SendStream<Bytes>,
    ends: bool,
) -> Result<(), Error> {
    if ends {
        return Ok(());
    }
    data(request, manner, upload, request.body.sent()).await?;
    if manner.trailers {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-trailer", HeaderValue::from_static("1"));
        return upload.send_trailers(trailers);
    }
    if manner.ends_apart || request.body.sent() == 0 { upload.send_data(Bytes::new(), true) } else { Ok(()) }
}

/// Sends the first bytes of the body, with the end of the stream in the last frame where it is not to be one of its own.
async fn data(
    request: &Request,
    manner: &Manner,
    upload: &mut SendStream<Bytes>,
    bytes: usize,
) -> Result<(), Error> {
    let whole = request.body.sent();
    let ends = !manner.ends_apart && !manner.trailers;
    let mut left = Bytes::from(request_body(request.token, whole)).slice(..bytes);
    while !left.is_empty() {
        let mut piece = left.split_to(manner.piece.min(left.len()));
        while !piece.is_empty() {
            upload.reserve_capacity(piece.len());
            let Some(room) = poll_fn(|cx| upload.poll_capacity(cx)).await else { return Ok(()) };
            let part = piece.split_to(room?.min(piece.len()));
            upload.send_data(part, ends && bytes == whole && left.is_empty() && piece.is_empty())?;
        }
        lag(manner.lag).await;
    }
    Ok(())
}

/// Reads an answer, whole or as much of it as is wanted.
async fn read(answer: ResponseFuture, wanted: Option<usize>, shared: &Shared<'_>) -> Result<Outcome, String> {
    let head = answer.await;
    shared.has_head();
    let (head, mut stream) = match head {
        Ok(head) => head.into_parts(),
        Err(error) => return Ok(Outcome::Reset(error)),
    };
    let mut body = Vec::new();
    let cut = loop {
        if wanted.is_some_and(|wanted| body.len() >= wanted) {
            return Ok(Outcome::GivenUp);
        }
        match stream.data().await {
            None => break None,
            Some(Ok(bytes)) => {
                release(&mut stream, bytes.len());
                body.extend_from_slice(&bytes);
            }
            // RFC 9113 §8.1: the answer is whole, and the rest of the request is not wanted.
            Some(Err(error))
                if error.reason() == Some(Reason::NO_ERROR) && says(&head.headers, body.len()) =>
            {
                break None;
            }
            Some(Err(error)) if error.is_reset() && error.is_remote() => break Some(End::Reset),
            Some(Err(error)) => {
                return Err(format!("within the answer, behind {} bytes: {error}", body.len()));
            }
        }
    };
    let headers = head.headers.iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let head1 = Head { start: format!("HTTP/2 {}", head.status.as_u16()), headers: headers.collect() };
    let response = Response {
        status: head.status.as_u16(),
        version: "HTTP/2".into(),
        head: head1,
        body,
        framing: Framing::Nothing,
        interim: Vec::new(),
    };
    Ok(Outcome::Answer(Came { response, cut }))
}

fn says(headers: &HeaderMap, length: usize) -> bool {
    headers.get("content-length").is_some_and(|value| value.as_bytes() == length.to_string().as_bytes())
}

fn release(stream: &mut RecvStream, bytes: usize) {
    let _ = stream.flow_control().release_capacity(bytes);
}
