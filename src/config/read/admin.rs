//! `admin`: the admin listener.

use super::section::{Section, shown_for};
use super::server::bind_host;
use super::syntax;
use crate::config::scalar;
use crate::config::settings::Admin;

/// Reads the section. Whether the host is allowed without a token is judged by [`super::rules`].
pub(super) fn read(section: Section<'_>) -> Admin {
    let defaults = Admin::default();
    let admin = Admin {
        host: bind_host(&section).unwrap_or(defaults.host),
        port: section.integer("port", 0..=65_535).unwrap_or(defaults.port),
        token: token(&section).unwrap_or(defaults.token),
        allowed_origins: allowed_origins(&section),
    };
    section.finish();
    admin
}

fn token(section: &Section<'_>) -> Option<String> {
    let (text, node) = section.text("token")?;
    // A token that cannot stand in an Authorization header would lock everybody out.
    let Some(c) = text.chars().find(|c| !c.is_ascii_graphic()) else { return Some(text.to_owned()) };
    let found = match c {
        ' ' => "a space".to_owned(),
        c => scalar::invisible(c.encode_utf8(&mut [0; 4])).unwrap_or("a character beyond ASCII".to_owned()),
    };
    let name = section.name("token");
    let what = format!(
        "`{name}` holds {found}, but it must be visible ASCII characters without spaces: make a new one, for example \
         with `openssl rand -hex 32`"
    );
    section.error(node, what);
    None
}

fn allowed_origins(section: &Section<'_>) -> Vec<String> {
    let mut origins = Vec::new();
    for (text, node, name) in section.texts("allowedOrigins").unwrap_or_default() {
        match syntax::origin(text) {
            Ok(origin) => origins.push(origin),
            Err(why) => {
                section.error(node, format!("`{name}` is {}: {why}", shown_for("allowedOrigins", node)));
            }
        }
    }
    origins
}
