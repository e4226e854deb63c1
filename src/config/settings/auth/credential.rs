//! Kinds of credentials, and which of them a route wants.

use aegis_schema::form::parsed;
use aegis_schema::tree::Kind;
use aegis_schema::{Describe as _, Form, Section, section, suggest, tables};
use serde_json::json;

/// A kind of credential, as it is written in `auth`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Credential {
    ApiKey,
    /// A JWT; of one of `auth.issuers`, or of any.
    Jwt(Option<String>),
    /// The certificate of the client's connection.
    Mtls,
}

impl Credential {
    /// As it is written.
    pub fn name(&self) -> String {
        match self {
            Self::ApiKey => "apiKey".to_owned(),
            Self::Jwt(None) => "jwt".to_owned(),
            Self::Jwt(Some(issuer)) => format!("jwt:{issuer}"),
            Self::Mtls => "mtls".to_owned(),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        const KNOWN: [&str; 4] = ["apiKey", "jwt", "jwt:NAME", "mtls"];
        match text.split_once(':').map_or((text, None), |(kind, name)| (kind, Some(name))) {
            ("apiKey", None) => Ok(Self::ApiKey),
            ("jwt", None) => Ok(Self::Jwt(None)),
            ("jwt", Some(name)) if !name.is_empty() => Ok(Self::Jwt(Some(name.to_owned()))),
            ("mtls", None) => Ok(Self::Mtls),
            ("basic" | "session" | "forward", _) => {
                Err("is {found}, which is not available in this version (see CHANGELOG.md): use `apiKey`, `jwt` or `mtls`".to_owned())
            }
            _ => Err(format!("is {{found}}: {}", suggest::hint(text, KNOWN, "use `apiKey`, `jwt`, `jwt:NAME` or `mtls`"))),
        }
    }
}

/// What a route wants of who sends a request.
#[derive(Clone, Debug, PartialEq)]
pub enum AuthRule {
    /// Some credential, of any kind that is configured.
    Required,
    /// Likewise, or none at all.
    Optional,
    /// Nobody is asked.
    None,
    /// One of these.
    Any(Vec<Credential>),
    /// Each of these.
    All(Vec<Credential>),
}

const WORDS: [(&str, AuthRule); 3] =
    [("required", AuthRule::Required), ("optional", AuthRule::Optional), ("none", AuthRule::None)];

section! {
    /// `auth` of a route or backend, in its long form: exactly one of the two.
    pub struct Kinds, check one_of_both {
        /// one of these kinds of credentials: `apiKey`, `jwt`, `jwt:NAME`, `mtls`. Of several that are there each must be right,
        /// and the first in this order is who it is
        any: Vec<Credential>, "any" list(credential()).unique().sparse().words("list of kinds");
        /// each of these
        all: Vec<Credential>, "all" list(credential()).unique().sparse().words("list of kinds");
    }
}

fn one_of_both(kinds: &mut Kinds, section: &Section<'_>) {
    let written = |key| section.has(key);
    if written("any") == written("all") {
        section.error_here(format!(
            "`{}` must have either `any` or `all`: write for example `{{any: [apiKey, jwt]}}`",
            section.path
        ));
        return;
    }
    let (key, list) = if written("any") { ("any", &kinds.any) } else { ("all", &kinds.all) };
    if list.is_empty() && section.clean(key) {
        section.error_of(key, "is empty: name at least one kind of credential, or write `none`");
    }
}

fn credential() -> Form<Credential> {
    parsed("kind", Credential::parse, Credential::name).pattern("^(apiKey|mtls|jwt(:.+)?)$")
}

/// A word, or a section that lists kinds.
pub(super) fn rule() -> Form<AuthRule> {
    let schema = || {
        let words: Vec<_> = WORDS.iter().map(|(word, _)| *word).collect();
        json!({"anyOf": [{"enum": words}, tables::object(&Kinds::describe())]})
    };
    Form::new(
        "`required`, `optional`, `none`, `{any: […]}`, `{all: […]}`",
        schema,
        |at| match &at.node.kind {
            Kind::Table(_) => {
                let kinds = Kinds::read(&Section::open(at.section.context, at.node, at.name.clone()));
                match (kinds.any.is_empty(), kinds.all.is_empty()) {
                    (false, true) => Some(AuthRule::Any(kinds.any)),
                    (true, false) => Some(AuthRule::All(kinds.all)),
                    // Which was noted. Nothing is let in that was meant to be kept out.
                    _ => Some(AuthRule::Required),
                }
            }
            _ => {
                let text = at.text()?;
                let word = WORDS.iter().find(|(word, _)| *word == text);
                if let Some((_, rule)) = word {
                    return Some(rule.clone());
                }
                let kind = Credential::parse(text).is_ok();
                let hint = match kind {
                    true => format!("write `{{any: [{text}]}}`"),
                    false => suggest::hint(
                        text,
                        WORDS.iter().map(|(word, _)| *word),
                        "use one of these, or `{any: […]}`",
                    ),
                };
                at.refuse(format_args!(
                    "must be `required`, `optional` or `none`, found {}: {hint}",
                    at.found()
                ))
            }
        },
        |rule, secrets| {
            Some(match rule {
                AuthRule::Any(any) => Kinds { any: any.clone(), ..Kinds::default() }.show(secrets),
                AuthRule::All(all) => Kinds { all: all.clone(), ..Kinds::default() }.show(secrets),
                word => {
                    WORDS.iter().find(|(_, known)| known == word).map_or("required", |(word, _)| word).into()
                }
            })
        },
    )
}
