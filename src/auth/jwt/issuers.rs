//! Whose tokens are taken: the entries of the configuration, made ready, and which of them a token belongs to.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use aegis_actors::identity::{Provider, Remote};
use jsonwebtoken::{AlgorithmFamily, DecodingKey, Validation};

use super::jwk::LARGEST;
use super::key_set::{Key, KeySet};
use super::{Claims, Fault, Token, over_ring, pem};
use crate::config::regular;
use crate::config::settings::auth::issuers::{Algorithm, ClaimPaths, Issuer, Terms, secret_bytes};

/// An issuer that publishes its keys, with what it has published.
pub type KeyProvider = Provider<KeySet>;

/// Whose keys an entry has.
#[derive(Clone, Debug)]
pub enum Source {
    /// They are written, and here.
    Written(Arc<KeySet>),
    /// They are fetched, by the identity actor.
    Published(Arc<KeyProvider>),
}

/// One issuer.
#[derive(Debug)]
pub struct Entry {
    pub(super) name: String,
    pub(super) issuer: Option<String>,
    /// `None`: whoever they are for.
    pub(super) audience: Option<Vec<String>>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) types: Vec<String>,
    /// Tokens without `typ` pass.
    pub(super) untyped: bool,
    pub(super) claims: ClaimPaths,
    /// Seconds.
    pub(super) tolerance: u64,
    /// Seconds.
    pub(super) max_lifetime: Option<u64>,
    keys: Source,
    /// One for each family: the library refuses every token where algorithms of two are allowed.
    validations: Vec<(AlgorithmFamily, Validation)>,
}

/// What is wrong with an entry's keys, or not as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// Which key of the configuration: `auth.issuers[NAME].jwksFile`.
    pub key: String,
    /// Else it works, but probably not as meant.
    pub is_error: bool,
    /// What is wrong, and how to mend it.
    pub what: String,
}

/// Every issuer whose tokens are taken.
#[derive(Debug, Default)]
pub struct Issuers {
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
    by_issuer: HashMap<String, usize>,
    /// The entry that takes what no other claims.
    rest: Option<usize>,
}

impl Issuers {
    /// Makes entries ready, each with where it is written; files with keys are read. An issuer that was there `before` under
    /// the same name, and publishes its keys at the same place, keeps those that it has. The second part are warnings.
    ///
    /// # Errors
    /// Everything that is wrong with keys, warnings included.
    pub fn build(
        entries: &[(String, Issuer)],
        before: Option<&Self>,
    ) -> Result<(Self, Vec<Unfit>), Vec<Unfit>> {
        over_ring::install();
        let (mut issuers, mut unfit) = (Self::default(), Vec::new());
        for (number, (at, issuer)) in entries.iter().enumerate() {
            let entry = Entry::of(at, issuer, before, &mut unfit);
            match &entry.issuer {
                Some(issuer) => drop(issuers.by_issuer.insert(issuer.clone(), number)),
                None => issuers.rest = Some(number),
            }
            issuers.by_name.insert(entry.name.clone(), number);
            issuers.entries.push(entry);
        }
        if unfit.iter().any(|unfit| unfit.is_error) { Err(unfit) } else { Ok((issuers, unfit)) }
    }

    /// Reads a token and finds its entry, without looking at anybody's keys.
    ///
    /// # Errors
    /// It is no token that can be read in one way only, or nobody's.
    pub fn read<'t>(&self, text: &'t str) -> Result<Token<'t>, Fault> {
        let mut token = Token::parse(text)?;
        let named = token.issuer()?.and_then(|issuer| self.by_issuer.get(issuer).copied());
        token.entry = named.or(self.rest).ok_or(Fault::Invalid("its `iss` is nobody's"))?;
        Ok(token)
    }

    /// Verifies a token with keys of its entry; `now` is in seconds since 1970.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn verify(&self, token: &Token<'_>, keys: &KeySet, now: u64) -> Result<Claims, Fault> {
        let entry = self.entries.get(token.entry).ok_or(Fault::Invalid("its `iss` is nobody's"))?;
        entry.verify(token, keys, now)
    }

    /// Every entry, by its number.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Those whose keys are fetched.
    pub fn providers(&self) -> impl Iterator<Item = &Arc<KeyProvider>> {
        self.entries.iter().filter_map(|entry| match &entry.keys {
            Source::Published(provider) => Some(provider),
            Source::Written(_) => None,
        })
    }

    /// The entry of this name.
    pub fn named(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }
}

impl Entry {
    fn of(at: &str, issuer: &Issuer, before: Option<&Issuers>, unfit: &mut Vec<Unfit>) -> Self {
        let Issuer { name, terms } = issuer;
        let keys = match terms.is_remote() {
            true => Source::Published(published(name, terms, before)),
            false => Source::Written(Arc::new(written(at, terms, unfit))),
        };
        let algorithms = algorithms(at, terms, &keys, unfit);
        let mut families = Vec::new();
        for family in algorithms.iter().map(|algorithm| algorithm.family()) {
            if !families.contains(&family) {
                families.push(family);
            }
        }
        let validations = families.into_iter().map(|family| (family, validation(terms, &algorithms, family)));
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Self {
            name: name.clone(),
            issuer: terms.issuer.clone(),
            audience: (!terms.insecure_skip_audience).then(|| terms.audience.clone()),
            types: if terms.typ.is_empty() { texts(&["jwt", "at+jwt"]) } else { terms.typ.clone() },
            untyped: terms.typ.is_empty(),
            claims: terms.claim_paths(),
            tolerance: terms.clock_tolerance.as_secs(),
            max_lifetime: Some(terms.max_lifetime.as_secs()).filter(|longest| *longest > 0),
            keys,
            validations: validations.collect(),
            algorithms,
        }
    }

    /// As routes name it: `jwt:NAME`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose keys it has.
    pub fn keys(&self) -> &Source {
        &self.keys
    }

    /// The keys that it has now, and the number of that set. `None`: they have never been fetched.
    pub fn current(&self) -> (Option<Arc<KeySet>>, u64) {
        match &self.keys {
            Source::Written(set) => (Some(set.clone()), 0),
            Source::Published(provider) => {
                let current = provider.current();
                (current.keys.clone(), current.generation)
            }
        }
    }

    /// Another number with every other set of keys.
    pub fn generation(&self) -> u64 {
        match &self.keys {
            Source::Written(_) => 0,
            Source::Published(provider) => provider.current().generation,
        }
    }

    pub(super) fn validation(&self, algorithm: Algorithm) -> Option<&Validation> {
        self.validations
            .iter()
            .find(|(family, _)| *family == algorithm.family())
            .map(|(_, validation)| validation)
    }
}

/// The provider of an entry, the one that was there before where it is the same.
fn published(name: &str, terms: &Terms, before: Option<&Issuers>) -> Arc<KeyProvider> {
    let Terms { issuer, jwks_uri, ca_file, .. } = terms;
    let remote = Remote { issuer: issuer.clone(), jwks_uri: jwks_uri.clone(), ca_file: ca_file.clone() };
    let mut known = before.into_iter().flat_map(Issuers::providers);
    let same = known.find(|known| known.name == name && known.remote == remote);
    same.cloned().unwrap_or_else(|| Provider::new(name, remote))
}

/// What the library checks, once more.
fn validation(terms: &Terms, algorithms: &[Algorithm], family: AlgorithmFamily) -> Validation {
    let mut validation = Validation::new_for_family(family);
    validation.algorithms =
        algorithms.iter().filter(|one| one.family() == family).map(|one| one.of_library()).collect();
    let mut required = vec!["exp"];
    if let Some(issuer) = &terms.issuer {
        validation.set_issuer(&[issuer]);
        required.push("iss");
    }
    validation.validate_aud = !terms.insecure_skip_audience;
    if validation.validate_aud {
        validation.set_audience(&terms.audience);
        required.push("aud");
    }
    validation.set_required_spec_claims(&required);
    // By our own clock, and last of all.
    validation.validate_exp = false;
    validation
}

/// The keys that are written.
fn written(at: &str, terms: &Terms, unfit: &mut Vec<Unfit>) -> KeySet {
    let mut set = KeySet::default();
    let mut wrong =
        |key: String, is_error, what| unfit.push(Unfit { key: format!("{at}.{key}"), is_error, what });
    let listed = terms.public_keys.iter().enumerate();
    let listed = listed.map(|(number, text)| (format!("publicKeys[{number}]"), text));
    for (key, text) in listed.chain(terms.public_key.iter().map(|text| ("publicKey".to_owned(), text))) {
        match pem::keys(text) {
            Ok(keys) => set.keys.extend(keys),
            Err(why) => wrong(key, true, why.to_owned()),
        }
    }
    if let Some(file) = &terms.jwks_file {
        let name = file.display();
        match jwks_of(file) {
            Err(why) => wrong("jwksFile".to_owned(), true, format!("{name} cannot be used: it {why}")),
            Ok(read) if read.is_empty() => {
                let why = read.skipped.first().map_or("it has none".to_owned(), ToString::to_string);
                wrong("jwksFile".to_owned(), true, format!("{name} holds no key that can be used: {why}"));
            }
            Ok(read) => {
                let skipped = |skipped| (format!("{name}: {skipped}, and is left out"), false);
                read.skipped
                    .iter()
                    .map(skipped)
                    .for_each(|(what, error)| wrong("jwksFile".to_owned(), error, what));
                set.keys.extend(read.keys);
            }
        }
    }
    let secret = terms.secret.as_deref().and_then(secret_bytes);
    if let Some((secret, Ok(key))) = secret.map(|secret| (secret.len(), DecodingKey::from_secret(&secret))) {
        let long_enough = |one: &Algorithm| one.hmac_bytes().is_some_and(|least| least <= secret);
        let hmac = [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512].into_iter().filter(long_enough);
        set.keys.push(Key { kid: None, algorithms: hmac.collect(), key });
    }
    set
}

fn jwks_of(file: &Path) -> Result<KeySet, String> {
    let mut text = Vec::new();
    // One byte more than may be there shows that it is too large.
    let read = regular(file).and_then(|file| file.take(LARGEST as u64 + 1).read_to_end(&mut text));
    read.map_err(|error| format!("cannot be read: {error}"))?;
    KeySet::from_jwks(&text).map_err(str::to_owned)
}

/// Those that are written, else all that the kinds of keys allow.
fn algorithms(at: &str, terms: &Terms, keys: &Source, unfit: &mut Vec<Unfit>) -> Vec<Algorithm> {
    let serves = |algorithm: Algorithm| match keys {
        Source::Written(set) => set.serves(algorithm),
        Source::Published(_) => !algorithm.is_hmac(),
    };
    if terms.algorithms.is_empty() {
        return Algorithm::all().filter(|algorithm| serves(*algorithm)).collect();
    }
    // Where no key could be read, that was reported.
    let any = Algorithm::all().any(serves);
    for algorithm in terms.algorithms.iter().filter(|algorithm| any && !serves(**algorithm)) {
        let what = format!(
            "holds {}, and none of the keys can verify it: remove it, or add a key that can",
            algorithm.as_str()
        );
        unfit.push(Unfit { key: format!("{at}.algorithms"), is_error: true, what });
    }
    terms.algorithms.clone()
}
