//! `auth.ip`, `backends[].ip` and `routes[].ip`: which client addresses may ask.

use std::collections::HashSet;
use std::iter;

use aegis_schema::{Section, section};
use ipnet::IpNet;

section! {
    /// Which client addresses may ask. The rules of a backend and of a route hold besides those of `auth.ip`: a client must
    /// pass all of them. An IPv4 address that is written as IPv6 (`::ffff:10.0.0.1`) is the IPv4 address.
    pub struct IpRules, check judge {
        /// only these; empty = everybody
        allow: Vec<IpNet>, "allow" list(network(
            "lets every address of its family in: leave `allow` empty to let everybody in")).unique();
        /// never these, though `allow` has them
        deny: Vec<IpNet>, "deny" list(network("refuses every address of its family")).unique();
    }
}

/// Warns of a network that is let in for nothing.
fn judge(rules: &mut IpRules, section: &Section<'_>) {
    let deny: HashSet<IpNet> = rules.deny.iter().copied().collect();
    for (network, at) in rules.allow.iter().zip(section.items("allow")) {
        let mut around = iter::successors(Some(*network), IpNet::supernet);
        if let Some(denied) = around.find(|around| deny.contains(around)) {
            at.warn(format_args!(
                "lets nobody in: `deny` has {denied}, which beats it; remove one of the two"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse::parse;

    fn read(text: &str) -> (IpRules, Vec<String>) {
        let mut problems = Vec::new();
        let root = parse(Path::new("a.yaml"), text, "a.yaml", &mut problems).unwrap();
        let (rules, _) = aegis_schema::read(&root, "a.yaml", &mut problems, |_, _| {});
        (rules, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn networks_and_addresses_are_read_each_once() {
        let (rules, problems) =
            read("{allow: [10.1.2.3/8, 10.0.0.0/8, '::ffff:192.0.2.1', '2001:db8::1'], deny: [10.1.0.0/16]}");
        assert_eq!(problems, [""; 0]);
        let allow: Vec<_> = rules.allow.iter().map(ToString::to_string).collect();
        assert_eq!(allow, ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::1/128"]);
        assert_eq!(rules.deny.len(), 1);
    }

    #[test]
    fn what_can_let_nobody_in_and_what_lets_everybody_in_is_told() {
        for (text, place, part) in [
            (
                "{allow: [192.0.2.0/24, 10.1.0.0/16], deny: [10.0.0.0/8]}",
                "1:24",
                "`deny` has 10.0.0.0/8, which beats it",
            ),
            ("{allow: ['2001:db8::1'], deny: ['2001:db8::1']}", "1:10", "which beats it"),
            ("{allow: [0.0.0.0/0]}", "1:10", "leave `allow` empty"),
            ("{deny: ['::/0']}", "1:9", "refuses every address"),
            ("{allow: [10.0.0.256]}", "1:10", "must be a network"),
            ("{allowed: [10.0.0.1]}", "1:2", "did you mean `allow`?"),
        ] {
            let (_, problems) = read(text);
            assert!(problems.len() == 1 && problems[0].contains(part), "{text}: {problems:?}");
            assert!(problems[0].starts_with(&format!("a.yaml:{place}: ")), "{text}: {problems:?}");
        }
    }
}
