//! Every framing of RFC 9112 §6.3, whole and in pieces.

use super::*;
use proptest::prelude::*;

/// Runs a byte stream through a fresh machine in pieces of `step`: head, body, how much is left over, whether it is done.
fn run(raw: &[u8], asked: Asked, step: usize) -> Result<(Head, Vec<u8>, usize, bool), Violation> {
    let mut framing = Framing::new(asked, HeadBounds { bytes: 256 * 1024, fields: 512 });
    let (mut buffer, mut found, mut out, mut leftover) = (Vec::new(), None, Vec::new(), 0);
    for piece in raw.chunks(step.max(1)) {
        buffer.extend_from_slice(piece);
        if found.is_none() {
            let (used, head) = framing.head(&buffer)?;
            buffer.drain(..used);
            found = head;
            if found.is_none() {
                continue;
            }
        }
        let mut rest = &buffer[..];
        while !rest.is_empty() && !framing.is_done() {
            let next = framing.next(rest)?;
            out.extend_from_slice(&rest[next.coding..next.coding + next.data]);
            rest = &rest[next.coding + next.data..];
        }
        leftover += rest.len();
        buffer.clear();
    }
    let head = found.ok_or(Violation::Truncated)?;
    let done = framing.is_done();
    framing.end()?;
    Ok((head, out, leftover, done))
}

fn whole(raw: &str) -> Result<(Head, Vec<u8>, usize, bool), Violation> {
    run(raw.as_bytes(), Asked::default(), usize::MAX)
}

#[test]
fn a_length_ends_the_body_and_the_rest_is_left_over() {
    let (head, out, left, done) = whole("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokEXTRA").unwrap();
    assert!(out == b"ok" && done && head.reusable);
    assert_eq!((left, head.content_length), (5, Some(2)));
}

#[test]
fn a_body_without_a_length_ends_with_the_connection() {
    let (head, out, _, done) = whole("HTTP/1.1 200 OK\r\n\r\nok").unwrap();
    assert!(out == b"ok" && !done && !head.reusable);
}

#[test]
fn an_unusual_reason_phrase_is_kept() {
    for (line, reason) in
        [("200 OK", None), ("200 Fine", Some("Fine")), ("200 ", Some("")), ("299 X", Some("X"))]
    {
        let (head, ..) = whole(&format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n")).unwrap();
        assert_eq!(head.reason.as_deref(), reason, "{line}");
    }
}

#[test]
fn interim_heads_are_taken_out() {
    let raw = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (head, out, ..) = whole(raw).unwrap();
    assert_eq!((head.status, &out[..]), (StatusCode::OK, &b"ok"[..]));
    let flood = "HTTP/1.1 100 Continue\r\n\r\n".repeat(65) + "HTTP/1.1 200 OK\r\n\r\n";
    assert_eq!(whole(&flood).unwrap_err(), Violation::TooManyInterim);
}

#[test]
fn answers_without_a_body_keep_the_length_that_they_state() {
    for status in ["204 No Content", "304 Not Modified"] {
        let (head, out, left, done) =
            whole(&format!("HTTP/1.1 {status}\r\nContent-Length: 999\r\n\r\nbody")).unwrap();
        assert!(done && out.is_empty() && left == 4 && head.content_length == Some(999));
    }
    let head_asked = Asked { head: true, ..Asked::default() };
    let (head, ..) = run(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", head_asked, 1000).unwrap();
    assert!(head.reusable);
}

#[test]
fn an_upgrade_that_was_not_asked_for_is_refused() {
    let raw = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nraw";
    assert_eq!(run(raw, Asked::default(), 1000).unwrap_err(), Violation::UnsolicitedUpgrade);
    let (head, out, ..) = run(raw, Asked { upgrade: true, ..Asked::default() }, 1000).unwrap();
    assert_eq!((head.status.as_u16(), &out[..]), (101, &b"raw"[..]));
}

#[test]
fn what_is_cut_or_contradictory_is_an_error() {
    for (raw, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok", Violation::Truncated),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok", Violation::Truncated),
        ("HTTP/1.1 200 OK\r\nContent-Le", Violation::Truncated),
        ("", Violation::Truncated),
        ("HELLO\r\n\r\n", Violation::Head),
        ("HTTP/1.1 99 X\r\n\r\n", Violation::Head),
        ("HTTP/1.1 2000 X\r\n\r\n", Violation::Head),
        ("HTTP/1.1 200 OK\r\nX-Bad: a\r\n b\r\n\r\n", Violation::Head),
        ("HTTP/1.1 200 OK\r\nX-Bad: a\0b\r\n\r\n", Violation::Head),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nok", Violation::ContentLength),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok", Violation::ContentLength),
        ("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", Violation::ContentLength),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok", Violation::TransferEncoding),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Violation::TransferEncoding),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Violation::ChunkedBody),
    ] {
        assert_eq!(whole(raw).unwrap_err(), expected, "{raw:?}");
    }
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: a\r\n".repeat(600));
    assert_eq!(whole(&many).unwrap_err(), Violation::HeadFields(512));
    let wide = format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(300_000));
    assert_eq!(whole(&wide).unwrap_err(), Violation::HeadBytes(262_144));
}

#[test]
fn a_length_beside_chunked_loses_and_costs_the_connection() {
    let (head, .., done) = whole(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    )
    .unwrap();
    assert!(!head.reusable && done && head.content_length.is_none());
}

#[test]
fn connection_options_decide_reuse() {
    for (raw, reusable) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: X, Close\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", true),
    ] {
        assert_eq!(whole(raw).unwrap().0.reusable, reusable, "{raw:?}");
    }
}

const SAMPLES: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello worldHTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 103 X\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nT: 1\r\n\r\nmore",
    "HTTP/1.1 200 \r\n\r\nuntil close",
    "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 999\r\n\r\n",
];

proptest! {
    #[test]
    fn the_pieces_in_which_bytes_arrive_change_nothing(which in 0usize..4, step in 1usize..60) {
        let raw = SAMPLES[which].as_bytes();
        let once = run(raw, Asked::default(), usize::MAX).unwrap();
        let pieces = run(raw, Asked::default(), step).unwrap();
        prop_assert_eq!((once.1, once.2, once.3), (pieces.1, pieces.2, pieces.3));
    }

    #[test]
    fn no_bytes_panic(raw in proptest::collection::vec(any::<u8>(), 0..400), step in 1usize..50, head: bool, upgrade: bool) {
        let _ = run(&raw, Asked { head, upgrade }, step);
    }

    #[test]
    fn no_mutated_response_panics(which in 0usize..4, at in 0usize..80, byte: u8, step in 1usize..50) {
        let mut raw = SAMPLES[which].as_bytes().to_vec();
        let at = at % raw.len();
        raw[at] = byte;
        let _ = run(&raw, Asked::default(), step);
    }
}

#[test]
fn a_blank_before_a_colon_is_removed() {
    let (head, ..) = whole("HTTP/1.1 204 No Content\r\nX-Padded \t: 1\r\nX-Next: 2\r\n\r\n").unwrap();
    let mut out = Vec::new();
    head.fields.write(&mut out);
    assert_eq!(out, b"X-Padded: 1\r\nX-Next: 2\r\n");
    assert_eq!(head.fields.get("x-padded"), Some(&b"1"[..]));
}
