//! One entry of `backends`.

use std::time::Duration;

use aegis_actors::{circuit_breaker, health_check};
use aegis_schema::form::parsed;
use aegis_schema::tree::Kind;
use aegis_schema::{Form, Section, choice, section, syntax};

use super::auth::Policy;
use super::target::{self, Target, UpstreamTls};
use super::{ClientAuth, ForwardClientCert, HEAD_BYTES, HEAD_WORDS, HeadBounds, Route};

section! {
    /// One entry of `backends`.
    pub struct Backend, check check {
        /// unique; the label in metrics
        name: String,
            "name" label("rename it").required("give the backend a unique name; it is the label in metrics");
        /// one target. Exactly one of `url` and `targets`
        url: Option<Target>, "url" target::url().option().unset("this or `targets`");
        /// several, each a section or its URL alone; see below
        targets: Vec<Target>, "targets" list(target::entry()).words("list").unset("this or `url`");
        /// `leastRequest` takes the less busy of two random targets
        load_balance: LoadBalance, "loadBalance" one_of();
        /// only with `hash`
        hash_on: Option<HashOn>, "hashOn" hash_on().option().unset("`ip`");
        /// which requests are its own: paths, or objects that say more
        routes: Vec<Route>,
            "routes" list(Route::entry()).words("list, at least one").required(
                "write at least one path, for example `routes: [/api/**]`");
        /// whole request, retries included; for streams and tunnels only until the response head
        timeout: Duration = Duration::from_secs(30), "timeout" duration();
        /// one attempt to connect
        connect_timeout: Duration = Duration::from_secs(2), "connectTimeoutMs" duration();
        /// one try, up to the response head, from the end of the request's body on. `check` warns where it and
        /// `timeout`, of the route or the backend, undercut each other
        first_byte_timeout: Option<Duration>,
            "firstByteTimeoutMs" duration().option().unset("what `timeout` leaves");
        /// no byte either way
        idle_timeout: Duration = Duration::from_secs(60), "idleTimeoutMs" duration();
        /// further tries, where repeating is safe
        retries: u32 = 2, "retries" int(0..=100);
        /// requests per target; above it 503 `pool_full`
        max_in_flight: usize = 1024, "maxInFlight" int(1..=1_000_000);
        /// websockets and other tunnels per target; above it 503 `pool_full`
        max_tunnels: usize = 10_000, "maxTunnels" int(1..=1_000_000);
        /// bytes of a response head; above it 502 `upstream_bad_response`
        max_head_bytes: usize = 256 * 1024, "maxHeadBytes" size_in(HEAD_BYTES, HEAD_WORDS);
        /// fields of it; above it likewise
        max_head_fields: usize = 512, "maxHeadFields" int(8..=10_000);
        /// how long a connection to a target may be idle. `Keep-Alive: timeout=` of an answer shortens it, less a
        /// second (less half of it below two seconds)
        pool_idle: Duration = Duration::from_secs(15), "poolIdleMs" duration();
        /// active checks; `{}` runs them with the defaults
        health_check: Option<health_check::Settings>,
            "healthCheck" section().braces("write `{}` after it for checks with the defaults, or remove it").option();
        /// per target
        circuit_breaker: circuit_breaker::Settings, "circuitBreaker" section();
        /// 503, or treat every target as healthy
        when_all_unhealthy: WhenAllUnhealthy, "whenAllUnhealthy" one_of();
        /// pass on the client's `Host` instead of the target's
        preserve_host: bool = false, "preserveHost" flag();
        /// `Location` and `Content-Location` that name the target (scheme, host and port) name what the client asked
        /// instead: its scheme and host, the prefix that `stripPrefix` removed, without the one that `addPrefix` put
        /// there. Paths alone and other hosts stay as they are
        rewrite_redirects: bool = true, "rewriteRedirects" flag();
        /// what of a cookie is made to fit what the client asked for
        rewrite_cookies: RewriteCookies, "rewriteCookies" section();
        /// pass on `Alt-Svc`, which names ports of the target that clients cannot reach
        pass_alt_svc: bool = false, "passAltSvc" flag();
        /// whether its clients must show a certificate; see [Client certificates](#client-certificates)
        client_auth: Option<ClientAuth>, "clientAuth" one_of().option().unset("the listener's");
        /// what its targets are told of the client's certificate: nothing, `Client-Cert` (RFC 9440), or
        /// `Client-Cert-Chain` too
        forward_client_cert: ForwardClientCert, "forwardClientCert" one_of();
        /// how `https://` targets are verified
        tls: UpstreamTls, "tls" section().sparse();
        /// what all of its routes want of who comes in, where they say nothing else
        policy: Policy, "" flat();
    }
}

section! {
    /// `backends[].rewriteCookies`.
    #[derive(Copy)]
    pub struct RewriteCookies {
        /// the `Path` of cookies, prefixes likewise
        path: bool = false, "path" flag();
        /// a `Domain` that the target is in becomes the host that the client asked
        domain: bool = false, "domain" flag();
    }
}

choice! {
    /// `backends[].loadBalance`.
    pub enum LoadBalance {
        /// Power of two choices by requests in flight per weight.
        #[default]
        LeastRequest = "leastRequest",
        /// Smooth weighted round robin.
        RoundRobin = "roundRobin",
        /// Weighted rendezvous hashing, over what `hashOn` says.
        Hash = "hash",
    }
}

/// `backends[].hashOn`.
#[derive(Clone, Debug, PartialEq)]
pub enum HashOn {
    Ip,
    /// Lower-case header name.
    Header(String),
    Cookie(String),
}

choice! {
    /// `backends[].whenAllUnhealthy`.
    pub enum WhenAllUnhealthy {
        /// 503 `no_healthy_target`.
        #[default]
        FailFast = "failFast",
        /// Treat every target as healthy.
        RouteAll = "routeAll",
    }
}

impl Backend {
    /// What a response's head may hold.
    pub fn head(&self) -> HeadBounds {
        HeadBounds { bytes: self.max_head_bytes, fields: self.max_head_fields }
    }
}

fn check(backend: &mut Backend, section: &Section<'_>) {
    target::gather(backend, section);
    if matches!(section.node("routes").map(|node| &node.kind), Some(Kind::List(items)) if items.is_empty()) {
        section.error_of("routes", "is empty: write at least one path, for example /api/**");
    }
    for (route, section) in backend.routes.iter().zip(section.sections("routes")) {
        route.undercut(&section, backend);
    }
    if backend.first_byte_timeout.is_some_and(|first_byte| first_byte > backend.timeout) {
        section.warning_of(
            "firstByteTimeoutMs",
            "is longer than `timeout`, which ends the request first: shorten it, or lengthen `timeout`",
        );
    }
    if backend.load_balance == LoadBalance::Hash {
        backend.hash_on.get_or_insert(HashOn::Ip);
        return;
    }
    backend.hash_on = None;
    // A misspelt loadBalance was reported; it may well have been meant to be hash.
    let known = section.says("loadBalance", backend.load_balance.as_str()) || !section.has("loadBalance");
    if let (true, Some(node)) = (known, section.node("hashOn")) {
        let name = section.name("hashOn");
        section.error_at_key(
            node,
            format!("`{name}` works with `loadBalance: hash` only: add that, or remove `hashOn`"),
        );
    }
}

fn hash_on() -> Form<HashOn> {
    let read = |text: &str| match text.split_once(':') {
        None if text == "ip" => Ok(HashOn::Ip),
        Some(("header", name)) if syntax::is_token(name) => Ok(HashOn::Header(name.to_ascii_lowercase())),
        Some(("cookie", name)) if syntax::is_token(name) => Ok(HashOn::Cookie(name.to_owned())),
        _ => Err("must be `ip`, `header:NAME` or `cookie:NAME`, found {found}".to_owned()),
    };
    let show = |on: &HashOn| match on {
        HashOn::Ip => "ip".to_owned(),
        HashOn::Header(name) => format!("header:{name}"),
        HashOn::Cookie(name) => format!("cookie:{name}"),
    };
    let form = parsed("`ip`, `header:NAME`, `cookie:NAME`", read, show);
    form.pattern("^(ip|(header|cookie):[!#-'*+.0-9A-Za-z^_`|~-]+)$")
}
