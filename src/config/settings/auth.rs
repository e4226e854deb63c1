//! `auth` of the configuration: who is asking, and what they may.

pub mod claim_path;
pub mod ip_rules;
pub mod rbac;
