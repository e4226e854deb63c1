//! `url`, `targets` and `tls` of a backend.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use aegis_schema::form::{grammar, known, short};
use aegis_schema::tree::{Kind, Node};
use aegis_schema::{Form, Section, ensure, section, syntax};

use super::Backend;

const ONE_OF: &str = "write either `url: http://HOST:PORT` or `targets: [{url: …, weight: …}]`";

section! {
    /// One target of a backend.
    pub struct Target {
        /// no path (use `addPrefix`), no user
        url: Address, "url" address().required("write the target as `{url: http://HOST:PORT, weight: 1}`");
        /// share of new requests relative to the others
        weight: u32 = 1, "weight" int(1..=1000);
    }
}

/// Where a target is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Address {
    /// `https://` instead of `http://`.
    pub https: bool,
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// Explicit or the scheme's default.
    pub port: u16,
}

section! {
    /// `backends[].tls`, for `https://` targets.
    pub struct UpstreamTls, check insecure {
        /// accept any certificate (a warning)
        insecure_skip_verify: bool = false, "insecureSkipVerify" flag();
        /// PEM bundle to verify `https://` targets with, in place of the usual roots: those in the file or folders that
        /// `SSL_CERT_FILE` and `SSL_CERT_DIR` name, where one of them is set, else the web's, which are built in
        ca_file: Option<PathBuf>, "caFile" file().option().unset("the usual roots");
        /// name to verify and to send as SNI
        server_name: Option<String>, "serverName" server_name().option().unset("the target's host");
    }
}

impl Address {
    /// `host` or `host:port` where the port is not the scheme's own: the `Host` header for this target.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.https, self.port) {
            (false, 80) | (true, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// `scheme://authority`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.https { "https" } else { "http" }, self.authority())
    }
}

/// From whatever way there is of writing it; an error says why it is none.
impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "write it as http://HOST:PORT or https://HOST:PORT";
        const PATH: &str =
            "a target has no path or query: write the host alone, and use `addPrefix` on the routes";
        let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
        let scheme = scheme.to_ascii_lowercase();
        ensure!(matches!(scheme.as_str(), "http" | "https"), "the scheme must be http or https");
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
        let host = !authority.is_empty() && !authority.starts_with(':');
        ensure!(
            !authority.contains('@'),
            "a target has no user or password: remove everything up to the `@`"
        );
        ensure!(matches!(path, "" | "/"), PATH);
        ensure!(host, "the host is missing: write it as http://HOST:PORT");
        ensure!(!authority.ends_with(':'), "the port is missing after the `:`: write it, or remove the `:`");
        let (host, port) = syntax::host_and_port(text, FORM)?;
        Ok(Self { https: scheme == "https", host, port })
    }
}

/// One entry of `targets`: an object, or the URL alone.
pub(super) fn entry() -> Form<Target> {
    short("URL or section", address(), |url| Target { url, weight: 1 })
        .unless(|target| target.url.host.is_empty())
}

/// `url` of a backend with one target.
pub(super) fn url() -> Form<Target> {
    address().map(|url| Target { url, weight: 1 }, |target| target.url.clone())
}

/// Brings `url` and `targets` together, exactly one of which must be there, and judges what the targets are.
pub(super) fn gather(backend: &mut Backend, section: &Section<'_>) {
    match (section.node("url"), section.node("targets")) {
        (None, None) => {
            section.error_here(format!("`{}` has neither `url` nor `targets`: {ONE_OF}", section.path))
        }
        (Some(_), Some(node)) => {
            let what = "has both `url` and `targets`: keep one of them";
            section.error_at_key(node, format!("`{}` {what}", section.path));
        }
        (None, Some(Node { kind: Kind::List(items), .. })) if items.is_empty() => {
            section.error_of("targets", format_args!("is empty: {ONE_OF}"));
        }
        _ => {}
    }
    let mut seen = HashSet::new();
    for (target, at) in backend.targets.iter().zip(section.items("targets")) {
        if !seen.insert(&target.url) {
            at.warn("is listed twice: give it a larger `weight` instead");
        }
    }
    if let Some(target) = backend.url.take() {
        backend.targets.insert(0, target);
    }
    let targets = &backend.targets;
    if let (Some(tls), false) =
        (section.child("tls"), targets.is_empty() || targets.iter().any(|target| target.url.https))
    {
        tls.warning_here("does nothing: no target is https://; change the targets or remove `tls`");
    }
}

fn insecure(tls: &mut UpstreamTls, section: &Section<'_>) {
    if tls.insecure_skip_verify {
        section.warning_of(
            "insecureSkipVerify",
            "accepts any certificate, so anybody on the way can read and change the traffic; use `caFile` for a private CA",
        );
    }
}

fn server_name() -> Form<String> {
    const WHAT: &str = "must be a host name or an address, without scheme and port, found {found}";
    known("name", WHAT, syntax::host, String::clone)
}

fn address() -> Form<Address> {
    grammar("`http(s)://HOST[:PORT]`", str::parse, ToString::to_string).pattern("^[hH][tT][tT][pP][sS]?://")
}
