//! HPACK (RFC 7541): blocks of fields that need not be lawful, and the reader of what the gateway answers.

use std::collections::{HashMap, VecDeque};
use std::sync::OnceLock;

/// The static table of Appendix A; index 1 is the first.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// Bits of each symbol's code in Appendix B, the end of string last. The code is canonical: lengths are all of it.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// A field block under construction. Nothing is checked: most of them are wrong on purpose.
#[derive(Clone, Debug, Default)]
pub struct Block(Vec<u8>);

impl Block {
    /// No field yet.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The pseudo-fields of a request over cleartext for the host `a.test`.
    pub fn request(method: &str, path: &str) -> Self {
        Self::target(method, "http", path).field(":authority", "a.test")
    }

    /// The same without `:authority`.
    pub fn target(method: &str, scheme: &str, path: &str) -> Self {
        Self::empty().field(":method", method).field(":scheme", scheme).field(":path", path)
    }

    /// Adds a literal field without indexing (§6.2.2), its name spelt out, no Huffman coding.
    pub fn field(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.0.push(0);
        self.string(name.as_ref());
        self.string(value.as_ref());
        self
    }

    /// Adds a literal field that enters the dynamic table (§6.2.1).
    pub fn remembered(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.0.push(0x40);
        self.string(name.as_ref());
        self.string(value.as_ref());
        self
    }

    /// Adds an indexed field (§6.1); 62 is the newest of the dynamic table.
    pub fn indexed(mut self, index: usize) -> Self {
        self.integer(0x80, 7, index);
        self
    }

    /// Adds a change of the dynamic table's size (§6.3).
    pub fn table_size(mut self, size: usize) -> Self {
        self.integer(0x20, 5, size);
        self
    }

    /// Adds bytes as they are.
    pub fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    /// Adds `count` fields with names `PREFIX0`, `PREFIX1` and so on.
    pub fn numbered(self, count: usize, prefix: &str, value: &str) -> Self {
        (0..count).fold(self, |block, n| block.field(format!("{prefix}{n}"), value))
    }

    /// The encoded block.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn string(&mut self, bytes: &[u8]) {
        self.integer(0, 7, bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// An integer (§5.1) in the low `bits` of a byte and what follows it.
    fn integer(&mut self, pattern: u8, bits: u32, value: usize) {
        let most = (1 << bits) - 1;
        if value < most {
            self.0.push(pattern | value as u8);
            return;
        }
        self.0.push(pattern | most as u8);
        let mut left = value - most;
        while left >= 0x80 {
            self.0.push(left as u8 | 0x80);
            left >>= 7;
        }
        self.0.push(left as u8);
    }
}

/// The reader of one connection's blocks: it keeps the dynamic table.
pub struct Decoder {
    dynamic: VecDeque<(String, String)>,
    limit: usize,
}

impl Decoder {
    /// With the table of 4096 bytes that both sides begin with.
    pub fn new() -> Self {
        Self { dynamic: VecDeque::new(), limit: 4096 }
    }

    /// The fields of a block, in order.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(&mut self, block: &[u8]) -> Result<Vec<(String, String)>, String> {
        let (mut rest, mut fields) = (block, Vec::new());
        while let Some(&first) = rest.first() {
            if first & 0x80 != 0 {
                let index = integer(&mut rest, 7)?;
                fields.push(self.entry(index)?);
            } else if first & 0xe0 == 0x20 {
                self.limit = integer(&mut rest, 5)?;
                self.evict();
            } else {
                let is_remembered = first & 0xc0 == 0x40;
                let index = integer(&mut rest, if is_remembered { 6 } else { 4 })?;
                let name = if index == 0 { string(&mut rest)? } else { self.entry(index)?.0 };
                let field = (name, string(&mut rest)?);
                if is_remembered {
                    self.dynamic.push_front(field.clone());
                    self.evict();
                }
                fields.push(field);
            }
        }
        Ok(fields)
    }

    fn entry(&self, index: usize) -> Result<(String, String), String> {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        match index.checked_sub(1) {
            Some(place) if place < STATIC.len() => Ok(owned(STATIC[place])),
            Some(place) => self.dynamic.get(place - STATIC.len()).cloned().ok_or("no such entry".into()),
            None => Err("index 0".into()),
        }
    }

    fn evict(&mut self) {
        let size = |(name, value): &(String, String)| 32 + name.len() + value.len();
        while self.dynamic.iter().map(size).sum::<usize>() > self.limit {
            self.dynamic.pop_back();
        }
    }
}

fn byte(rest: &mut &[u8]) -> Result<u8, String> {
    let (&first, others) = rest.split_first().ok_or("a block that breaks off")?;
    *rest = others;
    Ok(first)
}

fn integer(rest: &mut &[u8], bits: u32) -> Result<usize, String> {
    let most = (1_usize << bits) - 1;
    let mut value = usize::from(byte(rest)?) & most;
    if value < most {
        return Ok(value);
    }
    for shift in (0..28).step_by(7) {
        let next = byte(rest)?;
        value += usize::from(next & 0x7f) << shift;
        if next & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("an integer beyond reason".into())
}

fn string(rest: &mut &[u8]) -> Result<String, String> {
    let is_huffman = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(rest, 7)?;
    let (bytes, others) = rest.split_at_checked(length).ok_or("a string that breaks off")?;
    *rest = others;
    let bytes = if is_huffman { huffman(bytes)? } else { bytes.to_vec() };
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Decodes a string of Appendix B's code.
fn huffman(bytes: &[u8]) -> Result<Vec<u8>, String> {
    static CODES: OnceLock<HashMap<(u8, u32), usize>> = OnceLock::new();
    let codes = CODES.get_or_init(|| {
        let mut symbols: Vec<_> = (0..LENGTHS.len()).collect();
        symbols.sort_by_key(|&symbol| (LENGTHS[symbol], symbol));
        let (mut codes, mut next, mut length) = (HashMap::new(), 0, LENGTHS[symbols[0]]);
        for symbol in symbols {
            next <<= LENGTHS[symbol] - length;
            length = LENGTHS[symbol];
            codes.insert((length, next), symbol);
            next += 1;
        }
        codes
    });
    let (mut text, mut code, mut length) = (Vec::new(), 0, 0);
    for byte in bytes {
        for bit in (0..8).rev() {
            code = code << 1 | u32::from(byte >> bit & 1);
            length += 1;
            if let Some(&symbol) = codes.get(&(length, code)) {
                text.push(u8::try_from(symbol).map_err(|_| "the end of string is in it")?);
                (code, length) = (0, 0);
            } else if length > 30 {
                return Err("no such code".into());
            }
        }
    }
    // What is left is padding: fewer than eight bits, all of them set.
    if length < 8 && code == (1 << length) - 1 { Ok(text) } else { Err("padding".into()) }
}

/// The examples of RFC 7541 C.6: the decoder must be right before it judges anybody.
#[test]
fn the_decoder_reads_the_examples_of_the_rfc() {
    let hex = |text: &str| -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    };
    let mut decoder = Decoder::new();
    decoder.limit = 256;
    let first = hex(
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
    );
    let fields = decoder.decode(&first).unwrap();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let expected = [
        pair(":status", "302"),
        pair("cache-control", "private"),
        pair("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        pair("location", "https://www.example.com"),
    ];
    assert_eq!(fields, expected);
    // The second answer's `:status` pushes the first one's out; the rest is in the table.
    let fields = decoder.decode(&hex("4883 640e ffc1 c0bf")).unwrap();
    assert_eq!(fields[0], pair(":status", "307"));
    assert_eq!(fields[1..], expected[1..]);
}
