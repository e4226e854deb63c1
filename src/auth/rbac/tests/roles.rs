//! Names of roles, what they inherit, and what cannot be compiled.

use super::*;

fn built(settings: &settings::Rbac, more: &[&str]) -> Rbac {
    Rbac::build(settings, more.iter().copied()).unwrap()
}

fn names(rbac: &Rbac, roles: &RoleSet) -> Vec<String> {
    rbac.names().of(roles).map(str::to_owned).collect()
}

#[test]
fn a_role_has_what_it_inherits_over_several_ways() {
    // Whoever inherits comes before what is inherited, and the other way round.
    let roles = vec![
        role("boss", &["left", "right"], vec![]),
        role("base", &[], vec![]),
        role("left", &["base"], vec![]),
        role("right", &["base"], vec![]),
        role("other", &[], vec![]),
    ];
    let rbac = built(&settings::Rbac { roles, ..settings::Rbac::default() }, &["outside"]);
    let effective = |own: &[&str]| names(&rbac, &rbac.names().effective(own.iter().copied()));
    assert_eq!(effective(&["boss"]), ["boss", "base", "left", "right"]);
    assert_eq!(effective(&["right"]), ["base", "right"]);
    assert_eq!(effective(&["other", "outside", "unknown"]), ["other", "outside"]);
    assert_eq!(effective(&["unknown"]), [""; 0]);
    let asked = rbac.names().exactly(["base", "nobody"]);
    assert!(
        rbac.names().effective(["left"]).meets(&asked) && !rbac.names().effective(["other"]).meets(&asked)
    );
    assert_eq!(names(&rbac, rbac.names().anonymous()), ["anonymous"]);
}

#[test]
fn the_default_role_is_for_users_whose_roles_are_not_known() {
    let roles =
        vec![role("user", &["base"], vec![]), role("base", &[], vec![]), role("anonymous", &[], vec![])];
    let settings = settings::Rbac { roles, default_role: Some("user".into()), ..settings::Rbac::default() };
    let rbac = built(&settings, &[]);
    let effective = |own: &[&str]| names(&rbac, &rbac.names().effective(own.iter().copied()));
    assert_eq!(effective(&[]), ["user", "base"]);
    assert_eq!(effective(&["offline_access"]), ["user", "base"]);
    assert_eq!(effective(&["base"]), ["base"]);
    assert_eq!(names(&rbac, rbac.names().anonymous()), ["anonymous"], "no credential is no user");
}

#[test]
fn whoever_inherits_a_super_admin_is_one() {
    let rbac = compiled(vec![
        role("boss", &["root"], vec![]),
        role("root", &[], vec![]),
        role("other", &[], vec![]),
    ]);
    for (own, all) in [("boss", true), ("root", true), ("other", false)] {
        assert_eq!(rbac.is_super_admin(&rbac.names().effective([own])), all, "{own}");
    }
}

#[test]
fn more_roles_than_lie_in_place_are_told_apart() {
    let roles =
        (0..300).map(|n| role(&format!("r{n}"), &[], vec![permission(&format!("/p{n}"), &["GET"], vec![])]));
    let rbac = compiled(roles.collect());
    for n in [0, 63, 64, 127, 128, 299] {
        let own = format!("r{n}");
        for m in [0, 63, 64, 127, 128, 299] {
            let granted = matches!(
                verdict(&rbac, &[&own], &ask("GET", &format!("/p{m}"))),
                Some(Permit::Granted { .. })
            );
            assert_eq!(granted, n == m, "r{n} at /p{m}");
        }
    }
}

#[test]
fn all_that_is_wrong_is_told_with_its_key() {
    let mut roles = vec![
        role("a", &["b"], vec![permission("/ok", &["GET"], vec![]), permission("/x/", &["GET"], vec![])]),
        role("b", &["a", "bb"], vec![permission("/x/:", &["GET"], vec![Condition::default()])]),
        role("a", &[], vec![]),
    ];
    let settings = settings::Rbac { roles: roles.clone(), ..settings::Rbac::default() };
    let problems = Rbac::build(&settings, []).unwrap_err();
    let paths: Vec<_> = problems.iter().map(|problem| &*problem.path).collect();
    assert_eq!(
        paths,
        [
            "auth.rbac.roles[0].permissions[1].resource",
            "auth.rbac.roles[1].permissions[0].resource",
            "auth.rbac.roles[2].name",
            "auth.rbac.roles[1].inherits[1]",
            "auth.rbac.roles[0].inherits",
        ]
    );
    assert!(problems[0].text.contains("ends in a slash"), "{problems:?}");
    assert!(problems[3].text.contains("did you mean `b`?"), "{problems:?}");
    roles.truncate(1);
    roles[0].inherits.clear();
    let settings = settings::Rbac { roles, ..settings::Rbac::default() };
    assert_eq!(super::super::problems(&settings).len(), 1);
}
