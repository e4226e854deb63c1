//! Every role that a configuration knows, and what each has of the others.

use std::collections::HashMap;

use super::RoleSet;
use crate::config::settings::auth::rbac as settings;
use crate::config::settings::auth::rbac::{ANONYMOUS, Inheritance};

/// Names and numbers of roles. Those of `auth.rbac.roles` have the numbers that they have there.
#[derive(Debug)]
pub struct RoleNames {
    names: Vec<String>,
    numbers: HashMap<String, u32>,
    /// Each role with all that it inherits.
    whole: Vec<RoleSet>,
    /// What a user without roles has.
    default: RoleSet,
    anonymous: RoleSet,
}

impl RoleNames {
    /// Those that the section names, then `more`. The inheritance must be without faults.
    pub(super) fn new<'n>(
        settings: &settings::Rbac,
        inheritance: &Inheritance,
        more: impl IntoIterator<Item = &'n str>,
    ) -> Self {
        let default = settings.default_role.as_deref();
        let defined = settings.roles.iter().map(|role| &*role.name);
        let admins = settings.super_admin_roles.iter().map(String::as_str);
        let (mut names, mut numbers) = (Vec::new(), HashMap::new());
        let mut add = |name: &str| {
            numbers.entry(name.to_owned()).or_insert_with(|| {
                names.push(name.to_owned());
                names.len() as u32 - 1
            });
        };
        defined.chain([ANONYMOUS]).chain(default).chain(admins).for_each(&mut add);
        more.into_iter().for_each(add);
        let mut whole: Vec<RoleSet> = (0..names.len() as u32).map(RoleSet::of).collect();
        for role in &inheritance.order {
            let mut own = std::mem::take(&mut whole[*role]);
            inheritance.parents[*role].iter().for_each(|parent| own.extend(&whole[*parent]));
            whole[*role] = own;
        }
        let mut all =
            Self { names, numbers, whole, default: RoleSet::default(), anonymous: RoleSet::default() };
        all.anonymous = all.effective([ANONYMOUS]);
        all.default = all.effective(default);
        all
    }

    /// The roles of a verified user who has these, with all that they inherit. Names that the configuration does not know are
    /// passed over; whoever has none that it knows has `defaultRole`.
    pub fn effective<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> RoleSet {
        let mut roles = RoleSet::default();
        for number in names.into_iter().filter_map(|name| self.number(name)) {
            roles.extend(&self.whole[number as usize]);
        }
        if roles.is_empty() { self.default.clone() } else { roles }
    }

    /// The roles of a request without identity: `anonymous`, with what it inherits.
    pub fn anonymous(&self) -> &RoleSet {
        &self.anonymous
    }

    /// These roles, as far as they are known, and none that they inherit: what a route asks for, of which one must be among
    /// those that a user has ([`RoleSet::meets`]).
    pub fn exactly<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> RoleSet {
        let mut roles = RoleSet::default();
        names.into_iter().filter_map(|name| self.number(name)).for_each(|number| roles.insert(number));
        roles
    }

    /// The number of a role.
    pub fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// The names of roles.
    pub fn of<'s>(&'s self, roles: &'s RoleSet) -> impl Iterator<Item = &'s str> + 's {
        roles.iter().filter_map(|role| self.names.get(role as usize).map(String::as_str))
    }
}
