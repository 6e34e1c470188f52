use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rsa::pkcs1v15::{Signature, VerifyingKey};
use rsa::pkcs8::DecodePublicKey;
use rsa::signature::Verifier;
use rsa::traits::PublicKeyParts;
use rsa::{BoxedUint, PublicKey};
use serde_json::{Value, json};
use sha2::Sha256;

use super::Issuer;
use crate::Options;

const TENANT: &str = "/72f988bf-86f1-41af-91ab-2d7cd011db47";

#[tokio::test]
async fn a_minted_token_verifies_with_the_published_key() {
    let issuer = start().await;
    let claims = issuer.claims();
    let token = issuer.mint(&claims);
    let (header, payload) = verify(&token, &keys(&issuer).await).unwrap();
    assert_eq!(header, json!({ "alg": "RS256", "typ": "JWT", "kid": issuer.kid() }));
    assert_eq!(payload, claims);
}

#[tokio::test]
async fn the_usual_claims_are_valid_for_an_hour_and_never_twice_the_same() {
    let issuer = start().await;
    let claims = issuer.claims();
    assert_eq!(claims["iss"], Options::default().issuer);
    assert_eq!(claims["aud"], "api://openai-gateway");
    assert_eq!(claims["tid"], TENANT[1..]);
    assert_eq!((&claims["scp"], &claims["ver"]), (&json!("openai.chat"), &json!("2.0")));
    assert_eq!(claims["exp"].as_u64(), claims["iat"].as_u64().map(|iat| iat + 3600));
    assert_eq!(claims["nbf"], claims["iat"]);
    assert!(["sub", "oid", "azp"].iter().all(|name| claims[name].is_string()));
    assert_ne!(issuer.mint(&issuer.claims()), issuer.mint(&issuer.claims()));
}

#[tokio::test]
async fn overrides_replace_add_and_remove() {
    let issuer = start().await;
    let overrides = json!({ "aud": ["a", "b"], "scp": null, "roles": ["ChatUser"] });
    let claims = issuer.claims_with(&overrides);
    assert_eq!((&claims["aud"], &claims["roles"]), (&json!(["a", "b"]), &json!(["ChatUser"])));
    assert!(claims.get("scp").is_none());
}

#[tokio::test]
async fn a_header_may_lie_about_the_signature() {
    let issuer = start().await;
    let header = json!({ "alg": "HS256", "typ": null, "kid": "other", "crit": ["b64"] });
    let token = issuer.mint_with_header(&header, &json!({}));
    let (header, payload) = verify(&token, &keys(&issuer).await).unwrap();
    assert_eq!(header, json!({ "alg": "HS256", "kid": "other", "crit": ["b64"] }));
    assert_eq!(payload, json!({}));
}

#[tokio::test]
async fn a_rotated_key_stays_published_until_it_is_retired() {
    let issuer = start().await;
    let (old, old_token) = (issuer.kid(), issuer.mint(&issuer.claims()));
    issuer.rotate();
    let new_token = issuer.mint(&issuer.claims());
    assert_ne!(issuer.kid(), old);

    let both = keys(&issuer).await;
    assert_eq!(both.len(), 2);
    assert!(verify(&old_token, &both).is_some() && verify(&new_token, &both).is_some());

    issuer.retire();
    let present = keys(&issuer).await;
    assert_eq!(present.len(), 1);
    assert!(verify(&old_token, &present).is_none() && verify(&new_token, &present).is_some());
}

#[tokio::test]
async fn keys_are_published_as_entra_does() {
    let issuer = start().await;
    let [key] = keys(&issuer).await.try_into().unwrap();
    let members: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["e", "issuer", "kid", "kty", "n", "use", "x5t"]);
    assert_eq!(
        (&key["kty"], &key["use"], &key["e"]),
        (&json!("RSA"), &json!("sig"), &json!("AQAB"))
    );
    assert_eq!(key["issuer"], Options::default().issuer);
    assert_eq!(key["kid"], key["x5t"]);
    assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(key["x5t"].as_str().unwrap()).unwrap().len(), 20);

    let pem = PublicKey::from_public_key_pem(&issuer.public_key_pem()).unwrap();
    assert_eq!(pem.n(), public_key(&key).n());
    for path in [format!("{TENANT}/discovery/v2.0/keys"), "/common/discovery/keys".into()] {
        assert_eq!(get(&issuer, &path).await["keys"][0]["kid"], issuer.kid());
    }
}

#[tokio::test]
async fn discovery_names_the_public_urls_of_a_tenant() {
    let issuer = start().await;
    let metadata = get(&issuer, &format!("{TENANT}/v2.0/.well-known/openid-configuration")).await;
    let base = format!("https://login.microsoftonline.com{TENANT}");
    assert_eq!(metadata["issuer"], format!("{base}/v2.0"));
    assert_eq!(metadata["jwks_uri"], format!("{base}/discovery/v2.0/keys"));
    assert_eq!(metadata["token_endpoint"], format!("{base}/oauth2/v2.0/token"));
}

#[tokio::test]
async fn discovery_names_the_public_urls_of_any_other_issuer() {
    let options = Options { issuer: "https://idp.example.com/".into(), ..Options::default() };
    let issuer = Issuer::start(&options).await.unwrap();
    let metadata = get(&issuer, "/.well-known/openid-configuration").await;
    assert_eq!(metadata["issuer"], "https://idp.example.com/");
    assert_eq!(metadata["jwks_uri"], "https://idp.example.com/jwks.json");
    assert_eq!(metadata["token_endpoint"], "https://idp.example.com/token");
}

#[tokio::test]
async fn the_token_endpoint_mints_what_is_ordered() {
    let issuer = start().await;
    let order = json!({ "claims": { "sub": "me", "scp": null }, "header": { "typ": "at+jwt" } });
    for path in ["/token", "/tenant/oauth2/v2.0/token"] {
        let answer = post(&issuer, path, order.to_string()).await;
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["token_type"], "Bearer");
        assert!((3590..=3600).contains(&answer["expires_in"].as_u64().unwrap()));
        let token = answer["access_token"].as_str().unwrap();
        let (header, payload) = verify(token, &keys(&issuer).await).unwrap();
        assert_eq!((&header["typ"], &payload["sub"]), (&json!("at+jwt"), &json!("me")));
        assert!(payload.get("scp").is_none());
    }
    assert_eq!(post(&issuer, "/token", String::new()).await.status(), 200);
}

#[tokio::test]
async fn the_token_endpoint_refuses_what_it_does_not_understand() {
    let issuer = start().await;
    for body in ["grant_type=client_credentials", r#"{"claim": {}}"#, r#"{"claims": []}"#] {
        let answer = post(&issuer, "/token", body.into()).await;
        assert_eq!(answer.status(), 400, "{body}");
        assert_eq!(answer.json::<Value>().await.unwrap()["error"], "invalid_request");
    }
    assert_eq!(post(&issuer, "/jwks.json", String::new()).await.status(), 405);
    assert_eq!(post(&issuer, "/elsewhere", String::new()).await.status(), 404);
}

#[tokio::test]
async fn an_application_gets_a_token_of_its_own_for_its_secret() {
    let (issuer, known) = (start().await, Options::default());
    let form = |secret: &str, scope: &str| {
        let url = reqwest::Url::parse_with_params(
            "http://form",
            [
                ("grant_type", "client_credentials"),
                ("client_id", &known.client_id),
                ("client_secret", secret),
                ("scope", scope),
            ],
        );
        url.unwrap().query().unwrap().to_owned()
    };
    let ask = async |form: String| {
        let url = format!("http://{}{TENANT}/oauth2/v2.0/token", issuer.address());
        let request = reqwest::Client::new().post(url).body(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let scope = "api://openai-gateway/.default";
    let (status, answer) = ask(form(&known.client_secret, scope)).await;
    assert_eq!((status, &answer["expires_in"]), (200, &json!(3600)));
    let token = answer["access_token"].as_str().unwrap();
    let (_, claims) = verify(token, &keys(&issuer).await).unwrap();
    assert_eq!(claims["aud"], "api://openai-gateway");
    assert_eq!(claims["azp"], known.client_id.as_str());
    assert_eq!((&claims["scp"], &claims["sub"]), (&Value::Null, &claims["oid"]));
    assert_eq!(claims["roles"], json!(["OpenAI.Chat", "OpenAI.Files"]));
    for (form, status, error) in [
        (form("wrong", scope), 401, "invalid_client"),
        (form(&known.client_secret, "openai.chat"), 400, "invalid_scope"),
        (form(&known.client_secret, scope) + "&scope=twice", 400, "invalid_request"),
        ("grant_type=password".to_owned(), 400, "unsupported_grant_type"),
        (String::new(), 400, "invalid_request"),
    ] {
        assert_eq!(ask(form).await, (status, json!({ "error": error })));
    }
}

#[tokio::test]
async fn discovery_of_an_issuer_named_by_its_address_leads_back_to_it() {
    let options = Options { issuer: String::new(), ..Options::default() };
    let issuer = Issuer::start(&options).await.unwrap();
    let name = format!("http://{}/", issuer.address());
    let metadata = get(&issuer, "/.well-known/openid-configuration").await;
    assert_eq!((&metadata["issuer"], &issuer.claims()["iss"]), (&json!(name), &json!(name)));
    assert_eq!(metadata["jwks_uri"], format!("{name}jwks.json"));
}

#[tokio::test]
async fn the_keys_at_another_tenants_path_are_that_tenants() {
    let issuer = start().await;
    let other = "11111111-2222-4333-8444-555555555555";
    let keys = get(&issuer, &format!("/{other}/discovery/v2.0/keys")).await;
    assert_eq!(keys["keys"][0]["kid"], issuer.kid());
    let name = format!("https://login.microsoftonline.com/{other}/v2.0");
    assert_eq!(keys["keys"][0]["issuer"], name);
}

#[tokio::test]
async fn keys_on_curves_are_made_when_first_needed_and_outlive_the_others() {
    let issuer = start().await;
    for algorithm in ["RS384", "PS512"] {
        let token = issuer.mint_as(algorithm, &issuer.claims());
        assert_eq!(header(&token), json!({"alg": algorithm, "typ": "JWT", "kid": issuer.kid()}));
    }
    assert_eq!(keys(&issuer).await.len(), 1);
    for algorithm in ["ES256", "ES384", "EdDSA", "ES256"] {
        let token = issuer.mint_as(algorithm, &issuer.claims());
        assert_eq!(header(&token)["alg"], algorithm);
        let published = keys(&issuer).await;
        assert!(published.iter().any(|jwk| jwk["kid"] == header(&token)["kid"]), "{published:?}");
    }
    issuer.rotate();
    issuer.retire();
    let published = keys(&issuer).await;
    let curves: Vec<_> = published.iter().filter_map(|jwk| jwk["crv"].as_str()).collect();
    assert_eq!((published.len(), curves), (4, vec!["P-256", "P-384", "Ed25519"]));
}

#[tokio::test]
async fn a_token_on_a_curve_verifies_with_the_published_key() {
    let issuer = start().await;
    let token = issuer.mint_as("ES256", &issuer.claims());
    let jwk = keys(&issuer).await.remove(0);
    let number = |name| decoded(jwk[name].as_str().unwrap());
    let point = [vec![4], number("x"), number("y")].concat();
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).unwrap();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let signature = p256::ecdsa::Signature::from_slice(&decoded(signature)).unwrap();
    key.verify(input.as_bytes(), &signature).unwrap();
}

#[tokio::test]
async fn every_issuer_has_keys_of_its_own() {
    let (one, other) = tokio::join!(start(), start());
    assert!(verify(&one.mint(&one.claims()), &keys(&other).await).is_none());
}

async fn start() -> Issuer {
    Issuer::start(&Options::default()).await.unwrap()
}

async fn get(issuer: &Issuer, path: &str) -> Value {
    let url = format!("http://{}{path}", issuer.address());
    reqwest::get(url).await.unwrap().json().await.unwrap()
}

async fn post(issuer: &Issuer, path: &str, body: String) -> reqwest::Response {
    let url = format!("http://{}{path}", issuer.address());
    reqwest::Client::new().post(url).body(body).send().await.unwrap()
}

async fn keys(issuer: &Issuer) -> Vec<Value> {
    get(issuer, "/jwks.json").await["keys"].as_array().unwrap().clone()
}

fn public_key(jwk: &Value) -> PublicKey {
    let number = |name| {
        let text = jwk[name].as_str().unwrap();
        BoxedUint::from_be_slice_vartime(&BASE64_URL_SAFE_NO_PAD.decode(text).unwrap())
    };
    PublicKey::new(number("n"), number("e")).unwrap()
}

fn decoded(part: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()
}

fn header(token: &str) -> Value {
    serde_json::from_slice(&decoded(token.split('.').next().unwrap())).unwrap()
}

/// Returns header and claims if any of the keys made the signature.
fn verify(token: &str, keys: &[Value]) -> Option<(Value, Value)> {
    let (input, signature) = token.rsplit_once('.').unwrap();
    let signature = Signature::try_from(decoded(signature).as_slice()).unwrap();
    let made =
        |jwk| VerifyingKey::<Sha256>::new(public_key(jwk)).verify(input.as_bytes(), &signature);
    keys.iter().find(|jwk| made(jwk).is_ok())?;
    let (header, claims) = input.split_once('.').unwrap();
    let json = |part| serde_json::from_slice(&decoded(part)).unwrap();
    Some((json(header), json(claims)))
}
