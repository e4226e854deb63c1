//! The attack table, row by row: what must be refused, what must pass.

mod keys;
mod properties;
mod refused;
mod support;
mod taken;
