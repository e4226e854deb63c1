//! An HTTP/2 request's content-length is one number, and its body is as long as that (RFC 9113 §8.1.1, RFC 9110 §8.6).

use crate::harness::Upstream;
use crate::harness::h2_client::RawHttp2;
use crate::harness::h2_requests::Expect::{Passes, Refused, RefusedOr};
use crate::harness::h2_requests::{Case, bare, judge, with_body};
use crate::harness::hpack::Block;
use crate::harness::{Backend, Gateway};

fn post() -> Block {
    Block::request("POST", "/x")
}

/// A POST with this content-length and the body `hello`.
fn hello(name: &'static str, length: &str) -> Case {
    with_body(name, post().field("content-length", length), &["hello"], Refused)
}

#[test]
fn a_length_that_is_not_one_number_or_not_the_bodys_is_refused() {
    let announced = |length: &str| post().field("content-length", length);
    let twice = |one: &str, other: &str| announced(one).field("content-length", other);
    judge(
        "content-length",
        vec![
            with_body("two that differ", twice("5", "6"), &["hello"], Refused),
            with_body("two that differ, the right one behind", twice("6", "5"), &["hello"], Refused),
            hello("two that differ in one field", "5, 6"),
            // RFC 9110 §8.6: refused, or made one.
            with_body(
                "two that are equal",
                twice("5", "5"),
                &["hello"],
                RefusedOr(|request| request.head.all("content-length") == ["5"] && request.body == b"hello"),
            ),
            with_body(
                "two that are equal in one field",
                announced("5, 5"),
                &["hello"],
                RefusedOr(|request| request.head.all("content-length") == ["5"] && request.body == b"hello"),
            ),
            hello("an empty one", ""),
            bare("an empty one without a body", announced(""), Refused),
            bare("an empty one of a GET", Block::request("GET", "/x").field("content-length", ""), Refused),
            hello("with a sign", "+5"),
            hello("below zero", "-5"),
            hello("hexadecimal", "0x5"),
            hello("in words", "five"),
            hello("with a fraction", "5.0"),
            hello("a space inside", "5 5"),
            hello("beyond 64 bits", "18446744073709551621"),
            hello("a body that is longer", "4"),
            hello("a body where there should be none", "0"),
            hello("a body that is shorter", "9"),
            with_body("a body that is longer, in pieces", announced("5"), &["hel", "lo", "!"], Refused),
            with_body("a body that is shorter, in pieces", announced("9"), &["hel", "lo", ""], Refused),
            bare("a length without a body", announced("5"), Refused),
            bare(
                "a length of a GET without a body",
                Block::request("GET", "/x").field("content-length", "5"),
                Refused,
            ),
            with_body(
                "the body's own",
                announced("5"),
                &["hello"],
                Passes(|request| request.head.all("content-length") == ["5"] && request.body == b"hello"),
            ),
            with_body(
                "the body's own, in pieces",
                announced("5"),
                &["", "hel", "lo", ""],
                Passes(|request| request.head.all("content-length") == ["5"] && request.body == b"hello"),
            ),
            with_body("none", post(), &["hel", "lo"], Passes(|request| request.body == b"hello")),
        ],
    );
}

#[test]
fn a_post_without_a_body_says_so_to_the_upstream_and_a_get_says_nothing() {
    // RFC 9110 §8.6: over HTTP/1.1 a method that could have content says when it has none; servers answer 411 otherwise.
    let nothing = |method: &str| Block::request(method, "/x");
    let zero = Passes(|request| request.head.all("content-length") == ["0"]);
    let none = Passes(|request| {
        request.head.all("content-length").is_empty() && request.head.all("transfer-encoding").is_empty()
    });
    judge(
        "requests without a body",
        vec![
            bare("POST", nothing("POST"), zero),
            bare("PUT", nothing("PUT"), zero),
            bare("PATCH", nothing("PATCH"), zero),
            bare("POST that says 0", nothing("POST").field("content-length", "0"), zero),
            with_body("POST that ends with an empty frame", nothing("POST"), &[""], Passes(|r| r.complete)),
            bare("GET", nothing("GET"), none),
            bare("HEAD", nothing("HEAD"), none),
            bare("DELETE", nothing("DELETE"), none),
        ],
    );
}

#[test]
fn of_a_body_that_breaks_off_not_even_the_head_is_sent() {
    // Within what is kept for a retry anyway (64 KiB) the gateway need not begin before it knows.
    let upstream = Upstream::echo();
    let gateway = Gateway::with(Backend::all(&upstream).with("retries: 0"));
    for length in ["60000", "9"] {
        let mut client = RawHttp2::connect(gateway.addr);
        client.headers(1, &post().field("content-length", length), false);
        client.data(1, "half", false);
        assert_eq!(client.get(3, "/after").status(), Some(200));
        client.data(1, "", true);
        let outcome = client.outcome(1);
        assert!(!matches!(outcome.status(), Some(200..400)), "{length}: {outcome:?}");
        assert_eq!(client.get(5, "/after").status(), Some(200), "{length}");
    }
    assert_eq!(upstream.count_of("/x"), 0, "{:?}", upstream.requests());
}
