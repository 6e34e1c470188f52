//! The token's checks one by one, by the code that the gate uses.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyless_core::bearer;
use keyless_core::config::Config;
use keyless_core::denial::Denial;
use keyless_core::jwks::{JwksSource, KeySet};
use keyless_core::jwt::{Claims, Issuer, Token};
use keyless_core::signature::Sandbox;

use super::Request;
use super::end::said;
use crate::words::Entry;

/// What came of a token.
#[derive(Default)]
pub(super) struct Trial {
    pub(super) steps: Vec<Entry>,
    /// Why the gate would refuse it: the first step that fails.
    pub(super) refusal: Option<Denial>,
    /// The place of the issuer's entry, and what the token says; `None` if nothing can be judged.
    pub(super) vouched: Option<(usize, Claims)>,
    /// True if the gate would look at the signature, and nobody did.
    pub(super) is_unchecked: bool,
}

/// Looks at the token of a request.
///
/// # Errors
///
/// Says what is wrong with the key set that was given.
pub(super) fn tried(config: &Config, request: &Request) -> Result<Trial, String> {
    let mut trial = Trial::default();
    let Some(token) = trial.parsed(config, request) else { return Ok(trial) };
    let accepts = |issuer: &&Issuer| issuer.accepted.iter().any(|iss| iss == token.issuer());
    let Some(issuer) = config.issuers.iter().find(accepts) else {
        trial.note("issuer", "", Err(Denial::IssuerUnknown));
        return Ok(trial);
    };
    trial.note("issuer", &format!("{} (issuers[{}])", issuer.name, issuer.entry), Ok(()));
    for (name, outcome) in token.checks(issuer, request.now) {
        trial.note(name, "holds", outcome);
    }
    let claims = token.unverified().clone();
    trial.verify(token, issuer, request.jwks.as_deref())?;
    if !issuer.clients.is_empty() {
        let is_listed = issuer.admits_client(claims.client());
        let outcome = if is_listed { Ok(()) } else { Err(Denial::ClientForbidden) };
        trial.note("client", "one that the issuer's entry lists", outcome);
    }
    trial.vouched = Some((issuer.entry, claims));
    Ok(trial)
}

impl Trial {
    fn parsed<'a>(&mut self, config: &Config, request: &'a Request) -> Option<Token<'a>> {
        let values: Vec<&[u8]> = request.authorization.as_deref().into_iter().collect();
        let credential = bearer::credential(&values).and_then(bearer::token);
        self.note("credential", "one token", credential.as_ref().map(|_| ()).map_err(Clone::clone));
        let token = Token::parse_for(credential.ok()?, &config.claims);
        self.note("form", "a signed JWT", token.as_ref().map(|_| ()).map_err(Clone::clone));
        token.ok()
    }

    fn verify(
        &mut self,
        token: Token<'_>,
        issuer: &Issuer,
        jwks: Option<&[u8]>,
    ) -> Result<(), String> {
        let keys = match (&issuer.jwks, jwks) {
            (JwksSource::Inline(keys), _) => keys.clone(),
            (JwksSource::Remote(_), Some(jwks)) => KeySet::parse(jwks, issuer.tenant.as_ref())
                .map_err(|error| format!("the file of --jwks: {error}"))?,
            (JwksSource::Remote(_), None) => {
                let line = "UNCHECKED: the keys are the issuer's; give them with --jwks FILE";
                self.steps.push(("signature".to_owned(), vec![line.to_owned()]));
                self.is_unchecked = self.refusal.is_none();
                return Ok(());
            }
        };
        self.note("signature", "good", token.verify(&keys, &Sandbox).map(drop));
        Ok(())
    }

    fn note(&mut self, name: &str, good: &str, outcome: Result<(), Denial>) {
        let line = match &outcome {
            Ok(()) => good.to_owned(),
            Err(denial) => format!("FAILS: {}", said(denial)),
        };
        self.steps.push((name.to_owned(), vec![line]));
        self.refusal = self.refusal.take().or(outcome.err());
    }
}

/// What a token says, whoever made it.
pub(super) fn payload(authorization: &[u8]) -> Option<String> {
    let payload = authorization.split(|byte| *byte == b'.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    serde_json::to_string_pretty(&claims).ok()
}
