//! One entry of `conditions` of a permission.

use aegis_schema::form::{At, Words, parsed};
use aegis_schema::tree::Kind;
use aegis_schema::{Form, Section, choice, section, suggest, syntax};
use ipnet::IpNet;
use regex::Regex;
use serde_json::json;

use super::super::claim_path::{ClaimPath, claim_path};
use super::Hours;

section! {
    /// One entry of `conditions`. `ip` is the client's address, and goes with `equals` and `in`, values are addresses and
    /// networks. `time` goes with `between`, values are `HH:MM-HH:MM` in UTC, with days before it where it is not every day
    /// (`Mon-Fri 09:00-17:00`, `Sat,Sun 22:00-06:00`, which ends on the next morning). `header` and `claim` go with `equals`,
    /// `in`, `contains` and `matches`.
    pub struct Condition, check judge {
        /// what is looked at
        kind: ConditionType, "type" kind().required("write `ip`, `time`, `header` or `claim`");
        /// how. `equals`: the value; `in`: one of the values; `contains`: a text that holds the value, or an array one element of
        /// which is the value; `matches`: a regular expression that fits from the first character to the last; `between`: for
        /// `time`
        operator: Operator, "operator" one_of().required(
            "write `equals`, `in`, `contains`, `matches`, or `between` for a time");
        /// the field's name, for `header`. It must be there, and each of its values must meet the condition. The client writes it:
        /// on its own it proves nothing
        header: Option<String>, "header" header().option().unset("none");
        /// dotted path of a claim of the verified token, `\.` for a dot in a name; for `claim`. Of an array one element must meet
        /// the condition; numbers and booleans are compared as they are written in JSON
        claim: Option<ClaimPath>, "claim" claim_path().option().unset("none");
        /// one value, or a list of them with `in` and `between`
        value: Vec<String>, "value" values().required("write what to compare with");
    }
}

choice! {
    /// What a condition looks at.
    pub enum ConditionType {
        /// The client's address.
        #[default]
        Ip = "ip",
        /// The time of the request.
        Time = "time",
        /// A field of the request.
        Header = "header",
        /// A claim of the token.
        Claim = "claim",
    }
}

choice! {
    /// How a condition compares.
    pub enum Operator {
        /// The value itself.
        #[default]
        Equals = "equals",
        /// One of the values.
        In = "in",
        /// The value is part of it.
        Contains = "contains",
        /// The value is a regular expression for the whole of it.
        Matches = "matches",
        /// The value is a stretch of time.
        Between = "between",
    }
}

impl Condition {
    /// The networks of an `ip`.
    pub fn networks(&self) -> Vec<IpNet> {
        self.value.iter().filter_map(|text| syntax::network(text)).collect()
    }

    /// The hours of a `time`.
    pub fn hours(&self) -> Vec<Hours> {
        self.value.iter().filter_map(|text| Hours::parse(text).ok()).collect()
    }
}

fn kind() -> Form<ConditionType> {
    let read = |text: &str| {
        let words = || ConditionType::WORDS.iter().map(|(word, _)| *word);
        if let Some((_, kind)) = ConditionType::WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*kind);
        }
        if text == "custom" {
            return Err("is `custom`: there is no code that the gateway could ask, and a condition that is never judged would \
                        grant everything; say it by `ip`, `time`, `header` or `claim`"
                .to_owned());
        }
        let hint = suggest::hint(text, words(), "use one of these");
        Err(format!("must be `ip` or `time` or `header` or `claim`, found {{found}}: {hint}"))
    };
    parsed("`ip`, `time`, `header`, `claim`", read, |kind| kind.as_str().to_owned())
        .schema(|| json!({"enum": ["ip", "time", "header", "claim"]}))
}

fn header() -> Form<String> {
    let read = |text: &str| match syntax::is_token(text) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("is {found}, no header name: use letters, digits and `-`".to_owned()),
    };
    parsed("name", read, String::clone)
}

/// A text, a number or a boolean, or several of them.
fn values() -> Form<Vec<String>> {
    let schema = || {
        let one = ["string", "number", "boolean"];
        json!({"type": [one[0], one[1], one[2], "array"], "items": {"type": one}, "minItems": 1})
    };
    Form::new("value, or list of values", schema, read_values, |values, _| match &values[..] {
        [one] => Some(one.clone().into()),
        all => Some(all.to_vec().into()),
    })
}

fn read_values(at: &At<'_, '_>) -> Option<Vec<String>> {
    let Kind::List(items) = &at.node.kind else { return Some(vec![read_value(at)?]) };
    if items.is_empty() {
        return at.refuse("is empty, which nothing could ever meet: write what to compare with");
    }
    let item = |(n, node)| {
        read_value(&At { section: at.section, name: format!("{}[{n}]", at.name), node, secret: at.secret })
    };
    items.iter().enumerate().map(item).collect()
}

fn read_value(at: &At<'_, '_>) -> Option<String> {
    match &at.node.kind {
        Kind::Int(n) => Some(n.to_string()),
        Kind::Float(x) => serde_json::Number::from_f64(*x).map(|x| x.to_string()),
        Kind::Bool(b) => Some(b.to_string()),
        // Everything contains nothing, and no text is equal to it that somebody would want to let in.
        Kind::Text(text) if text.is_empty() => {
            at.refuse("is empty: write what to compare with, or remove the condition")
        }
        _ => at.text().map(str::to_owned),
    }
}

/// What does not go together, and values that are not what the type asks for.
fn judge(condition: &mut Condition, section: &Section<'_>) {
    if !section.unharmed() {
        return;
    }
    let Condition { kind, operator, header, claim, value } = condition;
    let (fit, those): (&[Operator], _) = match kind {
        ConditionType::Ip => (&[Operator::Equals, Operator::In], "`equals` and `in`"),
        ConditionType::Time => (&[Operator::Between], "`between`"),
        ConditionType::Header | ConditionType::Claim => (
            &[Operator::Equals, Operator::In, Operator::Contains, Operator::Matches],
            "`equals`, `in`, `contains` and `matches`",
        ),
    };
    if !fit.contains(operator) {
        let kind = kind.as_str();
        return section.error_of(
            "operator",
            format_args!("is `{}`, which does not go with `type: {kind}`: use {those}", operator.as_str()),
        );
    }
    for (key, written, belongs) in [
        ("header", header.is_some(), ConditionType::Header),
        ("claim", claim.is_some(), ConditionType::Claim),
    ] {
        if *kind == belongs && !written {
            section
                .error_here(format!("`{}` is required: write which {key} is looked at", section.name(key)));
        } else if *kind != belongs && written {
            section.error_of(key, format_args!("is for `type: {key}`: remove it, or change the type"));
        }
    }
    if value.len() > 1 && !matches!(operator, Operator::In | Operator::Between) {
        let hint = if fit.contains(&Operator::In) { "`operator: in` takes a list" } else { "write one" };
        section.error_of("value", format_args!("has several values: {hint}"));
    }
    if let (Some(at), Some(why)) =
        (section.at("value"), value.iter().find_map(|text| unfit(*kind, *operator, text)))
    {
        at.error(why.replace("{found}", &at.found()));
    }
}

/// Why a value is not what the condition compares with; `{found}` in it is the value, which may be a secret.
fn unfit(kind: ConditionType, operator: Operator, text: &str) -> Option<String> {
    match (kind, operator) {
        (ConditionType::Ip, _) => syntax::network(text)
            .is_none()
            .then(|| "must be networks such as 10.0.0.0/8, or addresses, found {found}".to_owned()),
        (ConditionType::Time, _) => Hours::parse(text).err().map(|why| format!("is {{found}}: {why}")),
        (_, Operator::Matches) => whole(text).err().map(|why| format!("is no regular expression: {why}")),
        _ => None,
    }
}

/// An expression for a text from its first to its last character.
///
/// # Errors
/// Why it is none, without showing it.
pub fn whole(pattern: &str) -> Result<Regex, String> {
    // By itself it must be one too: `a)|(b` is none, and what is put around it would make it one that is anchored nowhere.
    Regex::new(pattern).and_then(|_| Regex::new(&format!(r"\A(?:{pattern})\z"))).map_err(|error| {
        let why = error.to_string();
        why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
}
