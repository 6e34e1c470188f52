//! An OIDC issuer: discovery, keys that rotate, and tokens with any claims one asks for.
//!
//! It mints what one asks for in JSON, and gives an application with a secret a token of its own, for a form.
//! It answers under any path prefix, so that one server plays every tenant of Entra and any other
//! issuer. Shapes follow OpenID Connect Discovery 1.0, RFC 7517 and Entra's own documents.

mod application;
mod curve;
mod key;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::extract::{Form, FromRequest, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::service::{Service, serve};
use crate::{Options, clock};
use application::{Application, Refusal};
use curve::CurveKey;
use key::{Key, compact};

/// Plays an OIDC issuer; clones are handles on the same one.
#[derive(Clone)]
pub struct Issuer {
    authority: Arc<Authority>,
    service: Service,
}

serve!(Issuer);

impl Issuer {
    /// Starts an issuer on `options.ports.issuer`, with a key of its own.
    ///
    /// # Errors
    /// Fails when the port cannot be bound.
    pub async fn start(options: &Options) -> io::Result<Self> {
        let present = tokio::task::spawn_blocking(Key::generate).await?;
        let application = Application {
            client_id: options.client_id.clone(),
            client_secret: options.client_secret.clone(),
        };
        let authority = Arc::new(Authority {
            application,
            audience: options.audience.clone(),
            issuer: OnceLock::new(),
            keys: Mutex::new(Keys { curves: Vec::new(), earlier: Vec::new(), present }),
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&authority));
        let service = Service::start(router, options.at(options.ports.issuer)).await?;
        authority.issuer.get_or_init(|| match options.issuer.as_str() {
            "" => format!("http://{}/", service.address()),
            name => name.to_owned(),
        });
        Ok(Self { authority, service })
    }

    /// Returns the claims of a user's token, valid from now for an hour: `iss`, `aud`, `sub`,
    /// `oid`, `tid`, `azp`, `scp` (`openai.chat`), `iat`, `nbf`, `exp`, `ver`, and a `uti` that no
    /// other has.
    pub fn claims(&self) -> Value {
        self.authority.claims()
    }

    /// Returns [`Self::claims`] with the members of `overrides` put over them; null removes one.
    pub fn claims_with(&self, overrides: &Value) -> Value {
        overlay(self.authority.claims(), members(overrides))
    }

    /// Returns a token with exactly these claims, signed RS256 with the present key.
    pub fn mint(&self, claims: &Value) -> String {
        self.mint_with_header(&Value::Null, claims)
    }

    /// Returns a token whose header is `alg`, `typ` and `kid` with the members of `header` put over
    /// them; null removes one. The signature is RS256 with the present key, whatever the header
    /// says.
    pub fn mint_with_header(&self, header: &Value, claims: &Value) -> String {
        self.authority.mint(members(header), claims)
    }

    /// Returns a token with exactly these claims, signed with one of RS256, RS384, RS512, PS256,
    /// PS384, PS512, ES256, ES384 and `EdDSA`.
    ///
    /// The RSA key is the present one. The others each have a curve and thus a key of their own,
    /// which is made and published when first needed, and never rotated.
    ///
    /// # Panics
    /// Panics if the algorithm is none of these.
    pub fn mint_as(&self, algorithm: &str, claims: &Value) -> String {
        let token = self.authority.mint_as(algorithm, claims);
        token.unwrap_or_else(|| panic!("{algorithm} is no algorithm of the issuer's"))
    }

    /// Returns the keys that it publishes, as a JWKS (RFC 7517).
    pub fn key_set(&self) -> Value {
        self.authority.key_set("")
    }

    /// Returns the `kid` of the present key.
    pub fn kid(&self) -> String {
        self.authority.keys.lock().present.kid().to_owned()
    }

    /// Returns the present public key in PEM (`SubjectPublicKeyInfo`), which a forger would use as
    /// the secret of an HS256 token.
    pub fn public_key_pem(&self) -> String {
        self.authority.keys.lock().present.public_key_pem()
    }

    /// Signs with a new key from now on; the old one stays published until [`Self::retire`].
    ///
    /// Blocks while the key is made, for a fraction of a second.
    pub fn rotate(&self) {
        let fresh = Key::generate();
        let mut keys = self.authority.keys.lock();
        let old = std::mem::replace(&mut keys.present, fresh);
        keys.earlier.push(old);
    }

    /// Signs with a new key from now on, under the `kid` of the old one, which is gone: what an issuer
    /// should not do.
    ///
    /// Blocks while the key is made, for a fraction of a second.
    pub fn replace_key_under_the_same_kid(&self) {
        let fresh = Key::generate();
        let mut keys = self.authority.keys.lock();
        let kid = keys.present.kid().to_owned();
        keys.present = fresh.named(kid);
    }

    /// Publishes no earlier key from now on.
    pub fn retire(&self) {
        self.authority.keys.lock().earlier.clear();
    }

    /// Returns the service itself, for the control server.
    pub(crate) fn service(&self) -> &Service {
        &self.service
    }

    /// Returns the token that `order` asks for.
    pub(crate) fn fill(&self, order: &Order) -> String {
        self.authority.fill(order).0
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuer = self.authority.issuer();
        f.debug_struct("Issuer").field("issuer", &issuer).field("service", &self.service).finish()
    }
}

/// Asks for a token: members to put over the usual claims and header, where null removes one.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Order {
    claims: Map<String, Value>,
    header: Map<String, Value>,
}

impl Order {
    /// Reads `{"claims": {…}, "header": {…}}`, both optional; no body at all orders the usual.
    pub(crate) fn parse(body: &[u8]) -> serde_json::Result<Self> {
        if body.is_empty() { Ok(Self::default()) } else { serde_json::from_slice(body) }
    }
}

struct Authority {
    application: Application,
    audience: String,
    /// It is set before anybody knows the address, on which it may depend.
    issuer: OnceLock<String>,
    keys: Mutex<Keys>,
}

struct Keys {
    curves: Vec<CurveKey>,
    earlier: Vec<Key>,
    present: Key,
}

impl Authority {
    fn issuer(&self) -> &str {
        self.issuer.get().map_or("", String::as_str)
    }

    fn claims(&self) -> Value {
        let now = clock::now();
        json!({
            "iss": self.issuer(),
            "aud": self.audience,
            "sub": "kX3Zq0x1bVw9n2T7cRfYhUeP5sLmJgAaDoIiQyWtBvE",
            "oid": "5b2f8c1e-94d3-4c57-8a0b-6e1d7f3a2c90",
            "tid": self.tenant(),
            "azp": "c0ffee00-1d2e-4f3a-9b4c-5d6e7f8091a2",
            "scp": "openai.chat",
            "iat": now,
            "nbf": now,
            "exp": now + LIFETIME,
            "uti": Uuid::new_v4().to_string(),
            "ver": "2.0",
        })
    }

    fn tenant(&self) -> &str {
        tenant(self.issuer()).unwrap_or(TENANT)
    }

    fn mint<'a>(
        &self,
        header: impl IntoIterator<Item = (&'a String, &'a Value)>,
        claims: &Value,
    ) -> String {
        let keys = self.keys.lock();
        let header = overlay(usual("RS256", keys.present.kid()), header);
        let token = compact(&header, claims, |input| keys.present.sign("RS256", input));
        token.expect("RSA keys sign RS256")
    }

    fn mint_as(&self, algorithm: &str, claims: &Value) -> Option<String> {
        let mut keys = self.keys.lock();
        if let Some(key) = keys.on_curve(algorithm) {
            return compact(&usual(algorithm, key.kid()), claims, |input| Some(key.sign(input)));
        }
        let key = &keys.present;
        compact(&usual(algorithm, key.kid()), claims, |input| key.sign(algorithm, input))
    }

    /// Returns the token and the seconds until its `exp`.
    fn fill(&self, order: &Order) -> (String, u64) {
        let claims = overlay(self.claims(), &order.claims);
        let expires_in = claims["exp"].as_u64().unwrap_or(0).saturating_sub(clock::now());
        (self.mint(&order.header, &claims), expires_in)
    }

    /// Returns what OpenID Connect Discovery 1.0, section 3, calls the provider's metadata, with
    /// the public URLs: callers find the issuer by its name, a proxy sends them here.
    fn metadata(&self) -> Value {
        let (jwks_uri, endpoints) = if let Some(tenant) = self.issuer().strip_suffix("/v2.0") {
            (format!("{tenant}/discovery/v2.0/keys"), format!("{tenant}/oauth2/v2.0"))
        } else {
            let base = self.issuer().trim_end_matches('/');
            (format!("{base}/jwks.json"), base.to_owned())
        };
        json!({
            "issuer": self.issuer(),
            "jwks_uri": jwks_uri,
            "authorization_endpoint": format!("{endpoints}/authorize"),
            "token_endpoint": format!("{endpoints}/token"),
            "response_types_supported": ["code", "id_token"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
        })
    }

    /// Returns the keys. An Entra that is asked at another tenant's path answers as that tenant,
    /// with the same keys: that is how Entra does it.
    fn key_set(&self, path: &str) -> Value {
        let issuer = match (tenant(self.issuer()), tenant(path)) {
            (Some(own), Some(asked)) => self.issuer().replace(own, asked),
            _ => self.issuer().to_owned(),
        };
        let keys = self.keys.lock();
        // The present key comes last, so that nobody gets away with taking the first.
        let curves = keys.curves.iter().map(|key| key.jwk(&issuer));
        let published = keys.earlier.iter().chain([&keys.present]).map(|key| key.jwk(&issuer));
        json!({ "keys": curves.chain(published).collect::<Vec<_>>() })
    }
}

impl Keys {
    /// Returns the key of an algorithm that needs a curve, and makes it if there is none yet.
    fn on_curve(&mut self, algorithm: &str) -> Option<&CurveKey> {
        let at = self.curves.iter().position(|key| key.algorithm() == algorithm);
        let at = at.or_else(|| {
            self.curves.push(CurveKey::generate(algorithm)?);
            Some(self.curves.len() - 1)
        });
        self.curves.get(at?)
    }
}

/// Names an endpoint by the end of its path, which is what any prefix leaves to go by.
#[derive(Clone, Copy)]
enum Endpoint {
    Keys,
    Metadata,
    Token,
}

impl Endpoint {
    fn of(path: &str) -> Option<Self> {
        let suffixes = [
            ("/.well-known/openid-configuration", Self::Metadata),
            ("/certs", Self::Keys), // Keycloak
            ("/jwks.json", Self::Keys),
            ("/keys", Self::Keys),
            ("/token", Self::Token),
        ];
        suffixes.iter().find(|(suffix, _)| path.ends_with(suffix)).map(|(_, endpoint)| *endpoint)
    }
}

async fn answer(State(authority): State<Arc<Authority>>, request: Request) -> Response {
    let path = request.uri().path();
    match (Endpoint::of(path), request.method()) {
        (None, _) => StatusCode::NOT_FOUND.into_response(),
        (Some(Endpoint::Keys), &Method::GET) => Json(authority.key_set(path)).into_response(),
        (Some(Endpoint::Metadata), &Method::GET) => Json(authority.metadata()).into_response(),
        (Some(Endpoint::Token), &Method::POST) => {
            let of_application =
                request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == FORM);
            if of_application {
                return grant(&authority, request).await.into_response();
            }
            match Bytes::from_request(request, &()).await {
                Ok(body) => token(&authority, &body),
                Err(rejection) => rejection.into_response(),
            }
        }
        (Some(_), _) => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

/// Gives the application a token for its secret.
async fn grant(authority: &Authority, request: Request) -> Result<Json<Value>, Refusal> {
    let Form(form) = Form::<Vec<(String, String)>>::from_request(request, &()).await?;
    let claims = authority.application.claims(&form)?;
    let order = Order { claims: members(&claims).map(owned).collect(), ..Order::default() };
    Ok(Json(bearer(authority.fill(&order))))
}

fn token(authority: &Authority, body: &[u8]) -> Response {
    match Order::parse(body) {
        Ok(order) => Json(bearer(authority.fill(&order))).into_response(),
        Err(error) => {
            let description = error.to_string();
            let error = json!({ "error": "invalid_request", "error_description": description });
            (StatusCode::BAD_REQUEST, Json(error)).into_response()
        }
    }
}

/// Returns the answer with a token (RFC 6749 §5.1).
fn bearer((access_token, expires_in): (String, u64)) -> Value {
    json!({ "access_token": access_token, "token_type": "Bearer", "expires_in": expires_in })
}

/// Returns the header that a token of this algorithm and key usually has.
fn usual(algorithm: &str, kid: &str) -> Value {
    json!({ "alg": algorithm, "typ": "JWT", "kid": kid })
}

/// Finds the tenant where Entra's URLs have it: the path segment that is a GUID.
fn tenant(url: &str) -> Option<&str> {
    url.split('/').find(|segment| Uuid::parse_str(segment).is_ok())
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn owned((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

/// Puts `overrides` over the object `base`; null removes a member.
fn overlay<'a>(
    mut base: Value,
    overrides: impl IntoIterator<Item = (&'a String, &'a Value)>,
) -> Value {
    for (name, value) in overrides {
        base[name] = value.clone();
    }
    if let Some(members) = base.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    base
}

const FORM: &str = "application/x-www-form-urlencoded";

/// Within the 60 to 90 minutes that Entra gives.
const LIFETIME: u64 = 3600;

/// The `tid` of an issuer whose name has none.
const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
