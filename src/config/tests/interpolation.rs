//! `${NAME}` and `${file:PATH}` in the file.

use super::*;

fn token(text: &str, variables: &[(&str, &str)]) -> String {
    let file = format!("{GOOD}admin:\n  token: \"{text}\"\n");
    load_from(&file, &env(variables)).unwrap_or_else(|p| panic!("{p}")).settings.admin.token.to_string()
}

fn problem(text: &str, variables: &[(&str, &str)]) -> String {
    let file = format!("{GOOD}admin:\n  token: \"{text}\"\n");
    load_from(&file, &env(variables)).unwrap_err().to_string()
}

#[test]
fn a_variable_is_put_in_wherever_it_stands() {
    assert_eq!(token("${A}", &[("A", "x")]), "x");
    assert_eq!(token("1${A}2${B}3", &[("A", "x"), ("B", "y")]), "1x2y3");
    assert_eq!(token("${A}", &[("A", "")]), "");
}

#[test]
fn a_default_stands_in_for_a_missing_or_empty_variable() {
    assert_eq!(token("${A:-x}", &[]), "x");
    assert_eq!(token("${A:-x}", &[("A", "")]), "x");
    assert_eq!(token("${A:-x}", &[("A", "y")]), "y");
    assert_eq!(token("${A:-}", &[]), "");
    assert_eq!(token("${A:-${B:-z}}", &[]), "z");
    assert_eq!(token("${A:-${B}}", &[("A", "x")]), "x");
}

#[test]
fn an_escaped_dollar_is_literal() {
    assert_eq!(token("$${A}", &[("A", "x")]), "${A}");
    assert_eq!(token("$$$A", &[]), "$$$A");
    assert_eq!(token("a}b", &[]), "a}b");
}

#[test]
fn a_value_that_was_put_in_is_not_expanded_again() {
    assert_eq!(token("${A}", &[("A", "${B}"), ("B", "no")]), "${B}");
}

#[test]
fn a_missing_variable_is_an_error_at_its_place() {
    assert_eq!(
        problem("${A}", &[]),
        "a.yaml:3:10: error: the variable `A` is not set: export A, or give a default with `${A:-default}`"
    );
}

#[test]
fn an_unclosed_or_malformed_variable_is_an_error() {
    for text in ["${A", "${", "${A:-x", "x${A:-${B}"] {
        assert!(problem(text, &[("A", "1"), ("B", "1")]).contains("never closed"), "{text}");
    }
    for text in ["${}", "${A B}", "${A-x}", "${1A}", "${:-x"] {
        let found = problem(text, &[("A", "1")]);
        assert!(
            found.contains("must be followed by a variable's name") || found.contains("never closed"),
            "{text}: {found}"
        );
    }
    assert!(problem(&"${A:-".repeat(50), &[]).contains("nested deeper"));
}

#[test]
fn two_missing_variables_in_one_text_are_two_problems() {
    let found = problem("${A}${B}", &[]);
    assert!(found.contains("`A`") && found.contains("`B`"), "{found}");
}

#[test]
fn a_whole_variable_can_be_a_number_or_a_boolean() {
    let text = format!("{GOOD}server:\n  port: ${{PORT}}\nhotReload: ${{RELOAD:-false}}\n");
    let settings = load_from(&text, &env(&[("PORT", "9000")])).unwrap().settings;
    assert_eq!(settings.server.port, 9000);
    assert!(!settings.hot_reload);
    let partial = format!("{GOOD}server:\n  port: \"9${{PORT}}\"\n");
    assert!(load_from(&partial, &env(&[("PORT", "000")])).is_err());
}

#[test]
fn a_value_that_was_put_in_is_not_shown_in_problems() {
    let text = format!("{GOOD}server:\n  port: ${{PORT}}\n");
    let problems = load_from(&text, &env(&[("PORT", "hunter2")])).unwrap_err().to_string();
    assert!(
        problems.starts_with("a.yaml:3:9: error: `server.port`") && !problems.contains("hunter2"),
        "{problems}"
    );
}

#[test]
fn what_is_already_reported_is_not_reported_again() {
    let text = "backends:\n  - {name: '${A}', url: '${A}', routes: ['${A}'], timeout: '${A}'}\n";
    let problems = load_from(text, &alone()).unwrap_err();
    assert!(problems.0.iter().all(|p| p.message.contains("is not set")), "{problems}");
    assert_eq!(problems.errors(), 4);
}

#[test]
fn keys_and_other_layers_are_left_alone() {
    let settings = load_from(GOOD, &set(&["admin.token=${A}"])).unwrap().settings;
    assert_eq!(settings.admin.token, "${A}");
}

#[test]
fn a_files_content_is_put_in_without_its_last_line_break() {
    for (content, value) in
        [("s3cret", "s3cret"), ("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), ("${A}", "${A}")]
    {
        let file = TempFile::new("secret", content.as_bytes());
        assert_eq!(token(&format!("${{file:{}}}", file.path()), &[("A", "no")]), value);
    }
    let file = TempFile::new("two", b"two\n\n");
    assert!(problem(&format!("${{file:{}}}", file.path()), &[]).contains("ends in a line break"));
    let file = TempFile::new("port", b"9000\n");
    let text = format!("{GOOD}server:\n  port: ${{file:{}}}\n", file.path());
    assert_eq!(good(&text).settings.server.port, 9000);
}

#[test]
fn a_path_may_hold_a_variable_and_every_file_that_is_named_is_known() {
    let file = TempFile::new("named", b"x");
    let (folder, name) = file.path().rsplit_once('/').unwrap();
    let text = format!("{GOOD}admin:\n  token: \"a${{file:${{DIR}}/{name}}}b${{file:/no/such:-${{C}}}}\"\n");
    let loaded = load_from(&text, &env(&[("DIR", folder), ("C", "c")])).unwrap();
    assert_eq!(loaded.settings.admin.token, "axbc");
    assert_eq!(loaded.named, [PathBuf::from(file.path()), "/no/such".into()].into());
}

#[test]
fn a_default_stands_in_for_a_missing_or_empty_file_and_for_nothing_else() {
    let (empty, full) = (TempFile::new("empty", b"\n"), TempFile::new("full", b"y\n"));
    assert_eq!(token("${file:/no/such:-x}", &[]), "x");
    assert_eq!(token(&format!("${{file:{}/below:-x}}", full.path()), &[]), "x");
    assert_eq!(token(&format!("${{file:{}:-x}}", empty.path()), &[]), "x");
    assert_eq!(token(&format!("${{file:{}}}", empty.path()), &[]), "");
    assert_eq!(token(&format!("${{file:{}:-${{NONE}}}}", full.path()), &[]), "y");
    assert!(problem("${file:/:-x}", &[]).contains("it is not a file"));
    assert_eq!(token("${file:-x}", &[("file", "variable")]), "variable");
}

#[test]
fn a_file_that_cannot_be_a_value_is_an_error_that_names_it_at_its_place() {
    let large = TempFile::new("large", &[b'x'; (64 << 10) + 1]);
    let latin = TempFile::new("latin", b"hunter2\xe9");
    let wide = TempFile::new("wide", b"h\0u\0n\0");
    let pipe = TempFile::new("pipe", b"");
    std::fs::remove_file(pipe.path()).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(pipe.path()).status().unwrap().success());
    for (path, why) in [
        ("/no/such", "there is no such file: check the path, or give a default"),
        ("/", "it is not a file"),
        (pipe.path(), "it is not a file"),
        (large.path(), "larger than 64 KiB"),
        (latin.path(), "not text in UTF-8"),
        (wide.path(), "not text in UTF-8"),
    ] {
        let said = problem(&format!("${{file:{path}}}"), &[]);
        assert!(said.starts_with(&format!("a.yaml:3:10: error: `${{file:{path}}}`: ")), "{said}");
        assert!(said.contains(why) && said.lines().count() == 1 && !said.contains("hunter2"), "{said}");
    }
    let said = problem("${file:${SECRET}}", &[("SECRET", "hunter2")]);
    assert!(
        said.contains("`${file:${SECRET}}`: there is no such file") && !said.contains("hunter2"),
        "{said}"
    );
    assert!(problem("${file:}", &[]).contains("a path is missing"));
    assert!(problem("${file:/no/such", &[]).contains("never closed"));
}
