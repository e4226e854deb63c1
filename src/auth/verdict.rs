//! The verdict: may this request pass, and as whom.
//!
//! One pure function of a request's facts and a configuration, the same for serving and for explaining. Its order:
//!
//! 1. what the route wants (its own `auth`, the backend's, `anonymousPaths`, `allowAnonymous`, else any credential);
//! 2. each credential that it would take and that is there is judged; a wrong one is refused, whatever else there is;
//! 3. the first right one in the order of the route is who it is;
//! 4. the route's roles, tiers, claims and scopes;
//! 5. the permissions of the roles, under `auth.rbac`.

use std::net::IpAddr;
use std::rc::Rc;

use super::Auth;
use super::access::{Accepted, Access, Rule};
use super::credentials::{Field, bearer};
use super::identity::{Identity, Kind};
use super::jwt::Confirmation;
use super::key_table::KeyTable;
use super::rbac::{self, Permit, RoleSet};
use crate::router::RequestHeaders;

/// What a request is judged by.
pub struct Facts<'a> {
    pub method: &'a str,
    /// Canonical.
    pub path: &'a str,
    /// The path was sent with a slash at its end.
    pub trailing_slash: bool,
    /// The client, as far as it is verified.
    pub client: IpAddr,
    /// Seconds since the Unix epoch.
    pub now: u64,
    pub headers: &'a dyn RequestHeaders,
    pub authorization: Field<'a>,
    /// The field that keys come in, where that is another one.
    pub key: Field<'a>,
    /// SHA-256 of the certificate of the client's connection.
    pub certificate: Option<[u8; 32]>,
}

impl Facts<'_> {
    /// The kind of credential that a refusal is about, as far as the fields tell.
    pub fn brought(&self, refusal: &Refusal) -> Option<Kind> {
        match (self.key, self.authorization) {
            _ if *refusal == Refusal::Missing => None,
            (Field::Absent, Field::Absent) => Some(Kind::Mtls),
            (Field::Absent, _) => Some(Kind::Jwt),
            _ => Some(Kind::ApiKey),
        }
    }
}

/// What proves a credential that a table cannot: it may remember what it has proved.
pub trait Prove {
    /// Who has this token, of one of the entries of `auth.issuers` that `admits` names.
    ///
    /// # Errors
    /// Why it is nobody's.
    fn token(
        &mut self,
        token: &str,
        admits: &dyn Fn(usize) -> bool,
    ) -> Result<(usize, Rc<Identity>), Refusal>;

    /// Who has the certificate of the connection; `None` where there is none.
    ///
    /// # Errors
    /// Why it is nobody's.
    fn certificate(&mut self) -> Result<Option<Rc<Identity>>, Refusal>;

    /// For how many seconds wrong credentials of this client are not looked at any more.
    fn throttled(&self) -> Option<u64>;
}

/// Why a request may not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A credential is there twice, as its client is told.
    Twice(&'static str),
    /// No credential.
    Missing,
    /// A wrong one; what is wrong with it is for the log alone.
    Invalid(&'static str),
    /// A token with nothing wrong but its age.
    Expired,
    /// Too many wrong ones before; for so many seconds.
    Throttled(u64),
    /// The route's scopes.
    InsufficientScope,
    /// What is lacking is for the log alone.
    Denied(&'static str),
    /// It cannot be told now: keys or an answer are not there.
    Unavailable,
    /// The token names a key that the keys of this entry of `auth.issuers` do not hold: they may have changed.
    UnknownKey(usize),
}

/// Who may pass.
#[derive(Clone, Debug, Default)]
pub struct Admitted {
    /// Somebody was asked.
    pub asked: bool,
    /// `None`: nobody was asked, or nobody has said.
    pub principal: Option<Principal>,
    /// `auth.rbac.shadow` would have refused it.
    pub shadow_denied: bool,
}

/// Who it is.
#[derive(Clone, Debug)]
pub struct Principal {
    who: Who,
    /// The number of a key that came with another credential.
    beside: Option<u32>,
}

#[derive(Clone, Debug)]
enum Who {
    Key(u32),
    Proved(Rc<Identity>),
}

impl Principal {
    /// Who it is; `auth` is what has judged it.
    pub fn identity<'a>(&'a self, auth: &'a Auth) -> Option<&'a Identity> {
        match &self.who {
            Who::Key(at) => auth.key(*at).map(|record| &record.identity),
            Who::Proved(identity) => Some(identity),
        }
    }

    /// The number of its API key: who it is, or beside that.
    pub fn key(&self) -> Option<u32> {
        match self.who {
            Who::Key(at) => Some(at),
            Who::Proved(_) => self.beside,
        }
    }
}

/// See the module.
///
/// # Errors
/// Why it may not pass.
pub fn judge(
    auth: &Auth,
    access: &Access,
    facts: &Facts<'_>,
    prove: &mut dyn Prove,
) -> Result<Admitted, Refusal> {
    let principal = match auth.rule(access, facts) {
        Rule::None => return Ok(Admitted::default()),
        rule => identify(auth, rule, facts, prove)?,
    };
    let identity = principal.as_ref().and_then(|principal| principal.identity(auth));
    let roles = identity.map_or_else(|| auth.rbac.names().anonymous(), |identity| &identity.role_set);
    access.admits(identity, roles, auth.rbac.is_super_admin(roles))?;
    let denied = auth.permissions && !is_permitted(auth, facts, roles, principal.as_ref());
    match identity {
        _ if !denied || auth.shadow => Ok(Admitted { asked: true, principal, shadow_denied: denied }),
        Some(_) => Err(Refusal::Denied("no permission of its roles")),
        None => Err(Refusal::Missing),
    }
}

/// Whether the credential that has proved `identity` still does, in whatever configuration holds now. What it may do is not
/// asked again.
pub fn still_proves(auth: &Auth, identity: &Identity, facts: &Facts<'_>, prove: &mut dyn Prove) -> bool {
    let kind = Accepted::any(identity.kind);
    let proved = Proved::each(auth, std::slice::from_ref(&kind), facts, prove).ok();
    let principal = proved.and_then(|proved| proved.principal(&kind));
    let now = principal.as_ref().and_then(|principal| principal.identity(auth));
    now.is_some_and(|now| {
        (&now.issuer, &now.user, &now.key_id) == (&identity.issuer, &identity.user, &identity.key_id)
    })
}

/// Who it is; `None`: nobody has said, and need not.
pub(super) fn identify(
    auth: &Auth,
    rule: &Rule,
    facts: &Facts<'_>,
    prove: &mut dyn Prove,
) -> Result<Option<Principal>, Refusal> {
    let principal = match rule {
        Rule::None => None,
        Rule::Optional => one_of(auth, &auth.kinds, facts, prove)?,
        Rule::Required => Some(one_of(auth, &auth.kinds, facts, prove)?.ok_or(Refusal::Missing)?),
        Rule::Any(kinds) => Some(one_of(auth, kinds, facts, prove)?.ok_or(Refusal::Missing)?),
        Rule::All(kinds) => Some(each_of(auth, kinds, facts, prove)?),
    };
    Ok(principal)
}

/// What permissions are judged by.
pub(super) fn asked_for<'a>(facts: &Facts<'a>, identity: Option<&'a Identity>) -> rbac::Access<'a> {
    rbac::Access {
        method: facts.method,
        path: facts.path,
        trailing_slash: facts.trailing_slash,
        client: facts.client,
        now: facts.now,
        headers: facts.headers,
        claims: identity.and_then(|identity| identity.claims.as_deref()),
    }
}

/// Whether a permission of the roles, or of the key itself, covers the request.
fn is_permitted(auth: &Auth, facts: &Facts<'_>, roles: &RoleSet, principal: Option<&Principal>) -> bool {
    let identity = principal.and_then(|principal| principal.identity(auth));
    let access = asked_for(facts, identity);
    let own = identity.and_then(|identity| identity.permissions.as_ref());
    own.is_some_and(|own| own.permits(&access).is_some())
        || !matches!(auth.rbac.permits(roles, &access), Permit::Denied(_))
}

/// Who it is under `any`: the first of `kinds` that is there. `None`: none is.
fn one_of(
    auth: &Auth,
    kinds: &[Accepted],
    facts: &Facts<'_>,
    prove: &mut dyn Prove,
) -> Result<Option<Principal>, Refusal> {
    let proved = Proved::of(auth, kinds, facts, prove)?;
    if let (Some((_, token)), Some(key)) = (&proved.token, proved.key.and_then(|at| auth.key(at)))
        && token.user != key.identity.user
    {
        return Err(Refusal::Invalid("a key and a token of two users"));
    }
    Ok(kinds.iter().find_map(|accepted| proved.principal(accepted)))
}

/// Who it is under `all`: the first of `kinds`, each of which is there.
fn each_of(
    auth: &Auth,
    kinds: &[Accepted],
    facts: &Facts<'_>,
    prove: &mut dyn Prove,
) -> Result<Principal, Refusal> {
    let proved = Proved::of(auth, kinds, facts, prove)?;
    let mut first = None;
    for accepted in kinds {
        let principal = proved.principal(accepted).ok_or(Refusal::Missing)?;
        first.get_or_insert(principal);
    }
    first.ok_or(Refusal::Missing)
}

/// The credentials of a request, each of which is right.
#[derive(Default)]
struct Proved {
    /// With the number of its entry of `auth.issuers`.
    token: Option<(usize, Rc<Identity>)>,
    key: Option<u32>,
    certificate: Option<Rc<Identity>>,
}

impl Proved {
    /// Judges those that `kinds` takes and that are there; others are not looked at.
    fn of(
        auth: &Auth,
        kinds: &[Accepted],
        facts: &Facts<'_>,
        prove: &mut dyn Prove,
    ) -> Result<Self, Refusal> {
        match Self::each(auth, kinds, facts, prove) {
            // It would be an invitation to go on.
            Err(Refusal::Invalid(why)) => {
                Err(prove.throttled().map_or(Refusal::Invalid(why), Refusal::Throttled))
            }
            proved => proved,
        }
    }

    fn each(
        auth: &Auth,
        kinds: &[Accepted],
        facts: &Facts<'_>,
        prove: &mut dyn Prove,
    ) -> Result<Self, Refusal> {
        let takes = |kind| kinds.iter().any(|accepted| accepted.kind == kind);
        let mut proved = Self::default();
        let keys = auth.keys.as_ref().filter(|_| takes(Kind::ApiKey));
        let shares = auth.key_field.eq_ignore_ascii_case("authorization");
        let mut key = keys.map_or(Field::Absent, |_| if shares { facts.authorization } else { facts.key });
        let mut token = None;
        if takes(Kind::Jwt) {
            match facts.authorization {
                Field::Absent => {}
                Field::Several => {
                    return Err(Refusal::Twice("The Authorization header is there more than once."));
                }
                Field::One(value) => token = bearer(value),
            }
            // Of two kinds behind one scheme, tokens are those with dots in them.
            let is_key = |value| keys.is_some_and(|keys| keys.behind_prefix(value).is_some());
            match facts.authorization {
                Field::One(value)
                    if shares && is_key(value) && token.is_none_or(|token| !token.contains('.')) =>
                {
                    token = None
                }
                Field::One(_) if token.is_none() => {
                    return Err(Refusal::Invalid("a scheme that the route does not take"));
                }
                Field::One(_) if shares => key = Field::Absent,
                _ => {}
            }
        }
        match (keys, key) {
            (_, Field::Several) => return Err(Refusal::Twice("The credential is there more than once.")),
            (Some(keys), Field::One(value)) => {
                proved.key = Some(find(keys, value, facts)?);
            }
            _ => {}
        }
        if takes(Kind::Mtls) {
            proved.certificate = prove.certificate()?;
        }
        if let Some(token) = token {
            let of = |kind: &Accepted, entry| {
                kind.kind == Kind::Jwt && kind.issuer.is_none_or(|issuer| issuer == entry)
            };
            let (entry, identity) = prove.token(token, &|entry| kinds.iter().any(|kind| of(kind, entry)))?;
            // Judged each time: the same token may come on another connection (RFC 8705, section 3).
            match identity.confirmation {
                None => {}
                Some(Confirmation::Certificate(wanted)) if facts.certificate == Some(wanted) => {}
                Some(_) => return Err(Refusal::Invalid("a token that is bound to what was not proved")),
            }
            proved.token = Some((entry, identity));
        }
        Ok(proved)
    }

    /// What it has of a kind.
    fn principal(&self, accepted: &Accepted) -> Option<Principal> {
        let who = match accepted.kind {
            Kind::ApiKey => self.key.map(Who::Key),
            Kind::Mtls => self.certificate.clone().map(Who::Proved),
            Kind::Jwt => {
                let token = self.token.as_ref();
                let token = token.filter(|(entry, _)| accepted.issuer.is_none_or(|issuer| issuer == *entry));
                token.map(|(_, identity)| Who::Proved(identity.clone()))
            }
        };
        who.map(|who| Principal { who, beside: self.key })
    }
}

fn find(keys: &KeyTable, value: &[u8], facts: &Facts<'_>) -> Result<u32, Refusal> {
    let key = keys.behind_prefix(value).ok_or(Refusal::Invalid("a key without its prefix"))?;
    keys.find(key, facts.client, facts.now).map_err(Refusal::Invalid)
}
