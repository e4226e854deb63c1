//! How a webhook is told: one POST on a connection of its own, and what its status means.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aegis_actors::TargetState;
use aegis_actors::alerts::{Delivery, Failure, Format, PostFuture, Poster, PosterFactory, Then, Webhook};
use aegis_schema::Secret;
use bytes::Bytes;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use url::Url;

use super::document;
use crate::config::settings::UpstreamTls;
use crate::gateway::request_body::RequestBody;
use crate::gateway::upstream::{
    Asked, Dialer, Exchange, Pool, RequestLines, TargetTls, Terms, client_config, why,
};

/// Sends to webhooks.
pub struct WebhookPoster {
    /// The name of this instance, for the receiver.
    instance: Arc<str>,
    /// Made for the first `https://` URL: it reads every certificate that the machine believes.
    tls: Rc<OnceCell<Arc<ClientConfig>>>,
}

impl WebhookPoster {
    /// Makes one on the alerts actor's thread.
    pub fn factory(instance: Arc<str>) -> PosterFactory {
        Box::new(move || Box::new(Self { instance, tls: Rc::default() }))
    }
}

impl Poster for WebhookPoster {
    fn post(&self, delivery: Delivery) -> PostFuture {
        let Delivery { webhook, alert, told } = delivery;
        let document = match webhook.format {
            Format::Json => document::json(&alert, told, &self.instance),
            Format::Slack => document::slack(&alert, told),
        };
        let tls = self.tls.clone();
        Box::pin(async move { send(&webhook, document.to_string().into(), &tls).await })
    }
}

/// Not taken, to be tried again.
fn again(what: impl Into<String>) -> Failure {
    Failure { what: what.into(), then: Then::Again }
}

async fn send(webhook: &Webhook, body: Bytes, made: &OnceCell<Arc<ClientConfig>>) -> Result<(), Failure> {
    let timeout = webhook.timeout;
    let url = Url::parse(&webhook.url).map_err(|_| again("its URL cannot be used"))?;
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port_or_known_default().unwrap_or(80);
    // Resolved each time: alerts are rare, and a receiver may have moved.
    let addresses: Vec<SocketAddr> = match tokio::net::lookup_host((host.as_str(), port)).await {
        Ok(found) => found.collect(),
        Err(error) => return Err(again(format!("its host name cannot be resolved: {error}"))),
    };
    let secure = url.scheme() == "https";
    let tls = if secure { Some(tls(&host, webhook.ca_file.as_deref(), made)?) } else { None };
    let shared = TargetState::new("alerts", &format!("{}://{host}:{port}", url.scheme()), addresses);
    let pool = Pool::new(Dialer::new(shared, tls, Terms::of(timeout)));
    let (lines, host) = head(&url, &webhook.headers);
    let body = Rc::new(RequestBody::whole(body));
    let exchange = Exchange::new(Asked::default(), Rc::new(lines), host, body.reader());
    let sent = pool.send(exchange.clone()).await;
    let (answer, _) = sent.map_err(|error| again(why(&error, &exchange)))?;
    judge(answer.status.as_u16(), answer.fields.text("retry-after"), SystemTime::now())
}

/// Of all tries the same, unless it cannot be made. A file of the webhook's own is read for each: it is small, and replaced
/// without a word to anybody.
fn tls(host: &str, ca_file: Option<&Path>, made: &OnceCell<Arc<ClientConfig>>) -> Result<TargetTls, Failure> {
    let settings = UpstreamTls { ca_file: ca_file.map(Path::to_owned), ..UpstreamTls::default() };
    let read = || client_config(&settings).map_err(|error| again(error.to_string()));
    let config = match (ca_file, made.get()) {
        (Some(_), _) => read()?,
        (None, Some(config)) => config.clone(),
        (None, None) => {
            let config = read()?;
            made.get_or_init(|| config).clone()
        }
    };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| again("its host is not a name that a certificate can be checked against"))?;
    Ok(TargetTls { config, name })
}

/// The request for such a URL with these fields, and its host.
fn head(url: &Url, more: &[(String, Secret)]) -> (RequestLines, Rc<str>) {
    let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let host = match (url.host_str().unwrap_or_default(), url.port()) {
        (host, None) => host.to_owned(),
        (host, Some(port)) => format!("{host}:{port}"),
    };
    let mut lines = RequestLines::new("POST", &target, 256);
    let own = [
        ("content-type", "application/json"),
        ("accept", "*/*"),
        ("user-agent", concat!("aegis/", env!("CARGO_PKG_VERSION"))),
        ("connection", "close"),
    ];
    let own = own.into_iter().filter(|(name, _)| more.iter().all(|(written, _)| written != name));
    let more = more.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in own.chain(more) {
        lines.fields().extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    (lines, host.into())
}

/// What an answer means. What is wrong with the message itself will be wrong the next time too; everything else may pass,
/// a redirect included, which is not followed: it could lead anywhere.
fn judge(status: u16, retry_after: Option<&str>, now: SystemTime) -> Result<(), Failure> {
    let then = match status {
        200..=299 => return Ok(()),
        408 | 429 | 503 => {
            retry_after.and_then(|wait| asked_wait(wait, now)).map_or(Then::Again, Then::After)
        }
        400..=499 => Then::GiveUp,
        _ => Then::Again,
    };
    let redirect = if (300..=399).contains(&status) { ", a redirect, which is not followed" } else { "" };
    Err(Failure { what: format!("status {status}{redirect}"), then })
}

/// `Retry-After`: seconds, or a date.
fn asked_wait(retry_after: &str, now: SystemTime) -> Option<Duration> {
    let text = retry_after.trim();
    match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn then(status: u16, retry_after: &str) -> Option<Then> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        judge(status, Some(retry_after).filter(|wait| !wait.is_empty()), now)
            .err()
            .map(|failure| failure.then)
    }

    #[test]
    fn what_is_believed_is_read_once() {
        let made = OnceCell::new();
        let (one, other) = (tls("one.test", None, &made).unwrap(), tls("other.test", None, &made).unwrap());
        assert!(Arc::ptr_eq(&one.config, &other.config) && one.name != other.name);
        assert!(tls("not a name", None, &made).is_err());
    }

    #[test]
    fn a_status_says_whether_to_try_again() {
        for status in [200, 201, 204] {
            assert_eq!(then(status, ""), None);
        }
        for status in [301, 302, 408, 429, 500, 502, 503] {
            assert_eq!(then(status, ""), Some(Then::Again), "{status}");
        }
        for status in [400, 401, 403, 404, 410] {
            assert_eq!(then(status, "5"), Some(Then::GiveUp), "{status}");
        }
    }

    #[test]
    fn a_receiver_may_say_when() {
        assert_eq!(then(429, "7"), Some(Then::After(Duration::from_secs(7))));
        assert_eq!(then(503, "Sun, 06 Nov 1994 08:49:37 GMT"), Some(Then::After(Duration::from_secs(7))));
        assert_eq!(then(503, "soon"), Some(Then::Again));
    }
}
