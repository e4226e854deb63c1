//! Where the keys of token issuers come from: discovery, a key set over HTTP, and what each may look like.
//!
//! Owns the two requests that it takes and the reading of their answers. Refuses redirects, encodings, documents above 1 MiB,
//! metadata of another issuer, and keys that would come in clear from another machine. Decides neither when keys are fetched
//! nor how long they are kept: that is the identity actor's, which drives it.

mod discovery;
mod fetcher;
mod freshness;

pub use self::fetcher::HttpFetcher;
