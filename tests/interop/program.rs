//! Runs a program that uses software of others.
//!
//! A program is told what to do by one argument of JSON and says what it saw in one line of JSON on
//! its standard output. What that has to be is checked here in Rust, so that Python and Node.js are
//! held to the same.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

/// How long a program may run, and how long a server may take until it listens.
const DONE_WITHIN: Duration = Duration::from_mins(1);

/// Names a program in `python/` or `node/`, or one built from `go/`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Program {
    Go(&'static str),
    Node(&'static str),
    Python(&'static str),
}

/// A program that runs until this is dropped, or until the tests end in whatever way: it notices
/// that nobody holds its standard input any more.
pub(crate) struct Server {
    /// What it said when it was ready.
    pub(crate) said: Value,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Program {
    /// Runs to the end and returns what the program saw; fails with its output if it failed.
    pub(crate) async fn run(self, environment: &[(&str, &str)], order: &Value) -> Value {
        let mut command = self.command(order);
        let run = command.envs(environment.iter().copied()).output();
        let output = timeout(DONE_WITHIN, run).await.expect("it is slow").expect("it starts");
        answer(&output).unwrap_or_else(|| {
            let (out, err) = (text(&output.stdout), text(&output.stderr));
            panic!("{self:?} was told {order} and ended ({}): {out}\n{err}", output.status)
        })
    }

    /// Starts a server and waits for its first line.
    pub(crate) async fn serve(self, order: &Value) -> Server {
        let mut command = self.command(order);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(DONE_WITHIN, lines.next_line()).await.expect("it is slow").unwrap();
        let line = line.unwrap_or_else(|| panic!("{self:?} ended before it was ready"));
        let said = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{self:?}: {e}: {line}"));
        Server { said, stdin: child.stdin.take(), child }
    }

    /// Prepares the program with an empty environment, so that nothing of the user's (proxies, keys,
    /// Azure's own variables) has a say.
    fn command(self, order: &Value) -> Command {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = match self {
            Self::Go(name) => Command::new(installed().join(name)),
            Self::Node(name) => {
                let mut node = node();
                node.arg(folder.join("node").join(name));
                node
            }
            Self::Python(name) => {
                let mut python = Command::new(installed().join("bin/python"));
                python.arg("-I").arg(folder.join("python").join(name));
                python
            }
        };
        command.arg(order.to_string()).env_clear().kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Server {
    /// Ends the server, so that its port is free.
    pub(crate) async fn stop(mut self) {
        drop(self.stdin.take());
        timeout(DONE_WITHIN, self.child.wait()).await.expect("it ends").unwrap();
    }
}

/// Prepares Node.js, with an empty environment.
pub(crate) fn node() -> Command {
    let mut node = Command::new(installed().join("node/bin/node"));
    node.env_clear().kill_on_drop(true).stdin(Stdio::null());
    node
}

/// Where `make interop` has installed everything.
fn installed() -> PathBuf {
    env::var_os("INTEROP").expect("INTEROP is set: run through make interop").into()
}

/// Returns the last line, if the program succeeded and the line is JSON.
fn answer(output: &Output) -> Option<Value> {
    let said = text(&output.stdout);
    let answer = serde_json::from_str(said.lines().last()?).ok()?;
    output.status.success().then_some(answer)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
