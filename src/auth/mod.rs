//! Who is asking, and what they may.

pub mod api_key;
pub mod failure_limit;
pub mod ip_rules;
mod networks;
pub mod rbac;
