use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::{Method, Response};
use serde_json::Value;

use super::Imds;
use crate::Options;

const RESOURCE: &str = "https://cognitiveservices.azure.com";
const GOOD: &str = "?api-version=2018-02-01&resource=https%3A%2F%2Fcognitiveservices.azure.com";
const GUID: &str = "00000000-0000-0000-0000-00000000000a";

#[tokio::test]
async fn a_token_comes_with_strings_only() {
    let imds = start().await;
    let answer: Value = get(&imds, GOOD, &TRUE).await.json().await.unwrap();
    let text = |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("{name}: {answer}"));

    assert!(text("access_token").starts_with("eyJ0eXAi"));
    assert_eq!(text("token_type"), "Bearer");
    assert_eq!(text("resource"), RESOURCE);
    assert_eq!(text("refresh_token"), "");
    assert_eq!(text("expires_in"), "86400");
    let number = |name| text(name).parse::<u64>().unwrap();
    assert_eq!(number("expires_on"), number("not_before") + 86400);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(number("not_before").abs_diff(now) <= 2);
    assert!(!text("client_id").is_empty());
    assert!(answer.get("refresh_in").is_none());
}

#[tokio::test]
async fn lifetime_and_refresh_in_are_as_set() {
    let imds = start().await;
    imds.set_lifetime(Duration::from_mins(10));
    imds.set_refresh_in(Some(Duration::from_mins(1)));
    let answer: Value = get(&imds, GOOD, &TRUE).await.json().await.unwrap();
    assert_eq!((&answer["expires_in"], &answer["refresh_in"]), (&"600".into(), &"60".into()));
}

#[tokio::test]
async fn every_token_is_new_and_good_for_its_resource_until_it_expires() {
    let imds = start().await;
    get(&imds, GOOD, &TRUE).await;
    get(&imds, GOOD, &TRUE).await;
    imds.set_lifetime(Duration::ZERO);
    get(&imds, GOOD, &TRUE).await;

    let issued = imds.issued();
    let [first, second, expired] = issued.as_slice() else { panic!("{} tokens", issued.len()) };
    assert_ne!(first, second);
    assert!(imds.accepts(first, RESOURCE) && imds.accepts(second, RESOURCE));
    assert!(!imds.accepts(first, "https://ai.azure.com"));
    assert!(!imds.accepts(expired, RESOURCE));
    assert!(!imds.accepts("eyJ0eXAi.foreign.token", RESOURCE));
}

#[tokio::test]
async fn a_request_without_the_metadata_header_is_refused() {
    let imds = start().await;
    let wrong: [&[_]; 4] =
        [&[], &[("metadata", "True")], &[("metadata", "")], &[TRUE[0], ("metadata", "true")]];
    for headers in wrong {
        let (status, error) = refusal(get(&imds, GOOD, headers).await).await;
        assert_eq!((status, error["error"].as_str()), (400, Some("bad_request_102")));
        assert_eq!(error["error_description"], "Required metadata header not specified");
    }
    assert!(imds.issued().is_empty());
}

#[tokio::test]
async fn a_forwarded_request_is_refused() {
    let imds = start().await;
    for forwarded in ["10.0.0.1", ""] {
        let headers = [TRUE[0], ("x-forwarded-for", forwarded)];
        assert_eq!(get(&imds, GOOD, &headers).await.status(), 400);
    }
}

#[tokio::test]
async fn a_query_that_is_not_exactly_right_is_refused() {
    let imds = start().await;
    let wrong = [
        String::new(),
        "?api-version=2018-02-01".into(),
        "?api-version=2018-02-01&resource=".into(),
        "?resource=r".into(),
        "?api-version=&resource=r".into(),
        "?api-version=2021-02-01&resource=r".into(),
        "?api-version=2018-02-01&resource=r&resource=r".into(),
        "?api-version=2018-02-01&api-version=2018-02-01&resource=r".into(),
        format!("{GOOD}&other=1&other=2"),
        format!("{GOOD}&client_id={GUID}&object_id={GUID}"),
        format!("{GOOD}&client_id={GUID}&msi_res_id=/subscriptions/s"),
        format!("{GOOD}&client_id=nobody"),
        format!("{GOOD}&client_id="),
        format!("{GOOD}&object_id=nobody"),
        format!("{GOOD}&msi_res_id=nobody"),
    ];
    for query in wrong {
        let (status, error) = refusal(get(&imds, &query, &TRUE).await).await;
        assert_eq!((status, error["error"].as_str()), (400, Some("invalid_request")), "{query}");
    }
    assert!(imds.issued().is_empty());
}

#[tokio::test]
async fn an_identity_may_be_selected_in_one_way() {
    let imds = start().await;
    let newer = "?api-version=2019-08-01&resource=r";
    for selector in ["", "&object_id=", "&client_id="] {
        let id = if selector.is_empty() { "" } else { GUID };
        let answer = get(&imds, &format!("{newer}{selector}{id}"), &TRUE).await;
        assert_eq!(answer.status(), 200, "{selector}");
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["client_id"] == GUID, selector == "&client_id=");
    }
    let by_name = format!("{newer}&msi_res_id=%2Fsubscriptions%2Fs");
    assert_eq!(get(&imds, &by_name, &TRUE).await.status(), 200);
}

#[tokio::test]
async fn a_slash_at_the_end_of_the_path_makes_no_difference() {
    let imds = start().await;
    assert_eq!(get(&imds, &format!("/{GOOD}"), &TRUE).await.status(), 200);
    assert_eq!(get(&imds, &format!("/{GOOD}"), &[]).await.status(), 400);
}

#[tokio::test]
async fn nothing_else_is_served() {
    let imds = start().await;
    let base = format!("http://{}", imds.address());
    let client = reqwest::Client::new();
    for (method, path, expected) in [
        (Method::POST, "/metadata/identity/oauth2/token", 405),
        (Method::GET, "/metadata/instance", 404),
        (Method::GET, "/metadata/identity/oauth2/token/x", 404),
    ] {
        let request = client.request(method, format!("{base}{path}{GOOD}"));
        let (status, error) =
            refusal(request.header("metadata", "true").send().await.unwrap()).await;
        assert_eq!(status, expected, "{path}");
        assert!(error["error_description"].is_string());
    }
}

const TRUE: [(&str, &str); 1] = [("mEtAdAtA", "true")];

async fn start() -> Imds {
    Imds::start(&Options::default()).await.unwrap()
}

async fn get(imds: &Imds, query: &str, headers: &[(&str, &str)]) -> Response {
    let url = format!("http://{}/metadata/identity/oauth2/token{query}", imds.address());
    let request = reqwest::Client::new().get(url);
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.send().await.unwrap()
}

async fn refusal(answer: Response) -> (u16, Value) {
    (answer.status().as_u16(), answer.json().await.unwrap())
}
