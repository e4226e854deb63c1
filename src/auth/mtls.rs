//! Whose a client certificate is: the first entry of the table for the first of its names that has one.
//!
//! What the names are was read from a certificate that is verified; who decides what stands in them is its authority.

use std::collections::HashMap;

use crate::config::settings::auth::mtls::{Mtls, MtlsIdentity, NameKind};
use crate::router::Glob;

/// The names in a certificate that somebody may be known by, each visible text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    pub uris: Vec<String>,
    /// In lower case, none with a wildcard.
    pub dns: Vec<String>,
    /// Their domains in lower case.
    pub emails: Vec<String>,
    /// The one common name of the subject.
    pub cn: Option<String>,
}

/// Who has a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    pub user: &'a str,
    pub roles: &'a [String],
    pub scopes: &'a [String],
    pub tier: Option<&'a str>,
    /// The name that it was known by.
    pub name: &'a str,
}

/// Why a certificate is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It has no name of a kind that is looked at.
    Nameless,
    /// No entry matches a name of it.
    Unlisted,
}

/// The table, made ready for look-ups: those by whole names cost the same however many there are.
#[derive(Debug, Default)]
pub struct MtlsTable {
    kinds: Vec<NameKind>,
    entries: Vec<MtlsIdentity>,
    /// The number of the first entry for a whole name.
    exact: HashMap<(NameKind, String), usize>,
    /// The entries with `*`, in their order.
    patterns: Vec<(NameKind, NamePattern, usize)>,
    allow_unlisted: bool,
}

impl MtlsTable {
    /// The table of these settings.
    pub fn new(settings: &Mtls) -> Self {
        let (mut exact, mut patterns) = (HashMap::new(), Vec::new());
        for (number, entry) in settings.identities.iter().enumerate() {
            for kind in
                settings.identity_from.iter().filter(|kind| entry.from.is_none_or(|from| from == **kind))
            {
                let name = comparable(*kind, &entry.pattern);
                match name.contains('*') {
                    true => patterns.push((*kind, NamePattern::new(&name), number)),
                    false => drop(exact.entry((*kind, name)).or_insert(number)),
                }
            }
        }
        let Mtls { identity_from: kinds, identities: entries, allow_unlisted } = settings.clone();
        Self { kinds, entries, exact, patterns, allow_unlisted }
    }

    /// Who has a certificate with these names.
    ///
    /// # Errors
    /// [`Why`] it is nobody's.
    pub fn identity<'a>(&'a self, names: &'a CertificateNames) -> Result<Identity<'a>, Why> {
        let all = || self.kinds.iter().flat_map(|kind| names.of(*kind).map(move |name| (*kind, name)));
        let listed = all().find_map(|(kind, name)| Some((self.entry(kind, name)?, name)));
        if let Some((MtlsIdentity { user_id, roles, scopes, tier, .. }, name)) = listed {
            return Ok(Identity { user: user_id, roles, scopes, tier: tier.as_deref(), name });
        }
        match all().next() {
            None => Err(Why::Nameless),
            Some((_, name)) if self.allow_unlisted => {
                Ok(Identity { user: name, roles: &[], scopes: &[], tier: None, name })
            }
            Some(_) => Err(Why::Unlisted),
        }
    }

    /// The first entry that matches a name.
    fn entry(&self, kind: NameKind, name: &str) -> Option<&MtlsIdentity> {
        // A key of two parts cannot be borrowed for; certificates are looked up once for each connection.
        let exact = self.exact.get(&(kind, name.to_owned())).copied();
        let fits = |(of, pattern, _): &&(NameKind, NamePattern, usize)| *of == kind && pattern.fits(name);
        let pattern = self.patterns.iter().find(fits).map(|(_, _, number)| *number);
        let first = exact.into_iter().chain(pattern).min()?;
        self.entries.get(first)
    }
}

impl CertificateNames {
    /// Those of one kind, in the certificate's order.
    fn of(&self, kind: NameKind) -> impl Iterator<Item = &str> {
        let (list, one) = match kind {
            NameKind::Uri => (self.uris.as_slice(), None),
            NameKind::Dns => (self.dns.as_slice(), None),
            NameKind::Email => (self.emails.as_slice(), None),
            NameKind::Cn => (&[][..], self.cn.as_deref()),
        };
        list.iter().map(String::as_str).chain(one)
    }
}

/// A name as it is compared: case does not matter in DNS names and the domains of e-mail addresses (RFC 5280 §7.2, §7.5).
pub fn comparable(kind: NameKind, name: &str) -> String {
    match kind {
        NameKind::Uri | NameKind::Cn => name.to_owned(),
        NameKind::Dns => name.to_ascii_lowercase(),
        NameKind::Email => match name.rsplit_once('@') {
            Some((mailbox, domain)) => format!("{mailbox}@{}", domain.to_ascii_lowercase()),
            None => name.to_owned(),
        },
    }
}

/// A name with `*`. Each stands within one part: what another part says must not be made up by somebody who chose this one.
#[derive(Debug)]
struct NamePattern(Vec<Part>);

#[derive(Debug)]
enum Part {
    Whole(String),
    /// And whether it is the last one.
    Glob(Glob, bool),
}

impl NamePattern {
    fn new(text: &str) -> Self {
        let glob = |text: &str| Glob::new(text.split('*').map(str::to_owned).collect());
        let part = |text: &str| match text.contains('*') {
            true => Part::Glob(glob(text), ends(text)),
            false => Part::Whole(text.to_owned()),
        };
        Self(parts(text).map(part).collect())
    }

    fn fits(&self, name: &str) -> bool {
        let mut parts = parts(name);
        let fit = self.0.iter().all(|part| match (part, parts.next()) {
            (Part::Whole(text), Some(found)) => text == found,
            (Part::Glob(glob, last), Some(found)) => *last == ends(found) && glob.fits(found),
            (_, None) => false,
        });
        fit && parts.next().is_none()
    }
}

/// What stands between `/` and `@`, each with the one behind it.
fn parts(name: &str) -> impl Iterator<Item = &str> {
    name.split_inclusive(['/', '@'])
}

/// Whether none is behind this part.
fn ends(part: &str) -> bool {
    !part.ends_with(['/', '@'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pattern: &str, from: Option<NameKind>, user: &str) -> MtlsIdentity {
        MtlsIdentity {
            pattern: pattern.to_owned(),
            from,
            user_id: user.to_owned(),
            ..MtlsIdentity::default()
        }
    }

    fn table(kinds: &[NameKind], entries: &[(&str, Option<NameKind>, &str)]) -> MtlsTable {
        MtlsTable::new(&settings(kinds, entries))
    }

    fn settings(kinds: &[NameKind], entries: &[(&str, Option<NameKind>, &str)]) -> Mtls {
        let identities = entries.iter().map(|(pattern, from, user)| entry(pattern, *from, user)).collect();
        Mtls { identity_from: kinds.to_vec(), identities, allow_unlisted: false }
    }

    fn names(uris: &[&str], dns: &[&str], emails: &[&str], cn: Option<&str>) -> CertificateNames {
        let owned = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        CertificateNames {
            uris: owned(uris),
            dns: owned(dns),
            emails: owned(emails),
            cn: cn.map(str::to_owned),
        }
    }

    use NameKind::{Cn, Dns, Email, Uri};

    #[test]
    fn a_star_stands_within_one_part_of_a_name() {
        for (pattern, name, fits) in [
            ("spiffe://prod/ns/*/sa/web", "spiffe://prod/ns/shop/sa/web", true),
            ("spiffe://prod/ns/*/sa/web", "spiffe://prod/ns/x/sa/y/ns/z/sa/web", false),
            ("spiffe://prod/ns/*/sa/web", "spiffe://prod/ns/shop/sa/web/more", false),
            ("spiffe://prod/*", "spiffe://prod/a", true),
            ("spiffe://prod/*", "spiffe://prod/a/b", false),
            ("spiffe://prod/*", "spiffe://prod/a/", false),
            ("spiffe://prod/*", "spiffe://prod/", false),
            ("spiffe://prod/*", "spiffe://prod.evil/a", false),
            ("spiffe://*/a", "spiffe://prod/a", true),
            ("*@example.com", "ann@example.com", true),
            ("*@example.com", "ann@evil.test@example.com", false),
            ("*@example.com", "ann@example.com.evil.test", false),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "a/b.example.com", false),
            ("web-*.a*.test", "web-1.ab.test", true),
            ("web-*.a*.test", "web-1.b.test", false),
            ("*", "anything", true),
            ("*", "a/b", false),
        ] {
            assert_eq!(NamePattern::new(pattern).fits(name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn the_first_name_that_is_listed_counts_and_of_its_entries_the_first() {
        let entries = [
            ("a.test", None, "exact"),
            ("*.test", None, "glob"),
            ("spiffe://x/*", None, "spiffe"),
            ("b.test", None, "late"),
        ];
        let found = |kinds: &[NameKind], names: &CertificateNames| {
            table(kinds, &entries)
                .identity(names)
                .map(|identity| (identity.user.to_owned(), identity.name.to_owned()))
        };
        let pair = |user: &str, name: &str| Ok((user.to_owned(), name.to_owned()));
        let both = names(&["spiffe://x/y"], &["a.test"], &[], None);
        assert_eq!(found(&[Uri, Dns], &both), pair("spiffe", "spiffe://x/y"));
        assert_eq!(found(&[Dns, Uri], &both), pair("exact", "a.test"));
        assert_eq!(
            found(&[Dns], &names(&[], &["b.test"], &[], None)),
            pair("glob", "b.test"),
            "the earlier entry"
        );
        assert_eq!(found(&[Dns], &names(&[], &["unknown", "z.test"], &[], None)), pair("glob", "z.test"));
        assert_eq!(found(&[Dns], &names(&[], &["unknown"], &[], None)), Err(Why::Unlisted));
        assert_eq!(found(&[Email], &both), Err(Why::Nameless));
        let common = names(&[], &[], &[], Some("a.test"));
        assert_eq!(
            found(&[Uri, Dns, Email], &common),
            Err(Why::Nameless),
            "no common name that is not asked for"
        );
        assert_eq!(found(&[Uri, Cn], &common), pair("exact", "a.test"));
    }

    #[test]
    fn an_entry_for_one_kind_is_not_met_by_another() {
        let table = table(&[Uri, Cn], &[("spiffe://prod/admin", Some(Uri), "admin")]);
        let forged = names(&[], &[], &[], Some("spiffe://prod/admin"));
        assert_eq!(table.identity(&forged), Err(Why::Unlisted));
        assert_eq!(
            table.identity(&names(&["spiffe://prod/admin"], &[], &[], None)).map(|found| found.user),
            Ok("admin")
        );
    }

    #[test]
    fn case_matters_where_it_means_something() {
        let table = table(
            &[Uri, Dns, Email],
            &[("API.Test", None, "dns"), ("Ann@Example.COM", None, "ann"), ("urn:A", None, "urn")],
        );
        let user = |names: &CertificateNames| table.identity(names).map(|found| found.user.to_owned());
        assert_eq!(user(&names(&[], &["api.test"], &[], None)), Ok("dns".to_owned()));
        assert_eq!(user(&names(&[], &[], &["Ann@example.com"], None)), Ok("ann".to_owned()));
        assert_eq!(user(&names(&[], &[], &["ann@example.com"], None)), Err(Why::Unlisted));
        assert_eq!(user(&names(&["urn:a"], &[], &[], None)), Err(Why::Unlisted));
    }

    #[test]
    fn who_is_not_listed_is_a_user_without_roles_where_that_is_allowed() {
        let mut settings = settings(&[Dns, Uri], &[("a.test", None, "a")]);
        settings.identities[0].roles = vec!["admin".to_owned()];
        settings.allow_unlisted = true;
        let table = MtlsTable::new(&settings);
        let stranger = names(&["urn:x"], &["x.test"], &[], None);
        let found = table.identity(&stranger);
        assert_eq!(
            found,
            Ok(Identity { user: "x.test", roles: &[], scopes: &[], tier: None, name: "x.test" })
        );
        let listed = names(&[], &["x.test", "a.test"], &[], None);
        let found = table.identity(&listed).expect("it is listed");
        assert_eq!(
            (found.user, found.roles),
            ("a", &["admin".to_owned()][..]),
            "a listed name goes before a first one"
        );
        assert_eq!(table.identity(&CertificateNames::default()), Err(Why::Nameless));
    }
}
