//! What `redis.url` may be. It may hold a password, so no message shows any of it.

use aegis_schema::syntax::{self, is_label};
use aegis_schema::{ensure, suggest};

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
    ensure!(!url.is_empty(), format!("it is empty; {FORMS}, or remove `redis`"));
    let (scheme, rest) = url.split_once("://").ok_or(FORMS)?;
    let socket = matches!(scheme, "unix" | "redis+unix" | "valkey+unix");
    ensure!(!socket, "sockets in the file system are not supported: write redis://HOST:PORT");
    let behind = behind(url).ok_or_else(|| {
        let hint = suggest::hint(scheme, SCHEMES.map(|(known, _)| known), FORMS);
        format!("the scheme is none of Redis's: {hint}")
    })?;
    let visible = rest.bytes().all(|b| b.is_ascii_graphic());
    ensure!(visible, "it holds spaces or characters beyond ASCII: remove them, or percent-encode them");
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let whole = !tail.contains('@');
    ensure!(whole, "user and password may not hold `/`, `?` and `#`: write `%2F`, `%3F` and `%23`");
    let bare = !tail.contains(['?', '#']);
    ensure!(bare, "it has no query or fragment: remove everything from the `?` or `#` on");
    let (user, servers) = authority.rsplit_once('@').map_or((None, authority), |(user, of)| (Some(user), of));
    user.map_or(Ok(()), credentials)?;
    self::servers(servers, behind)?;
    Ok(path(tail, behind)?)
}

fn credentials(text: &str) -> Result<(), &'static str> {
    const ESCAPE: &str =
        "a `%` in user or password needs two hex digits after it: write `%25` for the character itself";
    let once = !text.contains('@');
    ensure!(once, "user and password stand once, in front of all servers, and hold no `@`: write `%40`");
    let is_escape = |part: &str| part.len() >= 2 && part.bytes().take(2).all(|b| b.is_ascii_hexdigit());
    ensure!(text.split('%').skip(1).all(is_escape), ESCAPE);
    match text.split_once(':') {
        None => Err("a user needs a password: write `USER:PASSWORD@`, or `:PASSWORD@` without a user"),
        Some((_, "")) => Err("the password is empty: set it, or remove everything up to the `@`"),
        Some(_) => Ok(()),
    }
}

fn servers(text: &str, behind: Behind) -> Result<(), &'static str> {
    const SEVERAL: &str = "it names several servers: write redis-sentinel://HOST:PORT,HOST:PORT/MASTER or \
                           redis-cluster://HOST:PORT,HOST:PORT";
    ensure!(behind != Behind::Server || !text.contains(','), SEVERAL);
    for server in text.split(',') {
        ensure!(!server.is_empty(), "a host is missing: write HOST:PORT");
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (server, None),
        };
        let bracketed = !host.contains(':') || host.starts_with('[');
        ensure!(bracketed, "an IPv6 address stands in brackets: write [ADDRESS]:PORT");
        ensure!(syntax::host(host).is_some(), "a host is no host name or address: write HOST:PORT");
        let needed = port.is_some() || behind == Behind::Server;
        ensure!(needed, "a port is missing: write HOST:PORT for each server");
        let fits = port.is_none_or(|port| number(port).is_some_and(|port| port > 0));
        ensure!(fits, "a port must be a number from 1 to 65535");
    }
    Ok(())
}

/// What follows the servers, from the first slash on.
fn path(text: &str, behind: Behind) -> Result<(), &'static str> {
    let text = text.strip_prefix('/').unwrap_or("");
    let cluster = behind == Behind::Cluster;
    ensure!(!cluster || text.is_empty(), "a cluster has no databases: remove everything behind the servers");
    let database = match behind {
        Behind::Sentinels => {
            let (master, database) = text.split_once('/').unwrap_or((text, ""));
            let named = !master.is_empty();
            ensure!(named, "the master's name is missing: write it behind the servers, as in `/mymaster`");
            // What Redis Sentinel itself takes for a name.
            let known = is_label(master);
            ensure!(
                known,
                "the master's name holds only A-Z a-z 0-9 . _ -: write it as the sentinels know it"
            );
            database
        }
        _ => text,
    };
    let fits = database.is_empty() || number(database).is_some();
    ensure!(fits, "the database must be a number, as in `/0`");
    Ok(())
}

/// In digits alone: a sign has no place in a URL.
fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}
