//! Conditions, operator by operator, also against values that somebody means ill with.

use serde_json::json;

use super::*;
use crate::config::settings::auth::claim_path::ClaimPath;
use crate::config::settings::auth::rbac::{ConditionType, Operator};

fn condition(kind: ConditionType, operator: Operator, value: &[&str]) -> Condition {
    let value = value.iter().map(|value| value.to_string()).collect();
    let header = (kind == ConditionType::Header).then(|| "X-Net".to_owned());
    let claim = (kind == ConditionType::Claim).then(|| ClaimPath::parse("org.groups").unwrap());
    Condition { kind, operator, header, claim, value }
}

fn holds(conditions: &[&Condition], asked: &Asked) -> bool {
    let conditions = conditions.iter().map(|condition| (*condition).clone()).collect();
    let rbac = compiled(vec![role("a", &[], vec![permission("/x", &["GET"], conditions)])]);
    match verdict(&rbac, &["a"], asked).unwrap() {
        Permit::Granted { .. } => true,
        Permit::Denied(Denied::Condition) => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn ip_is_the_clients_address() {
    let inner = condition(ConditionType::Ip, Operator::In, &["10.0.0.0/8", "2001:db8::/32"]);
    let one = condition(ConditionType::Ip, Operator::Equals, &["10.0.0.7"]);
    for (client, in_inner, is_one) in [
        ("10.0.0.7", true, true),
        ("::ffff:10.0.0.7", true, true),
        ("10.255.255.255", true, false),
        ("11.0.0.0", false, false),
        ("2001:db8::1", true, false),
        ("::10.0.0.7", false, false),
    ] {
        let asked = Asked { client: client.parse().unwrap(), ..ask("GET", "/x") };
        assert_eq!((holds(&[&inner], &asked), holds(&[&one], &asked)), (in_inner, is_one), "{client}");
    }
    let forged = Asked { fields: vec![("X-Forwarded-For".into(), "10.0.0.7".into())], ..ask("GET", "/x") };
    assert!(!holds(&[&inner], &forged));
}

#[test]
fn time_is_one_of_several_stretches() {
    let office =
        condition(ConditionType::Time, Operator::Between, &["Mon-Fri 09:00-17:00", "Sat 10:00-12:00"]);
    // 2024-01-01 was a Monday.
    for (day, hour, held) in [(0, 9, true), (0, 17, false), (5, 10, true), (5, 12, false), (6, 10, false)] {
        let asked = Asked { now: 1_704_067_200 + day * 86_400 + hour * 3_600, ..ask("GET", "/x") };
        assert_eq!(holds(&[&office], &asked), held, "day {day}, {hour}:00");
    }
}

#[test]
fn a_header_must_be_there_and_each_of_its_values_must_hold() {
    let equals = condition(ConditionType::Header, Operator::Equals, &["inner"]);
    let one_of = condition(ConditionType::Header, Operator::In, &["inner", "lab"]);
    let contains = condition(ConditionType::Header, Operator::Contains, &["inner"]);
    let matches = condition(ConditionType::Header, Operator::Matches, &["in|inner|a.c"]);
    for (values, [is, among, has, fits]) in [
        (&["inner"][..], [true, true, true, true]),
        (&["lab"], [false, true, false, false]),
        (&["inner", "inner"], [true, true, true, true]),
        (&["inner", "lab"], [false, true, false, false]),
        // CVE-2026-26308: joined, they would be a text that holds the word, or one that does not match what is forbidden.
        (&["inner", "outer"], [false, false, false, false]),
        (&["outer", "inner"], [false, false, false, false]),
        (&["outer,inner"], [false, false, true, false]),
        (&["inner", ""], [false, false, false, false]),
        (&[""], [false, false, false, false]),
        (&["Inner"], [false, false, false, false]),
        (&["inner "], [false, false, true, false]),
        (&["xinnerx"], [false, false, true, false]),
        (&["inner\nx"], [false, false, true, false]),
        (&["inner\n"], [false, false, true, false]),
        (&["a.c"], [false, false, false, true]),
        (&["abc\u{e9}"], [false, false, false, false]),
        (&[], [false, false, false, false]),
    ] {
        let fields = values.iter().map(|value| ("x-NET".to_owned(), value.to_string())).collect();
        let asked = Asked { fields, ..ask("GET", "/x") };
        let found = [&equals, &one_of, &contains, &matches].map(|condition| holds(&[condition], &asked));
        assert_eq!(found, [is, among, has, fits], "{values:?}");
    }
    let other = Asked { fields: vec![("X_Net".into(), "inner".into())], ..ask("GET", "/x") };
    assert!(!holds(&[&equals], &other));
}

#[test]
fn bytes_that_are_no_text_meet_no_condition() {
    struct Bytes;
    impl RequestHeaders for Bytes {
        fn visit(&self, _name: &str, visit: &mut dyn FnMut(&[u8])) {
            visit(b"inner\xff");
        }
    }
    for (operator, value) in [(Operator::Contains, "inner"), (Operator::Matches, "(?s).*")] {
        let requirement = Requirement::new(&condition(ConditionType::Header, operator, &[value])).unwrap();
        let held = ask("GET", "/x").of(|access| requirement.holds(&Access { headers: &Bytes, ..*access }));
        assert_eq!(held, Some(false), "{operator:?}");
    }
}

#[test]
fn a_claim_is_a_scalar_or_one_element_of_a_list() {
    let equals = condition(ConditionType::Claim, Operator::Equals, &["admin"]);
    let one_of = condition(ConditionType::Claim, Operator::In, &["admin", "5", "true", "1.5"]);
    let contains = condition(ConditionType::Claim, Operator::Contains, &["admin"]);
    let matches = condition(ConditionType::Claim, Operator::Matches, &["adm[a-z]+"]);
    for (claim, [is, among, has, fits]) in [
        (json!("admin"), [true, true, true, true]),
        (json!(["x", "admin"]), [true, true, true, true]),
        // A list has an element, not a part of one.
        (json!(["not-admin"]), [false, false, false, false]),
        (json!("not-admin"), [false, false, true, false]),
        (json!("Admin"), [false, false, false, false]),
        (json!("administrator\nx"), [false, false, true, false]),
        (json!(["admix"]), [false, false, false, true]),
        (json!(5), [false, true, false, false]),
        (json!([5]), [false, true, false, false]),
        (json!("5"), [false, true, false, false]),
        (json!(55), [false, false, false, false]),
        (json!(1.5), [false, true, false, false]),
        (json!(true), [false, true, false, false]),
        (json!(false), [false, false, false, false]),
        (json!(null), [false, false, false, false]),
        (json!([null, {"admin": "admin"}, [["admin"]], ["admin"]]), [false, false, false, false]),
        (json!({"admin": "admin"}), [false, false, false, false]),
        (json!([]), [false, false, false, false]),
        (json!(""), [false, false, false, false]),
    ] {
        let claims = json!({"org": {"groups": claim}});
        let asked = Asked { claims: claims.as_object().cloned(), ..ask("GET", "/x") };
        let found = [&equals, &one_of, &contains, &matches].map(|condition| holds(&[condition], &asked));
        assert_eq!(found, [is, among, has, fits], "{claim}");
    }
    for claims in [
        None,
        json!({}).as_object().cloned(),
        json!({"org.groups": "admin", "org": "admin"}).as_object().cloned(),
    ] {
        assert!(!holds(&[&equals], &Asked { claims, ..ask("GET", "/x") }), "what is not there meets nothing");
    }
}

#[test]
fn all_conditions_must_hold() {
    let inner = condition(ConditionType::Ip, Operator::In, &["10.0.0.0/8"]);
    let admin = condition(ConditionType::Claim, Operator::Equals, &["admin"]);
    let claims = json!({"org": {"groups": "admin"}});
    let both = || Asked {
        client: "10.0.0.1".parse().unwrap(),
        claims: claims.as_object().cloned(),
        ..ask("GET", "/x")
    };
    assert!(holds(&[&inner, &admin], &both()));
    assert!(!holds(&[&inner, &admin], &Asked { claims: None, ..both() }));
    assert!(!holds(&[&inner, &admin], &Asked { client: "11.0.0.1".parse().unwrap(), ..both() }));
}

#[test]
fn of_two_permissions_that_differ_only_in_conditions_either_will_do() {
    let rbac = compiled(vec![role(
        "a",
        &[],
        vec![
            permission("/x", &["GET"], vec![condition(ConditionType::Ip, Operator::In, &["10.0.0.0/8"])]),
            permission("/x", &["GET"], vec![condition(ConditionType::Ip, Operator::In, &["192.0.2.0/24"])]),
        ],
    )]);
    assert_eq!(verdict(&rbac, &["a"], &ask("GET", "/x")), Some(Permit::Granted { role: 0, permission: 1 }));
}

#[test]
fn what_does_not_go_together_is_never_compiled_to_something_that_holds() {
    for bad in [
        condition(ConditionType::Ip, Operator::Matches, &["10"]),
        condition(ConditionType::Time, Operator::Equals, &["09:00-10:00"]),
        condition(ConditionType::Header, Operator::Between, &["a"]),
        condition(ConditionType::Header, Operator::Equals, &[]),
        condition(ConditionType::Claim, Operator::Contains, &["a", "b"]),
        condition(ConditionType::Claim, Operator::Matches, &["a)|(b"]),
        Condition { header: None, ..condition(ConditionType::Header, Operator::Equals, &["a"]) },
        Condition { claim: None, ..condition(ConditionType::Claim, Operator::Equals, &["a"]) },
    ] {
        let roles = vec![role("a", &[], vec![permission("/x", &["GET"], vec![bad.clone()])])];
        let problems = Rbac::build(&settings::Rbac { roles, ..settings::Rbac::default() }, []).unwrap_err();
        assert_eq!(problems[0].path, "auth.rbac.roles[0].permissions[0].conditions[0]", "{bad:?}");
    }
}
