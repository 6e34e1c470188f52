//! An authorisation service as a team would write it for Envoy's `ext_authz`, and a fast one: it
//! verifies the caller's token, asks for the scope, and answers with the gateway's own token.
//!
//! `authz --protocol http|grpc --port PORT --jwks FILE --identity FILE --remember TOKENS`
//!
//! Keys and identity token are read once. One thread; the crypto is AWS-LC's, compiled for this
//! machine. With `--remember N` the last N verified tokens are not verified again before they expire.

use std::error::Error;
use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::serve::ListenerExt;
use envoy_types::ext_authz::v3::pb::{
    Authorization, AuthorizationServer, CheckRequest, CheckResponse, HeaderAppendAction,
};
use envoy_types::ext_authz::v3::{CheckRequestExt, CheckResponseExt, OkHttpResponseBuilder};
use helpers::{AUDIENCE, ISSUER, SCOPE};
use jsonwebtoken::jwk::{AlgorithmParameters, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use lexopt::ValueExt;
use lru::LruCache;
use serde::Deserialize;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// Knows who may pass, and what replaces their token.
struct Guard {
    keys: Vec<Key>,
    identity: String,
    /// When the tokens expire that were good.
    remembered: Option<Mutex<LruCache<String, u64>>>,
}

/// A key of the issuer, and how it may be used.
struct Key {
    kid: String,
    public: DecodingKey,
    validation: Validation,
}

#[derive(Deserialize)]
struct Claims {
    exp: u64,
    #[serde(default)]
    scp: String,
}

/// What the caller did wrong.
enum Refusal {
    Unauthenticated,
    Unauthorised,
}

struct Arguments {
    protocol: String,
    port: u16,
    jwks: PathBuf,
    identity: PathBuf,
    remember: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = arguments()?;
    let guard = Arc::new(Guard::new(&arguments)?);
    let address = ([127, 0, 0, 1], arguments.port).into();
    if arguments.protocol == "grpc" {
        let service = AuthorizationServer::from_arc(Arc::new(Grpc(guard)));
        return Ok(Server::builder().add_service(service).serve(address).await?);
    }
    let router = Router::new().fallback(http).with_state(guard);
    let listener = TcpListener::bind(address).await?.tap_io(|connection| {
        _ = connection.set_nodelay(true);
    });
    Ok(axum::serve(listener, router).await?)
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut arguments = Arguments {
        protocol: String::new(),
        port: 0,
        jwks: PathBuf::new(),
        identity: PathBuf::new(),
        remember: 0,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            lexopt::Arg::Long("protocol") => arguments.protocol = parser.value()?.string()?,
            lexopt::Arg::Long("port") => arguments.port = parser.value()?.string()?.parse()?,
            lexopt::Arg::Long("jwks") => arguments.jwks = parser.value()?.into(),
            lexopt::Arg::Long("identity") => arguments.identity = parser.value()?.into(),
            lexopt::Arg::Long("remember") => {
                arguments.remember = parser.value()?.string()?.parse()?;
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(arguments)
}

impl Guard {
    fn new(arguments: &Arguments) -> Result<Self, Box<dyn Error>> {
        let jwks: JwkSet = serde_json::from_slice(&fs::read(&arguments.jwks)?)?;
        let mut keys = Vec::new();
        for jwk in &jwks.keys {
            let algorithms = match &jwk.algorithm {
                AlgorithmParameters::RSA(_) => vec![Algorithm::RS256, Algorithm::PS256],
                AlgorithmParameters::EllipticCurve(_) => vec![Algorithm::ES256],
                AlgorithmParameters::OctetKeyPair(_) => vec![Algorithm::EdDSA],
                _ => continue,
            };
            let mut validation = Validation::new(algorithms[0]);
            validation.algorithms = algorithms;
            validation.validate_nbf = true;
            validation.set_audience(&[AUDIENCE]);
            validation.set_issuer(&[ISSUER]);
            validation.set_required_spec_claims(&["exp", "aud", "iss"]);
            let kid = jwk.common.key_id.clone().ok_or("a key without kid")?;
            keys.push(Key { kid, public: DecodingKey::from_jwk(jwk)?, validation });
        }
        let identity = fs::read_to_string(&arguments.identity)?;
        let room = NonZeroUsize::new(arguments.remember);
        let remembered = room.map(|room| Mutex::new(LruCache::new(room)));
        Ok(Self { keys, identity: format!("Bearer {}", identity.trim()), remembered })
    }

    /// Returns what the backend is to see as `Authorization`.
    fn admit(&self, authorization: Option<&str>) -> Result<&str, Refusal> {
        let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
        let token = token.ok_or(Refusal::Unauthenticated)?;
        if !self.recalls(token) {
            let claims = self.verify(token)?;
            if !claims.scp.split(' ').any(|scope| scope == SCOPE) {
                return Err(Refusal::Unauthorised);
            }
            self.remember(token, claims.exp);
        }
        Ok(&self.identity)
    }

    fn verify(&self, token: &str) -> Result<Claims, Refusal> {
        let header = decode_header(token).map_err(|_| Refusal::Unauthenticated)?;
        let named = |key: &&Key| header.kid.as_deref() == Some(key.kid.as_str());
        let key = self.keys.iter().find(named).ok_or(Refusal::Unauthenticated)?;
        let data = decode::<Claims>(token, &key.public, &key.validation);
        data.map(|data| data.claims).map_err(|_| Refusal::Unauthenticated)
    }

    fn recalls(&self, token: &str) -> bool {
        let Some(remembered) = &self.remembered else { return false };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::MAX).as_secs();
        let mut remembered = remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(token).is_some_and(|expires| *expires > now)
    }

    fn remember(&self, token: &str, expires: u64) {
        if let Some(remembered) = &self.remembered {
            let mut remembered = remembered.lock().unwrap_or_else(PoisonError::into_inner);
            remembered.put(token.to_owned(), expires);
        }
    }
}

async fn http(
    State(guard): State<Arc<Guard>>,
    headers: HeaderMap,
) -> Result<[(HeaderName, HeaderValue); 1], StatusCode> {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let identity = guard.admit(authorization).map_err(|refusal| match refusal {
        Refusal::Unauthenticated => StatusCode::UNAUTHORIZED,
        Refusal::Unauthorised => StatusCode::FORBIDDEN,
    })?;
    let identity = HeaderValue::from_str(identity);
    Ok([(AUTHORIZATION, identity.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?)])
}

/// The same guard behind Envoy's gRPC service.
struct Grpc(Arc<Guard>);

#[tonic::async_trait]
impl Authorization for Grpc {
    async fn check(
        &self,
        request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        let request = request.into_inner();
        let headers = request.get_client_headers();
        let authorization = headers.and_then(|headers| headers.get("authorization"));
        let response = match self.0.admit(authorization.map(String::as_str)) {
            Ok(identity) => {
                let mut ok = OkHttpResponseBuilder::new();
                let replace = Some(HeaderAppendAction::OverwriteIfExistsOrAdd);
                ok.add_header("authorization", identity, replace, false);
                let mut response = CheckResponse::with_status(Status::ok(""));
                response.set_http_response(ok);
                response
            }
            Err(Refusal::Unauthenticated) => {
                CheckResponse::with_status(Status::unauthenticated(""))
            }
            Err(Refusal::Unauthorised) => CheckResponse::with_status(Status::permission_denied("")),
        };
        Ok(Response::new(response))
    }
}
