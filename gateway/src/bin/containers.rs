//! Writes Envoy's configuration for the service `gateway` of `compose.yaml`; the Dockerfile runs it.

use std::io::{self, Write};

use gateway::Blueprint;

fn main() -> io::Result<()> {
    io::stdout().write_all(Blueprint::shipped().for_containers().as_bytes())
}
