//! The headers of `aegis explain`: from the arguments, from files, from standard input.

use std::io::Read as _;

use super::USAGE;
use crate::config::is_secret_field;

/// No head is larger.
const LONGEST: u64 = 1 << 20;

/// Names and values, in their order.
pub struct Headers {
    pub all: Vec<(String, String)>,
    /// The names of those that stood in the arguments.
    in_arguments: Vec<String>,
}

impl Headers {
    /// Whether a credential stood in the arguments; `key` is the field that keys come in.
    pub fn tells_secrets(&self, key: Option<&str>) -> bool {
        let is_key = |name: &str| key.is_some_and(|key| key.eq_ignore_ascii_case(name));
        self.in_arguments.iter().any(|name| is_secret_field(name) || is_key(name))
    }
}

/// Reads them. `reads_input`: standard input has the configuration.
///
/// # Errors
/// What is wrong, and the exit code.
pub fn read(arguments: &[String], reads_input: bool) -> Result<Headers, (String, i32)> {
    let mut headers = Headers { all: Vec::new(), in_arguments: Vec::new() };
    let mut has_read = reads_input;
    for argument in arguments {
        let Some(name) = argument.strip_prefix('@') else {
            let (name, value) = split(argument).ok_or_else(|| {
                (format!("-H takes `Name: value` or @FILE, not {:?}", shown(argument)), USAGE)
            })?;
            headers.in_arguments.push(name.clone());
            headers.all.push((name, value));
            continue;
        };
        let text = match name {
            "-" if std::mem::replace(&mut has_read, true) => {
                return Err(("standard input is read once: for -c or for one -H".to_owned(), USAGE));
            }
            "-" => text_of(std::io::stdin().lock(), "standard input")?,
            path => {
                let file = std::fs::File::open(path);
                text_of(file.map_err(|error| (format!("{path}: {error}"), 1))?, path)?
            }
        };
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let bad = || (format!("{name}:{}: not a header, `Name: value`", number + 1), 1);
            headers.all.push(split(line).ok_or_else(bad)?);
        }
    }
    Ok(headers)
}

fn text_of(source: impl std::io::Read, name: &str) -> Result<String, (String, i32)> {
    let mut text = String::new();
    let read = source.take(LONGEST).read_to_string(&mut text);
    read.map(|_| text).map_err(|error| (format!("{name}: {error}"), 1))
}

fn split(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    (!name.is_empty()).then(|| (name.trim_end().to_owned(), value.trim().to_owned()))
}

/// What of an argument is no secret, whatever it was meant to be.
fn shown(argument: &str) -> String {
    let kept: String = argument.chars().take(4).collect();
    if kept.len() < argument.len() { format!("{kept}…") } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arguments: &[&str], reads_input: bool) -> Result<Headers, (String, i32)> {
        read(&arguments.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>(), reads_input)
    }

    #[test]
    fn headers_come_from_arguments_and_files_and_credentials_in_arguments_are_told() {
        let path = std::env::temp_dir().join(format!("aegis-explain-{}", std::process::id()));
        std::fs::write(&path, "Authorization: Bearer a:b\n\nX-Two: 2\r\n").unwrap();
        let file = format!("@{}", path.display());
        let headers = of(&["X-One: 1", &file], false).unwrap();
        let all: Vec<_> = headers.all.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(all, [("X-One", "1"), ("Authorization", "Bearer a:b"), ("X-Two", "2")]);
        assert!(!headers.tells_secrets(Some("X-Two")));
        assert!(headers.tells_secrets(Some("x-one")));
        assert!(of(&["authorization: x"], false).unwrap().tells_secrets(None));
        std::fs::write(&path, "X-One: 1\nsecret-without-name\n").unwrap();
        let (why, code) = of(&[&file], false).err().unwrap();
        assert!(why.contains(":2:") && !why.contains("secret-without"), "{why}");
        assert_eq!(code, 1);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(of(&[&file], false).err().unwrap().1, 1);
    }

    #[test]
    fn what_is_no_header_is_wrong_usage() {
        for (arguments, reads_input) in [(&["Bearer"][..], false), (&[": x"], false), (&["@-"], true)] {
            assert_eq!(of(arguments, reads_input).err().unwrap().1, USAGE, "{arguments:?}");
        }
        let (why, _) = of(&["Bearer secret-of-somebody"], false).err().unwrap();
        assert!(!why.contains("secret"), "{why}");
    }
}
