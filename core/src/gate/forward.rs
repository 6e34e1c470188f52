//! How an admitted request differs from what the caller sent.

use super::{Account, Charge};
use crate::credentials::{Pass, Stripped};
use crate::http::HeaderName;
use crate::identity::{AccessToken, IdentityIndex};
use crate::jwt::{ClaimName, Claims};
use crate::limit::Allowance;
use crate::policy::{Deployment, Route};
use crate::request::{Head, PROTOCOLS};
use crate::secret::Secret;

/// The header in which a client names the encodings that it can decode (RFC 9110 §12.5.3).
const ACCEPT_ENCODING: &str = "accept-encoding";

/// Lists the changes to an admitted request, to be made in the order of the fields.
#[derive(Debug)]
pub struct Forward {
    /// The new `:path`, if the query held credentials.
    pub target: Option<Vec<u8>>,
    /// The headers to remove: those that the caller may not set, where it did.
    pub remove: Vec<String>,
    /// The headers to set, in place of all of that name.
    pub set: Vec<(HeaderName, Secret)>,
    /// The identity whose token it carries.
    pub identity: Option<IdentityIndex>,
    /// Whose account its answer goes to, if that is counted.
    pub account: Option<Box<Account>>,
    /// What is left of the tightest limits, for the head of the answer.
    pub allowances: Vec<Allowance>,
    /// The limits that its answer counts for.
    pub(super) charges: Vec<Charge>,
}

impl Forward {
    /// Strips what the caller may not send, then sets the gateway's own: the identity token, if the
    /// route has one, and the claims that it forwards.
    pub(super) fn new(
        head: &Head,
        stripped: &Stripped,
        pass: Option<&Pass>,
        token: Option<(IdentityIndex, &AccessToken)>,
        claims: Vec<(HeaderName, Secret)>,
    ) -> Self {
        let mut set = claims;
        let authorization = |(_, token): (_, &AccessToken)| token.authorization().clone();
        set.extend(token.map(|token| (HeaderName::authorization(), authorization(token))));
        let mut protocols = head.cleaned_protocols();
        let without = protocols.take_if(|kept| kept.is_empty()).map(|_| PROTOCOLS);
        set.extend(protocols.map(|kept| (HeaderName::known(PROTOCOLS), Secret::new(kept))));
        let cookies = pass.and_then(|pass| pass.cookies(head.values("cookie")));
        set.extend(cookies.map(|kept| (HeaderName::known("cookie"), Secret::new(kept))));
        let is_set = |name: &&str| set.iter().any(|(other, _)| other.as_str() == *name);
        let remove = head.stripped(stripped, pass).filter(|name| !is_set(name)).chain(without);
        let mut remove: Vec<_> = remove.collect();
        remove.sort_unstable();
        remove.dedup();
        let remove = remove.into_iter().map(str::to_owned).collect();
        let identity = token.map(|(index, _)| index);
        Self {
            target: head.cleaned_target(stripped),
            remove,
            set,
            identity,
            account: None,
            allowances: Vec::new(),
            charges: Vec::new(),
        }
    }

    /// Has the answer counted, if there is an account. An answer that is encoded cannot be read, so
    /// the backend must not be told that the caller can decode one.
    pub(super) fn counted(mut self, head: &Head, account: Option<Account>) -> Self {
        if account.is_some() && head.values(ACCEPT_ENCODING).next().is_some() {
            self.remove.push(ACCEPT_ENCODING.to_owned());
        }
        let charges = std::mem::take(&mut self.charges);
        self.account = account.map(|account| Box::new(Account { charges, ..account }));
        self
    }

    /// Returns true if the request goes on as it came.
    pub fn is_unchanged(&self) -> bool {
        self.target.is_none() && self.remove.is_empty() && self.set.is_empty()
    }
}

/// The header that tells Envoy's router the deployment, where the route has one.
pub(super) fn deployment(
    route: &Route,
    deployment: Deployment<'_>,
) -> Option<(HeaderName, Secret)> {
    let header = route.deployment_header.clone()?;
    Some((header, Secret::new(deployment.name()?.to_owned())))
}

/// The headers that a route sets to claims; a claim that is absent or unprintable sets none.
pub(super) fn values(
    forward_claims: &[(HeaderName, ClaimName)],
    claims: &Claims,
) -> Vec<(HeaderName, Secret)> {
    let value = |claim: &ClaimName| claims.printable(claim).map(Secret::new);
    forward_claims
        .iter()
        .filter_map(|(header, claim)| Some((header.clone(), value(claim)?)))
        .collect()
}
