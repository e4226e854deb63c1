//! Whatever the file, the variables and the arguments hold: an answer, never a panic.

use proptest::prelude::*;

use super::*;

/// Pieces that make parsers stumble, and keys that lead deep into the readers.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "server",
        "port",
        "backends",
        "name",
        "url",
        "routes",
        "path",
        "targets",
        "weight",
        "timeout",
        "tls",
        "headers",
        "circuitBreaker",
        "healthCheck",
        "hashOn",
        "rateLimit",
        "rules",
        "match",
        "endpoint",
        "endpointMatchType: regex",
        "redis",
        "admin",
        "token",
        "logging",
        "level",
        ": ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "\"",
        "'",
        "&a ",
        "*a",
        "!!str ",
        "!x",
        "|\n",
        ">\n",
        "? ",
        "<<: ",
        "#",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "\t",
        "\r\n",
        "${",
        "}",
        "${A:-",
        "${file:",
        "http://",
        "https://[::1]:",
        "/x/**",
        "-1",
        "1e999",
        "0x",
        ".nan",
        "true",
        "null",
        "~",
        "\u{feff}",
        "é",
        "\0",
        "\u{2028}",
        "[[",
        "]]",
        "=",
        "\\",
        "\\u",
    ];
    prop_oneof![
        4 => prop::sample::select(words.to_vec()).prop_map(str::to_owned),
        1 => "\\PC{0,5}",
        1 => any::<char>().prop_map(String::from),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![prop::collection::vec(piece(), 0..40).prop_map(|pieces| pieces.concat()), any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_in_any_format_gets_an_answer(text in text()) {
        for file in ["a.yaml", "a.json", "a.toml"] {
            let inspection = inspect(file, &text, &env(&[("A", "x")]));
            for problem in &inspection.problems.0 {
                prop_assert!(problem.place.line >= 1 && problem.place.column >= 1);
                prop_assert!(!problem.message.contains('\n'), "{}", problem.message);
            }
        }
    }

    #[test]
    fn any_variable_and_any_argument_gets_an_answer(name in "[A-Z_0-9]{0,12}", key in "[a-z.0-9=]{0,16}", value in text()) {
        let mut source = env(&[(&format!("AEGIS__{name}"), &value), (&format!("AEGIS__BACKENDS__{name}"), &value)]);
        source.set = vec![format!("{key}={value}"), format!("backends.0.{key}={value}"), value];
        let _ = inspect("a.yaml", GOOD, &source);
    }

    #[test]
    fn any_value_of_any_key_of_a_backend_gets_an_answer(
        key in prop::sample::select(vec!["url", "targets", "routes", "timeout", "hashOn", "tls", "healthCheck", "circuitBreaker", "name"]),
        value in text(),
    ) {
        let quoted = serde_json::to_string(&value).unwrap();
        for value in [quoted.clone(), format!("[{quoted}]"), format!("{{path: {quoted}, url: {quoted}}}"), format!("[{{path: {quoted}, url: {quoted}, hosts: [{quoted}]}}]")] {
            let _ = inspect("a.yaml", &format!("backends: [{{{key}: {value}}}]"), &alone());
        }
    }

    #[test]
    fn any_endpoint_and_any_url_of_redis_gets_an_answer_without_the_password(value in text(), kind in "exact|prefix|glob|regex") {
        let quoted = serde_json::to_string(&value).unwrap();
        let rule = format!("{{id: {quoted}, match: {{endpoint: {quoted}, endpointMatchType: {kind}, methods: [{quoted}]}}, rateLimit: {{windowSeconds: {quoted}}}}}");
        let _ = inspect("a.yaml", &format!("{GOOD}rateLimit: {{bypass: {{paths: [{quoted}]}}, rules: [{rule}]}}\n"), &alone());
        let path = serde_json::to_string(&format!("/{value}")).unwrap();
        let _ = inspect("a.yaml", &format!("{GOOD}rateLimit: {{rules: [{{id: a, match: {{endpoint: {path}, endpointMatchType: {kind}}}}}]}}\n"), &alone());
        let url = serde_json::to_string(&format!("redis://hunter2{value}@h")).unwrap();
        for text in [format!("{GOOD}redis: {{url: {url}}}\n"), format!("{GOOD}redis: {url}\n")] {
            let inspection = inspect("a.yaml", &text, &alone());
            prop_assert!(!inspection.problems.to_string().contains("hunter2"), "{}", inspection.problems);
            if let Ok(loaded) = inspection.verdict() {
                prop_assert!(!loaded.effective.to_string().contains("hunter2"), "{}", loaded.effective);
            }
        }
    }
}

/// The commented sample with a piece cut out, doubled or replaced; `AEGIS_TEST_BIG=1` for 20 000 of them.
#[test]
fn a_sample_that_is_mutilated_gets_an_answer() {
    let text = include_str!("../../../config/aegis.yaml")
        .lines()
        .map(|line| line.strip_prefix("# ").unwrap_or(line));
    let whole: Vec<char> = text.collect::<Vec<_>>().join("\n").chars().collect();
    let pieces = [
        "", ":", "- ", "{", "[", "null", "-1", "1e9", "\"", "'", "${", "&a ", "*a", "\t", "\u{feff}",
        "\u{0}", "&#x2028;",
    ];
    let mut random = fastrand::Rng::with_seed(21);
    let count = if std::env::var_os("AEGIS_TEST_BIG").is_some() { 20_000 } else { 500 };
    for _ in 0..count {
        let mut text = whole.clone();
        for _ in 0..random.usize(1..4) {
            let start = random.usize(..text.len());
            let end = text.len().min(start + random.usize(..40));
            let mut piece: Vec<char> = pieces[random.usize(..pieces.len())].chars().collect();
            if random.u8(..4) == 0 {
                piece = text[start..end].repeat(2);
            }
            text.splice(start..end, piece);
        }
        let text: String = text.into_iter().collect();
        let file = ["a.yaml", "a.yaml", "a.json", "a.toml"][random.usize(..4)];
        let inspection = inspect(file, &text, &alone());
        let placed = inspection
            .problems
            .0
            .iter()
            .all(|problem| problem.place.line >= 1 && !problem.message.contains('\n'));
        assert!(placed, "{}", inspection.problems);
    }
}
