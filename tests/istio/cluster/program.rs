//! Programs that run beside the tests, and commands that run to their end.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use super::folder;

/// Holds a program that stays; its output is in `.istio/world/NAME.log`.
#[derive(Debug)]
pub(crate) struct Program {
    name: &'static str,
    child: Mutex<Option<Child>>,
}

impl Program {
    /// Starts the program.
    pub(crate) fn start(name: &'static str, command: Command) -> Self {
        let program = Self { name, child: Mutex::new(None) };
        program.resume(command);
        program
    }

    /// Starts it again; its output follows the former.
    pub(crate) fn resume(&self, mut command: Command) {
        let log = File::options().create(true).append(true).open(self.path()).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.name));
        *self.child.lock().unwrap() = Some(child);
    }

    /// Asks it to end, and waits.
    pub(crate) fn stop(&self) {
        let Some(mut child) = self.child.lock().unwrap().take() else { return };
        let _ = Command::new("kill").arg(child.id().to_string()).status();
        child.wait().unwrap();
    }

    /// Returns what it has written.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path()).unwrap_or_default()).into_owned()
    }

    fn path(&self) -> PathBuf {
        folder().join("world").join(format!("{}.log", self.name))
    }
}

/// Runs a command with this input and returns what it prints, or what it says if it fails.
pub(crate) fn output(mut command: Command, input: &str) -> Result<String, String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // A command that reads nothing may end before it is given anything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let done = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if done.status.success() {
        Ok(text(&done.stdout))
    } else {
        Err(text(&done.stdout) + &text(&done.stderr))
    }
}
