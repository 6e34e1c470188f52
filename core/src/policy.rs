//! Which route a request takes, and whether a token's claims satisfy one of its grants.

mod index;
mod nearest;
mod route;

use crate::denial::Denial;
use crate::jwt::{Claims, EntryIndex};
pub use index::Routes;
pub use route::{Access, DeploymentPlace, Grant, HostPattern, PathPattern, Route};

/// Identifies a route by its place in the configuration.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RouteIndex(pub usize);

/// Holds the route that a request takes.
#[derive(Clone, Copy, Debug)]
pub struct Match<'a, 'r> {
    /// Its place in the configuration.
    pub index: RouteIndex,
    /// The route itself.
    pub route: &'a Route,
    /// The deployment that the path names, where the route's pattern has one.
    pub deployment: Option<&'r str>,
}

/// What is known of the deployment that a request is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Deployment<'r> {
    /// It has this name.
    Named(&'r str),
    /// The request names none.
    Unnamed,
    /// What names it has not been read: any might be meant.
    Unread,
}

/// Looks whether a route is for a method and for a host without its port.
fn is_for(route: &Route, method: &str, host: &str) -> bool {
    route.methods.iter().any(|known| known == method) && route.is_for_host(host)
}

impl<'r> Deployment<'r> {
    /// Returns the name, if it is known.
    pub fn name(self) -> Option<&'r str> {
        match self {
            Self::Named(name) => Some(name),
            Self::Unnamed | Self::Unread => None,
        }
    }
}

impl<'r> From<Option<&'r str>> for Deployment<'r> {
    fn from(name: Option<&'r str>) -> Self {
        name.map_or(Self::Unnamed, Self::Named)
    }
}

/// Admits a caller to a route if any of its grants holds, and if there is such a deployment.
///
/// # Errors
///
/// Those of [`admit`]. Where the route lists its deployments, [`Denial::ModelNotFound`] for another
/// one if a grant holds but for the deployment, and [`Denial::ModelMissing`] if none is named.
pub fn admit_to(
    route: &Route,
    grants: &[Grant],
    issuer: EntryIndex,
    deployment: Deployment<'_>,
    claims: &Claims,
) -> Result<(), Denial> {
    let admit = |deployment| admit(grants, issuer, deployment, claims);
    let lists = |name: &str| route.deployments.iter().any(|one| one == name);
    match deployment {
        _ if route.deployments.is_empty() => admit(deployment),
        // Who has no grant at all learns nothing of what there is.
        Deployment::Named(name) if !lists(name) => admit(Deployment::Unread)
            .and_then(|()| Err(Denial::ModelNotFound { deployment: name.to_owned() })),
        Deployment::Unnamed => admit(deployment).and(Err(Denial::ModelMissing)),
        Deployment::Named(_) | Deployment::Unread => admit(deployment),
    }
}

/// Admits a caller if any grant holds.
///
/// ```
/// # use keyless_core::{denial::Denial, jwt::{EntryIndex, Token}, policy::{Deployment, Grant, admit}};
/// let grant = Grant { deployments: vec!["gpt-4o".to_owned()], ..Grant::default() };
/// # let text = concat!(
/// #     "eyJhbGciOiJFZERTQSIsImtpZCI6ImEifQ.",
/// #     "eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlLmNvbS8iLCJhdWQiOiJhcGki",
/// #     "LCJleHAiOjE3MDAwMDAwNjAsInNjcCI6ImNoYXQifQ.",
/// # );
/// let token = Token::parse(text).unwrap();
/// let claims = token.unverified();
/// let ask = |name| admit(&[grant.clone()], EntryIndex(0), Deployment::Named(name), claims);
/// assert_eq!(ask("gpt-4o"), Ok(()));
/// assert_eq!(ask("o3"), Err(Denial::DeploymentForbidden { deployment: "o3".to_owned() }));
/// ```
///
/// # Errors
///
/// Returns what is missing for the grant that came closest to matching. First comes one that fails
/// for the deployment alone: its caller has probably named the wrong one. Else its hardest unmet condition
/// is the easiest to meet, and of grants that lack scopes only, it lacks the fewest; of equals, the
/// first. So a caller who only needs another scope is told which.
pub fn admit(
    grants: &[Grant],
    issuer: EntryIndex,
    deployment: Deployment<'_>,
    claims: &Claims,
) -> Result<(), Denial> {
    let mut nearest: Option<((bool, Unmet), &Grant)> = None;
    for grant in grants {
        let mut unmet = unmet(grant, issuer, deployment, claims);
        let Some(hardest) = unmet.next() else { return Ok(()) };
        let is_deployment_alone = hardest == Unmet::Deployment && unmet.next().is_none();
        let distance = (!is_deployment_alone, hardest);
        if nearest.is_none_or(|(least, _)| distance < least) {
            nearest = Some((distance, grant));
        }
    }
    Err(match nearest.map(|((_, unmet), grant)| (unmet, grant)) {
        Some((Unmet::Scopes { .. }, grant)) => {
            Denial::ScopeMissing { scopes: grant.scopes.clone() }
        }
        Some((Unmet::Deployment, _)) => match deployment {
            Deployment::Named(name) => Denial::DeploymentForbidden { deployment: name.to_owned() },
            Deployment::Unnamed | Deployment::Unread => Denial::ModelMissing,
        },
        Some((Unmet::Roles, _)) => Denial::RoleMissing,
        Some((Unmet::Claims, _)) => Denial::ClaimMissing,
        Some((Unmet::Client, _)) => Denial::ClientForbidden,
        Some((Unmet::Issuer, _)) | None => Denial::IssuerForbidden,
    })
}

/// Names a condition of a grant that does not hold, by how hard it is for a caller to mend.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Unmet {
    /// [`Grant::scopes`]
    Scopes {
        /// How many of them the token lacks.
        missing: usize,
    },
    /// [`Grant::deployments`]
    Deployment,
    /// [`Grant::roles`]
    Roles,
    /// [`Grant::claims`]
    Claims,
    /// [`Grant::clients`]
    Client,
    /// [`Grant::issuer`]
    Issuer,
}

/// Returns the conditions of a grant that do not hold, the hardest to meet first; the grant holds if
/// there are none.
pub fn unmet(
    grant: &Grant,
    issuer: EntryIndex,
    deployment: Deployment<'_>,
    claims: &Claims,
) -> impl Iterator<Item = Unmet> {
    let lists = |list: &[String], value: Option<&str>| {
        list.is_empty() || value.is_some_and(|value| list.iter().any(|one| one == value))
    };
    let is_granted = match deployment {
        Deployment::Named(name) => lists(&grant.deployments, Some(name)),
        Deployment::Unnamed => grant.deployments.is_empty(),
        Deployment::Unread => true,
    };
    let missing = grant.scopes.iter().filter(|scope| !claims.has_scope(scope)).count();
    let conditions = [
        (Unmet::Issuer, grant.issuer.is_none_or(|entry| entry == issuer)),
        (Unmet::Client, lists(&grant.clients, claims.client())),
        (Unmet::Claims, grant.claims.iter().all(|(name, values)| claims.has(name, values))),
        (Unmet::Roles, grant.roles.iter().all(|role| claims.has_role(role))),
        (Unmet::Deployment, is_granted),
        (Unmet::Scopes { missing }, missing == 0),
    ];
    conditions.into_iter().filter(|(_, holds)| !holds).map(|(unmet, _)| unmet)
}

#[cfg(test)]
mod tests;
