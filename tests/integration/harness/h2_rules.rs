//! How an HTTP/2 connection may answer what a client does: with an error of its own, with one of a stream, or not at all.

use super::backend::Backend;
use super::cases::{Cases, Verdict, expect};
use super::exchange::Then;
use super::gateway::Gateway;
use super::h2_client::{Outcome, RawHttp2};
use super::h2_frames::code;
use super::upstream::Upstream;
use super::wait::SOON;

/// A rule's name, and what a client does and expects on a connection of its own.
pub type Rule = (&'static str, fn(&mut RawHttp2) -> Verdict);

// Which code tells which error is the library's choice: it says PROTOCOL_ERROR of most. That the connection ends, and
// says so, is what these cases are about.

/// Codes of a frame of the wrong size.
pub const SIZE: &[u32] = &[code::FRAME_SIZE_ERROR, code::PROTOCOL_ERROR];
/// Codes of a block that cannot be decompressed.
pub const COMPRESSION: &[u32] = &[code::COMPRESSION_ERROR, code::PROTOCOL_ERROR];
/// Codes of a frame for a stream that takes none any more.
pub const CLOSED: &[u32] = &[code::STREAM_CLOSED, code::PROTOCOL_ERROR];
/// Codes of a window that is not kept.
pub const WINDOW: &[u32] = &[code::FLOW_CONTROL_ERROR, code::PROTOCOL_ERROR];
/// The code of everything else.
pub const PROTOCOL: &[u32] = &[code::PROTOCOL_ERROR];

/// Runs the rules against one gateway, whose upstream answers `/large` with 200 000 bytes, `/ten` with ten, never answers
/// `/silent`, and everything else with what arrived.
pub fn keep(group: &'static str, rules: &[Rule]) {
    let upstream = Upstream::start(|exchange| match exchange.target() {
        "/large" => exchange.ok(&"d".repeat(200_000)),
        "/ten" => exchange.ok("0123456789"),
        "/silent" => {
            exchange.wait_for_close();
            Ok(Then::Drop)
        }
        _ => exchange.echo(),
    });
    let gateway = Gateway::with(Backend::all(&upstream).without_breaker().with("retries: 0"));
    let mut cases = Cases::of(group);
    for (name, rule) in rules {
        cases.case(name, || {
            rule(&mut RawHttp2::connect(gateway.addr))?;
            // Whatever became of that connection, the next one is served.
            goes_on(&mut RawHttp2::connect(gateway.addr))
        });
    }
    cases.end();
}

/// The connection ends with GOAWAY and one of these codes (§5.4.1).
pub fn ends(client: &mut RawHttp2, codes: &[u32]) -> Verdict {
    let told = client.read_until(SOON, |client| !client.goaways.is_empty());
    expect(told, || match client.is_ended {
        true => "closed without GOAWAY".into(),
        false => "the connection goes on".into(),
    })?;
    let code = client.goaways[0].1;
    expect(codes.contains(&code), || format!("GOAWAY with {code}, not one of {codes:?}"))?;
    expect(client.ends_within(SOON), || format!("GOAWAY with {code}, but the connection stays open"))
}

/// The stream is reset with one of these codes, and the connection goes on; or it ends with one of them, as a stream error
/// may be treated as one of the connection (§5.4.1).
pub fn breaks(client: &mut RawHttp2, stream: u32, codes: &[u32]) -> Verdict {
    match client.outcome(stream) {
        Outcome::Reset(code) if codes.contains(&code) => goes_on(client),
        Outcome::GoAway(_) => ends(client, codes),
        other => Err(format!("{other:?}, not one of {codes:?}")),
    }
}

/// The connection still serves: nothing was wrong.
pub fn goes_on(client: &mut RawHttp2) -> Verdict {
    let outcome = client.get(101, "/next");
    expect(outcome.status() == Some(200), || format!("the next request: {outcome:?}"))
}

/// The stream was answered with 200.
pub fn answered(client: &mut RawHttp2, stream: u32) -> Verdict {
    let outcome = client.outcome(stream);
    expect(outcome.status() == Some(200), || format!("stream {stream}: {outcome:?}"))
}
