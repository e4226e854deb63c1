//! What a request may hold.

/// Bytes of a request target.
pub const TARGET_BYTES: usize = 64 * 1024;
/// Bytes of a request head.
pub const HEAD_BYTES: usize = 128 * 1024;
/// Its fields.
pub const HEAD_FIELDS: usize = 256;
