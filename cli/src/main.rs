//! `keyless` for people who write its configuration: checks it, summarises it, and explains requests.
//!
//! The exit status is 0 for success, 1 if a configuration is invalid or a request is refused, and 2
//! if the command could not run.

mod check;
mod docs;
mod error;
mod explain;
mod istio;
mod limits;
mod schema;
mod source;
mod summary;
mod usage;
mod warnings;

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use error::CliError;

/// Checks a configuration of keyless, and explains what becomes of a request.
#[derive(Debug, Parser)]
#[command(name = "keyless", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Checks a configuration: prints its mistakes with their places, or a summary of it
    Check(check::Arguments),
    /// Prints the reference tables: configuration keys, denials, metrics, fetch results
    Docs {
        /// Updates the tables of this Markdown file instead, between their markers
        #[arg(long, value_name = "FILE")]
        update: Option<PathBuf>,
    },
    /// Explains what becomes of a request: its route, each check of its token, each grant, the reply
    Explain(explain::Arguments),
    /// Prints the configuration of envoyproxy/ratelimit that counts these limits for several proxies
    Limits(limits::Arguments),
    /// Prints the JSON Schema of a plugin configuration, for editors
    Schema,
    /// Sums up tokens and cost from access logs, by any of the logged fields
    Usage(usage::Arguments),
}

/// What a command prints, and whether it succeeded.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The text for stdout.
    pub(crate) text: String,
    /// False if a configuration is invalid, or the request is refused.
    pub(crate) is_success: bool,
}

fn main() -> ExitCode {
    if std::env::args_os().any(|argument| is_token(&argument.to_string_lossy())) {
        eprintln!(
            "keyless: expected no token among the arguments, found one: other users can see it there"
        );
        return ExitCode::from(2);
    }
    let outcome = match Arguments::parse().command {
        Command::Check(arguments) => check::run(&arguments),
        Command::Docs { update } => docs::run(update.as_deref()),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Limits(arguments) => limits::run(&arguments),
        Command::Schema => Ok(schema::run()),
        Command::Usage(arguments) => usage::run(&arguments),
    };
    match outcome.and_then(Outcome::print) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("keyless: {error}");
            ExitCode::from(2)
        }
    }
}

impl Outcome {
    fn print(self) -> Result<bool, CliError> {
        let printed = io::stdout().write_all(self.text.as_bytes());
        printed.map(|()| self.is_success).map_err(CliError::Write)
    }
}

/// Could this be a JWT, or contain one? Its header is an object, so it begins like this.
fn is_token(argument: &str) -> bool {
    argument.find("eyJ").is_some_and(|at| argument[at..].matches('.').count() >= 2)
}

/// Reads a file, or stdin for `-`.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, io::Error> {
    if file.as_os_str() != "-" {
        return fs::read(file);
    }
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes).map(|_| bytes)
}
