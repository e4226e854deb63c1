//! What must not be shown, and what stands in its place.

use std::ops::Range;

use serde_json::Value;

/// What is shown instead of a secret.
pub const REDACTED: &str = "[redacted]";

/// Whether the value of this key is not to be shown anywhere. By parts of the name, in any case and spelling.
pub fn is_secret(key: &str) -> bool {
    const PARTS: [&str; 8] =
        ["token", "secret", "password", "passwd", "credential", "authorization", "apikey", "privatekey"];
    let folded = folded(key);
    // Whether they go on is no secret.
    folded != "forwardcredentials" && PARTS.iter().any(|part| folded.contains(part))
}

/// The same for a field of a request, which may be what its sender is known by: sessions, and whatever is a key.
pub fn is_secret_field(name: &str) -> bool {
    let folded = folded(name);
    is_secret(name) || folded.contains("cookie") || folded.contains("session") || folded.ends_with("key")
}

fn folded(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// Replaces, everywhere below `value`, scalars under secret-looking keys and the userinfo of URLs. An empty
/// text stays: that there is no token is worth seeing.
pub fn redact(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                match value {
                    Value::Bool(_) | Value::Number(_) | Value::String(_) if value != "" && is_secret(key) => {
                        *value = REDACTED.into();
                    }
                    _ => redact(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::String(text) => {
            if let Some(clean) = without_userinfo(text) {
                *text = clean;
            }
        }
        _ => {}
    }
}

/// The URL with `user:password@` replaced, when it has one.
pub fn without_userinfo(text: &str) -> Option<String> {
    let userinfo = userinfo(text.as_bytes())?;
    Some(format!("{}{REDACTED}@{}", text.get(..userinfo.start)?, text.get(userinfo.end..)?))
}

/// Where in a URL `user:password@` stands.
pub fn userinfo(url: &[u8]) -> Option<Range<usize>> {
    let start = url.windows(3).position(|three| three == b"://")? + 3;
    let rest = &url[start..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    // The last `@`: a password may hold one itself.
    let at = rest[..end].iter().rposition(|byte| *byte == b'@')?;
    Some(start..start + at + 1)
}

/// The URL up to its host: the path of a webhook is what lets one post there.
pub fn host_alone(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return REDACTED.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let host = authority.rsplit('@').next().unwrap_or("");
    format!("{scheme}://{host}/{REDACTED}")
}

/// As [`without_userinfo`], for a URL that may be broken: a password with a `/` in it ends the host too early, so
/// everything up to the last `@` goes.
pub fn without_anything_before_an_at(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let at = rest.rfind('@')?;
    Some(format!("{scheme}://{REDACTED}{}", rest.get(at..)?))
}

/// A text that is shown nowhere.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands in its place; that there is none is worth seeing.
    pub fn redacted(&self) -> &'static str {
        if self.is_empty() { "" } else { REDACTED }
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl PartialEq<&str> for Secret {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl std::ops::Deref for Secret {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.redacted())
    }
}
