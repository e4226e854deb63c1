//! Commands that print: what they print, and what their exit codes say (section 1).

use serde_json::Value;

use crate::harness::{Folder, run, run_fed, run_full, run_with};

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
    for arguments in [
        &["schema"][..],
        &["key", "new", "--user", "u"],
        &["config", "--defaults"],
        &["config", "-c", "a.yaml"],
        &["routes", "-c", "a.yaml"],
    ] {
        let output = run_full(folder.path(), arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?} {said}");
        assert!(said.contains("cannot write the output"), "{arguments:?} {said}");
    }
}

#[test]
fn a_new_key_is_printed_once_with_the_record_of_its_digest() {
    let folder = folder();
    let arguments = [
        "key",
        "new",
        "--user",
        "u1",
        "--role",
        "admin",
        "--role",
        "ops",
        "--tier",
        "pro",
        "--expires",
        "90d",
    ];
    let output = run(folder.path(), &arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()), "{text}");
    let (key, record) = text.split_once('\n').unwrap();
    let hashed = run_fed(folder.path(), &["key", "hash"], &format!("{key}\n"));
    let hash = String::from_utf8(hashed.stdout).unwrap();
    assert_eq!((hashed.status.code(), hashed.stderr), (Some(0), Vec::new()));
    for part in [
        &format!("hashes: [\"{}\"]", hash.trim_end()),
        "userId: \"u1\"",
        "roles: [\"admin\", \"ops\"]",
        "tier: \"pro\"",
    ] {
        assert!(record.contains(part), "{part:?} is not in {record}");
    }
    assert!(record.contains("expiresAt: 2") && !record.contains(key), "{record}");
    let without = run(folder.path(), &["key", "new"]);
    assert_eq!(without.status.code(), Some(2), "whose it is must be said");
}

#[test]
fn a_key_is_told_without_being_shown() {
    let folder = folder();
    let made = String::from_utf8(run(folder.path(), &["key", "new", "--user", "u"]).stdout).unwrap();
    let key = made.lines().next().unwrap();
    let (id, secret) = (&key[3..15], &key[16..]);
    let mistyped = format!("{}{}", &key[..64], if key.ends_with('0') { '1' } else { '0' });
    for (text, code, part) in [
        (key, 0, "its checksum is right"),
        (&mistyped, 1, "a wrong checksum"),
        ("some-other-key-of-32-characters!", 1, "32 characters of another form"),
        ("", 1, "no key on standard input"),
        ("two\nlines", 1, "line breaks"),
        (&"k".repeat(9_000), 1, "longer than"),
    ] {
        let output = run_fed(folder.path(), &["key", "check"], &format!("{text}\r\n"));
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(part) && !said.contains(secret), "{said}");
        assert_eq!(said.contains(id), text.starts_with("ak_"), "{said}");
        assert!(text.is_empty() || !said.contains(text), "{said}");
    }
}

#[test]
fn a_foreign_key_is_hashed_from_standard_input_alone() {
    let folder = folder();
    let output = run_fed(folder.path(), &["key", "hash", "--algorithm", "sha512"], "abc");
    let (digest, said) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(digest.starts_with("sha512:ddaf35a193617abacc417349ae204131"), "{digest}");
    assert!(said.contains("the key is short"), "{said}");
    // What stands among the arguments is seen by others.
    assert_eq!(run(folder.path(), &["key", "hash", "abc"]).status.code(), Some(2));
}

/// What `aegis key` says and its exit code, with this on its standard input.
fn key(folder: &Folder, arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let output = run_fed(folder.path(), &[&["key"], arguments].concat(), input);
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn a_configuration_tells_whose_key_it_is_and_whether_it_is_let_in() {
    let folder = folder();
    let (peppers, pepper) =
        ("peppers: {p1: 0123456789abcdef0123456789abcdef}", ["--pepper", "p1", "-c", "a.yaml"]);
    let write = |api_key: &str| {
        std::fs::write(folder.path().join("a.yaml"), format!("{FILE}auth: {{apiKey: {api_key}}}\n"))
    };
    write(&format!("{{{peppers}}}")).unwrap();
    let (_, made) = key(&folder, &[&["new", "--user", "u1"], &pepper[..]].concat(), "");
    let own = made.lines().next().unwrap();
    let (_, hash) = key(&folder, &[&["hash"], &pepper[..]].concat(), own);
    let (hash, id) = (hash.trim_end(), &own[3..15]);
    assert!(hash.starts_with("hmac-sha256:p1:") && made.contains(hash), "{made} {hash}");
    let foreign = "a-key-of-somebody-elses-making";
    let (_, of_foreign) = key(&folder, &["hash"], foreign);
    let entries = |more: &str| {
        let own = format!("{{id: {id}, hashes: [\"{hash}\"], userId: u1{more}}}");
        write(&format!("{{{peppers}, keys: [{own}, {{id: k2, hashes: [\"{}\"]}}]}}", of_foreign.trim_end()))
            .unwrap();
    };
    for (more, code, part) in [
        ("", 0, "of user \"u1\"\n"),
        (", expiresAt: 2200-01-01T00:00:00Z", 0, "until 2200-01-01T00:00:00Z"),
        (", expiresAt: 2020-01-01T00:00:00Z", 1, "it has expired at 2020-01-01T00:00:00Z"),
        (", active: false", 1, "it is not active"),
    ] {
        entries(more);
        let (exit, said) = key(&folder, &["check", "-c", "a.yaml"], own);
        assert_eq!(exit, Some(code), "{more}: {said}");
        assert!(said.contains(&format!("knows it as {id:?}")) && said.contains(part), "{more}: {said}");
        assert!(!said.contains(&own[16..]) && !said.contains(&hash[15..]), "{said}");
    }
    let (exit, said) = key(&folder, &["check", "-c", "a.yaml"], foreign);
    assert!(
        exit == Some(0) && said.contains("of another form") && said.contains("knows it as \"k2\""),
        "{said}"
    );
    let (exit, said) = key(&folder, &["check", "-c", "a.yaml"], "a-key-that-nobody-has-written-down");
    assert!(exit == Some(1) && said.contains("does not know it"), "{said}");
    for (arguments, code, part) in [
        (&["hash", "--pepper", "p2", "-c", "a.yaml"][..], 1, "did you mean `p1`?"),
        (&["hash", "--pepper", "p1"], 2, "--config"),
        (&["check", "-c", "-"], 1, "name a file"),
        (&["check", "-c", "none.yaml"], 1, "none.yaml"),
    ] {
        let (exit, said) = key(&folder, arguments, own);
        assert!(exit == Some(code) && said.contains(part), "{arguments:?} {exit:?} {said}");
    }
}
