//! Where an issuer says that its keys are (OpenID Connect Discovery 1.0, RFC 8414).

use serde_json::Value;
use url::Url;

use crate::config::settings::auth::issuers::is_provider_url;

/// Where its metadata may be, in the order in which they are asked for.
///
/// # Errors
/// It is no address.
pub(super) fn places(issuer: &str) -> Result<[Url; 2], String> {
    let issuer = Url::parse(issuer).map_err(|_| "the issuer is no URL")?;
    let path = issuer.path().trim_end_matches('/').to_owned();
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url
    };
    // Discovery 1.0, 4: behind the issuer's path. RFC 8414, 3.1: between host and path.
    Ok([
        at(format!("{path}/.well-known/openid-configuration")),
        at(format!("/.well-known/oauth-authorization-server{path}")),
    ])
}

/// The `jwks_uri` of a metadata document.
///
/// # Errors
/// What is wrong with the document.
pub(super) fn jwks_uri(document: &[u8], issuer: &str) -> Result<Url, String> {
    let document: Value = serde_json::from_slice(document).map_err(|_| "its metadata are no JSON")?;
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    // RFC 8414, 3.3: else anybody's metadata would do for everybody.
    if text("issuer") != Some(issuer) {
        return Err("its metadata are of another issuer: `issuer` must be written as they say it".to_owned());
    }
    let uri = text("jwks_uri").ok_or("its metadata have no `jwks_uri`")?;
    is_provider_url(uri).map_err(|why| format!("the `jwks_uri` of its metadata cannot be used: {why}"))?;
    Url::parse(uri).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_are_behind_the_issuer_or_between_its_host_and_its_path() {
        let places = |issuer: &str| places(issuer).map(|urls| urls.map(|url| url.to_string()));
        let expected = |places: [&str; 2]| Ok(places.map(str::to_owned));
        assert_eq!(
            places("https://id.test"),
            expected([
                "https://id.test/.well-known/openid-configuration",
                "https://id.test/.well-known/oauth-authorization-server"
            ])
        );
        for issuer in ["https://id.test:8443/realms/a", "https://id.test:8443/realms/a/"] {
            assert_eq!(
                places(issuer),
                expected([
                    "https://id.test:8443/realms/a/.well-known/openid-configuration",
                    "https://id.test:8443/.well-known/oauth-authorization-server/realms/a"
                ])
            );
        }
        assert!(places("id.test").is_err());
    }

    #[test]
    fn metadata_count_only_for_the_issuer_that_they_name_and_lead_only_to_where_keys_may_come_from() {
        let read =
            |document: &str| jwks_uri(document.as_bytes(), "https://id.test").map(|url| url.to_string());
        let of = |issuer: &str, uri: &str| read(&json!({"issuer": issuer, "jwks_uri": uri}).to_string());
        assert_eq!(
            of("https://id.test", "https://keys.test/a?b=c"),
            Ok("https://keys.test/a?b=c".to_owned())
        );
        assert!(of("https://id.test", "http://127.0.0.1:9/keys").is_ok());
        for issuer in ["https://id.test/", "https://ID.test", "https://other.test", ""] {
            assert!(of(issuer, "https://keys.test").unwrap_err().contains("another issuer"), "{issuer}");
        }
        for uri in
            ["http://keys.test", "file:///etc/passwd", "//keys.test", "https://u:p@keys.test", "", "keys"]
        {
            assert!(of("https://id.test", uri).unwrap_err().contains("cannot be used"), "{uri}");
        }
        for document in
            ["", "<html>", "[]", r#"{"issuer":["https://id.test"]}"#, r#"{"issuer":"https://id.test"}"#]
        {
            assert!(read(document).is_err(), "{document}");
        }
    }
}
