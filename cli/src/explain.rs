//! `keyless explain`: the way of one request, step by step, as the gate would walk it.

mod end;
mod grants;
mod token;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use keyless_core::body::{self, Format};
use keyless_core::config::Config;
use keyless_core::denial::Denial;
use keyless_core::policy::{Access, Deployment, DeploymentPlace, Match, Route, Routes};
use keyless_core::request::Head;

use crate::words::{self, Entry};
use crate::{Outcome, read, source};
use end::End;

/// Describes the request, and where the rest is.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// A plugin configuration, or a file of Envoy or Istio that holds one
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// A file that holds the token; `-` is stdin; without it the request has none
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// The issuer's key set, to verify the signature with
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// The request's method
    #[arg(long)]
    method: String,
    /// The request's path, with its query or without
    #[arg(long)]
    path: String,
    /// The request's host
    #[arg(long, default_value = "")]
    host: String,
    /// The model in the request's body, for routes that look there
    #[arg(long)]
    model: Option<String>,
    /// The time of the request, such as 2026-08-31T12:00:00Z or in Unix seconds; now, if not given
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<SystemTime>,
    /// Prints what the token says, too
    #[arg(long)]
    show_claims: bool,
}

/// A request that is to be explained, and what is known besides.
struct Request {
    head: Head,
    /// What `Authorization` holds.
    authorization: Option<Vec<u8>>,
    /// The model that the body names, if it is known.
    model: Option<Result<Option<String>, Denial>>,
    jwks: Option<Vec<u8>>,
    now: SystemTime,
}

/// Explains a request.
///
/// # Errors
///
/// Says which file could not be read, and why.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, String> {
    let config = configuration(&arguments.config)?;
    let request = Request::read(arguments)?;
    let mut outcome = explained(&config, &request)?;
    if arguments.show_claims
        && let Some(claims) = request.authorization.as_deref().and_then(token::payload)
    {
        _ = write!(outcome.text, "\nclaims, as the token has them\n{claims}\n");
    }
    Ok(outcome)
}

/// Reads the one configuration of a file.
fn configuration(file: &Path) -> Result<Config, String> {
    let unread = |problem: String| format!("{}: {problem}", file.display());
    let bytes = read(file).map_err(|error| unread(error.to_string()))?;
    let found = source::find(&bytes).map_err(unread)?;
    let [found] = <[_; 1]>::try_from(found).map_err(|several| {
        let places: Vec<_> = several.into_iter().map(|one| one.place).collect();
        unread(format!("found {} configurations, wanted one: {}", places.len(), places.join("; ")))
    })?;
    let config = Config::parse(&found.bytes.map_err(unread)?);
    config.map_err(|error| unread(error.to_string()))
}

impl Request {
    fn read(arguments: &Arguments) -> Result<Self, String> {
        let token = arguments.token.as_deref().map(read).transpose();
        // Whoever gives a token in the place of its file would read it in the message.
        let token = token.map_err(|error| format!("the file of --token: {error}"))?;
        let jwks = arguments.jwks.as_deref().map(read).transpose();
        let jwks = jwks.map_err(|error| format!("the file of --jwks: {error}"))?;
        let authorization = token.map(|token| [b"Bearer ", token.trim_ascii()].concat());
        let mut pairs = vec![
            (":method".to_owned(), arguments.method.clone().into_bytes()),
            (":path".to_owned(), arguments.path.clone().into_bytes()),
            (":authority".to_owned(), arguments.host.clone().into_bytes()),
        ];
        pairs.extend(authorization.clone().map(|value| ("authorization".to_owned(), value)));
        let model = arguments.model.as_ref().map(|name| {
            let body = serde_json::json!({ "model": name }).to_string();
            body::model(&Format::Json, body.as_bytes())
        });
        let now = arguments.at.unwrap_or_else(SystemTime::now);
        Ok(Self { head: Head::new(pairs), authorization, model, jwks, now })
    }

    /// What is known of the deployment, as the gate knows it.
    fn deployment<'a>(&'a self, found: &Match<'_, 'a>) -> Deployment<'a> {
        match (found.route.deployment, &self.model) {
            (DeploymentPlace::Path, _) => found.deployment.into(),
            (DeploymentPlace::Body, Some(Ok(model))) => model.as_deref().into(),
            (DeploymentPlace::Body, Some(Err(_)) | None) => Deployment::Unread,
        }
    }
}

/// Walks the way of a request (`keyless_core::gate::Gate::decide`), and tells of each step.
fn explained(config: &Config, request: &Request) -> Result<Outcome, String> {
    let routes = Routes::new(config.routes.clone());
    let head = &request.head;
    let mut text = String::new();
    let path = match head.path() {
        Ok(path) => path,
        Err(denial) => return Ok(End::Refused(denial).told(config, text)),
    };
    let metadata = config.protected_resource.as_ref().filter(|resource| resource.path == path);
    if metadata.is_some() && matches!(head.method(), "GET" | "HEAD") {
        return Ok(End::Metadata.told(config, text));
    }
    let Some(found) = routes.find(head.method(), head.host(), path) else {
        text += &section("route", &[("none".to_owned(), near(config, path))]);
        return Ok(End::Refused(Denial::RouteUnknown).told(config, text));
    };
    let deployment = request.deployment(&found);
    text += &section("route", &[(found.route.name.to_string(), matched(&found, deployment))]);
    let (grants, identity, forward_claims) = match &found.route.access {
        Access::Health => return Ok(End::Health.told(config, text)),
        Access::Public => return Ok(End::Public.told(config, text)),
        Access::Granted { grants, identity, forward_claims } => (grants, identity, forward_claims),
    };
    let trial = token::tried(config, request)?;
    text += &section("token", &trial.steps);
    let Some((issuer, claims)) = &trial.vouched else {
        return Ok(End::of(trial.refusal).told(config, text));
    };
    let judged = grants::judged(config, grants, *issuer, deployment, claims);
    text += &section("grants: any one admits", &judged.entries);
    let refusal = trial.refusal.or(judged.refusal);
    let end = match (refusal, deployment, &request.model) {
        (Some(denial), _, _) => End::Refused(denial),
        (None, Deployment::Unread, Some(Err(denial))) => End::Refused(denial.clone()),
        (None, Deployment::Unread, _) => End::Undecided,
        (None, _, _) => End::Forwarded { identity: *identity, forward_claims, claims },
    };
    Ok(if trial.is_unchecked { end.told_unchecked(config, text) } else { end.told(config, text) })
}

fn section(heading: &str, entries: &[Entry]) -> String {
    format!("{heading}\n{}\n", words::aligned(entries))
}

fn matched(found: &Match<'_, '_>, deployment: Deployment<'_>) -> Vec<String> {
    let mut lines = vec![words::routes::matching(found.route)];
    match deployment {
        Deployment::Named(name) => lines.push(format!("deployment {name}")),
        Deployment::Unnamed => {}
        Deployment::Unread => lines.push("deployment: the model in the body".to_owned()),
    }
    lines
}

/// The routes that are for this path, and for another method or host.
fn near(config: &Config, path: &str) -> Vec<String> {
    let is_near = |route: &&Route| route.path.matches(path).is_some();
    let near = config.routes.iter().filter(is_near);
    let line =
        |route: &Route| format!("{} has the path: {}", route.name, words::routes::matching(route));
    let lines: Vec<_> = near.map(line).collect();
    if lines.is_empty() { vec!["no route has this path".to_owned()] } else { lines }
}

fn time(text: &str) -> Result<SystemTime, String> {
    if let Ok(seconds) = text.parse() {
        let time = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        return time.ok_or_else(|| "too late".to_owned());
    }
    humantime::parse_rfc3339_weak(text).map_err(|error| error.to_string())
}
