//! What a head over HTTP/2 may hold, and for how long it may be on its way: too large a one is its stream's trouble, an
//! unfinished one that of its connection (RFC 9113 §4.3, §6.10, §10.5.1).

use std::thread;
use std::time::{Duration, Instant};

use crate::harness::h2_client::{Outcome, RawHttp2};
use crate::harness::h2_frames::{FRAME, flag, kind};
use crate::harness::h2_requests::Expect::{Passes, Refused, RefusedWith, RefusedWithConnection};
use crate::harness::h2_requests::{bare, judge};
use crate::harness::hpack::Block;
use crate::harness::{Backend, Gate, Gateway, SOON, Then, Upstream, eventually};

const MIB: u64 = 1 << 20;

fn get() -> Block {
    Block::request("GET", "/x")
}

/// A request that is exactly so many fields: `host` is one of them, and there is no `:authority` that could be another.
fn fields(count: usize) -> Block {
    Block::target("GET", "http", "/x").field("host", "a.test").numbered(count - 1, "x-", "v")
}

fn long(length: usize) -> String {
    "v".repeat(length)
}

#[test]
fn too_large_a_head_is_the_trouble_of_its_stream_and_of_nobody_else() {
    let path = |length: usize| format!("/{}", "p".repeat(length - 1));
    judge(
        "large heads",
        vec![
            bare("256 fields", fields(256), Passes(|request| request.head.get("x-254") == Some("v"))),
            bare("257 fields", fields(257), RefusedWith(431)),
            bare(
                "300 fields that are equal",
                (0..299).fold(fields(1), |block, _| block.field("x-a", "1")),
                RefusedWith(431),
            ),
            bare("1 000 fields", fields(1_000), RefusedWith(431)),
            bare("33 000 tiny names", get().numbered(33_000, "x", ""), RefusedWith(431)),
            bare(
                "a value of 120 000 bytes",
                get().field("x-a", long(120_000)),
                Passes(|request| request.head.get("x-a").is_some_and(|value| value.len() == 120_000)),
            ),
            bare("a value of 132 000 bytes", get().field("x-a", long(132_000)), RefusedWith(431)),
            bare(
                "two values of 70 000 bytes",
                get().field("x-a", long(70_000)).field("x-b", long(70_000)),
                RefusedWith(431),
            ),
            bare("a name of 140 000 bytes", get().field("n".repeat(140_000), ""), RefusedWithConnection),
            bare(
                "a target of 65 000 bytes",
                Block::request("GET", &path(65_000)),
                Passes(|request| request.target.len() == 65_000),
            ),
            // 414, or a reset: the library takes no such target, so that the gateway may never see it.
            bare("a target of 65 600 bytes", Block::request("GET", &path(65_600)), Refused),
            bare(
                "a head of 120 KiB made of one entry of the table",
                (0..29).fold(get().remembered("x-a", long(4_000)), |block, _| block.indexed(62)),
                Passes(|request| request.head.all("x-a").len() == 30),
            ),
            bare(
                "a head of 200 KiB made of one entry of the table",
                (0..49).fold(get().remembered("x-a", long(4_000)), |block, _| block.indexed(62)),
                RefusedWith(431),
            ),
            bare(
                "a head of 4 MiB made of one entry of the table",
                (0..1_000).fold(get().remembered("x-a", long(4_000)), |block, _| block.indexed(62)),
                RefusedWithConnection,
            ),
            bare(
                "a million empty fields",
                get().raw(vec![0xa0; 1_000_000]), // `cookie` of the static table
                RefusedWithConnection,
            ),
            bare(
                "cookies in 200 crumbs between other fields",
                (0..200)
                    .fold(get().field("x-a", "1"), |block, n| block.field("cookie", format!("c{n}=v")))
                    .field("x-b", "2"),
                Passes(|request| {
                    let crumbs: Vec<_> = (0..200).map(|n| format!("c{n}=v")).collect();
                    request.head.all("cookie") == [crumbs.join("; ")]
                }),
            ),
        ],
    );
}

/// An upstream that sends an event every 50 ms below `/events`, as long as somebody listens, and answers everything else.
fn telling() -> Upstream {
    Upstream::start(|exchange| {
        if !exchange.target().starts_with("/events") {
            return exchange.echo();
        }
        exchange.answer(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            Then::Keep,
        )?;
        loop {
            exchange.wire.write("9\r\ndata: 1\n\n\r\n")?;
            thread::sleep(Duration::from_millis(50));
        }
    })
}

/// A gateway whose heads must be there within 600 ms.
fn impatient(upstream: &Upstream) -> Gateway {
    Gateway::builder().server("headerTimeoutMs: 600").backend(Backend::all(upstream)).start()
}

#[test]
fn an_unfinished_head_ends_its_connection_in_time_also_while_other_streams_are_served() {
    let upstream = telling();
    let gateway = impatient(&upstream);
    let block = get();
    for (name, pause) in [("silent", None), ("one byte at a time", Some(Duration::from_millis(100)))] {
        let mut client = RawHttp2::connect(gateway.addr);
        client.headers(1, &Block::request("GET", "/events"), true);
        assert_eq!(client.status(1), Some(200), "{name}");
        // Longer than the limit: a stream that is served needs no head.
        let since = Instant::now();
        assert!(client.read_until(SOON, |_| since.elapsed() > Duration::from_millis(1_200)), "{name}");
        assert!(!client.is_ended, "{name}");
        // From here on nothing but the rest of the block may come, not even WINDOW_UPDATE.
        client.takes_data = false;
        let begun = Instant::now();
        client.send(kind::HEADERS, flag::END_STREAM, 3, block.bytes());
        match pause {
            None => assert!(client.ends_within(SOON), "an unfinished head keeps its connection"),
            Some(pause) => {
                while !client.ends_within(pause) {
                    assert!(begun.elapsed() < SOON, "a head that trickles keeps its connection");
                    client.send(kind::CONTINUATION, flag::NONE, 3, [0xa0]); // an empty cookie
                }
            }
        }
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(500), "{name}: ended after {took:?}");
        assert!(!client.goaways.is_empty(), "{name}: closed without GOAWAY");
        assert!(eventually(SOON, || upstream.open() == 0), "{name}");
    }
    assert_eq!(upstream.count_of("/x"), 0);
}

#[test]
fn an_unfinished_preface_and_a_frame_that_breaks_off_end_in_time_too() {
    let upstream = Upstream::echo();
    let gateway = Gateway::builder()
        .server("headerTimeoutMs: 600")
        .server("keepAliveMs: 900")
        .backend(Backend::all(&upstream))
        .start();
    for (name, bytes) in [
        ("nothing", &b""[..]),
        ("one byte of the preface", b"P"),
        ("half of the preface", b"PRI * HTTP/2.0\r\n\r\n"),
        ("the preface alone", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("half a frame", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x10\x01\x05"),
    ] {
        let mut client = RawHttp2::bare(gateway.addr);
        client.write(bytes);
        // An answer of HTTP/1.1 may come before the end; it is no frame.
        assert!(client.closes_within(SOON), "{name}");
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn unfinished_heads_hold_no_more_memory_than_whole_ones() {
    const CLIENTS: usize = 30;
    let upstream = Upstream::echo();
    let builder = Gateway::builder().server("headerTimeoutMs: 3000").backend(Backend::all(&upstream));
    let gateway = builder.measuring_memory().start();
    // References of one byte to an empty field: what is decoded from them is many times larger.
    let block = get().raw(vec![0xa0; 430_000]);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = RawHttp2::connect(gateway.addr);
            let mut pieces = block.bytes().chunks(FRAME);
            client.send(kind::HEADERS, flag::END_STREAM, 1, pieces.next().unwrap_or_default());
            for piece in pieces {
                client.send(kind::CONTINUATION, flag::NONE, 1, piece);
            }
            client
        })
        .collect();
    for mut client in clients {
        assert!(client.ends_within(2 * SOON), "an unfinished head is held for ever");
    }
    let peak = gateway.peak_memory() / MIB;
    println!("{CLIENTS} unfinished heads: {peak} MiB");
    assert!(peak < 100, "{peak} MiB");
    assert_eq!(gateway.get("/x").status, 200);
}

#[test]
fn the_heads_that_connections_hold_are_bounded_in_all() {
    const CLIENTS: usize = 8;
    const STREAMS: u32 = 128;
    let (held, gate) = held();
    let upstream = Upstream::echo();
    let builder = Gateway::builder()
        .backend(Backend::named("held").to(&held).route("/held/**").with("retries: 0"))
        .backend(Backend::named("main").to(&upstream).route("/**"));
    let gateway = builder.measuring_memory().start();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| RawHttp2::connect(gateway.addr)).collect();
    for client in &mut clients {
        // 116 KiB a head, of which only the first one is sent.
        let large = |block: Block| (0..28).fold(block, |block, _| block.indexed(62));
        let path = Block::request("GET", "/held/x");
        client.headers(1, &large(path.clone().remembered("x-a", long(4_000))), true);
        for n in 1..STREAMS {
            client.headers(2 * n + 1, &large(path.clone()), true);
        }
    }
    // Every one of them is somewhere by now: under way, refused, or its connection ended.
    for client in &mut clients {
        let _ = client.round_trip();
    }
    assert_eq!(gateway.get("/x").status, 200);
    let peak = gateway.peak_memory() / MIB;
    println!(
        "{} heads of 116 KiB at once: {peak} MiB, {} at the upstream",
        CLIENTS * STREAMS as usize,
        held.open()
    );
    gate.open();
    assert!(peak < 100, "{peak} MiB");
    // What was refused was refused alone: nobody is left without a word.
    for client in &mut clients {
        let silent = (0..STREAMS).find(|n| matches!(client.outcome(2 * n + 1), Outcome::Silent));
        assert_eq!(silent, None);
    }
}

/// An upstream that reads nothing until the gate opens.
fn held() -> (Upstream, Gate) {
    let gate = Gate::new();
    let theirs = gate.clone();
    let upstream = Upstream::raw(move |_, _| {
        theirs.wait();
        Ok(Then::Reset)
    });
    (upstream, gate)
}
