//! The running gateway, as commands ask it: by its admin listener.

use serde_json::Value;

use crate::config::settings::Admin;

/// The largest answer that is read.
const LARGEST: usize = 4 << 20;

/// Where a gateway is, as its configuration says.
pub struct Running {
    base: String,
    token: String,
}

impl Running {
    /// The one whose admin listener this is.
    pub fn of(admin: &Admin) -> Self {
        let host = if admin.host == "0.0.0.0" { "127.0.0.1" } else { &admin.host };
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        Self { base: format!("http://{host}:{}", admin.port), token: admin.token.to_string() }
    }

    /// What it answers to a question.
    ///
    /// # Errors
    /// It does not answer, or with a problem.
    pub fn get(&self, path: &str) -> Result<Value, String> {
        self.ask(path, None)
    }

    /// Likewise, to one with a body.
    ///
    /// # Errors
    /// As [`Running::get`].
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        self.ask(path, Some(body))
    }

    fn ask(&self, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let url = format!("{}{path}", self.base);
        actix_rt::System::new().block_on(ask(&url, &self.token, body))
    }
}

async fn ask(url: &str, token: &str, body: Option<&Value>) -> Result<Value, String> {
    let client = awc::Client::default();
    let mut request = if body.is_some() { client.post(url) } else { client.get(url) };
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    let sent = match body {
        Some(body) => request.content_type("application/json").send_body(body.to_string()),
        None => request.send(),
    };
    let mut response = sent.await.map_err(|error| {
        format!("the gateway's admin listener does not answer at {url} ({error}): is it running with this configuration?")
    })?;
    let body = response.body().limit(LARGEST).await.map_err(|error| format!("{url}: {error}"))?;
    let value: Value =
        serde_json::from_slice(&body).map_err(|_| format!("{url} did not answer with JSON"))?;
    if !response.status().is_success() {
        let detail = value["detail"].as_str().unwrap_or("no detail");
        return Err(format!("{}: {detail}", response.status()));
    }
    Ok(value)
}
