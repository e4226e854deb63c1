//! Settings back into the spelling of the file, with every default written out: what `GET /_aegis/config`
//! shows, what the hash is taken of, and what two configurations are compared by.

mod alerts;
mod rate_limit;

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::secrets;
use super::settings::*;
use crate::store::Database;

/// The whole configuration, secrets included: for comparing, not for showing.
pub(crate) fn render(settings: &Settings) -> Value {
    let Settings { server, admin, hot_reload, backends, redis, rate_limit, metrics, alerts, logging } =
        settings;
    let mut server_json = json!({
        "host": server.host,
        "port": server.port,
        "workers": server.workers,
        "bodyLimitBytes": server.body_limit_bytes,
        "trustedProxies": server.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "headerTimeoutMs": ms(server.header_timeout),
        "keepAliveMs": ms(server.keep_alive),
        "shutdownTimeoutMs": ms(server.shutdown_timeout),
        "drainPeriodMs": ms(server.drain_period),
        "maxConnections": server.max_connections,
        "maxHeadBytes": server.head.bytes,
        "maxHeadFields": server.head.fields,
    });
    if let Some(tls) = &server.tls {
        server_json["tls"] =
            json!({"certFile": tls.cert_file.to_string_lossy(), "keyFile": tls.key_file.to_string_lossy()});
    }
    let escaped_slash = match server.escaped_slash {
        EscapedSlash::Reject => "reject",
        EscapedSlash::Keep => "keep",
    };
    server_json["paths"] = json!({"escapedSlash": escaped_slash});
    server_json["via"] = match server.via {
        Via::Both => "both",
        Via::Response => "response",
        Via::Off => "off",
    }
    .into();
    let Probes { health, ready, hosts } = &server.probes;
    server_json["probes"] = json!({"health": health, "ready": ready, "hosts": hosts});
    let format = match logging.format {
        LogFormat::Json => "json",
        LogFormat::Text => "text",
    };
    let mut out = json!({
        "server": server_json,
        "admin": {
            "host": admin.host,
            "port": admin.port,
            "token": admin.token,
            "allowedOrigins": admin.allowed_origins,
        },
        "hotReload": hot_reload,
        "backends": backends.iter().map(backend).collect::<Vec<_>>(),
    });
    put(&mut out, "redis", redis.as_ref().map(rate_limit::redis));
    put(&mut out, "rateLimit", rate_limit.as_ref().map(rate_limit::rate_limit));
    out["metrics"] = self::metrics(metrics);
    put(&mut out, "alerts", alerts.as_ref().map(alerts::alerts));
    out["logging"] = json!({
        "level": logging.level,
        "format": format,
        "accessLog": logging.access_log,
        "query": logging.query,
        "probes": logging.probes,
    });
    out
}

/// The whole configuration with every secret replaced.
pub fn render_redacted(settings: &Settings) -> Value {
    let mut value = render(settings);
    secrets::redact(&mut value);
    for webhook in value.pointer_mut("/alerts/webhooks").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(url) = webhook.get_mut("url") {
            *url = secrets::host_alone(url.as_str().unwrap_or_default()).into();
        }
        for value in
            webhook.get_mut("headers").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
        {
            *value = secrets::REDACTED.into();
        }
    }
    value
}

/// 16 hex digits that change with the configuration and with nothing else: equal on every instance of a
/// release, whatever the layer or spelling. Secrets are left out, so that the hash can be logged and shown, and so is the
/// instance's own name.
pub fn hash(settings: &Settings) -> String {
    hash_of(&render_redacted(settings))
}

/// [`hash`] of what has been rendered already.
pub(crate) fn hash_of(redacted: &Value) -> String {
    let mut shared = redacted.clone();
    if let Some(metrics) = shared.get_mut("metrics").and_then(Value::as_object_mut) {
        metrics.remove("instance");
    }
    // FNV-1a, because the standard hasher promises no stability; nobody gains anything by a collision here.
    let hash = shared.to_string().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

fn metrics(metrics: &Metrics) -> Value {
    let Metrics { enabled, store, flush_interval, retention, slow_request, auto_migrate, instance } = metrics;
    let mut out = json!({
        "enabled": enabled,
        "store": store.as_ref().map_or("none".to_owned(), Database::url),
        "flushIntervalMs": ms(*flush_interval),
        "retentionDays": retention.as_secs() / 86_400,
        "slowRequestMs": ms(*slow_request),
        "autoMigrate": auto_migrate,
    });
    put(&mut out, "instance", instance.clone());
    out
}

fn backend(backend: &Backend) -> Value {
    let (load_balance, hash_on) = match &backend.load_balance {
        LoadBalance::LeastRequest => ("leastRequest", None),
        LoadBalance::RoundRobin => ("roundRobin", None),
        LoadBalance::Hash(HashOn::Ip) => ("hash", Some("ip".to_owned())),
        LoadBalance::Hash(HashOn::Header(name)) => ("hash", Some(format!("header:{name}"))),
        LoadBalance::Hash(HashOn::Cookie(name)) => ("hash", Some(format!("cookie:{name}"))),
    };
    let targets = |target: &Target| json!({"url": target.url(), "weight": target.weight});
    let mut out = json!({
        "name": backend.name,
        "targets": backend.targets.iter().map(targets).collect::<Vec<_>>(),
        "loadBalance": load_balance,
    });
    put(&mut out, "hashOn", hash_on);
    out["routes"] = backend.routes.iter().map(route).collect();
    out["timeout"] = ms(backend.timeout);
    out["connectTimeoutMs"] = ms(backend.connect_timeout);
    put(&mut out, "firstByteTimeoutMs", backend.first_byte_timeout.map(ms));
    out["idleTimeoutMs"] = ms(backend.idle_timeout);
    out["retries"] = backend.retries.into();
    out["maxInFlight"] = backend.max_in_flight.into();
    out["maxTunnels"] = backend.max_tunnels.into();
    out["maxHeadBytes"] = backend.head.bytes.into();
    out["maxHeadFields"] = backend.head.fields.into();
    out["poolIdleMs"] = ms(backend.pool_idle);
    if let Some(check) = &backend.health_check {
        out["healthCheck"] = json!({
            "path": check.path,
            "intervalMs": ms(check.interval),
            "timeoutMs": ms(check.timeout),
            "unhealthyThreshold": check.unhealthy_threshold,
            "healthyThreshold": check.healthy_threshold,
        });
    }
    let breaker = &backend.circuit_breaker;
    out["circuitBreaker"] = json!({
        "enabled": breaker.enabled,
        "failureThreshold": breaker.failure_threshold,
        "failureStatuses": breaker.failure_statuses,
        "successThreshold": breaker.success_threshold,
        "resetTimeoutMs": ms(breaker.reset_timeout),
        "failureRate": breaker.failure_rate,
        "minRequests": breaker.min_requests,
        "windowMs": ms(breaker.window),
        "slowCallMs": ms(breaker.slow_call),
        "slowCallRate": breaker.slow_call_rate,
        "halfOpenRequests": breaker.half_open_requests,
    });
    let when_all_unhealthy = match backend.when_all_unhealthy {
        WhenAllUnhealthy::FailFast => "failFast",
        WhenAllUnhealthy::RouteAll => "routeAll",
    };
    out["whenAllUnhealthy"] = when_all_unhealthy.into();
    out["preserveHost"] = backend.preserve_host.into();
    out["rewriteRedirects"] = backend.rewrite_redirects.into();
    let RewriteCookies { path, domain } = backend.rewrite_cookies;
    out["rewriteCookies"] = json!({"path": path, "domain": domain});
    out["passAltSvc"] = backend.pass_alt_svc.into();
    if backend.tls != UpstreamTls::default() {
        let mut tls = json!({"insecureSkipVerify": backend.tls.insecure_skip_verify});
        put(&mut tls, "caFile", backend.tls.ca_file.as_ref().map(|file| file.to_string_lossy()));
        put(&mut tls, "serverName", backend.tls.server_name.clone());
        out["tls"] = tls;
    }
    out
}

fn route(route: &Route) -> Value {
    let mut out = json!({"path": route.path});
    if !route.methods.is_empty() {
        out["methods"] = json!(route.methods);
    }
    if !route.hosts.is_empty() {
        out["hosts"] = json!(route.hosts);
    }
    if !route.headers.is_empty() {
        let headers: Map<String, Value> =
            route.headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        out["headers"] = Value::Object(headers);
    }
    put(&mut out, "priority", route.priority);
    put(&mut out, "stripPrefix", route.strip_prefix.clone());
    put(&mut out, "addPrefix", route.add_prefix.clone());
    put(&mut out, "timeout", route.timeout.map(ms));
    put(&mut out, "firstByteTimeoutMs", route.first_byte_timeout.map(ms));
    put(&mut out, "bodyLimitBytes", route.body_limit_bytes);
    if route.deny {
        out["deny"] = true.into();
    }
    out
}

fn put(out: &mut Value, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        out[key] = value.into();
    }
}

fn ms(duration: Duration) -> Value {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).into()
}
