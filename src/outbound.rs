//! Requests of the gateway's own to URLs of its configuration, each on a connection of its own.
//!
//! They go through the transport towards upstreams. Names are looked up each time, for such requests are rare and whoever is
//! asked may have moved. Redirects are not followed: they could lead anywhere. What is wrong is said in words for operators
//! that hold nothing of a URL but its host.

use std::cell::OnceCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aegis_actors::TargetState;
use bytes::Bytes;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use url::Url;

use crate::config::settings::UpstreamTls;
use crate::gateway::request_body::RequestBody;
use crate::gateway::upstream::{
    Asked, Body, Dialer, Exchange, Head, Pool, RequestLines, TargetTls, Terms, Transfer, client_config, why,
};

/// One request.
pub struct Request<'r> {
    pub method: &'static str,
    pub url: &'r Url,
    /// All of its fields but `Host` and framing.
    pub fields: &'r [(&'r str, &'r str)],
    pub body: Option<Bytes>,
    /// Whom to believe, if not the usual roots.
    pub ca_file: Option<&'r Path>,
    /// For the connection and its handshake.
    pub connect_timeout: Duration,
}

/// An answer whose body has not been read.
pub struct Answer {
    pub head: Head,
    body: Body,
    /// Whose connection it is.
    _pool: Pool,
}

/// Sends requests; one for each kind of them, on its thread.
pub struct Outbound {
    /// What its connections go by.
    name: &'static str,
    /// Made for the first `https://` URL: it reads every certificate that the machine believes.
    tls: OnceCell<Arc<ClientConfig>>,
}

impl Outbound {
    /// Has sent nothing yet.
    pub fn new(name: &'static str) -> Self {
        Self { name, tls: OnceCell::new() }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn send(&self, request: Request<'_>) -> Result<Answer, String> {
        let Request { method, url, fields, body, ca_file, connect_timeout } = request;
        let host =
            url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = url.port_or_known_default().unwrap_or(80);
        let addresses: Vec<SocketAddr> = match tokio::net::lookup_host((host.as_str(), port)).await {
            Ok(found) => found.collect(),
            Err(error) => return Err(format!("its host name cannot be resolved: {error}")),
        };
        let tls = if url.scheme() == "https" { Some(self.tls(&host, ca_file)?) } else { None };
        let shared = TargetState::new(self.name, &format!("{}://{host}:{port}", url.scheme()), addresses);
        let pool = Pool::new(Dialer::new(shared, tls, Terms::of(connect_timeout)));
        let (lines, host) = head(method, url, fields);
        let body = body.map(|body| Rc::new(RequestBody::whole(body)));
        let reader = body.as_ref().and_then(|body| body.reader());
        let exchange = Exchange::new(Asked::default(), Rc::new(lines), host, reader);
        let (head, body) = pool.send(exchange.clone()).await.map_err(|error| why(&error, &exchange))?;
        Ok(Answer { head, body, _pool: pool })
    }

    /// The usual roots are read once. A file is read for each request: it is small, and replaced without a word to anybody.
    fn tls(&self, host: &str, ca_file: Option<&Path>) -> Result<TargetTls, String> {
        let settings = UpstreamTls { ca_file: ca_file.map(Path::to_owned), ..UpstreamTls::default() };
        let read = || client_config(&settings).map_err(|error| error.to_string());
        let config = match (ca_file, self.tls.get()) {
            (Some(_), _) => read()?,
            (None, Some(config)) => config.clone(),
            (None, None) => {
                let config = read()?;
                self.tls.get_or_init(|| config).clone()
            }
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| "its host is not a name that a certificate can be checked against")?;
        Ok(TargetTls { config, name })
    }
}

impl Answer {
    /// Its body, if that is no longer than `most` bytes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn collect(self, most: usize) -> Result<Vec<u8>, String> {
        let too_large = || format!("its answer is larger than {most} bytes");
        if self.head.content_length.is_some_and(|length| length > most as u64) {
            return Err(too_large());
        }
        let mut collected = Vec::new();
        let ended = poll_fn(|cx| {
            let mut take = |_: &mut Context<'_>, bytes: &[u8]| {
                // One byte more than may be shows that it is too large.
                let room = (most + 1).saturating_sub(collected.len());
                if room == 0 {
                    return Poll::Pending;
                }
                let taken = bytes.len().min(room);
                collected.extend_from_slice(&bytes[..taken]);
                Poll::Ready(Ok(taken))
            };
            match self.body.transfer(cx, &mut take) {
                Transfer::AwaitsUpstream => Poll::Pending,
                ended => Poll::Ready(ended),
            }
        });
        match ended.await {
            Transfer::Done if collected.len() <= most => Ok(collected),
            Transfer::Broken(violation) => Err(violation.to_string()),
            Transfer::Unread(error) => Err(error.to_string()),
            Transfer::Done | Transfer::AwaitsReader | Transfer::AwaitsUpstream => Err(too_large()),
        }
    }
}

/// The request for such a URL with these fields, and its host.
fn head(method: &str, url: &Url, fields: &[(&str, &str)]) -> (RequestLines, Rc<str>) {
    let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let host = match (url.host_str().unwrap_or_default(), url.port()) {
        (host, None) => host.to_owned(),
        (host, Some(port)) => format!("{host}:{port}"),
    };
    let mut lines = RequestLines::new(method, &target, 256);
    for (name, value) in fields {
        lines.fields().extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    (lines, host.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_believed_is_read_once() {
        let outbound = Outbound::new("test");
        let (one, other) =
            (outbound.tls("one.test", None).unwrap(), outbound.tls("other.test", None).unwrap());
        assert!(Arc::ptr_eq(&one.config, &other.config) && one.name != other.name);
        assert!(outbound.tls("not a name", None).is_err());
    }
}
