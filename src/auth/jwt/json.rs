//! JSON as a token may hold it: one object, no member twice at any level, of bounded depth.
//!
//! Of two members with one name every parser takes the one it likes (RFC 8259, 4), and the upstream's may like the other.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The deepest nesting, the object itself included.
const DEEPEST: usize = 32;

/// Reads one object and nothing beside it.
///
/// # Errors
/// What is wrong, for the log.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, &'static str> {
    let fault = Cell::new("is no JSON");
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { left: DEEPEST, fault: &fault }.deserialize(&mut json).map_err(|_| fault.get())?;
    json.end().map_err(|_| "holds more than one JSON value")?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err("is no JSON object"),
    }
}

/// A value, with so many levels `left`; what is wrong beside grammar goes to `fault`.
#[derive(Clone, Copy)]
struct Strict<'f> {
    left: usize,
    fault: &'f Cell<&'static str>,
}

impl Strict<'_> {
    fn refuse<E: Error>(self, fault: &'static str) -> E {
        self.fault.set(fault);
        E::custom(fault)
    }

    fn deeper<E: Error>(self) -> Result<Self, E> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Self { left, ..self }),
            None => Err(self.refuse("holds JSON that is nested too deep")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| self.refuse("holds a number that is none"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let (inner, mut list) = (self.deeper()?, Vec::new());
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let (inner, mut object) = (self.deeper()?, Map::new());
        while let Some(name) = members.next_key::<String>()? {
            // Judged before the value is read: what follows a second one is of no interest.
            if object.contains_key(&name) {
                return Err(self.refuse("has a member twice"));
            }
            object.insert(name, members.next_value_seed(inner)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_two_readers_could_read_differently_is_refused() {
        let deep = |levels: usize| format!("{{\"a\":{}1{}}}", "[".repeat(levels), "]".repeat(levels));
        for (text, why) in [
            (r#"{"exp":1,"exp":2}"#, "has a member twice"),
            (r#"{"exp":1,"\u0065xp":2}"#, "has a member twice"),
            (r#"{"a":{"b":[{"c":1,"c":1}]}}"#, "has a member twice"),
            (r#"{} {}"#, "holds more than one JSON value"),
            ("{}\0", "holds more than one JSON value"),
            ("[1,2,3,4,5]", "is no JSON object"),
            ("null", "is no JSON object"),
            ("\u{feff}{}", "is no JSON"),
            (r#"{"a":"\ud800"}"#, "is no JSON"),
            (r#"{"a":1e999}"#, "is no JSON"),
            (r#"{"a":NaN}"#, "is no JSON"),
            (r#"{"a":1,}"#, "is no JSON"),
            ("{'a':1}", "is no JSON"),
            ("", "is no JSON"),
            (&deep(32), "holds JSON that is nested too deep"),
            (&deep(5_000), "holds JSON that is nested too deep"),
        ] {
            assert_eq!(object(text.as_bytes()), Err(why), "{text:.60}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), Err("is no JSON"));
        assert!(object(deep(31).as_bytes()).is_ok());
    }

    #[test]
    fn everything_else_is_read_as_it_is() {
        let text =
            r#" {"a":[1,-2,1.5,true,null,"\u00e9\ud83d\ude00"],"b":{"a":{}},"":18446744073709551615} "#;
        let plain: Value = serde_json::from_str(text).unwrap();
        assert_eq!(Value::Object(object(text.as_bytes()).unwrap()), plain);
    }
}
