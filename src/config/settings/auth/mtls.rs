//! `auth.mtls`: whose a client certificate is.

use std::collections::HashMap;

use aegis_schema::form::parsed;
use aegis_schema::problem::Severity;
use aegis_schema::section::quoted;
use aegis_schema::{Form, Section, choice, ensure, section};

section! {
    /// `auth.mtls`: whose a client certificate is.
    pub struct Mtls, check check {
        /// the kinds of names that are looked at, in this order: URIs, DNS names and e-mail addresses among the certificate's
        /// alternative names, and the common name, which is only where it is written here
        identity_from: Vec<NameKind> = vec![NameKind::Uri, NameKind::Dns, NameKind::Email],
            "identityFrom" list(one_of()).unique().words("list of `uri`, `dns`, `email`, `cn`");
        /// who has which name; the first entry that matches the first name that any matches
        identities: Vec<MtlsIdentity>, "identities" list(section());
        /// a certificate with no name that an entry matches is good too: its first name is the user, without roles, scopes
        /// and tier. Else it is refused
        allow_unlisted: bool = false, "allowUnlisted" flag();
    }
}

section! {
    /// `auth.mtls.identities[]`: one user, or several of a kind.
    pub struct MtlsIdentity {
        /// the whole name, or with `*`, each of which stands for any characters but `/` and `@`
        pattern: String, "match" name().required("write the name that the certificate has, such as spiffe://prod/ns/a/sa/b");
        /// the kind of names that it is for
        from: Option<NameKind>, "from" one_of().option().unset("every kind in `identityFrom`");
        /// the user
        user_id: String, "userId" name().required("write who the user is");
        /// what it may do
        roles: Vec<String>, "roles" list(name()).unique().sparse().unset("none");
        /// likewise
        scopes: Vec<String>, "scopes" list(name()).unique().sparse().unset("none");
        /// which of `rateLimit.tierLimits` it has
        tier: Option<String>, "tier" name().option();
    }
}

choice! {
    /// A kind of names in a certificate.
    pub enum NameKind {
        /// An alternative name that is a URI, such as a SPIFFE ID.
        #[default]
        Uri = "uri",
        /// One that is a DNS name.
        Dns = "dns",
        /// One that is an e-mail address.
        Email = "email",
        /// The common name of the subject.
        Cn = "cn",
    }
}

impl NameKind {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Uri, Self::Dns, Self::Email, Self::Cn];
}

fn check(mtls: &mut Mtls, section: &Section<'_>) {
    // Of a kind that was misspelt it was told.
    let known_kinds = section.clean("identityFrom");
    let mut known: HashMap<(&str, Option<NameKind>), String> = HashMap::new();
    for (identity, entry) in mtls.identities.iter().zip(section.sections("identities")) {
        if let Some(from) = identity.from.filter(|from| known_kinds && !mtls.identity_from.contains(from)) {
            let what = format!(
                "is `{}`, which is not in `identityFrom`: add it there, or remove the key",
                from.as_str()
            );
            entry.error_of("from", what);
        }
        let path = entry.path.clone();
        match known.get(&(identity.pattern.as_str(), identity.from)) {
            Some(first) => entry.error_of(
                "match",
                format_args!(
                    "is {} as in `{first}`, which comes first: remove one",
                    quoted(&identity.pattern)
                ),
            ),
            None => drop(known.insert((&identity.pattern, identity.from), path)),
        }
    }
    if known_kinds && mtls.identity_from.is_empty() {
        section.error_of(
            "identityFrom",
            "is empty, so that no certificate has an identity: name a kind, such as `uri`",
        );
    } else if mtls.identities.is_empty() && !mtls.allow_unlisted && section.unharmed() {
        section.error_here(format!(
            "`{}` has no entry in `identities`, so that every certificate is refused: add one, or `allowUnlisted: true`",
            section.path
        ));
    }
}

fn name() -> Form<String> {
    let read = |text: &str| {
        ensure!(!text.is_empty(), "is empty: write it, or remove the key".to_owned());
        Ok(text.to_owned())
    };
    parsed("text", read, String::clone).seen(Severity::Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of the section, and the problems.
    fn read(text: &str) -> (Mtls, Vec<String>) {
        let tree =
            crate::config::parse::parse("a.yaml".as_ref(), text, "a.yaml", &mut Vec::new()).expect("YAML");
        let mut problems = Vec::new();
        let (mtls, _) = aegis_schema::read::<Mtls>(&tree, "a.yaml", &mut problems, |_, _| {});
        (mtls, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_table_is_read() {
        let text = "identityFrom: [dns, cn, dns]\nallowUnlisted: true\nidentities:\n  - {match: '*.a.test', userId: a, roles: [r], scopes: [s], tier: pro}\n  - {match: b, from: cn, userId: b}\n";
        let (mtls, problems) = read(text);
        assert_eq!(problems, [""; 0]);
        assert_eq!(
            (mtls.identity_from.as_slice(), mtls.allow_unlisted),
            (&[NameKind::Dns, NameKind::Cn][..], true)
        );
        let [a, b] = mtls.identities.as_slice() else { panic!("{:?}", mtls.identities) };
        assert_eq!(
            (a.pattern.as_str(), a.user_id.as_str(), a.tier.as_deref()),
            ("*.a.test", "a", Some("pro"))
        );
        assert_eq!((a.roles.as_slice(), a.scopes.as_slice()), (&["r".to_owned()][..], &["s".to_owned()][..]));
        assert_eq!((b.from, b.roles.len()), (Some(NameKind::Cn), 0));
        assert_eq!(
            read("{}").0.identity_from,
            [NameKind::Uri, NameKind::Dns, NameKind::Email],
            "no common name"
        );
    }

    #[test]
    fn what_no_certificate_can_meet_is_an_error() {
        for (text, what) in [
            ("identityFrom: []", "`identityFrom` is empty"),
            ("identityFrom: [ip]", "`identityFrom[0]` must be"),
            (
                "identities: [{match: a, from: cn, userId: b}]",
                "`identities[0].from` is `cn`, which is not in `identityFrom`",
            ),
            (
                "identities: [{match: a, userId: b}, {match: a, userId: c}]",
                "`identities[1].match` is `a` as in `identities[0]`",
            ),
            ("identities: [{match: '', userId: b}]", "`identities[0].match` is empty"),
            (
                "identities: [{match: \"a\\u200b\", userId: b}]",
                "`identities[0].match` holds an invisible character",
            ),
            ("identities: [{match: a}]", "`identities[0].userId` is required"),
            ("identities: [{match: a, userId: ''}]", "`identities[0].userId` is empty"),
        ] {
            let (_, problems) = read(text);
            assert!(problems.len() == 1 && problems[0].contains(what), "{text}: {problems:?}");
        }
        let twice = "identityFrom: [dns, cn]\nidentities: [{match: a, from: dns, userId: b}, {match: a, from: cn, userId: c}]";
        assert_eq!(read(twice).1, [""; 0], "of two kinds");
    }
}
