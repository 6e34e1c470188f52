//! What a caller's request may hold that could be its credential: one table, for headers, trailers,
//! query parameters and WebSocket subprotocols.
//!
//! The backend sees the gateway's identity and nothing of the caller's. A name in these tables is
//! removed on every route, whether or not its value is a credential.

use percent_encoding::percent_decode;

use crate::http::HeaderName;

/// Headers of this very name, with who sends them; in order of their lengths, and those of one length by
/// name, so that few names are compared.
pub const HEADERS: [&str; 42] = [
    "apikey",                         // Kong's key-auth
    "cookie",                         // RFC 6265 §5.4
    "api-key",                        // Azure OpenAI
    "x-token",                        // by custom
    "x-apikey",                       // Apigee
    "x-api-key",                      // Anthropic, AWS API Gateway
    "x-id-token",                     // by custom
    "x-api-token",                    // by custom
    "x-zumo-auth",                    // Azure App Service authentication
    "x-auth-token",                   // OpenStack, Spring Session
    "x-user-token",                   // by custom
    "authorization",                  // RFC 9110 §11.6.2
    "x-vault-token",                  // HashiCorp Vault
    "x-access-token",                 // by custom
    "x-gitlab-token",                 // GitLab
    "x-goog-api-key",                 // Google Cloud
    "cf-access-token",                // Cloudflare Access, cloudflared
    "x-authentik-jwt",                // authentik's proxy provider
    "x-authorization",                // by custom
    "x-client-secret",                // by custom
    "x-functions-key",                // Azure Functions
    "x-jwt-assertion",                // WSO2, Pomerium's predecessors
    "x-refresh-token",                // by custom
    "x-session-token",                // by custom
    "x-openai-api-key",               // by custom
    "x-ms-access-token",              // Azure, by custom
    "cf-access-client-id",            // Cloudflare Access, service tokens
    "proxy-authorization",            // RFC 9110 §11.7.2
    "x-amz-security-token",           // AWS Signature Version 4
    "x-forwarded-id-token",           // OAuth2 proxies
    "cf-access-client-secret",        // Cloudflare Access, service tokens
    "cf-access-jwt-assertion",        // Cloudflare Access
    "x-endpoint-api-userinfo",        // Google Cloud Endpoints
    "x-forwarded-access-token",       // OAuth2 Proxy
    "x-goog-iap-jwt-assertion",       // Google Cloud Identity-Aware Proxy
    "x-original-authorization",       // API gateways that keep the caller's
    "x-pomerium-jwt-assertion",       // Pomerium
    "ocp-apim-subscription-key",      // Azure API Management, Azure AI services
    "x-forwarded-authorization",      // API gateways that keep the caller's
    "x-serverless-authorization",     // Google Cloud Run
    "x-ms-authorization-auxiliary",   // Azure Resource Manager, cross-tenant
    "x-goog-iam-authorization-token", // Google Cloud IAM
];

/// Headers whose names begin and end like this; all begin with `x-`.
pub const HEADER_PATTERNS: [(&str, &str); 5] = [
    ("x-amzn-oidc-", ""),          // AWS Application Load Balancer
    ("x-auth-request-", "token"),  // OAuth2 Proxy
    ("x-ms-client-principal", ""), // Azure App Service authentication
    ("x-ms-token-", ""),           // Azure App Service authentication
    ("x-vouch-", ""),              // Vouch Proxy
];

/// Query parameters of this name, without `-` and `_`, in lower case and in order: servers spell them
/// in many ways.
pub const PARAMETERS: [&str; 21] = [
    "accesskey",
    "accesstoken", // RFC 6750 §2.3
    "apikey",
    "apitoken",
    "auth",
    "authorization",
    "authtoken",
    "bearer",
    "bearertoken",
    "clientsecret",
    "code", // Azure Functions
    "functionskey",
    "idtoken",
    "jwt",
    "key", // Google Cloud
    "ocpapimsubscriptionkey",
    "refreshtoken",
    "secret",
    "sig",             // shared access signatures of Azure
    "subscriptionkey", // Azure API Management
    "token",
];

/// How WebSocket subprotocols begin that carry a credential, in lower case.
pub const SUBPROTOCOLS: [&str; 8] = [
    "access_token",
    "api-key",
    "authorization",
    "base64url.bearer.authorization.", // Kubernetes
    "bearer",
    "jwt",
    OPENAI_SUBPROTOCOL,
    "token",
];

/// How the subprotocol begins in which OpenAI's realtime clients in browsers send their credential.
pub const OPENAI_SUBPROTOCOL: &str = "openai-insecure-api-key.";

/// Lists what is removed from every request beside the tables.
#[derive(Clone, Debug, Default)]
pub struct Stripped {
    /// Headers and trailers: those that the configuration names, and those that the gateway sets.
    pub headers: Vec<HeaderName>,
    /// Query parameters, in lower case and without `-` and `_`.
    pub parameters: Vec<String>,
}

/// Lists what a route lets through on purpose, although it is removed elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    /// Cookies by their names, compared exactly.
    pub cookies: Vec<String>,
    /// Headers.
    pub headers: Vec<HeaderName>,
}

impl Stripped {
    /// Returns true if a header or trailer of this name, in lower case, may not go on.
    pub fn has_header(&self, name: &str) -> bool {
        is_credential_header(name) || self.headers.iter().any(|other| other.as_str() == name)
    }

    /// Returns true if a parameter of a query, `name` or `name=value`, may not go on. Its name is
    /// compared as a server would read it: decoded, in any case.
    pub fn has_parameter(&self, parameter: &[u8]) -> bool {
        // Some servers separate parameters by `;`, too (HTML 4.01, appendix B.2.2).
        parameter.split(|byte| *byte == b';').any(|one| {
            let name = one.split(|byte| *byte == b'=').next().unwrap_or_default();
            let name = normalized(percent_decode(name));
            let is_listed = self.parameters.contains(&name);
            is_listed || PARAMETERS.binary_search(&name.as_str()).is_ok()
        })
    }
}

impl Pass {
    /// Returns the cookies of a `Cookie` header that pass (RFC 6265 §4.2.1), or `None` if none do.
    pub fn cookies<'a>(&self, values: impl Iterator<Item = &'a [u8]>) -> Option<String> {
        if self.cookies.is_empty() {
            return None;
        }
        let pairs = values.flat_map(|value| value.split(|byte| *byte == b';'));
        let kept = pairs.map(<[u8]>::trim_ascii).filter_map(|pair| str::from_utf8(pair).ok());
        let is_kept = |pair: &&str| {
            let name = pair.split_once('=').map(|(name, _)| name);
            name.is_some_and(|name| self.cookies.iter().any(|other| other == name))
        };
        let kept: Vec<&str> = kept.filter(is_kept).collect();
        (!kept.is_empty()).then(|| kept.join("; "))
    }
}

/// Returns a parameter's name as it is compared: in lower case, without `-`, `_` and spaces around.
pub fn normalized(name: impl Iterator<Item = u8>) -> String {
    let mut normalized = String::with_capacity(32);
    let kept = name.filter(|byte| !b"-_".contains(byte));
    normalized.extend(kept.map(|byte| char::from(byte.to_ascii_lowercase())));
    let trimmed = normalized.trim_ascii();
    if trimmed.len() == normalized.len() { normalized } else { trimmed.to_owned() }
}

/// Returns true if a header or trailer of this name, in lower case, may be a credential.
pub fn is_credential_header(name: &str) -> bool {
    let by_length = |name: &&'static str| (name.len(), *name);
    HEADERS.binary_search_by_key(&(name.len(), name), by_length).is_ok()
        || name.starts_with("x-") && is_like_a_pattern(name)
}

fn is_like_a_pattern(name: &str) -> bool {
    let is_it = |(start, end): &(&str, &str)| {
        name.strip_prefix(start).is_some_and(|rest| rest.ends_with(end))
    };
    HEADER_PATTERNS.iter().any(is_it)
}

/// Returns the items of a `Sec-WebSocket-Protocol` that carry no credential (RFC 6455 §11.3.4).
pub fn without_credentials(protocols: &[u8]) -> impl Iterator<Item = &[u8]> {
    let items = protocols.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    items.filter(|item| !item.is_empty() && !is_credential_subprotocol(item))
}

/// A JWT may stand in an item of any name, after its last separator; it begins like any JSON object.
fn is_credential_subprotocol(item: &[u8]) -> bool {
    let lower = item.to_ascii_lowercase();
    let is_named = SUBPROTOCOLS.iter().any(|start| lower.starts_with(start.as_bytes()));
    is_named || item.windows(3).any(|start| start == b"eyJ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_in_order() {
        assert!(HEADERS.is_sorted_by_key(|name| (name.len(), *name)) && PARAMETERS.is_sorted());
    }

    #[test]
    fn patterns_begin_alike() {
        assert!(HEADER_PATTERNS.iter().all(|(start, _)| start.starts_with("x-")));
    }

    #[test]
    fn headers_are_known_by_name_or_by_pattern() {
        for name in ["authorization", "x-api-key", "x-ms-token-aad-id-token", "x-amzn-oidc-data"] {
            assert!(is_credential_header(name), "{name}");
        }
        for name in ["x-auth-request-access-token", "x-ms-client-principal", "x-vouch-user"] {
            assert!(is_credential_header(name), "{name}");
        }
        for name in ["accept", "x-auth-request-user", "x-request-id", "x-ms-region", "keys", ""] {
            assert!(!is_credential_header(name), "{name}");
        }
    }

    #[test]
    fn a_parameter_is_known_however_it_is_written() {
        for text in
            ["api-key=1", "API_KEY", "apikey=", "%61pi%2Dkey=1", "Subscription-Key", "key=k"]
        {
            assert!(Stripped::default().has_parameter(text.as_bytes()), "{text}");
        }
        for text in ["api-version=2024-10-21", "keyboard=1", "", "=key", "model=token", "a;b=key"] {
            assert!(!Stripped::default().has_parameter(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_subprotocol_with_a_credential_goes_and_the_others_stay() {
        let kept = |text: &'static str| {
            let items =
                without_credentials(text.as_bytes()).map(|item| str::from_utf8(item).unwrap());
            items.collect::<Vec<_>>().join(", ")
        };
        let browser = "realtime, openai-insecure-api-key.sk-1, openai-beta.realtime-v1";
        assert_eq!(kept(browser), "realtime, openai-beta.realtime-v1");
        assert_eq!(
            kept("v4.channel.k8s.io,base64url.bearer.authorization.k8s.io.ZXlK"),
            "v4.channel.k8s.io"
        );
        assert_eq!(kept("Bearer, x.eyJhbGciOi.eyJ.sig, realtime"), "realtime");
        assert_eq!(kept("authorization.bearer.abc"), "");
    }

    #[test]
    fn only_the_cookies_that_a_route_names_pass() {
        let pass = Pass { cookies: vec!["ab".to_owned()], headers: Vec::new() };
        let kept =
            |values: &[&'static str]| pass.cookies(values.iter().map(|value| value.as_bytes()));
        assert_eq!(kept(&["session=1; ab=2;ab=3", "AB=4; abc=5"]).as_deref(), Some("ab=2; ab=3"));
        assert_eq!(kept(&["session=1; ab"]), None, "it has no value");
        assert_eq!(kept(&[]), None);
    }
}
