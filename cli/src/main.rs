//! `keyless` for people who write its configuration: what is wrong with it, and what it means.
//!
//! The exit status is 0 if all is well, 1 if something is wrong, 2 if something could not be read.

mod check;
mod doubts;
mod explain;
mod istio;
mod schema;
mod source;
mod words;

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Says what a configuration of keyless means, and what it makes of a request.
#[derive(Debug, Parser)]
#[command(name = "keyless", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says what is wrong with a configuration and where, or what it means
    Check {
        /// A plugin configuration, or a file of Envoy or Istio that holds one; `-` is stdin
        file: PathBuf,
    },
    /// Says what becomes of a request: its route, its token check by check, grant by grant, the reply
    Explain(explain::Arguments),
    /// Prints the JSON Schema of a plugin configuration, for editors
    Schema,
}

/// What a command says, and whether all is well.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The text for stdout.
    pub(crate) text: String,
    /// False if something is wrong.
    pub(crate) is_well: bool,
}

fn main() -> ExitCode {
    if std::env::args_os().any(|argument| is_token(&argument.to_string_lossy())) {
        eprintln!(
            "keyless: found a token among the arguments, wanted none: others can see it there"
        );
        return ExitCode::from(2);
    }
    let outcome = match Arguments::parse().command {
        Command::Check { file } => check::run(&file),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Schema => Ok(schema::run()),
    };
    match outcome.and_then(Outcome::print) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(problem) => {
            eprintln!("keyless: {problem}");
            ExitCode::from(2)
        }
    }
}

impl Outcome {
    fn print(self) -> Result<bool, String> {
        let printed = io::stdout().write_all(self.text.as_bytes());
        printed.map(|()| self.is_well).map_err(|error| error.to_string())
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
