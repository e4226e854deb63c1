//! `rediss://`: what the platform trusts is connected to, anything else is not.

use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::servers::Server;
use super::*;

const URL: &str = "AEGIS_TEST_REDIS_URL";

#[actix_rt::test]
async fn a_server_is_believed_only_with_a_certificate_of_a_known_authority() {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let root = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();

    let server = Server::secured(&certificate.pem(), &key.serialize_pem());
    let roots = server.keep("roots.pem", &root.pem());
    let url = format!("rediss://127.0.0.1:{}/", server.port);
    let stranger = patient(&url);
    let error = ask(&stranger, &one("k", plan(Algorithm::TokenBucket, 10, ms(60_000)))).await.unwrap_err();
    assert!(error.why.contains("UnknownIssuer") || error.why.contains("certificate"), "{error}");

    // The platform's roots are read from where the environment says, and that can be said only to a new process.
    let this = module_path!().split_once("::").unwrap().1;
    let outcome = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", &format!("{this}::asks_the_server_of_the_other_test")])
        .env("SSL_CERT_FILE", roots)
        .env(URL, url)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&outcome.stdout);
    assert!(outcome.status.success() && said.contains("1 passed"), "{said}");
}

#[actix_rt::test]
#[ignore = "the other half of the test above, which runs it with another environment"]
async fn asks_the_server_of_the_other_test() {
    let store = patient(&std::env::var(URL).unwrap());
    let taken = sure(&store, &one("k", plan(Algorithm::TokenBucket, 10, ms(60_000)))).await;
    assert_eq!((taken.granted, taken.remaining), (1, 9));
}
