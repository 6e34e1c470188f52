//! How the program ends.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn it_ends_well_when_it_is_told_to_stop() {
    for signal in ["-INT", "-TERM"] {
        let mut program =
            Command::new(env!("CARGO_BIN_EXE_local-azure")).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().starts_with("control ")), "it has started");
        let told = Command::new("kill").args([signal, &program.id().to_string()]).status();
        assert!(told.unwrap().success());
        let status = program.wait().unwrap();
        assert!(status.success(), "{signal}: {status}");
    }
}
