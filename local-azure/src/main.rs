//! Runs the stand-in for a demo: prints where everything listens, and serves until Ctrl-C or SIGTERM.

use std::error::Error;

use lexopt::prelude::*;
use local_azure::{LocalAzure, Options};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Some(options) = options(lexopt::Parser::from_env())? else {
        println!("{USAGE}");
        return Ok(());
    };
    // Before anything is printed: whoever has read that may stop this. In a container, where this is the
    // first process, a signal that nobody waits for does nothing.
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let azure = LocalAzure::start(options).await?;
    println!("issuer  http://{}", azure.issuer.address());
    println!("imds    http://{}", azure.imds.address());
    println!("app     {}", azure.app_service.endpoint());
    println!("oauth   http://{}", azure.oauth.address());
    println!("openai  http://{}", azure.openai.address());
    println!("control {}", azure.control_url());
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    Ok(())
}

/// Reads the command line; none when it asks for help.
fn options(mut arguments: lexopt::Parser) -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("listen") => options.listen = arguments.value()?.parse()?,
            Long("issuer-port") => options.ports.issuer = arguments.value()?.parse()?,
            Long("imds-port") => options.ports.imds = arguments.value()?.parse()?,
            Long("app-service-port") => options.ports.app_service = arguments.value()?.parse()?,
            Long("oauth-port") => options.ports.oauth = arguments.value()?.parse()?,
            Long("identity-header") => options.identity_header = arguments.value()?.string()?,
            Long("client-id") => options.client_id = arguments.value()?.string()?,
            Long("client-secret") => options.client_secret = arguments.value()?.string()?,
            Long("openai-port") => options.ports.openai = arguments.value()?.parse()?,
            Long("control-port") => options.ports.control = arguments.value()?.parse()?,
            Long("issuer") => options.issuer = arguments.value()?.string()?,
            Long("resource") => options.resource = arguments.value()?.string()?,
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(Some(options))
}

const USAGE: &str = "\
Usage: local-azure [--issuer-port N] [--imds-port N] [--app-service-port N] [--oauth-port N]
                   [--openai-port N] [--control-port N] [--issuer ISS] [--resource R]
                   [--listen ADDRESS] [--identity-header H] [--client-id ID] [--client-secret S]

A port that is not given is any free one. The address is 127.0.0.1, or 0.0.0.0 in a container.";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Option<Options>, lexopt::Error> {
        options(lexopt::Parser::from_iter(["local-azure"].into_iter().chain(line.split(' '))))
    }

    #[test]
    fn every_option_is_read() {
        let ports = "--issuer-port 1 --imds-port=2 --openai-port 3 --control-port 4 \
                     --app-service-port 5 --oauth-port 6";
        let credentials = "--identity-header h --client-id c --client-secret s";
        let read = read(&format!(
            "{ports} --listen ::1 --issuer https://i --resource https://r {credentials}"
        ));
        let options = read.unwrap().unwrap();
        assert_eq!(
            (options.issuer.as_str(), options.resource.as_str()),
            ("https://i", "https://r")
        );
        let credentials = [options.identity_header, options.client_id, options.client_secret];
        assert_eq!(credentials, ["h", "c", "s"]);
        assert_eq!(options.listen.to_string(), "::1");
        let ports = options.ports;
        assert_eq!((ports.issuer, ports.imds, ports.openai, ports.control), (1, 2, 3, 4));
        assert_eq!((ports.app_service, ports.oauth), (5, 6));
    }

    #[test]
    fn help_stops_the_reading_and_mistakes_are_refused() {
        assert!(read("--help").unwrap().is_none());
        for line in ["--port 1", "--imds-port", "--imds-port 65536", "--listen here", "stray"] {
            assert!(read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_command_of_the_compose_file_is_understood() {
        let compose = include_str!("../../compose.yaml");
        let (_, service) = compose.split_once("\n  local-azure:\n").unwrap();
        let command =
            service.lines().find_map(|line| line.trim().strip_prefix("command: ")).unwrap();
        let command: Vec<String> = serde_json::from_str(command).unwrap();
        let Options { listen, ports, .. } = read(&command.join(" ")).unwrap().unwrap();
        assert!(listen.is_unspecified(), "its neighbours reach it");
        assert_eq!(
            (ports.issuer, ports.imds, ports.openai, ports.control),
            (8001, 8002, 8003, 8004)
        );
    }
}
