//! The demo: its claims hold, and the commands that it prints do what they seem to.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

/// How long the demo may take.
const DONE_WITHIN: Duration = Duration::from_mins(1);

/// Builds the demo, and prepares it to run as `make demo` runs it.
async fn demo() -> Command {
    let build = ["build", "--quiet", "--locked", "-p", "gateway", "--bin", "demo"];
    let status = Command::new(env!("CARGO")).args(build).status().await.unwrap();
    assert!(status.success());
    // This program is in the folder `deps` beside it.
    let here = std::env::current_exe().unwrap();
    let demo: PathBuf = here.ancestors().nth(2).unwrap().join("demo");
    let mut demo = Command::new(demo);
    demo.kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::piped());
    demo
}

#[tokio::test]
async fn all_claims_hold_as_many_as_the_readme_says() {
    let output = timeout(DONE_WITHIN, demo().await.arg("--json").output()).await;
    let output = output.expect("it is slow").unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().count(), 1, "one line");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["failed"].as_array().map(Vec::len), Some(0), "{said}");
    let result = format!("All {} claims held.", said["held"]);
    assert!(include_str!("../../README.md").contains(&result), "{result}");
}

#[tokio::test]
async fn the_commands_that_it_prints_work() {
    let mut demo = demo().await.env("KEEP", "1").spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut commands = Vec::new();
    let read = async {
        let mut next = async || lines.next_line().await.unwrap().expect("it goes on");
        while !next().await.contains("It keeps running") {}
        while commands.len() < 7 {
            commands.push(next().await.trim().to_owned());
            commands.retain(|line| !line.is_empty());
        }
    };
    timeout(DONE_WITHIN, read).await.expect("it is slow");
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &commands.join("\n echo; echo ---\n")]);
    let output = timeout(DONE_WITHIN, shell.output()).await.expect("it is slow").unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{commands:?}\n{said}");
    let said: Vec<_> = said.split("---\n").collect();
    let expected = ["", "chat.completion", "[DONE]", "token_missing", "authorization", "keyless_"];
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.contains(expected), "no {expected:?} in {said}");
    }
    let interrupt = ["-INT", &demo.id().unwrap().to_string()];
    assert!(Command::new("kill").args(interrupt).status().await.unwrap().success());
    let ended = timeout(DONE_WITHIN, demo.wait()).await.expect("it ends").unwrap();
    assert!(ended.success(), "{ended}");
}
