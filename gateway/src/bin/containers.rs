//! Writes Envoy's configuration for the service `gateway` of `compose.yaml`, or with `--dynamic` for the
//! image that has the dynamic module; the Dockerfile runs it.

use std::env;
use std::io::{self, Write};

use gateway::{Blueprint, Host};

fn main() -> io::Result<()> {
    let is_dynamic = env::args().nth(1).is_some_and(|argument| argument == "--dynamic");
    let host = if is_dynamic { Host::DynamicModule } else { Host::Wasm };
    io::stdout().write_all(Blueprint::shipped().for_containers(host).as_bytes())
}
