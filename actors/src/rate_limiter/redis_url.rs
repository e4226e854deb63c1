//! What `redis.url` may be. It may hold a password, so no message shows any of it.

use aegis_schema::suggest;
use aegis_schema::syntax::{self, is_label};

/// What is behind a URL.
#[derive(Clone, Copy, PartialEq)]
pub enum Behind {
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

/// By its scheme.
pub fn behind(url: &str) -> Option<Behind> {
    let (scheme, _) = url.split_once("://")?;
    SCHEMES.iter().find(|(known, _)| *known == scheme).map(|(_, behind)| *behind)
}

/// Why a URL cannot be used, and how to fix it, without any part of it.
pub fn judge(url: &str) -> Result<(), String> {
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
        let hint = suggest::hint(scheme, words, FORMS);
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
