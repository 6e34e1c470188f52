//! `keyless explain`: what the gate makes of one request, step by step.

mod cure;
mod end;
mod grants;
mod token;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use keyless_core::body::{self, Format};
use keyless_core::config::Config;
use keyless_core::credentials::OPENAI_SUBPROTOCOL;
use keyless_core::denial::Denial;
use keyless_core::fetch::{InMemorySharedData, SharedData};
use keyless_core::gate::{Decided, Gate, Step};
use keyless_core::jwks::{JwksSource, KeySet};
use keyless_core::jwt::IssuerIndex;
use keyless_core::policy::{self, Access, Deployment, DeploymentPlace, Route};
use keyless_core::request::{Head, PROTOCOLS};
use keyless_core::signature::Sandbox;

use crate::error::{CliError, TimeError};
use crate::summary::{self, Entry};
use crate::{Outcome, read, source};
use end::End;
use grants::Granting;

/// Describes the request, and where the rest is.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// A plugin configuration, or a file of Envoy or Istio that holds one
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// A file that holds the token; `-` is stdin; without it the request has none
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// Where the request has the token
    #[arg(long, value_enum, value_name = "PLACE", default_value_t = TokenPlace::Authorization)]
    credential: TokenPlace,
    /// The request is the handshake of a WebSocket
    #[arg(long)]
    websocket: bool,
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

/// Where a request has the token, in the words of `routes[].credential`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum TokenPlace {
    ApiKey,
    Authorization,
    Subprotocol,
}

/// A request that is to be explained, and what is known besides.
struct Request {
    head: Head,
    token: Option<Vec<u8>>,
    /// The model that the body names, if it is known.
    model: Option<Result<Option<String>, Denial>>,
    jwks: Option<Vec<u8>>,
    now: SystemTime,
}

/// The steps of a decision, and what they were about.
struct Explanation<'a> {
    config: &'a Config,
    request: &'a Request,
    steps: Vec<Step>,
}

/// Explains a request.
///
/// # Errors
///
/// Returns which file could not be read, and why.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome, CliError> {
    let mut config = configuration(&arguments.config)?;
    let request = Request::read(arguments)?;
    let (mut decided, mut steps) = request.decided(&config);
    if let Some(jwks) = &request.jwks
        && let Some(index) = steps.iter().find_map(issuer)
    {
        give_keys(&mut config, index, jwks)?;
        (decided, steps) = request.decided(&config);
    }
    let mut outcome = Explanation { config: &config, request: &request, steps }.told(decided);
    if arguments.show_claims
        && let Some(claims) = request.token.as_deref().and_then(token::payload)
    {
        _ = write!(outcome.text, "\nclaims, as the token has them\n{claims}\n");
    }
    Ok(outcome)
}

/// The issuer that a step found.
fn issuer(step: &Step) -> Option<IssuerIndex> {
    match step {
        Step::Issuer(Ok(index)) => Some(*index),
        _ => None,
    }
}

/// Puts the keys of a file in the place of those that the gate would fetch.
fn give_keys(config: &mut Config, index: IssuerIndex, jwks: &[u8]) -> Result<(), CliError> {
    let Some(issuer) = config.issuers.get_mut(index.0) else { return Ok(()) };
    if let JwksSource::Remote(_) = issuer.jwks {
        let keys = KeySet::parse(jwks, issuer.tenant.as_ref());
        issuer.jwks = JwksSource::Inline(keys.map_err(CliError::Jwks)?);
    }
    Ok(())
}

/// Reads the one configuration of a file.
pub(crate) fn configuration(file: &Path) -> Result<Config, CliError> {
    let source = |error| CliError::Source { file: file.into(), error };
    let bytes = read(file).map_err(|error| CliError::Read { file: file.into(), error })?;
    let found = source::find(&bytes).map_err(source)?;
    let [found] = <[_; 1]>::try_from(found).map_err(|several| {
        let places = several.into_iter().map(|one| one.place).collect();
        CliError::Several { file: file.into(), places }
    })?;
    let config = Config::parse(&found.bytes.map_err(source)?);
    config.map_err(|error| CliError::Config { file: file.into(), error })
}

impl TokenPlace {
    /// The header that a client sends the token in, and its value.
    fn header(self, token: &[u8]) -> (String, Vec<u8>) {
        let (name, start) = match self {
            Self::ApiKey => ("api-key", ""),
            Self::Authorization => ("authorization", "Bearer "),
            Self::Subprotocol => (PROTOCOLS, OPENAI_SUBPROTOCOL),
        };
        (name.to_owned(), [start.as_bytes(), token].concat())
    }
}

impl Request {
    fn read(arguments: &Arguments) -> Result<Self, CliError> {
        let token = arguments.token.as_deref().map(read).transpose();
        // Whoever gives a token in the place of its file would read it in the message.
        let token = token.map_err(|error| CliError::Argument { option: "--token", error })?;
        let jwks = arguments.jwks.as_deref().map(read).transpose();
        let jwks = jwks.map_err(|error| CliError::Argument { option: "--jwks", error })?;
        let token = token.map(|token| token.trim_ascii().to_vec());
        let mut pairs = vec![
            (":method".to_owned(), arguments.method.clone().into_bytes()),
            (":path".to_owned(), arguments.path.clone().into_bytes()),
            (":authority".to_owned(), arguments.host.clone().into_bytes()),
        ];
        pairs.push(if arguments.websocket {
            ("upgrade".to_owned(), b"websocket".to_vec())
        } else {
            ("content-type".to_owned(), b"application/json".to_vec())
        });
        pairs.extend(token.as_deref().map(|token| arguments.credential.header(token)));
        let model = arguments.model.as_ref().map(|name| {
            let body = serde_json::json!({ "model": name }).to_string();
            body::model(&Format::Json, body.as_bytes())
        });
        let now = arguments.at.unwrap_or_else(SystemTime::now);
        Ok(Self { head: Head::new(pairs), token, model, jwks, now })
    }

    /// What a gate that has fetched nothing yet makes of the request, and how. Whether a denial is
    /// enforced is said beside it, so the gate enforces all.
    fn decided(&self, config: &Config) -> (Decided, Vec<Step>) {
        let config = Config { report_only: false, ..config.clone() };
        let shared: Rc<dyn SharedData> = Rc::new(InMemorySharedData::default());
        let mut gate = Gate::new(config, Box::new(Sandbox), |_| None, &shared);
        gate.explain(self.head.clone(), self.model.clone(), self.now)
    }
}

impl Explanation<'_> {
    /// Tells of every step, and of the reply.
    fn told(&self, decided: Decided) -> Outcome {
        let mut text = String::new();
        match self.route() {
            Some((route, deployment)) => {
                let matched = matched(route, deployment);
                text += &section("route", &[(route.name.to_string(), matched)]);
            }
            None if decided.record.reason == (Denial::RouteUnknown { nearest: None }).code() => {
                let near = near(self.config, self.request.head.path().unwrap_or_default());
                text += &section("route", &[("none".to_owned(), near)]);
            }
            None => {}
        }
        let checks = token::checks(self.config, &self.steps);
        if !checks.is_empty() {
            text += &section("token", &checks);
        }
        if let Some(granting) = self.granting() {
            text += &section("grants: any one admits", &grants::entries(self.config, &granting));
        }
        let cures = self.cures();
        if !cures.is_empty() {
            text += &section("likely cure", &cures);
        }
        End::of(self, decided).told(self.config, text)
    }

    /// What is likely wrong where the request is refused.
    fn cures(&self) -> Vec<Entry> {
        let Some(token) = self.request.token.as_deref() else { return Vec::new() };
        let granting = self.granting();
        let is_granted = granting.as_ref().is_some_and(|granting| {
            let Granting { grants, entry, deployment, claims } = *granting;
            policy::admit(grants, entry, deployment, claims).is_ok()
        });
        let unmet = granting.as_ref().filter(|_| !is_granted);
        cure::entries(self.config, &cure::Said::by(token), &self.steps, unmet)
    }

    /// The route that was found, and what is known of the deployment.
    fn route(&self) -> Option<(&Route, Deployment<'_>)> {
        let (index, named) = self.steps.iter().find_map(|step| match step {
            Step::Route(index, deployment) => Some((index, deployment.as_deref())),
            _ => None,
        })?;
        let route = self.config.routes.get(index.0)?;
        let deployment = match (route.deployment, &self.request.model) {
            (DeploymentPlace::Path, _) => named.into(),
            (DeploymentPlace::Query, _) => {
                self.request.head.deployment_in_query().unwrap_or_default().into()
            }
            (DeploymentPlace::Body, _) if !self.request.head.has_body() => Deployment::Unnamed,
            (DeploymentPlace::Body, Some(Ok(model))) => model.as_deref().into(),
            (DeploymentPlace::Body, Some(Err(_)) | None) => Deployment::Unread,
        };
        Some((route, deployment))
    }

    /// What the grants of the route are checked against, if the token could be read.
    fn granting(&self) -> Option<Granting<'_>> {
        let (route, deployment) = self.route()?;
        let Access::Granted { grants, .. } = &route.access else { return None };
        self.steps.iter().find_map(|step| match step {
            Step::Grants { entry, claims, .. } => {
                Some(Granting { grants, entry: *entry, deployment, claims })
            }
            _ => None,
        })
    }
}

fn section(heading: &str, entries: &[Entry]) -> String {
    format!("{heading}\n{}\n", summary::aligned(entries))
}

fn matched(route: &Route, deployment: Deployment<'_>) -> Vec<String> {
    let mut lines = summary::routes::matching(route);
    match deployment {
        Deployment::Named(name) => lines.push(format!("deployment {name}")),
        Deployment::Unnamed => {}
        Deployment::Unread => lines.push("deployment: the model in the body".to_owned()),
    }
    lines
}

/// The routes that are for this path, and for another method or host.
fn near(config: &Config, path: &str) -> Vec<String> {
    let is_near = |route: &&Route| route.matches(path).is_some();
    let near = config.routes.iter().filter(is_near);
    let line = |route: &Route| {
        format!("{} has the path: {}", route.name, summary::routes::matching(route).join(" "))
    };
    let lines: Vec<_> = near.map(line).collect();
    if lines.is_empty() { vec!["no route has this path".to_owned()] } else { lines }
}

fn time(text: &str) -> Result<SystemTime, TimeError> {
    if let Ok(seconds) = text.parse() {
        let time = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        return time.ok_or(TimeError::OutOfRange);
    }
    Ok(humantime::parse_rfc3339_weak(text)?)
}
