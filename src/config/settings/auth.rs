//! `auth`: who is who.

pub mod mtls;
