//! How an admitted request differs from what the caller sent.

use crate::http::HeaderName;
use crate::identity::{AccessToken, IdentityIndex};
use crate::jwt::{ClaimName, Claims};
use crate::request::Head;
use crate::secret::Secret;

/// Lists the changes to an admitted request, to be made in the order of the fields.
#[derive(Debug)]
pub struct Forward {
    /// The new `:path`, if the query held credentials.
    pub target: Option<Vec<u8>>,
    /// The headers to remove: those that the caller may not set, where it did.
    pub remove: Vec<HeaderName>,
    /// The headers to set, in place of all of that name.
    pub set: Vec<(HeaderName, Secret)>,
    /// The identity whose token it carries.
    pub identity: Option<IdentityIndex>,
}

impl Forward {
    /// Strips what the caller may not send, then sets the gateway's own: the identity token, if the
    /// route has one, and the claims that it forwards.
    pub(super) fn new(
        head: &Head,
        stripped: &[HeaderName],
        token: Option<(IdentityIndex, &AccessToken)>,
        claims: Vec<(HeaderName, Secret)>,
    ) -> Self {
        let mut set = claims;
        let authorization = |(_, token): (_, &AccessToken)| token.authorization().clone();
        set.extend(token.map(|token| (HeaderName::authorization(), authorization(token))));
        let is_set = |name: &HeaderName| set.iter().any(|(other, _)| other == name);
        let remove = head.sent(stripped).filter(|name| !is_set(name)).cloned().collect();
        let identity = token.map(|(index, _)| index);
        Self { target: head.cleaned_target(), remove, set, identity }
    }

    /// Returns true if the request goes on as it came.
    pub fn is_unchanged(&self) -> bool {
        self.target.is_none() && self.remove.is_empty() && self.set.is_empty()
    }
}

/// The headers that a route sets to claims; a claim that is absent or unprintable sets none.
pub(super) fn values(
    wanted: &[(HeaderName, ClaimName)],
    claims: &Claims,
) -> Vec<(HeaderName, Secret)> {
    let value = |claim: &ClaimName| claims.printable(claim).map(Secret::new);
    wanted.iter().filter_map(|(header, claim)| Some((header.clone(), value(claim)?))).collect()
}
