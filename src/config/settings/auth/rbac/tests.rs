//! What can be written in `auth.rbac`, and what is said of the rest.

use std::path::Path;

use aegis_schema::Describe;
use aegis_schema::problem::Severity;

use super::*;
use crate::config::parse::parse;

/// The section and what is said of it, each with its line and column.
fn read(text: &str) -> (Rbac, Vec<String>) {
    let mut problems = Vec::new();
    let root = parse(Path::new("a.yaml"), text, "a.yaml", &mut problems).unwrap();
    let (rbac, _) = aegis_schema::read::<Rbac>(&root, "a.yaml", &mut problems, |_, _| {});
    let told = |problem: aegis_schema::problem::Problem| {
        let word = if problem.severity == Severity::Error { "" } else { "warning: " };
        format!("{word}{}:{} {}", problem.place.line, problem.place.column, problem.message)
    };
    (rbac, problems.into_iter().map(told).collect())
}

#[track_caller]
fn good(text: &str) -> Rbac {
    let (rbac, problems) = read(text);
    assert_eq!(problems, [""; 0], "{text}");
    rbac
}

/// The only thing that is said of it begins with the place and holds the part.
#[track_caller]
fn refused(text: &str, place: &str, part: &str) {
    let (_, problems) = read(text);
    assert!(
        problems.len() == 1 && problems[0].starts_with(place) && problems[0].contains(part),
        "{text}\n{problems:#?}"
    );
}

/// A role with a permission that has this condition, on line 1 from column 94.
fn with(condition: &str) -> String {
    format!(
        "roles: [{{name: a, permissions: [{{resource: /x, actions: [GET], conditions: [{{{condition}}}]}}]}}]"
    )
}

#[test]
fn every_key_is_read_and_shown_as_it_was_written() {
    let text = "enabled: true\nshadow: true\ndefaultRole: viewer\nsuperAdminRoles: [root]\nroles:\n  - name: viewer\n    \
                description: may look\n    permissions:\n      - resource: /api/**\n        actions: [GET, '*', PURGE]\n        \
                conditions:\n          - {type: ip, operator: in, value: [10.0.0.0/8, '::1']}\n          \
                - {type: time, operator: between, value: Mon-Fri 09:00-17:00}\n          \
                - {type: header, operator: equals, header: X-Net, value: inner}\n          \
                - {type: claim, operator: in, claim: org.level, value: [3, true, x, 1.5]}\n  \
                - {name: editor, inherits: [viewer]}\n";
    let rbac = good(text);
    let conditions = &rbac.roles[0].permissions[0].conditions;
    assert_eq!(conditions[0].networks().len(), 2);
    assert_eq!(conditions[1].hours(), [Hours::parse("Mon-Fri 09:00-17:00").unwrap()]);
    assert_eq!(conditions[2].header.as_deref(), Some("x-net"));
    assert_eq!(conditions[3].value, ["3", "true", "x", "1.5"]);
    assert_eq!(rbac.roles[1].inherits, ["viewer"]);
    let shown = rbac.show(true).to_string();
    let (again, problems) = {
        let mut problems = Vec::new();
        let root = parse(Path::new("a.json"), &shown, "a.json", &mut problems).unwrap();
        (aegis_schema::read::<Rbac>(&root, "a.json", &mut problems, |_, _| {}).0, problems)
    };
    assert_eq!((again, problems), (rbac, Vec::new()));
    assert_eq!(good(""), Rbac::default());
}

#[test]
fn what_is_inherited_must_be_a_role_and_no_circle() {
    refused("roles: [{name: viewer}, {name: b, inherits: [viever]}]", "1:46", "did you mean `viewer`?");
    refused("roles: [{name: a, inherits: [zebra]}]", "1:30", "add it to `roles`");
    refused(
        "roles: [{name: a, inherits: [a]}]",
        "1:29",
        "`roles[0].inherits` leads back to the role itself, `a` → `a`",
    );
    refused(
        "roles: [{name: a, inherits: [b]}, {name: b, inherits: [c]}, {name: c, inherits: [b]}]",
        "1:55",
        "`b` → `c` → `b`",
    );
    refused("roles: [{name: a}, {name: b}, {name: a}]", "1:38", "is the name of `roles[0]` already, `a`");
    let two = "roles: [{name: a, inherits: [b]}, {name: b, inherits: [a]}, {name: c, inherits: [d]}, {name: d, inherits: [c, x]}]";
    assert_eq!(read(two).1.len(), 3, "{:?}", read(two).1);
    good(
        "roles: [{name: a, inherits: [b, c]}, {name: b, inherits: [d]}, {name: c, inherits: [d]}, {name: d}]",
    );
}

#[test]
fn a_chain_of_ten_thousand_roles_is_looked_at_without_recursion() {
    let role = |n: usize, parent: Option<usize>| Role {
        name: format!("r{n}"),
        inherits: parent.map(|n| format!("r{n}")).into_iter().collect(),
        ..Role::default()
    };
    let mut roles: Vec<Role> = (0..10_000usize).map(|n| role(n, n.checked_sub(1))).rev().collect();
    let chain = Inheritance::of(&roles);
    assert_eq!((chain.faults.len(), chain.order.len()), (0, 10_000));
    assert_eq!(chain.order.first(), Some(&9_999), "whoever inherits nothing comes first");
    assert_eq!(chain.ancestors(0).len(), 9_999);
    roles[9_999].inherits = vec!["r9999".into()];
    let circle = Inheritance::of(&roles);
    assert_eq!((circle.faults.len(), circle.order.len()), (1, 0));
    assert!(circle.faults[0].to_string().len() < 300, "{}", circle.faults[0]);
}

#[test]
fn names_that_nobody_defines_are_told() {
    refused("{defaultRole: viever, roles: [{name: viewer}]}", "1:15", "did you mean `viewer`?");
    refused("{superAdminRoles: [x, admn], roles: [{name: admin}]}", "warning: 1:23", "did you mean `admin`?");
    good("{defaultRole: user, superAdminRoles: [root]}");
    good("{superAdminRoles: [root], roles: [{name: viewer}]}");
}

#[test]
fn nobody_becomes_a_super_admin_by_having_nothing() {
    refused("superAdminRoles: [root, anonymous]", "1:18", "no credential");
    refused(
        "{superAdminRoles: [root], roles: [{name: anonymous, inherits: [a]}, {name: a, inherits: [root]}, {name: root}]}",
        "1:19",
        "no credential",
    );
    refused("{superAdminRoles: [root], defaultRole: root}", "1:40", "every verified user");
    refused(
        "{superAdminRoles: [root], defaultRole: a, roles: [{name: a, inherits: [root]}, {name: root}]}",
        "1:40",
        "every",
    );
}

#[test]
fn names_of_roles_are_one_line_without_commas() {
    for name in ["''", "'a,b'", "' a'", "\"a\\nb\"", "\"a\\u200b\"", "5"] {
        let (_, problems) = read(&format!("roles: [{{name: {name}}}]"));
        assert_eq!(problems.len(), 1, "{name}: {problems:?}");
    }
    good("roles: [{name: 'Ops & Dev Team'}, {name: 'group:ä'}]");
    refused("roles: [{description: x}]", "1:9", "`roles[0].name` is required");
}

#[test]
fn a_permission_names_what_it_is_for() {
    let permission = |keys: &str| format!("roles: [{{name: a, permissions: [{{{keys}}}]}}]");
    good(&permission("resource: /x, actions: ['*']"));
    refused(&permission("resource: /x"), "1:33", "`roles[0].permissions[0].actions` is required");
    refused(&permission("resource: /x, actions: []"), "1:57", "nothing is granted");
    refused(&permission("actions: [GET]"), "1:33", "resource` is required");
    refused(&permission("resource: x, actions: [GET]"), "1:44", "must start with `/`");
    refused(&permission("resource: '/x?a', actions: [GET]"), "1:44", "no query");
    refused(&permission("resource: /x, actions: [get]"), "1:58", "upper-case, write GET");
    refused(&permission("resource: /x, actions: [read]"), "1:58", "no method");
    refused(&permission("resource: /x, actions: [delte]"), "1:58", "did you mean `DELETE`?");
    refused(&permission("resource: /x, actions: [GET], condition: []"), "1:64", "did you mean `conditions`?");
}

#[test]
fn type_operator_and_value_must_go_together() {
    for (condition, part) in [
        ("type: custom, operator: equals, value: x", "no code that the gateway could ask"),
        ("type: ipp, operator: equals, value: 10.0.0.1", "did you mean `ip`?"),
        ("type: ip, operator: equls, value: 10.0.0.1", "did you mean `equals`?"),
        ("operator: equals, value: 10.0.0.1", "type` is required"),
        ("type: ip, value: 10.0.0.1", "operator` is required"),
        ("type: ip, operator: in", "value` is required"),
        ("type: ip, operator: in, value: []", "is empty"),
        ("type: ip, operator: in, value: [10.0.0.0/8, 10.0.0.256]", "must be networks"),
        ("type: ip, operator: matches, value: '10.*'", "does not go with `type: ip`: use `equals` and `in`"),
        ("type: ip, operator: equals, value: [10.0.0.1, 10.0.0.2]", "`operator: in` takes a list"),
        ("type: ip, operator: equals, value: 10.0.0.1, header: X-A", "is for `type: header`"),
        ("type: time, operator: in, value: 09:00-17:00", "use `between`"),
        ("type: time, operator: between, value: ['09:00', '17:00']", "write `HH:MM-HH:MM`"),
        ("type: header, operator: equals, value: x", "header` is required"),
        ("type: header, operator: between, header: X-A, value: x", "does not go with `type: header`"),
        ("type: header, operator: equals, header: 'X A', value: x", "no header name"),
        ("type: header, operator: equals, header: X-A, value: ''", "is empty"),
        ("type: header, operator: contains, header: X-A, value: [a, b]", "several values"),
        ("type: claim, operator: equals, header: X-A, value: x", "claim` is required"),
        ("type: claim, operator: equals, claim: a..b, value: x", "an empty name"),
        ("type: claim, operator: matches, claim: a, value: '('", "is no regular expression: unclosed group"),
        (
            "type: claim, operator: matches, claim: a, value: 'a)|(b'",
            "is no regular expression: unopened group",
        ),
        ("type: claim, operator: matches, claim: a, value: '(?x)a # b'", "is no regular expression"),
        ("type: claim, operator: equals, claim: a, value: {b: c}", "value` must be"),
    ] {
        let (_, problems) = read(&with(condition));
        assert!(problems.iter().any(|problem| problem.contains(part)), "{condition}: {problems:?}");
        assert!(problems.iter().all(|problem| problem.starts_with("1:")), "{condition}: {problems:?}");
        assert!(problems.len() <= 2, "{condition}: {problems:?}");
    }
}
