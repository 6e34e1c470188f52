//! One row of the published vectors, and what this project makes of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyless_core::config::Config;
use keyless_core::denial::Denial;
use keyless_core::jwks::KeySet;
use keyless_core::jwt::{Issuer, Token};
use keyless_core::signature::{Algorithm, Crypto, Sandbox};
use serde::Deserialize;
use serde_json::{Value, json};

/// A published token and what its source makes of it; `data/README.md` describes the members.
#[derive(Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    #[serde(rename = "expect_public_keys_only")]
    pub(crate) expect: Verdict,
    layer: Layer,
    now: Option<u64>,
    skew: u64,
    issuer: Option<String>,
    audience: Option<Vec<String>>,
    jwks: Option<Value>,
    token: String,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Accept,
    Reject,
}

/// How much of a token the source vouches for.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Layer {
    Claims,
    Jws,
    Jwt,
    Parse,
}

/// What this project says: `ok`, the code of a denial, or `-` where the layer does not ask.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Outcome {
    /// Of the whole token: its form, its claims and its signature.
    pub(crate) token: &'static str,
    /// Of its signature alone, whatever it is that was signed.
    pub(crate) signature: &'static str,
}

/// What a token says, in header and claims; `null` where that is no JSON.
pub(crate) struct Parts {
    pub(crate) header: Value,
    pub(crate) claims: Value,
    /// The clock of the row.
    pub(crate) now: Option<u64>,
}

const NOT_ASKED: &str = "-";

impl Outcome {
    /// Every layer that was asked says `ok`.
    pub(crate) fn is_accepted(self) -> bool {
        [self.token, self.signature].iter().all(|said| ["ok", NOT_ASKED].contains(said))
    }
}

impl Row {
    pub(crate) fn outcome(&self) -> Outcome {
        match self.layer {
            Layer::Claims => Outcome { token: code(self.claims()), signature: NOT_ASKED },
            Layer::Jws => Outcome { token: NOT_ASKED, signature: code(self.signature()) },
            Layer::Jwt => Outcome { token: code(self.token()), signature: code(self.signature()) },
            Layer::Parse => Outcome { token: code(self.form()), signature: NOT_ASKED },
        }
    }

    pub(crate) fn parts(&self) -> Parts {
        let mut parts = self.token.split('.').map(|part| {
            let bytes = decoded(part).unwrap_or_default();
            serde_json::from_slice(&bytes).unwrap_or_default()
        });
        let mut next = || parts.next().unwrap_or_default();
        Parts { header: next(), claims: next(), now: self.now }
    }

    fn form(&self) -> Result<(), Denial> {
        Token::parse(&self.token).map(drop)
    }

    /// The signatures of these rows are not even base64url, so another stands in their place.
    fn claims(&self) -> Result<(), Denial> {
        let (signed, _) = self.token.rsplit_once('.').unwrap();
        let text = format!("{signed}.c2lnbmF0dXJl");
        self.check(&Token::parse(&text)?)
    }

    fn token(&self) -> Result<(), Denial> {
        let token = Token::parse(&self.token)?;
        self.check(&token)?;
        token.verify(&self.keys()?, &Sandbox).map(drop)
    }

    /// Whether the token's own method finds the signature valid, whatever its claims are worth;
    /// nothing where it is no token to begin with.
    pub(crate) fn verified(&self) -> Option<bool> {
        let token = Token::parse(&self.token).ok()?;
        Some(token.verify(&self.keys().ok()?, &Sandbox).is_ok())
    }

    fn check(&self, token: &Token<'_>) -> Result<(), Denial> {
        let issuer = self.trusted(token.issuer());
        if !issuer.accepted.iter().any(|accepted| accepted == token.issuer()) {
            return Err(Denial::IssuerUnknown);
        }
        token.check(&issuer, self.now())
    }

    /// The signature of any payload, JSON or not: the steps of `Token::verify` without a token.
    fn signature(&self) -> Result<(), Denial> {
        let (signed, signature) = self.token.rsplit_once('.').ok_or(Denial::TokenMalformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Denial::TokenMalformed)?;
        let (header, signature) = (decoded(header)?, decoded(signature)?);
        decoded(payload)?;
        let header: Value = serde_json::from_slice(&header).map_err(|_| Denial::TokenMalformed)?;
        let named = |name| header.get(name).and_then(Value::as_str);
        let algorithm = named("alg").and_then(Algorithm::named);
        let algorithm = algorithm.ok_or(Denial::AlgorithmForbidden)?;
        let keys = self.keys()?;
        let mut candidates = keys.candidates(named("kid"), algorithm).peekable();
        candidates.peek().ok_or(Denial::KeyUnknown)?;
        candidates
            .any(|key| Sandbox.verify(algorithm, key, signed.as_bytes(), &signature))
            .then_some(())
            .ok_or(Denial::SignatureInvalid)
    }

    fn keys(&self) -> Result<KeySet, Denial> {
        let document = self.jwks.as_ref().map(Value::to_string).unwrap_or_default();
        KeySet::parse(document.as_bytes(), None)
            .map_err(|_| Denial::KeysUnavailable { retry_after: Duration::ZERO })
    }

    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.now.unwrap())
    }

    /// The issuer that the row means: where it names none, the token's own issuer and audience.
    fn trusted(&self, own: &str) -> Issuer {
        let audiences = self.audience.clone().unwrap_or_else(|| self.own_audiences());
        issuer(json!({
            "issuer": self.issuer.as_deref().unwrap_or(own),
            "audiences": audiences,
            "algorithms": Algorithm::ALL.map(|(name, _)| name),
            "leeway": format!("{}s", self.skew),
        }))
    }

    /// What `aud` names; where there is none, some audience, since an issuer must have one.
    fn own_audiences(&self) -> Vec<String> {
        match &self.parts().claims["aud"] {
            Value::String(audience) => vec![audience.clone()],
            Value::Array(list) => list.iter().map(|one| one.as_str().unwrap().to_owned()).collect(),
            Value::Null => vec!["somebody".to_owned()],
            other @ (Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
                panic!("aud: {other}")
            }
        }
    }
}

/// Makes a configuration of one issuer, whose keys nobody will fetch.
pub(crate) fn document(mut entry: Value) -> Value {
    entry["name"] = json!("vectors");
    entry["jwks"] = json!({ "cluster": "idp", "uri": "https://idp.example.com/" });
    let matching = json!({ "methods": ["GET"], "path": "/" });
    json!({
        "issuers": [entry],
        "routes": [{ "name": "all", "match": matching, "allow": [{}] }]
    })
}

/// Makes an issuer of its entry in the configuration.
pub(crate) fn issuer(entry: Value) -> Issuer {
    Config::parse(document(entry).to_string().as_bytes()).unwrap().issuers.remove(0)
}

pub(crate) fn code(result: Result<(), Denial>) -> &'static str {
    result.map_or_else(|denial| denial.code(), |()| "ok")
}

fn decoded(part: &str) -> Result<Vec<u8>, Denial> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Denial::TokenMalformed)
}
