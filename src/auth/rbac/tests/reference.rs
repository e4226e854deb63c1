//! The compiled permissions against the plainest judge there is: every permission of every role, one after the other.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::config::settings::auth::rbac::{ConditionType, Operator};

const ROLES: [&str; 5] = ["a", "b", "c", "d", "anonymous"];

fn inner() -> Condition {
    Condition {
        kind: ConditionType::Ip,
        operator: Operator::In,
        value: vec!["10.0.0.0/8".into()],
        ..Condition::default()
    }
}

/// The roles that a role has, by going from parent to parent.
fn whole<'r>(roles: &'r [Role], name: &'r str, found: &mut Vec<&'r str>) {
    found.push(name);
    for role in roles.iter().filter(|role| role.name == name) {
        role.inherits.iter().for_each(|parent| whole(roles, parent, found));
    }
}

/// What each permission that is for the path says.
fn outcomes(roles: &[Role], own: &[&str], asked: &Asked) -> Vec<Denied> {
    let mut whole_of = Vec::new();
    own.iter().for_each(|name| whole(roles, name, &mut whole_of));
    let has = |role: &&Role| whole_of.contains(&&*role.name);
    let mut found = Vec::new();
    for permission in roles.iter().filter(has).flat_map(|role| &role.permissions) {
        let for_path = Permissions::build(&[(permission.resource.clone(), vec!["*".into()])]).unwrap();
        if asked.of(|access| for_path.permits(access).is_some()) != Some(true) {
            continue;
        }
        let actions = &permission.actions;
        let for_method = actions.iter().any(|action| {
            action == "*" || action == asked.method || (action == "GET" && asked.method == "HEAD")
        });
        let from_inside = asked.client.to_string().starts_with("10.");
        match (for_method, permission.conditions.is_empty() || from_inside) {
            (false, _) => found.push(Denied::Method),
            (true, false) => found.push(Denied::Condition),
            // Nearer than all that is denied.
            (true, true) => return Vec::new(),
        }
    }
    found.push(Denied::Path);
    found
}

fn some_permission() -> impl Strategy<Value = Permission> {
    let resource = select(vec!["/**", "/x", "/x/**", "/x/:id", "/x/*", "/**/y"]);
    let actions = subsequence(vec!["GET", "POST", "HEAD", "*", "PURGE"], 1..3);
    (resource, actions, any::<bool>()).prop_map(|(resource, actions, conditional)| {
        permission(resource, &actions, conditional.then(inner).into_iter().collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn the_verdict_is_that_of_trying_every_permission(
        defined in proptest::collection::vec(proptest::collection::vec(some_permission(), 0..4), 5),
        // A role inherits only those before it, so that there is no circle.
        parents in proptest::collection::vec(subsequence(vec![0usize, 1, 2, 3], 0..3), 5),
        own in subsequence(ROLES.to_vec(), 1..3),
        method in select(vec!["GET", "HEAD", "POST", "PURGE", "PUT"]),
        path in select(vec!["/", "/x", "/x/", "/x/1", "/x/y", "/z/y", "/x/a;b", "/x/a%2Fy", "/x;a/y"]),
        inside in any::<bool>(),
    ) {
        let roles: Vec<Role> = defined
            .into_iter()
            .zip(parents)
            .enumerate()
            .map(|(n, (permissions, parents))| {
                let names: Vec<&str> = parents.iter().filter(|parent| **parent < n).map(|parent| ROLES[*parent]).collect();
                role(ROLES[n], &names, permissions)
            })
            .collect();
        let client = if inside { "10.0.0.1" } else { "192.0.2.1" }.parse().unwrap();
        let asked = Asked { client, ..ask(method, path) };
        let rbac = compiled(roles.clone());
        let expected = outcomes(&roles, &own, &asked).into_iter().max();
        let effective = rbac.names().effective(own.iter().copied());
        let found = asked.of(|access| rbac.permits(&effective, access)).unwrap();
        match found {
            Permit::Denied(denied) => prop_assert_eq!(Some(denied), expected),
            Permit::Granted { role, permission } => {
                prop_assert_eq!(None, expected);
                // The permission that is named lets it pass by itself.
                let named = roles[role].permissions[permission].clone();
                let alone = compiled(vec![super::role("one", &[], vec![named])]);
                let by_it = verdict(&alone, &["one"], &asked);
                prop_assert_eq!(by_it, Some(Permit::Granted { role: 0, permission: 0 }));
                prop_assert!(effective.contains(role as u32));
            }
            Permit::SuperAdmin => prop_assert!(false, "nobody is one"),
        }
        // What is told at length says the same.
        let told = asked.of(|access| {
            let outcomes = rbac.considered(&effective, access).into_iter().map(|one| match one.outcome {
                Outcome::Grants => None,
                Outcome::Condition(0) => Some(Denied::Condition),
                Outcome::Condition(_) | Outcome::Method => Some(Denied::Method),
            });
            outcomes.collect::<Vec<_>>()
        }).unwrap();
        let told = if told.contains(&None) { None } else { told.into_iter().flatten().max().or(Some(Denied::Path)) };
        prop_assert_eq!(told, expected);
    }
}
