//! Where the gateway's tokens are made, whoever hands them out.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use serde_json::json;
use uuid::Uuid;

use crate::clock;

/// Issues tokens for one service, and knows again what others of the same ledger issued; clones are
/// handles on the same one.
#[derive(Clone)]
pub(crate) struct Mint {
    by: &'static str,
    ledger: Arc<Mutex<Vec<Issued>>>,
    terms: Arc<Mutex<Terms>>,
}

/// A token that was issued, and what its answer says of it.
#[derive(Clone)]
pub(crate) struct Issued {
    by: &'static str,
    expires: SystemTime,
    pub(crate) expires_on: u64,
    pub(crate) lifetime: Duration,
    pub(crate) not_before: u64,
    pub(crate) refresh_in: Option<Duration>,
    pub(crate) resource: String,
    pub(crate) token: String,
}

struct Terms {
    lifetime: Duration,
    refresh_in: Option<Duration>,
}

impl Mint {
    /// Begins a ledger.
    pub(crate) fn new(by: &'static str, lifetime: Duration) -> Self {
        let terms = Arc::new(Mutex::new(Terms { lifetime, refresh_in: None }));
        Self { by, ledger: Arc::default(), terms }
    }

    /// Makes a mint for another service that shares the ledger.
    pub(crate) fn beside(&self, by: &'static str, lifetime: Duration) -> Self {
        Self { ledger: Arc::clone(&self.ledger), ..Self::new(by, lifetime) }
    }

    pub(crate) fn set_lifetime(&self, lifetime: Duration) {
        self.terms.lock().lifetime = lifetime;
    }

    pub(crate) fn set_refresh_in(&self, refresh_in: Option<Duration>) {
        self.terms.lock().refresh_in = refresh_in;
    }

    /// Issues a new token.
    pub(crate) fn issue(&self, resource: &str) -> Issued {
        let Terms { lifetime, refresh_in } = *self.terms.lock();
        let now = SystemTime::now();
        let expires = now + lifetime;
        let (not_before, expires_on) = (clock::seconds(now), clock::seconds(expires));
        let issued = Issued {
            by: self.by,
            expires,
            expires_on,
            lifetime,
            not_before,
            refresh_in,
            resource: resource.to_owned(),
            token: access_token(resource, not_before, expires_on),
        };
        self.ledger.lock().push(issued.clone());
        issued
    }

    /// Returns the tokens that this service has issued, oldest first.
    pub(crate) fn issued(&self) -> Vec<String> {
        let ledger = self.ledger.lock();
        let own = ledger.iter().filter(|issued| issued.by == self.by);
        own.map(|issued| issued.token.clone()).collect()
    }

    /// Returns true if any service of this ledger issued `token` for exactly this `resource`, and
    /// the token has not expired.
    pub(crate) fn accepts(&self, token: &str, resource: &str) -> bool {
        let now = SystemTime::now();
        let ledger = self.ledger.lock();
        // Newest first: that is the one in use.
        let issued = ledger.iter().rev().find(|issued| issued.token == token);
        issued.is_some_and(|issued| issued.resource == resource && now < issued.expires)
    }
}

/// Makes what looks like a token of Entra. Nobody can verify it, and nobody should: to the gateway
/// the backend's token is opaque.
fn access_token(resource: &str, not_before: u64, expires_on: u64) -> String {
    let uti = Uuid::new_v4().to_string();
    let claims = json!({ "aud": resource, "nbf": not_before, "exp": expires_on, "uti": uti });
    let claims = claims.to_string();
    let signature: [u8; 256] = rand::random();
    let parts = [HEADER.as_bytes(), claims.as_bytes(), &signature];
    parts.map(|part| BASE64_URL_SAFE_NO_PAD.encode(part)).join(".")
}

/// The header of an unmistakable token: it begins with `eyJ0eXAi`.
const HEADER: &str = r#"{"typ":"JWT","alg":"RS256"}"#;

/// Gives a type with a field `mint: Mint` the methods of every service that issues tokens.
macro_rules! issues {
    ($name:ident) => {
        impl $name {
            /// Sets how long tokens issued from now on are good for. Answers name it in whole
            /// seconds.
            pub fn set_lifetime(&self, lifetime: std::time::Duration) {
                self.mint.set_lifetime(lifetime);
            }

            /// Sets the `refresh_in` of tokens issued from now on, in whole seconds. Default: none.
            pub fn set_refresh_in(&self, refresh_in: Option<std::time::Duration>) {
                self.mint.set_refresh_in(refresh_in);
            }

            /// Returns the access tokens that it has issued, oldest first.
            pub fn issued(&self) -> Vec<String> {
                self.mint.issued()
            }
        }
    };
}
pub(crate) use issues;
