use std::time::Duration;

use reqwest::Response;
use serde_json::{Value, json};

use super::AppService;
use crate::{Imds, Options};

const RESOURCE: &str = "https://cognitiveservices.azure.com";
const GOOD: &str = "?resource=https%3A%2F%2Fcognitiveservices.azure.com&api-version=2019-08-01";
const GUID: &str = "00000000-0000-0000-0000-00000000000a";

struct Platform {
    imds: Imds,
    app: AppService,
}

impl Platform {
    async fn start() -> Self {
        let options = Options::default();
        let imds = Imds::start(&options).await.unwrap();
        let app = AppService::start(&options, &imds).await.unwrap();
        Self { imds, app }
    }

    async fn get(&self, query: &str, headers: &[(&str, &str)]) -> Response {
        let request = reqwest::Client::new().get(format!("{}{query}", self.app.endpoint()));
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap()
    }

    /// The status and the body of the answer to a request with the right header.
    async fn ask(&self, query: &str) -> (u16, Value) {
        let answer = self.get(query, &[("x-identity-header", self.app.header())]).await;
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

#[tokio::test]
async fn an_answer_has_the_documented_members() {
    let platform = Platform::start().await;
    let (status, answer) = platform.ask(GOOD).await;
    let [token] = platform.app.issued().try_into().unwrap();
    let expires_on = answer["expires_on"].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(expires_on / 86_400, (crate::clock::now() + 86_400) / 86_400);
    let expected = json!({
        "access_token": token, "client_id": answer["client_id"], "resource": RESOURCE,
        "expires_on": expires_on.to_string(), "token_type": "Bearer"
    });
    assert_eq!((status, answer), (200, expected), "no expires_in");
}

#[tokio::test]
async fn its_tokens_are_known_beside_it_and_distinguished() {
    let platform = Platform::start().await;
    platform.ask(GOOD).await;
    let [token] = platform.app.issued().try_into().unwrap();
    assert!(platform.imds.accepts(&token, RESOURCE) && platform.imds.issued().is_empty());
    platform.app.set_lifetime(Duration::ZERO);
    platform.app.set_refresh_in(Some(Duration::from_mins(1)));
    let (_, answer) = platform.ask(GOOD).await;
    assert_eq!(answer["refresh_in"], "60");
    assert!(!platform.imds.accepts(&platform.app.issued()[1], RESOURCE), "it has expired");
}

#[tokio::test]
async fn nobody_enters_without_the_header() {
    let platform = Platform::start().await;
    let right = ("x-identity-header", platform.app.header());
    for headers in [vec![], vec![("x-identity-header", "guess")], vec![right, right]] {
        let answer = platform.get(GOOD, &headers).await;
        assert_eq!(answer.status(), 401, "{headers:?}");
        let error: Value = answer.json().await.unwrap();
        assert_eq!(error["statusCode"], 401);
    }
    let forwarded = platform.get(GOOD, &[right, ("x-forwarded-for", "10.0.0.1")]).await;
    assert_eq!(forwarded.status(), 400);
    assert!(platform.app.issued().is_empty());
}

#[tokio::test]
async fn a_request_that_is_not_as_documented_is_refused() {
    let platform = Platform::start().await;
    let wrong = [
        String::new(),
        "?resource=r".to_owned(),
        "?api-version=2019-08-01".to_owned(),
        "?api-version=2019-08-01&resource=".to_owned(),
        "?api-version=2018-02-01&resource=r".to_owned(),
        "?api-version=2017-09-01&resource=r".to_owned(),
        format!("{GOOD}&resource=r"),
        format!("{GOOD}&bypass_cache=true"),
        format!("{GOOD}&object_id={GUID}"),
        format!("{GOOD}&msi_res_id=/subscriptions/s"),
        format!("{GOOD}&client_id=nobody"),
        format!("{GOOD}&principal_id="),
        format!("{GOOD}&mi_res_id=nobody"),
        format!("{GOOD}&client_id={GUID}&principal_id={GUID}"),
    ];
    for query in wrong {
        let (status, error) = platform.ask(&query).await;
        assert_eq!((status, &error["statusCode"]), (400, &json!(400)), "{query}");
    }
    assert!(platform.app.issued().is_empty());
}

#[tokio::test]
async fn an_identity_may_be_selected_in_one_way() {
    let platform = Platform::start().await;
    for selector in ["client_id", "principal_id"] {
        let (status, answer) = platform.ask(&format!("{GOOD}&{selector}={GUID}")).await;
        assert_eq!((status, answer["client_id"] == GUID), (200, selector == "client_id"));
    }
    let (status, _) = platform.ask(&format!("{GOOD}&mi_res_id=%2Fsubscriptions%2Fs")).await;
    assert_eq!(status, 200);
}
