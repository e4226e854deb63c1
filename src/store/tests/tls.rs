//! PostgreSQL under TLS: every mode does what libpq's does, and none is ever silently plain.

use super::authority::Authority;
use super::*;

/// A server whose certificate, by the authority of `folder/ca.pem`, is for this name; and a user `secret` who needs TLS and
/// a password.
fn secure(folder: &Folder, name: &str) -> Postgres {
    let server = Postgres::start();
    let authority = Authority::new();
    authority.write_pem(&folder.path().join("ca.pem"));
    Authority::new().write_pem(&folder.path().join("other.pem"));
    server.serve_tls(&authority.issue(&[name]).write_pem(folder.path()));
    server.psql("postgres", "SET password_encryption = 'scram-sha-256'; CREATE ROLE secret LOGIN SUPERUSER PASSWORD 'hunter2'").unwrap();
    server
}

/// Connects, and tells whether the connection is under TLS; or why there is none.
fn connected(server: &Postgres, url: &str, parameters: &str) -> Result<bool, String> {
    let store =
        Store::open(&format!("{url}?{parameters}"), Options { maintain_every: None, ..Options::default() });
    let store = store.map_err(|error| error.to_string())?;
    attempt(store.samples(1, Wanted::default())).map_err(|error| error.to_string())?;
    let database = url.rsplit('/').next().unwrap();
    let ours = "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                WHERE application_name = 'aegis' AND datname = current_database()";
    let told = server.psql(database, ours).unwrap();
    assert!(["t", "f"].contains(&told.as_str()), "all connections alike: {told:?}");
    Ok(told == "t")
}

#[test]
fn connections_are_as_sure_as_the_url_asks() {
    let folder = Folder::new();
    let (right, wrong) = (secure(&folder, "127.0.0.1"), Folder::new());
    let elsewhere = secure(&wrong, "other.test");
    let ca = |folder: &Folder, file: &str| format!("sslrootcert={}", folder.path().join(file).display());
    for (server, parameters, expected) in [
        (&right, "sslmode=disable".to_owned(), Ok(false)),
        (&right, String::new(), Ok(true)),
        (&right, "sslmode=prefer".to_owned(), Ok(true)),
        (&right, "sslmode=require".to_owned(), Ok(true)),
        (&right, format!("sslmode=verify-full&{}", ca(&folder, "ca.pem")), Ok(true)),
        (
            &right,
            format!("sslmode=verify-full&{}", ca(&folder, "other.pem")),
            Err("invalid peer certificate"),
        ),
        (&right, format!("sslmode=verify-ca&{}", ca(&folder, "other.pem")), Err("invalid peer certificate")),
        (&right, format!("sslmode=require&{}", ca(&folder, "other.pem")), Err("invalid peer certificate")),
        (&right, "sslmode=verify-full".to_owned(), Err("invalid peer certificate")),
        (&elsewhere, format!("sslmode=verify-ca&{}", ca(&wrong, "ca.pem")), Ok(true)),
        (&elsewhere, format!("sslmode=verify-full&{}", ca(&wrong, "ca.pem")), Err("not valid for name")),
    ] {
        let told = connected(server, &server.database(), &parameters);
        match (&told, expected) {
            (Ok(told), Ok(expected)) => assert_eq!(*told, expected, "{parameters}"),
            (Err(why), Err(expected)) => assert!(why.contains(expected), "{parameters}: {why}"),
            _ => panic!("{parameters}: {told:?} instead of {expected:?}"),
        }
    }
    // With a password the two ends make sure that nobody stands between them (channel binding).
    let url = right.database().replace("//aegis@", "//secret:hunter2@");
    assert_eq!(connected(&right, &url, "sslmode=require&channel_binding=require"), Ok(true));
    let refused = connected(&right, &url, "sslmode=disable").unwrap_err();
    assert!(!refused.contains("hunter2"), "{refused}");
}

#[test]
fn a_server_without_tls_is_spoken_to_plainly_only_where_that_is_allowed() {
    let server = Postgres::shared();
    for parameters in ["", "sslmode=prefer", "sslmode=disable"] {
        assert_eq!(connected(&server, &server.database(), parameters), Ok(false), "{parameters}");
    }
    for parameters in ["sslmode=require", "sslmode=verify-full"] {
        let why = connected(&server, &server.database(), parameters).unwrap_err();
        assert!(why.contains("server does not support TLS"), "{parameters}: {why}");
    }
}
