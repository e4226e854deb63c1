//! API keys, found by their digests.
//!
//! A key is looked up by what it digests to, under each algorithm that is in use, so no comparison tells how much of a key was
//! right, and keys that were made elsewhere are found like those made here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::UNIX_EPOCH;

use aegis_actors::rate_limiter::settings::Limit;
use ipnet::IpNet;

use super::api_key::{self, Digest, Pepper};
use super::identity::{Identity, Kind};
use super::rbac::{Permissions, RoleNames};
use crate::config::settings::auth::{ApiKey, ApiKeys};

/// Longer ones are nobody's, and would be digested for nothing.
const LONGEST: usize = 4096;

/// Every key of a configuration.
pub struct KeyTable {
    records: Vec<KeyRecord>,
    /// What stands in front of a key in its field.
    prefix: Box<[u8]>,
    sha256: HashMap<[u8; 32], u32>,
    sha512: HashMap<[u8; 64], u32>,
    /// One table for each pepper that is in use.
    peppered: Vec<(Pepper, HashMap<[u8; 32], u32>)>,
}

/// One key.
pub struct KeyRecord {
    pub identity: Identity,
    /// Its own limit.
    pub limit: Option<Limit>,
    active: bool,
    allowed: Box<[IpNet]>,
}

impl KeyTable {
    /// Of keys whose digests and ids differ.
    ///
    /// # Errors
    /// A pattern that `check` would have refused.
    pub fn build(settings: &ApiKeys, roles: &RoleNames) -> Result<Self, String> {
        let records = settings.keys.iter().map(|key| KeyRecord::of(key, roles));
        let mut table = Self {
            records: records.collect::<Result<_, _>>()?,
            prefix: settings.prefix.as_bytes().into(),
            sha256: HashMap::new(),
            sha512: HashMap::new(),
            peppered: Vec::new(),
        };
        let mut places: HashMap<&str, usize> = HashMap::new();
        let digests =
            settings.keys.iter().zip(0..).flat_map(|(key, at)| key.hashes.iter().map(move |hash| (hash, at)));
        for (digest, at) in digests {
            match digest {
                Digest::Sha256(digest) => drop(table.sha256.insert(*digest, at)),
                Digest::Sha512(digest) => drop(table.sha512.insert(*digest, at)),
                Digest::HmacSha256 { pepper: name, code } => {
                    let known = settings.peppers.iter().find(|(known, _)| known == name);
                    let Some((_, pepper)) = known else { continue };
                    let place = *places.entry(name).or_insert_with(|| {
                        table.peppered.push((Pepper::new(pepper.as_bytes()), HashMap::new()));
                        table.peppered.len() - 1
                    });
                    table.peppered[place].1.insert(*code, at);
                }
            }
        }
        Ok(table)
    }

    /// The record with that number.
    pub fn record(&self, at: u32) -> Option<&KeyRecord> {
        self.records.get(at as usize)
    }

    /// The key in a field's value: what is behind the prefix.
    pub fn behind_prefix<'a>(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        // A scheme in front of it is compared as schemes are (RFC 9110, section 11.1).
        let (prefix, key) = value.split_at_checked(self.prefix.len())?;
        prefix.eq_ignore_ascii_case(&self.prefix).then_some(key)
    }

    /// Whose key it is.
    ///
    /// # Errors
    /// Why it is nobody's, for the log: it is not known, or not to be used now or from this address.
    pub fn find(&self, presented: &[u8], client: IpAddr, now: u64) -> Result<u32, &'static str> {
        if presented.is_empty() || presented.len() > LONGEST {
            return Err("no key, or one that is too long");
        }
        let Some(at) = self.look_up(presented) else {
            // A typo is worth telling from a guess.
            let ours = std::str::from_utf8(presented).ok().and_then(api_key::parse);
            return Err(match ours {
                Some(parsed) if !parsed.checksum_holds => "a key with a typo: its checksum does not hold",
                _ => "a key that is not known",
            });
        };
        let record = &self.records[at as usize];
        if !record.active {
            return Err("a key that is not active");
        }
        if record.identity.expires_at.is_some_and(|end| end <= now) {
            return Err("a key that has expired");
        }
        let client = client.to_canonical();
        if !record.allowed.is_empty() && !record.allowed.iter().any(|net| net.contains(&client)) {
            return Err("a key that may not be used from this address");
        }
        Ok(at)
    }

    /// Every algorithm in use is computed and looked up.
    fn look_up(&self, presented: &[u8]) -> Option<u32> {
        let mut found = None;
        if !self.sha256.is_empty() {
            found = found.or(self.sha256.get(&api_key::sha256(presented)));
        }
        if !self.sha512.is_empty() {
            found = found.or(self.sha512.get(&api_key::sha512(presented)));
        }
        for (pepper, table) in &self.peppered {
            found = found.or(table.get(&pepper.code(presented)));
        }
        found.copied()
    }
}

impl KeyRecord {
    fn of(key: &ApiKey, roles: &RoleNames) -> Result<Self, String> {
        let boxed = |names: &[String]| names.iter().map(|name| Box::from(name.as_str())).collect();
        let metadata = key.metadata.iter().map(|(name, text)| (name.clone(), text.as_str().into()));
        let end = key.expires_at.and_then(|end| end.duration_since(UNIX_EPOCH).ok());
        let permissions =
            (!key.permissions.is_empty()).then(|| Permissions::build(&key.permissions)).transpose();
        let permissions = permissions.map_err(|problems| {
            let first = problems.first().map(|problem| format!("{}: {}", problem.path, problem.text));
            format!("auth.apiKey.keys[{}].permissions: {}", key.id, first.unwrap_or_default())
        })?;
        let identity = Identity {
            user: key.user().into(),
            roles: boxed(&key.roles),
            role_set: roles.effective(key.roles.iter().map(String::as_str)),
            scopes: boxed(&key.scopes),
            tier: key.tier.as_deref().map(Box::from),
            claims: (!key.metadata.is_empty()).then(|| Box::new(metadata.collect())),
            key_id: Some(key.id.as_str().into()),
            permissions: permissions.map(Box::new),
            expires_at: end.map(|end| end.as_secs()),
            ..Identity::nobody(Kind::ApiKey)
        };
        Ok(Self {
            identity,
            limit: key.rate_limit.clone(),
            active: key.active,
            allowed: key.allowed_ips.as_slice().into(),
        })
    }
}
