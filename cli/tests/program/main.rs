//! The program `keyless` as people run it, on what ships and on what is broken.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail loudly"
)]

mod check;
mod cures;
mod docs;
mod explain;
mod issuers;
mod limits;
mod pages;
mod schema;
mod tokens;
mod usage;
mod warnings;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// What the program said, and its exit status.
struct Said {
    status: i32,
    out: String,
    err: String,
}

/// Runs the program in the folder of the repository.
fn keyless(arguments: &[&str], stdin: &str) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyless"));
    command.args(arguments).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut program = pipes.spawn().unwrap();
    // It may end without reading.
    _ = program.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = program.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said {
        status: output.status.code().unwrap(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// A file that is gone after the test.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str, text: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = folder.join(format!("{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}

/// A configuration with keys inside, and a route of each kind.
fn configuration() -> Value {
    json!({
        "issuers": [{
            "name": "idp", "issuer": "https://idp.example.com/", "audiences": ["api"],
            "algorithms": ["ES256"], "max_lifetime": "1h",
            "jwks": { "inline": { "keys": [tokens::jwk()] } }
        }],
        "identities": { "openai": { "resource": "r", "imds": { "cluster": "imds" } } },
        "routes": [
            { "name": "chat", "identity": "openai", "forward_claims": { "x-caller": "oid" },
              "match": { "methods": ["POST"], "path": "/chat/{deployment}" },
              "allow": [
                { "scopes": ["chat", "more"] },
                { "roles": ["Chat"], "claims": { "team": ["a", 1] }, "deployments": ["mini"] }
              ] },
            { "name": "model", "deployment": "body.model",
              "match": { "methods": ["POST"], "path": "/v1/{*rest}", "hosts": ["*.example.com"] },
              "allow": [{ "roles": ["Chat"], "deployments": ["mini"] }] },
            { "name": "open", "match": { "methods": ["GET"], "path": "/open" }, "public": true },
            { "name": "ready", "match": { "methods": ["GET"], "path": "/ready" }, "health": true }
        ]
    })
}
