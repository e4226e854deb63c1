//! Who is asking, and what they may.

pub mod ip_rules;
mod networks;
pub mod rbac;
