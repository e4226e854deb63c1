//! Methods, paths and roles.

use super::*;

fn shop() -> Rbac {
    compiled(vec![
        role("anonymous", &[], vec![permission("/public/**", &["GET"], vec![])]),
        role(
            "viewer",
            &[],
            vec![permission("/api/**", &["GET"], vec![]), permission("/status", &["HEAD"], vec![])],
        ),
        role("editor", &["viewer"], vec![permission("/api/articles/:id", &["PUT", "POST"], vec![])]),
        role("chief", &["editor"], vec![permission("/api/**", &["*"], vec![])]),
        role("cache", &[], vec![permission("/api/**", &["PURGE"], vec![])]),
    ])
}

fn granted(role: usize, permission: usize) -> Permit {
    Permit::Granted { role, permission }
}

#[test]
fn a_permission_is_for_a_role_a_path_and_methods() {
    let rbac = shop();
    let denied = Permit::Denied;
    for (roles, method, path, expected) in [
        (&["viewer"][..], "GET", "/api/articles", granted(1, 0)),
        (&["viewer"], "HEAD", "/api/articles", granted(1, 0)),
        (&["viewer"], "POST", "/api/articles", denied(Denied::Method)),
        (&["viewer"], "get", "/api/articles", denied(Denied::Method)),
        (&["viewer"], "*", "/api/articles", denied(Denied::Method)),
        (&["viewer"], "OPTIONS", "/api/articles", denied(Denied::Method)),
        (&["viewer"], "GET", "/api", denied(Denied::Path)),
        (&["viewer"], "GET", "/api/", granted(1, 0)),
        (&["viewer"], "HEAD", "/status", granted(1, 1)),
        (&["viewer"], "GET", "/status", denied(Denied::Method)),
        (&["viewer"], "GET", "/", denied(Denied::Path)),
        (&["viewer"], "GET", "/public/x", denied(Denied::Path)),
        (&["editor"], "PUT", "/api/articles/7", granted(2, 0)),
        (&["editor"], "GET", "/api/articles/7", granted(1, 0)),
        (&["editor"], "PUT", "/api/articles/7/x", denied(Denied::Method)),
        (&["editor"], "DELETE", "/api/articles/7", denied(Denied::Method)),
        (&["chief"], "DELETE", "/api/articles/7", granted(3, 0)),
        (&["chief"], "BREW", "/api/articles/7", granted(3, 0)),
        (&["chief"], "DELETE", "/other", denied(Denied::Path)),
        (&["cache"], "PURGE", "/api/x", granted(4, 0)),
        (&["cache"], "PURGE2", "/api/x", denied(Denied::Method)),
        (&["cache", "viewer"], "GET", "/api/x", granted(1, 0)),
        (&["root"], "DELETE", "/anything", Permit::SuperAdmin),
        (&["viewer", "root"], "DELETE", "/anything", Permit::SuperAdmin),
        (&["Root"], "GET", "/api/x", denied(Denied::Path)),
        (&[], "GET", "/api/x", denied(Denied::Path)),
        (&["stranger"], "GET", "/api/x", denied(Denied::Path)),
        (&["anonymous"], "GET", "/public/x", granted(0, 0)),
    ] {
        assert_eq!(verdict(&rbac, roles, &ask(method, path)), Some(expected), "{roles:?} {method} {path}");
    }
    let anonymous = ask("GET", "/public/x").of(|access| rbac.permits(rbac.names().anonymous(), access));
    assert_eq!(anonymous, Some(granted(0, 0)));
}

/// Whatever is asked for must be judged as what the upstream would make of it: a viewer never gets at what is below `/admin`,
/// and whoever has only `/public/**` gets at nothing else.
#[test]
fn no_spelling_of_a_path_gets_past_its_permissions() {
    let rbac = compiled(vec![
        role(
            "public",
            &[],
            vec![permission("/public/**", &["GET"], vec![]), permission("/public/:file", &["GET"], vec![])],
        ),
        role("files", &[], vec![permission("/files/*.json", &["GET"], vec![])]),
    ]);
    for path in [
        "/admin",
        "/public/../admin",
        "/public/..%2fadmin",
        "/public/..;/admin",
        "/public/%2e%2e/admin",
        "//admin",
        "/admin/",
        "/%61dmin",
        "/ADMIN",
        "/admin%00",
        "/public%2f..%2fadmin",
        "/public%2f..%5cadmin",
        "/admin#/public/x",
        "/admin?x=/public/",
        "\\admin",
        "/public\\..\\admin",
        "/public;/admin",
        "/public;x=y/z",
        "/public%3b/x",
        "/public%2fx",
        "/Public/x",
        "/x/public/y",
        "http://h/public/x",
        "/public",
        "*",
        "",
    ] {
        let found = verdict(&rbac, &["public"], &ask("GET", path));
        assert!(!matches!(found, Some(Permit::Granted { .. })), "{path}: {found:?}");
    }
    for path in [
        "/public/x",
        "//public//x",
        "/public/./x",
        "/a/../public/x",
        "/public/x;v=1",
        "/public/x?a",
        "/%70ublic/x",
    ] {
        let found = verdict(&rbac, &["public"], &ask("GET", path));
        assert!(matches!(found, Some(Permit::Granted { role: 0, .. })), "{path}: {found:?}");
    }
    // Only `/public/**` holds in every reading.
    assert_eq!(verdict(&rbac, &["public"], &ask("GET", "/public/a%2Fb")), Some(granted(0, 0)));
    for path in ["/files/a;.json", "/files/a%2f.json", "/files/a.json;x", "/files/a.json%3bx"] {
        assert_eq!(
            verdict(&rbac, &["files"], &ask("GET", path)),
            Some(Permit::Denied(Denied::Path)),
            "{path}"
        );
    }
}

#[test]
fn permissions_of_keys_are_patterns_with_methods() {
    let entry = |pattern: &str, methods: &[&str]| {
        (pattern.to_owned(), methods.iter().map(|method| method.to_string()).collect::<Vec<_>>())
    };
    let permissions = Permissions::build(&[
        entry("/api/users/**", &["GET"]),
        entry("/api/users/me", &["*"]),
        entry("/api/none", &[]),
    ])
    .unwrap();
    let by = |method, path: &str| {
        ask(method, path)
            .of(|access| permissions.permits(access).map(|pattern| pattern.text().to_owned()))
            .flatten()
    };
    assert_eq!(by("HEAD", "/api/users/7").as_deref(), Some("/api/users/**"));
    assert_eq!(by("DELETE", "/api/users/me").as_deref(), Some("/api/users/me"));
    assert_eq!(by("DELETE", "/api/users/7"), None);
    assert_eq!(by("GET", "/api/none"), None, "no method is not every method");
    assert_eq!(by("GET", "/api/users;x/7"), None);
    let problems = Permissions::build(&[entry("/a", &["GET"]), entry("b", &["GET"])]).unwrap_err();
    assert!(
        problems.len() == 1 && problems[0].path == "b" && problems[0].text.contains("write `/b`"),
        "{problems:?}"
    );
}

#[test]
fn what_was_considered_says_why() {
    let night = Condition {
        kind: settings::ConditionType::Time,
        operator: settings::Operator::Between,
        value: vec!["22:00-06:00".into()],
        ..Condition::default()
    };
    let mut viewer = role(
        "viewer",
        &[],
        vec![
            permission("/other", &["GET"], vec![]),
            permission("/api/**", &["GET"], vec![night]),
            permission("/api/:x", &["PUT"], vec![]),
        ],
    );
    viewer.description = Some("may look".into());
    let rbac =
        compiled(vec![viewer, role("editor", &["viewer"], vec![permission("/api/**", &["PUT"], vec![])])]);
    let roles = rbac.names().effective(["editor"]);
    let noon = Asked { now: 12 * 3_600, ..ask("GET", "/api/x") };
    assert_eq!(noon.of(|access| rbac.permits(&roles, access)), Some(Permit::Denied(Denied::Condition)));
    let told = noon.of(|access| {
        let all = rbac.considered(&roles, access);
        all.iter().map(|one| (one.role.to_owned(), one.permission, one.outcome)).collect::<Vec<_>>()
    });
    let expected = [
        ("viewer", 1, Outcome::Condition(0)),
        ("viewer", 2, Outcome::Method),
        ("editor", 0, Outcome::Method),
    ];
    assert_eq!(told.unwrap(), expected.map(|(role, number, outcome)| (role.to_owned(), number, outcome)));
    let midnight = ask("GET", "/api/x");
    assert_eq!(midnight.of(|access| rbac.permits(&roles, access)), Some(granted(0, 1)));
    midnight.of(|access| {
        let first = &rbac.considered(&roles, access)[0];
        assert_eq!(
            (first.description, first.resource, first.outcome),
            (Some("may look"), "/api/**", Outcome::Grants)
        );
        assert_eq!(rbac.considered(&rbac.names().effective(["other"]), access), []);
    });
    assert_eq!(ask("GET", "/nowhere").of(|access| rbac.considered(&roles, access).len()), Some(0));
}

#[test]
fn a_thousand_roles_with_ten_permissions_each_are_one_look_at_those_that_match() {
    // Of one pattern that all have, and of nine that only one role has.
    let roles = (0..1_000).map(|n| {
        let own = (0..8).map(|m| permission(&format!("/t{n}/p{m}/**"), &["GET"], vec![]));
        let shared =
            [permission("/shared/**", &["GET"], vec![]), permission(&format!("/t{n}/:id"), &["*"], vec![])];
        role(&format!("r{n}"), &[], own.chain(shared).collect())
    });
    let rbac = compiled(roles.collect());
    let looked_at = |path: &str| {
        let mut grants = 0;
        rbac.patterns.matching(path, false, &mut |pattern| grants += rbac.grants[pattern].len());
        grants
    };
    assert_eq!(
        (looked_at("/shared/x"), looked_at("/t7/p3/x"), looked_at("/t7/x"), looked_at("/x")),
        (1, 1, 1, 0)
    );
    assert_eq!(rbac.patterns.patterns().len(), 9_001);
    assert_eq!(verdict(&rbac, &["r999"], &ask("GET", "/shared/x")), Some(granted(999, 8)));
    assert_eq!(verdict(&rbac, &["r999", "r7"], &ask("GET", "/shared/x")), Some(granted(7, 8)));
    assert_eq!(verdict(&rbac, &["r7"], &ask("GET", "/t7/p3/x")), Some(granted(7, 3)));
    assert_eq!(verdict(&rbac, &["r8"], &ask("GET", "/t7/p3/x")), Some(Permit::Denied(Denied::Path)));
}
