//! What `check` and `routes` print.

use super::*;
use crate::config::listing::{Row, table};
use crate::config::report::report;

fn report_on(name: &str, text: &str) -> (crate::config::report::Report, TempFile) {
    let file = TempFile::new(name, text.as_bytes());
    let source = Source { file: Some(file.0.clone()), ..alone() };
    (report(&source, |_, _| Vec::new()), file)
}

#[test]
fn a_good_configuration_is_counted() {
    let (report, file) = report_on("good.yaml", GOOD);
    assert!(report.ok());
    assert_eq!(report.text(), format!("{}: ok: 1 backend, 1 route", file.path()));
    assert_eq!(report.json(), serde_json::json!({"ok": true, "problems": []}));
}

#[test]
fn problems_come_one_per_line_before_the_summary() {
    let (report, file) = report_on("bad.yaml", "server: {prot: 1, port: x}\n");
    assert!(!report.ok());
    let text = report.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4);
    assert!(lines[0].contains(": error: ") && lines[2].contains(": warning: "));
    assert_eq!(lines[3], format!("{}: 2 errors, 1 warning", file.path()));
}

#[test]
fn json_has_every_field_of_a_problem() {
    let (report, file) =
        report_on("json.yaml", "hotReload: 5\nbackends: [{name: a, url: 'http://h', routes: [/x]}]");
    let json = report.json();
    assert_eq!(json["ok"], false);
    assert_eq!(
        json["problems"],
        serde_json::json!([{"severity": "error", "file": file.path(), "line": 1, "column": 12, "message": "`hotReload` must be `true` or `false`, found the number 5"}])
    );
}

#[test]
fn the_route_table_is_aligned() {
    let row = Row {
        specificity: 315,
        priority: None,
        methods: vec!["GET".into(), "POST".into()],
        hosts: vec![],
        pattern: "/api/users/:id".into(),
        backend: "users".into(),
        deny: false,
    };
    let denied = Row {
        specificity: 160,
        priority: Some(5),
        methods: vec![],
        pattern: "/x/**".into(),
        deny: true,
        ..row.clone()
    };
    assert_eq!(
        table(&[row, denied]),
        "SPECIFICITY       METHODS   HOSTS  PATTERN         BACKEND\n\
         315               GET,POST  *      /api/users/:id  users\n\
         160 (priority 5)  *         *      /x/**           users (deny)\n"
    );
}
