//! Tests of permissions; each file states one part.

mod conditions;
mod permits;
mod reference;
mod roles;

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Map, Value};

use super::*;
use crate::config::settings::auth::rbac::{Condition, Permission, Role};
use crate::router::canonicalise;

type Fields = Vec<(String, String)>;

/// A request that is asked about.
struct Asked {
    method: &'static str,
    path: String,
    client: IpAddr,
    now: u64,
    fields: Fields,
    claims: Option<Map<String, Value>>,
}

fn ask(method: &'static str, path: &str) -> Asked {
    let client = Ipv4Addr::new(192, 0, 2, 1).into();
    Asked { method, path: path.to_owned(), client, now: 0, fields: Vec::new(), claims: None }
}

impl Asked {
    /// As the gateway does it; `None` where the path is refused before.
    fn of<R>(&self, judge: impl FnOnce(&Access<'_>) -> R) -> Option<R> {
        let canonical = canonicalise(&self.path, crate::config::settings::EscapedSlash::Keep).ok()?;
        Some(judge(&Access {
            method: self.method,
            path: &canonical.path,
            trailing_slash: canonical.trailing_slash,
            client: self.client,
            now: self.now,
            headers: &self.fields,
            claims: self.claims.as_ref(),
        }))
    }
}

fn permission(resource: &str, actions: &[&str], conditions: Vec<Condition>) -> Permission {
    let actions = actions.iter().map(|action| action.to_string()).collect();
    Permission { resource: resource.into(), actions, conditions }
}

fn role(name: &str, inherits: &[&str], permissions: Vec<Permission>) -> Role {
    let inherits = inherits.iter().map(|name| name.to_string()).collect();
    Role { name: name.into(), description: None, inherits, permissions }
}

fn compiled(roles: Vec<Role>) -> Rbac {
    let settings =
        settings::Rbac { roles, super_admin_roles: vec!["root".into()], ..settings::Rbac::default() };
    Rbac::build(&settings, []).unwrap()
}

/// The verdict on a user with these roles; `None` where the path is refused before.
fn verdict(rbac: &Rbac, roles: &[&str], asked: &Asked) -> Option<Permit> {
    asked.of(|access| rbac.permits(&rbac.names().effective(roles.iter().copied()), access))
}
