//! The steps of a decision, for whoever asks why a request was refused.

use crate::denial::Denial;
use crate::jwt::EntryIndex;
use crate::jwt::{Claims, IssuerIndex};
use crate::policy::RouteIndex;

/// Hears of the steps of a decision in the order in which they are made.
///
/// A decision ends at the first step that fails, so a trace may end early.
pub trait Trace {
    /// Hears of a step; one that does not listen never has it made.
    fn hear(&mut self, step: impl FnOnce() -> Step);
}

/// Says what one step came to.
#[derive(Debug)]
pub enum Step {
    /// The calling application is one that the issuer's entry lists; only where it lists any.
    Client(Result<(), Denial>),
    /// `Authorization` holds one bearer token.
    Credential(Result<(), Denial>),
    /// The credential is a signed JWT.
    Form(Result<(), Denial>),
    /// A grant of the route may hold for this deployment and these claims.
    Grants {
        /// The route whose grants these are.
        route: RouteIndex,
        /// The entry of the token's issuer.
        entry: EntryIndex,
        /// What the token says, verified or not.
        claims: Claims,
    },
    /// `iss` selects an issuer.
    Issuer(Result<IssuerIndex, Denial>),
    /// A check of the token that needs no key, by the claim or header parameter that it is about.
    Registered(&'static str, Result<(), Denial>),
    /// A route matches, and its path names this deployment, if any.
    Route(RouteIndex, Option<String>),
    /// The signature is that of one of the issuer's keys.
    Signature(Result<(), Denial>),
    /// There are no keys to verify the signature with.
    SignatureUnchecked,
}

/// Listens to nothing: the trace of the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoTrace;

impl Trace for NoTrace {
    fn hear(&mut self, _: impl FnOnce() -> Step) {}
}

impl Trace for Vec<Step> {
    fn hear(&mut self, step: impl FnOnce() -> Step) {
        self.push(step());
    }
}
