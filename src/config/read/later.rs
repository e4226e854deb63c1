//! Keys of the contract that a later release brings. Using one is an error: a gateway that quietly ignored
//! `auth` or `cors` would run unguarded.

use super::section::Section;

/// Top-level sections, and what each arrives with.
const SECTIONS: [(&str, &str); 5] = [
    ("auth", "authentication"),
    ("transform", "transformation"),
    ("cors", "CORS"),
    ("compression", "compression"),
    ("securityHeaders", "security headers"),
];

/// Keys of a route, and what each arrives with.
const ROUTE_KEYS: [(&str, &str); 2] = [("auth", "authentication"), ("roles", "authentication")];

/// Refuses the top-level sections that are not there yet.
pub(super) fn refuse(root: &Section<'_>) {
    refuse_each(root, &SECTIONS, "section");
}

/// Refuses the keys of a route that are not there yet.
pub(super) fn refuse_in_route(route: &Section<'_>) {
    refuse_each(route, &ROUTE_KEYS, "key");
}

fn refuse_each(section: &Section<'_>, keys: &[(&'static str, &str)], what: &str) {
    for (key, with) in keys {
        section.settle(key);
        if let Some(node) = section.written(key) {
            section.error_at_key(
                node,
                format!(
                    "`{}` is not available in this version: remove the {what} \
                     (it arrives with {with}; see CHANGELOG.md)",
                    section.name(key)
                ),
            );
        }
    }
}
