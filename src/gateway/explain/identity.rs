//! Who a request would be from, and whether they might.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::told::{AuthStage, Considered, Explanation, Permissions, Verdict, Want, Who};
use super::{Known, Stop};
use crate::auth::jwt::Source;
use crate::auth::rbac::Outcome;
use crate::auth::{
    self, Admitted, Auth, Facts, Identity, IdentityFields, Principal, Prove, Refusal, WrittenAt,
};
use crate::gateway::authenticate::{self, NO_SUCH_KEY, Wanted, cause, verify};
use crate::gateway::decided::Decided;
use crate::gateway::request_context;
use crate::gateway::snapshot::Route;
use crate::router::Canonical;

/// The verdict of [`auth::judge`], told.
///
/// # Errors
/// The request may not pass, or nobody here knows.
pub fn judge<'a>(
    known: &Known<'a>,
    auth: &'a Auth,
    route: &'a Route,
    canonical: &Canonical<'_>,
    told: &mut Explanation,
    decided: &mut Decided<'a>,
) -> Result<Admitted, Stop> {
    let (snapshot, access) = (known.snapshot, &route.access);
    let now = known.moment.now_ms / 1000;
    let facts = authenticate::facts(auth, known.head, canonical, known.client, now);
    let mut prover = Prover {
        auth,
        fields: &snapshot.identity_fields,
        client: request_context::named(&snapshot.trusted_proxies, known.client),
        now,
        wanted: None,
        is_right: false,
    };
    let verdict = auth::judge(auth, access, &facts, &mut prover);
    let (wanted, is_right) = (prover.wanted.take(), prover.is_right);
    let who = match &verdict {
        Ok(admitted) => admitted.principal.clone(),
        Err(_) => auth.who(access, &facts, &mut prover),
    };
    told.auth = Some(stage(auth, route, &facts, who.as_ref(), &verdict));
    let refusal = match verdict {
        Ok(admitted) => return Ok(admitted),
        Err(refusal) => refusal,
    };
    if let Some((provider, _)) = wanted {
        let of = |entry: &&auth::jwt::Entry| matches!(entry.keys(), Source::Published(own) if Arc::ptr_eq(own, provider));
        let name = auth.issuers.entries().iter().find(of).map_or("", auth::jwt::Entry::name);
        return Err(Stop::undetermined(format!(
            "The token names a key of issuer {name} that is not here: its keys would be fetched first."
        )));
    }
    let refusal = if let Refusal::UnknownKey(_) = refusal { NO_SUCH_KEY } else { refusal };
    let (cause, _, retry_after_seconds) = cause(&refusal);
    if let Refusal::Invalid(why) | Refusal::Denied(why) = refusal {
        decided.detail = Some(why);
    }
    let cached = "The token is right, and would pass on a worker that has verified it before.";
    let why = (is_right && matches!(refusal, Refusal::Throttled(_))).then(|| cached.to_owned());
    let challenges = auth.challenges(access, &facts, &refusal);
    let verdict = Verdict { why, retry_after_seconds, challenges, ..Verdict::default() };
    Err(Stop::because(cause, verdict))
}

fn stage(
    auth: &Auth,
    route: &Route,
    facts: &Facts<'_>,
    who: Option<&Principal>,
    verdict: &Result<Admitted, Refusal>,
) -> AuthStage {
    let (rule, written_at) = auth.told_rule(&route.access, facts);
    let of_route = || route.policy_key("auth", |policy| policy.auth.is_some());
    let decided_by = match written_at {
        WrittenAt::Route => of_route().unwrap_or_default(),
        WrittenAt::AnonymousPaths => "auth.anonymousPaths".to_owned(),
        WrittenAt::AllowAnonymous => "auth.allowAnonymous".to_owned(),
        WrittenAt::Default => "auth.enabled".to_owned(),
    };
    if rule == "none" {
        return AuthStage { rule, decided_by, ..AuthStage::default() };
    }
    let identity = who.and_then(|who| who.identity(auth));
    // Where it is known who it is, or that nobody need say.
    let is_known = identity.is_some() || verdict.is_ok();
    AuthStage {
        rule,
        decided_by,
        wants: wants(route),
        identity: identity.map(|identity| told_of(auth, identity, who)),
        roles: match is_known {
            true => auth.effective_roles(identity),
            false => Vec::new(),
        },
        permissions: (auth.judges_permissions().0 && is_known).then(|| permissions(auth, facts, identity)),
    }
}

fn told_of(auth: &Auth, identity: &Identity, who: Option<&Principal>) -> Who {
    let key = who.and_then(|who| auth.key(who.key()?));
    Who {
        kind: identity.kind.as_str().to_owned(),
        issuer: identity.issuer.as_deref().map(str::to_owned),
        user_id: identity.user.to_string(),
        key_id: key.and_then(|key| key.identity.key_id.as_deref()).map(str::to_owned),
        tier: identity.tier.as_deref().map(str::to_owned),
        scopes: identity.scopes.iter().map(ToString::to_string).collect(),
        expires_at: identity.expires_at,
    }
}

/// What a route asks for beside a credential.
fn wants(route: &Route) -> Vec<Want> {
    let policy = route.settings.policy.over(&route.backend.settings.policy);
    let mut wants = Vec::new();
    let mut add = |what: String, key: Option<String>| {
        wants.push(Want { what, decided_by: key.unwrap_or_default() });
    };
    let some = |list: Option<Vec<String>>| list.filter(|list| !list.is_empty());
    if let Some(roles) = some(policy.roles) {
        let key = route.policy_key("roles", |policy| policy.roles.is_some());
        add(format!("one of the roles {}", roles.join(", ")), key);
    }
    if let Some(tiers) = some(policy.tiers) {
        let key = route.policy_key("tiers", |policy| policy.tiers.is_some());
        add(format!("one of the tiers {}", tiers.join(", ")), key);
    }
    if let Some(claims) = policy.claims.filter(|claims| !claims.is_empty()) {
        let names: Vec<&str> = claims.iter().map(|(path, _)| path.as_str()).collect();
        let key = route.policy_key("claims", |policy| policy.claims.is_some());
        add(format!("its values of the claims {}", names.join(", ")), key);
    }
    if let Some(scopes) = some(policy.scopes) {
        let key = route.policy_key("scopes", |policy| policy.scopes.is_some());
        add(format!("all of the scopes {}", scopes.join(", ")), key);
    }
    wants
}

fn permissions(auth: &Auth, facts: &Facts<'_>, identity: Option<&Identity>) -> Permissions {
    let exempt = auth.exempted(facts, identity).map(str::to_owned);
    let considered: Vec<Considered> = auth
        .considered(facts, identity)
        .into_iter()
        .map(|one| Considered {
            role: one.role.to_owned(),
            resource: one.resource.to_owned(),
            outcome: match one.outcome {
                Outcome::Grants => "grants".to_owned(),
                Outcome::Method => "method".to_owned(),
                Outcome::Condition(number) => format!("condition {number}"),
            },
            key: format!("auth.rbac.roles[{}].permissions[{}]", one.role, one.permission),
        })
        .collect();
    let permitted = exempt.is_some() || considered.iter().any(|one| one.outcome == "grants");
    Permissions { permitted, shadow: auth.judges_permissions().1, exempt, considered }
}

/// What proves credentials here: as on a worker, without its memory, and without counting.
struct Prover<'a> {
    auth: &'a Auth,
    fields: &'a IdentityFields,
    /// Whose wrong credentials are counted.
    client: Option<IpAddr>,
    now: u64,
    wanted: Option<Wanted<'a>>,
    /// A token was right, be it looked at or not.
    is_right: bool,
}

impl Prove for Prover<'_> {
    fn token(
        &mut self,
        text: &str,
        admits: &dyn Fn(usize) -> bool,
    ) -> Result<(usize, Rc<Identity>), Refusal> {
        let mut wanted = None;
        let verified = verify(self.auth, self.fields, text, admits, self.now, &mut wanted);
        self.is_right = verified.is_ok();
        if let Some(seconds) = self.throttled() {
            return Err(Refusal::Throttled(seconds));
        }
        self.wanted = wanted;
        verified.map(|verified| (verified.entry, verified.identity))
    }

    fn certificate(&mut self) -> Result<Option<Rc<Identity>>, Refusal> {
        Ok(None)
    }

    fn throttled(&self) -> Option<u64> {
        self.auth.failures.holds(self.client?, self.now)
    }
}
