//! Bodies on the wire: chunks in lawful spellings, and in others.

use fastrand::Rng;

/// Chunks as RFC 9112 §7.1 lets one write them.
pub fn chunks(random: &mut Rng, data: &[u8]) -> Vec<u8> {
    let mut wire = pieces(random, data);
    wire.extend_from_slice(["0", "00000", "0;last", "0 "][random.usize(..4)].as_bytes());
    wire.extend_from_slice(b"\r\n");
    if random.u8(..4) == 0 {
        wire.extend_from_slice(b"X-After: 1\r\nContent-Length: 5\r\n");
    }
    wire.extend_from_slice(b"\r\n");
    wire
}

fn pieces(random: &mut Rng, data: &[u8]) -> Vec<u8> {
    let (mut wire, mut rest) = (Vec::new(), data);
    let longest = [1, 40, 5_000, 100_000][random.usize(..4)].max(data.len() / 300);
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(random.usize(1..=longest.min(rest.len())));
        let size = piece.len();
        let line = match random.usize(..8) {
            0 => format!("{size:X}"),
            1 => format!("{size:08x}"),
            2 => format!("{size:x};name=value;other=\"quoted\""),
            3 => format!("{size:x}  "),
            4 => format!("{size:x} ; x"),
            _ => format!("{size:x}"),
        };
        wire.extend_from_slice(line.as_bytes());
        wire.extend_from_slice(b"\r\n");
        wire.extend_from_slice(piece);
        wire.extend_from_slice(b"\r\n");
        rest = behind;
    }
    wire
}

/// Chunks of all the data, and then something that is no chunk, with what would pass for an end behind it.
pub fn broken_chunks(random: &mut Rng, data: &[u8]) -> Vec<u8> {
    const WRONG: [&str; 20] = [
        "zz\r\n",
        "-1\r\n",
        "+1\r\na\r\n",
        "0x1\r\na\r\n",
        "\r\n",
        "1\na\r\n",
        "1\r\nab\r\n",
        "2\r\nab\n",
        "1\r\n\r\n\r\n",
        "1\ra\r\n",
        "ffffffffffffffffff\r\nabc\r\n",
        "10000000000000001\r\na\r\n",
        ";ext\r\n",
        " 1\r\na\r\n",
        "1 1\r\na\r\n",
        "1;a\nb\r\na\r\n",
        "1;\0\r\na\r\n",
        "0\r\nX-After: a\nb\r\n\r\n",
        "0\r\nX: \0\r\n\r\n",
        "0\r\n\n",
    ];
    let mut wire = pieces(random, data);
    wire.extend_from_slice(WRONG[random.usize(..WRONG.len())].as_bytes());
    wire.extend_from_slice(b"0\r\n\r\n");
    wire
}
