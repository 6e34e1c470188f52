use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use super::*;
use crate::http::Uri;

const RESOURCE: &str = "https://cognitiveservices.azure.com";
const MAX_TOKEN: usize = 16 * 1024;

fn identity(source: Source) -> Identity {
    Identity {
        name: "openai".to_owned(),
        resource: RESOURCE.to_owned(),
        cluster: "tokens".to_owned(),
        source,
    }
}

/// The environment of App Service, and a secret.
fn environment(name: &str) -> Option<String> {
    let value = match name {
        "IDENTITY_ENDPOINT" => "http://169.254.129.7:8081/msi/token",
        "IDENTITY_HEADER" => "853b9a84-5bfa-4b22-a3f3-0b9a43d9ad8a",
        "SECRET" => "a b+c&d=e~%",
        _ => return None,
    };
    Some(value.to_owned())
}

fn endpoint(source: Source) -> Endpoint {
    Endpoint::new(identity(source), &environment)
}

fn call(source: Source) -> Call {
    endpoint(source).first_call().unwrap().clone()
}

fn headers(call: &Call) -> Vec<(&str, &str)> {
    call.headers.iter().map(|(name, value)| (*name, value.expose())).collect()
}

fn credentials() -> Source {
    Source::ClientCredentials(ClientCredentials {
        token_uri: Uri::parse("https://login.microsoftonline.com/t/oauth2/v2.0/token").unwrap(),
        client_id: "app id".to_owned(),
        client_secret: ClientSecret::Environment("SECRET".to_owned()),
        scope: format!("{RESOURCE}/.default"),
    })
}

fn now() -> SystemTime {
    at(1_700_000_000)
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A good answer with some members replaced; `null` leaves one out.
fn answer(changes: &Value) -> Result<AccessToken, FetchError> {
    let mut answer = json!({
        "access_token": "eyJ0.e30.c2ln", "refresh_token": "", "expires_in": "3599",
        "expires_on": "1700003599", "not_before": "1699999700", "resource": RESOURCE,
        "token_type": "Bearer"
    });
    let members = answer.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        members.insert(name.clone(), value.clone());
    }
    members.retain(|_, value| !value.is_null());
    parse(answer.to_string().as_bytes(), RESOURCE, now())
}

#[test]
fn imds_is_asked_as_documented_byte_for_byte() {
    let call = call(Source::Imds(Selector::System));
    assert_eq!(
        (call.method, call.authority.as_str(), call.path.as_str()),
        (
            "GET",
            "169.254.169.254",
            "/metadata/identity/oauth2/token?api-version=2018-02-01\
             &resource=https%3A%2F%2Fcognitiveservices.azure.com"
        )
    );
    assert_eq!((headers(&call), &call.body), (vec![("metadata", "true")], &None));
}

#[test]
fn app_service_is_asked_where_the_environment_says_byte_for_byte() {
    let call = call(Source::AppService(Selector::System));
    assert_eq!(
        (call.method, call.authority.as_str(), call.path.as_str()),
        (
            "GET",
            "169.254.129.7:8081",
            "/msi/token?resource=https%3A%2F%2Fcognitiveservices.azure.com&api-version=2019-08-01"
        )
    );
    let header = ("x-identity-header", "853b9a84-5bfa-4b22-a3f3-0b9a43d9ad8a");
    assert_eq!((headers(&call), &call.body), (vec![header], &None));
}

#[test]
fn a_token_endpoint_is_asked_with_a_form_byte_for_byte() {
    let call = call(credentials());
    assert_eq!(
        (call.method, call.authority.as_str(), call.path.as_str()),
        ("POST", "login.microsoftonline.com", "/t/oauth2/v2.0/token")
    );
    let form = ("content-type", "application/x-www-form-urlencoded");
    assert_eq!(headers(&call), [("accept", "application/json"), form]);
    assert_eq!(
        call.body.unwrap().expose(),
        "grant_type=client_credentials&client_id=app%20id\
         &scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default\
         &client_secret=a%20b%2Bc%26d%3De~%25"
    );
}

/// What the AKS webhook sets.
fn pod(name: &str) -> Option<String> {
    let value = match name {
        "AZURE_TENANT_ID" => "72f988bf-86f1-41af-91ab-2d7cd011db47",
        "AZURE_CLIENT_ID" => "11111111-2222-3333-4444-555555555555",
        "AZURE_AUTHORITY_HOST" => "https://login.microsoftonline.us/",
        _ => return None,
    };
    Some(value.to_owned())
}

fn workload(tenant: Option<&str>, client: Option<&str>, authority: Option<&str>) -> Source {
    Source::WorkloadIdentity(WorkloadIdentity {
        token_file: File { cluster: "token_file".to_owned(), path: "/".to_owned() },
        tenant_id: tenant.map(str::to_owned),
        client_id: client.map(str::to_owned),
        authority_host: authority.map(|uri| Uri::parse(uri).unwrap()),
    })
}

/// The call that exchanges the token in the file.
fn exchange(source: Source, environment: Environment<'_>) -> Result<Call, FetchError> {
    let file = b"\n a.b-_0.c \n".to_vec();
    let answer = Answer::Arrived { status: 200, retry_after: None, body: file };
    Endpoint::new(identity(source), environment).token_call(&answer)
}

#[test]
fn a_projected_token_is_exchanged_with_a_form_byte_for_byte() {
    let call = exchange(workload(None, None, None), &pod).unwrap();
    assert_eq!(
        (call.method, call.authority.as_str(), call.path.as_str()),
        (
            "POST",
            "login.microsoftonline.us",
            "/72f988bf-86f1-41af-91ab-2d7cd011db47/oauth2/v2.0/token"
        )
    );
    let form = ("content-type", "application/x-www-form-urlencoded");
    assert_eq!(headers(&call), [("accept", "application/json"), form]);
    assert_eq!(
        call.body.unwrap().expose(),
        "grant_type=client_credentials&client_id=11111111-2222-3333-4444-555555555555\
         &scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default\
         &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
         &client_assertion=a.b-_0.c"
    );
}

#[test]
fn what_the_configuration_names_goes_before_the_environment() {
    let source = workload(Some("a/b"), Some("c d"), Some("https://proxy.example.com/base/"));
    let call = exchange(source, &pod).unwrap();
    assert_eq!(call.authority, "proxy.example.com");
    assert_eq!(call.path, "/base/a%2Fb/oauth2/v2.0/token", "the path of a token proxy stays");
    assert!(call.body.unwrap().expose().contains("&client_id=c%20d&"));
    let call = exchange(workload(Some("t"), Some("c"), None), &|_| None).unwrap();
    assert_eq!(call.authority, "login.microsoftonline.com", "the public cloud, as for SDKs");
}

#[test]
fn a_workload_identity_without_its_variables_says_which_is_missing() {
    let without = |missing: &'static str| move |name: &str| pod(name).filter(|_| name != missing);
    for missing in ["AZURE_TENANT_ID", "AZURE_CLIENT_ID"] {
        let error = exchange(workload(None, None, None), &without(missing)).unwrap_err();
        assert_eq!(error, FetchError::Unset(missing.into()));
    }
    for wrong in ["login.microsoftonline.com", "https://a/?b", "http://169.254.169.254/", ""] {
        let environment = |name: &str| {
            if name == "AZURE_AUTHORITY_HOST" { Some(wrong.to_owned()) } else { pod(name) }
        };
        let error = exchange(workload(None, None, None), &environment).unwrap_err();
        assert_eq!(error, FetchError::Unset("AZURE_AUTHORITY_HOST".into()), "{wrong}");
    }
}

#[test]
fn each_file_and_each_client_has_a_record_of_its_own() {
    let all = |source| {
        let endpoint = Endpoint::new(identity(source), &pod);
        crate::fetch::record_key("identity", &endpoint.calls())
    };
    let other_file = Source::WorkloadIdentity(WorkloadIdentity {
        token_file: File { cluster: "token_file".to_owned(), path: "/other".to_owned() },
        tenant_id: None,
        client_id: None,
        authority_host: None,
    });
    let keys =
        [all(workload(None, None, None)), all(workload(None, Some("c"), None)), all(other_file)];
    assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
}

#[test]
fn a_user_assigned_identity_is_selected_by_exactly_one_parameter() {
    type Kind = fn(Selector) -> Source;
    let kinds: [(Kind, [&str; 3]); 2] = [
        (Source::Imds, ["client_id", "object_id", "msi_res_id"]),
        (Source::AppService, ["client_id", "principal_id", "mi_res_id"]),
    ];
    let id = "/subscriptions/a b/x&y=z";
    for (kind, names) in kinds {
        let unselected = call(kind(Selector::System)).path;
        let selectors = [Selector::ClientId, Selector::ObjectId, Selector::ResourceId];
        for (selector, name) in selectors.into_iter().zip(names) {
            let path = call(kind(selector(id.to_owned()))).path;
            let expected = format!("{unselected}&{name}=%2Fsubscriptions%2Fa%20b%2Fx%26y%3Dz");
            assert_eq!(path, expected);
        }
    }
}

#[test]
fn an_endpoint_that_has_a_query_already_keeps_it() {
    let environment = |name: &str| match name {
        "IDENTITY_ENDPOINT" => Some("http://localhost:42356/msi/token?v=1".to_owned()),
        name => environment(name),
    };
    let identity = identity(Source::AppService(Selector::System));
    let endpoint = Endpoint::new(identity, &environment);
    assert!(endpoint.first_call().unwrap().path.starts_with("/msi/token?v=1&resource=https"));
}

#[test]
fn a_variable_that_is_not_set_or_not_usable_fails_the_fetch_and_says_which() {
    let app_service = || Source::AppService(Selector::System);
    let not_printable = ["", "a\n", "a\r\nx: y", "\u{e4}", "\0", "a\u{7f}"];
    let no_address = ["localhost", "/msi/token", "ftp://localhost/", "http://a@b/", "http://"];
    let unusable = no_address.iter().chain(&not_printable).copied().map(Some);
    let rows = [
        (app_service(), "IDENTITY_ENDPOINT", unusable.chain([None]).collect::<Vec<_>>()),
        (
            app_service(),
            "IDENTITY_HEADER",
            not_printable.map(Some).into_iter().chain([None]).collect(),
        ),
        (credentials(), "SECRET", not_printable.map(Some).into_iter().chain([None]).collect()),
    ];
    for (source, name, values) in rows {
        for value in values {
            let changed = |asked: &str| match value {
                _ if asked != name => environment(asked),
                value => value.map(str::to_owned),
            };
            let endpoint = Endpoint::new(identity(source.clone()), &changed);
            assert_eq!(endpoint.first_call(), None, "{name} {value:?}");
            let error = endpoint.read(&Answer::Lost, now()).unwrap_err();
            assert_eq!(error, FetchError::Unset(name.into()), "{value:?}");
            assert_eq!(error.code(), "unset");
        }
    }
}

#[test]
fn no_secret_of_the_environment_is_shown() {
    for source in [Source::AppService(Selector::System), credentials()] {
        let shown = format!("{:?}", endpoint(source));
        assert!(!shown.contains("853b9a84") && !shown.contains("c%26d"), "{shown}");
    }
}

#[test]
fn numbers_are_read_as_strings_and_as_numbers() {
    let as_strings = answer(&json!({})).unwrap();
    let as_numbers = answer(&json!({"expires_on": 1_700_003_599, "expires_in": 3599})).unwrap();
    assert_eq!(as_strings.expires, at(1_700_003_599));
    assert_eq!(as_numbers.expires, as_strings.expires);
    assert_eq!(as_strings.authorization().expose(), "Bearer eyJ0.e30.c2ln");
}

#[test]
fn without_expires_on_the_token_lives_from_now() {
    let token = answer(&json!({"expires_on": null})).unwrap();
    assert_eq!(token.expires, at(1_700_003_599));
}

#[test]
fn a_token_is_replaced_when_azure_says_or_in_good_time() {
    let lives = |life: u64, refresh_in: Value| {
        let expires_on = (1_700_000_000 + life).to_string();
        let token = answer(&json!({"expires_on": expires_on, "refresh_in": refresh_in})).unwrap();
        let since = |time: SystemTime| time.duration_since(now()).unwrap().as_secs();
        (since(token.refresh_at(now())), since(token.unusable_at(now())))
    };
    assert_eq!(lives(86_400, json!(null)), (43_200, 86_340), "half of a long life");
    assert_eq!(lives(7200, json!(null)), (3600, 7140), "which begins at two hours");
    assert_eq!(lives(7199, json!(null)), (6899, 7139), "five minutes before the end");
    assert_eq!(lives(60, json!(null)), (30, 45), "half of a very short life");
    assert_eq!(lives(86_400, json!("1800")), (1800, 86_340), "Azure says so");
    assert_eq!(lives(3600, json!(86_400)), (3300, 3540), "Azure says nonsense");
    assert_eq!(lives(86_400, json!("0")), (43_200, 86_340), "and again");
}

#[test]
fn a_bad_answer_is_not_a_token() {
    let long = "a".repeat(MAX_TOKEN + 1);
    let rows = [
        (json!({"token_type": "pop"}), "token_type"),
        (json!({"token_type": null}), "token_type"),
        (json!({"token_type": ["Bearer"]}), "token_type"),
        (json!({"access_token": null}), "token"),
        (json!({"access_token": ""}), "token"),
        (json!({"access_token": "to ken"}), "token"),
        (json!({"access_token": "t\u{f6}ken"}), "token"),
        (json!({"access_token": "t\r\nx: y"}), "token"),
        (json!({"access_token": 1}), "token"),
        (json!({"access_token": long}), "token"),
        (json!({"expires_on": null, "expires_in": null}), "expiry"),
        (json!({"expires_on": "06/20/2017 02:57:58", "expires_in": null}), "expiry"),
        (json!({"expires_on": -5, "expires_in": null}), "expiry"),
        (json!({"expires_on": "1700000000"}), "expiry"),
        (json!({"expires_on": "1700000001"}), "expiry"),
        (json!({"expires_on": null, "expires_in": "0"}), "expiry"),
        (json!({"expires_on": null, "expires_in": 1}), "expiry"),
        (json!({"expires_on": u64::MAX, "expires_in": u64::MAX}), "expiry"),
        (json!({"resource": "https://ai.azure.com"}), "resource"),
        (json!({"resource": "https://cognitiveservices.azure.com//"}), "resource"),
        (json!({"resource": ""}), "resource"),
        (json!({"resource": [RESOURCE]}), "resource"),
        (json!({"not_before": "1700000301"}), "not_before"),
        (json!({"not_before": 1_700_003_000}), "not_before"),
    ];
    for (changes, code) in rows {
        assert_eq!(answer(&changes).unwrap_err().code(), code, "{changes}");
    }
    let bodies = [
        ("", "truncated"),
        ("{\"access_token\": \"ey", "truncated"),
        ("<html>", "not_json"),
        ("\u{feff}{}", "not_json"),
        ("[]", "malformed"),
        ("{\"token_type\":\"Bearer\",\"token_type\":\"Bearer\"}", "repeated"),
    ];
    for (body, code) in bodies {
        let error = parse(body.as_bytes(), RESOURCE, now()).unwrap_err();
        assert_eq!(error.code(), code, "{body}");
    }
}

#[test]
fn a_token_just_good_enough_is_a_token() {
    let good = [
        json!({"token_type": "bearer"}),
        json!({"access_token": "a".repeat(MAX_TOKEN)}),
        json!({"expires_on": "1700000002"}),
        json!({"resource": "https://cognitiveservices.azure.com/"}),
        json!({"resource": null}),
        json!({"not_before": "1700000300"}),
        json!({"not_before": null}),
    ];
    for changes in good {
        assert!(answer(&changes).is_ok(), "{changes}");
    }
}

#[test]
fn a_refusal_may_say_why_in_one_plain_word() {
    let endpoint = endpoint(credentials());
    let refused = |status, body: &str| {
        let body = body.as_bytes().to_vec();
        let answer = Answer::Arrived { status, retry_after: None, body };
        endpoint.read(&answer, now()).unwrap_err().to_string()
    };
    let named = refused(401, r#"{"error":"invalid_client","error_description":"AADSTS7000215"}"#);
    assert_eq!(named, "status 401, invalid_client");
    let numbered = refused(400, r#"{"error":"invalid_request","error_codes":[900144]}"#);
    assert_eq!(numbered, "status 400, invalid_request, AADSTS900144");
    assert_eq!(
        refused(400, r#"{"error":"no plain word","error_codes":[9]}"#),
        "status 400, AADSTS9"
    );
    let secret = refused(401, r#"{"error":"invalid_client","error_codes":[7000215]}"#);
    assert_eq!(secret, "AADSTS7000215, the client secret is wrong");
    let long = format!(r#"{{"error":"{}"}}"#, "a".repeat(41));
    let unnamed = [
        r#"{"error":"Invalid client"}"#,
        r#"{"error":"eyJ0.e30.c2ln"}"#,
        r#"{"error":""}"#,
        r#"{"error":{"code":"x"}}"#,
        r#"{"error":"invalid_client""#,
        r#"{"error":"a","error":"b"}"#,
        "<html>",
        long.as_str(),
    ];
    for body in unnamed {
        assert_eq!(refused(400, body), "status 400", "{body}");
    }
    assert_eq!(refused(500, r#"{"error":"server_error"}"#), "status 500");
    assert_eq!(refused(504, ""), "status 504, timeout");
}

#[test]
fn a_backends_explanation_is_one_line_without_anything_like_a_token() {
    let azures = "Access token is missing, invalid, audience is incorrect \
                  (https://cognitiveservices.azure.com), or have expired.";
    let body = |message: &str| json!({"error": {"code": "401", "message": message}}).to_string();
    assert_eq!(explanation(body(azures).as_bytes()).as_deref(), Some(azures));
    let token = format!("The token {} is not valid.", "eyJ0".repeat(30));
    for message in ["", "two\nlines", "t\u{f6}ken", &token, &"word ".repeat(100)] {
        assert_eq!(explanation(body(message).as_bytes()), None, "{message}");
    }
    for body in ["", "<html>", "[]", "{\"error\":\"x\"}", "{\"error\":{\"message\":1}}"] {
        assert_eq!(explanation(body.as_bytes()), None, "{body}");
    }
}
