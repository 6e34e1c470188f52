//! Each source of identity tokens against its stand-in: the request byte for byte, the token in the
//! answer, and what is no token. No Envoy: `tests/e2e/sources.rs` has one.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "a test may fail loudly, its values are made for it, and the stand-ins live by the clock"
)]

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyless_core::config::Config;
use keyless_core::http::{Answer, Call, FetchError, retry_after};
use keyless_core::identity::{AccessToken, Endpoint};
use local_azure::{Fault, LocalAzure, Options, Recorded};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const RESOURCE: &str = "https://cognitiveservices.azure.com";
const SOURCES: [Source; 3] = [Source::Imds, Source::AppService, Source::ClientCredentials];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Source {
    AppService,
    ClientCredentials,
    Imds,
}

impl Source {
    /// The configuration of an identity of this source, with the ids that the stand-ins know.
    fn entry(self) -> Value {
        match self {
            Self::AppService => json!({
                "resource": RESOURCE, "app_service": { "cluster": "c" }
            }),
            Self::ClientCredentials => json!({
                "resource": RESOURCE,
                "client_credentials": {
                    "cluster": "c", "client_id": Options::default().client_id,
                    "token_uri": "https://login.microsoftonline.com/contoso/oauth2/v2.0/token",
                    "client_secret_env": "APP_SECRET"
                }
            }),
            Self::Imds => json!({ "resource": RESOURCE, "imds": { "cluster": "c" } }),
        }
    }

    fn address(self, azure: &LocalAzure) -> SocketAddr {
        match self {
            Self::AppService => azure.app_service.address(),
            Self::ClientCredentials => azure.oauth.address(),
            Self::Imds => azure.imds.address(),
        }
    }

    fn issued(self, azure: &LocalAzure) -> Vec<String> {
        match self {
            Self::AppService => azure.app_service.issued(),
            Self::ClientCredentials => azure.oauth.issued(),
            Self::Imds => azure.imds.issued(),
        }
    }

    fn requests(self, azure: &LocalAzure) -> Vec<Recorded> {
        match self {
            Self::AppService => azure.app_service.requests(),
            Self::ClientCredentials => azure.oauth.requests(),
            Self::Imds => azure.imds.requests(),
        }
    }

    fn fault(self, azure: &LocalAzure, fault: Fault) {
        match self {
            Self::AppService => azure.app_service.fault(fault),
            Self::ClientCredentials => azure.oauth.fault(fault),
            Self::Imds => azure.imds.fault(fault),
        }
    }
}

/// An endpoint of keyless, made from its configuration in an environment that lacks nothing.
fn endpoint(entry: Value, azure: &LocalAzure) -> Endpoint {
    let document = json!({
        "issuers": [{
            "issuer": "https://idp.example.com/", "audiences": ["a"],
            "jwks": { "cluster": "c", "uri": "https://idp.example.com/keys" }
        }],
        "identities": { "openai": entry },
        "routes": [{ "name": "r", "match": { "methods": ["GET"], "path": "/" }, "allow": [{}] }]
    });
    let config = Config::parse(document.to_string().as_bytes()).unwrap();
    let environment = |name: &str| match name {
        "APP_SECRET" => Some(Options::default().client_secret),
        "IDENTITY_ENDPOINT" => Some(azure.app_service.endpoint()),
        "IDENTITY_HEADER" => Some(azure.app_service.header().to_owned()),
        _ => None,
    };
    Endpoint::new(config.identities.into_iter().next().unwrap(), &environment)
}

/// Sends a call as it stands, and reads the answer as the host does.
async fn send(call: &Call, address: SocketAddr) -> Answer {
    let body = call.body.as_ref().map_or("", |body| body.expose());
    let headers = call.headers.iter().map(|(name, value)| (*name, value.expose()));
    let length = body.len().to_string();
    let framing = [("host", call.authority.as_str()), ("connection", "close")];
    let length = (!body.is_empty()).then_some(("content-length", length.as_str()));
    let fields = framing.into_iter().chain(headers).chain(length);
    let fields: String = fields.map(|(name, value)| [name, ": ", value, "\r\n"].concat()).collect();
    let request = format!("{} {} HTTP/1.1\r\n{fields}\r\n{body}", call.method, call.path);
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(end)) = head.parse(&bytes) else { return Answer::Broken };
    let wait = head.headers.iter().find(|header| header.name == "retry-after");
    Answer::Arrived {
        status: head.code.unwrap(),
        retry_after: wait.and_then(|header| retry_after(header.value, SystemTime::now())),
        body: bytes[end..].to_vec(),
    }
}

async fn fetch(endpoint: &Endpoint, address: SocketAddr) -> Result<AccessToken, FetchError> {
    let answer = send(endpoint.first_call().expect("a call"), address).await;
    endpoint.read(&answer, SystemTime::now())
}

async fn start() -> LocalAzure {
    LocalAzure::start(Options::default()).await.unwrap()
}

#[tokio::test]
async fn each_source_gives_the_token_that_it_issued_and_its_times() {
    let azure = start().await;
    for (source, life) in SOURCES.into_iter().zip([86_400, 86_400, 3600]) {
        let endpoint = endpoint(source.entry(), &azure);
        let token = fetch(&endpoint, source.address(&azure)).await.unwrap();
        let [issued] = source.issued(&azure).try_into().unwrap();
        assert_eq!(token.authorization().expose(), format!("Bearer {issued}"), "{source:?}");
        let now = SystemTime::now();
        let left = token.unusable_at(now).duration_since(now).unwrap().as_secs();
        assert!((life - 62..=life - 60).contains(&left), "{source:?}: {left}");
    }
}

#[tokio::test]
async fn each_source_sees_the_documented_request_byte_for_byte() {
    let azure = start().await;
    let encoded = "https%3A%2F%2Fcognitiveservices.azure.com";
    let imds = format!("/metadata/identity/oauth2/token?api-version=2018-02-01&resource={encoded}");
    let app_service = format!("/msi/token?resource={encoded}&api-version=2019-08-01");
    let form = format!(
        "grant_type=client_credentials&client_id=6731de76-14a6-49ae-97bc-6eba6914391e\
         &scope={encoded}%2F.default&client_secret=xUn8Q~.k0Vd%2BR7%20s%264%3D%25tZ-w_1"
    );
    let header = azure.app_service.header().to_owned();
    let platform = azure.app_service.address().to_string();
    let expected = [
        ("GET", imds.as_str(), vec![("host", "169.254.169.254"), ("metadata", "true")], ""),
        (
            "GET",
            app_service.as_str(),
            vec![("host", platform.as_str()), ("x-identity-header", header.as_str())],
            "",
        ),
        (
            "POST",
            "/contoso/oauth2/v2.0/token",
            vec![
                ("host", "login.microsoftonline.com"),
                ("accept", "application/json"),
                ("content-type", "application/x-www-form-urlencoded"),
            ],
            form.as_str(),
        ),
    ];
    for (source, (method, target, headers, body)) in SOURCES.into_iter().zip(expected) {
        fetch(&endpoint(source.entry(), &azure), source.address(&azure)).await.unwrap();
        let [seen] = source.requests(&azure).try_into().unwrap();
        assert_eq!((seen.method.as_str(), seen.target.as_str()), (method, target), "{source:?}");
        let framing = ["connection", "content-length"];
        let own = seen.headers.iter().filter(|(name, _)| !framing.contains(&name.as_str()));
        let own: Vec<_> =
            own.map(|(name, value)| (name.as_str(), str::from_utf8(value).unwrap())).collect();
        assert_eq!(own, headers, "{source:?}");
        assert_eq!(str::from_utf8(&seen.body).unwrap(), body, "{source:?}");
    }
}

#[tokio::test]
async fn every_selector_is_one_that_the_source_knows() {
    let azure = start().await;
    let guid = "00000000-0000-0000-0000-00000000000a";
    let id = "/subscriptions/s/resourcegroups/r/providers/Microsoft.ManagedIdentity/x y";
    let rows = [
        (Source::Imds, "imds", [("client_id", guid), ("object_id", guid), ("msi_res_id", id)]),
        (
            Source::AppService,
            "app_service",
            [("client_id", guid), ("principal_id", guid), ("mi_res_id", id)],
        ),
    ];
    for (source, key, selectors) in rows {
        for (name, value) in selectors {
            let mut entry = source.entry();
            entry[key][name] = value.into();
            let token = fetch(&endpoint(entry, &azure), source.address(&azure)).await;
            assert!(token.is_ok(), "{key}.{name}: {token:?}");
        }
    }
}

#[tokio::test]
async fn a_sovereign_resource_is_a_value_like_any_other() {
    let azure = start().await;
    for source in SOURCES {
        let mut entry = source.entry();
        entry["resource"] = "https://cognitiveservices.azure.us".into();
        let token = fetch(&endpoint(entry, &azure), source.address(&azure)).await.unwrap();
        let token = token.authorization().expose().trim_start_matches("Bearer ").to_owned();
        assert!(azure.imds.accepts(&token, "https://cognitiveservices.azure.us"), "{source:?}");
    }
}

#[tokio::test]
async fn what_is_no_token_has_the_code_of_its_kind() {
    let azure = start().await;
    let changed = |members: Value| Fault::Changed(members.as_object().unwrap().clone());
    let html = Fault::Body {
        status: 200,
        content_type: "text/html".to_owned(),
        body: b"<html><title>Sign in".to_vec(),
    };
    let twice = Fault::Body {
        status: 200,
        content_type: "application/json".to_owned(),
        body: br#"{"access_token":"a","access_token":"b","token_type":"Bearer"}"#.to_vec(),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let rows = [
        (Fault::Status(400), "status"),
        (Fault::Status(410), "status"),
        (Fault::Status(503), "status"),
        (Fault::Status(504), "timeout"),
        (Fault::Close, "reset"),
        (Fault::Garbage, "not_json"),
        (html, "not_json"),
        (twice, "repeated"),
        (Fault::Truncated, "truncated"),
        (Fault::Giant((1 << 20) + 1), "too_large"),
        (Fault::Giant(1 << 20), "token_type"),
        (changed(json!({ "token_type": "pop" })), "token_type"),
        (changed(json!({ "access_token": null })), "token"),
        (changed(json!({ "access_token": "a".repeat(20_000) })), "token"),
        (changed(json!({ "access_token": "\u{fc}" })), "token"),
        (changed(json!({ "expires_on": null, "expires_in": null })), "expiry"),
        (changed(json!({ "expires_on": now - 1 })), "expiry"),
        (changed(json!({ "resource": "https://management.azure.com/" })), "resource"),
        (changed(json!({ "not_before": now + 3600 })), "not_before"),
    ];
    for source in SOURCES {
        let endpoint = endpoint(source.entry(), &azure);
        for (fault, code) in &rows {
            source.fault(&azure, fault.clone());
            let error = fetch(&endpoint, source.address(&azure)).await.unwrap_err();
            assert_eq!(error.code(), *code, "{source:?} {fault:?}");
        }
        source.fault(&azure, changed(json!({ "resource": format!("{RESOURCE}/") })));
        assert!(fetch(&endpoint, source.address(&azure)).await.is_ok(), "one slash is no matter");
    }
}

#[tokio::test]
async fn a_wait_that_is_asked_for_is_read() {
    let azure = start().await;
    for source in SOURCES {
        source.fault(&azure, Fault::RetryAfter { status: 429, after: Duration::from_secs(17) });
        let endpoint = endpoint(source.entry(), &azure);
        let answer = send(endpoint.first_call().unwrap(), source.address(&azure)).await;
        assert_eq!(answer.retry_after(), Some(Duration::from_secs(17)), "{source:?}");
    }
}

#[tokio::test]
async fn a_refusal_names_the_error_and_no_secret() {
    let azure = start().await;
    let mut entry = Source::ClientCredentials.entry();
    entry["client_credentials"]["client_id"] = "somebody".into();
    let error = fetch(&endpoint(entry, &azure), azure.oauth.address()).await.unwrap_err();
    assert_eq!(error.to_string(), "AADSTS700016, no such client in the tenant");
    let mut entry = Source::Imds.entry();
    entry["imds"]["client_id"] = "nobody".into();
    let error = fetch(&endpoint(entry, &azure), azure.imds.address()).await.unwrap_err();
    assert_eq!(error.to_string(), "status 400, invalid_request");
}
