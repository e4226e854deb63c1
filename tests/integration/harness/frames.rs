//! The little of RFC 6455 that the tests need: frames, masked or not, without extensions.

use std::io;

use super::wire::{Wire, invalid};

/// Section 5.2 of RFC 6455.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

const CODES: [(u8, Opcode); 6] = [
    (0, Opcode::Continuation),
    (1, Opcode::Text),
    (2, Opcode::Binary),
    (8, Opcode::Close),
    (9, Opcode::Ping),
    (10, Opcode::Pong),
];

/// One frame with its payload unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub fin: bool,
    pub opcode: Opcode,
    pub payload: Vec<u8>,
}

impl Frame {
    /// A whole message or a control frame.
    pub fn new(opcode: Opcode, payload: impl Into<Vec<u8>>) -> Self {
        Self { fin: true, opcode, payload: payload.into() }
    }

    /// A close frame.
    pub fn close(code: u16, reason: &str) -> Self {
        Self::new(Opcode::Close, [&code.to_be_bytes(), reason.as_bytes()].concat())
    }

    /// The code of a close frame.
    pub fn close_code(&self) -> Option<u16> {
        let code = self.payload.first_chunk::<2>().filter(|_| self.opcode == Opcode::Close);
        code.map(|code| u16::from_be_bytes(*code))
    }

    /// The bytes on the wire; clients mask, servers must not.
    pub fn bytes(&self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let code = CODES.iter().find(|(_, opcode)| *opcode == self.opcode).map_or(0, |(code, _)| *code);
        let mut bytes = vec![u8::from(self.fin) << 7 | code];
        let masked = u8::from(mask.is_some()) << 7;
        match self.payload.len() {
            short @ 0..126 => bytes.push(masked | short as u8),
            middle @ 126..65536 => {
                bytes.push(masked | 126);
                bytes.extend_from_slice(&(middle as u16).to_be_bytes());
            }
            long => {
                bytes.push(masked | 127);
                bytes.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        let mut payload = self.payload.clone();
        if let Some(mask) = mask {
            bytes.extend_from_slice(&mask);
            apply(mask, &mut payload);
        }
        bytes.extend_from_slice(&payload);
        bytes
    }

    /// Reads one frame and says whether it was masked.
    pub fn read(wire: &mut Wire) -> io::Result<(Self, bool)> {
        let head = wire.exact(2)?;
        let (fin, code, masked) = (head[0] & 0x80 != 0, head[0] & 0x0f, head[1] & 0x80 != 0);
        let opcode = CODES.iter().find(|(c, _)| *c == code).map(|(_, opcode)| *opcode);
        let opcode =
            opcode.filter(|_| head[0] & 0x70 == 0).ok_or_else(|| invalid(format!("frame {head:x?}")))?;
        let length = match head[1] & 0x7f {
            126 => wire.exact(2)?.iter().fold(0, |n, b| n << 8 | usize::from(*b)),
            127 => wire.exact(8)?.iter().fold(0, |n, b| n << 8 | usize::from(*b)),
            short => usize::from(short),
        };
        if length > 1 << 26 {
            return Err(invalid(format!("frame of {length} bytes")));
        }
        let mask = if masked { wire.exact(4)?.first_chunk::<4>().copied() } else { None };
        let mut payload = wire.exact(length)?;
        apply(mask.unwrap_or_default(), &mut payload);
        Ok((Self { fin, opcode, payload }, masked))
    }
}

fn apply(mask: [u8; 4], payload: &mut [u8]) {
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
}
