//! JSON Web Tokens (RFC 7519), verified: a text, keys and the time in, claims or a fault out.
//!
//! Tokens come from whoever likes. [`Issuers::read`] looks at the text alone (size, base64, JSON without a member twice, what
//! the header says) and finds the entry that it belongs to, by `iss` only. [`Issuers::verify`] checks the signature with keys
//! of that entry and then judges the claims. Nothing that a token says is fetched, opened or tried as a key: `jwk`, `jku`,
//! `x5c` and `x5u` are ignored. Keys of issuers that publish them are fetched by the identity actor; here they are read.
//!
//! ```text
//! token.rs   the strict pass over a text      json.rs   its JSON          issuers.rs   entries, built from settings
//! verify.rs  signature, then claims           claims.rs what is read of them
//! key_set.rs keys, by kid or all that fit     jwk.rs    keys of a JWKS    pem.rs       keys of PEM texts
//! over_ring.rs   the library's cryptography (ADR 0023)
//! ```

mod claims;
mod issuers;
mod json;
mod jwk;
mod key_set;
mod over_ring;
mod pem;
#[cfg(test)]
mod tests;
mod token;
mod verify;

pub use claims::{Claims, Confirmation};
pub use issuers::{Entry, Issuers, KeyProvider, Source, Unfit};
pub use key_set::{KeySet, Skipped};
pub use token::Token;

/// Why a token is not taken. All but [`Fault::Expired`] look the same from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is wrong; what is wrong, for the log.
    Invalid(&'static str),
    /// It was good, and its time is over: everything else has been checked.
    Expired,
    /// The set has no key of this `kid`: a newer one may have.
    UnknownKey {
        /// As the token says it: whoever sent it has chosen it.
        kid: String,
    },
    /// The set has no key at all.
    NoKeys,
}
