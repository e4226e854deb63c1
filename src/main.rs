//! The `aegis` binary: parses the command line and hands over.

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    aegis::cli::run(aegis::cli::Cli::parse())
}
