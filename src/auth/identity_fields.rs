//! The fields that tell upstreams who it is: which they are, whatever their spelling, and what they say.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::Value;

use super::identity::Identity;
use crate::config::settings::auth::{Auth as Settings, ClaimPath, IdentityHeaders, folded};

/// See the module.
pub struct IdentityFields {
    names: IdentityHeaders,
    claims: Vec<(String, ClaimPath)>,
    /// What no client may send: those above and the default ones, in lower case, `-` for what is no letter or digit.
    taken: Vec<Box<str>>,
    /// A bit for each length that one of them has: nearly every field is told from them by that.
    lengths: u64,
}

impl IdentityFields {
    /// Of `auth`, be it enabled or not.
    pub fn new(settings: &Settings) -> Self {
        let defaults = IdentityHeaders::default();
        let claims = settings.claim_headers.iter().map(|(name, _)| name.as_str());
        let names = defaults.names().chain(settings.identity_headers.names()).chain(claims);
        let mut taken: Vec<Box<str>> =
            names.map(|name| name.bytes().map(folded).map(char::from).collect()).collect();
        taken.sort_unstable();
        taken.dedup();
        let lengths = taken.iter().fold(0, |lengths, name| lengths | bit(name.len()));
        Self {
            names: settings.identity_headers.clone(),
            claims: settings.claim_headers.clone(),
            taken,
            lengths,
        }
    }

    /// Whether an upstream could take a field of that name for one of them: CGI folds `-` and `_`, PHP dots too.
    pub fn is_one(&self, name: &str) -> bool {
        let same = |taken: &str| taken.len() == name.len() && name.bytes().map(folded).eq(taken.bytes());
        self.lengths & bit(name.len()) != 0 && self.taken.iter().any(|taken| same(taken))
    }

    /// Whether it can be told in fields: what they would say has no control characters.
    pub fn can_tell(&self, identity: &Identity) -> bool {
        let is_plain = |text: &str| !text.contains(char::is_control);
        let claims = self.claims.iter().filter_map(|(_, path)| path.find(identity.claims.as_ref()?));
        is_plain(&identity.user)
            && identity.email.as_deref().is_none_or(is_plain)
            && identity.tier.as_deref().is_none_or(is_plain)
            && identity.roles.iter().all(|role| is_plain(role))
            && claims.filter_map(said).all(|text| is_plain(&text))
    }

    /// Gives each of them that there is something to say in to `write`.
    pub fn tell(&self, identity: &Identity, mut write: impl FnMut(&str, &[u8])) {
        let mut tell = |name: &str, text: &str| {
            if !name.is_empty() {
                write(name, text.as_bytes());
            }
        };
        tell(&self.names.user, &sendable(&identity.user));
        identity.email.iter().for_each(|email| tell(&self.names.email, &sendable(email)));
        identity.tier.iter().for_each(|tier| tell(&self.names.tier, &sendable(tier)));
        match &*identity.roles {
            [] => {}
            [one] => tell(&self.names.roles, &item(one)),
            many => {
                tell(&self.names.roles, &many.iter().map(|role| item(role)).collect::<Vec<_>>().join(","))
            }
        }
        tell(&self.names.kind, identity.kind.as_str());
        for (name, path) in &self.claims {
            let found = identity.claims.as_ref().and_then(|claims| path.find(claims));
            found.and_then(said).iter().for_each(|text| tell(name, text));
        }
    }
}

/// A claim as a field says it; objects cannot be.
fn said(claim: &Value) -> Option<Cow<'_, str>> {
    match claim {
        Value::String(text) => Some(sendable(text)),
        Value::Bool(_) | Value::Number(_) => Some(claim.to_string().into()),
        Value::Array(list) => {
            let one = |one: &Value| match one {
                Value::String(text) => Some(item(text).into_owned()),
                other => said(other).map(|text| item(&text).into_owned()),
            };
            let items: Option<Vec<_>> = list.iter().map(one).collect();
            items.map(|items| items.join(",").into())
        }
        Value::Null | Value::Object(_) => None,
    }
}

/// One of several that are joined by commas.
fn item(text: &str) -> Cow<'_, str> {
    encoded(text, |byte| byte == b',')
}

/// As the only value of a field.
fn sendable(text: &str) -> Cow<'_, str> {
    encoded(text, |_| false)
}

/// Percent-encoded, as UTF-8, where a field could not hold it so that the service reads the same name: what is not ASCII
/// (RFC 9110, section 5.5), spaces at its ends, which fields lose (section 5.5), `%` itself, and what is `special`.
fn encoded(text: &str, special: impl Fn(u8) -> bool) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii() && byte != b'%' && !special(byte);
    let inner = text.trim_matches(' ');
    if inner.len() == text.len() && text.bytes().all(is_plain) {
        return text.into();
    }
    let lead = text.len() - text.trim_start_matches(' ').len();
    let inside = lead..lead + inner.len();
    let mut out = String::with_capacity(text.len() * 2);
    for (at, byte) in text.bytes().enumerate() {
        match inside.contains(&at) && is_plain(byte) {
            true => out.push(byte.into()),
            false => drop(write!(out, "%{byte:02X}")),
        }
    }
    out.into()
}

fn bit(length: usize) -> u64 {
    1 << length.min(63)
}
