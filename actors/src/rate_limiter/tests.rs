//! Tests of the limiter that span its files.

mod algorithms;
mod shared;
mod workers;
