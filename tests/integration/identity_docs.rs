//! The configurations in `docs/identity.md`: each of them is one, and needs no word said about it.

use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::json;

use crate::harness::tokens::part;
use crate::harness::{Authority, Folder, run_with};

const PAGE: &str = include_str!("../../docs/identity.md");
/// Where its examples have their files.
const FILES: &str = "/etc/aegis/";
/// What an example that is about something else leaves out.
const BACKENDS: &str = "backends: [{name: site, url: 'http://127.0.0.1:3001', routes: [/**]}]\n";

/// What stands in fences of YAML, each with the number of its first line.
fn examples() -> Vec<(usize, String)> {
    let mut examples = Vec::new();
    let mut lines = PAGE.lines().zip(1..);
    while let Some((line, at)) = lines.next() {
        if line == "```yaml" {
            let text: Vec<_> =
                lines.by_ref().map(|(line, _)| line).take_while(|line| *line != "```").collect();
            examples.push((at + 1, text.join("\n") + "\n"));
        }
    }
    examples
}

/// A folder with the files that examples name.
fn folder() -> Folder {
    let folder = Folder::new();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("id.pem", &rcgen::KeyPair::generate().unwrap().public_key_pem());
    let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(made.as_ref()).unwrap();
    let key = json!({"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": part(pair.public_key())});
    write("jwks.json", &json!({ "keys": [key] }).to_string());
    let tls = folder.path().join("tls");
    std::fs::create_dir(&tls).unwrap();
    let authority = Authority::new();
    let (certificate, key) = authority.issue(&["localhost"]).write_pem(&tls);
    std::fs::rename(certificate, tls.join("fullchain.pem")).unwrap();
    std::fs::rename(key, tls.join("privkey.pem")).unwrap();
    authority.write_pem(&tls.join("clients-ca.pem"));
    folder
}

#[test]
fn every_example_is_a_configuration_that_check_says_nothing_about() {
    let folder = folder();
    let secret = "0123456789abcdef0123456789abcdef";
    let variables = [("JWT_SECRET", secret), ("KEY_PEPPER", secret)];
    let examples = examples();
    assert!(examples.len() > 12, "{} examples are left", examples.len());
    for (line, text) in examples {
        let has_backends = text.lines().any(|line| line == "backends:");
        let text = format!("{}{text}", if has_backends { "" } else { BACKENDS });
        let files = format!("{}/", folder.path().display());
        std::fs::write(folder.path().join("a.yaml"), text.replace(FILES, &files)).unwrap();
        let output = run_with(folder.path(), &variables, &["check", "-c", "a.yaml"]);
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        assert!(output.status.success(), "docs/identity.md:{line}: {said}");
        assert!(!said.contains("warning"), "docs/identity.md:{line}: {said}");
    }
}
