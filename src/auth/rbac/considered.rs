//! Why a request is permitted or not, at length: for `explain`, not for requests.

use super::{Access, Denied, Grant, Rbac, RoleSet};
use crate::router::Method;

/// A permission that the asker has and that is for this path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered<'r> {
    /// The role that has it.
    pub role: &'r str,
    /// What that is.
    pub description: Option<&'r str>,
    /// Its number in the role's `permissions`.
    pub permission: usize,
    /// Its pattern.
    pub resource: &'r str,
    /// What comes of it.
    pub outcome: Outcome,
}

/// What a permission says to a request for its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It lets it pass.
    Grants,
    /// It is for other methods.
    Method,
    /// The condition of this number is the first that does not hold.
    Condition(usize),
}

impl Rbac {
    /// Every permission of these roles that is for the path, by role and number. Empty where [`Denied::Path`] is the verdict.
    pub fn considered(&self, roles: &RoleSet, access: &Access<'_>) -> Vec<Considered<'_>> {
        let mut patterns = Vec::new();
        self.patterns.matching(access.path, access.trailing_slash, &mut |pattern| patterns.push(pattern));
        patterns.sort_unstable();
        patterns.dedup();
        let grants = patterns.iter().flat_map(|pattern| &self.grants[*pattern]);
        let mut found: Vec<(u32, u32, Outcome)> = grants
            .flat_map(|grant| {
                let of = grant.of.iter().filter(|(role, _)| roles.contains(*role));
                of.map(|(role, permission)| (*role, *permission, grant.outcome(access)))
            })
            .collect();
        found.sort_unstable_by_key(|(role, permission, _)| (*role, *permission));
        let told = |(role, permission, outcome): (u32, u32, Outcome)| {
            let (role, permission) = (&self.roles[role as usize], permission as usize);
            let description = role.description.as_deref();
            let resource = &*role.permissions[permission].resource;
            Considered { role: &role.name, description, permission, resource, outcome }
        };
        found.into_iter().map(told).collect()
    }
}

impl Grant {
    fn outcome(&self, access: &Access<'_>) -> Outcome {
        match self.judge(Method::new(access.method), access) {
            Ok(()) => Outcome::Grants,
            Err(Denied::Condition) => {
                let failed = self.conditions.iter().position(|condition| !condition.holds(access));
                Outcome::Condition(failed.unwrap_or_default())
            }
            Err(Denied::Path | Denied::Method) => Outcome::Method,
        }
    }
}
