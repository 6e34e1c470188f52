//! Tokens of the right issuer that are no good all the same, and rotating keys.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use testkit::reply::{Refusal, Reply};
use testkit::world::{CONNECTIONS, WORKERS, World, values};

/// Beyond any leeway, in seconds.
const AN_HOUR: i64 = 3600;

fn seconds_from_now(world: &World, seconds: i64) -> Value {
    (world.azure.issuer.claims()["iat"].as_i64().unwrap() + seconds).into()
}

#[tokio::test]
async fn a_token_out_of_its_time_is_refused() {
    let world = World::start().await;
    let at = |seconds| seconds_from_now(&world, seconds);
    let cases = [
        (json!({"exp": at(-AN_HOUR)}), "token_expired"),
        (json!({"exp": 1}), "token_expired"),
        (json!({"nbf": at(AN_HOUR)}), "token_not_yet_valid"),
        (json!({"iat": at(AN_HOUR)}), "token_not_yet_valid"),
        (json!({"exp": null}), "claims_malformed"),
        (json!({"exp": "2099-01-01"}), "claims_malformed"),
    ];
    for (claims, code) in cases {
        let token = world.token_with(claims);
        world.refuses(world.chat_as(&token), Refusal::invalid_token(code)).await;
    }
}

#[tokio::test]
async fn a_token_within_the_leeway_passes() {
    let world = World::start().await;
    let at = |seconds| seconds_from_now(&world, seconds);
    for claims in [json!({"exp": at(-30)}), json!({"nbf": at(30), "iat": at(30)})] {
        world.admits(&world.token_with(claims), world.chat()).await;
    }
}

#[tokio::test]
async fn a_token_for_another_audience_is_refused() {
    let world = World::start().await;
    let others =
        [json!("api://other"), json!(["a", "b"]), json!("API://OPENAI-GATEWAY"), json!([])];
    for audience in others {
        let token = world.token_with(json!({"aud": audience}));
        world.refuses(world.chat_as(&token), Refusal::invalid_token("audience_mismatch")).await;
    }
    let token = world.token_with(json!({"aud": ["api://other", "api://openai-gateway"]}));
    world.admits(&token, world.chat()).await;
}

#[tokio::test]
async fn a_token_of_an_unknown_issuer_is_refused() {
    let world = World::start().await;
    let own = world.azure.issuer.claims()["iss"].as_str().unwrap().to_owned();
    for issuer in ["https://evil.example/v2.0", &format!("{own}/"), &own.to_uppercase()] {
        let token = world.token_with(json!({"iss": issuer}));
        world.refuses(world.chat_as(&token), Refusal::invalid_token("issuer_unknown")).await;
    }
    let token = world.token_with(json!({"iss": null}));
    world.refuses(world.chat_as(&token), Refusal::invalid_token("claims_malformed")).await;
    assert_eq!(world.key_fetches(), 0, "nobody was asked for keys");
}

#[tokio::test]
async fn the_scheme_is_read_in_any_case() {
    let world = World::start().await;
    let token = world.token();
    for scheme in ["bearer", "BEARER", "bEaReR"] {
        let request = world.chat().header("authorization", format!("{scheme} {token}"));
        let reply = Reply::to(request).await.unwrap();
        assert_eq!(reply.status, 200, "{scheme}: {reply:?}");
    }
    for seen in world.azure.openai.requests() {
        world.assert_swapped(&seen, &token);
    }
}

#[tokio::test]
async fn two_credentials_are_refused_even_if_both_are_good() {
    let world = World::start().await;
    let (one, two) = (world.token(), world.token());
    let ambiguous = Refusal::invalid_request("authorization_ambiguous");
    let requests = [
        world.chat_as(&one).bearer_auth(&two),
        world.chat_as(&one).bearer_auth(&one),
        world.chat_as(&one).basic_auth("user", Some("password")),
        world.chat().header("authorization", format!("Bearer {one}, Bearer {two}")),
        world.chat().header("authorization", format!("Bearer {one},")),
    ];
    for request in requests {
        world.refuses(request, ambiguous).await;
    }
}

#[tokio::test]
async fn a_credential_that_is_no_token_is_refused() {
    let world = World::start().await;
    let token = world.token();
    for value in ["Bearer", "Bearer a b", "Bearer \"a\"", &format!("Bearer {token} {token}")] {
        let request = world.chat().header("authorization", value);
        world.refuses(request, Refusal::invalid_request("authorization_malformed")).await;
    }
    for parts in [&token[..token.rfind('.').unwrap()], &format!("{token}.e30.e30"), "a.b.c", "x"] {
        world.refuses(world.chat_as(parts), Refusal::invalid_token("token_malformed")).await;
    }
    let long = format!("{token}{}", "A".repeat(20_000));
    world.refuses(world.chat_as(&long), Refusal::invalid_request("token_too_large")).await;
}

#[tokio::test]
async fn a_header_that_promises_something_else_is_refused() {
    let world = World::start().await;
    let cases = [
        (json!({"crit": ["exp"]}), "extension_unsupported"),
        (json!({"crit": []}), "extension_unsupported"),
        (json!({"typ": "dpop+jwt"}), "type_forbidden"),
        (json!({"typ": "JWE"}), "type_forbidden"),
        (json!({"alg": "RS512"}), "algorithm_forbidden"),
        (json!({"alg": "rs256"}), "algorithm_forbidden"),
        (json!({"alg": null}), "token_malformed"),
        (json!({"kid": "k".repeat(1000)}), "kid_malformed"),
    ];
    for (header, code) in cases {
        let token = world.token_with_header(header);
        world.refuses(world.chat_as(&token), Refusal::invalid_token(code)).await;
    }
    for header in [json!({"typ": "at+jwt"}), json!({"typ": "application/AT+JWT"})] {
        world.admits(&world.token_with_header(header), world.chat()).await;
    }
}

#[tokio::test]
async fn unknown_keys_do_not_make_the_gateway_ask_the_issuer_each_time() {
    // However slow the machine is, none of these fetches is earned again.
    let interval = |plugin: &mut Value| {
        plugin["issuers"][0]["jwks"]["unknown_kid_interval"] = json!("1h");
    };
    let world = World::with(|shipped| shipped.plugin(interval)).await;
    for n in 0..CONNECTIONS {
        let token = world.token_with_header(json!({"kid": format!("unknown-{n}")}));
        world.refuses(world.chat_as(&token), Refusal::invalid_token("key_unknown")).await;
    }
    // Each worker's first, and those that unknown keys may cause at once.
    assert!(world.key_fetches() <= WORKERS + 3, "{} fetches", world.key_fetches());
}

#[tokio::test]
async fn a_token_of_a_new_key_passes_and_one_of_a_retired_key_no_longer() {
    let world = World::with(|shipped| {
        shipped.plugin(|plugin| plugin["issuers"][0]["jwks"]["unknown_kid_interval"] = "1s".into())
    });
    let world = world.await;
    world.assert_every_worker_admits().await;
    sleep(Duration::from_millis(1200)).await;
    let (issuer, old) = (world.azure.issuer.clone(), world.token());
    tokio::task::spawn_blocking(move || issuer.rotate()).await.unwrap();
    world.azure.issuer.retire();

    let before = world.key_fetches();
    world.assert_every_worker_admits().await;
    let fetches = world.key_fetches() - before;
    assert!((1..=WORKERS).contains(&fetches), "{fetches} fetches for the new key");
    let requests = (0..CONNECTIONS).map(|_| world.chat_as(&old));
    for reply in Reply::to_each(requests).await.unwrap() {
        Refusal::invalid_token("key_unknown").is(&reply);
    }
    assert_eq!(world.azure.openai.requests().len(), 2 * CONNECTIONS);
}

#[tokio::test]
async fn the_identity_token_is_replaced_before_it_ends() {
    let world = World::start().await;
    world.azure.imds.set_lifetime(Duration::from_secs(4));
    let token = world.token();
    for _ in 0..28 {
        world.admits(&token, world.chat()).await;
        sleep(Duration::from_millis(200)).await;
    }
    let requests = world.azure.openai.requests();
    let (first, last) = (&requests[0], &requests[requests.len() - 1]);
    assert_ne!(values(first, "authorization"), values(last, "authorization"));
    assert!(world.identity_fetches() < requests.len() / 2, "{}", world.identity_fetches());
}
