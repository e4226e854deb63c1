//! `backends[].healthCheck` of the configuration.

use std::time::Duration;

/// Active checks of one backend's targets. They run only when the section is present.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Path and query asked with GET; a status of 200–399 is healthy. Default `/health`.
    pub path: String,
    /// Time between two checks of one target, jittered by ±10 %. Default 30 s.
    pub interval: Duration,
    /// Time one check may take, connect included. Default 5 s.
    pub timeout: Duration,
    /// Consecutive failed checks that make a target unhealthy. Default 3.
    pub unhealthy_threshold: u32,
    /// Consecutive passed checks that make it healthy again. Default 2.
    pub healthy_threshold: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            path: "/health".into(),
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            unhealthy_threshold: 3,
            healthy_threshold: 2,
        }
    }
}
