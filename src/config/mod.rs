//! The configuration: file as written → merged layers → validated [`Settings`].
//!
//! Layers, later ones win: built-in defaults, the file, `AEGIS__…` variables, `--set`. What is read is a tree that knows the
//! line and column of every value, so that [`load`] reports every problem at once. A configuration is applied whole or not at
//! all. Each key is declared once, in [`settings`] or beside the actor that it configures; what follows from that alone is
//! `aegis_schema`'s.
//!
//! ```text
//! file.rs, env.rs       what there is to read             settings/      every key: struct, default, form
//! parse/                text → tree with positions        layers.rs      variables and --set → tree
//! interpolate.rs        ${NAME}, ${file:PATH} in the tree  merge.rs       layers → one tree
//! across.rs, auth_policies.rs   what spans sections       rate_limit_paths.rs, endpoint.rs   paths of rate limits
//! effective.rs          what is shown, and its hash       diff.rs        what a reload changes
//! places.rs             where something was written       report.rs, listing.rs, origins.rs   what commands print
//! ```

mod across;
mod auth_policies;
mod conceal;
pub mod diff;
mod effective;
pub mod endpoint;
mod env;
mod file;
mod interpolate;
mod layers;
pub mod listing;
mod merge;
pub mod origins;
mod parse;
mod places;
mod rate_limit_paths;
pub mod report;
pub mod settings;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use aegis_schema::Describe as _;
pub use aegis_schema::form::regular;
pub use aegis_schema::problem::{Place, Problem, Problems, Severity};
pub use aegis_schema::secrets::{REDACTED, is_secret_field, userinfo};
use aegis_schema::tree::{Kind, Layer};
pub use diff::{Changes, diff, running};
pub use effective::{hash, render_redacted};
pub use endpoint::{bypass_regex, endpoint_regex, glob_to_regex};
pub use env::Env;
pub use file::{DEFAULT_FILE, STANDARD_INPUT};
pub use places::{Located, Places};
pub use settings::Settings;

/// Where a configuration comes from.
#[derive(Clone, Default)]
pub struct Source {
    /// The file; `None` = [`DEFAULT_FILE`] where it exists, else no file.
    pub file: Option<PathBuf>,
    /// `KEY=VALUE`, as given with `--set`.
    pub set: Vec<String>,
    /// The text of a configuration that is no file, with the name it goes by; nothing is read then.
    pub text: Option<(String, String)>,
    /// Variables, for the `AEGIS__…` layer and for `${NAME}`. `Default` is the process's environment.
    pub env: Env,
}

impl Source {
    /// What is written to standard input, read once: a reload reads the variables again, and has the same text.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn standard_input() -> Result<Self, Problem> {
        Ok(Self { text: Some((STANDARD_INPUT.to_owned(), file::piped()?)), ..Self::default() })
    }

    /// What a configuration of this source goes by; `file` is the one that was read.
    pub fn label(&self, file: Option<&Path>) -> String {
        match (&self.text, file) {
            (Some((name, _)), _) => name.clone(),
            (None, Some(file)) => file.display().to_string(),
            (None, None) => places::BUILT_IN.to_owned(),
        }
    }

    /// `file` alone, with the process's environment.
    pub fn file(file: impl Into<PathBuf>) -> Self {
        Self { file: Some(file.into()), ..Self::default() }
    }
}

/// Without the values of `set`: they may be secrets.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> = self.set.iter().filter_map(|entry| entry.split('=').next()).collect();
        f.debug_struct("Source")
            .field("file", &self.file)
            .field("text", &self.text.as_ref().map(|(name, _)| name))
            .field("set", &keys)
            .field("env", &self.env)
            .finish()
    }
}

/// A configuration that is fit for use.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The validated settings.
    pub settings: Settings,
    /// What works but is probably not meant.
    pub warnings: Vec<Problem>,
    /// The whole configuration in the spelling of the file, defaults written out, secrets redacted.
    pub effective: serde_json::Value,
    /// 16 hex digits over `effective`: the same for the same configuration, whatever layers it came from.
    pub hash: String,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// The files that `${file:PATH}` names in it, whether they are there or not.
    pub named: BTreeSet<PathBuf>,
    /// There is nothing but blank lines and comments in it.
    pub says_nothing: bool,
    /// Somebody has written a list of backends, be it an empty one.
    pub lists_backends: bool,
    /// Where each route was written, for the router's problems.
    pub places: Places,
}

/// The JSON Schema of the configuration.
pub fn schema() -> serde_json::Value {
    aegis_schema::tables::document("Configuration of AEGIS", &Settings::describe())
}

/// Everything that was found out about a configuration, good or bad.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// Best effort: defaults stand in for what is wrong. `None` when the file could not be parsed.
    pub settings: Option<Settings>,
    /// Where each route of `settings` was written.
    pub places: Places,
    /// Every problem, errors first.
    pub problems: Problems,
    /// The file that was read, or could not be.
    pub file: Option<PathBuf>,
    /// The files that `${file:PATH}` names in it, whether they are there or not.
    pub named: BTreeSet<PathBuf>,
    /// There is nothing but blank lines and comments in it.
    pub says_nothing: bool,
    /// Somebody has written a list of backends, be it an empty one.
    pub lists_backends: bool,
}

/// Loads, merges and validates.
///
/// # Errors
/// Every problem, warnings included, when at least one is an error.
pub fn load(source: &Source) -> Result<Loaded, Problems> {
    load_with(source, |_, _| Vec::new())
}

/// [`load`], with a further validation of the settings (the router, of patterns and conflicts), whose problems
/// count like any other.
///
/// # Errors
/// As [`load`].
pub fn load_with(
    source: &Source,
    validate: impl FnOnce(&Settings, &Places) -> Vec<Problem>,
) -> Result<Loaded, Problems> {
    inspect_with(source, validate).verdict()
}

/// Finds every problem, and goes as far as it can in spite of them. `validate` sees the best-effort settings.
pub fn inspect_with(
    source: &Source,
    validate: impl FnOnce(&Settings, &Places) -> Vec<Problem>,
) -> Inspection {
    if let Some((name, text)) = &source.text {
        return Inspection {
            file: None,
            ..inspect_text(Some((PathBuf::from(name), text)), source, validate)
        };
    }
    let Some(path) = file::choose(source.file.as_deref()) else {
        return inspect_text(None, source, validate);
    };
    let label = path.display().to_string();
    match file::read(&path, &label) {
        Ok(text) => inspect_text(Some((path, &text)), source, validate),
        Err(problem) => Inspection::failed(vec![problem], Some(path)),
    }
}

/// [`inspect_with`] of a file's text; the path names it and tells the format.
fn inspect_text(
    file: Option<(PathBuf, &str)>,
    source: &Source,
    validate: impl FnOnce(&Settings, &Places) -> Vec<Problem>,
) -> Inspection {
    let (mut problems, mut named) = (Vec::new(), BTreeSet::new());
    let label = source.label(file.as_ref().map(|(path, _)| path.as_path()));
    let is_idle = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let says_nothing = file.as_ref().is_some_and(|(_, text)| text.lines().all(is_idle));
    let mut written = None;
    if let Some((path, text)) = &file {
        written = parse::parse(path, text, &label, &mut problems);
        let Some(node) = &mut written else {
            return Inspection::failed(problems, file.map(|(path, _)| path));
        };
        interpolate::fill(node, &source.env, &label, &mut problems, &mut named);
    }
    let mut assignments = layers::environment(&source.env, &mut problems);
    assignments.extend(layers::command_line(&source.set, &mut problems));
    let mut root = merge::merge(written, assignments, &mut problems);
    conceal::placeholders(&mut root, "", &label, &mut problems);
    let lists_backends = root
        .member("backends")
        .is_some_and(|node| matches!(node.kind, Kind::List(_)) && node.origin.layer != Layer::Default);
    let (settings, lists) = aegis_schema::read(&root, &label, &mut problems, across::across);
    let places = Places { root, label, lists };
    problems.extend(validate(&settings, &places));
    conceal::conceal(&places.root, &mut problems);
    let (problems, file) = (Problems::sorted(problems), file.map(|(path, _)| path));
    Inspection { settings: Some(settings), places, problems, file, named, says_nothing, lists_backends }
}

impl Inspection {
    fn failed(problems: Vec<Problem>, file: Option<PathBuf>) -> Self {
        Self { problems: Problems::sorted(problems), file, ..Self::default() }
    }

    /// The configuration when it is fit for use, else everything that is wrong with it.
    ///
    /// # Errors
    /// As [`load`].
    pub fn verdict(self) -> Result<Loaded, Problems> {
        let Self { settings, places, problems, file, named, says_nothing, lists_backends } = self;
        let Some(settings) = settings.filter(|_| problems.errors() == 0) else { return Err(problems) };
        let (effective, warnings) = (render_redacted(&settings), problems.0);
        let hash = effective::hash_of(&effective);
        Ok(Loaded { settings, warnings, effective, hash, file, named, says_nothing, lists_backends, places })
    }
}
