//! Grant by grant: what holds, and what is missing.

use keyless_core::config::Config;
use keyless_core::denial::Denial;
use keyless_core::jwt::Claims;
use keyless_core::policy::{self, Deployment, Grant, Unmet};

use crate::words::{Entry, joined, routes};

/// What came of the grants.
pub(super) struct Judged {
    pub(super) entries: Vec<Entry>,
    /// What the gate would say, if none holds.
    pub(super) refusal: Option<Denial>,
}

/// Judges the grants of a route.
pub(super) fn judged(
    config: &Config,
    grants: &[Grant],
    issuer: usize,
    deployment: Deployment<'_>,
    claims: &Claims,
) -> Judged {
    let entry = |(at, grant): (usize, &Grant)| {
        let unmet: Vec<_> = policy::unmet(grant, issuer, deployment, claims).collect();
        let verdict = if unmet.is_empty() { "HOLDS" } else { "does not hold" };
        let mut lines = vec![verdict.to_owned()];
        if deployment == Deployment::Unread && !grant.deployments.is_empty() {
            let deployments = joined(&grant.deployments, "or");
            lines[0] = format!("{verdict}, if the body's model is {deployments}");
        }
        lines.extend(conditions(config, grant, &unmet, deployment, claims).into_iter().map(
            |(is_met, condition)| {
                let word = if is_met { "has  " } else { "LACKS" };
                format!("  {word}  {condition}")
            },
        ));
        (format!("allow[{at}]"), lines)
    };
    let entries = grants.iter().enumerate().map(entry).collect();
    let refusal = policy::admit(grants, issuer, deployment, claims).err();
    Judged { entries, refusal }
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
    let wanted = grant.claims.iter();
    conditions.extend(
        wanted.map(|(name, values)| (claims.has(name, values), routes::claim(name, values))),
    );
    let roles = grant.roles.iter();
    conditions.extend(roles.map(|role| (claims.has_role(role), format!("role {role}"))));
    let scopes = grant.scopes.iter();
    conditions.extend(scopes.map(|scope| (claims.has_scope(scope), format!("scope {scope}"))));
    conditions
}
