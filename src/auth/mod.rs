//! Who a request is from. Pure: it knows the settings and the router's patterns, and nothing of connections.

pub mod mtls;
