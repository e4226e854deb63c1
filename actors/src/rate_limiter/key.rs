//! Who is charged: verified facts only.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::settings::KeyStrategy;

/// What makes two requests the same client to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedBy {
    pub strategy: KeyStrategy,
    /// Leading bits of an IPv6 address that count.
    pub ipv6_prefix: u8,
}

/// Whom a limit counts for, borrowed from the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key<'a> {
    pub subject: Subject<'a>,
    /// The route's pattern, for limits that count each route by itself.
    pub endpoint: Option<&'a str>,
}

/// The client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject<'a> {
    /// An address, of which only the network counts for IPv6.
    Address(IpAddr),
    /// A verified user.
    User(&'a str),
    /// One whom a token names: who has issued it, and the name.
    TokenUser(&'a str, &'a str),
    /// The id of a verified API key.
    ApiKey(&'a str),
    /// Everybody together.
    Everybody,
}

impl Subject<'_> {
    /// An address as limits see it: IPv4 also where it comes mapped into IPv6, of any other IPv6 address the first
    /// `prefix` bits.
    pub fn address(address: IpAddr, prefix: u8) -> Subject<'static> {
        Subject::Address(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix.clamp(1, 128))).unwrap_or(u128::MAX);
                Ipv6Addr::from_bits(v6.to_bits() & mask).into()
            }
            v4 => v4,
        })
    }
}

/// Names a bucket on every instance alike: printable ASCII without spaces or braces, bounded in length.
impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subject {
            Subject::Address(address) => write!(f, "ip:{address}")?,
            Subject::User(user) => write!(f, "user:{}", Escaped(user))?,
            // The first is a label, which has no colon.
            Subject::TokenUser(issuer, user) => write!(f, "token:{}:{}", Escaped(issuer), Escaped(user))?,
            Subject::ApiKey(key) => write!(f, "key:{}", Escaped(key))?,
            Subject::Everybody => f.write_str("all")?,
        }
        match self.endpoint {
            Some(endpoint) => write!(f, "@{}", Escaped(endpoint)),
            None => Ok(()),
        }
    }
}

/// A text with everything escaped that is not plain; what is too long ends in a digest of the whole.
struct Escaped<'a>(&'a str);

impl Escaped<'_> {
    const LONGEST: usize = 80;
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        let mut left = Self::LONGEST;
        for byte in self.0.bytes() {
            let plain = byte.is_ascii_alphanumeric() || b"._-:/*@".contains(&byte);
            let Some(rest) = left.checked_sub(if plain { 1 } else { 3 }) else {
                // FNV-1a, twice: the same on every instance.
                let fnv = |seed: u64, bytes: &mut dyn Iterator<Item = u8>| {
                    bytes.fold(seed, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
                };
                let forward = fnv(0xcbf2_9ce4_8422_2325, &mut self.0.bytes());
                let backward = fnv(0x8422_2325_cbf2_9ce4, &mut self.0.bytes().rev());
                return write!(f, "~{forward:016x}{backward:016x}");
            };
            left = rest;
            if plain {
                f.write_char(char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

/// A [`Key`] that outlives its request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnedKey {
    subject: OwnedSubject,
    endpoint: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum OwnedSubject {
    Address(IpAddr),
    User(Arc<str>),
    TokenUser(Arc<str>, Arc<str>),
    ApiKey(Arc<str>),
    Everybody,
}

impl From<Key<'_>> for OwnedKey {
    fn from(key: Key<'_>) -> Self {
        let subject = match key.subject {
            Subject::Address(address) => OwnedSubject::Address(address),
            Subject::User(user) => OwnedSubject::User(user.into()),
            Subject::TokenUser(issuer, user) => OwnedSubject::TokenUser(issuer.into(), user.into()),
            Subject::ApiKey(key) => OwnedSubject::ApiKey(key.into()),
            Subject::Everybody => OwnedSubject::Everybody,
        };
        Self { subject, endpoint: key.endpoint.map(Arc::from) }
    }
}

impl OwnedKey {
    /// The key as requests have it.
    pub fn as_key(&self) -> Key<'_> {
        let subject = match &self.subject {
            OwnedSubject::Address(address) => Subject::Address(*address),
            OwnedSubject::User(user) => Subject::User(user),
            OwnedSubject::TokenUser(issuer, user) => Subject::TokenUser(issuer, user),
            OwnedSubject::ApiKey(key) => Subject::ApiKey(key),
            OwnedSubject::Everybody => Subject::Everybody,
        };
        Key { subject, endpoint: self.endpoint.as_deref() }
    }
}

/// Groups that keys fall into. Where there is no room for a bucket of its own, a key shares one with those of its group.
pub const GROUPS: usize = 256;

/// Bits of a fingerprint that are not its group's.
const GROUP_SHIFT: u32 = 56;

/// The group of a fingerprint, below [`GROUPS`].
pub fn group(fingerprint: u64) -> usize {
    (fingerprint >> GROUP_SHIFT) as usize
}

/// Turns keys into fingerprints: 64 bits under a secret of this process, so that nobody can find two keys that share a
/// bucket. (By chance two of a million keys do with a probability of one in a hundred thousand.)
///
/// The first eight bits are the key's group: a flood of made-up addresses out of one network is one group, or a few, and
/// whoever comes from elsewhere is most likely in another. Users and API keys cannot be made up; they are in any.
#[derive(Clone, Debug)]
pub struct Fingerprints {
    secret: RandomState,
    /// For groups: that two networks are in the same is no secret worth a second hash.
    salt: u64,
}

impl Default for Fingerprints {
    fn default() -> Self {
        let secret = RandomState::new();
        Self { salt: secret.hash_one("groups"), secret }
    }
}

impl Fingerprints {
    /// The fingerprint of a key.
    pub fn of(&self, key: &Key<'_>) -> u64 {
        let hash = match key {
            // By far the most frequent, as one number. Everything else is hashed as more bytes than that.
            Key { subject: Subject::Address(IpAddr::V4(v4)), endpoint: None } => {
                self.secret.hash_one(v4.to_bits())
            }
            _ => self.secret.hash_one(key),
        };
        let network = match key.subject {
            Subject::Address(IpAddr::V4(v4)) => u64::from(v4.to_bits() >> 8),
            Subject::Address(IpAddr::V6(v6)) => (v6.to_bits() >> 80) as u64,
            Subject::User(_) | Subject::TokenUser(..) | Subject::ApiKey(_) | Subject::Everybody => {
                return hash;
            }
        };
        u64::from(spread(network ^ self.salt)) << GROUP_SHIFT | hash & ((1 << GROUP_SHIFT) - 1)
    }
}

/// Eight bits that depend on all bits of a number, so that neighbours are anywhere. The high bits of one product are not
/// enough: a factor that happens to lie near a simple fraction of 2⁶⁴ has networks in a row share a few groups.
fn spread(number: u64) -> u8 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let product = number.wrapping_mul(GOLDEN);
    ((product ^ product >> 32).wrapping_mul(GOLDEN) >> GROUP_SHIFT) as u8
}

/// Fingerprints are random already, but for their group: maps tell keys apart by the highest bits first, and where they
/// are by the lowest.
#[derive(Default)]
pub(super) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 << 16)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::Ipv4Addr;

    use super::*;

    fn address(text: &str, prefix: u8) -> String {
        Key { subject: Subject::address(text.parse().unwrap(), prefix), endpoint: None }.to_string()
    }

    #[test]
    fn ipv6_counts_by_prefix_and_mapped_ipv4_as_ipv4() {
        assert_eq!(address("2001:db8:1:2:3:4:5:6", 64), "ip:2001:db8:1:2::");
        assert_eq!(address("2001:db8:1:2:ffff::1", 64), "ip:2001:db8:1:2::");
        assert_eq!(address("2001:db8:1:2:3:4:5:6", 128), "ip:2001:db8:1:2:3:4:5:6");
        assert_eq!(address("2001:db8:1:2:3:4:5:6", 1), "ip:::");
        assert_eq!(address("::ffff:192.0.2.1", 64), "ip:192.0.2.1");
    }

    #[test]
    fn names_are_plain_bounded_and_different_for_different_keys() {
        let user = |user| Key { subject: Subject::User(user), endpoint: Some("/a b/**") }.to_string();
        assert_eq!(user("ann"), "user:ann@/a%20b/**");
        assert_eq!(user("{x}\r\n"), "user:%7Bx%7D%0D%0A@/a%20b/**");
        let long = "x".repeat(1000);
        let longer = "x".repeat(1001);
        assert!(user(&long).len() < 300 && user(&long) != user(&longer));
        assert_ne!(
            user("ann"),
            Key { subject: Subject::ApiKey("ann"), endpoint: Some("/a b/**") }.to_string()
        );
    }

    #[test]
    fn a_key_and_its_owned_form_are_the_same() {
        let key = Key { subject: Subject::User("ann"), endpoint: Some("/a") };
        assert_eq!(OwnedKey::from(key).as_key(), key);
        let prints = Fingerprints::default();
        assert_eq!(prints.of(&OwnedKey::from(key).as_key()), prints.of(&key));
    }

    #[test]
    fn networks_are_groups_and_spread_over_all_of_them() {
        let groups = |prints: Vec<u64>| prints.into_iter().map(group).collect::<HashSet<_>>().len();
        let v6 = |network: u128, rest: u128| Ipv6Addr::from_bits(network << 80 | rest);
        // Whatever the secret.
        for _ in 0..30 {
            let prints = Fingerprints::default();
            let of = |addresses: &mut dyn Iterator<Item = IpAddr>| {
                addresses
                    .map(|address| prints.of(&Key { subject: Subject::address(address, 64), endpoint: None }))
                    .collect::<Vec<u64>>()
            };
            let v4 = |bits: u32| IpAddr::from(Ipv4Addr::from_bits(bits));
            assert_eq!(groups(of(&mut (0..256).map(|host| v4(0xc000_0200 | host)))), 1, "a /24");
            for shift in [8, 12, 16] {
                let found = groups(of(&mut (0..4096).map(|net| v4(net << shift))));
                assert!(found > 240, "networks of IPv4, {shift} bits apart, fell into {found} groups");
            }
            for shift in [0, 8, 16, 32] {
                let found =
                    groups(of(&mut (0..4096).map(|net| v6(0x2001_0db8_0000 ^ net << shift, 0).into())));
                assert!(found > 240, "networks of IPv6, {shift} bits apart, fell into {found} groups");
            }
        }
        // The rest is as random as before.
        let prints = Fingerprints::default();
        let all: HashSet<u64> = (0..65_536)
            .map(|net| v6(0x2001_0db8_0000, net << 64).into())
            .map(|address| prints.of(&Key { subject: Subject::address(address, 64), endpoint: None }))
            .collect();
        assert_eq!(all.len(), 65_536);
        assert_eq!(all.iter().map(|print| group(*print)).collect::<HashSet<_>>().len(), 1, "a /48");
    }
}
