//! `/_aegis/explain`: how a request would be handled by the running gateway, which is not sent.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Admin, answer, query};
use crate::gateway::explain::{Asked, Moment, explain};
use crate::gateway::shared::InternalAnswer;

const KNOWN: &str = "method, url, ip";

/// Values of headers may be secrets: what is wrong with the body is told without its text.
const FORM: &str = r#"the body must be {"method": …, "url": …, "ip": …, "headers": {NAME: VALUE or list of values}}, all but url may be left out"#;

/// The request that is asked about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    #[serde(default = "get")]
    method: String,
    url: String,
    #[serde(default = "loopback")]
    ip: IpAddr,
    #[serde(default)]
    headers: Map<String, Value>,
}

fn get() -> String {
    "GET".to_owned()
}

fn loopback() -> IpAddr {
    Ipv4Addr::LOCALHOST.into()
}

/// Of a request without headers.
pub async fn by_query(admin: &Admin, text: &str) -> InternalAnswer {
    match of_query(text) {
        Ok(question) => tell(admin, &question),
        Err(why) => answer::bad_request(why),
    }
}

/// Of a request with headers.
pub async fn by_body(admin: &Admin, body: &[u8]) -> InternalAnswer {
    match serde_json::from_slice::<Question>(body) {
        Ok(question) => tell(admin, &question),
        Err(_) => answer::bad_request(FORM),
    }
}

fn of_query(text: &str) -> Result<Question, String> {
    let mut question =
        Question { method: get(), url: String::new(), ip: loopback(), headers: Map::default() };
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        match &*name {
            "method" => question.method = value.into_owned(),
            "url" => question.url = value.into_owned(),
            "ip" => {
                question.ip = value.parse().map_err(|_| format!("ip must be an address, not {value:?}"))?;
            }
            name => return Err(query::unknown(name, KNOWN)),
        }
    }
    if question.url.is_empty() { Err("url is missing: ?url=/path".to_owned()) } else { Ok(question) }
}

/// Names with each of their values.
fn headers(written: &Map<String, Value>) -> Option<Vec<(String, String)>> {
    let mut headers = Vec::new();
    for (name, value) in written {
        let values = match value {
            Value::Array(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        for value in values {
            headers.push((name.clone(), value.as_str()?.to_owned()));
        }
    }
    Some(headers)
}

fn tell(admin: &Admin, question: &Question) -> InternalAnswer {
    let Some(headers) = headers(&question.headers) else { return answer::bad_request(FORM) };
    let (shared, Question { method, url, ip, .. }) = (&admin.shared, question);
    let asked = match Asked::new(method, url, &headers, *ip, shared.server.load().head()) {
        Ok(asked) => asked,
        Err(why) => return answer::bad_request(why),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let moment = Moment { limiter: &shared.limiter, live: true, now_ms: now.as_millis() as u64 };
    answer::ok(&explain(&shared.snapshot.load_full(), &asked, &moment))
}
