//! HTTP/2's frames and connection, section by section of RFC 9113 as h2spec lists them: what a peer may do, and what must
//! end a stream or the connection. Streams and flow control are in `http2_streams`.

use crate::harness::h2_client::RawHttp2;
use crate::harness::h2_frames::code::NO_ERROR;
use crate::harness::h2_frames::{FRAME, PREFACE, flag, frame, kind, setting, settings};
use crate::harness::h2_rules::{
    COMPRESSION, PROTOCOL, Rule, SIZE, WINDOW, answered, breaks, ends, goes_on, keep,
};
use crate::harness::hpack::Block;
use crate::harness::{Backend, Gateway, SOON, Upstream};

fn get() -> Block {
    Block::request("GET", "/x")
}

fn post() -> Block {
    Block::request("POST", "/x")
}

/// Sends a connection frame, and expects the connection to end.
fn refused(client: &mut RawHttp2, bytes: Vec<u8>, codes: &[u32]) -> Result<(), String> {
    client.write(bytes);
    ends(client, codes)
}

/// The same with a setting.
fn setting_refused(client: &mut RawHttp2, name: u16, value: u32, codes: &[u32]) -> Result<(), String> {
    refused(client, settings(&[(name, value)]), codes)
}

#[test]
fn what_does_not_begin_with_the_preface_is_closed() {
    let upstream = Upstream::echo();
    let gateway = Gateway::builder().server("headerTimeoutMs: 500").backend(Backend::all(&upstream)).start();
    // §3.4: after the first bytes nobody else speaks like that.
    for preface in [
        &b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r",
        b"PRI * HTTP/2.0\r\n\r\n",
    ] {
        let mut client = RawHttp2::bare(gateway.addr);
        client.write(preface);
        assert!(client.ends_within(SOON), "{:?}", String::from_utf8_lossy(preface));
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn what_follows_the_preface_is_settings() {
    // §3.4: they are part of it.
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream));
    let mut client = RawHttp2::bare(gateway.addr);
    client.write([PREFACE, &frame(kind::PING, flag::NONE, 0, [0; 8])].concat());
    assert!(client.ends_within(SOON), "PING before SETTINGS");
    assert_eq!(upstream.count(), 0);
}

const FRAMES: &[Rule] = &[
    ("§4.1 a frame of an unknown type is ignored", |client| {
        client.send(0x16, 0xff, 0, "anything");
        client.send(0x16, 0xff, 1, "anything");
        goes_on(client)
    }),
    ("§4.1 unknown flags are ignored", |client| {
        client.send(kind::PING, 0xfe, 0, [7; 8]);
        goes_on(client)
    }),
    ("§4.1 the reserved bit is ignored", |client| {
        client.send(kind::PING, flag::NONE, 1 << 31, [7; 8]);
        goes_on(client)
    }),
    ("§4.2 DATA of 16 384 bytes is taken", |client| {
        client.headers(1, &post(), false);
        client.data(1, vec![b'd'; FRAME], true);
        answered(client, 1)
    }),
    ("§4.2 DATA beyond the largest frame is an error", |client| {
        client.headers(1, &post(), false);
        client.data(1, vec![b'd'; FRAME + 1], true);
        breaks(client, 1, SIZE)
    }),
    ("§4.2 HEADERS beyond the largest frame end the connection", |client| {
        let block = get().field("x-a", "v".repeat(FRAME));
        refused(client, frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, block.bytes()), SIZE)
    }),
    ("§4.2 a frame announced with 16 MiB ends the connection before it is there", |client| {
        refused(client, [&[0xff; 3][..], &[kind::DATA, 0, 0, 0, 0, 1]].concat(), SIZE)
    }),
    ("§4.3 a block that breaks off ends the connection", |client| {
        client.headers(1, &get().raw([0x40, 0x05, b'a']), true);
        ends(client, COMPRESSION)
    }),
    ("§4.3 another stream's HEADERS inside a block end the connection", |client| {
        client.send(kind::HEADERS, flag::END_STREAM, 1, get().bytes());
        client.headers(3, &get(), true);
        ends(client, PROTOCOL)
    }),
    ("§5.5 an unknown frame inside a block ends the connection", |client| {
        client.send(kind::HEADERS, flag::END_STREAM, 1, get().bytes());
        client.send(0x16, flag::NONE, 1, "anything");
        client.send(kind::CONTINUATION, flag::END_HEADERS, 1, []);
        ends(client, PROTOCOL)
    }),
    ("RFC 7541 §2.3.3 an index beyond both tables ends the connection", |client| {
        client.headers(1, &get().indexed(62), true);
        ends(client, COMPRESSION)
    }),
    ("RFC 7541 §6.1 index 0 ends the connection", |client| {
        client.headers(1, &get().indexed(0), true);
        ends(client, COMPRESSION)
    }),
    ("RFC 7541 §6.3 a table beyond what was announced ends the connection", |client| {
        client.headers(1, &Block::empty().table_size(1 << 20).raw(get().bytes()), true);
        ends(client, COMPRESSION)
    }),
    ("RFC 7541 §4.2 a change of the table's size behind a field ends the connection", |client| {
        client.headers(1, &get().table_size(0), true);
        ends(client, COMPRESSION)
    }),
    ("RFC 7541 §5.2 Huffman padding of zeros ends the connection", |client| {
        client.headers(1, &get().raw([0x00, 0x01, b'a', 0x81, 0x18]), true);
        ends(client, COMPRESSION)
    }),
    ("RFC 7541 §5.2 Huffman padding of more than seven bits ends the connection", |client| {
        client.headers(1, &get().raw([0x00, 0x01, b'a', 0x82, 0x1f, 0xff]), true);
        ends(client, COMPRESSION)
    }),
    ("RFC 7541 §5.2 the end-of-string symbol ends the connection", |client| {
        client.headers(1, &get().raw([0x00, 0x01, b'a', 0x84, 0xff, 0xff, 0xff, 0xff]), true);
        ends(client, COMPRESSION)
    }),
    ("RFC 7541 §5.1 an integer without end ends the connection", |client| {
        client.headers(1, &get().raw([0xff; 24]), true);
        ends(client, COMPRESSION)
    }),
    ("RFC 7541 §2.3.2 what one request has brought into the table is there for the next", |client| {
        client.headers(1, &get().remembered("x-a", "1"), true);
        answered(client, 1)?;
        client.headers(3, &get().indexed(62), true);
        answered(client, 3)
    }),
    ("§6.1 DATA of the connection ends it", |client| {
        client.data(0, "x", false);
        ends(client, PROTOCOL)
    }),
    ("§6.1 DATA with more padding than there is ends the connection", |client| {
        client.headers(1, &post(), false);
        client.send(kind::DATA, flag::PADDED | flag::END_STREAM, 1, [9, b'd']);
        ends(client, PROTOCOL)
    }),
    ("§6.1 padded DATA without a length of the padding ends the connection", |client| {
        client.headers(1, &post(), false);
        client.send(kind::DATA, flag::PADDED | flag::END_STREAM, 1, []);
        ends(client, SIZE)
    }),
    ("§6.1 padding is no body", |client| {
        client.headers(1, &post().field("content-length", "2"), false);
        client.send(kind::DATA, flag::PADDED, 1, [3, b'o', 0, 0, 0]);
        client.send(kind::DATA, flag::PADDED | flag::END_STREAM, 1, [1, b'k', 0]);
        answered(client, 1)
    }),
    ("§6.2 HEADERS of the connection end it", |client| {
        client.headers(0, &get(), true);
        ends(client, PROTOCOL)
    }),
    ("§6.2 HEADERS with more padding than there is end the connection", |client| {
        let flags = flag::PADDED | flag::END_HEADERS | flag::END_STREAM;
        client.send(kind::HEADERS, flags, 1, [&[200], get().bytes()].concat());
        ends(client, PROTOCOL)
    }),
    ("§6.2 HEADERS with a priority and padding are taken", |client| {
        let flags = flag::PADDED | flag::PRIORITY | flag::END_HEADERS | flag::END_STREAM;
        client.send(kind::HEADERS, flags, 1, [&[2, 0, 0, 0, 0, 15], get().bytes(), &[0, 0]].concat());
        answered(client, 1)
    }),
    ("§6.2 HEADERS too short for their priority end the connection", |client| {
        client.send(kind::HEADERS, flag::PRIORITY | flag::END_HEADERS | flag::END_STREAM, 1, [0, 0, 0]);
        ends(client, SIZE)
    }),
    ("§6.3 PRIORITY is taken, also of a stream that is idle or over", |client| {
        client.send(kind::PRIORITY, flag::NONE, 7, [0, 0, 0, 0, 15]);
        client.headers(1, &get(), true);
        answered(client, 1)?;
        client.send(kind::PRIORITY, flag::NONE, 1, [0, 0, 0, 3, 15]);
        goes_on(client)
    }),
    ("§6.3 PRIORITY of the connection ends it", |client| {
        client.send(kind::PRIORITY, flag::NONE, 0, [0, 0, 0, 1, 15]);
        ends(client, PROTOCOL)
    }),
    ("§6.3 PRIORITY of the wrong length is an error", |client| {
        client.headers(1, &post(), false);
        client.send(kind::PRIORITY, flag::NONE, 1, [0, 0, 0, 0]);
        breaks(client, 1, SIZE)
    }),
    ("§6.4 RST_STREAM of the connection ends it", |client| {
        client.reset(0, NO_ERROR);
        ends(client, PROTOCOL)
    }),
    ("§6.4 RST_STREAM of an idle stream ends the connection", |client| {
        client.reset(1, NO_ERROR);
        ends(client, PROTOCOL)
    }),
    ("§6.4 RST_STREAM of the wrong length ends the connection", |client| {
        client.headers(1, &post(), false);
        client.send(kind::RST_STREAM, flag::NONE, 1, [0, 0, 0]);
        ends(client, SIZE)
    }),
    ("§7 an unknown code is a code", |client| {
        client.headers(1, &post(), false);
        client.reset(1, 0xff);
        goes_on(client)
    }),
    ("§8.4 PUSH_PROMISE of a client ends the connection", |client| {
        let promise = [&[0, 0, 0, 2], get().bytes()].concat();
        refused(client, frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, promise), PROTOCOL)
    }),
];

const CONNECTION: &[Rule] = &[
    ("§6.5 SETTINGS that acknowledge and say something end the connection", |client| {
        refused(client, frame(kind::SETTINGS, flag::ACK, 0, [0, 3, 0, 0, 0, 1]), SIZE)
    }),
    ("§6.5 SETTINGS of a stream end the connection", |client| {
        refused(client, frame(kind::SETTINGS, flag::NONE, 1, [0, 3, 0, 0, 0, 1]), PROTOCOL)
    }),
    ("§6.5 SETTINGS of the wrong length end the connection", |client| {
        refused(client, frame(kind::SETTINGS, flag::NONE, 0, [0, 3, 0]), SIZE)
    }),
    ("§6.5.2 a push that is neither on nor off ends the connection", |client| {
        setting_refused(client, setting::ENABLE_PUSH, 2, PROTOCOL)
    }),
    ("§6.5.2 a window beyond 2^31-1 ends the connection", |client| {
        setting_refused(client, setting::INITIAL_WINDOW_SIZE, 1 << 31, WINDOW)
    }),
    ("§6.5.2 a largest frame below 2^14 ends the connection", |client| {
        setting_refused(client, setting::MAX_FRAME_SIZE, 16_383, PROTOCOL)
    }),
    ("§6.5.2 a largest frame beyond 2^24-1 ends the connection", |client| {
        setting_refused(client, setting::MAX_FRAME_SIZE, 1 << 24, PROTOCOL)
    }),
    ("§6.5.2 an unknown setting is ignored", |client| {
        client.write(settings(&[(0xff, 1)]));
        goes_on(client)
    }),
    ("§6.5.2 of several values the last one holds", |client| {
        client.takes_data = false;
        client.write(settings(&[(setting::INITIAL_WINDOW_SIZE, 5), (setting::INITIAL_WINDOW_SIZE, 7)]));
        client.headers(1, &Block::request("GET", "/ten"), true);
        let seven = client.read_until(SOON, |client| client.received(1) >= 7);
        client.write(settings(&[]));
        match seven && client.received(1) == 7 {
            true => Ok(()),
            false => Err(format!("{} bytes came", client.received(1))),
        }
    }),
    ("§6.5.3 SETTINGS are acknowledged", |client| {
        client.write(settings(&[(setting::HEADER_TABLE_SIZE, 0)]));
        // The first acknowledgement is that of the preface.
        let mut acknowledged = 0;
        while acknowledged < 2 {
            let frame = client.frame(SOON).ok_or_else(|| format!("{acknowledged} acknowledgements"))?;
            acknowledged += usize::from((frame.kind, frame.flags) == (kind::SETTINGS, flag::ACK));
        }
        goes_on(client)
    }),
    ("§6.7 PING comes back as it is", |client| {
        client.send(kind::PING, flag::NONE, 0, "pingpong");
        loop {
            let frame = client.frame(SOON).ok_or("no PING came back")?;
            if frame.kind == kind::PING {
                let same = (frame.flags, frame.payload.as_slice()) == (flag::ACK, b"pingpong");
                return if same { goes_on(client) } else { Err(format!("{frame:?}")) };
            }
        }
    }),
    ("§6.7 a PING that acknowledges nothing is not answered", |client| {
        client.send(kind::PING, flag::ACK, 0, "unasked!");
        client.send(kind::PING, flag::NONE, 0, "question");
        loop {
            let frame = client.frame(SOON).ok_or("no PING came back")?;
            if frame.kind == kind::PING {
                return if frame.payload == b"question" {
                    goes_on(client)
                } else {
                    Err(format!("{frame:?}"))
                };
            }
        }
    }),
    ("§6.7 PING of a stream ends the connection", |client| {
        refused(client, frame(kind::PING, flag::NONE, 1, [0; 8]), PROTOCOL)
    }),
    ("§6.7 PING of the wrong length ends the connection", |client| {
        refused(client, frame(kind::PING, flag::NONE, 0, [0; 6]), SIZE)
    }),
    ("§6.8 GOAWAY of a stream ends the connection", |client| {
        refused(client, frame(kind::GOAWAY, flag::NONE, 1, [0; 8]), PROTOCOL)
    }),
    ("§6.8 behind a client's GOAWAY what had begun is answered", |client| {
        client.headers(1, &post(), false);
        client.send(kind::GOAWAY, flag::NONE, 0, [0; 8]);
        client.data(1, "hello", true);
        answered(client, 1)
    }),
    ("§6.10 a block in several CONTINUATIONs is taken", |client| {
        let block = get();
        let (first, rest) = block.bytes().split_at(7);
        client.send(kind::HEADERS, flag::END_STREAM, 1, first);
        for piece in rest.chunks(9) {
            client.send(kind::CONTINUATION, flag::NONE, 1, piece);
        }
        client.send(kind::CONTINUATION, flag::END_HEADERS, 1, []);
        answered(client, 1)
    }),
    ("§6.10 another frame in their place ends the connection", |client| {
        client.send(kind::HEADERS, flag::END_STREAM, 1, get().bytes());
        client.send(kind::PING, flag::NONE, 0, [0; 8]);
        ends(client, PROTOCOL)
    }),
    ("§6.10 CONTINUATION of another stream ends the connection", |client| {
        client.send(kind::HEADERS, flag::END_STREAM, 1, get().bytes());
        client.send(kind::CONTINUATION, flag::END_HEADERS, 3, []);
        ends(client, PROTOCOL)
    }),
    ("§6.10 CONTINUATION of the connection ends it", |client| {
        client.send(kind::HEADERS, flag::END_STREAM, 1, get().bytes());
        client.send(kind::CONTINUATION, flag::END_HEADERS, 0, []);
        ends(client, PROTOCOL)
    }),
    ("§6.10 CONTINUATION behind the end of a block ends the connection", |client| {
        client.headers(1, &get(), true);
        client.send(kind::CONTINUATION, flag::END_HEADERS, 1, get().bytes());
        ends(client, PROTOCOL)
    }),
    ("§6.10 CONTINUATION behind DATA ends the connection", |client| {
        client.headers(1, &post(), false);
        client.data(1, "x", false);
        client.send(kind::CONTINUATION, flag::END_HEADERS, 1, get().bytes());
        ends(client, PROTOCOL)
    }),
];

#[test]
fn frames_are_what_they_must_be() {
    keep("frames", FRAMES);
}

#[test]
fn the_connections_own_frames_are_what_they_must_be() {
    keep("frames of the connection", CONNECTION);
}
