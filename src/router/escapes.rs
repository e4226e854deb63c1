//! Percent-escapes within one segment: which are decoded, which stay, which are refused.
//!
//! Owns RFC 3986 sections 2.1 to 2.4 as paths and patterns need them. Knows nothing of slashes and dot segments
//! between segments. Driven by [`super::canonicalise`] and by the pattern parser.

use crate::config::settings::EscapedSlash;

use super::canonical::BadPath;

/// RFC 3986 section 2.3: escaping these changes nothing.
const fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// `pchar` of RFC 3986 section 3.3 without the escapes: unreserved, sub-delims, `:` and `@`.
pub(super) const fn stands_unescaped(byte: u8) -> bool {
    unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@'
        )
}

/// Appends the canonical form of one raw segment: checked escapes, upper-case hex, nothing unreserved escaped.
pub(super) fn push_segment(segment: &str, slash: EscapedSlash, out: &mut String) -> Result<(), BadPath> {
    let mut bytes = segment.as_bytes();
    let mut beyond_ascii = Vec::new();
    while let Some((&byte, rest)) = bytes.split_first() {
        bytes = rest;
        match byte {
            // A run of escapes above 7F is judged as a whole, since one character takes several.
            b'%' => {
                let mut value = take_hex(&mut bytes)?;
                while value >= 0x80 {
                    beyond_ascii.push(value);
                    match bytes {
                        [b'%', rest @ ..] => {
                            bytes = rest;
                            value = take_hex(&mut bytes)?;
                        }
                        _ => break,
                    }
                }
                if !beyond_ascii.is_empty() {
                    push_non_ascii(&beyond_ascii, out)?;
                    beyond_ascii.clear();
                }
                if value < 0x80 {
                    push_escaped_ascii(value, slash, out)?;
                }
            }
            b'\\' => return Err(BadPath::Backslash),
            0..0x20 | 0x7f => return Err(control(byte as char)),
            _ if stands_unescaped(byte) => out.push(byte as char),
            0x80.. => {
                beyond_ascii.push(byte);
                if bytes.first().is_none_or(|next| *next < 0x80) {
                    push_non_ascii(&beyond_ascii, out)?;
                    beyond_ascii.clear();
                }
            }
            _ => push_escape(byte, out),
        }
    }
    Ok(())
}

fn push_escaped_ascii(value: u8, slash: EscapedSlash, out: &mut String) -> Result<(), BadPath> {
    match value {
        0..0x20 | 0x7f => return Err(control(value as char)),
        b'/' | b'\\' if slash == EscapedSlash::Reject => return Err(BadPath::EscapedSlash),
        _ if unreserved(value) => out.push(value as char),
        _ => push_escape(value, out),
    }
    Ok(())
}

fn push_non_ascii(bytes: &[u8], out: &mut String) -> Result<(), BadPath> {
    let text = std::str::from_utf8(bytes).map_err(|_| BadPath::InvalidUtf8)?;
    if let Some(found) = text.chars().find(|c| c.is_control()) {
        return Err(control(found));
    }
    bytes.iter().for_each(|byte| push_escape(*byte, out));
    Ok(())
}

fn control(found: char) -> BadPath {
    if found == '\0' { BadPath::Nul } else { BadPath::Control(found) }
}

fn take_hex(bytes: &mut &[u8]) -> Result<u8, BadPath> {
    let [high, low, rest @ ..] = *bytes else { return Err(BadPath::MalformedEscape) };
    let digit = |byte: u8| (byte as char).to_digit(16).ok_or(BadPath::MalformedEscape);
    let value = digit(*high)? * 16 + digit(*low)?;
    *bytes = rest;
    Ok(value as u8)
}

pub(super) fn push_escape(byte: u8, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(HEX[(byte >> 4) as usize] as char);
    out.push(HEX[(byte & 15) as usize] as char);
}
