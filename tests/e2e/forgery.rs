//! Tokens that the issuer never signed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use local_azure::{Issuer, Options};
use serde_json::{Value, json};
use sha2::Sha256;

use testkit::reply::Refusal;
use testkit::world::{World, with_partner};

fn encoded(part: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

/// Returns header and claims, as they are signed.
fn unsigned(world: &World, header: Value) -> String {
    let claims = world.azure.issuer.claims();
    format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()))
}

#[tokio::test]
async fn a_changed_signature_is_refused() {
    let world = World::start().await;
    let token = world.token();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    for at in [0, 100, 255] {
        let mut changed = signature.clone();
        changed[at] ^= 1;
        let forged = format!("{signed}.{}", encoded(changed));
        world.refuses(world.chat_as(&forged), Refusal::invalid_token("signature_invalid")).await;
    }
    for length in [0, 128, 255] {
        let forged = format!("{signed}.{}", encoded(&signature[..length]));
        world.refuses(world.chat_as(&forged), Refusal::invalid_token("signature_invalid")).await;
    }
}

#[tokio::test]
async fn changed_claims_are_refused() {
    let world = World::start().await;
    let token = world.token_with(json!({"scp": "profile"}));
    let [header, _, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let claims = encoded(world.azure.issuer.claims().to_string());
    let forged = format!("{header}.{claims}.{signature}");
    world.refuses(world.chat_as(&forged), Refusal::invalid_token("signature_invalid")).await;
}

#[tokio::test]
async fn a_token_without_a_signature_is_refused() {
    let world = World::start().await;
    let token = world.token();
    let (_, signature) = token.rsplit_once('.').unwrap();
    for name in ["none", "None", "NONE", "nOnE"] {
        let header = json!({"alg": name, "typ": "JWT", "kid": world.azure.issuer.kid()});
        for signature in ["", signature] {
            let forged = format!("{}.{signature}", unsigned(&world, header.clone()));
            let refusal = Refusal::invalid_token("algorithm_forbidden");
            world.refuses(world.chat_as(&forged), refusal).await;
        }
    }
}

#[tokio::test]
async fn the_public_key_does_not_serve_as_a_secret() {
    let world = World::start().await;
    let pem = world.azure.issuer.public_key_pem();
    let kid = world.azure.issuer.kid();
    for secret in [pem.as_str(), pem.trim_end()] {
        for header in [json!({"alg": "HS256", "kid": kid}), json!({"alg": "HS256", "typ": "JWT"})] {
            let signed = unsigned(&world, header);
            let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
            mac.update(signed.as_bytes());
            let forged = format!("{signed}.{}", encoded(mac.finalize().into_bytes()));
            let refusal = Refusal::invalid_token("algorithm_forbidden");
            world.refuses(world.chat_as(&forged), refusal).await;
        }
    }
}

#[tokio::test]
async fn a_key_that_the_token_brings_along_counts_for_nothing() {
    let world = World::start().await;
    let stranger = Issuer::start(&Options::default()).await.unwrap();
    let jwks = reqwest::get(format!("http://{}/jwks.json", stranger.address())).await.unwrap();
    let jwk = jwks.json::<Value>().await.unwrap()["keys"][0].take();
    let url = format!("http://{}/jwks.json", stranger.address());
    let (own, theirs) = (world.azure.issuer.kid(), stranger.kid());
    let cases = [
        (json!({"kid": own}), "signature_invalid"),
        (json!({"kid": null}), "signature_invalid"),
        (json!({"kid": null, "jwk": jwk}), "signature_invalid"),
        (json!({"kid": own, "jwk": jwk}), "signature_invalid"),
        (json!({"kid": theirs, "jku": url}), "key_unknown"),
    ];
    let asked = stranger.requests().len();
    for (header, code) in cases {
        let forged = stranger.mint_with_header(&header, &world.azure.issuer.claims());
        world.refuses(world.chat_as(&forged), Refusal::invalid_token(code)).await;
    }
    assert_eq!(stranger.requests().len(), asked, "the stranger was not asked for keys");
}

#[tokio::test]
async fn the_keys_of_one_issuer_do_not_vouch_for_another() {
    let name = "https://idp.example.com/";
    let options = Options { issuer: name.to_owned(), ..Options::default() };
    let partner = Issuer::start(&options).await.unwrap();
    let world = World::with(|shipped| with_partner(shipped, &partner)).await;
    world.admits(&partner.mint(&partner.claims()), world.chat()).await;
    world.admits(&world.token(), world.chat()).await;
    let unknown = Refusal::invalid_token("key_unknown");
    let forged = partner.mint(&world.azure.issuer.claims());
    world.refuses(world.chat_as(&forged), unknown).await;
    let forged = world.token_with(json!({"iss": name}));
    world.refuses(world.chat_as(&forged), unknown).await;
}
