//! One entry of `backends[].routes`.

use std::time::Duration;

use aegis_schema::form::{grammar, short};
use aegis_schema::problem::Severity;
use aegis_schema::section::quoted;
use aegis_schema::{Form, Section, ensure, section, syntax};

use super::auth::Policy;
use super::{Backend, ClientAuth};

section! {
    /// One entry of `backends[].routes`.
    pub struct Route, check strippable {
        /// `:name` and `*` = one segment, `**` = one segment or more, `v*` = part of a segment. `/x/**` takes `/x/`,
        /// `/x/a` and `/x/a/b`, not `/x`: `check` says so where no route is written for `/x`
        path: String, "path" path().required("write for example `path: /api/**`");
        /// which it takes; `GET` holds for HEAD too
        methods: Vec<String>, "methods" list(method()).unique().sparse().unset("every method");
        /// without port
        hosts: Vec<String>, "hosts" list(host_pattern()).unique().sparse().unset("every host");
        /// all must be there with exactly this value; names in any case
        headers: Vec<(String, String)>, "headers" fields("name: text", header_value()).sparse();
        /// beats specificity
        priority: Option<i64>, "priority" int(-1_000_000..=1_000_000).option();
        /// removed from the front of the path, and told in `X-Forwarded-Prefix`
        strip_prefix: Option<String>, "stripPrefix" prefix().option();
        /// put in front, after stripping
        add_prefix: Option<String>, "addPrefix" prefix().option();
        /// whole request
        timeout: Option<Duration>, "timeout" duration().option().unset("the backend's");
        /// one try, up to the response head
        first_byte_timeout: Option<Duration>,
            "firstByteTimeoutMs" duration().option().unset("the backend's, else what `timeout` leaves");
        /// 0 = unlimited
        body_limit_bytes: Option<u64>, "bodyLimitBytes" size().option().unset("the server's");
        /// whether its clients must show a certificate; see [Client certificates](#client-certificates)
        client_auth: Option<ClientAuth>, "clientAuth" one_of().option().unset("the backend's");
        /// 403 `denied`, whoever asks
        deny: bool = false, "deny" flag().sparse().unset("`false`");
        /// what it wants of who comes in
        policy: Policy, "" flat();
    }
}

impl Route {
    /// As an object, or its path alone.
    pub(super) fn entry() -> Form<Self> {
        short("path or section", path(), |path| Self { path, ..Self::default() })
            .unless(|route| route.path.is_empty())
    }

    /// Of a time limit of the route and one of the backend the shorter one holds, which whoever wrote the other may not
    /// expect.
    pub(super) fn undercut(&self, section: &Section<'_>, backend: &Backend) {
        match (self.timeout, self.first_byte_timeout, backend.first_byte_timeout) {
            (own, Some(first_byte), _) if first_byte > own.unwrap_or(backend.timeout) => section.warning_of(
                "firstByteTimeoutMs",
                "is longer than `timeout`, which ends the request first: shorten it",
            ),
            (Some(own), None, Some(first_byte)) if first_byte < own => section.warning_of(
                "timeout",
                format_args!(
                    "is longer than the backend's `firstByteTimeoutMs` of {}, which ends a try without an answer first: \
                     write `firstByteTimeoutMs` for this route too",
                    first_byte.as_millis()
                ),
            ),
            _ => {}
        }
    }
}

/// Warns of a prefix that no path of the route can start with.
fn strippable(route: &mut Route, section: &Section<'_>) {
    let Some(prefix) = route.strip_prefix.as_deref().filter(|_| !route.path.is_empty()) else { return };
    let wild = |segment: &str| segment.starts_with(':') || segment.contains('*');
    let mut pattern = route.path.split('/').skip(1);
    for wanted in prefix.split('/').skip(1) {
        match pattern.next() {
            Some(segment) if wild(segment) => return,
            Some(segment) if segment == wanted => {}
            _ => {
                return section.warning_of(
                    "stripPrefix",
                    format_args!(
                        "is never at the front of {}: nothing would be stripped; write the path's own beginning",
                        quoted(&route.path)
                    ),
                );
            }
        }
    }
}

pub(super) fn path() -> Form<String> {
    let read = |text: &str| {
        let visible = !text.contains(|c: char| c.is_whitespace() || c.is_control());
        ensure!(text.starts_with('/'), "it must start with `/`");
        ensure!(!text.contains(['?', '#']), "it has no query or fragment: match on the path alone");
        ensure!(visible, "it must not hold spaces or control characters: percent-encode them");
        Ok(text.to_owned())
    };
    grammar("pattern", read, String::clone).seen(Severity::Error).pattern("^/")
}

fn prefix() -> Form<String> {
    grammar("path", syntax::prefix, String::clone)
}
