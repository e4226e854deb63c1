//! The file itself: formats, empty files, files that cannot be read, files meant to hurt.

use super::*;
use crate::config::{inspect_with, load};

const YAML: &str =
    "server:\n  port: 9000\nbackends:\n  - name: a\n    url: http://h:1\n    routes: [/x]\n    timeut: 1\n";
const JSON: &str = "{\n  \"server\": {\"port\": 9000},\n  \"backends\": [\n\t{\"name\":\"a\",\"url\":\"http://h:1\",\"routes\":[\"/x\"],\n\t\"timeut\":1}\n  ]\n}\n";
const TOML: &str = "[server]\nport = 9000\n\n[[backends]]\nname = \"a\"\nurl = \"http://h:1\"\nroutes = [\"/x\"]\ntimeut = 1\n";

#[test]
fn yaml_toml_and_json_give_the_same_problem_at_their_own_places() {
    for (file, text, at) in [("a.yaml", YAML, "7:5"), ("a.json", JSON, "5:2"), ("a.toml", TOML, "8:1")] {
        let problems = inspect(file, text, &alone()).problems;
        assert_eq!(
            problems.to_string(),
            format!("{file}:{at}: error: unknown key `backends[0].timeut`: did you mean `timeout`?")
        );
    }
}

#[test]
fn yaml_toml_and_json_give_the_same_settings_and_hash() {
    let load = |file: &str, text: &str| {
        inspect(file, &text.replace("timeut", "timeout"), &alone()).verdict().unwrap()
    };
    let (yaml, json, toml) = (load("a.yaml", YAML), load("a.json", JSON), load("a.toml", TOML));
    assert_eq!(yaml.settings.server.port, 9000);
    assert_eq!(yaml.settings, json.settings);
    assert_eq!(yaml.settings, toml.settings);
    assert_eq!(yaml.hash, json.hash);
    assert_eq!(yaml.hash.len(), 16);
    assert_ne!(yaml.hash, good(GOOD).hash);
}

#[test]
fn syntax_errors_of_json_and_toml_have_places() {
    let json = inspect("a.json", "{\n  \"a\": trux\n}", &alone()).problems.to_string();
    assert!(json.starts_with("a.json:2:") && json.contains("not valid JSON"), "{json}");
    let toml = inspect("a.toml", "a = 1\nb = = 2\n", &alone()).problems.to_string();
    assert!(toml.starts_with("a.toml:2:") && toml.contains("not valid TOML"), "{toml}");
}

#[test]
fn duplicate_keys_are_errors_in_every_format() {
    let json =
        inspect("a.json", "{\"hotReload\": true,\n \"hotReload\": false}", &alone()).problems.to_string();
    assert!(json.starts_with("a.json:2:2: error: the key `hotReload` is written twice"), "{json}");
    let toml = inspect("a.toml", "hotReload = true\nhotReload = false\n", &alone()).problems.to_string();
    assert!(toml.starts_with("a.toml:2:1: error"), "{toml}");
}

#[test]
fn json_strings_keep_their_escapes() {
    let text = r#"{"backends": [{"name": "a", "url": "http:\/\/h:1", "routes": [{"path": "\/x", "headers": {"a": "\"\ud83d\ude00\\"}}]}]}"#;
    let route =
        inspect("a.json", text, &alone()).verdict().unwrap().settings.backends.remove(0).routes.remove(0);
    assert_eq!(route.headers, [("a".to_owned(), "\"😀\\".to_owned())]);
}

#[test]
fn an_empty_file_is_the_defaults() {
    for text in ["", "  \n", "\u{feff}", "# only a comment\n", "---\n", "server:\nbackends:\n"] {
        assert_eq!(good(text).settings, crate::config::Settings::default(), "{text:?}");
    }
    assert_eq!(inspect("a.json", "", &alone()).problems.errors(), 0);
}

#[test]
fn no_backends_is_a_warning_about_backends_and_nothing_else() {
    refused("hotReload: false", "1:1", &["warning: no backends: there is nothing to serve"]);
    refused("backends: []", "1:11", &["warning: no backends"]);
    refused("hotReload: false\nbackends:\n", "2:9", &["warning: no backends"]);
    for source in [env(&[("AEGIS__SERVER__PORT", "9000")]), set(&["server.port=9000"])] {
        let said = inspect("a.yaml", "", &source).problems.to_string();
        assert!(said.starts_with("a.yaml:1:1: warning: no backends") && !said.contains("set by"), "{said}");
    }
    let said = inspect("a.yaml", GOOD, &set(&["backends=[]"])).problems.to_string();
    assert!(said.starts_with("--set:1:1: warning: no backends"), "{said}");
}

#[test]
fn a_value_that_needs_quotes_is_refused_as_that() {
    for (value, said) in [
        ("*.example.com", "a value that begins with `*` refers to another one, and there is none"),
        ("&abc", "a value that begins with `&` names what follows, and nothing does"),
        ("%abc", "no value begins with `%`"),
        ("@abc", "no value begins with `@`"),
        ("`abc`", "no value begins with ``"),
        ("abc: def", "there is another `: ` in a value"),
        ("!abc", "put a value that begins with `!` in quotes"),
        ("{abc}", "found a section"),
    ] {
        let lines = lines(&format!("{GOOD}admin:\n  token: {value}\n"));
        assert!(lines[0].starts_with("a.yaml:3:") && lines[0].contains(said), "{value}: {lines:?}");
        assert!(lines[0].contains("in quotes"), "{value}: {lines:?}");
    }
    let text = GOOD.replace("/x", "/x/{id}");
    assert!(one(&text).contains("put a value with `,`, `[`, `]`, `{` or `}` in quotes"), "{}", one(&text));
}

#[test]
fn a_file_that_is_not_there_or_not_text_is_one_problem() {
    let missing = load(&Source::file("/nonexistent/aegis.yaml")).unwrap_err().to_string();
    assert!(missing.starts_with("/nonexistent/aegis.yaml:1:1: error: cannot read the file: "), "{missing}");
    let binary = TempFile::new("binary.yaml", b"a: 1\nb: \xff\xfe\n");
    let problem = load(&Source { file: Some(binary.0.clone()), ..alone() }).unwrap_err().to_string();
    assert!(problem.contains(":2:4: error: not valid UTF-8"), "{problem}");
}

#[test]
fn a_real_file_is_read_and_named() {
    let file = TempFile::new("real.yaml", GOOD.as_bytes());
    let loaded = load(&Source { file: Some(file.0.clone()), ..alone() }).unwrap();
    assert_eq!(loaded.file.as_deref(), Some(file.0.as_path()));
    assert_eq!(loaded.settings.backends.len(), 1);
    let bad =
        inspect_with(&Source { file: Some(file.0.clone()), ..set(&["server.prot=1"]) }, |_, _| Vec::new());
    assert_eq!(bad.problems.errors(), 1);
}

#[test]
fn aliases_work_and_alias_bombs_do_not() {
    let text = "backends:\n  - {name: a, url: 'http://h:1', routes: [/x], circuitBreaker: &b {failureThreshold: 9}}\n  - {name: b, url: 'http://h:1', routes: [/y], circuitBreaker: *b}\n";
    assert_eq!(good(text).settings.backends[1].circuit_breaker.failure_threshold, 9);

    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for n in 1..12 {
        let before = format!("*a{}", n - 1);
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", vec![before; 10].join(",")));
    }
    assert!(one(&bomb).contains("the aliases add up to too much"));
}

#[test]
fn an_alias_inside_its_own_value_is_refused() {
    assert!(one("a: &a [*a]\n").contains("stands inside the value it refers to"));
}

#[test]
fn deep_nesting_is_refused_in_every_format() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    assert!(one(&format!("a: {}", deep("[", "]"))).contains("a.yaml:1:"));
    assert!(one(&"- ".repeat(5000)).contains("nested deeper than 64 levels"));
    let chain: String = (1..5000).map(|n| format!("a{n}: &a{n} [*a{}]\n", n - 1)).collect();
    assert!(one(&format!("a0: &a0 [x]\n{chain}")).contains("the aliases add up"));
    for (file, text) in
        [("a.json", format!("{{\"a\":{}}}", deep("[", "]"))), ("a.toml", format!("a = {}", deep("[", "]")))]
    {
        let problems = inspect(file, &text, &alone()).problems;
        assert!(problems.errors() >= 1, "{file}");
    }
}

#[test]
fn merge_keys_tags_and_odd_keys_are_refused_with_words() {
    assert!(one("a: &a {b: 1}\nc:\n  <<: *a\n").contains("merge keys"));
    assert!(
        one(&format!("{GOOD}logging: {{level: !secret info}}"))
            .contains("the tag `!secret` means nothing here")
    );
    assert!(one("? [a]\n: 1\n").contains("a key must be plain text"));
    assert_eq!(good(&format!("{GOOD}admin: {{token: !!str 123}}")).settings.admin.token, "123");
}
