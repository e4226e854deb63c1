//! What is printed of a seed that failed: all that somebody needs who was not there.

use std::fmt::{Display, Write as _};

use super::plan::Plan;
use super::upstream::Seen;

/// Bytes of each end that are printed of a long piece.
const SHOWN: usize = 400;

/// Bytes as text; the middle of a long piece is left out.
pub fn escaped(bytes: &[u8], shown: usize) -> String {
    if bytes.len() <= 2 * shown {
        return format!("\"{}\"", bytes.escape_ascii());
    }
    let (first, last) = (&bytes[..shown], &bytes[bytes.len() - shown..]);
    let left_out = bytes.len() - 2 * shown;
    format!("\"{}\" … {left_out} bytes … \"{}\"", first.escape_ascii(), last.escape_ascii())
}

/// A plan of HTTP/1.
pub fn http1(plan: &Plan, wrong: &[String], sent: &[Vec<u8>], came: &[u8], seen: &[Seen]) -> String {
    let habits = format!(
        "half-closes: {}, goes on sending after a close: {}, pieces of at most {} bytes",
        plan.half_closes, plan.sends_on, plan.piece
    );
    let pieces = sent.iter().map(|piece| format!("{} bytes: {}", piece.len(), escaped(piece, SHOWN / 4)));
    let mut text = any(plan.seed, "HTTP/1", wrong, &plan.requests, &habits);
    // Many small pieces are shown as one.
    if sent.len() > 60 {
        let _ = writeln!(text, "  sent, in {} pieces: {}", sent.len(), escaped(&sent.concat(), 4 * SHOWN));
    } else {
        list(&mut text, "sent", pieces);
    }
    let _ = writeln!(text, "  came back, {} bytes: {}", came.len(), escaped(came, 6 * SHOWN));
    list(&mut text, "the upstream saw", seen.iter());
    text
}

/// What every report begins with.
pub fn any<T: Display>(seed: u64, protocol: &str, wrong: &[String], requests: &[T], habits: &str) -> String {
    let mut text = format!("seed {seed} over {protocol} (alone with AEGIS_FUZZ_SEED={seed}):\n");
    list(&mut text, "wrong", wrong.iter());
    list(
        &mut text,
        "the plan",
        requests.iter().enumerate().map(|(index, request)| format!("{index}. {request}")),
    );
    let _ = writeln!(text, "  {habits}");
    text
}

/// A heading and its lines.
pub fn list<T: Display>(text: &mut String, heading: &str, lines: impl Iterator<Item = T>) {
    let _ = writeln!(text, "  {heading}:");
    for line in lines {
        let _ = writeln!(text, "    {line}");
    }
}
