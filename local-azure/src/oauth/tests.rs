use std::time::Duration;

use serde_json::{Value, json};

use super::OAuth;
use crate::{FederatedCredential, Imds, Issuer, Options};

const RESOURCE: &str = "https://cognitiveservices.azure.com";
const FORM: &str = "application/x-www-form-urlencoded";
const GOOD: &str = "grant_type=client_credentials&client_id=6731de76-14a6-49ae-97bc-6eba6914391e\
                    &client_secret=xUn8Q~.k0Vd%2BR7%20s%264%3D%25tZ-w_1\
                    &scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default";

struct Entra {
    imds: Imds,
    oauth: OAuth,
}

impl Entra {
    async fn start() -> Self {
        let options = Options::default();
        let imds = Imds::start(&options).await.unwrap();
        let oauth = OAuth::start(&options, &imds).await.unwrap();
        Self { imds, oauth }
    }

    async fn post(&self, content_type: &str, body: &str) -> (u16, Value) {
        let url = format!("http://{}/tenant/oauth2/v2.0/token", self.oauth.address());
        let request = reqwest::Client::new().post(url).header("content-type", content_type);
        let answer = request.body(body.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

#[tokio::test]
async fn an_answer_has_the_documented_members() {
    let entra = Entra::start().await;
    let (status, answer) = entra.post(FORM, GOOD).await;
    let issued = entra.oauth.issued();
    let expected = json!({
        "token_type": "Bearer", "expires_in": 3600, "ext_expires_in": 3600, "access_token": issued[0]
    });
    assert_eq!((status, answer), (200, expected));
    assert!(entra.imds.accepts(&issued[0], RESOURCE) && entra.imds.issued().is_empty());
    entra.oauth.set_lifetime(Duration::from_secs(7));
    entra.oauth.set_refresh_in(Some(Duration::from_secs(3)));
    let (_, answer) = entra.post(FORM, GOOD).await;
    assert_eq!((&answer["expires_in"], &answer["refresh_in"]), (&json!(7), &json!(3)));
}

#[tokio::test]
async fn a_request_that_is_not_right_in_every_part_is_refused_with_the_documented_error() {
    let entra = Entra::start().await;
    let changed = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        (FORM, GOOD.replace(from, to))
    };
    let rows = [
        ((FORM, String::new()), 400, "invalid_request"),
        (("application/json", "{}".to_owned()), 400, "invalid_request"),
        ((FORM, format!("{GOOD}&scope=x")), 400, "invalid_request"),
        ((FORM, format!("{GOOD}&resource=x")), 400, "invalid_request"),
        (changed("&client_secret=", "&client_secret=&x="), 400, "invalid_request"),
        (changed("xUn8Q~.k0Vd%2BR7%20s%264%3D%25tZ-w_1", ""), 400, "invalid_request"),
        (changed("client_credentials", "password"), 400, "unsupported_grant_type"),
        (changed("6731de76", "00000000"), 400, "unauthorized_client"),
        (changed("xUn8Q", "xUn8q"), 401, "invalid_client"),
        (changed("%2BR7", "+R7"), 401, "invalid_client"),
        (changed("%2F.default", ""), 400, "invalid_scope"),
    ];
    for ((content_type, body), status, error) in rows {
        let answer = entra.post(content_type, &body).await;
        assert_eq!((answer.0, answer.1["error"].as_str()), (status, Some(error)), "{body}");
        assert!(answer.1["error_description"].as_str().unwrap().starts_with("AADSTS"));
    }
    assert!(entra.oauth.issued().is_empty());
}

const EXCHANGE: &str = "grant_type=client_credentials\
                        &client_id=6731de76-14a6-49ae-97bc-6eba6914391e\
                        &scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default\
                        &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3A\
                        client-assertion-type%3Ajwt-bearer&client_assertion=";

#[tokio::test]
async fn a_token_of_a_trusted_issuer_stands_for_a_secret_and_any_difference_has_its_number() {
    let entra = Entra::start().await;
    let cluster = Issuer::start(&Options::default()).await.unwrap();
    let stranger = Issuer::start(&Options::default()).await.unwrap();
    let claims = |changes: Value| {
        let account = json!({ "iss": "https://cluster.example", "sub": "system:serviceaccount:a:b",
            "aud": ["api://AzureADTokenExchange"] });
        let mut claims = cluster.claims_with(&account);
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        claims
    };
    let exchange = async |token: &str| {
        let (status, answer) = entra.post(FORM, &format!("{EXCHANGE}{token}")).await;
        (status, answer["error_codes"][0].as_u64())
    };
    let good = cluster.mint(&claims(json!({})));
    assert_eq!(exchange(&good).await, (401, Some(70_025)), "no credential yet");
    entra.oauth.set_federated_credentials(vec![FederatedCredential {
        issuer: "https://cluster.example".into(),
        subject: "system:serviceaccount:a:b".into(),
        audience: "api://AzureADTokenExchange".into(),
        keys: cluster.key_set(),
    }]);
    assert_eq!(exchange(&good).await, (200, None));
    let one_audience = claims(json!({ "aud": "api://AzureADTokenExchange" }));
    assert_eq!(exchange(&cluster.mint(&one_audience)).await, (200, None));
    assert_eq!(entra.oauth.issued().len(), 2);
    let rows = [
        ("a.b.c".to_owned(), 50_027),
        (cluster.mint(&claims(json!({ "iss": "https://cluster.example/" }))), 700_211),
        (cluster.mint(&claims(json!({ "sub": "system:serviceaccount:a:B" }))), 700_213),
        (cluster.mint(&claims(json!({ "aud": "api://azureadtokenexchange" }))), 700_212),
        (cluster.mint(&claims(json!({ "exp": 1 }))), 700_024),
        (cluster.mint(&claims(json!({ "nbf": 4_000_000_000_u64 }))), 700_024),
        (stranger.mint(&claims(json!({}))), 700_027),
        (cluster.mint_as("RS512", &claims(json!({}))), 700_027),
    ];
    for (token, code) in rows {
        assert_eq!(exchange(&token).await, (401, Some(code)), "{token}");
    }
    let body = format!("{EXCHANGE}{good}&client_secret=x");
    assert_eq!(entra.post(FORM, &body).await.0, 400, "one or the other");
    let body = format!("{EXCHANGE}{good}").replace("jwt-bearer", "saml2-bearer");
    assert_eq!(entra.post(FORM, &body).await.0, 400);
    assert_eq!(entra.oauth.issued().len(), 2);
}

#[tokio::test]
async fn nothing_else_is_served() {
    let entra = Entra::start().await;
    let base = format!("http://{}", entra.oauth.address());
    let status = async |path: &str| reqwest::get(format!("{base}{path}")).await.unwrap().status();
    assert_eq!(status("/tenant/oauth2/v2.0/token").await, 405);
    assert_eq!(status("/tenant/oauth2/token").await, 404);
}
