//! `redis`. The URL may hold a password, so no message shows any of it.

use std::time::Duration;

use aegis_actors::rate_limiter::settings::{RedisSettings, SentinelLogin};

use super::rate_limit::is_label;
use super::section::{Section, shown_for};
use super::syntax;
use crate::config::suggest;

const PREFIX: &str = "aegis";
const PATIENCE: std::ops::RangeInclusive<Duration> = Duration::from_millis(5)..=Duration::from_secs(5);

/// What is behind a URL.
#[derive(Clone, Copy, PartialEq)]
enum Behind {
    Server,
    Sentinels,
    Cluster,
}

const SCHEMES: [(&str, Behind); 6] = [
    ("redis", Behind::Server),
    ("rediss", Behind::Server),
    ("redis-sentinel", Behind::Sentinels),
    ("rediss-sentinel", Behind::Sentinels),
    ("redis-cluster", Behind::Cluster),
    ("rediss-cluster", Behind::Cluster),
];

/// Reads the section; `None` where there is no URL that could be used.
pub(super) fn read(section: Section<'_>) -> Option<RedisSettings> {
    section.require("url", "write for example `url: redis://127.0.0.1:6379/0`");
    let url = section.text("url").and_then(|(text, node)| match judge(text) {
        Ok(()) => Some(text.to_owned()),
        Err(why) => {
            section.error(node, format!("`{}` cannot be used: {why}", section.name("url")));
            None
        }
    });
    let key_prefix = key_prefix(&section).unwrap_or_else(|| PREFIX.to_owned());
    let sentinel_login = sentinel_login(&section, url.as_deref());
    let patience = patience(&section).unwrap_or(RedisSettings::PATIENCE);
    section.finish();
    url.map(|url| RedisSettings { url, key_prefix, sentinel_login, patience })
}

fn patience(section: &Section<'_>) -> Option<Duration> {
    let patience = section.duration("patienceMs")?;
    if PATIENCE.contains(&patience) {
        return Some(patience);
    }
    if let Some(node) = section.node("patienceMs") {
        let what = format!(
            "`{}` must be between 5 ms and 5 s: write for example `100ms`",
            section.name("patienceMs")
        );
        section.error(node, what);
    }
    None
}

fn sentinel_login(section: &Section<'_>, url: Option<&str>) -> Option<SentinelLogin> {
    let (user, password) = (section.text("sentinelUser"), section.text("sentinelPassword"));
    let asks_sentinels = url.is_none_or(|url| behind(url) == Some(Behind::Sentinels));
    for (key, value) in [("sentinelUser", &user), ("sentinelPassword", &password)] {
        let Some((text, node)) = value else { continue };
        let name = section.name(key);
        if text.is_empty() {
            section.error(node, format!("`{name}` is empty: set it, or remove it"));
        } else if !asks_sentinels {
            let mend =
                "remove it, or write the url of sentinels, redis-sentinel://HOST:PORT,HOST:PORT/MASTER";
            section.error(node, format!("`{name}` is for sentinels, and the url names none: {mend}"));
        } else if password.is_none() {
            section.error(
                node,
                format!("`{name}` needs a password: set `{}`", section.name("sentinelPassword")),
            );
        }
    }
    let user = user.map(|(user, _)| user.to_owned());
    password.map(|(password, _)| SentinelLogin { user, password: password.to_owned() })
}

fn behind(url: &str) -> Option<Behind> {
    let (scheme, _) = url.split_once("://")?;
    SCHEMES.iter().find(|(known, _)| *known == scheme).map(|(_, behind)| *behind)
}

fn key_prefix(section: &Section<'_>) -> Option<String> {
    let (text, node) = section.text("keyPrefix")?;
    // Braces would decide which part of a cluster a key belongs to.
    if is_label(&text.replace(':', "_")) {
        return Some(text.to_owned());
    }
    let what = format!(
        "`{}` must be 1 to 64 of the characters A-Z a-z 0-9 . _ : -, found {}: change it",
        section.name("keyPrefix"),
        shown_for("prefix", node)
    );
    section.error(node, what);
    None
}

/// Why a URL cannot be used, and how to mend it, without any part of it.
fn judge(url: &str) -> Result<(), String> {
    const FORMS: &str = "write redis://HOST:PORT/DB, redis-sentinel://HOST:PORT,HOST:PORT/MASTER/DB or \
                         redis-cluster://HOST:PORT,HOST:PORT";
    if url.is_empty() {
        return Err(format!("it is empty; {FORMS}, or remove `redis`"));
    }
    let Some((scheme, rest)) = url.split_once("://") else { return Err(FORMS.to_owned()) };
    if matches!(scheme, "unix" | "redis+unix" | "valkey+unix") {
        return Err("sockets in the file system are not supported: write redis://HOST:PORT".to_owned());
    }
    let Some((_, behind)) = SCHEMES.iter().find(|(known, _)| *known == scheme) else {
        let words = SCHEMES.iter().map(|(known, _)| *known);
        let hint = suggest::hint(scheme, words, || FORMS.to_owned());
        return Err(format!("the scheme is none of Redis's: {hint}"));
    };
    if !rest.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(
            "it holds spaces or characters beyond ASCII: remove them, or percent-encode them".to_owned()
        );
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    if tail.contains('@') {
        return Err(
            "user and password may not hold `/`, `?` and `#`: write `%2F`, `%3F` and `%23`".to_owned()
        );
    }
    if tail.contains(['?', '#']) {
        return Err("it has no query or fragment: remove everything from the `?` or `#` on".to_owned());
    }
    let servers = match authority.rsplit_once('@') {
        Some((user, servers)) => {
            credentials(user)?;
            servers
        }
        None => authority,
    };
    self::servers(servers, *behind)?;
    path(tail, *behind)
}

fn credentials(text: &str) -> Result<(), String> {
    if text.contains('@') {
        return Err(
            "user and password stand once, in front of all servers, and hold no `@`: write `%40`".to_owned()
        );
    }
    let is_escape = |part: &str| part.len() >= 2 && part.bytes().take(2).all(|b| b.is_ascii_hexdigit());
    if !text.split('%').skip(1).all(is_escape) {
        return Err(
            "a `%` in user or password needs two hex digits after it: write `%25` for the character itself"
                .to_owned(),
        );
    }
    match text.split_once(':') {
        None => {
            Err("a user needs a password: write `USER:PASSWORD@`, or `:PASSWORD@` without a user".to_owned())
        }
        Some((_, "")) => Err("the password is empty: set it, or remove everything up to the `@`".to_owned()),
        Some(_) => Ok(()),
    }
}

fn servers(text: &str, behind: Behind) -> Result<(), String> {
    if behind == Behind::Server && text.contains(',') {
        return Err("it names several servers: write redis-sentinel://HOST:PORT,HOST:PORT/MASTER or \
                    redis-cluster://HOST:PORT,HOST:PORT"
            .to_owned());
    }
    for server in text.split(',') {
        if server.is_empty() {
            return Err("a host is missing: write HOST:PORT".to_owned());
        }
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (server, None),
        };
        if host.contains(':') && !host.starts_with('[') {
            return Err("an IPv6 address stands in brackets: write [ADDRESS]:PORT".to_owned());
        }
        if syntax::host(host).is_none() {
            return Err("a host is no host name or address: write HOST:PORT".to_owned());
        }
        match port {
            None if behind == Behind::Server => {}
            None => return Err("a port is missing: write HOST:PORT for each server".to_owned()),
            Some(port)
                if port.bytes().all(|b| b.is_ascii_digit()) && matches!(port.parse::<u16>(), Ok(1..)) => {}
            Some(_) => return Err("a port must be a number from 1 to 65535".to_owned()),
        }
    }
    Ok(())
}

/// What follows the servers, from the first slash on.
fn path(text: &str, behind: Behind) -> Result<(), String> {
    let text = text.strip_prefix('/').unwrap_or("");
    let (master, database) = match behind {
        Behind::Server => (None, Some(text)),
        Behind::Sentinels => match text.split_once('/') {
            Some((master, database)) => (Some(master), Some(database)),
            None => (Some(text), None),
        },
        Behind::Cluster if text.is_empty() => (None, None),
        Behind::Cluster => {
            return Err("a cluster has no databases: remove everything behind the servers".to_owned());
        }
    };
    match master {
        Some("") => {
            return Err(
                "the master's name is missing: write it behind the servers, as in `/mymaster`".to_owned()
            );
        }
        // What Redis Sentinel itself takes for a name.
        Some(master) if !is_label(master) => {
            return Err("the master's name holds only A-Z a-z 0-9 . _ -: write it as the sentinels know it"
                .to_owned());
        }
        _ => {}
    }
    match database {
        None | Some("") => Ok(()),
        Some(n) if n.bytes().all(|b| b.is_ascii_digit()) && n.parse::<u16>().is_ok() => Ok(()),
        Some(_) => Err("the database must be a number, as in `/0`".to_owned()),
    }
}
