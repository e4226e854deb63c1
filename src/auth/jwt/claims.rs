//! What a verified token says: who is asking, until when, and what for.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::config::settings::auth::claim_path::ClaimPath;
use crate::config::settings::auth::issuers::ClaimPaths;

/// Bytes of a name.
const LONGEST_USER: usize = 256;
/// 2^64, the first number that is no `u64`.
const BEYOND: f64 = 18_446_744_073_709_551_616.0;

/// What a token says, after everything in it has been checked but what depends on the route.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    /// The number of its entry.
    pub issuer: usize,
    /// Who is asking: 1 to 256 bytes without control characters, of whatever script.
    pub user: String,
    /// Not there where `email_verified` is `false`.
    pub email: Option<String>,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
    pub tier: Option<String>,
    /// Paths and their methods, where `permissionsClaim` says where.
    pub permissions: Vec<(String, Vec<String>)>,
    /// `exp`, in seconds since 1970, rounded down.
    pub expires_at: u64,
    /// From then on it is refused: `exp` and the tolerance.
    pub refused_at: u64,
    /// `iat`, likewise.
    pub issued_at: Option<u64>,
    pub jti: Option<String>,
    /// The token is of use only to whoever proves this.
    pub confirmation: Option<Confirmation>,
    /// What the key that verified it is called, where it is called anything.
    pub kid: Option<String>,
    /// All of them.
    pub all: Map<String, Value>,
}

/// What must be proved (`cnf`, RFC 7800).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// That the connection has the certificate with this SHA-256 of its DER (`x5t#S256`, RFC 8705).
    Certificate([u8; 32]),
    /// Something that cannot be proved here: the token is of no use.
    Other,
}

/// Why claims are refused, for the log.
pub(super) type Refusal = &'static str;

/// A `NumericDate` (RFC 7519, 2), in whole seconds, rounded down. `None` where there is none.
pub(super) fn seconds(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Refusal> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let number = value.as_u64().or_else(|| {
        let number = value.as_f64().filter(|_| value.is_f64())?;
        (0.0..BEYOND).contains(&number).then_some(number as u64)
    });
    number.map(Some).ok_or("`exp`, `nbf` or `iat` is no time")
}

/// Whether `aud`, a text or a list of texts, holds one of these; `None` where it is not there.
pub(super) fn audience(claims: &Map<String, Value>, ours: &[String]) -> Result<Option<bool>, Refusal> {
    const FORM: Refusal = "its `aud` is neither a text nor a list of texts";
    let held = |text: &str| ours.iter().any(|ours| ours == text);
    match claims.get("aud") {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(held(text))),
        Some(Value::Array(list)) if !list.is_empty() => {
            let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
            Ok(Some(texts.ok_or(FORM)?.into_iter().any(held)))
        }
        Some(_) => Err(FORM),
    }
}

/// Who and what, by the paths of the entry.
pub(super) struct Subject {
    pub user: String,
    pub email: Option<String>,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
    pub tier: Option<String>,
    pub permissions: Vec<(String, Vec<String>)>,
}

impl Subject {
    pub fn of(claims: &Map<String, Value>, paths: &ClaimPaths) -> Result<Self, Refusal> {
        let user = text(first(claims, &paths.user), "the claim of the user is no text")?
            .filter(|user| (1..=LONGEST_USER).contains(&user.len()))
            .ok_or("it names no user, or with more than 256 bytes")?;
        // Whoever may write any address into an account that was never verified could be anybody.
        let unverified = claims.get("email_verified").is_some_and(|said| *said == false || *said == "false");
        let email = text(first(claims, &paths.email), "the claim of the address is no text")?;
        let permissions = first(claims, &paths.permissions).map_or(Ok(Vec::new()), permissions)?;
        Ok(Self {
            user,
            email: email.filter(|email| !email.is_empty() && !unverified),
            roles: texts(first(claims, &paths.roles), |role| vec![role])?,
            scopes: texts(first(claims, &paths.scopes), |scopes| scopes.split(' ').collect())?,
            tier: text(first(claims, &paths.tier), "the claim of the tier is no text")?
                .filter(|tier| !tier.is_empty()),
            permissions,
        })
    }
}

/// The first of several paths that leads to something.
fn first<'c>(claims: &'c Map<String, Value>, paths: &[ClaimPath]) -> Option<&'c Value> {
    paths.iter().find_map(|path| path.find(claims))
}

/// It goes into header fields and logs.
fn clean(text: &str) -> Result<String, Refusal> {
    match text.contains(char::is_control) {
        true => Err("a claim that is passed on holds control characters"),
        false => Ok(text.to_owned()),
    }
}

fn text(value: Option<&Value>, form: Refusal) -> Result<Option<String>, Refusal> {
    value.map(|value| clean(value.as_str().ok_or(form)?)).transpose()
}

/// A list of texts, or one text and how it is `split`. Empty ones are none.
fn texts(value: Option<&Value>, split: fn(&str) -> Vec<&str>) -> Result<Vec<String>, Refusal> {
    const FORM: Refusal = "the claim of roles or scopes is neither a text nor a list of texts";
    let found: Vec<&str> = match value {
        None => Vec::new(),
        Some(Value::String(text)) => split(text),
        Some(Value::Array(list)) => list.iter().map(Value::as_str).collect::<Option<_>>().ok_or(FORM)?,
        Some(_) => return Err(FORM),
    };
    found.into_iter().filter(|text| !text.is_empty()).map(clean).collect()
}

fn permissions(value: &Value) -> Result<Vec<(String, Vec<String>)>, Refusal> {
    let object = value.as_object().ok_or("the claim of permissions is no object")?;
    let one =
        |(path, methods): (&String, &Value)| Ok((clean(path)?, texts(Some(methods), |method| vec![method])?));
    object.iter().map(one).collect()
}

/// `cnf`, if it is there. What is in it is not optional for whoever does not know it.
pub(super) fn confirmation(claims: &Map<String, Value>) -> Result<Option<Confirmation>, Refusal> {
    let Some(value) = claims.get("cnf") else { return Ok(None) };
    let members = value.as_object().ok_or("its `cnf` is no object")?;
    let digest = members.get("x5t#S256").and_then(Value::as_str);
    let bytes = digest.and_then(|digest| URL_SAFE_NO_PAD.decode(digest).ok());
    Ok(Some(match bytes.map(<[u8; 32]>::try_from) {
        Some(Ok(digest)) if members.len() == 1 => Confirmation::Certificate(digest),
        _ => Confirmation::Other,
    }))
}

/// `jti`, if it is there.
pub(super) fn identifier(claims: &Map<String, Value>) -> Result<Option<String>, Refusal> {
    match claims.get("jti") {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err("its `jti` is no text"),
    }
}
