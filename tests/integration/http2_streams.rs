//! The states of HTTP/2's streams and their windows (RFC 9113 §5, §6.9), as h2spec lists them.

use crate::harness::cases::expect;
use crate::harness::h2_client::{Outcome, RawHttp2};
use crate::harness::h2_frames::code::CANCEL;
use crate::harness::h2_frames::{FRAME, code, flag, frame, headers, kind, setting, settings};
use crate::harness::h2_rules::{CLOSED, PROTOCOL, Rule, SIZE, WINDOW, answered, breaks, ends, goes_on, keep};
use crate::harness::hpack::Block;
use crate::harness::{Backend, Gateway, SOON, Then, Upstream};

fn get() -> Block {
    Block::request("GET", "/x")
}

fn silent() -> Block {
    Block::request("GET", "/silent")
}

fn post() -> Block {
    Block::request("POST", "/x")
}

/// Opens a stream whose windows are what these settings say, and asks for something there.
fn ask(client: &mut RawHttp2, window: u32, path: &str) {
    client.takes_data = false;
    client.write(settings(&[(setting::INITIAL_WINDOW_SIZE, window)]));
    client.headers(1, &Block::request("GET", path), true);
}

/// Exactly so much of stream 1 is there, and stays so until PING has been to the gateway and back.
fn holds_at(client: &mut RawHttp2, length: usize) -> Result<(), String> {
    let status = client.status(1);
    expect(status == Some(200), || format!("{status:?}"))?;
    let came = client.read_until(SOON, |client| client.received(1) >= length);
    expect(came, || format!("{} bytes of {length}", client.received(1)))?;
    expect(client.round_trip(), || "no PING came back".into())?;
    expect(client.received(1) == length, || format!("{} bytes instead of {length}", client.received(1)))
}

const STATES: &[Rule] = &[
    ("§5.1 DATA of an idle stream ends the connection", |client| {
        client.data(1, "x", true);
        ends(client, PROTOCOL)
    }),
    ("§5.1 WINDOW_UPDATE of an idle stream ends the connection", |client| {
        client.window_update(1, 100);
        ends(client, PROTOCOL)
    }),
    ("§5.1 CONTINUATION of an idle stream ends the connection", |client| {
        client.send(kind::CONTINUATION, flag::END_HEADERS, 1, get().bytes());
        ends(client, PROTOCOL)
    }),
    ("§5.1 DATA behind the end of a request is an error", |client| {
        client.headers(1, &silent(), true);
        client.data(1, "x", true);
        breaks(client, 1, CLOSED)
    }),
    ("§5.1 HEADERS behind the end of a request are an error", |client| {
        client.headers(1, &silent(), true);
        client.headers(1, &get(), true);
        breaks(client, 1, CLOSED)
    }),
    ("§5.1 WINDOW_UPDATE, PRIORITY and RST_STREAM behind the end of a request are none", |client| {
        client.headers(1, &silent(), true);
        client.window_update(1, 100);
        client.send(kind::PRIORITY, flag::NONE, 1, [0, 0, 0, 0, 15]);
        client.reset(1, CANCEL);
        goes_on(client)
    }),
    ("§5.1 DATA behind a reset of one's own does not pass for a request's", |client| {
        client.headers(1, &post(), false);
        client.reset(1, CANCEL);
        client.data(1, "x", true);
        breaks(client, 1, CLOSED)
    }),
    ("§5.1 HEADERS behind a reset of one's own do not open the stream again", |client| {
        client.headers(1, &silent(), false);
        client.reset(1, CANCEL);
        client.headers(1, &get(), true);
        let outcome = client.outcome(1);
        expect(outcome.status().is_none(), || format!("{outcome:?}"))?;
        breaks(client, 1, CLOSED)
    }),
    ("§5.1 DATA of a stream that was answered is an error", |client| {
        client.headers(1, &get(), true);
        answered(client, 1)?;
        client.data(1, "x", true);
        // RST_STREAM of a stream that is over changes nothing that a client could see.
        if client.round_trip() { goes_on(client) } else { ends(client, CLOSED) }
    }),
    ("§5.1 HEADERS of a stream that was answered do not ask again", |client| {
        client.headers(1, &get(), true);
        answered(client, 1)?;
        client.headers(1, &get(), true);
        ends(client, CLOSED)
    }),
    ("§5.1 frames of a stream that is long over are ignored where they may be under way", |client| {
        client.headers(1, &get(), true);
        answered(client, 1)?;
        client.window_update(1, 100);
        client.reset(1, CANCEL);
        goes_on(client)
    }),
    ("§5.1.1 a client's stream has an odd number", |client| {
        client.headers(2, &get(), true);
        ends(client, PROTOCOL)
    }),
    ("§5.1.1 numbers do not go back", |client| {
        client.headers(5, &get(), true);
        answered(client, 5)?;
        client.headers(3, &get(), true);
        ends(client, CLOSED)
    }),
    // RFC 9113 §5.3 has no such error any more, RFC 7540 §5.3.1 had it.
    ("§5.3 a stream that depends on itself harms nobody but itself", |client| {
        let flags = flag::PRIORITY | flag::END_HEADERS | flag::END_STREAM;
        client.send(kind::HEADERS, flags, 1, [&[0, 0, 0, 1, 15], get().bytes()].concat());
        match client.outcome(1) {
            Outcome::Answer(_) => Ok(()),
            _ => breaks(client, 1, PROTOCOL),
        }
    }),
    ("§5.4.1 of two errors the connection ends with the first", |client| {
        let size = frame(kind::PING, flag::NONE, 0, [0; 3]);
        client.write([size, frame(kind::DATA, flag::NONE, 0, "x")].concat());
        ends(client, SIZE)
    }),
    ("§8.1 HEADERS in the middle of a request that do not end it are an error", |client| {
        client.headers(1, &post(), false);
        client.headers(1, &get(), false);
        breaks(client, 1, PROTOCOL)
    }),
];

const WINDOWS: &[Rule] = &[
    ("§6.9 a window of the connection that grows by nothing ends it", |client| {
        client.window_update(0, 0);
        ends(client, PROTOCOL)
    }),
    ("§6.9 a window of a stream that grows by nothing is an error", |client| {
        client.headers(1, &silent(), true);
        client.window_update(1, 0);
        breaks(client, 1, PROTOCOL)
    }),
    ("§6.9 WINDOW_UPDATE of the wrong length ends the connection", |client| {
        client.send(kind::WINDOW_UPDATE, flag::NONE, 0, [0, 0, 1]);
        ends(client, SIZE)
    }),
    ("§6.9.1 no more DATA comes than the window has room for", |client| {
        ask(client, 1, "/ten");
        holds_at(client, 1)?;
        client.window_update(1, 100);
        answered(client, 1)
    }),
    ("§6.9.1 the connection's window holds for all of its streams", |client| {
        ask(client, 1 << 20, "/large");
        holds_at(client, 65_535)?;
        client.headers(3, &Block::request("GET", "/ten"), true);
        let status = client.status(3);
        expect(status == Some(200) && client.received(3) == 0, || format!("{}", client.received(3)))?;
        client.window_update(0, 1 << 20);
        answered(client, 1)?;
        answered(client, 3)
    }),
    ("§4.2 no frame is larger than the client takes", |client| {
        client.headers(1, &Block::request("GET", "/large"), true);
        let mut largest = 0;
        while client.received(1) < 200_000 {
            largest = largest.max(client.frame(SOON).ok_or("the answer stops")?.payload.len());
        }
        expect(largest <= FRAME, || format!("a frame of {largest} bytes"))
    }),
    ("§6.9.1 a window of the connection beyond 2^31-1 ends it", |client| {
        client.window_update(0, 0x7fff_ffff);
        client.window_update(0, 0x7fff_ffff);
        ends(client, WINDOW)
    }),
    ("§6.9.1 a window of a stream beyond 2^31-1 is an error", |client| {
        client.headers(1, &silent(), true);
        client.window_update(1, 0x7fff_ffff);
        client.window_update(1, 0x7fff_ffff);
        breaks(client, 1, WINDOW)
    }),
    ("§6.9.1 DATA beyond the gateway's window is an error", |client| {
        let window = client.settings.get(&setting::INITIAL_WINDOW_SIZE).copied().unwrap_or(65_535);
        let frames = 2 * window as usize / FRAME + 5;
        let burst = (0..frames).map(|n| {
            let flags = if n + 1 == frames { flag::END_STREAM } else { flag::NONE };
            frame(kind::DATA, flags, 1, vec![b'd'; FRAME])
        });
        client.write([headers(1, &post(), false), burst.collect::<Vec<_>>().concat()].concat());
        match client.outcome(1) {
            // The window was opened as fast as it was filled.
            Outcome::Answer(reply) if reply.status == 200 => goes_on(client),
            _ => breaks(client, 1, WINDOW),
        }
    }),
    ("§6.9.2 a new initial window holds for streams that are open", |client| {
        ask(client, 0, "/ten");
        holds_at(client, 0)?;
        client.write(settings(&[(setting::INITIAL_WINDOW_SIZE, 4)]));
        holds_at(client, 4)?;
        client.write(settings(&[(setting::INITIAL_WINDOW_SIZE, 10)]));
        answered(client, 1)
    }),
    ("§6.9.2 a window can be below zero", |client| {
        ask(client, 3, "/ten");
        holds_at(client, 3)?;
        client.write(settings(&[(setting::INITIAL_WINDOW_SIZE, 0)]));
        client.window_update(1, 3);
        holds_at(client, 3)?;
        client.window_update(1, 2);
        holds_at(client, 5)?;
        client.window_update(1, 5);
        answered(client, 1)
    }),
    ("§6.9.2 a new initial window that makes one too large ends the connection", |client| {
        ask(client, 0, "/ten");
        client.window_update(1, 0x7fff_ffff);
        client.write(settings(&[(setting::INITIAL_WINDOW_SIZE, 1)]));
        ends(client, WINDOW)
    }),
];

#[test]
fn streams_are_in_one_state_at_a_time() {
    keep("states of streams", STATES);
}

#[test]
fn windows_hold_both_ways() {
    keep("windows", WINDOWS);
}

#[test]
fn no_more_streams_are_open_at_once_than_were_announced() {
    let upstream = Upstream::start(|exchange| match exchange.target() {
        "/silent" => {
            exchange.wait_for_close();
            Ok(Then::Drop)
        }
        _ => exchange.echo(),
    });
    let gateway = Gateway::with(Backend::all(&upstream).with("retries: 0"));
    let mut client = RawHttp2::connect(gateway.addr);
    let announced = client.settings.get(&setting::MAX_CONCURRENT_STREAMS).copied();
    let most = announced.expect("SETTINGS_MAX_CONCURRENT_STREAMS is announced");
    assert!((128..=1000).contains(&most), "{most}");
    for n in 0..most {
        client.headers(2 * n + 1, &silent(), true);
    }
    // §5.1.2: the one beyond is refused, and the others stay.
    let (beyond, next) = (2 * most + 1, 2 * most + 3);
    let outcome = client.get(beyond, "/beyond");
    assert!(
        matches!(outcome, Outcome::Reset(code::REFUSED_STREAM | code::PROTOCOL_ERROR)),
        "stream {} of {most}: {outcome:?}",
        most + 1
    );
    client.reset(1, CANCEL);
    assert_eq!(client.get(next, "/x").status(), Some(200), "one was reset, so that there is room");
    let gone = (1..most).filter(|n| client.is_over(2 * n + 1)).count();
    assert_eq!((gone, upstream.count_of("/beyond")), (0, 0));
}
