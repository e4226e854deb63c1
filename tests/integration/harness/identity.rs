//! Asking a gateway in each way in which a request can come, and keys with their digests.

use super::client::Call;
use super::gateway::Gateway;
use super::http2::{Http2, block_on, read};
use super::websocket::upgrade_request;

/// How a request comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Http1,
    Http2,
    /// The opening handshake of one.
    WebSocket,
}

impl Way {
    pub const ALL: [Self; 3] = [Self::Http1, Self::Http2, Self::WebSocket];
}

/// What a request got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    pub status: u16,
    pub reason: Option<String>,
    pub challenges: Vec<String>,
    pub body: String,
}

impl Got {
    /// Whether the upstream has answered: 101 to a handshake where it speaks websockets.
    pub fn passed(&self) -> bool {
        matches!(self.status, 200 | 101)
    }
}

impl Gateway {
    /// Asks with these fields, in that way.
    pub fn ask(&self, way: Way, method: &str, target: &str, fields: &[(&str, &str)]) -> Got {
        if way == Way::Http2 {
            return self.ask_http2(method, target, fields);
        }
        let call = if way == Way::WebSocket { upgrade_request(target) } else { Call::new(method, target) };
        let response = self.send(&fields.iter().fold(call, |call, (name, value)| call.header(name, value)));
        Got {
            status: response.status,
            reason: response.reason().map(str::to_owned),
            challenges: response.head.all("www-authenticate").into_iter().map(str::to_owned).collect(),
            body: response.text(),
        }
    }

    fn ask_http2(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> Got {
        block_on(async {
            let mut client = Http2::connect(self.addr).await;
            let mut request = client.request(method, target);
            for (name, value) in fields {
                let name = h2_name(name);
                request.headers_mut().append(name, value.parse().unwrap());
            }
            let (answer, _) = client.start(request, true).await;
            let answer = read(answer).await.unwrap();
            let challenges = answer.headers.get_all("www-authenticate").iter();
            Got {
                status: answer.status,
                reason: answer.header("aegis-reason").map(str::to_owned),
                challenges: challenges.map(|value| value.to_str().unwrap().to_owned()).collect(),
                body: answer.text(),
            }
        })
    }
}

fn h2_name(name: &str) -> http::HeaderName {
    name.to_ascii_lowercase().parse().unwrap()
}

/// `sha256:HEX` of a key.
pub fn sha256(key: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
    format!("sha256:{}", hex(digest.as_ref()))
}

/// `sha512:HEX` of a key.
pub fn sha512(key: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA512, key.as_bytes());
    format!("sha512:{}", hex(digest.as_ref()))
}

/// `hmac-sha256:NAME:HEX` of a key under a pepper.
pub fn hmac_sha256(name: &str, pepper: &str, key: &str) -> String {
    let pepper = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, pepper.as_bytes());
    format!("hmac-sha256:{name}:{}", hex(ring::hmac::sign(&pepper, key.as_bytes()).as_ref()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
