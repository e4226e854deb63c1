//! What an explanation says: for machines as JSON, and for `aegis explain`, which puts it into words.
//!
//! Never a credential, and no value of a field that the client would send.

use serde::{Deserialize, Serialize};

/// How a request would be handled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Explanation {
    pub method: String,
    /// As sent, without the query.
    pub path: String,
    pub host: Option<String>,
    /// The client that the gateway would find.
    pub client: String,
    /// Of a running gateway; else of a configuration alone, where nothing has happened yet.
    pub live: bool,
    pub generation: u64,
    pub config_hash: String,
    pub verdict: Verdict,
    /// The path that is judged.
    pub canonical_path: Option<String>,
    pub route: Option<ChosenRoute>,
    /// In match order.
    pub near_misses: Vec<NearMiss>,
    /// So many more are not told.
    pub more_near_misses: usize,
    /// Where somebody is asked who it is.
    pub auth: Option<AuthStage>,
    pub limits: Vec<LimitStage>,
    /// What lies behind the route, whether the request gets there or not.
    pub upstream: Option<Upstream>,
}

/// What would come of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Verdict {
    pub outcome: Outcome,
    /// Of the answer that the gateway would make itself, where that is known.
    pub status: Option<u16>,
    pub reason: Option<String>,
    /// What the client would be told.
    pub detail: Option<String>,
    /// What it would not be told.
    pub why: Option<String>,
    /// The key of the configuration that decides.
    pub decided_by: Option<String>,
    pub retry_after_seconds: Option<u64>,
    /// `WWW-Authenticate`.
    pub challenges: Vec<String>,
}

/// See [`Verdict`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// To a target of its route's backend.
    Forwarded,
    /// By the gateway, as asked.
    Answered,
    Refused,
    /// It depends on what would have to be asked elsewhere.
    #[default]
    Undetermined,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChosenRoute {
    pub path: String,
    pub backend: String,
    /// Its place in the configuration.
    pub key: String,
    pub specificity: i64,
    pub priority: Option<i64>,
}

/// A route whose pattern matches, and that is not chosen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NearMiss {
    pub path: String,
    pub backend: String,
    /// `host`, `header`, `method`, `priority`, `specificity`, `literals`, `hosts`, `headers`, `order`, `reading`.
    pub lost: String,
    pub why: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthStage {
    /// `required`, `optional`, `none`, `any of …`, `all of …`.
    pub rule: String,
    /// The key that says so.
    pub decided_by: String,
    /// Roles, tiers, scopes and claims that the route asks for, each with its key.
    pub wants: Vec<Want>,
    /// Who it is, where that is proved.
    pub identity: Option<Who>,
    /// All of them, with those that they inherit.
    pub roles: Vec<String>,
    pub permissions: Option<Permissions>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Want {
    pub what: String,
    pub decided_by: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Who {
    pub kind: String,
    pub issuer: Option<String>,
    pub user_id: String,
    /// Of an API key, be it who it is or beside that.
    pub key_id: Option<String>,
    pub tier: Option<String>,
    pub scopes: Vec<String>,
    /// Seconds since the Unix epoch.
    pub expires_at: Option<u64>,
}

/// What `auth.rbac` says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Permissions {
    pub permitted: bool,
    /// What they deny passes all the same.
    pub shadow: bool,
    /// What makes them needless.
    pub exempt: Option<String>,
    /// Those of the roles that are for the path.
    pub considered: Vec<Considered>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Considered {
    pub role: String,
    pub resource: String,
    /// `grants`, `method`, or which condition does not hold: `condition 0`.
    pub outcome: String,
    pub key: String,
}

/// A limit that applies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitStage {
    pub rule: String,
    pub decided_by: Option<String>,
    /// Whom it would be charged to.
    pub key: String,
    pub limit: u64,
    pub window_seconds: u64,
    pub cost: u64,
    pub shadow: bool,
    /// Before the request, where that is known.
    pub left: Option<u64>,
    /// `enough`, `refuses`, `uncounted`, `unavailable`, `unknown`, `exempt`.
    pub says: String,
    pub retry_after_seconds: Option<u64>,
}

/// Where the request would go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Upstream {
    pub backend: String,
    /// What the target would be asked for, without the query.
    pub path: Option<String>,
    /// `Host`, where it is not the target's own.
    pub host: Option<String>,
    pub load_balance: String,
    pub targets: Vec<Target>,
    pub time_limits: Vec<TimeLimit>,
    pub retries: Retries,
    /// Where the request gets there.
    pub headers: Option<Headers>,
}

/// A target; of one that is not live nothing is known but its URL.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Target {
    pub url: String,
    /// A first try could go there.
    pub eligible: bool,
    /// It would go there and nowhere else.
    pub chosen: bool,
    pub state: Option<TargetState>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetState {
    pub healthy: bool,
    pub circuit: String,
    pub drained: bool,
    pub in_flight: usize,
    pub tunnels: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TimeLimit {
    pub what: String,
    pub ms: u64,
    pub decided_by: String,
}

/// What happens when a try fails.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Retries {
    /// The most tries, the first one included.
    pub tries: u32,
    pub decided_by: String,
    /// Else it is tried again only where nothing of it has gone out.
    pub idempotent: bool,
    /// Together with those of the backend's other requests: a share of them, and so many each second.
    pub budget: Budget,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Budget {
    pub percent_of_requests: u32,
    pub per_second: u32,
}

/// What becomes of the request's fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Headers {
    /// Those that the client would send and the target not get, by name.
    pub removed: Vec<String>,
    /// Those that the gateway writes.
    pub set: Vec<Field>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Field {
    pub name: String,
    /// `None`: another one for each request, or secret.
    pub value: Option<String>,
}
