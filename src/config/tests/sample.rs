//! The sample of the contract, and the files that come with the gateway.

use super::*;

/// Section 2 of the contract, without the sections that are not there yet. CERT stands for a file.
const SAMPLE: &str = r#"server:
  host: 0.0.0.0
  port: 8080
  workers: 0                 # 0 = one per core
  bodyLimitBytes: 10485760   # 413 above; per route too; 0 = unlimited
  trustedProxies: []         # CIDRs whose X-Forwarded-* are believed; default: nobody's
  headerTimeoutMs: 5000      # whole request head must arrive in this time, else 408 and close
  keepAliveMs: 75000
  shutdownTimeoutMs: 30000   # in-flight requests and tunnels get this long after SIGTERM
  drainPeriodMs: 1000        # still accepting, /ready 503; then the listener closes
  via: both                  # both | response | off
  maxConnections: 25000      # per worker
  maxHeadBytes: 131072
  maxHeadFields: 256
  tls: {certFile: CERT, keyFile: CERT}
  paths: {escapedSlash: reject}
  probes: {health: [/health, /healthz], ready: [/ready], hosts: []}   # hosts: empty = on every host

admin:
  host: 127.0.0.1
  port: 8081
  token: ${AEGIS_ADMIN_TOKEN:-}
  allowedOrigins: []

hotReload: true

backends:
  - name: users
    targets:
      - {url: https://10.0.0.1:3001, weight: 3}
      - {url: http://10.0.0.2:3001}
    loadBalance: hash
    hashOn: ip
    routes:
      - /api/users
      - /api/users/:id
      - path: /api/users/**
        methods: [GET, POST]
        hosts: [api.example.com, "*.example.org"]
        headers: {x-version: "2"}
        priority: 0
        stripPrefix: /api
        addPrefix: /v2
        timeout: 5s
        bodyLimitBytes: 0
        firstByteTimeoutMs: 5000
        deny: false
    timeout: 30000
    connectTimeoutMs: 2000
    firstByteTimeoutMs: 15000
    idleTimeoutMs: 60000
    retries: 2
    maxInFlight: 1024
    maxTunnels: 10000
    maxHeadBytes: 262144
    maxHeadFields: 512
    poolIdleMs: 15000
    rewriteRedirects: true
    rewriteCookies: {path: false, domain: false}
    passAltSvc: false
    healthCheck: {path: /health, intervalMs: 30000, timeoutMs: 5000, unhealthyThreshold: 3, healthyThreshold: 2}
    circuitBreaker: {enabled: true, failureThreshold: 5, failureStatuses: [500, 502, 503, 504], successThreshold: 1, resetTimeoutMs: 30000, failureRate: 0.5, minRequests: 20, windowMs: 10000, slowCallMs: 0, slowCallRate: 1.0, halfOpenRequests: 1}
    whenAllUnhealthy: failFast
    preserveHost: false
    tls: {caFile: CERT, insecureSkipVerify: false, serverName: users.internal}

redis: {url: redis://127.0.0.1:6379/0}   # absent: limits are per process

auth:
  enabled: true
  allowAnonymous: false
  anonymousPaths: [/api/public/**]
  forwardCredentials: false
  identityHeaders: {user: X-User-ID, email: X-User-Email, roles: X-User-Roles, tier: X-User-Tier, type: X-Auth-Type}
  claimHeaders: {X-Tenant: org.tenant}
  apiKey:
    enabled: true
    headerName: X-API-Key
    prefix: ""
    peppers: {p1: "0123456789abcdef0123456789abcdef"}
    keys:
      - {id: k1, hashes: ["sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"], name: one, userId: u1, roles: [user], scopes: [], tier: pro, permissions: {}, allowedIps: [], metadata: {}, expiresAt: 2027-01-01T00:00:00Z, active: true}
  issuers:
    - name: id
      issuer: https://id.example.com
      audience: [aegis-api]
      algorithms: [RS256, ES256, EdDSA]
      typ: [JWT, at+jwt]
      userClaim: sub
      clockToleranceSeconds: 30
      maxLifetimeSeconds: 0
  failureLimit: {failures: 20, windowSeconds: 60}
  cache: {entries: 10000, maxAgeSeconds: 300}
  rbac:
    enabled: false
    shadow: false
    superAdminRoles: []
    roles: [{name: viewer, description: reads, inherits: [], permissions: [{resource: /api/**, actions: [GET]}]}]
  ip: {allow: [], deny: []}

metrics: {enabled: true, store: "sqlite://data/aegis.db", flushIntervalMs: 5000, retentionDays: 30, slowRequestMs: 1000}   # store: sqlite://… or postgres://… ; "none" = memory only
logging: {level: info, format: json, accessLog: true, query: false, probes: false}
"#;

/// The others, as the contract writes them.
const LATER: [(&str, &str); 4] = [
    ("transform", "…"),
    ("cors", "{enabled: false, allowedOrigins: []}"),
    ("securityHeaders", "{enabled: true}"),
    ("compression", "{enabled: false, minBytes: 1024}"),
];

#[test]
fn the_sample_of_the_contract_loads_without_a_word() {
    let file = TempFile::new("sample.pem", b"x");
    let loaded = good(&SAMPLE.replace("CERT", file.path()));
    assert_eq!(loaded.warnings, []);
    let expected = Backend { timeout: std::time::Duration::from_secs(30), ..Backend::default() };
    let backend = &loaded.settings.backends[0];
    assert_eq!(backend.circuit_breaker, expected.circuit_breaker);
    assert_eq!(backend.health_check, Some(aegis_actors::health_check::Settings::default()));
    assert_eq!((backend.timeout, backend.retries, backend.max_in_flight), (expected.timeout, 2, 1024));
    assert_eq!(backend.routes.len(), 3);
    let server =
        crate::config::settings::Server { tls: loaded.settings.server.tls.clone(), ..Default::default() };
    assert_eq!(loaded.settings.server, server);
    assert_eq!(loaded.settings.metrics, Default::default());
}

#[test]
fn each_section_of_a_later_release_is_refused_once_at_its_own_line() {
    let file = TempFile::new("later.pem", b"x");
    let mut text = SAMPLE.replace("CERT", file.path());
    let first = text.lines().count() + 1;
    for (key, value) in LATER {
        text.push_str(&format!("{key}: {value}\n"));
    }
    let lines = lines(&text);
    assert_eq!(lines.len(), LATER.len(), "{lines:#?}");
    for (n, (key, _)) in LATER.iter().enumerate() {
        let start = format!(
            "a.yaml:{}:1: error: `{key}` is not available in this version: remove the section (it arrives with ",
            first + n
        );
        assert!(lines[n].starts_with(&start), "{} does not start with {start}", lines[n]);
        assert!(lines[n].ends_with("; see CHANGELOG.md)"), "{}", lines[n]);
    }
}

#[test]
fn an_empty_section_of_a_later_release_is_refused_too_and_from_every_layer() {
    refused(
        &format!("{GOOD}cors:\n"),
        "2:1",
        &[
            "`cors` is not available in this version: remove the section (it arrives with CORS; see CHANGELOG.md)",
        ],
    );
    let problems = load_from(GOOD, &env(&[("AEGIS__CORS__ENABLED", "false")])).unwrap_err().to_string();
    assert_eq!(
        problems,
        "environment:1:1: error: `cors` is not available in this version: remove the section (it arrives with CORS; see CHANGELOG.md) (set by AEGIS__CORS__ENABLED)"
    );
    let problems = load_from(GOOD, &set(&["auth.oidc.clientSecret=hunter2"])).unwrap_err().to_string();
    assert!(problems.starts_with("--set:1:1: error: `auth.oidc` is not available"), "{problems}");
    assert!(!problems.contains("hunter2"), "{problems}");
}

#[test]
fn the_files_that_come_with_the_gateway_load_without_a_word() {
    let source = env(&[("AEGIS_ADMIN_TOKEN", "abc")]);
    for (text, backends) in [
        (include_str!("../../../config/aegis.yaml"), 1),
        (include_str!("../../../config/production.yaml"), 4),
        (include_str!("../../../config/demo.yaml"), 3),
    ] {
        let loaded = load_from(text, &source).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(loaded.warnings, []);
        assert_eq!(loaded.settings.backends.len(), backends);
    }
    assert!(load_from(include_str!("../../../config/production.yaml"), &alone()).is_err());
}

#[test]
fn the_commented_file_says_the_defaults() {
    let loaded = load_from(include_str!("../../../config/aegis.yaml"), &alone()).unwrap();
    let example = loaded.settings.backends[0].clone();
    let expected = Backend {
        name: example.name.clone(),
        targets: example.targets.clone(),
        routes: example.routes.clone(),
        ..Backend::default()
    };
    assert_eq!(example, expected);
    assert_eq!(
        crate::config::Settings { backends: vec![], ..loaded.settings },
        crate::config::Settings::default()
    );
}
