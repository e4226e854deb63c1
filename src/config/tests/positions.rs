//! Where problems are reported, that all of them are, and how they read.

use super::*;

#[test]
fn a_problem_reads_file_line_column_severity_message() {
    let text = "server:\n  prot: 9000\nbackends:\n  - {name: a, url: 'http://h:1', routes: [/x]}\n";
    assert_eq!(one(text), "a.yaml:2:3: error: unknown key `server.prot`: did you mean `port`?");
}

#[test]
fn every_problem_is_reported_at_once_errors_first() {
    let text = "server: {prot: 1, port: x, workers: 9999}\nbackends: []\nhotReload: 5\nlogin: {}\n";
    let lines = lines(text);
    assert_eq!(lines.len(), 6, "{lines:#?}");
    for (line, start) in lines.iter().zip([
        "a.yaml:1:10: error",
        "a.yaml:1:25: error",
        "a.yaml:1:37: error",
        "a.yaml:3:12: error",
        "a.yaml:4:1: error",
        "a.yaml:2:11: warning",
    ]) {
        assert!(line.starts_with(start), "{line} does not start with {start}");
    }
}

#[test]
fn an_unknown_key_points_at_the_key_and_a_wrong_value_at_the_value() {
    refused(
        "backends:\n  - name: a\n    url: http://h:1\n    routes: [/x]\n    timeut: 5s\n",
        "5:5",
        &["`backends[0].timeut`: did you mean `timeout`?"],
    );
    refused(
        "backends:\n  - name: a\n    url: http://h:1\n    routes: [/x]\n    timeout:   soon\n",
        "5:16",
        &["found `soon`"],
    );
}

#[test]
fn an_unknown_key_like_no_other_gets_the_list_of_keys() {
    refused(
        &format!("{GOOD}logging: {{banana: 1}}"),
        "2:11",
        &["remove it, or use one of accessLog, format, level, probes, query"],
    );
}

#[test]
fn a_missing_key_points_at_its_section() {
    let text = "backends:\n  - url: http://h:1\n    routes: [/x]\n";
    refused(text, "2:5", &["`backends[0].name` is required", "give the backend a unique name"]);
}

#[test]
fn columns_count_characters_not_bytes() {
    refused(
        "backends: [{name: 'ä', url: 'http://h:1', routes: [/x]}]",
        "1:19",
        &["must be 1 to 64 of the characters"],
    );
    refused("backends: [{routes: [/ä], name: a, url: 'http://h:1', bad: 1}]", "1:55", &["unknown key"]);
}

#[test]
fn a_syntax_error_is_one_problem_with_a_place() {
    let problem = one("server:\n  port: 80\n host: x\n");
    assert!(problem.starts_with("a.yaml:3:"), "{problem}");
    assert!(problem.contains("error: not valid YAML: "), "{problem}");
}

#[test]
fn a_syntax_error_beside_a_variable_or_a_tab_says_so() {
    assert!(one("admin: {token: ${T}, port: 1}").contains("in quotes"));
    assert!(one("server:\n\tport: 1\n").contains("not tabs"));
}

#[test]
fn a_duplicate_key_is_an_error_at_the_second_one() {
    let text = format!("{GOOD}logging:\n  level: info\n  level: warn\n");
    refused(&text, "4:3", &["`level` is written twice (first on line 3)"]);
}

#[test]
fn a_second_document_is_refused() {
    refused("hotReload: true\n---\nhotReload: false\n", "2:1", &["second document"]);
}

#[test]
fn problems_of_other_layers_name_the_variable_or_key() {
    let mut source = env(&[("AEGIS__SERVER__PORT", "abc"), ("AEGIS__SERVR__PORT", "1")]);
    source.set = vec!["logging.level=lod".into(), "admin.prot=1".into()];
    let problems = inspect("a.yaml", GOOD, &source).problems;
    let lines: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "environment:1:1: error: `server.port` must be a whole number between 0 and 65535, found `abc` (set by AEGIS__SERVER__PORT)",
            "environment:1:1: error: unknown key `servr`: did you mean `server`? (set by AEGIS__SERVR__PORT)",
            "--set:1:1: error: unknown key `admin.prot`: did you mean `port`? (set by --set admin.prot)",
            "--set:1:1: error: `logging.level` must be a level (off, error, warn, info, debug, trace) or an env_logger filter, found `lod`: write for example `info` or `info,aegis::gateway=debug` (set by --set logging.level)",
        ]
    );
}

#[test]
fn a_list_or_a_scalar_at_the_top_is_refused() {
    refused("- a\n", "1:1", &["must be a section with keys"]);
    refused("hello\n", "1:1", &["must be a section with keys"]);
}

#[test]
fn the_judge_gets_the_place_of_every_route() {
    let text = "backends:\n  - name: a\n    url: http://h:1\n    routes:\n      - /x\n      - {methods: [GET], path: /y}\n";
    let validate = |_: &crate::config::Settings, places: &crate::config::Places| {
        vec![places.route(0, 0).warning("first"), places.route(0, 1).error("second")]
    };
    let inspection = inspect_text(Some((PathBuf::from("a.yaml"), text)), &alone(), validate);
    let lines: Vec<String> = inspection.problems.0.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["a.yaml:6:32: error: second", "a.yaml:5:9: warning: first"]);
    assert!(inspection.verdict().is_err());
}

#[test]
fn a_key_with_line_breaks_and_escapes_stays_one_harmless_line() {
    refused(&format!("{GOOD}\"a\\n\\e[31mb\": 1\n"), "2:1", &["unknown key `a\\n\\u{1b}[31mb`"]);
}

#[test]
fn a_character_that_nobody_sees_is_said_where_it_is() {
    for (key, shown) in [
        ("hotReload\u{200b}", "unknown key `hotReload\\u{200b}`: it holds an invisible character (U+200B)"),
        (
            "\u{a0}\u{a0}hotReload",
            "unknown key `\\u{a0}\\u{a0}hotReload`: it holds an invisible character (U+00A0)",
        ),
    ] {
        refused(&format!("{GOOD}{key}: true\n"), "2:1", &[shown, "write it anew"]);
    }
    refused(
        &format!("{GOOD}admin: {{token: \"hunter\u{200b}2\"}}"),
        "2:16",
        &["holds an invisible character (U+200B)"],
    );
    refused(&format!("{GOOD}admin: {{token: 'hunter 2'}}"), "2:16", &["holds a space"]);
    refused(&format!("{GOOD}admin: {{token: 'hünter2'}}"), "2:16", &["holds a character beyond ASCII"]);
}

#[test]
fn a_path_a_host_or_a_value_that_is_compared_holds_nothing_invisible() {
    for unseen in ['\u{200b}', '\u{feff}', '\u{ad}', '\u{202e}'] {
        let code = format!("an invisible character (U+{:04X}): write it anew, by hand", u32::from(unseen));
        let path = [&code, ", or percent-encode it"].concat();
        refused(
            &route_text(&format!("path: '/a{unseen}b'")),
            "1:57",
            &["error: `backends[0].routes[0].path`", &path],
        );
        refused(
            &format!("backends: [{{name: a, url: 'http://h:1', routes: ['/a{unseen}b']}}]"),
            "1:50",
            &["error: `backends[0].routes[0]`", &path],
        );
        refused(&route_text(&format!("path: /x, hosts: ['a{unseen}.test']")), "1:69", &["error: ", &code]);
        refused(
            &route_text(&format!("path: /x, headers: {{k: 'a{unseen}b'}}")),
            "1:74",
            &["warning: ", &code],
        );
        let probes = format!("{GOOD}server: {{probes: {{ready: ['/up{unseen}']}}}}");
        refused(&probes, "2:27", &["error: `server.probes.ready[0]`", &path]);
        let rule = |matched: &str| {
            format!(
                "{GOOD}rateLimit: {{rules: [{{id: a, match: {{{matched}}}, rateLimit: {{requests: 1, windowSeconds: 1}}}}]}}"
            )
        };
        refused(&rule(&format!("endpoint: '/a{unseen}'")), "2:47", &["error: ", "endpoint`", &path]);
    }
    assert_eq!(route("path: /a%E2%80%8Bb").path, "/a%E2%80%8Bb");
    assert_eq!(route("path: /é").path, "/é");
}
