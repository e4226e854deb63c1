//! How a verdict came about, at length: for `explain`, not for requests.

use super::Auth;
use super::access::{Accepted, Access, Rule};
use super::identity::Identity;
use super::rbac::{Considered, Permit};
use super::verdict::{Facts, Principal, Prove, asked_for, identify};

/// What says which credential a request must bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrittenAt {
    /// The route or its backend.
    Route,
    AnonymousPaths,
    AllowAnonymous,
    /// Nothing: any credential is wanted.
    Default,
}

impl Auth {
    /// Which credential a request must bring, in words, and what says so.
    pub fn told_rule(&self, access: &Access, facts: &Facts<'_>) -> (String, WrittenAt) {
        let rule = self.rule(access, facts);
        let words = match rule {
            Rule::None => "none".to_owned(),
            Rule::Optional => "optional".to_owned(),
            Rule::Required => "required".to_owned(),
            Rule::Any(kinds) => format!("any of {}", self.names(kinds)),
            Rule::All(kinds) => format!("all of {}", self.names(kinds)),
        };
        let written_at = match (access.rule(), rule) {
            (Some(_), _) => WrittenAt::Route,
            (None, Rule::None) => WrittenAt::AnonymousPaths,
            (None, Rule::Optional) => WrittenAt::AllowAnonymous,
            (None, _) => WrittenAt::Default,
        };
        (words, written_at)
    }

    /// Who a request is from, whatever that permits: of those that [`judge`](super::judge) refuses too. `None`: nobody was
    /// proved.
    pub fn who(&self, access: &Access, facts: &Facts<'_>, prove: &mut dyn Prove) -> Option<Principal> {
        identify(self, self.rule(access, facts), facts, prove).ok().flatten()
    }

    /// Whether permissions are judged, and whether what they deny passes all the same.
    pub fn judges_permissions(&self) -> (bool, bool) {
        (self.permissions, self.shadow)
    }

    /// The roles that somebody has, or nobody, with all that they inherit.
    pub fn effective_roles(&self, identity: Option<&Identity>) -> Vec<String> {
        let roles = identity.map_or_else(|| self.rbac.names().anonymous(), |identity| &identity.role_set);
        self.rbac.names().of(roles).map(str::to_owned).collect()
    }

    /// Every permission of those roles that is for the path, and what comes of each.
    pub fn considered(&self, facts: &Facts<'_>, identity: Option<&Identity>) -> Vec<Considered<'_>> {
        let roles = identity.map_or_else(|| self.rbac.names().anonymous(), |identity| &identity.role_set);
        self.rbac.considered(roles, &asked_for(facts, identity))
    }

    /// What lets somebody pass that is none of those: a role that needs no permission, or a permission of the credential's own.
    pub fn exempted(&self, facts: &Facts<'_>, identity: Option<&Identity>) -> Option<&'static str> {
        let identity = identity?;
        let access = asked_for(facts, Some(identity));
        if identity.permissions.as_ref().is_some_and(|own| own.permits(&access).is_some()) {
            return Some("a permission of the credential's own");
        }
        (self.rbac.permits(&identity.role_set, &access) == Permit::SuperAdmin)
            .then_some("a role that needs no permission")
    }

    fn names(&self, kinds: &[Accepted]) -> String {
        let name = |accepted: &Accepted| {
            let issuer = accepted.issuer.and_then(|at| self.issuers.entries().get(at));
            let issuer = issuer.map(|issuer| format!(":{}", issuer.name())).unwrap_or_default();
            format!("{}{issuer}", accepted.kind.as_str())
        };
        kinds.iter().map(name).collect::<Vec<_>>().join(", ")
    }
}
