//! AEGIS, an API gateway: routes each request, guards it, holds it to its limits, forwards it, and shows live what
//! happens.
//!
//! `gateway` is the request path, `auth` says who asks, `router` judges paths, `config` reads and validates the configuration, `admin`
//! answers operators, `webhook` tells receivers of alerts, `supervisor` starts and replaces the actors of the
//! `aegis-actors` crate and applies reloads.

// They panic when the other end of the pipe is closed.
#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

pub mod admin;
pub mod auth;
pub mod cli;
pub mod config;
pub mod gateway;
pub mod logging;
pub mod panics;
pub mod router;
pub mod store;
pub mod supervisor;
pub mod tls;
mod trust;
pub mod webhook;
