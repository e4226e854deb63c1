//! The layer rules of docs/architecture.md, held by reading the sources: who may name whom.
//!
//! `proc-macro2` turns a file into tokens, what stands in macros and `use` groups included; every path among them is
//! resolved (`crate::`, `self::`, `super::`), and a rule is then a list of names that a folder must not mention.

#![expect(clippy::unwrap_used, reason = "a test that cannot read the sources should stop there")]

use std::fs;
use std::path::Path;

use proc_macro2::{Group, TokenStream, TokenTree};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// More lines than this want a second file.
const LONGEST: usize = 500;

#[test]
fn no_folder_knows_what_is_built_on_it() {
    // From the bottom up; the command line is above them all.
    const LAYERS: [(&str, &str); 8] = [
        ("store", "the store keeps what the actors count, for whoever asks"),
        ("config", "settings are read by the layers above, not the other way round"),
        ("router", "the router only judges paths"),
        ("auth", "a verdict is made of facts and settings, whoever asks for it"),
        ("gateway", "those are above the gateway"),
        ("identity", "keys are fetched for whoever has started it"),
        ("supervisor", "the command line starts the supervisor, admin asks it, not the other way round"),
        ("admin", "operators are answered alike, whichever command started the process"),
    ];
    let mut broken = Vec::new();
    for (at, (folder, why)) in LAYERS.iter().enumerate() {
        let above: Vec<_> = LAYERS[at + 1..].iter().map(|(folder, _)| *folder).chain(["cli"]).collect();
        let is_above = |path: &Seen| path.part(0) == "crate" && above.contains(&path.part(1));
        let places = uses(&format!("src/{folder}"), |_, path| is_above(path));
        let reason = (!places.is_empty()).then(|| format!("({why})"));
        broken.extend(places.into_iter().chain(reason));
    }
    report(broken, "a folder uses what stands below it");
}

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
    let mut broken = uses("actors", |_, path| FOREIGN.contains(&path.part(0)));
    let manifest = fs::read_to_string(Path::new(ROOT).join("actors/Cargo.toml")).unwrap();
    for (at, line) in manifest.lines().enumerate() {
        // `name = …`, `name.workspace = true` or `[dependencies.name]`
        let after_section = line.split_once("dependencies.").map_or(line, |(_, name)| name);
        let name = after_section.trim_start().split([' ', '=', '.', ']']).next().unwrap_or("");
        if FOREIGN.contains(&name.replace('-', "_").as_str()) {
            broken.push(format!("actors/Cargo.toml:{}: depends on `{name}`", at + 1));
        }
    }
    report(
        broken,
        "actors take settings structs, recipients and traits; HTTP, YAML and databases are the root crate's",
    );
}

#[test]
fn the_request_path_names_no_actor() {
    let named = |word: &Seen| word.text.len() > "Actor".len() && word.text.ends_with("Actor");
    let files = sources("src/gateway");
    report(
        files.iter().flat_map(|file| file.places(&file.words, "names", named)),
        "the gateway reads published state and sends message types; it never sees an actor struct",
    );
}

#[test]
fn the_two_sides_of_a_request_do_not_know_each_other() {
    let mut broken = Vec::new();
    for (folder, other) in [("server", "upstream"), ("upstream", "server")] {
        let other = format!("crate::gateway::{other}");
        broken.extend(uses(&format!("src/gateway/{folder}"), |_, path| path.text.starts_with(&other)));
    }
    report(broken, "a client is served and an upstream asked without one knowing of the other");
}

#[test]
fn only_the_owner_of_http_2_connections_knows_its_library() {
    // `mod.rs` names the module of the same name.
    const KNOW: [&str; 4] = ["h2.rs", "convert.rs", "frames.rs", "mod.rs"];
    let knows = |name: &str| KNOW.iter().any(|file| name == format!("src/gateway/server/{file}"));
    let broken = uses("src", |file, path| ["h2", "http"].contains(&path.part(0)) && !knows(&file.name));
    report(broken, "types are converted at one border");
}

#[test]
fn only_the_supervisor_starts_actors() {
    const STARTERS: [&str; 4] = ["start_in", "start_in_arbiter", "SyncArbiter", "Arbiter"];
    // Without the trait in scope nobody can call `start`.
    const TRAIT: [&str; 2] = ["actix::Actor", "actix::prelude::*"];
    let mut broken = Vec::new();
    for file in sources("src").iter().filter(|file| !file.is_under("src/supervisor")) {
        broken.extend(file.places(&file.words, "mentions", |word| STARTERS.contains(&word.text.as_str())));
        broken.extend(file.places(&file.paths, "imports", |path| TRAIT.contains(&path.text.as_str())));
    }
    report(broken, "an actor that the supervisor has not started is not replaced when it dies");
}

#[test]
fn each_interface_makes_its_problem_documents_in_one_file() {
    const MAKERS: [&str; 2] = ["src/gateway/answer.rs", "src/admin/answer.rs"];
    let mut broken = Vec::new();
    for file in sources("src").iter().filter(|file| !MAKERS.contains(&file.name.as_str())) {
        for literal in file.literals.iter().filter(|l| l.text.contains("application/problem+json")) {
            broken.push(format!("{}: makes a problem document", file.at(literal.line)));
        }
    }
    report(broken, &format!("refuse with a cause; only {} turn causes into answers", MAKERS.join(" and ")));
}

#[test]
fn only_the_store_knows_diesel() {
    let diesel = |path: &Seen| path.part(0) == "diesel" || path.part(0).starts_with("diesel_");
    let broken = uses("src", |file, path| diesel(path) && !file.is_under("src/store"));
    report(broken, "the database is behind the store's own trait");
}

#[test]
fn no_file_is_longer_than_five_hundred_lines() {
    let files = ["src", "actors", "schema", "tests", "benches"].into_iter().flat_map(sources);
    let long = files.filter(|file| file.lines > LONGEST);
    let broken = long.map(|file| format!("{}: has {} lines", file.at(LONGEST + 1), file.lines));
    report(broken, "a file that long has two owners: split it");
}

#[test]
fn every_file_opens_by_saying_what_it_owns() {
    let files = ["src", "actors", "schema"].into_iter().flat_map(sources);
    let silent = files.filter(|file| !file.opens_with_docs);
    let broken = silent.map(|file| format!("{}: does not start with `//!`", file.at(1)));
    report(broken, "say in a few lines what the module owns, what it refuses and who drives it");
}

#[test]
fn the_scanner_sees_through_groups_nesting_comments_macros_and_strings() {
    let code = r##"//! Words: crate::admin
        use crate::{config::{self, diff}, cli::check as c};
        /* crate::admin /* nested */ crate::admin */
        fn f<'a>(x: ::std::S<'a>) -> char { let _ = ("crate::admin \" crate::admin", r#"raw "crate::store""#); '"' }
        mod inner { use super::super::router::*; fn g() { super::h(super::super::super::tls::x, self::k); } }
        section! { T { key: crate::trust::Key = json!({"a": [crate::panics::A]}) } }
        /// crate::admin
        mod declared; use super::events;"##;
    let file = Source::read("src/supervisor/reload.rs".into(), code);
    let list = |seen: &[Seen]| {
        let lines: Vec<_> = seen.iter().map(|seen| format!("{} {}", seen.line, seen.text)).collect();
        lines.join(", ")
    };
    let paths = "2 crate::config, 2 crate::config::diff, 2 crate::cli::check, 4 std::S, \
        5 crate::supervisor::router::*, 5 crate::supervisor::reload::h, 5 crate::tls::x, \
        5 crate::supervisor::reload::inner::k, 6 crate::trust::Key, 6 crate::panics::A, \
        8 crate::supervisor::events";
    assert_eq!(list(&file.paths), paths);
    let literals = r###"4 "crate::admin \" crate::admin", 4 r#"raw "crate::store""#, 4 '"', 6 "a""###;
    assert_eq!(list(&file.literals), literals);
    assert!(file.words.iter().any(|word| word.text == "check") && file.opens_with_docs && file.lines == 8);
}

/// Fails with every place at once.
fn report(broken: impl IntoIterator<Item = String>, why: &str) {
    let broken = Vec::from_iter(broken);
    assert!(broken.is_empty(), "\n{}\n({why})\n", broken.join("\n"));
}

/// Where a file below `folder` has a path that is `forbidden` to it.
fn uses(folder: &str, forbidden: impl Fn(&Source, &Seen) -> bool) -> Vec<String> {
    let files = sources(folder);
    files.iter().flat_map(|file| file.places(&file.paths, "uses", |path| forbidden(file, path))).collect()
}

/// Every Rust file below `folder`, in order of name.
fn sources(folder: &str) -> Vec<Source> {
    let (mut folders, mut found) = (vec![Path::new(ROOT).join(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no Rust file below {folder}");
    let name = |path: &Path| path.strip_prefix(ROOT).unwrap().to_string_lossy().replace('\\', "/");
    found.iter().map(|path| Source::read(name(path), &fs::read_to_string(path).unwrap())).collect()
}

/// A word, a literal, or a path as it resolves, such as `crate::config::diff` or `actix::Addr`.
struct Seen {
    text: String,
    line: usize,
}

impl Seen {
    fn of(token: &TokenTree) -> Self {
        Self { text: token.to_string(), line: token.span().start().line }
    }

    fn part(&self, at: usize) -> &str {
        self.text.split("::").nth(at).unwrap_or("")
    }
}

/// What a rule may want to know of one file.
#[derive(Default)]
struct Source {
    /// From the root of the repository.
    name: String,
    lines: usize,
    opens_with_docs: bool,
    words: Vec<Seen>,
    literals: Vec<Seen>,
    paths: Vec<Seen>,
    /// Where the reader is: `crate::supervisor::reload` in `src/supervisor/reload.rs`.
    module: Vec<String>,
}

impl Source {
    fn read(name: String, text: &str) -> Self {
        let tokens: TokenStream = text.parse().unwrap_or_else(|e| panic!("{name}: {e}"));
        let below = name.split_once("src/").map_or(name.as_str(), |(_, below)| below);
        let parts = ["crate"].into_iter().chain(below.trim_end_matches(".rs").split('/'));
        let mut module: Vec<String> = parts.map(str::to_owned).collect();
        module.pop_if(|last| matches!(last.as_str(), "mod" | "lib" | "main"));
        let (lines, opens_with_docs) = (text.lines().count(), text.starts_with("//!"));
        let mut file = Self { name, lines, opens_with_docs, module, ..Self::default() };
        file.walk(&Vec::from_iter(tokens));
        file
    }

    fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.name)
    }

    fn is_under(&self, folder: &str) -> bool {
        self.name.starts_with(&format!("{folder}/")) || self.name == format!("{folder}.rs")
    }

    /// Where those of `seen` stand that are `forbidden`.
    fn places(&self, seen: &[Seen], verb: &str, forbidden: impl Fn(&Seen) -> bool) -> Vec<String> {
        let found = seen.iter().filter(|seen| forbidden(seen));
        found.map(|seen| format!("{}: {verb} `{}`", self.at(seen.line), seen.text)).collect()
    }

    fn walk(&mut self, tokens: &[TokenTree]) {
        // What a doc comment becomes, between the brackets of an attribute.
        if matches!(tokens, [TokenTree::Ident(doc), _, TokenTree::Literal(_)] if doc == "doc") {
            return;
        }
        let mut rest = tokens;
        while let [first, after @ ..] = rest {
            rest = after;
            match (first, after) {
                (TokenTree::Ident(word), [name, TokenTree::Group(body), after @ ..]) if word == "mod" => {
                    self.module.push(name.to_string());
                    self.walk(&inside(body));
                    self.module.pop();
                    rest = after;
                }
                (TokenTree::Ident(_), _) => rest = self.path(&[], first, after),
                (TokenTree::Group(group), _) => self.walk(&inside(group)),
                (TokenTree::Literal(_), _) => self.literals.push(Seen::of(first)),
                (TokenTree::Punct(_), _) => {}
            }
        }
    }

    /// Notes the path that goes on after `before` with `next`, in a `use` tree each of them, and returns what of `after`
    /// is not its. A single word is no path.
    fn path<'t>(&mut self, before: &[String], next: &TokenTree, after: &'t [TokenTree]) -> &'t [TokenTree] {
        if let TokenTree::Group(tree) = next {
            for branch in inside(tree).split(|token| token.to_string() == ",") {
                if let [next, after @ ..] = branch {
                    let renamed = self.path(before, next, after);
                    self.walk(renamed);
                }
            }
            return after;
        }
        let word = Seen::of(next);
        let mut parts = before.to_vec();
        if parts.is_empty() || word.text != "self" {
            parts.push(word.text.clone());
        }
        let line = word.line;
        self.words.push(word);
        if let [one, two, next, after @ ..] = after
            && [one, two].iter().all(|sign| sign.to_string() == ":")
            // Generics, a macro's variable, or the first colon was a type's: `a: ::b`.
            && !["<", "$", ":"].contains(&next.to_string().as_str())
        {
            return self.path(&parts, next, after);
        }
        if parts.len() > 1 {
            self.paths.push(Seen { text: self.resolved(&parts), line });
        }
        after
    }

    fn resolved(&self, parts: &[String]) -> String {
        let relative = parts.iter().take_while(|part| matches!(part.as_str(), "self" | "super")).count();
        let ups = parts[..relative].iter().filter(|part| *part == "super").count();
        let here = &self.module[..self.module.len().saturating_sub(ups).max(1)];
        [if relative == 0 { &[] } else { here }, &parts[relative..]].concat().join("::")
    }
}

fn inside(group: &Group) -> Vec<TokenTree> {
    group.stream().into_iter().collect()
}
