//! How streams and connections of HTTP/2 end: a client's reset is heard, an idle end and a stop are announced, and no
//! answer is lost with them (RFC 9113 §5.4.2, §6.4, §6.8, §9.1).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::h2_client::{Outcome, RawHttp2};
use crate::harness::h2_frames::code::{CANCEL, NO_ERROR};
use crate::harness::hpack::Block;
use crate::harness::{Backend, Gateway, SOON, Then, Upstream, eventually, holds_for};

const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";

/// An upstream that sends one event below `/events` and then waits for the end, never answers `/silent`, and answers
/// everything else.
fn telling() -> Upstream {
    Upstream::start(|exchange| {
        if exchange.target().starts_with("/events") {
            exchange.answer(EVENTS, Then::Keep)?;
        } else if !exchange.target().starts_with("/silent") {
            return exchange.reply(200, &[("Connection", "close")], b"well").map(|_| Then::Close);
        }
        exchange.wait_for_close();
        Ok(Then::Drop)
    })
}

#[test]
fn an_event_stream_that_its_reader_resets_is_closed_at_the_upstream_at_once() {
    let upstream = telling();
    let gateway = Gateway::with(Backend::all(&upstream).with("retries: 0"));
    let mut client = RawHttp2::connect(gateway.addr);
    for (stream, path) in [(1, "/events/1"), (3, "/events/2"), (5, "/silent/3")] {
        client.headers(stream, &Block::request("GET", path), true);
    }
    assert!(client.read_until(SOON, |client| client.received(1) > 0 && client.received(3) > 0));
    assert!(eventually(SOON, || upstream.open() == 3), "{} are open", upstream.open());
    client.reset(1, CANCEL);
    assert!(eventually(SOON, || upstream.open() == 2), "the stream that was reset is read by nobody");
    client.reset(5, CANCEL);
    assert!(eventually(SOON, || upstream.open() == 1), "the request that was reset waits for nobody");
    // The one beside them is as it was.
    assert!(holds_for(Duration::from_millis(300), || upstream.open() == 1));
    assert_eq!(client.get(7, "/x").status(), Some(200));
    assert!(!client.is_over(3), "{:?}", client.outcome(3));
    client.reset(3, CANCEL);
    assert!(eventually(SOON, || upstream.open() == 0 && gateway.in_flight() == 0));
}

#[test]
fn an_upload_that_its_client_resets_is_ended_at_the_upstream_at_once() {
    let upstream = Upstream::start(|exchange| exchange.count_body().map(|_| Then::Drop));
    let gateway = Gateway::with(Backend::all(&upstream).with("retries: 0"));
    let mut client = RawHttp2::connect(gateway.addr);
    client.headers(1, &Block::request("POST", "/up"), false);
    // More than is kept for a retry, so that the upload is under way.
    for _ in 0..6 {
        client.data(1, vec![b'u'; 16_000], false);
        assert!(client.round_trip());
    }
    assert!(eventually(SOON, || upstream.count() == 1), "the upload is not under way");
    client.reset(1, CANCEL);
    assert!(eventually(SOON, || upstream.open() == 0 && gateway.in_flight() == 0));
    assert!(!upstream.last().complete, "what was reset became a whole request");
}

#[test]
fn an_idle_connection_is_ended_with_goaway_that_names_the_last_request() {
    let upstream = Upstream::echo();
    let gateway = Gateway::builder()
        .server("keepAliveMs: 600")
        .server("headerTimeoutMs: 5000")
        .backend(Backend::all(&upstream))
        .start();
    for requests in [0, 1, 3] {
        let mut client = RawHttp2::connect(gateway.addr);
        for n in 0..requests {
            assert_eq!(client.get(2 * n + 1, "/x").status(), Some(200));
        }
        let idle = Instant::now();
        assert!(client.ends_within(2 * SOON), "after {requests} requests the connection stays open");
        let took = idle.elapsed();
        assert!(requests == 0 || took >= Duration::from_millis(400), "ended after {took:?}");
        // §6.8: a request that crosses the end is known to be safe to repeat.
        let last = (2 * requests).saturating_sub(1);
        let told = client.goaways.last().copied();
        assert_eq!(told, Some((last, NO_ERROR)), "after {requests} requests: {:?}", client.goaways);
    }
}

#[test]
fn a_stop_is_announced_to_idle_and_busy_connections_and_loses_no_answer() {
    let (upstream, gate) = Upstream::holding();
    let builder = Gateway::builder().server("shutdownTimeoutMs: 60000").backend(Backend::all(&upstream));
    let mut gateway = builder.start();
    let mut idle = RawHttp2::connect(gateway.addr);
    assert_eq!(idle.get(1, "/x").status(), Some(200));
    let mut busy = RawHttp2::connect(gateway.addr);
    let held = [1, 3, 5, 7];
    for stream in held {
        busy.headers(stream, &Block::request("GET", "/hold"), true);
    }
    assert!(eventually(SOON, || upstream.count_of("/hold") == held.len()));
    gateway.signal("TERM");
    for (name, client) in [("idle", &mut idle), ("busy", &mut busy)] {
        let told = client.read_until(3 * SOON, |client| !client.goaways.is_empty() || client.is_ended);
        assert!(told && !client.goaways.is_empty(), "{name}: the stop was not announced");
        assert_eq!(client.goaways[0].1, NO_ERROR, "{name}: {:?}", client.goaways);
    }
    assert!(idle.ends_within(3 * SOON), "the idle connection stays open");
    gate.open();
    for stream in held {
        let outcome = busy.outcome_within(stream, 2 * SOON);
        assert_eq!(outcome.status(), Some(200), "stream {stream}: {outcome:?}");
    }
    assert!(busy.ends_within(3 * SOON), "the busy connection stays open");
    assert_eq!(gateway.exit(2 * SOON).and_then(|status| status.code()), Some(0));
}

#[test]
fn what_a_stop_takes_on_it_answers_and_what_it_does_not_it_names() {
    let upstream = Upstream::echo();
    let builder = Gateway::builder().server("shutdownTimeoutMs: 10000").backend(Backend::all(&upstream));
    let mut gateway = builder.start();
    let mut client = RawHttp2::connect(gateway.addr);
    let mut outcomes = Vec::new();
    for n in 0.. {
        if n == 20 {
            gateway.signal("TERM");
        }
        let outcome = client.get(2 * n + 1, "/x");
        let is_last = !matches!(outcome, Outcome::Answer(_));
        outcomes.push(outcome);
        if is_last {
            break;
        }
    }
    assert!(client.ends_within(3 * SOON));
    let (last, code) = client.goaways.last().copied().expect("the stop was announced");
    assert_eq!(code, NO_ERROR);
    let answered = outcomes.len() as u32 - 1;
    assert!(answered >= 20, "{answered}");
    // §6.8: up to the last stream that was named everything may have been done.
    let unanswered = 2 * answered + 1;
    assert!(last < unanswered, "stream {unanswered} was taken on ({last}) and not answered: {outcomes:?}");
    for outcome in &outcomes[..answered as usize] {
        assert!(matches!(outcome.status(), Some(200 | 503)), "{outcome:?}");
    }
    assert_eq!(gateway.exit(2 * SOON).and_then(|status| status.code()), Some(0));
}

#[test]
fn a_client_that_was_told_of_the_end_may_still_send_and_is_not_reset() {
    let upstream = Upstream::ok("ok");
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut client = TcpStream::connect(gateway.addr).unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    // SETTINGS, and DATA on stream 0 (RFC 9113 §6.1).
    client.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
    client.write_all(&[0; 9]).unwrap();
    let mut told = Vec::new();
    client.read_to_end(&mut told).unwrap();
    let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    assert!(told.ends_with(&goaway), "{told:?}");
    // What was on its way; a reset is heard by the second.
    client.write_all(&[0; 9]).unwrap();
    client.write_all(&[0; 9]).expect("no reset");
}
