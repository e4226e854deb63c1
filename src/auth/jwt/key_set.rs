//! The keys of an issuer: which of them fit a token.

use std::fmt;

use aegis_actors::identity::Keys;
use jsonwebtoken::{AlgorithmFamily, DecodingKey, DecodingKeyKind};
use ring::digest;

use crate::config::settings::auth::issuers::Algorithm;

/// More keys than that are not looked at.
pub(super) const MOST_KEYS: usize = 100;
/// The most signatures that are tried for a token that does not say which key it is of.
pub(super) const MOST_TRIES: usize = 8;

/// One key.
#[derive(Clone)]
pub(super) struct Key {
    pub kid: Option<String>,
    /// What it may verify.
    pub algorithms: Vec<Algorithm>,
    pub key: DecodingKey,
}

impl Key {
    /// SHA-256 of the key itself, to tell whether it is another.
    fn digest(&self) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        match self.key.kind() {
            DecodingKeyKind::SecretOrDer(bytes) => context.update(bytes),
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                // The exponent's length keeps the two apart.
                context.update(&[u8::try_from(e.len()).unwrap_or(u8::MAX)]);
                context.update(e);
                context.update(n);
            }
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        bytes
    }
}

/// Two are the same where they verify the same tokens.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        (&self.kid, &self.algorithms, self.digest()) == (&other.kid, &other.algorithms, other.digest())
    }
}

/// Without the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

/// Why a key of a set is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its place in the set, from 0.
    pub number: usize,
    /// What it is called.
    pub kid: Option<String>,
    /// What is wrong with it.
    pub why: &'static str,
}

/// On one line: what a provider has written is quoted and cut.
impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kid {
            Some(kid) => write!(f, "key {:?} {}", kid.chars().take(64).collect::<String>(), self.why),
            None => write!(f, "key number {} {}", self.number + 1, self.why),
        }
    }
}

/// Keys of one issuer. Two sets are equal where they verify the same tokens.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    pub(super) keys: Vec<Key>,
    pub(super) skipped: Vec<Skipped>,
}

impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        self.keys == other.keys
    }
}

/// Which keys may have signed a token.
pub(super) enum Choice<'k> {
    /// These, to be tried in turn.
    Of(Vec<&'k Key>),
    /// There is none of this `kid`.
    Unknown,
    /// The keys that there are cannot have made it.
    Unfit,
}

impl KeySet {
    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none that can be used.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Keys that were there and cannot be used.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Whether one of the keys can verify this.
    pub(super) fn serves(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|key| key.algorithms.contains(&algorithm))
    }

    /// By `kid` where the token has one and a key has it; else every key that fits: where the token has one that no key has,
    /// those without any (PEM texts have none).
    pub(super) fn choose(&self, kid: Option<&str>, algorithm: Algorithm) -> Choice<'_> {
        let named = kid.filter(|kid| self.knows(kid));
        let wanted = |key: &&Key| match (named, kid) {
            (Some(named), _) => key.kid.as_deref() == Some(named),
            (None, Some(_)) => key.kid.is_none(),
            (None, None) => true,
        };
        let fits = |key: &&Key| key.algorithms.contains(&algorithm);
        let chosen: Vec<&Key> = self.keys.iter().filter(wanted).filter(fits).take(MOST_TRIES).collect();
        match (chosen.is_empty(), named, kid) {
            (false, ..) => Choice::Of(chosen),
            (true, None, Some(_)) => Choice::Unknown,
            (true, ..) => Choice::Unfit,
        }
    }
}

/// So that the actor can tell sets apart.
impl Keys for KeySet {
    fn knows(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    fn count(&self) -> usize {
        self.len()
    }
}

impl Algorithm {
    /// The library's own name for it.
    pub(super) fn of_library(self) -> jsonwebtoken::Algorithm {
        use jsonwebtoken::Algorithm as Library;
        match self {
            Self::Hs256 => Library::HS256,
            Self::Hs384 => Library::HS384,
            Self::Hs512 => Library::HS512,
            Self::Rs256 => Library::RS256,
            Self::Rs384 => Library::RS384,
            Self::Rs512 => Library::RS512,
            Self::Ps256 => Library::PS256,
            Self::Ps384 => Library::PS384,
            Self::Ps512 => Library::PS512,
            Self::Es256 => Library::ES256,
            Self::Es384 => Library::ES384,
            Self::EdDsa => Library::EdDSA,
        }
    }

    /// The kind of key that it needs.
    pub(super) fn family(self) -> AlgorithmFamily {
        self.of_library().family()
    }
}
