//! Commands that print: what they print, and what their exit codes say (section 1).

use serde_json::Value;

use crate::harness::{Folder, run, run_full, run_with};

const FILE: &str = "server: {port: 9000}\nadmin: {token: hunter2-is-secret}\nbackends: [{name: a, url: 'http://h:1', routes: [/x]}]\n";

fn folder() -> Folder {
    let folder = Folder::new();
    std::fs::write(folder.path().join("a.yaml"), FILE).unwrap();
    folder
}

#[test]
fn the_schema_is_json_and_the_configuration_tells_where_each_value_is_from() {
    let folder = folder();
    let schema: Value = serde_json::from_slice(&run(folder.path(), &["schema"]).stdout).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["properties"]["server"]["properties"]["port"]["maximum"], 65_535);
    let output = run_with(
        folder.path(),
        &[("AEGIS__SERVER__WORKERS", "3")],
        &["config", "-c", "a.yaml", "--set", "logging.level=debug"],
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let origin = |key: &str| {
        let line =
            text.lines().find(|line| line.contains(key)).unwrap_or_else(|| panic!("no {key} in {text}"));
        line.rsplit("# ").next().unwrap_or_default().to_owned()
    };
    assert_eq!(origin("port: 9000"), "a.yaml:1");
    assert_eq!(origin("workers: 3"), "AEGIS__SERVER__WORKERS");
    assert_eq!(origin("level: debug"), "--set logging.level");
    assert!(!text.contains("hunter2") && !text.contains("keepAliveMs"), "{text}");
    let effective = run(folder.path(), &["config", "-c", "a.yaml", "--effective"]).stdout;
    assert!(String::from_utf8(effective).unwrap().contains("keepAliveMs: 75000"));
}

#[test]
fn of_a_configuration_that_is_refused_its_problems_are_shown_and_no_values() {
    let folder = folder();
    let output = run(folder.path(), &["config", "-c", "a.yaml", "--set", "server.port=x"]);
    let problems = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(1), Vec::new()));
    assert!(problems.contains("`server.port` must be a whole number"), "{problems}");
}

#[test]
fn what_cannot_be_written_is_a_failure() {
    let folder = folder();
    for arguments in
        [&["schema"][..], &["config", "--defaults"], &["config", "-c", "a.yaml"], &["routes", "-c", "a.yaml"]]
    {
        let output = run_full(folder.path(), arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?} {said}");
        assert!(said.contains("cannot write the output"), "{arguments:?} {said}");
    }
}
