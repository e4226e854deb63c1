//! Where in a token's claims something is: `org.tenant`, `https://example\.com/roles`.

use aegis_schema::form::parsed;
use aegis_schema::{Form, Json};
use serde_json::Map;

/// The deepest that a path may lead.
const DEEPEST: usize = 16;

/// A dotted path through the claims of a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimPath {
    /// As it is written.
    text: String,
    /// Names of members, from the outermost.
    steps: Vec<String>,
}

impl ClaimPath {
    /// Reads a path: names with dots between them; `\.` is a dot in a name and `\\` a backslash.
    ///
    /// # Errors
    /// What is wrong, and how to mend it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (mut steps, mut escaped) = (vec![String::new()], false);
        for c in text.chars() {
            let Some(step) = steps.last_mut() else { break };
            match c {
                '.' | '\\' if escaped => step.push(c),
                _ if escaped => return Err("only a dot or a backslash can follow a backslash"),
                '\\' => {}
                '.' => steps.push(String::new()),
                c if c.is_control() => return Err("it must not hold control characters"),
                c => step.push(c),
            }
            escaped = c == '\\' && !escaped;
        }
        match steps {
            _ if escaped => Err("a backslash at the end escapes nothing: remove it, or write two"),
            steps if steps.iter().any(String::is_empty) => {
                Err("it has an empty name: write for example `sub` or `org.tenant`; a dot in a name is `\\.`")
            }
            steps if steps.len() > DEEPEST => Err("it leads deeper than 16 levels"),
            // Namespaced claims are named like URLs, and a URL's dots are not meant to lead anywhere.
            steps if steps[0].starts_with("http://") || steps[0].starts_with("https://") => {
                match steps.len() {
                    1 => Ok(Self { text: text.to_owned(), steps }),
                    _ => Err("a dot leads into an object: in a name that is a URL write `\\.` for each dot"),
                }
            }
            steps => Ok(Self { text: text.to_owned(), steps }),
        }
    }

    /// A path that is one name.
    pub fn name(name: &'static str) -> Self {
        Self { text: name.replace('\\', "\\\\").replace('.', "\\."), steps: vec![name.to_owned()] }
    }

    /// The member of this name of what is there.
    #[must_use]
    pub fn then(mut self, name: &'static str) -> Self {
        let next = Self::name(name);
        self.text = format!("{}.{}", self.text, next.text);
        self.steps.extend(next.steps);
        self
    }

    /// The value there. `null` is nothing.
    pub fn find<'c>(&self, claims: &'c Map<String, Json>) -> Option<&'c Json> {
        let (last, around) = self.steps.split_last()?;
        let inner = around.iter().try_fold(claims, |object, step| object.get(step)?.as_object())?;
        inner.get(last).filter(|value| !value.is_null())
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A path through the claims of a token.
pub fn claim_path() -> Form<ClaimPath> {
    let read = |text: &str| ClaimPath::parse(text).map_err(|why| format!("is {{found}}: {why}"));
    parsed("path of a claim", read, |path| path.text.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dots_lead_into_objects_and_escaped_ones_do_not() {
        let claims = json!({
            "sub": "u", "realm_access": {"roles": ["a"]}, "a.b": {"c\\d": 1}, "https://x.test/roles": ["r"],
            "gone": null, "text": "t",
        });
        let find = |text: &str| {
            ClaimPath::parse(text).unwrap().find(claims.as_object().unwrap()).map(Json::to_string)
        };
        for (path, found) in [
            ("sub", Some("\"u\"")),
            ("realm_access.roles", Some("[\"a\"]")),
            ("a\\.b.c\\\\d", Some("1")),
            ("https://x\\.test/roles", Some("[\"r\"]")),
            ("a.b", None),
            ("gone", None),
            ("text.more", None),
            ("SUB", None),
        ] {
            assert_eq!(find(path).as_deref(), found, "{path}");
        }
        assert_eq!(ClaimPath::parse("a\\.b").unwrap(), ClaimPath::name("a.b"));
    }

    #[test]
    fn a_path_that_cannot_be_meant_is_refused() {
        for text in
            ["", ".", "a.", ".a", "a..b", "a\\", "a\\b", "a\nb", "https://x.test/roles", &"a.".repeat(17)]
        {
            assert!(ClaimPath::parse(text).is_err(), "{text:?}");
        }
    }
}
