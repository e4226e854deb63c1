//! Telling webhooks of alerts: what they are sent, and the HTTP around it.
//!
//! Owns the shape of both formats. Sends each delivery on a connection of its own, through the gateway's transport towards
//! upstreams. Refuses to follow redirects, reads no answer beyond its head, and shows no part of a URL but its host.
//! Driven by the alerts actor.

pub mod document;
mod poster;

pub use poster::WebhookPoster;
