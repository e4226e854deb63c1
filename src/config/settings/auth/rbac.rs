//! `auth.rbac` of the configuration: which role may do what.

mod condition;
mod hours;
mod inheritance;
#[cfg(test)]
mod tests;

use aegis_schema::form::{grammar, parsed};
use aegis_schema::problem::Severity;
use aegis_schema::section::quoted;
use aegis_schema::{Form, Section, ensure, scalar, section, suggest};

pub use condition::{Condition, ConditionType, Operator, whole};
pub use hours::Hours;
pub use inheritance::{Fault, Inheritance};

/// The role of requests without identity.
pub const ANONYMOUS: &str = "anonymous";
/// The action that stands for every method.
pub const EVERY_METHOD: &str = "*";

section! {
    /// `auth.rbac`: permissions by role. Whatever no permission grants is denied, with 403 `rbac_denied`, or 401
    /// `auth_missing` where there was no credential. Inheritance, `defaultRole` and `superAdminRoles` also hold for `roles` of
    /// a route, whether this is enabled or not.
    pub struct Rbac, check judge {
        /// judge requests by permissions, besides what their route asks for
        enabled: bool = false, "enabled" flag();
        /// let pass what permissions deny, and count and log it
        shadow: bool = false, "shadow" flag();
        /// of verified users who have none of the roles that the configuration knows
        default_role: Option<String>, "defaultRole" role().option().unset("none");
        /// these, and roles that inherit one of them, need no permission and no role. They may come from tokens alone, and need
        /// not be in `roles`
        super_admin_roles: Vec<String>, "superAdminRoles" list(role()).unique().words("list of roles");
        /// what each may. Requests without identity have the role `anonymous`, which no other role inherits by itself
        roles: Vec<Role>, "roles" list(section());
    }
}

section! {
    /// One entry of `roles`.
    pub struct Role {
        /// unique; as keys and tokens say it, in the same case
        name: String, "name" role().required("give the role a unique name; keys and tokens say it");
        /// for readers, also of `aegis explain`
        description: Option<String>, "description" text().option();
        /// roles whose permissions it has too, and whose inherited ones
        inherits: Vec<String>, "inherits" list(role()).unique().sparse().words("list of roles");
        /// what it may
        permissions: Vec<Permission>, "permissions" list(section()).sparse();
    }
}

section! {
    /// One entry of `permissions`.
    pub struct Permission, check granting {
        /// a pattern as in `routes`, of the path that the client asks for. A path that servers read in several ways (`;`, kept
        /// `%2F`) must match in each of them
        resource: String, "resource" resource().required("write for example `resource: /api/**`");
        /// methods, upper-case; `GET` holds for HEAD too, `*` is every method
        actions: Vec<String>, "actions" list(action()).unique().words("list of methods or `*`").required(
            "write for example `actions: [GET]`, or `actions: ['*']` for every method");
        /// all must hold
        conditions: Vec<Condition>, "conditions" list(section()).sparse();
    }
}

impl Rbac {
    /// What each role has of the others.
    pub fn inheritance(&self) -> Inheritance {
        Inheritance::of(&self.roles)
    }
}

/// The name of a role. Names are sent to upstreams in one field with commas between them.
pub fn role() -> Form<String> {
    let read = |text: &str| {
        ensure!(!text.is_empty(), "a role has a name");
        ensure!(text.len() <= 256, "a role's name has at most 256 bytes");
        ensure!(scalar::invisible(text).is_none(), "it holds an invisible character: write it anew, by hand");
        ensure!(text.trim() == text, "remove the spaces around it");
        ensure!(!text.contains(','), "a role's name has no comma, which stands between names");
        Ok(text.to_owned())
    };
    grammar("role", read, String::clone)
}

fn resource() -> Form<String> {
    let read = |text: &str| {
        ensure!(text.starts_with('/'), "it must start with `/`; `/**` is every path");
        ensure!(!text.contains(['?', '#']), "it has no query or fragment: match on the path alone");
        let visible = !text.contains(|c: char| c.is_whitespace() || c.is_control());
        ensure!(visible, "it must not hold spaces or control characters: percent-encode them");
        Ok(text.to_owned())
    };
    grammar("pattern", read, String::clone).seen(Severity::Error).pattern("^/")
}

/// A method, or all of them. Words of other gateways (`read`, `write`) would never match.
fn action() -> Form<String> {
    const METHODS: [&str; 9] =
        ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", EVERY_METHOD];
    let read = |text: &str| match text.to_ascii_uppercase() {
        upper if METHODS.contains(&text) || (upper == text && aegis_schema::syntax::is_token(text)) => {
            Ok(upper)
        }
        upper if METHODS.contains(&&*upper) => {
            Err(format!("is {{found}}: methods are upper-case, write {upper}"))
        }
        _ => {
            let otherwise = "write methods such as GET and POST, or '*' for every method";
            Err(format!("is {{found}}, no method: {}", suggest::hint(text, METHODS, otherwise)))
        }
    };
    parsed("methods, upper-case, or `*`", read, String::clone).pattern("^[!#-'*+.0-9A-Z^_`|~-]+$")
}

fn granting(permission: &mut Permission, section: &Section<'_>) {
    if permission.actions.is_empty() && section.clean("actions") && section.has("actions") {
        section.error_of(
            "actions",
            "is empty, so that nothing is granted: write methods, or `['*']` for every method",
        );
    }
}

fn judge(rbac: &mut Rbac, section: &Section<'_>) {
    let roles = section.sections("roles");
    let inheritance = rbac.inheritance();
    for fault in &inheritance.faults {
        let Some(role) = roles.get(fault.role()) else { continue };
        match fault {
            Fault::Duplicate { .. } => role.error_of("name", fault),
            Fault::Unknown { parent, .. } => {
                if let Some(at) = role.items("inherits").get(*parent) {
                    at.error(fault);
                }
            }
            Fault::Cycle { .. } => role.error_of("inherits", fault),
        }
    }
    let names = || rbac.roles.iter().map(|role| &*role.name).filter(|name| !name.is_empty());
    let known = |name: &str| names().any(|known| known == name);
    if let Some(name) = &rbac.default_role
        && !rbac.roles.is_empty()
        && !known(name)
        && !rbac.super_admin_roles.contains(name)
    {
        let hint = suggest::hint(name, names(), "add it to `roles`, or name one of them");
        section
            .error_of("defaultRole", format_args!("names none of `roles`, found {}: {hint}", quoted(name)));
    }
    for (name, at) in rbac.super_admin_roles.iter().zip(section.items("superAdminRoles")) {
        if let (false, Some(meant)) = (known(name), suggest::closest(name, names())) {
            at.warn(format_args!("is in no entry of `roles`: did you mean `{meant}`?"));
        }
    }
    let everything = |name: &str| {
        let index = inheritance.index(name);
        let own = rbac.super_admin_roles.iter().any(|admin| admin == name);
        own || index.is_some_and(|index| {
            inheritance
                .ancestors(index)
                .iter()
                .any(|role| rbac.super_admin_roles.contains(&rbac.roles[*role].name))
        })
    };
    if everything(ANONYMOUS) {
        section.error_of(
            "superAdminRoles",
            "lets whoever has no credential do everything, for `anonymous` is, or inherits, one of them: remove it there",
        );
    }
    if rbac.default_role.as_deref().is_some_and(|name| name != ANONYMOUS && everything(name)) {
        section.error_of(
            "defaultRole",
            "lets every verified user do everything, for it is, or inherits, one of `superAdminRoles`: name another role, or \
             `enabled: false`",
        );
    }
}
