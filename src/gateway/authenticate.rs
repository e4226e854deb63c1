//! The stage that asks who sends a request, and whether they may: facts in, [`auth::judge`]'s verdict out.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::answer::Cause;
use super::auth_counters::Outcome;
use super::client_certificate::{ClientCertificate, presented};
use super::record::RequestRecord;
use super::request::{Refused, Request};
use super::request_context::{self, unix_millis};
use super::request_parts::RequestParts;
use super::worker::Worker;
use crate::auth::jwt::{Entry, Fault, KeyProvider, Source};
use crate::auth::{self, Auth, Facts, Field, Identity, IdentityFields, Kind, Prove, Refusal, Verified};
use crate::router::Canonical;

/// Judges the request by `auth` and what its route wants, and notes in it who it is.
///
/// # Errors
/// It may not pass.
pub async fn authenticate(
    mut request: Box<Request>,
    auth: &Auth,
    canonical: &Canonical<'_>,
) -> Result<Box<Request>, Refused> {
    let Some(index) = request.record.route else { return Err(Refused::new(request, Cause::NoRoute)) };
    let snapshot = request.snapshot.clone();
    let route = &snapshot.routes[index];
    let access = &route.access;
    request.record.certificate = presented(&request.peer, route.client_auth).cloned();
    let (client, now) = (request.record.client, request.record.arrived_ms / 1000);
    let certificate = request.record.certificate.as_ref().map(|certificate| certificate.facts.sha256);
    let facts = Facts { certificate, ..facts(auth, &request.head, canonical, client, now) };
    let mut prover = Prover {
        worker: &request.worker,
        auth,
        generation: snapshot.generation,
        fields: &snapshot.identity_fields,
        client: request_context::named(&snapshot.trusted_proxies, client),
        now: facts.now,
        certificate: request.record.certificate.as_deref(),
        wanted: None,
    };
    let mut verdict = auth::judge(auth, access, &facts, &mut prover);
    if let Some((provider, kid)) = prover.wanted.take() {
        // Its issuer may have a key by now that was not there when it was fetched last.
        request.worker.shared.keys.fresh(provider, kid.as_deref()).await;
        verdict = auth::judge(auth, access, &facts, &mut prover);
    }
    if let Err(Refusal::UnknownKey(_)) = verdict {
        verdict = Err(NO_SUCH_KEY);
    }
    match verdict {
        Ok(admitted) => {
            let kind = admitted.principal.as_ref().and_then(|principal| principal.identity(auth));
            let outcome = if admitted.shadow_denied { Outcome::ShadowDenied } else { Outcome::Allowed };
            if admitted.asked {
                let counters = &request.worker.shared.auth;
                counters.count(request.worker.index, kind.map(|identity| identity.kind), outcome);
            }
            request.record.asked = admitted.asked;
            request.record.principal = admitted.principal;
            request.record.shadow_denied = admitted.shadow_denied;
            Ok(request)
        }
        Err(refusal) => {
            if let (Refusal::Invalid(_), Some(client)) = (&refusal, prover.client) {
                auth.failures.count(client, facts.now);
            }
            if let Refusal::Denied(_) | Refusal::InsufficientScope = refusal {
                // It is known who it is, and the log is to know it, too.
                request.record.principal = auth.who(access, &facts, &mut prover);
            }
            let challenges = auth.challenges(access, &facts, &refusal);
            let kind = facts.brought(&refusal);
            Err(refused(request, refusal, kind, challenges))
        }
    }
}

/// What a verdict goes by, but for a certificate; `now` is in seconds since the Unix epoch.
pub fn facts<'a>(
    auth: &'a Auth,
    head: &'a RequestParts,
    canonical: &'a Canonical<'_>,
    client: IpAddr,
    now: u64,
) -> Facts<'a> {
    let fields = &head.fields;
    Facts {
        method: head.method.as_str(),
        path: &canonical.path,
        trailing_slash: canonical.trailing_slash,
        client,
        now,
        headers: fields,
        authorization: Field::of(fields.get_all("authorization")),
        certificate: None,
        key: auth.key_field().map_or(Field::Absent, |name| Field::of(fields.get_all(name))),
    }
}

/// Whether what has proved who opened a tunnel still does: it has not expired, and whoever vouches for it is in the
/// configuration that holds now.
pub fn still_stands(record: &RequestRecord) -> bool {
    let Some(identity) = record.identity() else { return true };
    let (snapshot, now) = (record.worker.snapshot(), unix_millis() / 1000);
    if identity.expires_at.is_some_and(|end| end <= now) {
        return false;
    }
    if record.certificate.as_ref().is_some_and(|certificate| !certificate.stands(now * 1000)) {
        return false;
    }
    let Some(auth) = snapshot.auth.as_ref().filter(|_| snapshot.generation != record.snapshot.generation)
    else {
        return true;
    };
    let fields = &record.head.fields;
    let facts = Facts {
        method: record.head.method.as_str(),
        path: record.head.target.path(),
        trailing_slash: false,
        client: record.client,
        now,
        headers: fields,
        authorization: Field::of(fields.get_all("authorization")),
        certificate: record.certificate.as_ref().map(|certificate| certificate.facts.sha256),
        key: auth.key_field().map_or(Field::Absent, |name| Field::of(fields.get_all(name))),
    };
    let mut prover = Prover {
        worker: &record.worker,
        auth,
        generation: snapshot.generation,
        fields: &snapshot.identity_fields,
        client: None,
        now,
        certificate: record.certificate.as_deref(),
        wanted: None,
    };
    auth::still_proves(auth, identity, &facts, &mut prover)
}

/// What proves credentials on this worker.
struct Prover<'a> {
    worker: &'a Worker,
    auth: &'a Auth,
    /// Of the configuration.
    generation: u64,
    fields: &'a IdentityFields,
    /// Whose wrong credentials are counted; `None`: a proxy's own, behind which anybody may be.
    client: Option<IpAddr>,
    now: u64,
    /// Of the connection; it is good.
    certificate: Option<&'a ClientCertificate>,
    /// Whose keys could change the verdict, and the key that the token names.
    wanted: Option<Wanted<'a>>,
}

/// Whose keys could change a verdict, and which of them.
pub type Wanted<'a> = (&'a Arc<KeyProvider>, Option<String>);

const FOREIGN: Refusal = Refusal::Invalid("a token of an issuer that the route does not take");
/// A token names a key that its issuer does not have, which has been asked.
pub const NO_SUCH_KEY: Refusal = Refusal::Invalid("signed by a key that its issuer does not have");

/// Verifies a token by the keys that are here. Where others could change that, they are `wanted`.
///
/// # Errors
/// Why it is nobody's.
pub fn verify<'a>(
    auth: &'a Auth,
    fields: &IdentityFields,
    text: &str,
    admits: &dyn Fn(usize) -> bool,
    now: u64,
    wanted: &mut Option<Wanted<'a>>,
) -> Result<Verified, Refusal> {
    let token = auth.issuers.read(text).map_err(|fault| refusal(fault, usize::MAX))?;
    let entry = token.entry();
    if !admits(entry) {
        return Err(FOREIGN);
    }
    let issuer = &auth.issuers.entries()[entry];
    let (keys, generation) = issuer.current();
    let judged = match &keys {
        Some(keys) => auth.issuers.verify(&token, keys, now).map_err(|fault| refusal(fault, entry)),
        None => Err(Refusal::Unavailable),
    };
    if let (Err(Refusal::Unavailable | Refusal::UnknownKey(_)), Source::Published(provider)) =
        (&judged, issuer.keys())
    {
        // Where there are no keys at all, any will do.
        let kid = keys.and(token.kid()).map(str::to_owned);
        *wanted = Some((provider, kid));
    }
    let claims = judged?;
    let until = claims.refused_at.min(now.saturating_add(auth.cache.max_age.as_secs()));
    let identity = Identity::of_token(claims, issuer.name(), auth.role_names()).map_err(Refusal::Invalid)?;
    if !fields.can_tell(&identity) {
        return Err(Refusal::Invalid("a claim that upstreams are told has a control character"));
    }
    Ok(Verified { entry, identity: Rc::new(identity), until, keys: generation })
}

impl Prove for Prover<'_> {
    fn token(
        &mut self,
        text: &str,
        admits: &dyn Fn(usize) -> bool,
    ) -> Result<(usize, Rc<Identity>), Refusal> {
        let (auth, now) = (self.auth, self.now);
        let mut cache = self.worker.tokens.borrow_mut();
        cache.enter(self.generation, auth.cache.entries);
        let known =
            cache.find(text, now, |entry| auth.issuers.entries().get(entry).map_or(0, Entry::generation));
        self.worker.shared.auth.count_look_up(self.worker.index, known.is_some());
        if let Some(Verified { entry, identity, .. }) = known {
            return if admits(entry) { Ok((entry, identity)) } else { Err(FOREIGN) };
        }
        // Whoever has brought many wrong ones gets no more work out of the gateway.
        if let Some(seconds) = self.throttled() {
            return Err(Refusal::Throttled(seconds));
        }
        let verified = verify(auth, self.fields, text, admits, now, &mut self.wanted)?;
        let (entry, identity) = (verified.entry, verified.identity.clone());
        cache.keep(text, verified);
        Ok((entry, identity))
    }

    fn certificate(&mut self) -> Result<Option<Rc<Identity>>, Refusal> {
        let found = self.certificate.map(|certificate| certificate.identity(self.auth, self.generation));
        found.transpose()
    }

    fn throttled(&self) -> Option<u64> {
        self.auth.failures.holds(self.client?, self.now)
    }
}

/// What a fault of a token means here; `entry` is the number of its issuer.
fn refusal(fault: Fault, entry: usize) -> Refusal {
    match fault {
        Fault::Invalid(why) => Refusal::Invalid(why),
        Fault::Expired => Refusal::Expired,
        Fault::UnknownKey { .. } => Refusal::UnknownKey(entry),
        Fault::NoKeys => Refusal::Invalid("its issuer has no keys"),
    }
}

/// What a refusal is answered with, counted as, and when asking again makes sense, in seconds.
pub fn cause(refusal: &Refusal) -> (Cause, Outcome, Option<u64>) {
    match refusal {
        Refusal::Twice(what) => (Cause::BadRequest(what), Outcome::Invalid, None),
        Refusal::Missing => (Cause::AuthMissing, Outcome::Missing, None),
        Refusal::Invalid(_) => (Cause::AuthInvalid, Outcome::Invalid, None),
        Refusal::Expired => (Cause::AuthExpired, Outcome::Expired, None),
        Refusal::Throttled(seconds) => (Cause::AuthThrottled, Outcome::Throttled, Some(*seconds)),
        Refusal::InsufficientScope => (Cause::InsufficientScope, Outcome::InsufficientScope, None),
        Refusal::Denied(_) => (Cause::RbacDenied, Outcome::Denied, None),
        Refusal::Unavailable | Refusal::UnknownKey(_) => {
            (Cause::AuthUnavailable, Outcome::Unavailable, Some(1))
        }
    }
}

/// The answer to a refusal.
fn refused(
    mut request: Box<Request>,
    refusal: Refusal,
    brought: Option<Kind>,
    challenges: Vec<String>,
) -> Refused {
    let (cause, outcome, retry_after) = cause(&refusal);
    request.worker.shared.auth.count(request.worker.index, brought, outcome);
    if let Refusal::Invalid(why) | Refusal::Denied(why) = refusal {
        request.record.auth_detail = Some(why);
    }
    request.challenges = challenges;
    Refused { retry_after, ..Refused::new(request, cause) }
}
