//! The one place that turns a reason into a reply.
//!
//! Statuses and challenges follow RFC 6750 §3; the body has the shape of OpenAI's errors, because
//! the OpenAI SDKs show it to their users. Nothing here ever holds a token, a key or a claim's
//! value.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::json;

use crate::http::Reply;

/// Names why a request goes no further; the only source of replies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Denial {
    /// The token's `alg` is not one that its issuer's entry lists.
    AlgorithmForbidden,
    /// The token's `aud` names none of the issuer's audiences.
    AudienceMismatch,
    /// More than one credential was sent.
    AuthorizationAmbiguous,
    /// `Authorization: Bearer` is not followed by exactly one token.
    AuthorizationMalformed,
    /// The body that names the model was not whole in time.
    BodyLate,
    /// The body that names the model has more than one reading, or none.
    BodyMalformed,
    /// The body that names the model is larger than what is read.
    BodyTooLarge,
    /// The body that names the model is of another type than those that are read, or compressed.
    BodyUnsupported,
    /// No grant of the route holds: a claim has none of the wanted values.
    ClaimMissing,
    /// A registered claim is absent or has the wrong type.
    ClaimsMalformed,
    /// No grant of the route names the calling application.
    ClientForbidden,
    /// No grant of the route names the deployment.
    DeploymentForbidden {
        /// Its name, as the caller wrote it.
        deployment: String,
    },
    /// The token's header has `crit` (RFC 7515 §4.1.11: what is not understood is refused).
    ExtensionUnsupported,
    /// Our side: the host did not do what it takes to let the request go on.
    GatewayError,
    /// Our side: the backend refused the gateway's identity token.
    IdentityRejected,
    /// Our side: no managed-identity token could be had.
    IdentityUnavailable {
        /// Until the next try.
        retry_after: Duration,
    },
    /// No grant of the route names the token's issuer.
    IssuerForbidden,
    /// The token's `iss` is none of the configured ones.
    IssuerUnknown,
    /// The issuer's keys are known and the token's `kid` is not among them.
    KeyUnknown,
    /// Our side: the issuer's keys could not be had.
    KeysUnavailable {
        /// Until the next try.
        retry_after: Duration,
    },
    /// The token lives longer than the issuer's `max_lifetime`.
    LifetimeExceeded,
    /// The body's `model` is not one plain text.
    ModelMalformed,
    /// The request names no model, and no grant of the route is for any.
    ModelMissing,
    /// The path can be read in more than one way.
    PathRefused,
    /// No grant of the route holds: a role is missing.
    RoleMissing,
    /// No route matches.
    RouteUnknown,
    /// No grant of the route holds, and these scopes would satisfy one.
    ScopeMissing {
        /// The scopes of that grant.
        scopes: Vec<String>,
    },
    /// The signature is not that of the key.
    SignatureInvalid,
    /// The token's `tid` is not the tenant of its issuer.
    TenantMismatch,
    /// `exp` has passed.
    TokenExpired,
    /// The credential is no signed JWT.
    TokenMalformed,
    /// No credential was sent.
    TokenMissing,
    /// `nbf` or `iat` lies in the future.
    TokenNotYetValid,
    /// The credential is longer than any token that is accepted.
    TokenTooLarge,
    /// Our side: too many requests wait for the rest of their bodies.
    TooManyWaiting {
        /// When to try again.
        retry_after: Duration,
    },
    /// The token's `typ` is not one that its issuer's entry lists.
    TypeForbidden,
}

/// When to try again after a fault of the gateway itself.
const GATEWAY_ERROR_RETRY: Duration = Duration::from_secs(1);

/// The `realm` of every challenge.
const REALM: &str = "keyless";

/// Who has to act, and with it the status, the challenge and OpenAI's `type`.
enum Kind<'a> {
    /// 400: the request cannot be read (RFC 6750 `invalid_request`).
    InvalidRequest,
    /// 400 that has nothing to do with the credential.
    BadRequest,
    /// 401 without an error code: no credential was sent (RFC 6750 §3.1).
    Unauthenticated,
    /// 401: the token is no good (RFC 6750 `invalid_token`).
    InvalidToken,
    /// 403: the token is good and does not suffice.
    Forbidden(&'a [String]),
    /// 404.
    NotFound,
    /// 408.
    Late,
    /// 413.
    TooLarge,
    /// 415.
    Unsupported,
    /// 502: it is between the gateway and the backend.
    BadGateway,
    /// 503: it is our fault, and over in a while.
    Unavailable(Duration),
}

impl Denial {
    /// Returns the stable code that body, log, metric and filter state share.
    pub fn code(&self) -> &'static str {
        self.entry().0
    }

    /// Returns true if there is no identity token: then a request would go on in vain.
    pub fn is_about_identity(&self) -> bool {
        matches!(self, Self::IdentityRejected | Self::IdentityUnavailable { .. })
    }

    /// Returns the reply for this reason.
    pub fn reply(&self) -> Reply {
        let (code, _, kind) = self.entry();
        let message = &*self.message();
        let (status, class) = kind.status();
        let body =
            json!({"error": {"code": code, "message": message, "type": class, "param": null}});
        let mut reply = Reply::json(status, body.to_string());
        reply.headers.extend(kind.challenge(message).map(|value| ("www-authenticate", value)));
        reply.headers.extend(kind.retry_after().map(|value| ("retry-after", value)));
        reply
    }

    /// The message of the table, or one that names what the caller asked for.
    fn message(&self) -> Cow<'static, str> {
        if let Self::DeploymentForbidden { deployment: name } = self
            && is_plain(name)
        {
            return format!("The caller may not use the deployment '{name}'.").into();
        }
        self.entry().1.into()
    }

    /// The table of all reasons: code, message, kind.
    #[expect(clippy::too_many_lines, reason = "a table has a row for each reason")]
    fn entry(&self) -> (&'static str, &'static str, Kind<'_>) {
        use Kind::{
            BadGateway, BadRequest, Forbidden, InvalidRequest, InvalidToken, Late, NotFound,
            TooLarge, Unauthenticated, Unavailable, Unsupported,
        };
        match self {
            Self::AlgorithmForbidden => {
                ("algorithm_forbidden", "The token's algorithm is not accepted.", InvalidToken)
            }
            Self::AudienceMismatch => {
                ("audience_mismatch", "The token is meant for another audience.", InvalidToken)
            }
            Self::AuthorizationAmbiguous => (
                "authorization_ambiguous",
                "More than one credential was sent; send one.",
                InvalidRequest,
            ),
            Self::AuthorizationMalformed => (
                "authorization_malformed",
                "The Authorization header is not 'Bearer' and one token.",
                InvalidRequest,
            ),
            Self::BodyLate => ("body_late", "The body did not arrive in time.", Late),
            Self::BodyMalformed => (
                "body_malformed",
                "The body is neither a JSON object nor a form that can be read in one way only.",
                BadRequest,
            ),
            Self::BodyTooLarge => ("body_too_large", "The body is too large.", TooLarge),
            Self::BodyUnsupported => (
                "body_unsupported",
                "Send the body as application/json or multipart/form-data, not compressed.",
                Unsupported,
            ),
            Self::ClaimMissing => {
                ("claim_missing", "The token lacks a claim that this needs.", Forbidden(&[]))
            }
            Self::ClaimsMalformed => (
                "claims_malformed",
                "A claim of the token is missing or has the wrong type.",
                InvalidToken,
            ),
            Self::ClientForbidden => {
                ("client_forbidden", "The calling application may not do this.", Forbidden(&[]))
            }
            Self::DeploymentForbidden { .. } => {
                ("deployment_forbidden", "The caller may not use this deployment.", Forbidden(&[]))
            }
            Self::ExtensionUnsupported => (
                "extension_unsupported",
                "The token demands an extension that is not supported.",
                InvalidToken,
            ),
            Self::GatewayError => (
                "gateway_error",
                "The gateway failed to process this request.",
                Unavailable(GATEWAY_ERROR_RETRY),
            ),
            Self::IdentityRejected => (
                "identity_rejected",
                "The backend did not accept the gateway's identity; your own token was good.",
                BadGateway,
            ),
            Self::IdentityUnavailable { retry_after } => (
                "identity_unavailable",
                "The gateway has no identity token at the moment.",
                Unavailable(*retry_after),
            ),
            Self::IssuerForbidden => {
                ("issuer_forbidden", "Tokens of this issuer may not do this.", Forbidden(&[]))
            }
            Self::IssuerUnknown => {
                ("issuer_unknown", "The token's issuer is not trusted here.", InvalidToken)
            }
            Self::KeyUnknown => {
                ("key_unknown", "The token's issuer has no such key.", InvalidToken)
            }
            Self::KeysUnavailable { retry_after } => (
                "keys_unavailable",
                "The gateway has no keys of the token's issuer at the moment.",
                Unavailable(*retry_after),
            ),
            Self::LifetimeExceeded => {
                ("lifetime_exceeded", "The token lives longer than is accepted.", InvalidToken)
            }
            Self::ModelMalformed => (
                "model_malformed",
                "The body must name the model once, and in plain characters.",
                BadRequest,
            ),
            Self::ModelMissing => (
                "model_missing",
                "The request names no model, and the caller may not use every one.",
                BadRequest,
            ),
            Self::PathRefused => (
                "path_refused",
                "The path can be read in more than one way; send it in plain form.",
                BadRequest,
            ),
            Self::RoleMissing => {
                ("role_missing", "The token lacks a role that this needs.", Forbidden(&[]))
            }
            Self::RouteUnknown => ("route_unknown", "There is nothing at this address.", NotFound),
            Self::ScopeMissing { scopes } => {
                ("scope_missing", "The token lacks a scope that this needs.", Forbidden(scopes))
            }
            Self::SignatureInvalid => {
                ("signature_invalid", "The token's signature is not valid.", InvalidToken)
            }
            Self::TenantMismatch => {
                ("tenant_mismatch", "The token is of another tenant than its issuer.", InvalidToken)
            }
            Self::TokenExpired => ("token_expired", "The token has expired.", InvalidToken),
            Self::TokenMalformed => {
                ("token_malformed", "The credential is not a signed JWT.", InvalidToken)
            }
            Self::TokenMissing => {
                ("token_missing", "Send a token as 'Authorization: Bearer'.", Unauthenticated)
            }
            Self::TokenNotYetValid => {
                ("token_not_yet_valid", "The token is not valid yet.", InvalidToken)
            }
            Self::TokenTooLarge => ("token_too_large", "The token is too long.", InvalidRequest),
            Self::TooManyWaiting { retry_after } => (
                "too_many_waiting",
                "Too many requests wait at the gateway at the moment.",
                Unavailable(*retry_after),
            ),
            Self::TypeForbidden => {
                ("type_forbidden", "This type of token is not accepted.", InvalidToken)
            }
        }
    }
}

impl Kind<'_> {
    fn status(&self) -> (u16, &'static str) {
        match self {
            Self::BadRequest | Self::InvalidRequest => (400, "invalid_request_error"),
            Self::InvalidToken | Self::Unauthenticated => (401, "authentication_error"),
            Self::Forbidden(_) => (403, "permission_error"),
            Self::NotFound => (404, "invalid_request_error"),
            Self::Late => (408, "invalid_request_error"),
            Self::TooLarge => (413, "invalid_request_error"),
            Self::Unsupported => (415, "invalid_request_error"),
            Self::BadGateway => (502, "server_error"),
            Self::Unavailable(_) => (503, "server_error"),
        }
    }

    /// The value of `WWW-Authenticate` (RFC 6750 §3). Scopes are checked at configuration to need
    /// no quoting (RFC 6749 §3.3).
    fn challenge(&self, message: &str) -> Option<String> {
        let bearer = format!("Bearer realm=\"{REALM}\"");
        let with = |error: &str| {
            Some(format!("{bearer}, error=\"{error}\", error_description=\"{message}\""))
        };
        match self {
            Self::BadGateway
            | Self::BadRequest
            | Self::Late
            | Self::NotFound
            | Self::TooLarge
            | Self::Unavailable(_)
            | Self::Unsupported => None,
            Self::Unauthenticated => Some(bearer),
            Self::InvalidRequest => with("invalid_request"),
            Self::InvalidToken => with("invalid_token"),
            Self::Forbidden([]) => with("insufficient_scope"),
            Self::Forbidden(scopes) => with("insufficient_scope")
                .map(|challenge| format!("{challenge}, scope=\"{}\"", scopes.join(" "))),
        }
    }

    /// The value of `Retry-After`: whole seconds, rounded up, and at least one (RFC 9110 §10.2.3).
    fn retry_after(&self) -> Option<String> {
        match self {
            Self::Unavailable(wait) => {
                let begun = u64::from(wait.subsec_nanos() > 0);
                Some(wait.as_secs().saturating_add(begun).max(1).to_string())
            }
            Self::BadGateway
            | Self::BadRequest
            | Self::Forbidden(_)
            | Self::InvalidRequest
            | Self::InvalidToken
            | Self::Late
            | Self::NotFound
            | Self::TooLarge
            | Self::Unauthenticated
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
