//! How a webhook is told: one POST on a connection of its own, and what its status means.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aegis_actors::alerts::{Delivery, Failure, Format, PostFuture, Poster, PosterFactory, Then, Webhook};
use bytes::Bytes;
use url::Url;

use super::document;
use crate::outbound::{Outbound, Request};

/// Sends to webhooks.
pub struct WebhookPoster {
    /// The name of this instance, for the receiver.
    instance: Arc<str>,
    outbound: Rc<Outbound>,
}

impl WebhookPoster {
    /// Makes one on the alerts actor's thread.
    pub fn factory(instance: Arc<str>) -> PosterFactory {
        Box::new(move || Box::new(Self { instance, outbound: Rc::new(Outbound::new("alerts")) }))
    }
}

impl Poster for WebhookPoster {
    fn post(&self, delivery: Delivery) -> PostFuture {
        let Delivery { webhook, alert, told } = delivery;
        let document = match webhook.format {
            Format::Json => document::json(&alert, told, &self.instance),
            Format::Slack => document::slack(&alert, told),
        };
        let outbound = self.outbound.clone();
        Box::pin(async move { send(&webhook, document.to_string().into(), &outbound).await })
    }
}

/// Not taken, to be tried again.
fn again(what: impl Into<String>) -> Failure {
    Failure { what: what.into(), then: Then::Again }
}

async fn send(webhook: &Webhook, body: Bytes, outbound: &Outbound) -> Result<(), Failure> {
    let url = Url::parse(&webhook.url).map_err(|_| again("its URL cannot be used"))?;
    let more = || webhook.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let own = [
        ("content-type", "application/json"),
        ("accept", "*/*"),
        ("user-agent", concat!("aegis/", env!("CARGO_PKG_VERSION"))),
        ("connection", "close"),
    ];
    let own = own.into_iter().filter(|(name, _)| more().all(|(written, _)| written != *name));
    let fields: Vec<(&str, &str)> = own.chain(more()).collect();
    let request = Request {
        method: "POST",
        url: &url,
        fields: &fields,
        body: Some(body),
        ca_file: webhook.ca_file.as_deref(),
        connect_timeout: webhook.timeout,
    };
    let answer = outbound.send(request).await.map_err(again)?;
    judge(answer.head.status.as_u16(), answer.head.fields.text("retry-after"), SystemTime::now())
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
