//! How keys are fetched: one GET for the key set, and one or two before it where its address is not written.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use aegis_actors::identity::{FETCH_TIMEOUT, FetchFuture, Fetched, Fetcher, FetcherFactory, Remote};
use url::Url;

use super::discovery;
use super::freshness::fresh_for;
use crate::auth::jwt::KeySet;
use crate::outbound::{Outbound, Request};

/// The largest document that is read.
const LARGEST: usize = 1024 * 1024;

/// Fetches key sets.
pub struct HttpFetcher(Rc<Outbound>);

impl HttpFetcher {
    /// Makes one on the identity actor's thread.
    pub fn factory() -> FetcherFactory<KeySet> {
        Box::new(|| Box::new(Self(Rc::new(Outbound::new("identity")))))
    }
}

impl Fetcher<KeySet> for HttpFetcher {
    fn fetch(&self, remote: Remote) -> FetchFuture<KeySet> {
        let outbound = self.0.clone();
        Box::pin(async move { fetch(&outbound, &remote).await })
    }
}

async fn fetch(outbound: &Outbound, remote: &Remote) -> Result<Fetched<KeySet>, String> {
    let ca_file = remote.ca_file.as_deref();
    let url = match (&remote.jwks_uri, &remote.issuer) {
        (Some(uri), _) => Url::parse(uri).map_err(|error| error.to_string())?,
        (None, Some(issuer)) => discover(outbound, issuer, ca_file).await?,
        (None, None) => return Err("it has no address".to_owned()),
    };
    let told = |why| format!("{} {why}", place(&url));
    let Found { body, fresh_for } =
        get(outbound, &url, ca_file).await.map_err(|failure| told(failure.what))?;
    let keys = KeySet::from_jwks(&body).map_err(|why| told(why.to_owned()))?;
    let left_out = keys.skipped().iter().map(ToString::to_string).collect();
    Ok(Fetched { keys, fresh_for, left_out })
}

/// Where the issuer says that its keys are. It is asked each time: it may have moved them.
async fn discover(outbound: &Outbound, issuer: &str, ca_file: Option<&Path>) -> Result<Url, String> {
    let [first, second] = discovery::places(issuer)?;
    let found = match get(outbound, &first, ca_file).await {
        // It has no such document, and may have the other.
        Err(Failure { answered: true, what }) => {
            let other = get(outbound, &second, ca_file).await;
            other
                .map_err(|other| format!("{} {what}, and {} {}", place(&first), place(&second), other.what))?
        }
        found => found.map_err(|failure| format!("{} {}", place(&first), failure.what))?,
    };
    discovery::jwks_uri(&found.body, issuer)
}

/// A document.
struct Found {
    body: Vec<u8>,
    /// How long it is good for, if it says so.
    fresh_for: Option<Duration>,
}

/// Why there is none.
struct Failure {
    what: String,
    /// With another status than 200.
    answered: bool,
}

async fn get(outbound: &Outbound, url: &Url, ca_file: Option<&Path>) -> Result<Found, Failure> {
    let failed = |what: String| Failure { what: format!("cannot be read: {what}"), answered: false };
    let fields = [
        ("accept", "application/json, application/jwk-set+json"),
        // Whatever else were sent could be larger than it looks.
        ("accept-encoding", "identity"),
        ("user-agent", concat!("aegis/", env!("CARGO_PKG_VERSION"))),
        ("connection", "close"),
    ];
    let connect_timeout = FETCH_TIMEOUT;
    let request = Request { method: "GET", url, fields: &fields, body: None, ca_file, connect_timeout };
    let answer = outbound.send(request).await.map_err(failed)?;
    match answer.head.status.as_u16() {
        200 => {}
        status @ 300..=399 => {
            let what = format!("answers with status {status}, a redirect, which is not followed");
            return Err(Failure { what, answered: true });
        }
        status => return Err(Failure { what: format!("answers with status {status}"), answered: true }),
    }
    if answer
        .head
        .fields
        .text("content-encoding")
        .is_some_and(|coding| !coding.eq_ignore_ascii_case("identity"))
    {
        return Err(failed("it is encoded, which was not asked for".to_owned()));
    }
    let control = answer.head.fields.joined("cache-control").unwrap_or_default();
    let fresh_for = fresh_for(&control, answer.head.fields.text("age"));
    let body = answer.collect(LARGEST).await.map_err(failed)?;
    Ok(Found { body, fresh_for })
}

/// Host and path, for a message: a query may hold a key of the provider's API.
fn place(url: &Url) -> String {
    format!("{}{}", &url[..url::Position::BeforePath], url.path())
}
