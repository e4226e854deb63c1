//! `auth` of the configuration: who is asking, and what they may.

pub mod claim_path;
pub mod failure_limit;
pub mod ip_rules;
pub mod issuers;
pub mod rbac;
