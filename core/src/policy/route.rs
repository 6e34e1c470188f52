//! Routes and grants: which requests, and who may make them.

use std::fmt;
use std::rc::Rc;

use matchit::Router;

use crate::bearer::CredentialPlace;
use crate::credentials::Pass;
use crate::http::HeaderName;
use crate::identity::IdentityIndex;
use crate::jwt::{ClaimName, ClaimValue, EntryIndex};
use crate::usage::Counting;

/// Describes which requests a route is for and who may make them.
#[derive(Clone, Debug)]
pub struct Route {
    /// The label in logs and metrics.
    pub name: Rc<str>,
    /// Any host if empty.
    pub hosts: Vec<HostPattern>,
    /// At least one.
    pub methods: Vec<String>,
    /// What the path looks like: one of these, at least one.
    pub paths: Vec<PathPattern>,
    /// Where the deployment's name is read.
    pub deployment: DeploymentPlace,
    /// The header that tells Envoy's router the deployment's name.
    pub deployment_header: Option<HeaderName>,
    /// The deployments that there are; any if empty.
    pub deployments: Vec<String>,
    /// Where a token may stand; at least one place.
    pub credential: Vec<CredentialPlace>,
    /// Browsers may ask whether they may come, without a credential.
    pub cors: bool,
    /// What goes on to the backend although it is removed elsewhere.
    pub pass: Pass,
    /// Whether its answers are read for what they used.
    pub counting: Option<Counting>,
    /// Who may pass.
    pub access: Access,
}

/// Says who may pass a route, and how the request goes on.
#[derive(Clone, Debug)]
pub enum Access {
    /// Those with a token that satisfies a grant.
    Granted {
        /// At least one; any of them admits.
        grants: Vec<Grant>,
        /// The place among the configured identities of the one whose token replaces the caller's.
        identity: Option<IdentityIndex>,
        /// Headers that are set to the value of a claim.
        forward_claims: Vec<(HeaderName, ClaimName)>,
    },
    /// Everybody; the gateway itself answers whether it is ready.
    Health,
    /// Everybody, without any identity.
    Public,
}

/// Lists conditions that must all hold; an empty list holds always.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    /// The place of the issuer's entry in the configuration, which several tenants may share.
    pub issuer: Option<EntryIndex>,
    /// The calling application is one of these.
    pub clients: Vec<String>,
    /// The token carries all of these.
    pub scopes: Vec<String>,
    /// The token carries all of these.
    pub roles: Vec<String>,
    /// Each claim is one of its values, or a list that contains one.
    pub claims: Vec<(ClaimName, Vec<ClaimValue>)>,
    /// The deployment is one of these.
    pub deployments: Vec<String>,
}

/// Says which hosts a route is for: one, or every host below a suffix.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HostPattern {
    /// `api.example.com`
    Exact(String),
    /// `*.example.com`, kept as `.example.com`
    Below(String),
}

/// Says what the path of a route looks like, in the syntax of the `matchit` crate.
#[derive(Clone)]
pub struct PathPattern {
    text: String,
    router: Router<()>,
    names_deployment: bool,
}

/// Says where the deployment's name is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeploymentPlace {
    /// In the request's body: the member or field `model`.
    Body,
    /// In the path: the segment `{deployment}`.
    Path,
    /// In the query: the parameter `deployment` or `model`.
    Query,
}

/// Names the path segment in which a deployment stands.
const DEPLOYMENT: &str = "deployment";

impl Route {
    /// Returns true if the route is for a host, without its port.
    pub fn is_for_host(&self, host: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(host))
    }

    /// Returns true if requests of the route may name a deployment.
    pub fn names_deployment(&self) -> bool {
        match self.deployment {
            DeploymentPlace::Body | DeploymentPlace::Query => true,
            DeploymentPlace::Path => self.paths.iter().all(PathPattern::names_deployment),
        }
    }

    /// Matches a path without its query; gives the deployment if the pattern that it has names one.
    pub fn matches<'a>(&self, path: &'a str) -> Option<Option<&'a str>> {
        self.paths.iter().find_map(|pattern| pattern.matches(path))
    }
}

impl HostPattern {
    /// Parses a host such as `api.example.com` or `*.example.com`, without a port.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, below) = match text.strip_prefix('*') {
            Some(suffix) => (suffix.strip_prefix('.')?, true),
            None => (text, false),
        };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
        let is_name = name.bytes().all(allowed) && name.split('.').all(|label| !label.is_empty());
        let has_port = name.contains(':') && !name.ends_with(']');
        let pattern =
            if below { Self::Below(format!(".{name}")) } else { Self::Exact(name.to_owned()) };
        (is_name && !has_port).then_some(pattern)
    }

    /// Returns true if `host`, without a port, is one of the hosts; case does not matter.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name.eq_ignore_ascii_case(host),
            Self::Below(suffix) => {
                let at = host.len().checked_sub(suffix.len()).filter(|at| *at > 0);
                at.and_then(|at| host.get(at..)).is_some_and(|end| suffix.eq_ignore_ascii_case(end))
            }
        }
    }
}

impl PathPattern {
    /// Parses a pattern such as `/openai/deployments/{deployment}/{*rest}`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut router = Router::new();
        router.insert(text, ()).ok()?;
        let names_deployment = text.split('/').any(|segment| segment == "{deployment}");
        text.starts_with('/').then(|| Self { text: text.to_owned(), router, names_deployment })
    }

    /// Returns the pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns true if the pattern has a segment `{deployment}`.
    pub fn names_deployment(&self) -> bool {
        self.names_deployment
    }

    /// Matches a path without its query; gives the deployment if the pattern names one.
    pub fn matches<'a>(&self, path: &'a str) -> Option<Option<&'a str>> {
        let found = self.router.at(path).ok()?;
        Some(found.params.get(DEPLOYMENT).filter(|_| self.names_deployment))
    }
}

impl fmt::Debug for PathPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PathPattern({:?})", self.text)
    }
}
