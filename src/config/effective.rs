//! Settings back into the spelling of the file, with every default written out: what `GET /_aegis/config`
//! shows, what the hash is taken of, and what two configurations are compared by.

use aegis_schema::{Describe, secrets};
use serde_json::Value;

use super::Settings;

/// The whole configuration with every secret replaced.
pub fn render_redacted(settings: &Settings) -> Value {
    let mut value = settings.show(false);
    // Declared as secrets they are; this is for the one that is not.
    secrets::redact(&mut value);
    value
}

/// 16 hex digits that change with the configuration and with nothing else: equal on every instance of a
/// release, whatever the layer or spelling. Secrets are left out, so that the hash can be logged and shown, and so is the
/// instance's own name.
pub fn hash(settings: &Settings) -> String {
    hash_of(&render_redacted(settings))
}

/// [`hash`] of what has been rendered already.
pub(crate) fn hash_of(redacted: &Value) -> String {
    let mut shared = redacted.clone();
    if let Some(metrics) = shared.get_mut("metrics").and_then(Value::as_object_mut) {
        metrics.remove("instance");
    }
    // FNV-1a, because the standard hasher promises no stability; nobody gains anything by a collision here.
    let hash = shared.to_string().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}
