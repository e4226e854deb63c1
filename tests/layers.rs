//! The layer rules of docs/architecture.md, held by reading the sources: who may name whom.
//!
//! A small lexer (comments skipped, strings kept apart) finds every path, in `use` groups and in code, and resolves
//! `crate::`, `self::` and `super::`; a rule is then a list of names that a folder must not mention.

#![expect(clippy::unwrap_used, reason = "a test that cannot read the sources should stop there")]

use std::fs;
use std::path::{Path, PathBuf};

/// More lines than this want a second file.
const LONGEST: usize = 500;

#[test]
fn the_actors_crate_knows_neither_http_nor_yaml_nor_a_database() {
    const FOREIGN: [&str; 11] = [
        "aegis",
        "actix_http",
        "actix_web",
        "awc",
        "diesel",
        "diesel_async",
        "http",
        "saphyr_parser",
        "serde_json",
        "serde_yaml",
        "toml",
    ];
    let mut broken = Vec::new();
    for file in sources("actors") {
        for path in file.paths.iter().filter(|path| FOREIGN.contains(&path.first())) {
            broken.push(format!("{}: uses `{}`", file.at(path.line), path.text()));
        }
    }
    for (line, name) in dependencies("actors/Cargo.toml") {
        if FOREIGN.contains(&name.replace('-', "_").as_str()) {
            broken.push(format!("actors/Cargo.toml:{line}: depends on `{name}`"));
        }
    }
    report(
        &broken,
        "actors take settings structs, recipients and traits; HTTP, YAML and databases are the root crate's",
    );
}

#[test]
fn the_request_path_names_no_actor() {
    let named = |word: &&Word| word.text.len() > "Actor".len() && word.text.ends_with("Actor");
    let mut broken = Vec::new();
    for file in sources("src/gateway") {
        for word in file.words.iter().filter(named) {
            broken.push(format!("{}: names `{}`", file.at(word.line), word.text));
        }
    }
    report(
        &broken,
        "the gateway reads published state and sends message types; it never sees an actor struct",
    );
}

#[test]
fn the_request_path_does_not_know_the_supervisor_the_admin_interface_or_the_command_line() {
    report(&imports("src/gateway", &["supervisor", "admin", "cli"]), "those are above the gateway");
}

#[test]
fn the_two_sides_of_a_request_do_not_know_each_other() {
    let mut broken = Vec::new();
    for (folder, other) in [("server", "upstream"), ("upstream", "server")] {
        let other = format!("crate::gateway::{other}");
        for file in sources(&format!("src/gateway/{folder}")) {
            for path in file.paths.iter().filter(|path| path.text().starts_with(&other)) {
                broken.push(format!("{}: uses `{}`", file.at(path.line), path.text()));
            }
        }
    }
    report(&broken, "a client is served and an upstream asked without one knowing of the other");
}

#[test]
fn only_the_owner_of_http_2_connections_knows_its_library() {
    // `mod.rs` names the module of the same name.
    const KNOW: [&str; 4] = ["h2.rs", "convert.rs", "frames.rs", "mod.rs"];
    let mut broken = Vec::new();
    let knows = |name: &str| KNOW.iter().any(|file| name == format!("src/gateway/server/{file}"));
    for file in sources("src").iter().filter(|file| !knows(&file.name)) {
        for path in file.paths.iter().filter(|path| ["h2", "http"].contains(&path.first())) {
            broken.push(format!("{}: uses `{}`", file.at(path.line), path.text()));
        }
    }
    report(&broken, "types are converted at one border");
}

#[test]
fn the_router_knows_nothing_of_what_is_built_on_it() {
    report(
        &imports("src/router", &["gateway", "supervisor", "admin", "cli"]),
        "the router only judges paths",
    );
}

#[test]
fn the_configuration_knows_nothing_of_what_it_configures() {
    let above = ["router", "gateway", "supervisor", "admin", "cli"];
    report(&imports("src/config", &above), "settings are read by the layers above, not the other way round");
}

#[test]
fn the_supervisor_does_not_know_the_command_line() {
    report(
        &imports("src/supervisor", &["cli"]),
        "the command line starts the supervisor, not the other way round",
    );
}

#[test]
fn only_the_supervisor_starts_actors() {
    const STARTERS: [&str; 4] = ["start_in", "start_in_arbiter", "SyncArbiter", "Arbiter"];
    let mut broken = Vec::new();
    for file in sources("src").iter().filter(|file| !file.is_under("src/supervisor")) {
        for word in file.words.iter().filter(|word| STARTERS.contains(&word.text.as_str())) {
            broken.push(format!("{}: mentions `{}`", file.at(word.line), word.text));
        }
        // Without the trait in scope nobody can call `start`.
        let trait_in_scope =
            |path: &&PathSeen| matches!(path.text().as_str(), "actix::Actor" | "actix::prelude::*");
        for path in file.paths.iter().filter(trait_in_scope) {
            broken.push(format!("{}: imports `{}`", file.at(path.line), path.text()));
        }
    }
    report(&broken, "an actor that the supervisor has not started is not replaced when it dies");
}

#[test]
fn each_interface_makes_its_problem_documents_in_one_file() {
    const MAKERS: [&str; 2] = ["src/gateway/answer.rs", "src/admin/answer.rs"];
    let mut broken = Vec::new();
    for file in sources("src").iter().filter(|file| !MAKERS.contains(&file.name.as_str())) {
        for string in file.strings.iter().filter(|string| string.text.contains("application/problem+json")) {
            broken.push(format!("{}: makes a problem document", file.at(string.line)));
        }
    }
    report(&broken, &format!("refuse with a cause; only {} turn causes into answers", MAKERS.join(" and ")));
}

#[test]
fn only_the_store_knows_diesel() {
    let diesel = |path: &&PathSeen| path.first() == "diesel" || path.first().starts_with("diesel_");
    let mut broken = Vec::new();
    for file in sources("src").iter().filter(|file| !file.is_under("src/store")) {
        for path in file.paths.iter().filter(diesel) {
            broken.push(format!("{}: uses `{}`", file.at(path.line), path.text()));
        }
    }
    report(&broken, "the database is behind the store's own trait");
}

#[test]
fn the_store_knows_nothing_of_the_gateway() {
    let above = ["config", "router", "gateway", "supervisor", "admin", "cli"];
    report(&imports("src/store", &above), "the store keeps what the actors count, for whoever asks");
}

#[test]
fn no_file_is_longer_than_five_hundred_lines() {
    let mut broken = Vec::new();
    for file in ["src", "actors", "schema", "tests", "benches"].into_iter().flat_map(sources) {
        if file.lines > LONGEST {
            broken.push(format!("{}: has {} lines", file.at(LONGEST + 1), file.lines));
        }
    }
    report(&broken, "a file that long has two owners: split it");
}

#[test]
fn every_file_opens_by_saying_what_it_owns() {
    let mut broken = Vec::new();
    for file in ["src", "actors", "schema"].into_iter().flat_map(sources).filter(|file| !file.opens_with_docs)
    {
        broken.push(format!("{}: does not start with `//!`", file.at(1)));
    }
    report(&broken, "say in a few lines what the module owns, what it refuses and who drives it");
}

#[test]
fn the_scanner_sees_through_groups_nesting_comments_and_strings() {
    let code = r##"//! Words: crate::admin
        use crate::{config::{self, diff}, cli::check as c};
        /* crate::admin /* nested */ crate::admin */
        fn f<'a>(x: &'a str) -> char { let _ = ("crate::admin \" crate::admin", r#"raw "crate::store""#, b'"'); '"' }
        mod inner { use super::super::router::*; fn g() { super::h(super::super::super::tls::x); } }
        mod declared; use super::events;"##;
    let file = Source::read("src/supervisor/reload.rs".into(), code);
    let found: Vec<String> = file.paths.iter().filter(|p| p.first() == "crate").map(PathSeen::text).collect();
    let expected = [
        "crate::config",
        "crate::config::diff",
        "crate::cli::check",
        "crate::supervisor::router::*",
        "crate::supervisor::reload::h",
        "crate::tls::x",
        "crate::supervisor::events",
    ];
    assert_eq!(found, expected);
    let strings: Vec<&str> = file.strings.iter().map(|s| s.text.as_str()).collect();
    assert_eq!(strings, ["crate::admin \\\" crate::admin", "raw \"crate::store\""]);
    assert!(file.opens_with_docs && file.lines == 6);
}

/// Fails with every place at once.
fn report(broken: &[String], why: &str) {
    assert!(broken.is_empty(), "\n{}\n({why})\n", broken.join("\n"));
}

/// Where `folder` names one of the root crate's modules `above`.
fn imports(folder: &str, above: &[&str]) -> Vec<String> {
    let mut broken = Vec::new();
    for file in sources(folder) {
        for path in file.paths.iter().filter(|p| p.first() == "crate" && above.contains(&p.second())) {
            broken.push(format!("{}: uses `{}`", file.at(path.line), path.text()));
        }
    }
    broken
}

/// Every Rust file below `folder`, in order of name.
fn sources(folder: &str) -> Vec<Source> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(&root.join(folder), &mut found);
    found.sort();
    assert!(!found.is_empty(), "no Rust file below {folder}");
    let name = |path: &Path| path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
    found.iter().map(|path| Source::read(name(path), &fs::read_to_string(path).unwrap())).collect()
}

/// The names in every dependency section of a manifest, with their lines.
fn dependencies(manifest: &str) -> Vec<(usize, String)> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(manifest)).unwrap();
    let (mut inside, mut found) = (false, Vec::new());
    for (at, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = section.ends_with("dependencies");
            // [dependencies.name]
            if let Some((_, name)) = section.split_once("dependencies.") {
                found.push((at, name.to_owned()));
            }
        } else if inside && !line.starts_with('#') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or("");
            found.extend((!name.is_empty()).then(|| (at, name.to_owned())));
        }
    }
    found
}

/// A word or the inside of a string, and its line.
struct Word {
    text: String,
    line: usize,
}

/// A path as it resolves, such as `crate::config::diff` or `actix::Addr`.
struct PathSeen {
    parts: Vec<String>,
    line: usize,
}

impl PathSeen {
    fn first(&self) -> &str {
        &self.parts[0]
    }

    fn second(&self) -> &str {
        self.parts.get(1).map_or("", String::as_str)
    }

    fn text(&self) -> String {
        self.parts.join("::")
    }
}

/// What a rule may want to know of one file.
struct Source {
    /// From the root of the repository.
    name: String,
    lines: usize,
    opens_with_docs: bool,
    words: Vec<Word>,
    strings: Vec<Word>,
    paths: Vec<PathSeen>,
}

impl Source {
    fn read(name: String, text: &str) -> Self {
        let (tokens, strings) = lex(text);
        let mut reader = Reader { tokens: &tokens, at: 0, module: module_of(&name), paths: Vec::new() };
        reader.block();
        let paths = reader.paths;
        let is_word = |token: &&Word| token.text.starts_with(|c: char| c.is_alphabetic() || c == '_');
        let words =
            tokens.iter().filter(is_word).map(|t| Word { text: t.text.clone(), line: t.line }).collect();
        let (lines, opens_with_docs) = (text.lines().count(), text.starts_with("//!"));
        Self { name, lines, opens_with_docs, words, strings, paths }
    }

    fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.name)
    }

    fn is_under(&self, folder: &str) -> bool {
        self.name.starts_with(&format!("{folder}/")) || self.name == format!("{folder}.rs")
    }
}

/// `src/supervisor/reload.rs` is `supervisor::reload`.
fn module_of(name: &str) -> Vec<String> {
    let inside = name.split_once("src/").map_or(name, |(_, inside)| inside);
    let mut parts: Vec<String> = inside.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

/// Reads paths off the tokens, keeping track of inline modules.
struct Reader<'t> {
    tokens: &'t [Word],
    at: usize,
    module: Vec<String>,
    paths: Vec<PathSeen>,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", |token| token.text.as_str())
    }

    /// Up to the closing brace, or the end of the file.
    fn block(&mut self) {
        while self.at < self.tokens.len() {
            let inline = self.peek(0) == "mod" && self.peek(2) == "{";
            match self.peek(0) {
                "}" => return self.at += 1,
                "mod" if inline => {
                    self.module.push(self.peek(1).to_owned());
                    self.at += 3;
                    self.block();
                    self.module.pop();
                }
                "{" => {
                    self.at += 1;
                    self.block();
                }
                word if word.starts_with(|c: char| c.is_alphabetic() || c == '_') => self.path(&[]),
                _ => self.at += 1,
            }
        }
    }

    /// A path, or in a `use` the tree below `before`. A single word is a path only inside a tree.
    fn path(&mut self, before: &[String]) {
        let line = self.tokens[self.at].line;
        let mut parts = before.to_vec();
        loop {
            match self.peek(0) {
                "{" => {
                    self.at += 1;
                    while !matches!(self.peek(0), "}" | "") {
                        if self.peek(0) == "," { self.at += 1 } else { self.path(&parts) }
                    }
                    self.at += 1;
                    return;
                }
                "self" if !before.is_empty() => {}
                word => parts.push(word.to_owned()),
            }
            self.at += 1;
            if self.peek(0) != "::" || self.peek(1) == "<" {
                break;
            }
            self.at += 1;
        }
        if !before.is_empty() && self.peek(0) == "as" {
            self.at += 2;
        }
        if parts.len() > 1 {
            self.paths.push(PathSeen { parts: self.resolved(parts), line });
        }
    }

    fn resolved(&self, parts: Vec<String>) -> Vec<String> {
        let mut module = self.module.clone();
        let relative = matches!(parts[0].as_str(), "self" | "super");
        let is_up = |part: &&String| matches!(part.as_str(), "self" | "super");
        let ups = parts.iter().take_while(is_up).filter(|part| *part == "super").count();
        let rest = parts.iter().skip_while(|part| relative && is_up(part)).cloned();
        module.truncate(module.len().saturating_sub(ups));
        let root = relative.then(|| "crate".to_owned());
        let base = if relative { module } else { Vec::new() };
        root.into_iter().chain(base).chain(rest).collect()
    }
}

/// Words, `::` and other single characters, and apart from them the insides of string literals.
fn lex(text: &str) -> (Vec<Word>, Vec<Word>) {
    let bytes = text.as_bytes();
    let (mut tokens, mut strings, mut at, mut line) = (Vec::new(), Vec::new(), 0, 1);
    while at < bytes.len() {
        let rest = &text[at..];
        let (from, kind) = (at, rest.as_bytes()[0]);
        let mut inside = None;
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let raw = rest.trim_start_matches(['b', 'c']).strip_prefix('r').map(|r| r.trim_start_matches('#'));
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            at += comment(rest);
        } else if let Some(body) = raw.filter(|body| body.starts_with('"')) {
            let start = rest.len() - body.len();
            let close = format!("\"{}", "#".repeat(rest[..start].matches('#').count()));
            let length = body[1..].find(&close).unwrap_or(body.len() - 1);
            inside = Some(&body[1..1 + length]);
            at += start + 1 + length + close.len();
        } else if kind == b'"' {
            let length = quoted(rest);
            inside = Some(&rest[1..length - 1]);
            at += length;
        } else if kind == b'\'' {
            at += character(rest);
        } else if rest.starts_with(is_word) {
            at += rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            tokens.push(Word { text: text[from..at].to_owned(), line });
        } else {
            at += if rest.starts_with("::") { 2 } else { rest.chars().next().map_or(1, char::len_utf8) };
            if !kind.is_ascii_whitespace() {
                tokens.push(Word { text: text[from..at].to_owned(), line });
            }
        }
        strings.extend(inside.map(|inside| Word { text: inside.to_owned(), line }));
        line += text[from..at.min(text.len())].matches('\n').count();
    }
    (tokens, strings)
}

/// Length of a block comment; they nest.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at + 1 < text.len() {
        match &text.as_bytes()[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// Length of a string literal, quotes included.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of a character literal, or 1 for the tick of a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), _) => text[3..].find('\'').map_or(1, |at| at + 4),
        (_, Some((at, '\''))) => at + 1,
        _ => 1,
    }
}
