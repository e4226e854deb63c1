//! API keys: what the gateway's own look like, and the digests by which any key is known.
//!
//! A key is `ak_ID_SECRET` and a checksum: an id of twelve characters, which names its record and is no secret, 256 random bits
//! in 43 characters, and the CRC-32 (ISO-HDLC, as in zip) of all that stands before it in six, every one of them in base 62.
//! For secret scanners: `ak_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}`. The checksum tells a typo, and says nothing of whether a key is
//! right. Only digests of keys are kept, so that whoever reads the configuration has no key. Does no I/O; random numbers are the
//! operating system's.

use aegis_schema::Secret;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{digest, hmac};

pub use crate::config::settings::auth::Digest;

const PREFIX: &str = "ak_";
/// Characters of an id.
const ID: usize = 12;
/// Characters of 32 bytes: 62^43 is a little more than 2^256.
const SECRET: usize = 43;
/// Characters of four bytes.
const CHECKSUM: usize = 6;
const BASE_62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key that was just made, to be shown once.
pub struct NewKey {
    /// Names its record.
    pub id: String,
    /// The whole key.
    pub key: Secret,
}

/// What can be seen in a key of the gateway's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed<'k> {
    /// Names its record, where that was made with it.
    pub id: &'k str,
    /// The checksum is that of what stands before it. A hint for the log: whoever makes keys up can make one up that fits.
    pub checksum_holds: bool,
}

/// Makes a key.
///
/// # Errors
/// The operating system has no random numbers.
pub fn make() -> Result<NewKey, ring::error::Unspecified> {
    let random = SystemRandom::new();
    let id = random_id(&random)?;
    let mut secret = [0; 32];
    random.fill(&mut secret)?;
    let mut key = format!("{PREFIX}{id}_");
    push_base_62(&secret, SECRET, &mut key);
    let checksum = crc_32(key.as_bytes());
    push_base_62(&checksum.to_be_bytes(), CHECKSUM, &mut key);
    Ok(NewKey { id, key: key.into() })
}

/// Each of the characters is as likely as any other: bytes that would favour some are drawn again.
fn random_id(random: &SystemRandom) -> Result<String, ring::error::Unspecified> {
    let mut id = String::with_capacity(ID);
    while id.len() < ID {
        let mut bytes = [0; 16];
        random.fill(&mut bytes)?;
        let fair = bytes.iter().filter(|byte| **byte < 4 * 62);
        id.extend(fair.take(ID - id.len()).map(|byte| BASE_62[usize::from(*byte) % 62] as char));
    }
    Ok(id)
}

/// What is seen in a key of the gateway's own; `None` for all others.
pub fn parse(key: &str) -> Option<Parsed<'_>> {
    let (id, rest) = key.strip_prefix(PREFIX)?.split_once('_')?;
    let base_62 =
        |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if !base_62(id, ID) || !base_62(rest, SECRET + CHECKSUM) {
        return None;
    }
    let (before, checksum) = key.split_at(key.len() - CHECKSUM);
    let mut expected = String::with_capacity(CHECKSUM);
    push_base_62(&crc_32(before.as_bytes()).to_be_bytes(), CHECKSUM, &mut expected);
    Some(Parsed { id, checksum_holds: checksum == expected })
}

/// A secret of the gateway that keys are hashed with, so that digests alone do not even tell a weak key.
#[derive(Clone)]
pub struct Pepper(hmac::Key);

impl Pepper {
    /// Of at least 32 bytes.
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// HMAC-SHA-256 of the key as it was presented, after the prefix.
    pub fn code(&self, presented: &[u8]) -> [u8; 32] {
        array(hmac::sign(&self.0, presented).as_ref())
    }
}

/// SHA-256 of the key as it was presented, after the prefix.
pub fn sha256(presented: &[u8]) -> [u8; 32] {
    array(digest::digest(&digest::SHA256, presented).as_ref())
}

/// Likewise SHA-512.
pub fn sha512(presented: &[u8]) -> [u8; 64] {
    array(digest::digest(&digest::SHA512, presented).as_ref())
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

/// A number, big-endian, in so many digits of base 62.
fn push_base_62(number: &[u8], digits: usize, out: &mut String) {
    let mut number = number.to_vec();
    let mut text = vec![b'0'; digits];
    for digit in text.iter_mut().rev() {
        let mut rest = 0u32;
        for byte in &mut number {
            let all = rest << 8 | u32::from(*byte);
            *byte = (all / 62) as u8;
            rest = all % 62;
        }
        *digit = BASE_62[rest as usize];
    }
    out.extend(text.into_iter().map(char::from));
}

/// CRC-32/ISO-HDLC, bit by bit: a key is short.
fn crc_32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_new_key_is_of_its_own_form() {
        let keys: Vec<NewKey> = (0..200).map(|_| make().unwrap()).collect();
        let form = regex::Regex::new(r"\Aak_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}\z").unwrap();
        for NewKey { id, key } in &keys {
            assert!(form.is_match(key), "{}", key.as_str());
            assert_eq!(parse(key), Some(Parsed { id, checksum_holds: true }));
        }
        let different = |of: fn(&NewKey) -> &str| keys.iter().map(of).collect::<HashSet<_>>().len();
        assert_eq!((different(|key| &key.id), different(|key| &key.key)), (200, 200));
        // Every character comes up, at the ends of ids and of secrets too.
        let seen: HashSet<char> = keys.iter().flat_map(|key| key.id.chars()).collect();
        assert_eq!(seen.len(), 62);
    }

    #[test]
    fn what_is_changed_in_a_key_is_seen_in_its_checksum() {
        let NewKey { key, .. } = make().unwrap();
        for (at, old) in key.char_indices().filter(|(_, c)| c.is_ascii_alphanumeric()).skip(2) {
            for new in ['0', 'z'].into_iter().filter(|new| *new != old) {
                let mut other = key.to_string();
                other.replace_range(at..=at, new.encode_utf8(&mut [0; 4]));
                let seen = parse(&other).map(|parsed| parsed.checksum_holds);
                assert_eq!(seen, Some(false), "{new} at {at}");
            }
        }
    }

    #[test]
    fn what_is_no_key_of_ours_is_none() {
        let NewKey { key, .. } = make().unwrap();
        let secret = &key[16..];
        for text in [
            String::new(),
            "ak_".to_owned(),
            key.to_uppercase(),
            format!("{}x", key.as_str()),
            format!(" {}", key.as_str()),
            format!("{}\n", key.as_str()),
            key[..64].to_owned(),
            key.replacen("ak_", "sk_", 1),
            format!("ak_short_{secret}"),
            format!("ak_0123456789é_{secret}"),
            format!("ak_0123456789ab{secret}"),
            key.replace('_', "-"),
            "é".repeat(40),
        ] {
            assert_eq!(parse(&text), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_written_in_base_62() {
        let written = |number: &[u8], digits| {
            let mut out = String::new();
            push_base_62(number, digits, &mut out);
            out
        };
        assert_eq!(written(&[0, 0, 0, 61], 6), "00000z");
        assert_eq!(written(&[0, 0, 0, 62], 6), "000010");
        assert_eq!(written(&u32::MAX.to_be_bytes(), 6), "4gfFC3");
        // 2^256 - 1 has 43 digits, and is the largest that fits.
        assert_eq!(written(&[0xff; 32], 43).len(), 43);
        assert_ne!(&written(&[0xff; 32], 43)[..1], "0");
        assert_eq!(written(&[0xff; 32], 44)[..1], *"0");
        // The check value of the algorithm's catalogue.
        assert_eq!(crc_32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn digests_are_those_of_the_standards() {
        // FIPS 180-4, RFC 4231 test case 2.
        assert_eq!(
            Digest::Sha256(sha256(b"abc")).to_string(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(
            Digest::Sha512(sha512(b"abc")).to_string().starts_with("sha512:ddaf35a193617abacc417349ae204131")
        );
        let code = Pepper::new(b"Jefe").code(b"what do ya want for nothing?");
        let digest = Digest::HmacSha256 { pepper: "p1".into(), code };
        assert_eq!(
            digest.to_string(),
            "hmac-sha256:p1:5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        for digest in [Digest::Sha256(sha256(b"a")), Digest::Sha512(sha512(b"a")), digest] {
            assert_eq!(Digest::parse(&digest.to_string()).as_ref(), Ok(&digest));
            assert!(!format!("{digest:?}").contains(':'), "{digest:?}");
        }
    }
}
