//! Requests over HTTP/2 that are malformed are refused, and nothing of them reaches an upstream: fields, pseudo-fields,
//! hosts (RFC 9113 §8.2, §8.3).

use crate::harness::h2_requests::Expect::{
    Answered, BrokenOff, Passes, Refused, RefusedOr, RefusedWithConnection,
};
use crate::harness::h2_requests::{bare, judge, with_body, with_trailers};
use crate::harness::hpack::Block;

fn get() -> Block {
    Block::request("GET", "/x")
}

/// A request whose only fault is this field.
fn field(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Block {
    get().field(name, value)
}

#[test]
fn fields_that_http_2_forbids_are_refused() {
    judge(
        "fields",
        vec![
            // §8.2.1: names.
            bare("an upper-case name", field("X-Upper", "1"), RefusedWithConnection),
            bare("an upper-case name of a known field", field("Content-Type", "a/b"), RefusedWithConnection),
            bare("an empty name", field("", "1"), RefusedWithConnection),
            bare("a space in a name", field("x y", "1"), RefusedWithConnection),
            bare("a colon in a name", field("x:y", "1"), RefusedWithConnection),
            bare("a line break in a name", field("x\r\ny", "1"), RefusedWithConnection),
            bare("a NUL in a name", field("x\0y", "1"), RefusedWithConnection),
            bare("a control character in a name", field("x\x01y", "1"), RefusedWithConnection),
            bare("DEL in a name", field("x\x7fy", "1"), RefusedWithConnection),
            bare("a byte beyond ASCII in a name", field(b"x\xe4y", "1"), RefusedWithConnection),
            // §8.2.1: values.
            bare("CR in a value", field("x-a", "a\rb"), RefusedWithConnection),
            bare("LF in a value", field("x-a", "a\nb"), RefusedWithConnection),
            bare("NUL in a value", field("x-a", "a\0b"), RefusedWithConnection),
            bare("a field inside a value", field("x-a", "a\r\nx-admin: 1"), RefusedWithConnection),
            bare(
                "a request inside a value",
                field("x-a", "a\r\n\r\nGET /x HTTP/1.1\r\nhost: b"),
                RefusedWithConnection,
            ),
            bare("a space before a value", field("x-a", " a"), Refused),
            bare("a space behind a value", field("x-a", "a "), Refused),
            bare("a tab before a value", field("x-a", "\ta"), Refused),
            // §8.2.2: what belongs to a connection.
            bare("connection: close", field("connection", "close"), Refused),
            bare("connection that names a field", field("connection", "x-hop").field("x-hop", "1"), Refused),
            bare("keep-alive", field("keep-alive", "timeout=5"), Refused),
            bare("proxy-connection", field("proxy-connection", "keep-alive"), Refused),
            bare("upgrade", field("upgrade", "websocket"), Refused),
            bare("transfer-encoding", field("transfer-encoding", "identity"), Refused),
            with_body(
                "transfer-encoding: chunked",
                Block::request("POST", "/x").field("transfer-encoding", "chunked"),
                &["0\r\n\r\n"],
                Refused,
            ),
            bare("te: gzip", field("te", "gzip"), Refused),
            bare("te: trailers, gzip", field("te", "trailers, gzip"), Refused),
            // te is no field of the end: it is the gateway's to send or not.
            bare("te: trailers", field("te", "trailers"), Passes(|_| true)),
            bare(
                "any other field",
                field("x-a", "a, \"b\"\t\u{e4}"),
                Passes(|request| request.head.get("x-a") == Some("a, \"b\"\t\u{e4}")),
            ),
        ],
    );
}

#[test]
fn pseudo_fields_are_all_there_once_and_in_front() {
    let part = |name: &str, value: &str| Block::empty().field(name, value);
    let without = |left_out: &str| {
        let all = [(":method", "GET"), (":scheme", "http"), (":path", "/x"), (":authority", "a.test")];
        let rest = all.iter().filter(|(name, _)| *name != left_out);
        rest.fold(Block::empty(), |block, (name, value)| block.field(name, value))
    };
    let with = |name: &str, value: &str| without(name).field(name, value);
    judge(
        "pseudo-fields",
        vec![
            // §8.3.1: all of them.
            bare("no :method", without(":method"), Refused),
            bare("no :scheme", without(":scheme"), Refused),
            bare("no :path", without(":path"), Refused),
            bare("no field at all", Block::empty(), RefusedWithConnection),
            // §8.3.1: exactly once.
            bare("two :method", part(":method", "GET").raw(get().bytes()), Refused),
            bare("two :scheme", part(":scheme", "http").raw(get().bytes()), Refused),
            bare("two :path", part(":path", "/y").raw(get().bytes()), Refused),
            bare("two :authority", get().field(":authority", "b.test"), Refused),
            bare("two :authority that are equal", get().field(":authority", "a.test"), Refused),
            // §8.3: none that is not defined, none of an answer.
            bare("an unknown pseudo-field", get().field(":foo", "1"), RefusedWithConnection),
            bare("an upper-case pseudo-field", without(":path").field(":PATH", "/x"), RefusedWithConnection),
            bare("a lone colon as a name", get().field(":", "1"), RefusedWithConnection),
            bare(":status in a request", get().field(":status", "200"), Refused),
            bare(":protocol outside of CONNECT", get().field(":protocol", "websocket"), Refused),
            // §8.3: before all others.
            bare(":path behind a field", without(":path").field("x-a", "1").field(":path", "/x"), Refused),
            bare(
                ":authority behind a field",
                without(":authority").field("x-a", "1").field(":authority", "a.test"),
                Refused,
            ),
            // §8.3.1: a path, or * where it is asked with OPTIONS.
            bare("an empty :path", with(":path", ""), Refused),
            bare(":path without a slash", with(":path", "x"), Refused),
            bare("a URL as :path", with(":path", "http://b.test/x"), Refused),
            bare("a query alone as :path", with(":path", "?a=1"), Refused),
            // The library leaves a fragment out before anybody sees it: judged and passed on as if it were not there.
            bare(
                "a fragment alone as :path",
                with(":path", "#a"),
                RefusedOr(|request| request.target == "/"),
            ),
            bare(
                "a fragment behind :path",
                with(":path", "/x#a"),
                RefusedOr(|request| request.target == "/x"),
            ),
            bare("* with GET", with(":path", "*"), Refused),
            bare("* with OPTIONS", Block::request("OPTIONS", "*"), Answered),
            bare("a space in :path", with(":path", "/x HTTP/1.1"), RefusedWithConnection),
            bare(
                "a request inside :path",
                with(":path", "/x HTTP/1.1\r\nhost: b\r\n\r\n"),
                RefusedWithConnection,
            ),
            bare("NUL in :path", with(":path", "/x\0"), RefusedWithConnection),
            // RFC 9110 §9.1 and §4.2: a token, a scheme.
            bare("an empty :method", Block::request("", "/x"), RefusedWithConnection),
            bare("a space in :method", Block::request("GE T", "/x"), RefusedWithConnection),
            bare(
                "a request inside :method",
                Block::request("GET /x HTTP/1.1\r\nhost: b\r\n\r\nGET", "/x"),
                RefusedWithConnection,
            ),
            bare("an empty :scheme", with(":scheme", ""), Refused),
            bare("a :scheme that is none", with(":scheme", "ht tp"), Refused),
            // §8.5: a target of its own, and no gateway's business.
            bare("CONNECT", Block::empty().field(":method", "CONNECT").field(":authority", "b:443"), Refused),
            bare("CONNECT with :scheme and :path", Block::request("CONNECT", "/x"), Refused),
            bare(
                "CONNECT with :protocol, which was not announced",
                Block::request("CONNECT", "/x").field(":protocol", "websocket"),
                Refused,
            ),
        ],
    );
}

#[test]
fn a_request_names_one_host() {
    let nowhere = || Block::target("GET", "http", "/x");
    let at = |authority: &str| nowhere().field(":authority", authority);
    judge(
        "hosts",
        vec![
            // §8.3.1 and RFC 9110 §7.2.
            bare("neither :authority nor host", nowhere(), Refused),
            bare("an empty :authority", at(""), Refused),
            bare("an empty host", nowhere().field("host", ""), Refused),
            bare("two hosts", nowhere().field("host", "a.test").field("host", "b.test"), Refused),
            bare(
                "two hosts that are equal",
                nowhere().field("host", "a.test").field("host", "a.test"),
                Refused,
            ),
            bare("two hosts in one field", nowhere().field("host", "a.test, b.test"), Refused),
            bare("host against :authority", at("a.test").field("host", "b.test"), Refused),
            bare(
                "host with another port than :authority",
                at("a.test:81").field("host", "a.test:82"),
                Refused,
            ),
            bare(
                "two hosts, one of them :authority's",
                at("a.test").field("host", "a.test").field("host", "b.test"),
                Refused,
            ),
            bare("user information in :authority", at("user:secret@a.test"), Refused),
            bare("an empty user in :authority", at("@a.test"), Refused),
            bare("user information in host", nowhere().field("host", "user@a.test"), Refused),
            bare("a path in :authority", at("a.test/x"), Refused),
            bare("a space in :authority", at("a.test b.test"), RefusedWithConnection),
            bare("a field inside :authority", at("a.test\r\nx-admin: 1"), RefusedWithConnection),
            bare("a port that is no number", at("a.test:x"), Refused),
            bare("a port that there cannot be", at("a.test:99999"), Refused),
            bare("likewise in host", nowhere().field("host", "a.test:65536"), Refused),
            bare(
                "host alone",
                nowhere().field("host", "b.test"),
                Passes(|request| request.head.get("x-forwarded-host") == Some("b.test")),
            ),
            bare(
                "host that says the same as :authority",
                at("b.test").field("host", "b.test"),
                Passes(|request| request.head.get("x-forwarded-host") == Some("b.test")),
            ),
        ],
    );
}

#[test]
fn trailers_are_fields_and_the_end() {
    let trailer = |name: &str, value: &str| Block::empty().field(name, value);
    judge(
        "trailers",
        vec![
            // §8.1: a HEADERS frame behind the first one ends the stream.
            with_trailers("trailers that do not end the stream", trailer("x-a", "1"), false, BrokenOff),
            with_trailers("a name in upper case", trailer("X-A", "1"), true, RefusedWithConnection),
            with_trailers(
                "a line break in a value",
                trailer("x-a", "1\r\n\r\n"),
                true,
                RefusedWithConnection,
            ),
            with_trailers("connection", trailer("connection", "close"), true, BrokenOff),
            with_trailers("transfer-encoding", trailer("transfer-encoding", "chunked"), true, BrokenOff),
            // §8.1: no pseudo-field there. The library leaves them out without a word, which harms nobody.
            with_trailers(
                ":path",
                trailer(":path", "/admin"),
                true,
                RefusedOr(|request| request.target == "/x" && request.body == b"hello"),
            ),
            with_trailers(
                "a plain field",
                trailer("x-a", "1"),
                true,
                Passes(|request| request.complete && request.body == b"hello"),
            ),
        ],
    );
}
