//! Who is asking, and what they may.

pub mod api_key;
pub mod failure_limit;
pub mod ip_rules;
pub mod jwt;
mod networks;
pub mod rbac;
