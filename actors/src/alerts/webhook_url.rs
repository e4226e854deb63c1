//! What the URL of a webhook may be. It is a secret, so no message shows any part of it.

use aegis_schema::syntax;

/// Why it cannot be used.
pub fn judge(text: &str) -> Result<(), &'static str> {
    const FORM: &str = "write it as https://HOST/PATH or http://HOST/PATH";
    let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
    if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
        return Err("the scheme must be http or https");
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("it holds spaces or characters beyond ASCII: percent-encode them");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    if authority.is_empty() || authority.starts_with(':') {
        return Err("the host is missing: write it as https://HOST/PATH");
    }
    if authority.contains('@') {
        return Err("a webhook has no user or password: remove everything up to the `@`");
    }
    if text.contains(['#', '\\']) {
        return Err("it holds `#` or `\\`, which are never sent: percent-encode them, or remove them");
    }
    let url = url::Url::parse(text).map_err(|error| match error {
        url::ParseError::InvalidPort => "the port must be a number from 1 to 65535",
        _ => FORM,
    })?;
    url.host_str().and_then(syntax::host).ok_or("this is no host name or address")?;
    url.port_or_known_default()
        .filter(|port| *port != 0)
        .map(drop)
        .ok_or("the port must be a number from 1 to 65535")
}
