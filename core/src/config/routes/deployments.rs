//! What a route says of deployments: where their names stand, and which there are.

use crate::config::{Error, Errors};
use crate::policy::{Access, DeploymentPlace, PathPattern, Route};

/// What makes requests of a route name a deployment.
pub(super) const NAMED: &str = "a segment {deployment} in `match.path`, or \"body.model\" or \
                                \"query\" as the route's `deployment`";

/// Checks that a deployment stands in one place, where the backend reads it, too.
pub(super) fn check_place(
    path: &str,
    place: DeploymentPlace,
    patterns: &[PathPattern],
    methods: &[String],
) -> Result<(), Error> {
    let path = format!("{path}.deployment");
    let word = match place {
        DeploymentPlace::Path => return Ok(()),
        DeploymentPlace::Body => "body",
        DeploymentPlace::Query => "query",
    };
    if patterns.iter().any(PathPattern::names_deployment) {
        let expected = format!("the deployment in `match.path` or in the {word}");
        return Err(Error::new(path, expected, "it in both"));
    }
    if place == DeploymentPlace::Query && methods.iter().any(|method| method != "GET") {
        let expected = "the method GET alone beside \"query\"";
        return Err(Error::new(path, expected, "one whose body could name another model"));
    }
    let is_in_messages = |pattern| covers(pattern, &NAMING_IN_MESSAGES).is_some();
    if place == DeploymentPlace::Query && patterns.iter().any(is_in_messages) {
        let expected = "a narrower `match.path` beside \"query\", such as \"/openai/v1/realtime\"";
        return Err(Error::new(path, expected, "one where each message names a model"));
    }
    patterns.iter().find_map(naming_a_deployment).map_or(Ok(()), |covered| {
        let expected = match place {
            DeploymentPlace::Body | DeploymentPlace::Path => {
                "a narrower `match.path` beside \"body.model\", such as \"/openai/v1/{*rest}\""
            }
            DeploymentPlace::Query => {
                "a narrower `match.path` beside \"query\", such as \"/openai/v1/realtime\""
            }
        };
        let found =
            format!("one that covers {covered}, where Azure reads the deployment in the path");
        Err(Error::new(path, expected, found))
    })
}

/// Checks what a route does with the name of a deployment against the rest of it.
pub(super) fn check(path: &str, route: &Route, errors: &mut Errors) {
    let Access::Granted { grants, forward_claims, .. } = &route.access else { return };
    let keys = [
        ("deployment_header", route.deployment_header.is_some()),
        ("deployments", !route.deployments.is_empty()),
    ];
    for (key, _) in keys.into_iter().filter(|(_, is_there)| *is_there && !route.names_deployment())
    {
        errors.add(Error::new(format!("{path}.{key}"), NAMED, "neither"));
    }
    let header = route.deployment_header.as_ref();
    if forward_claims.iter().any(|(name, _)| Some(name) == header) {
        let expected = "a header that `forward_claims` does not set";
        errors.add(Error::new(format!("{path}.deployment_header"), expected, "one of those"));
    }
    for (at, grant) in grants.iter().enumerate().filter(|_| !route.deployments.is_empty()) {
        for name in grant.deployments.iter().filter(|name| !route.deployments.contains(name)) {
            let path = format!("{path}.allow[{at}].deployments");
            let expected = "only names of the route's `deployments`";
            errors.add(Error::new(path, expected, format_args!("{name:?}")));
        }
    }
}

/// Returns what the pattern covers of the paths where Azure reads the deployment's name itself, in
/// whatever case.
fn naming_a_deployment(path: &PathPattern) -> Option<&str> {
    let lower = path.as_str().to_ascii_lowercase();
    let is_literal = lower.split('/').any(|segment| segment == "deployments");
    if is_literal { Some(path.as_str()) } else { covers(path, &NAMING_DEPLOYMENTS) }
}

/// Returns the first of these paths that the pattern covers, in whatever case.
fn covers(path: &PathPattern, paths: &[&'static str]) -> Option<&'static str> {
    let pattern = PathPattern::parse(&path.as_str().to_ascii_lowercase())?;
    paths.iter().copied().find(|one| pattern.matches(one).is_some())
}

/// Paths of Azure OpenAI that name a deployment, in each length that there is.
const NAMING_DEPLOYMENTS: [&str; 4] = [
    "/openai/deployments/gpt",
    "/openai/deployments/gpt/embeddings",
    "/openai/deployments/gpt/chat/completions",
    "/openai/deployments/gpt/extensions/chat/completions",
];

/// Paths where a WebSocket's messages name a model, each its own.
const NAMING_IN_MESSAGES: [&str; 2] = ["/openai/v1/responses", "/openai/responses"];
