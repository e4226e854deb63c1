//! Which database a URL means. No message shows any part of a URL that may hold a password.

use std::path::PathBuf;

use super::tls;

/// What `metrics.store` means.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// A file; relative to the folder that the process was started in.
    Sqlite(PathBuf),
    /// The URL as written.
    Postgres(String),
}

impl Database {
    /// Reads `sqlite://PATH` or `postgres://[USER[:PASSWORD]@]HOST[:PORT]/DATABASE`.
    ///
    /// # Errors
    /// Why the URL cannot be used, and how to fix it.
    pub fn parse(url: &str) -> Result<Self, String> {
        const FORMS: &str = "write sqlite://PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE";
        let Some((scheme, rest)) = url.split_once("://") else { return Err(FORMS.to_owned()) };
        match scheme {
            "sqlite" => match rest {
                "" => Err("the path is missing: write for example sqlite://data/aegis.db".to_owned()),
                ":memory:" => {
                    Err("a database in memory would be lost at every stop: write `none` for no store at all"
                        .to_owned())
                }
                path if path.contains(['?', '#', '\0']) => {
                    Err("a path has no `?` or `#`: name a file, as in sqlite://data/aegis.db".to_owned())
                }
                path if path.ends_with('/') => {
                    Err("it names a folder: name a file, as in sqlite://data/aegis.db".to_owned())
                }
                path => Ok(Self::Sqlite(PathBuf::from(path))),
            },
            "postgres" | "postgresql" => postgres(rest).map(|()| Self::Postgres(url.to_owned())),
            _ => Err(format!("the scheme is none that is known: {FORMS}")),
        }
    }

    /// As it is written, password included.
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite://{}", path.display()),
            Self::Postgres(url) => url.clone(),
        }
    }

    /// The password in the URL, as it stands there.
    pub(super) fn password(&self) -> Option<&str> {
        let Self::Postgres(url) = self else { return None };
        let (user, _) = authority(url.split_once("://")?.1).0.rsplit_once('@')?;
        Some(user.split_once(':')?.1)
    }
}

/// Without user and password.
impl std::fmt::Display for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(url) => {
                let rest = url.split_once("://").map_or("", |(_, rest)| rest);
                let (authority, tail) = authority(rest);
                let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
                write!(f, "postgres://{hosts}{}", tail.split(['?', '#']).next().unwrap_or(""))
            }
        }
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

fn authority(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()))
}

fn postgres(rest: &str) -> Result<(), String> {
    if !rest.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("it holds spaces or characters beyond ASCII: percent-encode them".to_owned());
    }
    let (authority, tail) = authority(rest);
    if tail.contains('@') && !tail.contains("?") {
        return Err(
            "user and password may not hold `/`, `?` and `#`: write `%2F`, `%3F` and `%23`".to_owned()
        );
    }
    if tail.contains("password=") {
        return Err("the password stands in front of the host: write USER:PASSWORD@HOST".to_owned());
    }
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    if hosts.is_empty() {
        return Err("the host is missing: write postgres://USER:PASSWORD@HOST:PORT/DATABASE".to_owned());
    }
    let database = tail.strip_prefix('/').map(|tail| tail.split(['?', '#']).next().unwrap_or(""));
    if database.is_none_or(str::is_empty) {
        return Err("the database is missing: write it behind the host, as in /aegis".to_owned());
    }
    let (_, security) = tls::read(&format!("postgres://{rest}"))?;
    // Said now rather than when the store is first used.
    security.connector().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_a_server_are_told_apart() {
        assert_eq!(Database::parse("sqlite://data/aegis.db"), Ok(Database::Sqlite("data/aegis.db".into())));
        assert_eq!(
            Database::parse("sqlite:///var/lib/aegis.db"),
            Ok(Database::Sqlite("/var/lib/aegis.db".into()))
        );
        for url in
            ["postgres://h/d", "postgresql://u:p%2F@[::1]:5433/d?connect_timeout=3", "postgres://u@a:1,b:2/d"]
        {
            assert_eq!(Database::parse(url), Ok(Database::Postgres(url.to_owned())));
        }
    }

    #[test]
    fn what_cannot_be_used_is_explained_without_quoting_it() {
        for (url, why) in [
            ("", "write sqlite://PATH"),
            ("data/aegis.db", "write sqlite://PATH"),
            ("mysql://u:hunter2@h/d", "none that is known"),
            ("sqlite://", "path is missing"),
            ("sqlite://:memory:", "`none`"),
            ("sqlite://data/", "a folder"),
            ("sqlite://a?mode=ro", "no `?`"),
            ("postgres://u:hunter2@/d", "host is missing"),
            ("postgres://u:hunter2@h", "database is missing"),
            ("postgres://u:hunter2@h/", "database is missing"),
            ("postgres://u:hun/ter2@h/d", "%2F"),
            ("postgres://u:hunter 2@h/d", "spaces"),
            ("postgres://h/d?password=hunter2", "in front of the host"),
            ("postgres://u:hunter2@h:port/d", "check the port"),
            ("postgres://u:hunter2@h/d?what=1", "does not understand"),
            ("postgres://u:hunter2@h/d?sslmode=verify-full&sslrootcert=/no/such", "/no/such: "),
        ] {
            let error = Database::parse(url).unwrap_err();
            assert!(
                error.contains(why) && !error.contains("hunter") && !error.contains("ter2"),
                "{url}: {error}"
            );
        }
    }

    #[test]
    fn shown_it_has_neither_user_nor_password() {
        let database = Database::parse("postgres://user:hunter2@h:1/d?sslmode=disable").unwrap();
        assert_eq!(format!("{database} {database:?}"), "postgres://h:1/d postgres://h:1/d");
        assert_eq!(database.password(), Some("hunter2"));
        assert_eq!(Database::parse("postgres://h/d").unwrap().password(), None);
    }
}
