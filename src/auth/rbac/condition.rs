//! Conditions of permissions, compiled.

use std::collections::HashSet;

use regex::Regex;
use serde_json::{Number, Value};

use super::Access;
use crate::auth::networks::Networks;
use crate::config::settings::auth::claim_path::ClaimPath;
use crate::config::settings::auth::rbac as settings;
use crate::config::settings::auth::rbac::{ConditionType, Hours, Operator};

/// What must hold besides path and method.
#[derive(Debug)]
pub(super) enum Requirement {
    Ip(Networks),
    Time(Vec<Hours>),
    /// In lower case.
    Header(String, Test),
    Claim(ClaimPath, Test),
}

/// How a text is compared.
#[derive(Debug)]
pub(super) enum Test {
    OneOf(Values),
    /// A part of a text, or an element of a list.
    Contains(String, Values),
    Matches(Regex),
}

/// Texts, and those of them that are numbers, as numbers.
#[derive(Debug)]
pub(super) struct Values {
    texts: HashSet<String>,
    numbers: Vec<Number>,
}

impl Requirement {
    /// Compiles one; else says what does not go together, which the section's check refuses too.
    pub(super) fn new(condition: &settings::Condition) -> Result<Self, String> {
        let test = || Test::new(condition.operator, &condition.value);
        match (condition.kind, condition.operator, &condition.header, &condition.claim) {
            (ConditionType::Ip, Operator::Equals | Operator::In, None, None) => {
                Ok(Self::Ip(Networks::new(&condition.networks())))
            }
            (ConditionType::Time, Operator::Between, None, None) => Ok(Self::Time(condition.hours())),
            (ConditionType::Header, _, Some(name), None) => {
                Ok(Self::Header(name.to_ascii_lowercase(), test()?))
            }
            (ConditionType::Claim, _, None, Some(path)) => Ok(Self::Claim(path.clone(), test()?)),
            (kind, operator, ..) => {
                let (kind, operator) = (kind.as_str(), operator.as_str());
                Err(format!("`operator: {operator}` and what is named do not go with `type: {kind}`"))
            }
        }
    }

    pub(super) fn holds(&self, access: &Access<'_>) -> bool {
        match self {
            Self::Ip(networks) => networks.contains(access.client),
            Self::Time(hours) => hours.iter().any(|hours| hours.cover(access.now)),
            // Every value by itself, for nobody knows which one the upstream takes (CVE-2026-26308: judged were the values
            // joined to one).
            Self::Header(name, test) => {
                let (mut there, mut all) = (false, true);
                access.headers.visit(name, &mut |value| {
                    there = true;
                    all = all && std::str::from_utf8(value).is_ok_and(|text| test.holds(text));
                });
                there && all
            }
            Self::Claim(path, test) => {
                access.claims.and_then(|claims| path.find(claims)).is_some_and(|value| test.holds_of(value))
            }
        }
    }
}

impl Test {
    fn new(operator: Operator, values: &[String]) -> Result<Self, String> {
        match (operator, values) {
            (Operator::Equals | Operator::In, [_, ..]) => Ok(Self::OneOf(Values::new(values))),
            (Operator::Contains, [part]) => Ok(Self::Contains(part.clone(), Values::new(values))),
            (Operator::Matches, [pattern]) => settings::whole(pattern).map(Self::Matches),
            _ => Err(format!("`operator: {}` takes another `value`", operator.as_str())),
        }
    }

    fn holds(&self, text: &str) -> bool {
        match self {
            Self::OneOf(values) => values.texts.contains(text),
            Self::Contains(part, _) => text.contains(part.as_str()),
            Self::Matches(regex) => regex.is_match(text),
        }
    }

    /// Whether it holds of a claim, or of one element of it. What lies deeper, objects and null meet nothing.
    fn holds_of(&self, claim: &Value) -> bool {
        match (claim, self) {
            (Value::String(text), _) => self.holds(text),
            (Value::Array(elements), Self::Contains(_, element)) => elements.iter().any(|of| element.has(of)),
            (Value::Array(elements), _) => {
                elements.iter().any(|element| !element.is_array() && self.holds_of(element))
            }
            (_, Self::OneOf(values)) => values.has(claim),
            _ => false,
        }
    }
}

impl Values {
    fn new(texts: &[String]) -> Self {
        let numbers = texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
        Self { texts: texts.iter().cloned().collect(), numbers }
    }

    fn has(&self, scalar: &Value) -> bool {
        match scalar {
            Value::String(text) => self.texts.contains(text),
            Value::Number(number) => self.numbers.contains(number),
            Value::Bool(flag) => self.texts.contains(if *flag { "true" } else { "false" }),
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        }
    }
}
