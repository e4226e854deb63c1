//! The description of a configuration: which keys there are, how each is written, and what is wrong with what was written.
//!
//! A section is declared once, with [`section!`], beside whoever it configures. From that follow its struct and defaults,
//! its reader (every problem at once, each with its place), what is shown of it, what a reload can apply, the JSON Schema and
//! the tables of the reference.
//!
//! ```text
//! tree.rs       a configuration as written, with places        problem.rs   what is wrong, where, and the hint
//! section.rs    one table of it being read                     form/        kinds of values: how each is read and shown
//! describe.rs   keys and sections                              macros.rs    `section!` and `choice!`
//! tables.rs     JSON Schema, tables of the reference           scalar.rs, syntax.rs, suggest.rs, secrets.rs: texts
//! ```

mod describe;
pub mod form;
mod macros;
pub mod problem;
pub mod scalar;
pub mod secrets;
pub mod section;
pub mod suggest;
pub mod syntax;
pub mod tables;
pub mod tree;

pub use describe::{About, Describe, Description, Key, Reload, key, read, reload};
pub use form::Form;
pub use secrets::Secret;
pub use section::{Context, Lists, Section};
pub use serde_json::Value as Json;
