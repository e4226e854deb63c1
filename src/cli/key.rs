//! `aegis key`: makes an API key, hashes a foreign one, and says what a key is without showing it.
//!
//! Keys are read from standard input, never from arguments, which other users of the machine and the shell's history see.

use std::io::{self, IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use aegis_schema::scalar::{self, NoDuration};
use aegis_schema::{Secret, suggest, syntax};
use clap::{Args, Subcommand, ValueEnum};

use super::{complain, say};
use crate::auth::api_key::{self, Digest, NewKey, Pepper};
use crate::config::settings::auth::{ApiKey, ApiKeys};
use crate::config::{Source, load};

/// The gateway takes no longer one.
const LONGEST: u64 = 4096;
/// Whoever has the digest of a shorter one can try all keys until one fits.
const GUESSABLE: usize = 20;

#[derive(Debug, Subcommand)]
pub enum Order {
    /// Make a key: print it once, on the first line, and the record of it for auth.apiKey.keys, which has only its digest.
    New(Record),
    /// Read a key of any form from standard input and print its digest, for `hashes` of a record.
    #[command(
        after_help = "Without the prefix, where auth.apiKey.prefix is set. One line break at the end is left out."
    )]
    Hash {
        #[arg(long, value_enum, default_value_t = Algorithm::Sha256, conflicts_with = "pepper")]
        algorithm: Algorithm,
        #[command(flatten)]
        peppered: Peppered,
    },
    /// Read a key from standard input and say what it is without showing it; exit code 1 when it is none of this gateway's
    /// making, or mistyped. With a configuration: whether that lets it in, and as whom; exit code 1 when it does not.
    Check {
        #[command(flatten)]
        configuration: Configuration,
    },
}

#[derive(Args, Debug)]
pub struct Configuration {
    /// The configuration that knows it.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Peppered {
    /// Make the digest with this one of auth.apiKey.peppers (HMAC-SHA-256), which needs the configuration.
    #[arg(long, value_name = "NAME", requires = "file")]
    pepper: Option<String>,
    #[command(flatten)]
    configuration: Configuration,
}

#[derive(Args, Debug)]
pub struct Record {
    /// Whose it is.
    #[arg(long, value_name = "ID", value_parser = plain)]
    user: String,
    /// A role that it has; may be repeated.
    #[arg(long = "role", value_name = "ROLE", value_parser = role)]
    roles: Vec<String>,
    /// Its tier, for rateLimit.tierLimits.
    #[arg(long, value_parser = tier)]
    tier: Option<String>,
    /// It is no good any more after this time: 90d, 12h; at most a year. Default: good for ever.
    #[arg(long, value_name = "DURATION", value_parser = lifetime)]
    expires: Option<Duration>,
    #[command(flatten)]
    peppered: Peppered,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

/// How a digest is made.
enum Hasher {
    Plain(Algorithm),
    Peppered(String, Pepper),
}

/// Carries it out; exit code 1 when that failed.
pub fn run(order: Order) -> i32 {
    let now = SystemTime::now();
    let done = match order {
        Order::New(record) => record.peppered.hasher(Algorithm::Sha256).and_then(|by| new(&record, &by, now)),
        Order::Hash { algorithm, peppered } => peppered.hasher(algorithm).and_then(|by| hash(&by)),
        Order::Check { configuration } => check(&configuration, now),
    };
    match done {
        Ok(text) => {
            say(text);
            0
        }
        Err(why) => {
            complain(format_args!("aegis key: {why}"));
            1
        }
    }
}

impl Configuration {
    /// `auth.apiKey` of the file, if one is named.
    fn keys(&self) -> Result<Option<ApiKeys>, String> {
        let Some(file) = &self.file else { return Ok(None) };
        if file.as_os_str() == "-" {
            return Err("-c - would read the configuration where the key is read: name a file".to_owned());
        }
        let loaded = load(&Source::file(file)).map_err(|problems| problems.to_string())?;
        Ok(Some(loaded.settings.auth.api_key))
    }
}

impl Peppered {
    fn hasher(&self, otherwise: Algorithm) -> Result<Hasher, String> {
        let Some(name) = &self.pepper else { return Ok(Hasher::Plain(otherwise)) };
        let peppers = self.configuration.keys()?.map(|keys| keys.peppers).unwrap_or_default();
        match peppers.iter().find(|(known, _)| known == name) {
            Some((name, pepper)) => Ok(Hasher::Peppered(name.clone(), Pepper::new(pepper.as_bytes()))),
            None => {
                let names = peppers.iter().map(|(name, _)| &**name);
                let hint = suggest::hint(name, names, "name one that it has");
                Err(format!("auth.apiKey.peppers has no {name:?}: {hint}"))
            }
        }
    }
}

impl Hasher {
    fn digest(&self, key: &str) -> Digest {
        match self {
            Self::Plain(Algorithm::Sha256) => Digest::Sha256(api_key::sha256(key.as_bytes())),
            Self::Plain(Algorithm::Sha512) => Digest::Sha512(api_key::sha512(key.as_bytes())),
            Self::Peppered(name, pepper) => {
                Digest::HmacSha256 { pepper: name.clone(), code: pepper.code(key.as_bytes()) }
            }
        }
    }
}

fn new(record: &Record, by: &Hasher, now: SystemTime) -> Result<String, String> {
    let NewKey { id, key } =
        api_key::make().map_err(|_| "the operating system has no random numbers".to_owned())?;
    let Record { user, roles, tier, expires, peppered: _ } = record;
    let mut lines = vec![
        key.to_string(),
        "# The key is on the line above, and nowhere else: keep it now. For auth.apiKey.keys:".to_owned(),
        format!("- id: {}", quoted(&id)),
        format!("  hashes: [{}]", quoted(&by.digest(&key).to_string())),
        format!("  userId: {}", quoted(user)),
    ];
    if !roles.is_empty() {
        let roles: Vec<String> = roles.iter().map(|role| quoted(role)).collect();
        lines.push(format!("  roles: [{}]", roles.join(", ")));
    }
    lines.extend(tier.iter().map(|tier| format!("  tier: {}", quoted(tier))));
    if let Some(expires) = expires {
        lines.push(format!("  expiresAt: {}", humantime::format_rfc3339_seconds(now + *expires)));
    }
    Ok(lines.join("\n"))
}

fn hash(by: &Hasher) -> Result<String, String> {
    let key = read_key()?;
    if key.len() < GUESSABLE && matches!(by, Hasher::Plain(_)) {
        complain(
            "warning: the key is short, and who reads its digest can guess it; use --pepper, or a key that `aegis key new` makes",
        );
    }
    Ok(by.digest(&key).to_string())
}

fn check(configuration: &Configuration, now: SystemTime) -> Result<String, String> {
    // The key first: it is asked for where somebody types.
    let (key, keys) = (read_key()?, configuration.keys()?);
    let Some(keys) = keys else { return what_it_is(&key) };
    let seen = what_it_is(&key).unwrap_or_else(|why| why);
    match known_as(&key, &keys, now) {
        Ok(known) => Ok(format!("{seen}\n{known}")),
        Err(why) => Err(format!("{seen}\n{why}")),
    }
}

/// The record that has the key's digest, and whether the gateway would let it in.
fn known_as(key: &str, keys: &ApiKeys, now: SystemTime) -> Result<String, String> {
    let is_of = |digest: &Digest| {
        let by = match digest {
            Digest::Sha256(_) => Hasher::Plain(Algorithm::Sha256),
            Digest::Sha512(_) => Hasher::Plain(Algorithm::Sha512),
            Digest::HmacSha256 { pepper: name, .. } => {
                let Some((_, pepper)) = keys.peppers.iter().find(|(known, _)| known == name) else {
                    return false;
                };
                Hasher::Peppered(name.clone(), Pepper::new(pepper.as_bytes()))
            }
        };
        by.digest(key) == *digest
    };
    let record = keys.keys.iter().find(|record| record.hashes.iter().any(is_of));
    let Some(ApiKey { id, active, expires_at, .. }) = record else {
        return Err(
            "the configuration does not know it: no entry of auth.apiKey.keys has its digest".to_owned()
        );
    };
    let user = record.map(ApiKey::user).unwrap_or_default();
    let known = format!("the configuration knows it as {id:?}, of user {user:?}");
    let end = expires_at.map(humantime::format_rfc3339_seconds);
    match (keys.enabled, active, end) {
        (false, ..) => Err(format!("{known}, but takes no keys: auth.apiKey.enabled is false")),
        (_, false, _) => Err(format!("{known}, but it is not active")),
        (_, _, Some(end)) if expires_at.is_some_and(|end| end <= now) => {
            Err(format!("{known}, but it has expired at {end}"))
        }
        (_, _, Some(end)) => Ok(format!("{known}, until {end}")),
        (_, _, None) => Ok(known),
    }
}

/// A text for YAML, in which a text of JSON is one.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn what_it_is(key: &str) -> Result<String, String> {
    match api_key::parse(key) {
        Some(parsed) if parsed.checksum_holds => {
            Ok(format!("a key of AEGIS: its id is {}, and its checksum is right", parsed.id))
        }
        Some(parsed) => Err(format!(
            "a key of AEGIS with a wrong checksum, so it was mistyped or made up: its id is {}",
            parsed.id
        )),
        None => Err(format!(
            "no key of AEGIS (`ak_`, an id of 12 characters, `_` and 49 characters), but {} characters of another form; \
             whether the configuration knows it only its digest tells: `aegis key hash`",
            key.chars().count()
        )),
    }
}

/// The key on standard input, without the line break that an editor or `echo` puts behind it.
fn read_key() -> Result<Secret, String> {
    let input = io::stdin();
    if input.is_terminal() {
        complain("Paste the key, then press Enter and Ctrl-D. It is shown on this terminal.");
    }
    let mut text = String::new();
    let read = input.lock().take(LONGEST + 1).read_to_string(&mut text);
    read.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => "what is on standard input is no text".to_owned(),
        _ => format!("cannot read standard input: {error}"),
    })?;
    if text.len() as u64 > LONGEST {
        return Err(format!("what is on standard input is longer than {LONGEST} bytes, and no key"));
    }
    let key = text.strip_suffix('\n').map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
    match key {
        "" => Err("there is no key on standard input: write for example `aegis key hash < FILE`".to_owned()),
        key if key.bytes().all(|b| b.is_ascii_graphic()) => Ok(key.into()),
        _ => Err(
            "the key holds spaces, line breaks or characters beyond ASCII, and could not be sent in a header"
                .to_owned(),
        ),
    }
}

fn plain(text: &str) -> Result<String, String> {
    match scalar::invisible(text) {
        Some(found) => Err(format!("it holds {found}")),
        None if (1..=256).contains(&text.len()) && text.trim() == text => Ok(text.to_owned()),
        None => Err("write 1 to 256 bytes without spaces around them".to_owned()),
    }
}

fn role(text: &str) -> Result<String, String> {
    match plain(text)?.contains(',') {
        true => Err("a role's name has no comma: write `--role` for each".to_owned()),
        false => Ok(text.to_owned()),
    }
}

fn tier(text: &str) -> Result<String, String> {
    match syntax::is_label(text) {
        true => Ok(text.to_owned()),
        false => Err("write 1 to 64 of the characters A-Z a-z 0-9 . _ -".to_owned()),
    }
}

fn lifetime(text: &str) -> Result<Duration, String> {
    match scalar::duration(text) {
        Ok(duration) if duration >= Duration::from_secs(1) => Ok(duration),
        Err(NoDuration::TooLong) => {
            Err("at most a year (365d): change `expiresAt` in the record for longer".to_owned())
        }
        _ => Err("write a duration with its unit, such as `90d` or `12h`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_has_the_digest_of_the_key_and_texts_that_yaml_cannot_misread() {
        let record = Record {
            user: "auth0|7: \"x\" #".to_owned(),
            roles: vec!["admin".to_owned(), "no".to_owned()],
            tier: Some("1.0".to_owned()),
            expires: Some(Duration::from_secs(90 * 86_400)),
            peppered: Peppered { pepper: None, configuration: Configuration { file: None } },
        };
        let by = Hasher::Plain(Algorithm::Sha256);
        let text = new(&record, &by, SystemTime::UNIX_EPOCH).unwrap();
        let (key, rest) = text.split_once('\n').unwrap();
        let parsed = api_key::parse(key).unwrap();
        let expected = format!(
            "- id: \"{}\"\n  hashes: [\"{}\"]\n  userId: \"auth0|7: \\\"x\\\" #\"\n  roles: [\"admin\", \"no\"]\n  tier: \"1.0\"\n  \
             expiresAt: 1970-04-01T00:00:00Z",
            parsed.id,
            by.digest(key)
        );
        assert_eq!(rest.split_once('\n').unwrap().1, expected);
        assert!(!rest.contains(key) && !rest.contains(&key[16..]));
    }

    #[test]
    fn arguments_that_no_record_could_hold_are_refused() {
        assert!(["", " a", "a\n", "a\u{200b}", &"a".repeat(257)].iter().all(|text| plain(text).is_err()));
        assert!(role("a,b").is_err() && role("Ops Team").is_ok());
        assert!(tier("a b").is_err() && tier("pro").is_ok());
        for (text, good) in
            [("90d", true), ("12h", true), ("365d", true), ("366d", false), ("90", false), ("0s", false)]
        {
            assert_eq!(lifetime(text).is_ok(), good, "{text}");
        }
    }
}
