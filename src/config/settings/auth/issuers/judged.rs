//! What spans the keys of an issuer, and issuers among each other.

use aegis_schema::{Section, ensure, syntax};

use super::{Algorithm, Issuer, Jwt, SHORT, Terms};

pub(super) fn judge_issuer(issuer: &mut Issuer, section: &Section<'_>) {
    judge(&issuer.terms, section);
}

pub(super) fn judge_jwt(jwt: &mut Jwt, section: &Section<'_>) {
    const KEYS: [&str; 6] = ["secret", "publicKey", "publicKeys", "jwksFile", "jwksUri", "issuer"];
    if jwt.enabled {
        judge(&jwt.terms, section);
    } else if KEYS.iter().any(|key| section.has(key)) && !section.has("enabled") {
        section.warning_here("is not enabled, and no token is taken: add `enabled: true`");
    }
}

fn judge(terms: &Terms, section: &Section<'_>) {
    judge_names(terms, section);
    let public = ["publicKeys", "publicKey", "jwksFile"].into_iter().find(|key| section.has(key));
    if let (true, Some(key)) = (section.has("secret"), public.or(section.has("jwksUri").then_some("jwksUri")))
    {
        // Whoever has a public key could sign with its text as if that were the secret.
        section.error_of(
            "secret",
            format_args!(
                "cannot stand beside `{key}`: what everybody may know must never be tried as a secret; remove one of the two"
            ),
        );
        return;
    }
    if let (Some(key), true) = (public, section.has("jwksUri")) {
        section.error_of(
            "jwksUri",
            format_args!("cannot stand beside `{key}`: keys are written or fetched; remove one"),
        );
    }
    // A key that is written and wrong was reported; it is not missing.
    let written = public.is_some() || section.has("secret");
    if !written {
        judge_remote(terms, section);
    } else if section.has("caFile") {
        section.warning_of("caFile", "has no effect: the keys are written, and nothing is fetched");
    }
    judge_algorithms(terms, section);
}

fn judge_names(terms: &Terms, section: &Section<'_>) {
    for (key, skip, skipped, what) in [
        ("issuer", "insecureSkipIssuer", terms.insecure_skip_issuer, "whoever has made them"),
        ("audience", "insecureSkipAudience", terms.insecure_skip_audience, "whoever they are for"),
    ] {
        let nothing =
            !section.has(key) || (key == "audience" && terms.audience.is_empty() && section.unharmed());
        match (nothing, skipped) {
            (true, false) => section.error_here(format!(
                "`{}` is required: write what `{}` of the tokens is (`{skip}: true` would take tokens {what})",
                section.name(key),
                if key == "issuer" { "iss" } else { "aud" },
            )),
            (true, true) => {
                section.warning_of(skip, format_args!("takes tokens {what}: write `{key}` instead, if you can"));
            }
            (false, true) => section.error_of(skip, format_args!("contradicts `{key}`: remove one of the two")),
            (false, false) => {}
        }
    }
    if section.has("typ") && terms.typ.is_empty() && section.unharmed() {
        section.error_of(
            "typ",
            "is an empty list, and no token would pass: remove it, or write for example `[at+jwt]`",
        );
    }
}

/// The keys are fetched, from the address that is written or found from the issuer.
fn judge_remote(terms: &Terms, section: &Section<'_>) {
    let Some(issuer) = &terms.issuer else {
        if !section.has("jwksUri") && !section.has("issuer") {
            section.error_here(format!(
                "`{}` has no keys: write `secret`, `publicKeys`, `jwksFile`, `jwksUri`, or an `issuer` to find them by",
                section.path
            ));
        }
        return;
    };
    if section.has("jwksUri") {
        return;
    }
    let judged = is_provider_url(issuer).and_then(|()| {
        // RFC 8414, 2: an issuer has neither.
        ensure!(
            !issuer.contains(['?', '#']),
            "an issuer that keys are found by has no query and no fragment"
        );
        Ok(())
    });
    if let Err(why) = judged {
        section.error_of(
            "issuer",
            format_args!(
                "is no address to find keys by: {why}; or write `jwksUri`, `jwksFile`, `publicKeys` or `secret` beside it"
            ),
        );
    }
}

fn judge_algorithms(terms: &Terms, section: &Section<'_>) {
    if section.has("algorithms") && terms.algorithms.is_empty() && section.unharmed() {
        section.error_of(
            "algorithms",
            "is an empty list, and no token would pass: remove it, or write for example `[RS256]`",
        );
    }
    let Some(secret) = &terms.secret else {
        let hmac = terms.algorithms.iter().find(|algorithm| algorithm.is_hmac());
        if let Some(hmac) = hmac.filter(|_| !section.has("secret")) {
            section.error_of(
                "algorithms",
                format_args!("holds {}, which needs a `secret`, and there is none: remove it", hmac.as_str()),
            );
        }
        return;
    };
    if let Some(public) = terms.algorithms.iter().find(|algorithm| !algorithm.is_hmac()) {
        let what =
            format_args!("holds {}, which a `secret` cannot verify: remove it", public.as_str()).to_string();
        section.error_of("algorithms", what);
    }
    let Some(bytes) = secret_bytes(secret) else {
        section.error_of(
            "secret",
            "begins with `base64:`, and what follows is no base64: write it anew, or without the prefix",
        );
        return;
    };
    // RFC 7518, 3.2: as long as the hash at least. The shortest algorithm where none is written.
    let hmac = terms.algorithms.iter().filter_map(|algorithm| Some((*algorithm, algorithm.hmac_bytes()?)));
    let (algorithm, least) = hmac.max_by_key(|(_, bytes)| *bytes).unwrap_or((Algorithm::Hs256, 32));
    if bytes.len() < least {
        section.error_of(
            "secret",
            format_args!(
                "is {} bytes long, and {} needs {least} (RFC 7518, 3.2), or it can be guessed: make a new one, for example \
                 with `openssl rand -base64 {least}`",
                bytes.len(),
                algorithm.as_str()
            ),
        );
    }
}

/// The secret itself, of a text or of `base64:…`.
pub fn secret_bytes(secret: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    use base64::alphabet::{STANDARD, URL_SAFE};
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    let Some(encoded) = secret.strip_prefix("base64:") else { return Some(secret.as_bytes().to_vec()) };
    let alphabet = if encoded.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config).decode(encoded).ok()
}

/// Notes where two entries claim the same tokens; `auth` is the section around both.
pub fn distinct(issuers: &[Issuer], jwt: &Jwt, auth: &Section<'_>) {
    auth.distinct("issuers", "name", issuers.iter().map(|issuer| &*issuer.name));
    let listed = issuers.iter().zip(auth.sections("issuers"));
    let mut entries: Vec<_> =
        listed.map(|(issuer, section)| (&*issuer.name, &issuer.terms, section)).collect();
    let short = auth.child("jwt").filter(|_| jwt.enabled);
    if let Some((_, _, section)) = entries.iter().find(|(name, ..)| *name == SHORT && short.is_some()) {
        section.error_of("name", "is what `auth.jwt` goes by: rename the issuer, or move `auth.jwt` into it");
    }
    entries.extend(short.map(|section| (SHORT, &jwt.terms, section)));
    for (number, (_, terms, section)) in entries.iter().enumerate() {
        let same = |(_, other, _): &&(&str, &Terms, Section<'_>)| match &terms.issuer {
            Some(issuer) => other.issuer.as_ref() == Some(issuer),
            None => terms.insecure_skip_issuer && other.insecure_skip_issuer,
        };
        let Some((_, _, first)) = entries[..number].iter().find(same) else { continue };
        match &terms.issuer {
            Some(_) => section.error_of(
                "issuer",
                format_args!(
                    "is the issuer of `{}` already: a token belongs to one entry, by its `iss`; put keys, audiences and \
                     algorithms of both into one",
                    first.path
                ),
            ),
            None => section.error_of(
                "insecureSkipIssuer",
                format_args!("is set in `{}` already: a token that names no issuer can belong to one entry only", first.path),
            ),
        }
    }
}

/// Whether keys may be fetched from there.
///
/// # Errors
/// What is wrong with it.
pub fn is_provider_url(text: &str) -> Result<(), &'static str> {
    const FORM: &str = "write a URL such as `https://id.example.com/keys`";
    let url = url::Url::parse(text).map_err(|_| FORM)?;
    let host = url.host_str().ok_or(FORM)?;
    ensure!(url.username().is_empty() && url.password().is_none(), "it must not hold a user or a password");
    ensure!(url.fragment().is_none(), "it must not hold a `#`");
    syntax::host_and_port(text, FORM)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match url.scheme() {
        "https" => Ok(()),
        "http" if syntax::is_loopback(bare) => Ok(()),
        "http" => {
            Err("keys that come in clear can be exchanged on the way: use https (http on this machine only)")
        }
        _ => Err(FORM),
    }
}
