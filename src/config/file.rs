//! Finding and reading the file, within bounds.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::parse::MAX_BYTES;
use aegis_schema::problem::{Place, Problem};
use aegis_schema::tree::Pos;

/// Read when no file is named and this one is there.
pub const DEFAULT_FILE: &str = "config/aegis.yaml";
/// What problems call a configuration that is piped in.
pub const STANDARD_INPUT: &str = "standard input";

/// The file to read: the one named, else the default one where it exists.
pub(crate) fn choose(named: Option<&Path>) -> Option<PathBuf> {
    named.map(Path::to_path_buf).or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.exists()))
}

/// The text of the file, or the one problem with it.
pub(crate) fn read(path: &Path, label: &str) -> Result<String, Problem> {
    let unreadable = |error: std::io::Error| {
        let what = format!("cannot read the file: {error}; check the path given with -c and its permissions");
        Place::start(label).error(what)
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    text(file, label, unreadable)
}

/// The text of standard input, or the one problem with it.
pub(crate) fn piped() -> Result<String, Problem> {
    let unreadable =
        |error| Place::start(STANDARD_INPUT).error(format!("cannot read standard input: {error}"));
    text(std::io::stdin().lock(), STANDARD_INPUT, unreadable)
}

fn text(
    file: impl Read,
    label: &str,
    unreadable: impl Fn(std::io::Error) -> Problem,
) -> Result<String, Problem> {
    let (start, mut bytes) = (Place::start(label), Vec::new());
    // One byte more than allowed tells "too large" from "just fits", and ends even on /dev/zero.
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(
            start.error(format!("the file is larger than {} MiB: is it the right one?", MAX_BYTES >> 20))
        );
    }
    let behind = |good: &[u8]| {
        let good = String::from_utf8_lossy(good);
        let line = good.matches('\n').count() + 1;
        let column = good.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Pos { line, column }.place(label)
    };
    if let Some(at) = memchr::memchr(0, &bytes) {
        // YAML's reader would take it for the end.
        let what = "there is a NUL byte: the file was cut off or is not text; write it again";
        return Err(behind(&bytes[..at]).error(what));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        behind(good).error("not valid UTF-8: save the file in UTF-8")
    })
}
