//! `Client-Cert` and `Client-Cert-Chain` (RFC 9440): what upstreams are told of a client's certificate, and by whom.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::DEFAULT_VERSIONS;

use crate::harness::client_pki::{Pki, ask, status, to};
use crate::harness::http2::{Http2, block_on, read};
use crate::harness::{Backend, Head, Upstream};

/// A certificate as it stands in a field (RFC 9440 §2.1).
fn field(der: &[u8]) -> String {
    format!(":{}:", STANDARD.encode(der))
}

const SPELLINGS: [&str; 6] = [
    "Client-Cert",
    "client_cert",
    "Client.Cert",
    "CLIENT-CERT-CHAIN",
    "client-cert_chain",
    "Client-Cert-Whatever-May-Come",
];

#[test]
fn an_upstream_is_told_of_the_connections_own_certificate_and_of_no_other() {
    let (pki, upstream) = (Pki::new(), Upstream::ok("ok"));
    let identity = pki.clients.identity_below(2, |_| {});
    let chain: Vec<String> = identity.chain().iter().map(|one| field(one)).collect();
    let rest = chain[1..].join(", ");
    for trusted in ["[]", "[127.0.0.1]"] {
        for (which, rule, leaf, others) in [
            ("off", "optional", None, None),
            ("leaf", "optional", Some(chain[0].as_str()), None),
            ("chain", "optional", Some(chain[0].as_str()), Some(rest.as_str())),
            // A route that does not want it is not told of it.
            ("chain", "none", None, None),
        ] {
            let backend = Backend::named("main")
                .to(&upstream)
                .route(&format!("{{path: /x, clientAuth: {rule}}}"))
                .route("/asks")
                .with(&format!("forwardClientCert: {which}"));
            let builder = pki.builder("clientAuth: optional").server(&format!("trustedProxies: {trusted}"));
            let gateway = builder.backend(backend).start();
            let spoofing = SPELLINGS.iter().fold(to("a.test"), |call, name| call.header(name, ":c3Bvb2Y=:"));
            let told = |head: &Head| {
                let all: Vec<_> = head
                    .headers
                    .iter()
                    .filter(|(name, _)| name.to_lowercase().starts_with("client"))
                    .collect();
                let values =
                    ["Client-Cert", "Client-Cert-Chain"].map(|name| head.get(name).map(str::to_owned));
                assert_eq!(all.len(), values.iter().flatten().count(), "{all:?}");
                values
            };
            let expected =
                |shown: bool| [leaf, others].map(|value| value.filter(|_| shown).map(str::to_owned));
            // Who is trusted says what it likes where the gateway has no word of its own.
            let believed = trusted != "[]" && which == "off";
            for shown in [Some(&identity), None] {
                for call in [to("a.test"), spoofing.clone()].iter().take(if believed { 1 } else { 2 }) {
                    assert_eq!(ask(&gateway, "a.test", &pki.client(shown), call).unwrap().status, 200);
                    assert_eq!(
                        told(&upstream.last().head),
                        expected(shown.is_some()),
                        "{which} {rule} {trusted}"
                    );
                }
            }
            block_on(async {
                let config = pki.client_of(DEFAULT_VERSIONS, &["h2"], Some(&identity));
                let mut client = Http2::connect_tls_for("a.test", gateway.addr, config).await;
                let mut request = client.request("GET", "/x");
                if !believed {
                    let spoofed = http::HeaderValue::from_static(":c3Bvb2Y=:");
                    request.headers_mut().insert("client-cert", spoofed.clone());
                    request.headers_mut().insert("client_cert", spoofed);
                }
                let (answer, _) = client.start(request, true).await;
                assert_eq!(read(answer).await.unwrap().status, 200);
                assert_eq!(told(&upstream.last().head), expected(true), "{which} {rule} over HTTP/2");
            });
        }
    }
}

#[test]
fn a_certificate_with_odd_names_harms_nobody() {
    let (pki, upstream) = (Pki::new(), Upstream::ok("ok"));
    let backend = Backend::all(&upstream).with("forwardClientCert: leaf");
    let gateway = pki.builder("clientAuth: required").backend(backend).start();
    let dns = |name: &str| rcgen::SanType::DnsName(name.try_into().unwrap());
    for (what, names) in [
        ("NUL", vec![dns("admin\0.evil.test")]),
        ("line breaks", vec![dns("a\r\nX-User-Id: root")]),
        ("very many", (0..3_000).map(|n| dns(&format!("{n}.test"))).collect()),
    ] {
        let identity = pki.clients.identity(|params| params.subject_alt_names = names);
        assert_eq!(status(&gateway, &pki.client(Some(&identity))), Some(200), "{what}");
        let head = upstream.last().head;
        assert_eq!(head.get("client-cert"), Some(field(&identity.chain()[0]).as_str()), "{what}");
        assert_eq!(head.get("x-user-id"), None);
    }
    let broken =
        rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30, 0x04, 0x82, 0x02, 0xc3, 0xa9]);
    let identity = pki.clients.identity(|params| params.custom_extensions = vec![broken]);
    assert_ne!(
        status(&gateway, &pki.client(Some(&identity))),
        Some(200),
        "what cannot be read is not believed"
    );
}
