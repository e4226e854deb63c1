//! What a request brings, before anything of it is judged.

/// A field that may hold a credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Field<'a> {
    #[default]
    Absent,
    One(&'a [u8]),
    /// Two readers could take different ones (RFC 9110, section 5.3).
    Several,
}

impl<'a> Field<'a> {
    /// Of all lines with its name.
    pub fn of(mut values: impl Iterator<Item = &'a [u8]>) -> Self {
        match (values.next(), values.next()) {
            (None, _) => Self::Absent,
            (Some(one), None) => Self::One(one),
            _ => Self::Several,
        }
    }
}

/// The token behind `Bearer`: one space and one word (RFC 6750, section 2.1); `None` for another scheme, an empty text for
/// what is no token.
pub fn bearer(value: &[u8]) -> Option<&str> {
    let value = std::str::from_utf8(value).ok()?;
    let scheme = value.get(..6).filter(|scheme| scheme.eq_ignore_ascii_case("bearer"))?;
    let token = &value[scheme.len()..];
    let Some(token) = token.strip_prefix(' ') else {
        // `Bearer` alone, or a tab; but `BearerX` is another scheme.
        return (token.is_empty() || token.starts_with(|c: char| c.is_ascii_whitespace())).then_some("");
    };
    let is_token68 = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    Some(if token.bytes().all(is_token68) { token } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_one_word_behind_one_space() {
        for (value, token) in [
            ("Bearer a.b-c_d~e+f/g=", Some("a.b-c_d~e+f/g=")),
            ("bearer a", Some("a")),
            ("BEARER a", Some("a")),
            ("Bearer", Some("")),
            ("Bearer ", Some("")),
            ("Bearer\ta", Some("")),
            ("Bearer  a", Some("")),
            ("Bearer a b", Some("")),
            ("Bearer a,b", Some("")),
            ("Bearera", None),
            ("Basic YTpi", None),
            ("", None),
            ("Bear", None),
        ] {
            assert_eq!(bearer(value.as_bytes()), token, "{value:?}");
        }
        assert_eq!(bearer(b"Bearer \xff"), None);
        assert_eq!(bearer("Bearer \u{e9}".as_bytes()), Some(""));
    }

    #[test]
    fn a_field_that_is_there_twice_is_neither() {
        let of = |values: &[&'static [u8]]| Field::of(values.iter().copied());
        assert_eq!(of(&[]), Field::Absent);
        assert_eq!(of(&[b"a"]), Field::One(b"a"));
        assert_eq!(of(&[b"a", b"a"]), Field::Several);
    }
}
