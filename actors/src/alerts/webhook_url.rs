//! What the URL of a webhook may be. It is a secret, so no message shows any part of it.

use aegis_schema::{ensure, syntax};

/// Why it cannot be used.
pub fn judge(text: &str) -> Result<(), &'static str> {
    const FORM: &str = "write it as https://HOST/PATH or http://HOST/PATH";
    let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
    let known = matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https");
    let visible = text.bytes().all(|b| b.is_ascii_graphic());
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let host = !authority.is_empty() && !authority.starts_with(':');
    ensure!(known, "the scheme must be http or https");
    ensure!(visible, "it holds spaces or characters beyond ASCII: percent-encode them");
    ensure!(host, "the host is missing: write it as https://HOST/PATH");
    ensure!(!authority.contains('@'), "a webhook has no user or password: remove everything up to the `@`");
    let sent = !text.contains(['#', '\\']);
    ensure!(sent, "it holds `#` or `\\`, which are never sent: percent-encode them, or remove them");
    syntax::host_and_port(text, FORM).map(drop)
}
