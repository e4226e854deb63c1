//! Floods of HTTP/2 frames: the gateway stays small and goes on serving everybody else (RFC 9113 §10.5).

use std::io;
use std::time::Duration;

use crate::harness::cases::{Cases, Verdict, expect};
use crate::harness::h2_flood::{Flood, Kind, p99};
use crate::harness::h2_frames::{FRAME, code, flag, frame, headers, kind, setting, settings};
use crate::harness::hpack::Block;
use crate::harness::{Backend, Exchange, Gateway, Then, Upstream};

const MIB: u64 = 1 << 20;

/// Requests of the client that is to be served as before.
const REQUESTS: usize = 300;

/// What a busy machine adds to them, besides the twofold that the gateway may take. A build without optimisation needs ten
/// times as long for each frame, and the flood alone keeps its one worker busy for longer: there it is only said that the
/// others go on. `cargo test --release --test integration http2_floods -- --nocapture` measures.
const NOISE: Duration = Duration::from_millis(if cfg!(debug_assertions) { 1_000 } else { 50 });

fn get(path: &str) -> Block {
    Block::request("GET", path)
}

fn post(path: &str) -> Block {
    Block::request("POST", path)
}

fn nothing() -> Vec<u8> {
    settings(&[])
}

/// The streams of a piece that opens eight of them.
fn eight(n: u32) -> impl Iterator<Item = u32> {
    (8 * n..8 * n + 8).map(|n| 2 * n + 3)
}

fn again(bytes: &[u8], times: usize) -> Vec<u8> {
    bytes.repeat(times)
}

/// HEADERS without an end of the block.
fn unfinished(block: &Block) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_STREAM, 1, block.bytes())
}

fn ping() -> Vec<u8> {
    frame(kind::PING, flag::NONE, 0, [7; 8])
}

fn reset(stream: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, flag::NONE, stream, code::CANCEL.to_be_bytes())
}

fn wider(stream: u32, by: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, flag::NONE, stream, by.to_be_bytes())
}

static FLOODS: &[Kind] = &[
    Kind {
        name: "rapid reset",
        opening: nothing,
        piece: |n| eight(n).flat_map(|id| [headers(id, &get("/silent"), true), reset(id)].concat()).collect(),
        reads: false,
        is_ended: true,
    },
    Kind {
        name: "rapid reset that is read",
        opening: nothing,
        piece: |n| eight(n).flat_map(|id| [headers(id, &get("/x"), true), reset(id)].concat()).collect(),
        reads: true,
        is_ended: true,
    },
    // The gateway resets, for a fault that the client commits on purpose.
    Kind {
        name: "resets that the gateway is made to send",
        opening: nothing,
        piece: |n| {
            eight(n).flat_map(|id| [headers(id, &get("/silent"), true), wider(id, 0)].concat()).collect()
        },
        reads: true,
        is_ended: true,
    },
    Kind {
        name: "malformed requests",
        opening: nothing,
        piece: |n| eight(n).flat_map(|id| headers(id, &get("/x").field("connection", "x"), true)).collect(),
        reads: true,
        is_ended: true,
    },
    Kind {
        name: "streams beyond the bound",
        opening: nothing,
        piece: |n| eight(n).flat_map(|id| headers(id, &get("/silent"), true)).collect(),
        reads: true,
        is_ended: true,
    },
    Kind {
        name: "empty CONTINUATION",
        opening: || [nothing(), unfinished(&get("/x"))].concat(),
        piece: |_| again(&frame(kind::CONTINUATION, flag::NONE, 1, []), 500),
        reads: false,
        is_ended: true,
    },
    Kind {
        name: "CONTINUATION with fields",
        opening: || [nothing(), unfinished(&get("/x"))].concat(),
        piece: |_| frame(kind::CONTINUATION, flag::NONE, 1, [0xa0; FRAME]),
        reads: false,
        is_ended: true,
    },
    Kind {
        name: "CONTINUATION of a string without end",
        opening: || [nothing(), unfinished(&get("/x").raw([0x00, 0x7f, 0xff, 0xff, 0xff, 0x7f]))].concat(),
        piece: |_| frame(kind::CONTINUATION, flag::NONE, 1, [b'a'; FRAME]),
        reads: false,
        is_ended: true,
    },
    Kind {
        name: "SETTINGS",
        opening: nothing,
        piece: |_| again(&settings(&[(setting::INITIAL_WINDOW_SIZE, 65_535)]), 500),
        reads: false,
        is_ended: false,
    },
    Kind {
        name: "SETTINGS whose answers are read",
        opening: nothing,
        piece: |_| again(&settings(&[(setting::INITIAL_WINDOW_SIZE, 65_535)]), 500),
        reads: true,
        is_ended: false,
    },
    Kind { name: "PING", opening: nothing, piece: |_| again(&ping(), 500), reads: false, is_ended: false },
    Kind {
        name: "PING whose answers are read",
        opening: nothing,
        piece: |_| again(&ping(), 500),
        reads: true,
        is_ended: false,
    },
    Kind {
        name: "empty DATA",
        opening: || [nothing(), headers(1, &post("/x"), false)].concat(),
        piece: |_| again(&frame(kind::DATA, flag::NONE, 1, []), 500),
        reads: true,
        is_ended: true,
    },
    Kind {
        name: "DATA of padding only",
        opening: || [nothing(), headers(1, &post("/x"), false)].concat(),
        piece: |_| again(&frame(kind::DATA, flag::PADDED, 1, [0]), 500),
        reads: true,
        is_ended: true,
    },
    Kind {
        name: "PRIORITY",
        opening: nothing,
        piece: |n| {
            (0..500)
                .flat_map(|m| {
                    frame(kind::PRIORITY, flag::NONE, (1000 * n + 2 * m + 1) & 0x00ff_ffff, [0, 0, 0, 0, 1])
                })
                .collect()
        },
        reads: true,
        is_ended: false,
    },
    Kind {
        name: "unknown frames",
        opening: nothing,
        piece: |_| again(&frame(0x16, 0xff, 1, "anything"), 500),
        reads: true,
        is_ended: false,
    },
    Kind {
        name: "WINDOW_UPDATE",
        opening: || [nothing(), headers(1, &get("/silent"), true)].concat(),
        piece: |_| again(&[wider(0, 1), wider(1, 1)].concat(), 250),
        reads: true,
        is_ended: false,
    },
    Kind {
        name: "HPACK bomb",
        opening: || [nothing(), headers(1, &get("/x").remembered("x-a", "v".repeat(4_000)), true)].concat(),
        piece: |n| {
            let bomb = (0..2_000).fold(get("/x"), |block, _| block.indexed(62));
            headers(2 * n + 3, &bomb, true)
        },
        reads: true,
        is_ended: true,
    },
    Kind {
        name: "HPACK bomb within the bounds of a head",
        opening: || [nothing(), headers(1, &get("/x").remembered("x-a", "v".repeat(4_000)), true)].concat(),
        piece: |n| {
            let bomb = (0..28).fold(get("/silent"), |block, _| block.indexed(62));
            eight(n).flat_map(|id| headers(id, &bomb, true)).collect()
        },
        reads: true,
        is_ended: false,
    },
    Kind {
        name: "HPACK bomb in trailers",
        opening: nothing,
        piece: |n| {
            let trailers = Block::empty().raw([0xa0; 16_000]);
            let id = 2 * n + 3;
            [headers(id, &post("/silent"), false), headers(id, &trailers, true)].concat()
        },
        reads: true,
        is_ended: false,
    },
    Kind {
        name: "readers that take a byte at a time",
        opening: || settings(&[(setting::INITIAL_WINDOW_SIZE, 0)]),
        piece: |n| {
            let opened = headers(2 * n + 3, &get("/large"), true);
            let trickle = (n.saturating_sub(100)..n).flat_map(|n| wider(2 * n + 3, 1));
            if n < 2_000 { opened.into_iter().chain(trickle).collect() } else { trickle.collect() }
        },
        reads: true,
        is_ended: false,
    },
    Kind {
        name: "readers that take nothing",
        opening: || settings(&[(setting::INITIAL_WINDOW_SIZE, 0x7fff_ffff)]),
        piece: |n| headers(2 * n + 3, &get("/large"), true),
        reads: false,
        is_ended: false,
    },
];

#[test]
fn a_flood_of_frames_neither_fills_the_memory_nor_holds_up_others() {
    let mut cases = Cases::of("floods");
    for kind in FLOODS {
        cases.case(kind.name, || withstand(kind));
    }
    cases.end();
}

/// The upstream of what floods.
fn flooded(exchange: &mut Exchange) -> io::Result<Then> {
    match exchange.target() {
        "/large" => exchange.ok(&"d".repeat(200_000)),
        "/silent" => {
            exchange.wait_for_close();
            Ok(Then::Drop)
        }
        _ => exchange.ok("well"),
    }
}

fn withstand(kind: &'static Kind) -> Verdict {
    let (well, flooded) = (Upstream::ok("well"), Upstream::start(flooded));
    // One worker: whoever floods it and whoever is to be served share everything but the upstream.
    let builder = Gateway::builder().server("workers: 1").top("logging: {accessLog: false}");
    let backend = |name, upstream| Backend::named(name).to(upstream).without_breaker().with("retries: 0");
    let builder = builder.backend(backend("well", &well).route("/well"));
    let gateway = builder.backend(backend("flooded", &flooded).route("/**")).measuring_memory().start();
    let mut slow = String::new();
    // Where the machine was busy with other things, once more: a gateway that is held up is so every time.
    for _ in 0..3 {
        let calm = p99(gateway.addr, REQUESTS);
        let flood = Flood::start(gateway.addr, kind);
        let held_up = p99(gateway.addr, REQUESTS);
        let is_fought = !kind.is_ended || flood.is_fought();
        let toll = flood.stop();
        let peak = gateway.peak_memory() / MIB;
        let told = format!("p99 {calm:.1?} calm, {held_up:.1?} flooded; {peak} MiB; {toll:?}");
        println!("{}: {told}", kind.name);
        expect(peak < 100, || told.clone())?;
        expect(is_fought, || format!("no connection was ended: {told}"))?;
        if held_up <= 2 * calm + NOISE {
            return Ok(());
        }
        slow = told;
    }
    Err(slow)
}
