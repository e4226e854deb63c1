//! What roles may: permissions of `auth.rbac`, and those that keys and tokens carry beside their roles.
//!
//! Owns the compiled permissions and the verdict. Denies whatever none of them grants. Roles are numbers and sets of them
//! bits ([`RoleSet`]), resources are one [`PatternSet`], so that a verdict costs what the matching permissions cost, however
//! many roles and permissions there are; it takes no lock and allocates nothing. Knows nothing of how roles were proved; they
//! come as names, and [`RoleNames`] folds inheritance in. Built with each configuration, shared read-only by all workers.

mod condition;
mod considered;
mod permissions;
mod role_names;
mod role_set;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;

use serde_json::{Map, Value};

use self::condition::Requirement;
pub use self::considered::{Considered, Outcome};
pub use self::permissions::Permissions;
pub use self::role_names::RoleNames;
pub use self::role_set::RoleSet;
use crate::config::settings::auth::rbac as settings;
use crate::config::settings::auth::rbac::EVERY_METHOD;
use crate::router::{Method, MethodSet, Pattern, PatternError, PatternSet, RequestHeaders};

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Access<'a> {
    /// As received; in its own case (RFC 9110 section 9.1).
    pub method: &'a str,
    /// [`crate::router::Canonical::path`].
    pub path: &'a str,
    /// [`crate::router::Canonical::trailing_slash`].
    pub trailing_slash: bool,
    /// The one client that the gateway has found.
    pub client: IpAddr,
    /// Seconds since the Unix epoch.
    pub now: u64,
    /// As the client has sent them.
    pub headers: &'a dyn RequestHeaders,
    /// Of the verified token, if it was one.
    pub claims: Option<&'a Map<String, Value>>,
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// A permission lets it pass.
    Granted {
        /// Number of the role that has it, in `auth.rbac.roles`.
        role: usize,
        /// Its number in the role's `permissions`.
        permission: usize,
    },
    /// One of the roles needs no permission.
    SuperAdmin,
    /// Nothing lets it pass.
    Denied(Denied),
}

/// How near it came; the later, the nearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// None of the roles' permissions is for this path.
    Path,
    /// Some are for this path, and for other methods.
    Method,
    /// Some are for this path and method, and a condition does not hold.
    Condition,
}

/// What of the settings cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, as in `auth.rbac.roles[0].permissions[1].resource`, by the numbers of the settings.
    pub path: String,
    /// What is said of it, and how to mend it.
    pub text: String,
}

/// The compiled `auth.rbac`.
#[derive(Debug)]
pub struct Rbac {
    names: RoleNames,
    super_admins: RoleSet,
    patterns: PatternSet,
    /// By the number of the pattern.
    grants: Vec<Vec<Grant>>,
    roles: Vec<settings::Role>,
}

/// What one pattern grants for some methods under some conditions.
#[derive(Debug)]
struct Grant {
    methods: MethodSet,
    conditions: Vec<Requirement>,
    /// Who has it of their own. Whoever inherits it has these roles too.
    roles: RoleSet,
    /// Role and permission that it is of, each role once, in ascending order.
    of: Vec<(u32, u32)>,
}

/// What the section's own check cannot know: resources that are no patterns.
pub fn problems(settings: &settings::Rbac) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (role, permission, one) in permissions(settings) {
        if let Err(error) = Pattern::parse(&one.resource) {
            problems.push(problem(role, permission, "resource", &error));
        }
    }
    problems
}

/// The set of these patterns, or those that do not parse: the path of such a problem is the pattern.
fn compiled(texts: &[String]) -> Result<PatternSet, Vec<Problem>> {
    PatternSet::new(texts).map_err(|errors| {
        let problem =
            |(at, error): (usize, PatternError)| Problem { path: texts[at].clone(), text: error.to_string() };
        errors.into_iter().map(problem).collect()
    })
}

/// Every permission with the numbers of its role and of itself.
fn permissions(settings: &settings::Rbac) -> impl Iterator<Item = (usize, usize, &settings::Permission)> {
    settings.roles.iter().enumerate().flat_map(|(role, of)| {
        of.permissions.iter().enumerate().map(move |(permission, one)| (role, permission, one))
    })
}

fn problem(role: usize, permission: usize, key: &str, text: impl ToString) -> Problem {
    let path = format!("auth.rbac.roles[{role}].permissions[{permission}].{key}");
    Problem { path, text: text.to_string() }
}

impl Rbac {
    /// Compiles the section, whether it is enabled or not: names, inheritance, the default role and super admins hold for
    /// `roles` of routes as well. `more_names` are roles that are named elsewhere, by routes and keys.
    ///
    /// # Errors
    /// All that is wrong; [`problems`] and what the section's check has told.
    pub fn build<'n>(
        settings: &settings::Rbac,
        more_names: impl IntoIterator<Item = &'n str>,
    ) -> Result<Self, Vec<Problem>> {
        let inheritance = settings.inheritance();
        let mut problems = problems(settings);
        problems.extend(inheritance.faults.iter().map(|fault| {
            let (role, key) = match fault {
                settings::Fault::Duplicate { role, .. } => (role, "name".to_owned()),
                settings::Fault::Unknown { role, parent, .. } => (role, format!("inherits[{parent}]")),
                settings::Fault::Cycle { role, .. } => (role, "inherits".to_owned()),
            };
            Problem { path: format!("auth.rbac.roles[{role}].{key}"), text: fault.to_string() }
        }));
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        let mut alike: HashMap<(usize, String), usize> = HashMap::new();
        let (mut texts, mut grants): (Vec<String>, Vec<Vec<Grant>>) = (Vec::new(), Vec::new());
        for (role, permission, one) in permissions(settings) {
            let pattern = *numbers.entry(&one.resource).or_insert_with(|| {
                texts.push(one.resource.clone());
                grants.push(Vec::new());
                texts.len() - 1
            });
            let Some(methods) = methods(&one.actions) else { continue };
            let mut conditions = Vec::with_capacity(one.conditions.len());
            for (number, condition) in one.conditions.iter().enumerate() {
                match Requirement::new(condition) {
                    Ok(condition) => conditions.push(condition),
                    Err(why) => {
                        problems.push(problem(role, permission, &format!("conditions[{number}]"), why));
                    }
                }
            }
            // What many roles may in the same way is asked once.
            let same = (pattern, format!("{:?} {:?}", methods, one.conditions));
            let at = *alike.entry(same).or_insert(grants[pattern].len());
            if at == grants[pattern].len() {
                grants[pattern].push(Grant {
                    methods,
                    conditions,
                    roles: RoleSet::default(),
                    of: Vec::new(),
                });
            }
            let grant = &mut grants[pattern][at];
            // A role that says the same twice says it once.
            if !grant.roles.contains(role as u32) {
                grant.roles.insert(role as u32);
                grant.of.push((role as u32, permission as u32));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let names = RoleNames::new(settings, &inheritance, more_names);
        let super_admins = names.exactly(settings.super_admin_roles.iter().map(String::as_str));
        let patterns = compiled(&texts)?;
        Ok(Self { names, super_admins, patterns, grants, roles: settings.roles.clone() })
    }

    /// The roles' names and numbers.
    pub fn names(&self) -> &RoleNames {
        &self.names
    }

    /// Whether one of the roles needs no permission and no role of a route.
    pub fn is_super_admin(&self, roles: &RoleSet) -> bool {
        roles.meets(&self.super_admins)
    }

    /// Judges what is asked for by somebody who has these roles, as [`RoleNames::effective`] or [`RoleNames::anonymous`] gives
    /// them.
    pub fn permits(&self, roles: &RoleSet, access: &Access<'_>) -> Permit {
        if self.is_super_admin(roles) {
            return Permit::SuperAdmin;
        }
        let method = Method::new(access.method);
        let (mut granted, mut denied) = (None, Denied::Path);
        self.patterns.find(access.path, access.trailing_slash, &mut |pattern| {
            granted = self.grants[pattern].iter().find_map(|grant| {
                let role = grant.roles.first_common(roles)?;
                match grant.judge(method, access) {
                    Ok(()) => Some(grant.granted(role)),
                    Err(nearer) => {
                        denied = denied.max(nearer);
                        None
                    }
                }
            });
            granted.is_some()
        });
        granted.unwrap_or(Permit::Denied(denied))
    }
}

impl Grant {
    fn judge(&self, method: Method<'_>, access: &Access<'_>) -> Result<(), Denied> {
        if !self.methods.has(method) {
            return Err(Denied::Method);
        }
        match self.conditions.iter().all(|condition| condition.holds(access)) {
            true => Ok(()),
            false => Err(Denied::Condition),
        }
    }

    /// It has the role.
    fn granted(&self, role: u32) -> Permit {
        let at = self.of.partition_point(|(other, _)| *other < role);
        let permission = self.of.get(at).map_or(0, |(_, permission)| *permission);
        Permit::Granted { role: role as usize, permission: permission as usize }
    }
}

/// The methods of `actions`; `None` where there are none, which is not the same as every method.
fn methods(actions: &[String]) -> Option<MethodSet> {
    match actions {
        [] => None,
        all if all.iter().any(|action| action == EVERY_METHOD) => Some(MethodSet::new(Vec::new())),
        some => Some(MethodSet::new(some.to_vec())),
    }
}
