//! What a head may hold.

use std::mem::MaybeUninit;

use httparse::Header;

/// Bytes of a request target.
pub const TARGET_BYTES: usize = 64 * 1024;

/// Room for so many fields: that on the stack, where it is enough.
pub fn room<'r, 'h>(
    fields: usize,
    few: &'r mut [MaybeUninit<Header<'h>>],
    many: &'r mut Vec<MaybeUninit<Header<'h>>>,
) -> &'r mut [MaybeUninit<Header<'h>>] {
    if fields <= few.len() {
        return &mut few[..fields];
    }
    many.resize(fields, MaybeUninit::uninit());
    many
}
