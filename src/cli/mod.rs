//! The command line: one file per command.
//!
//! Exit codes: 0 fine, 1 the thing asked for failed, 2 usage.

mod check;
mod config;
mod demo;
mod demo_upstreams;
mod explain;
mod key;
mod migrate;
mod routes;
mod running;
mod serve;
mod why;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, Parser, Subcommand};

use crate::config::{Source, origins, schema};
use crate::store::Order;

/// What a command does not say of itself.
const SURROUNDINGS: &str = "\
Configuration, later wins: built-in defaults, the file, the environment, --set.
  AEGIS__SERVER__PORT=9000          sets server.port: two underscores between levels, one between words
  AEGIS__BACKENDS__0__TIMEOUT=5s    reaches into lists by index
  ${NAME}, ${NAME:-default}         in values of the file
  ${file:PATH}                      likewise: what is in another file, without its last line break
Other variables:
  RUST_LOG          what is logged, over logging.level
  AEGIS_PORT_FILE   a file that has the real addresses and the process id, as JSON, while the gateway runs
Signals of serve and demo:
  SIGTERM, SIGINT   finish what is under way, then stop (server.drainPeriodMs, server.shutdownTimeoutMs); again: stop now
  SIGHUP            load the configuration again
Exit codes: 0 fine, 1 what was asked for failed, 2 wrong usage.";

/// An API gateway: routes, guards, limits, forwards, and shows live what happens.
#[derive(Debug, Parser)]
#[command(name = "aegis", version, about, arg_required_else_help = true, after_help = SURROUNDINGS)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    #[command(after_help = SURROUNDINGS)]
    Serve(Configuration),
    /// Run the gateway before three built-in upstreams with gentle traffic; needs nothing installed.
    Demo {
        /// Port of the gateway; the admin listener takes the next one.
        #[arg(long, default_value_t = 8080)]
        port: u16,
    },
    /// Validate the configuration and print every problem.
    Check {
        #[command(flatten)]
        configuration: Configuration,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Print what is configured, with the origin of every value; secrets are not shown.
    Config {
        #[command(flatten)]
        configuration: Configuration,
        /// Print every key with its default instead; nothing is read.
        #[arg(long, conflicts_with_all = ["effective", "file", "set"])]
        defaults: bool,
        /// Print all that is in force, defaults too.
        #[arg(long)]
        effective: bool,
    },
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
    /// Tell how a request would be handled, without sending it; exit code 0 whatever would become of it.
    ///
    /// Route and why others lost, verdict, limits, target, time limits, retries and headers, each with the line of the
    /// configuration that decides. Nothing is charged or counted, and no secret printed.
    #[command(after_help = explain::MORE)]
    Explain(explain::Order),
    /// Tell what happened to a request, and which line of the configuration decided it; asks the running gateway.
    Why {
        /// As in `X-Request-ID` of the answer.
        #[arg(value_name = "REQUEST_ID")]
        request_id: String,
        #[command(flatten)]
        configuration: Configuration,
        /// Print the record as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make API keys, hash them, and tell what a key is.
    #[command(subcommand)]
    Key(key::Order),
    /// Print the compiled route table, most specific first.
    Routes {
        #[command(flatten)]
        configuration: Configuration,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Apply, show or undo the migrations of the metrics store.
    Migrate {
        #[command(flatten)]
        configuration: Configuration,
        /// The store: sqlite://PATH or postgres://USER:PASSWORD@HOST/DATABASE. Default: metrics.store of the
        /// configuration.
        #[arg(long, value_name = "URL")]
        store: Option<String>,
        /// Change nothing; list the migrations and whether they are applied.
        #[arg(long, conflicts_with = "revert")]
        status: bool,
        /// Undo the newest migration, and what it stored with it.
        #[arg(long)]
        revert: bool,
    },
}

#[derive(Args, Debug)]
struct Configuration {
    /// Configuration file (YAML, TOML or JSON); - reads standard input. Default: config/aegis.yaml, else built-in
    /// defaults.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Set one key, for example --set server.port=9000; may be repeated, wins over file and environment.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Configuration {
    /// Runs a command with it; exit code 1 when standard input, where it is to be, cannot be read.
    fn read(self, command: impl FnOnce(Source) -> i32) -> i32 {
        let Self { file, set } = self;
        let source = match file {
            Some(file) if file.as_os_str() == "-" => Source::standard_input(),
            file => Ok(Source { file, ..Source::default() }),
        };
        match source {
            Ok(source) => command(Source { set, ..source }),
            Err(problem) => {
                complain(problem);
                1
            }
        }
    }
}

/// What was asked for could not be written.
static UNWRITTEN: AtomicBool = AtomicBool::new(false);

/// Prints what was asked for. Whoever closes the pipe early has seen enough; the exit code still tells.
fn say(text: impl Display) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush())
        && error.kind() != io::ErrorKind::BrokenPipe
        && !UNWRITTEN.swap(true, Ordering::Relaxed)
    {
        complain(format_args!("cannot write the output: {error}"));
    }
}

/// Prints what went wrong, to whoever still listens.
fn complain(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Runs a command and returns its exit code.
pub fn run(cli: Cli) -> ExitCode {
    let code = match cli.command {
        Command::Serve(configuration) => configuration.read(serve::run),
        Command::Demo { port } => demo::run(port),
        Command::Check { configuration, json } => configuration.read(|source| check::run(&source, json)),
        Command::Config { defaults: true, .. } => {
            say(origins::defaults().trim_end());
            0
        }
        Command::Config { configuration, effective, .. } => {
            configuration.read(|source| config::run(&source, effective))
        }
        Command::Schema => {
            say(format_args!("{:#}", schema()));
            0
        }
        Command::Why { request_id, configuration, json } => {
            configuration.read(|source| why::run(&source, &request_id, json))
        }
        Command::Explain(order) => explain::run(order),
        Command::Key(order) => key::run(order),
        Command::Routes { configuration, json } => configuration.read(|source| routes::run(&source, json)),
        Command::Migrate { configuration, store, status, revert } => {
            let order = match (status, revert) {
                (true, _) => Order::Status,
                (_, true) => Order::Revert,
                _ => Order::Run,
            };
            configuration.read(|source| migrate::run(&source, store, order))
        }
    };
    match code {
        0 if UNWRITTEN.load(Ordering::Relaxed) => ExitCode::FAILURE,
        code => ExitCode::from(u8::try_from(code).unwrap_or(1)),
    }
}
