//! `logging`.

use super::section::{Section, shown_for};
use crate::config::settings::{LogFormat, Logging};
use crate::config::suggest;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Reads the section.
pub(super) fn read(section: Section<'_>) -> Logging {
    let defaults = Logging::default();
    let logging = Logging {
        level: level(&section).unwrap_or(defaults.level),
        format: section
            .choice("format", &[("json", LogFormat::Json), ("text", LogFormat::Text)])
            .unwrap_or(defaults.format),
        access_log: section.flag("accessLog").unwrap_or(defaults.access_log),
        query: section.flag("query").unwrap_or(defaults.query),
        probes: section.flag("probes").unwrap_or(defaults.probes),
    };
    section.finish();
    logging
}

/// A level, or an env_logger filter: `info,aegis::gateway=debug`. A lone unknown word is refused although
/// env_logger would take it for a module's name: it is a misspelt level nearly always.
fn level(section: &Section<'_>) -> Option<String> {
    let (text, node) = section.text("level")?;
    let directives = text.split('/').next().unwrap_or("");
    for directive in directives.split(',').map(str::trim) {
        let (module, word) = match directive.split_once('=') {
            Some((module, word)) => (module.trim(), word.trim()),
            None => ("", directive),
        };
        let known = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
        let module_fits = module.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-'));
        let module_alone = module.is_empty() && word.contains("::");
        if (known || module_alone) && module_fits && !(module.is_empty() && directive.contains('=')) {
            continue;
        }
        let mend = suggest::hint(word, LEVELS, || {
            "write for example `info` or `info,aegis::gateway=debug`".to_owned()
        });
        let found = shown_for("level", node);
        section.error(
            node,
            format!(
                "`{}` must be a level ({}) or an env_logger filter, found {found}: {mend}",
                section.name("level"),
                LEVELS.join(", ")
            ),
        );
        return None;
    }
    Some(text.to_owned())
}
