//! The one place that turns a reason into a reply.
//!
//! Statuses and challenges follow RFC 6750 §3; the body has the shape of OpenAI's errors, because
//! the OpenAI SDKs show it to their users. Nothing here ever holds a token, a key or a claim's
//! value.

mod exhausted;

use std::borrow::Cow;
use std::time::Duration;

use serde_json::json;

use crate::http::Reply;
pub use exhausted::{Exhausted, REQUESTS_HEADERS, TOKENS_HEADERS, whole_seconds};

/// Describes one reason in the table that the program `keyless docs` prints.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reason {
    /// The stable code that body, log, metric and filter state share.
    pub code: &'static str,
    /// What the caller reads, unless the reply names what the caller asked for.
    pub message: &'static str,
    /// When it happens, in one line of Markdown.
    pub meaning: &'static str,
    kind: Kind,
}

/// Makes [`Denial`] and its table from one row for each reason: the meaning as doc comment, the
/// variant, its code, its kind and its message.
macro_rules! denials {
    ($(
        $(#[doc = $meaning:literal])+
        $variant:ident $({ $($field:tt)+ })? = $code:literal, $kind:ident, $message:literal;
    )+) => {
        /// Names why a request goes no further; the only source of replies.
        #[derive(Clone, Debug, Eq, PartialEq)]
        pub enum Denial {
            $($(#[doc = $meaning])+ $variant $({ $($field)+ })?,)+
        }

        impl Denial {
            /// Holds all reasons, in the order in which a request meets them.
            pub const ALL: &[Reason] = &[$(Reason {
                code: $code,
                message: $message,
                meaning: concat!($($meaning),+).trim_ascii_start(),
                kind: Kind::$kind,
            }),+];

            /// Returns the code, the message and the kind of this reason.
            fn row(&self) -> (&'static str, &'static str, Kind) {
                match self {
                    $(Self::$variant { .. } => ($code, $message, Kind::$kind),)+
                }
            }
        }
    };
}

denials! {
    /// no token where the route's `credential` lets one stand, or another scheme than `Bearer`
    TokenMissing {
        /// How to send one.
        places: Vec<&'static str>
    } = "token_missing", Unauthenticated,
        "Send a token as 'Authorization: Bearer'.";
    /// more than one credential, or a comma in it
    AuthorizationAmbiguous = "authorization_ambiguous", InvalidRequest,
        "The request has more than one credential.";
    /// not `Bearer` and one token
    AuthorizationMalformed = "authorization_malformed", InvalidRequest,
        "The Authorization header must be 'Bearer' and one token.";
    /// longer than 16 KiB
    TokenTooLarge = "token_too_large", InvalidRequest,
        "The token is too large.";
    /// an ambiguous path: `//`, `.` and `..`, `;`, `\`, escapes of `/` and of what needs none, or longer than 2048 bytes
    PathRefused {
        /// What is wrong with it, as the gateway says it.
        fault: &'static str
    } = "path_refused", BadRequest,
        "The path is ambiguous or too long; send it normalized.";
    /// no route matches this method, host and path; the message names the nearest
    RouteUnknown {
        /// The methods and the pattern of the nearest route, as they were configured.
        nearest: Option<String>
    } = "route_unknown", NotFound,
        "No route matches this request.";
    /// not a signed JWT, or a duplicate member, or non-canonical base64url
    TokenMalformed = "token_malformed", InvalidToken,
        "The credential is not a signed JWT.";
    /// an encrypted JWT, five parts (RFC 7516)
    TokenEncrypted = "token_encrypted", InvalidToken,
        "The credential is an encrypted JWT, which only a signed JWT can replace.";
    /// the header's `kid` is not a string, or is longer than 256 bytes
    KidMalformed = "kid_malformed", InvalidToken,
        "The token's header parameter 'kid' is not a string or is too long.";
    /// the header has `crit` (RFC 7515 §4.1.11: an extension that is not understood is refused)
    ExtensionUnsupported = "extension_unsupported", InvalidToken,
        "The token requires an extension that is not supported.";
    /// `alg` is not one of the entry's, or the key is for another
    AlgorithmForbidden = "algorithm_forbidden", InvalidToken,
        "The token's algorithm is not allowed.";
    /// `typ` is not one of the entry's
    TypeForbidden = "type_forbidden", InvalidToken,
        "The token's type is not allowed.";
    /// `iss` or `exp` is missing, or a registered claim has the wrong type
    ClaimsMalformed {
        /// The registered claim; never one of the configuration's, nor a value.
        claim: &'static str
    } = "claims_malformed", InvalidToken,
        "A claim of the token is missing or has the wrong type.";
    /// no entry has this `iss`
    IssuerUnknown = "issuer_unknown", InvalidToken,
        "The token's issuer is not trusted.";
    /// `tid` is not the issuer's tenant
    TenantMismatch = "tenant_mismatch", InvalidToken,
        "The token's tenant does not match its issuer.";
    /// `aud` is missing or has none of the entry's audiences; the message says which
    AudienceMismatch {
        /// The token has no `aud` at all.
        is_missing: bool
    } = "audience_mismatch", InvalidToken,
        "The token's audience does not match.";
    /// `exp` plus leeway has passed
    TokenExpired = "token_expired", InvalidToken,
        "The token has expired.";
    /// `nbf` or `iat` is later than now plus leeway
    TokenNotYetValid = "token_not_yet_valid", InvalidToken,
        "The token is not valid yet.";
    /// `exp − iat` is above `max_lifetime`
    LifetimeExceeded = "lifetime_exceeded", InvalidToken,
        "The token's lifetime exceeds the allowed maximum.";
    /// the issuer's keys are known, and this `kid` is not among them
    KeyUnknown = "key_unknown", InvalidToken,
        "The token's key is not in its issuer's key set.";
    /// the signature is not valid for the key
    SignatureInvalid = "signature_invalid", InvalidToken,
        "The token's signature is not valid.";
    /// the route reads the body, which is not `application/json` or `multipart/form-data`, or is compressed
    BodyUnsupported = "body_unsupported", Unsupported,
        "The body must be application/json or multipart/form-data, and not compressed.";
    /// the route reads the body, which is larger than 32 MiB
    BodyTooLarge = "body_too_large", TooLarge,
        "The body is too large.";
    /// the route reads the body, which stalled for 10 s or was incomplete after a minute
    BodyLate = "body_late", Late,
        "The body did not arrive in time.";
    /// the route reads the body, which is neither a JSON object nor an unambiguous form
    BodyMalformed = "body_malformed", BadRequest,
        "The body is neither a JSON object nor an unambiguous form.";
    /// the model, in the body or in the query, is a duplicate, in another case, or not one plain string
    ModelMalformed = "model_malformed", BadRequest,
        "The request must name exactly one model, as a plain string.";
    /// no model is named, and every grant that would match is for certain deployments, or the route is
    ModelMissing = "model_missing", BadRequest,
        "The request must name a model that the caller may use.";
    /// the route's `deployments` do not have the model; the message names it, if its name is plain
    ModelNotFound {
        /// Its name, as the caller wrote it.
        deployment: String
    } = "model_not_found", NotFound,
        "The model does not exist or you do not have access to it.";
    /// the calling application is not listed
    ClientForbidden = "client_forbidden", Forbidden,
        "The client application is not allowed.";
    /// no grant is for this issuer
    IssuerForbidden = "issuer_forbidden", Forbidden,
        "The token's issuer is not allowed on this route.";
    /// a claim has none of the required values
    ClaimMissing = "claim_missing", Forbidden,
        "The token is missing a required claim.";
    /// a role is missing
    RoleMissing = "role_missing", Forbidden,
        "The token is missing a required role.";
    /// the deployment is not granted; the message names it, if its name is plain
    DeploymentForbidden {
        /// Its name, as the caller wrote it.
        deployment: String
    } = "deployment_forbidden", Forbidden,
        "The caller is not allowed to use this deployment.";
    /// a scope is missing; `scope="…"` names those of the closest grant
    ScopeMissing {
        /// The scopes of that grant.
        scopes: Vec<String>
    } = "scope_missing", Forbidden,
        "The token is missing a required scope.";
    /// a limit on requests is used up; the message says which and when it begins again; `Retry-After`
    RequestsExhausted {
        /// The limit that ends last.
        exhausted: Exhausted
    } = "requests_exhausted", RequestsLimit,
        "A limit on requests is used up.";
    /// a limit on tokens is used up; `Retry-After`
    TokensExhausted {
        /// The limit that ends last.
        exhausted: Exhausted
    } = "tokens_exhausted", TokensLimit,
        "A limit on tokens is used up.";
    /// a limit on cost is used up; `Retry-After`
    BudgetExhausted {
        /// The limit that ends last.
        exhausted: Exhausted
    } = "budget_exhausted", BudgetLimit,
        "A limit on cost is used up.";
    /// gateway's side: the service that counts for all gateways is away, and `ledger.unavailable` is `refuse`; `Retry-After`
    LimitsUnavailable {
        /// The time until the next try.
        retry_after: Duration
    } = "limits_unavailable", Unavailable,
        "What is left of the limits is temporarily unknown.";
    /// gateway's side: no keys of the issuer; `Retry-After`
    KeysUnavailable {
        /// The time until the next try.
        retry_after: Duration
    } = "keys_unavailable", Unavailable,
        "The keys of the token's issuer are temporarily unavailable.";
    /// gateway's side: Envoy could not apply the decision, or there is no valid configuration; `Retry-After`
    GatewayError = "gateway_error", Unavailable,
        "The gateway failed to process this request.";
    /// gateway's side: the backend answered 401 to the gateway's identity token; the caller's own token was valid
    IdentityRejected = "identity_rejected", BadGateway,
        "The backend rejected the gateway's identity; your own token is valid.";
    /// gateway's side: 512 requests of this worker already wait for their bodies, the maximum; `Retry-After`
    TooManyWaiting {
        /// The time until the caller should try again.
        retry_after: Duration
    } = "too_many_waiting", Unavailable,
        "Too many requests are waiting at the gateway.";
    /// gateway's side: no identity token; `Retry-After`
    IdentityUnavailable {
        /// The time until the next try.
        retry_after: Duration
    } = "identity_unavailable", Unavailable,
        "The gateway's identity token is temporarily unavailable.";
}

/// When to try again after a fault of the gateway itself.
const GATEWAY_ERROR_RETRY: Duration = Duration::from_secs(1);

/// The `realm` of every challenge.
const REALM: &str = "keyless";

/// Who has to act, and with it the status, the challenge and OpenAI's `type`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// 400: the credential cannot be read (RFC 6750 `invalid_request`).
    InvalidRequest,
    /// 400 that has nothing to do with the credential.
    BadRequest,
    /// 401 without an error code: no credential was sent (RFC 6750 §3.1).
    Unauthenticated,
    /// 401: the token is not valid (RFC 6750 `invalid_token`).
    InvalidToken,
    /// 403: the token is valid and does not suffice (RFC 6750 `insufficient_scope`).
    Forbidden,
    /// 404.
    NotFound,
    /// 408.
    Late,
    /// 413.
    TooLarge,
    /// 415.
    Unsupported,
    /// 429, of requests.
    RequestsLimit,
    /// 429, of tokens.
    TokensLimit,
    /// 429, of money.
    BudgetLimit,
    /// 502: it is between the gateway and the backend.
    BadGateway,
    /// 503: the gateway's side, and temporary.
    Unavailable,
}

impl Reason {
    /// Returns the HTTP status.
    pub fn status(&self) -> u16 {
        self.kind.status().0
    }

    /// Returns the challenge's `error` (RFC 6750 §3.1), empty for a challenge without one; `None`
    /// if the reply has no challenge.
    pub fn challenge(&self) -> Option<&'static str> {
        self.kind.challenge()
    }
}

impl Denial {
    /// Returns the stable code that body, log, metric and filter state share.
    pub fn code(&self) -> &'static str {
        self.row().0
    }

    /// Returns true if there is no identity token that the backend would accept.
    pub fn is_about_identity(&self) -> bool {
        matches!(self, Self::IdentityRejected | Self::IdentityUnavailable { .. })
    }

    /// Returns the reply for this reason.
    pub fn reply(&self) -> Reply {
        let (code, _, kind) = self.row();
        let message = &*self.message();
        let (status, class) = kind.status();
        let body =
            json!({"error": {"code": code, "message": message, "type": class, "param": null}});
        let mut reply = Reply::json(status, body.to_string());
        reply.headers.extend(self.challenge(message).map(|value| ("www-authenticate", value)));
        reply.headers.extend(self.retry_after().map(|value| ("retry-after", value)));
        reply.headers.extend(self.rate_limit());
        reply
    }

    /// The message of the table, or one that names what it is about.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others say the same each time")]
    fn message(&self) -> Cow<'static, str> {
        match self {
            Self::AudienceMismatch { is_missing: true } => "The token has no audience.".into(),
            Self::ClaimsMalformed { claim } => {
                format!("The token's claim '{claim}' is missing or has the wrong type.").into()
            }
            Self::DeploymentForbidden { deployment: name } if is_plain(name) => {
                format!("The caller is not allowed to use the deployment '{name}'.").into()
            }
            Self::ModelNotFound { deployment: name } if is_plain(name) => {
                format!("The model '{name}' does not exist or you do not have access to it.").into()
            }
            Self::PathRefused { fault } => {
                format!("The path is refused: {fault}. Send it normalized.").into()
            }
            Self::RouteUnknown { nearest: Some(nearest) } => {
                format!("No route matches this request. The nearest is '{nearest}'.").into()
            }
            Self::TokenMissing { places } if !places.is_empty() => {
                format!("Send a token {}.", places.join(" or ")).into()
            }
            Self::BudgetExhausted { exhausted }
            | Self::RequestsExhausted { exhausted }
            | Self::TokensExhausted { exhausted } => exhausted.message().into(),
            _ => self.row().1.into(),
        }
    }

    /// The value of `WWW-Authenticate` (RFC 6750 §3). Scopes are checked at configuration to need
    /// no quoting (RFC 6749 §3.3).
    fn challenge(&self, message: &str) -> Option<String> {
        let error = self.row().2.challenge()?;
        let mut parts = vec![format!("Bearer realm=\"{REALM}\"")];
        if !error.is_empty() {
            parts.push(format!("error=\"{error}\", error_description=\"{message}\""));
        }
        if let Self::ScopeMissing { scopes } = self
            && !scopes.is_empty()
        {
            parts.push(format!("scope=\"{}\"", scopes.join(" ")));
        }
        Some(parts.join(", "))
    }

    /// The value of `Retry-After`: whole seconds, rounded up, and at least one (RFC 9110 §10.2.3).
    fn retry_after(&self) -> Option<String> {
        let wait = if let Self::IdentityUnavailable { retry_after }
        | Self::KeysUnavailable { retry_after }
        | Self::LimitsUnavailable { retry_after }
        | Self::TooManyWaiting { retry_after } = self
        {
            *retry_after
        } else if let Some(exhausted) = self.limit() {
            exhausted.resets_in
        } else if self.row().2 == Kind::Unavailable {
            GATEWAY_ERROR_RETRY
        } else {
            return None;
        };
        Some(whole_seconds(wait).to_string())
    }

    /// The headers of a limit that is used up.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others are no limits on a number")]
    fn rate_limit(&self) -> Vec<(&'static str, String)> {
        let names = match self {
            Self::RequestsExhausted { .. } => Some(REQUESTS_HEADERS),
            Self::TokensExhausted { .. } => Some(TOKENS_HEADERS),
            _ => None,
        };
        self.limit().map_or_else(Vec::new, |exhausted| exhausted.headers(names))
    }

    /// The limit that is used up.
    fn limit(&self) -> Option<&Exhausted> {
        if let Self::BudgetExhausted { exhausted }
        | Self::RequestsExhausted { exhausted }
        | Self::TokensExhausted { exhausted } = self
        {
            Some(exhausted)
        } else {
            None
        }
    }
}

impl Kind {
    fn status(self) -> (u16, &'static str) {
        match self {
            Self::BadRequest | Self::InvalidRequest => (400, "invalid_request_error"),
            Self::InvalidToken | Self::Unauthenticated => (401, "authentication_error"),
            Self::Forbidden => (403, "permission_error"),
            Self::NotFound => (404, "invalid_request_error"),
            Self::Late => (408, "invalid_request_error"),
            Self::TooLarge => (413, "invalid_request_error"),
            Self::Unsupported => (415, "invalid_request_error"),
            Self::RequestsLimit => (429, "requests"),
            Self::TokensLimit => (429, "tokens"),
            Self::BudgetLimit => (429, "insufficient_quota"),
            Self::BadGateway => (502, "server_error"),
            Self::Unavailable => (503, "server_error"),
        }
    }

    fn challenge(self) -> Option<&'static str> {
        match self {
            Self::Unauthenticated => Some(""),
            Self::InvalidRequest => Some("invalid_request"),
            Self::InvalidToken => Some("invalid_token"),
            Self::Forbidden => Some("insufficient_scope"),
            Self::BadGateway
            | Self::BadRequest
            | Self::BudgetLimit
            | Self::Late
            | Self::NotFound
            | Self::RequestsLimit
            | Self::TokensLimit
            | Self::TooLarge
            | Self::Unavailable
            | Self::Unsupported => None,
        }
    }
}

/// Is this a name as Azure gives them, which can stand in a message and in a quoted string?
fn is_plain(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests;
