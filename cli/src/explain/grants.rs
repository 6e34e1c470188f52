//! Grant by grant: what holds, and what is missing.

use keyless_core::config::Config;
use keyless_core::jwt::{Claims, EntryIndex};
use keyless_core::policy::{self, Deployment, Grant, Unmet};

use crate::summary::{Entry, joined, routes};

/// The grants of a route, and what they are checked against.
pub(super) struct Granting<'a> {
    pub(super) grants: &'a [Grant],
    pub(super) entry: EntryIndex,
    pub(super) deployment: Deployment<'a>,
    pub(super) claims: &'a Claims,
}

/// Returns the lines of each grant.
pub(super) fn entries(config: &Config, granting: &Granting<'_>) -> Vec<Entry> {
    let grants = granting.grants.iter().enumerate();
    grants.map(|(at, grant)| (format!("allow[{at}]"), lines(config, grant, granting))).collect()
}

fn lines(config: &Config, grant: &Grant, granting: &Granting<'_>) -> Vec<String> {
    let Granting { entry, deployment, claims, .. } = *granting;
    let unmet: Vec<_> = policy::unmet(grant, entry, deployment, claims).collect();
    let verdict = if unmet.is_empty() { "HOLDS" } else { "does not hold" };
    let mut lines = vec![verdict.to_owned()];
    if deployment == Deployment::Unread && !grant.deployments.is_empty() {
        let deployments = joined(&grant.deployments, "or");
        lines[0] = format!("{verdict}, if the body's model is {deployments}");
    }
    let conditions = conditions(config, grant, &unmet, deployment, claims).into_iter();
    lines.extend(conditions.map(|(is_met, condition)| {
        let word = if is_met { "has  " } else { "LACKS" };
        format!("  {word}  {condition}")
    }));
    lines
}

/// Each condition of a grant, and whether it is met.
fn conditions(
    config: &Config,
    grant: &Grant,
    unmet: &[Unmet],
    deployment: Deployment<'_>,
    claims: &Claims,
) -> Vec<(bool, String)> {
    let is_met = |condition| !unmet.contains(&condition);
    let mut conditions = Vec::new();
    let issuer = grant.issuer.and_then(|entry| routes::issuer_name(config, entry));
    conditions.extend(issuer.map(|name| (is_met(Unmet::Issuer), format!("issuer {name}"))));
    let mut listed = |words: &str, list: &[String], condition| {
        if !list.is_empty() {
            conditions.push((is_met(condition), format!("{words} {}", joined(list, "or"))));
        }
    };
    listed("application", &grant.clients, Unmet::Client);
    let named = if deployment == Deployment::Unread { &[] } else { &*grant.deployments };
    listed("deployment", named, Unmet::Deployment);
    let expected = grant.claims.iter();
    conditions.extend(
        expected.map(|(name, values)| (claims.has(name, values), routes::claim(name, values))),
    );
    let roles = grant.roles.iter();
    conditions.extend(roles.map(|role| (claims.has_role(role), format!("role {role}"))));
    let scopes = grant.scopes.iter();
    conditions.extend(scopes.map(|scope| (claims.has_scope(scope), format!("scope {scope}"))));
    conditions
}
