//! Values that mean nothing, and values that do not go together.

use serde_json::json;

use super::{assert_refused, assert_texts_refused, base, message, parse};

#[test]
fn a_duration_is_bounded_and_has_a_unit() {
    let expected = "a duration from 1ms to 30d, such as \"60s\"";
    let texts = ["", "5", "0s", "-5s", "soon", "999us", "31d", "99999999999999999999y"];
    for key in ["jwks/timeout", "jwks/refresh", "jwks/max_age", "jwks/unknown_kid_interval"] {
        assert_texts_refused(&format!("/issuers/0/{key}"), expected, &texts);
    }
    assert_texts_refused("/issuers/0/max_lifetime", expected, &texts);
    let expected = "a duration up to 5m, such as \"60s\"";
    assert_texts_refused(
        "/issuers/0/leeway",
        expected,
        &["", "5", "-5s", "soon", "301s", "5m 1ms"],
    );
    let problem = "expected at least `refresh`, which is 1h, found 59m";
    assert_refused("/issuers/0/jwks/max_age", json!("59m"), problem);
}

const KNOWN_ISSUERS: &str =
    r#""login.example.com", "partner", "entra", "accounts.example.com", "offline.example.com""#;

#[test]
fn a_name_must_be_that_of_something_configured() {
    let rows = [
        ("/routes/0/identity", "search", r#""container", "openai", "outside", "workload""#),
        ("/routes/0/identity", "", r#""container", "openai", "outside", "workload""#),
        ("/routes/0/allow/1/issuer", "https://idp.example.com/", KNOWN_ISSUERS),
    ];
    for (pointer, name, known) in rows {
        let problem = format!("expected one of {known}, found {name:?}");
        assert_refused(pointer, json!(name), &problem);
    }
    let problem = "routes[0].identity: expected no such key, since there is nothing to name, found \"openai\"";
    assert_eq!(message("/identities", Some(json!({}))), problem);
}

#[test]
fn what_must_be_unique_is_refused_the_second_time() {
    let rows = [
        ("/issuers/1/issuer", "https://login.example.com/v2", "issuers[0]"),
        ("/issuers/1/name", "login.example.com", "issuers[0]"),
        ("/issuers/2/name", "partner", "issuers[1]"),
        ("/issuers/3/name", "entra", "issuers[2]"),
        ("/routes/2/name", "chat", "routes[0]"),
    ];
    for (pointer, name, first) in rows {
        let problem =
            format!("expected a value of its own, found {name:?}, which {first} has already");
        assert_refused(pointer, json!(name), &problem);
    }
}

#[test]
fn an_issuer_without_a_usable_host_needs_a_name() {
    for issuer in ["urn:example:issuer", "an issuer", "https://[::1]/"] {
        let expected = "expected the key `name`, or an issuer whose host can be the name";
        assert_eq!(
            message("/issuers/0/issuer", Some(json!(issuer))),
            format!("issuers[0]: {expected}, found the issuer {issuer:?}")
        );
    }
}

#[test]
fn an_identity_has_one_selector_at_most() {
    for key in ["object_id", "msi_res_id"] {
        assert_eq!(
            message(&format!("/identities/openai/imds/{key}"), Some(json!("x"))),
            "identities.openai.imds: expected at most one of `client_id`, `object_id`, \
             `msi_res_id`, found several"
        );
    }
}

#[test]
fn an_identity_of_an_application_has_one_selector_at_most() {
    for key in ["client_id", "principal_id"] {
        assert_eq!(
            message(&format!("/identities/container/app_service/{key}"), Some(json!("x"))),
            "identities.container.app_service: expected at most one of `client_id`, \
             `principal_id`, `mi_res_id`, found several"
        );
    }
}

#[test]
fn an_identity_has_exactly_one_source() {
    let expected =
        "expected one of `imds`, `app_service`, `client_credentials`, `workload_identity`";
    assert_eq!(
        message("/identities/openai/imds", None),
        format!("identities.openai: {expected}, found none of them")
    );
    for name in ["container", "outside"] {
        let found = message(&format!("/identities/{name}/imds"), Some(json!({ "cluster": "c" })));
        assert_eq!(found, format!("identities.{name}: {expected}, found several"));
    }
}

#[test]
fn a_client_secret_is_in_one_place() {
    let expected = "identities.outside.client_credentials: expected one of `client_secret_env`, \
                    `client_secret_file`";
    let credentials = "/identities/outside/client_credentials";
    assert_eq!(
        message(&format!("{credentials}/client_secret_env"), None),
        format!("{expected}, found none of them")
    );
    let file = Some(json!({ "cluster": "secret_file" }));
    assert_eq!(
        message(&format!("{credentials}/client_secret_file"), file),
        format!("{expected}, found both")
    );
}

#[test]
fn an_authority_is_an_address_without_a_query() {
    let expected = "a URI such as \"https://login.microsoftonline.com/\", without user information \
                    and query and not link-local";
    let texts =
        ["", "login.microsoftonline.com", "https://a/?b", "ftp://a/", "http://169.254.1.1/"];
    assert_texts_refused("/identities/workload/workload_identity/authority_host", expected, &texts);
}

#[test]
fn a_token_endpoint_has_an_absolute_uri() {
    let expected = "a URI such as \"https://idp.example.com/token\", without user information and \
                  not link-local";
    let texts = ["", "/token", "ftp://a/token", "http://169.254.169.254/t"];
    assert_texts_refused("/identities/outside/client_credentials/token_uri", expected, &texts);
}

#[test]
fn user_information_in_a_uri_is_refused_and_not_quoted() {
    let places = ["/issuers/0/jwks/uri", "/identities/outside/client_credentials/token_uri"];
    for place in places {
        let message = message(place, Some(json!("https://u:hunter2@idp.example.com/")));
        assert!(message.ends_with("not link-local, found user information"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn a_secret_in_place_of_its_variables_name_is_not_quoted() {
    let pointer = "/identities/outside/client_credentials/client_secret_env";
    let long = "A".repeat(129);
    for text in ["", "xUn8Q~.k0Vd", "a b", "1A", "A=B", "\u{c4}", "$APP_SECRET", long.as_str()] {
        let problem = "expected the name of an environment variable: up to 128 of A-Z a-z 0-9 _, \
                       found another text";
        assert_refused(pointer, json!(text), problem);
    }
    let secret =
        message("/identities/outside/client_credentials/client_secret", Some(json!("xUn8Q")));
    assert!(secret.contains("client_secret: expected one of ") && !secret.contains("xUn8Q"));
}

#[test]
fn a_public_route_asks_for_nothing_and_gets_nothing() {
    let problem = "expected no such key on a public route, which needs no token, found one";
    assert_refused("/routes/2/allow", json!([{}]), problem);
    assert_refused("/routes/2/identity", json!("openai"), problem);
    assert_refused("/routes/2/forward_claims", json!({ "x-id": "oid" }), problem);
    assert_refused("/routes/2/deployment", json!("body.model"), problem);
    assert_refused("/routes/2/deployment_header", json!("x-deployment"), problem);
    assert_refused("/routes/2/deployments", json!(["gpt-4o"]), problem);
    assert_refused("/routes/2/credential", json!(["api-key"]), problem);
}

#[test]
fn a_health_route_is_the_gateways_own() {
    let problem =
        "expected no such key on a health route, which the gateway itself answers, found one";
    let extra = [
        ("allow", json!([{}])),
        ("identity", json!("openai")),
        ("forward_claims", json!({ "x-id": "oid" })),
        ("deployment", json!("body.model")),
        ("public", json!(true)),
        ("cors", json!(true)),
    ];
    for (key, value) in extra {
        let mut document = base();
        let route = document["routes"][2].as_object_mut().unwrap();
        route.remove("public");
        route.insert("health".to_owned(), json!(true));
        assert!(parse(&document).is_ok());
        document["routes"][2][key] = value;
        assert_eq!(parse(&document).map(drop), Err(format!("routes[2].{key}: {problem}")));
    }
}

#[test]
fn a_route_that_is_not_public_says_who_may_pass() {
    let problem = |at| {
        format!("routes[{at}]: expected one of `allow`, `public`, `health`, found none of them")
    };
    assert_eq!(message("/routes/0/allow", None), problem(0));
    assert_eq!(message("/routes/2/public", None), problem(2));
    assert_eq!(message("/routes/2/public", Some(json!(false))), problem(2));
}

#[test]
fn a_deployment_is_granted_only_where_the_path_names_one() {
    let problem = "expected a segment {deployment} in `match.path`, or \"body.model\" or \"query\" as \
                   the route's `deployment`, found neither";
    assert_refused("/routes/1/allow/0/deployments", json!(["gpt-4o"]), problem);
    assert_refused("/routes/1/deployments", json!(["gpt-4o"]), problem);
    assert_refused("/routes/1/deployment_header", json!("x-deployment"), problem);
    let others =
        ["{name}/chat", "{*deployment}", "{{deployment}}/chat", "x{deployment}", "{Deployment}"];
    for other in others {
        let path = format!("/openai/deployments/{other}");
        let found = message("/routes/0/match/path", Some(json!(path)));
        assert_eq!(found, format!("routes[0].allow[1].deployments: {problem}"));
    }
}

#[test]
fn a_deployment_stands_in_one_place() {
    let expected = "one of \"path\", \"body.model\", \"query\"";
    let texts = ["", "body", "body.deployment", "Path", "query.model"];
    assert_texts_refused("/routes/1/deployment", expected, &texts);
    let problem = "expected the deployment in `match.path` or in the body, found it in both";
    assert_refused("/routes/0/deployment", json!("body.model"), problem);
    let problem = "expected the deployment in `match.path` or in the query, found it in both";
    assert_refused("/routes/0/deployment", json!("query"), problem);
}

#[test]
fn the_query_names_the_deployment_only_where_nothing_else_could() {
    let placed = |methods: &[&str], path: &str| {
        let mut document = base();
        document["routes"][1]["match"] = json!({ "methods": methods, "path": path });
        document["routes"][1]["deployment"] = json!("query");
        parse(&document).map(drop)
    };
    assert_eq!(placed(&["GET"], "/openai/v1/realtime"), Ok(()));
    assert_eq!(placed(&["GET"], "/openai/realtime"), Ok(()));
    let refused = |methods: &[&str], path: &str| placed(methods, path).unwrap_err();
    let posted = refused(&["GET", "POST"], "/openai/v1/realtime");
    assert!(posted.contains("expected the method GET alone"), "{posted}");
    for path in ["/openai/v1/responses", "/openai/v1/{kind}", "/OpenAI/v1/{*rest}"] {
        let refused = refused(&["GET"], path);
        assert!(refused.ends_with("found one where each message names a model"), "{refused}");
    }
    let covering = refused(&["GET"], "/openai/deployments/{name}/realtime");
    assert!(covering.contains("where Azure reads the deployment in the path"), "{covering}");
}

#[test]
fn what_a_route_does_with_a_deployment_fits_the_rest_of_it() {
    let problem = "expected only names of the route's `deployments`, found \"gpt-4o-mini\"";
    let found = message("/routes/0/deployments", Some(json!(["gpt-4o"])));
    assert_eq!(found, format!("routes[0].allow[1].deployments: {problem}"));
    let both = message("/routes/0/deployment_header", Some(json!("X-Caller-Id")));
    let problem = "expected a header that `forward_claims` does not set, found one of those";
    assert_eq!(both, format!("routes[0].deployment_header: {problem}"));
    for header in ["authorization", "api-key", "content-type", "a b", ""] {
        let found = message("/routes/0/deployment_header", Some(json!(header)));
        assert!(found.starts_with("routes[0].deployment_header: expected "), "{found}");
    }
}

#[test]
fn a_header_that_may_hold_the_token_does_not_pass() {
    let mut document = base();
    document["routes"][0]["credential"] = json!(["authorization", "api-key"]);
    assert!(parse(&document).is_ok());
    document["routes"][0]["pass"] = json!({ "headers": ["x-goog-api-key", "X-Api-Key"] });
    let refused = parse(&document).map(drop).unwrap_err();
    assert!(refused.starts_with("routes[0].pass.headers: expected no header"), "{refused}");
    let expected = "one of \"authorization\", \"api-key\", \"subprotocol\"";
    for text in ["", "bearer", "API-Key", "cookie"] {
        let found = message("/routes/0/credential", Some(json!([text])));
        assert_eq!(found, format!("routes[0].credential[0]: expected {expected}, found {text:?}"));
    }
}

#[test]
fn a_body_does_not_name_the_model_where_azure_reads_it_in_the_path() {
    let placed = |path: &str| {
        let mut document = base();
        document["routes"][1]["match"]["path"] = json!(path);
        document["routes"][1]["deployment"] = json!("body.model");
        parse(&document).map(drop)
    };
    let covering = [
        "/{*rest}",
        "/openai/{*rest}",
        "/openai/{a}/{b}/chat/completions",
        "/openai/{a}/{b}/{c}",
        "/openai/deployments/gpt-4o/{*rest}",
        "/azure/openai/deployments/{name}/chat/completions",
        "/azure/OpenAI/Deployments/{name}/{*rest}",
        "/OpenAI/{*rest}",
    ];
    for path in covering {
        let refused = placed(path).unwrap_err();
        assert!(
            refused.starts_with("routes[1].deployment: expected a narrower `match.path`"),
            "{refused}"
        );
        assert!(refused.contains("covers /"), "{refused}");
    }
    for path in ["/openai/v1/{*rest}", "/openai/v1/audio/{kind}", "/v1/{*rest}", "/{version}/chat"]
    {
        assert_eq!(placed(path), Ok(()), "{path}");
    }
}

#[test]
fn a_condition_on_no_claim_is_refused() {
    let problem = "expected at least one claim, found an empty object";
    assert_refused("/routes/0/allow/1/claims", json!({}), problem);
}

#[test]
fn a_protected_resource_has_an_https_address() {
    let expected = "an https URL such as \"https://gateway.example.com\", without user information, \
                  query and fragment";
    let texts = [
        "",
        "gateway.example.com",
        "http://gateway.example.com",
        "https://",
        "HTTPS://a.example",
        "https://a:b@gateway.example.com",
        "https://a.example/?b",
        "https://a.example/#b",
        "https://a.example/\"",
        "https://a.example/\\",
        "https://a.example/ b",
        "https://\u{e9}.com",
    ];
    for text in texts {
        let found = message("/protected_resource/resource", Some(json!(text)));
        let expected = format!("protected_resource.resource: expected {expected}, found ");
        assert!(found.starts_with(&expected), "{found}");
    }
    let expected = "a path of A-Z a-z 0-9 . _ ~ - and /";
    let paths = ["", "meta", "/a b", "/a?b", "/a\"", "/%41", "/{a}"];
    assert_texts_refused("/protected_resource/path", expected, &paths);
}

#[test]
fn a_claim_has_a_name_or_a_pointer() {
    let expected =
        "the name of a claim, or a JSON pointer such as \"/realm_access/roles\" (RFC 6901)";
    let names = ["", "a\r\nb", "\0", "\u{85}", "/a~", "/a~2", "/~/0"];
    assert_texts_refused("/routes/0/forward_claims/x-caller-id", expected, &names);
    for name in names {
        let mut document = base();
        document["routes"][0]["allow"][1]["claims"] = json!({ name: ["x"] });
        let found = parse(&document).map(drop);
        let place = format!("routes[0].allow[1].claims.{name}");
        assert_eq!(found, Err(format!("{place}: expected {expected}, found {name:?}")));
    }
}

#[test]
fn a_number_that_readers_of_json_may_round_is_no_claims_value() {
    let expected = "a number from -9007199254740991 to 9007199254740991 (RFC 7493)";
    for number in [json!(9_007_199_254_740_992_i64), json!(i64::MIN), json!(u64::MAX), json!(1e300)]
    {
        let problem = format!("expected {expected}, found {number}");
        assert_refused("/routes/0/allow/1/claims/department/0", number, &problem);
    }
}

#[test]
fn a_path_must_be_a_pattern() {
    let expected = "a pattern such as \"/openai/deployments/{deployment}/{*rest}\"";
    let outside = ["", "openai/models", "{deployment}", "*"];
    let braces = ["/a/{b", "/a/b}", "/a/{}", "/a/{b}{c}"];
    let middle = ["/a/{*rest}/chat", "/a/{*}"];
    for texts in [&outside[..], &braces[..], &middle[..]] {
        assert_texts_refused("/routes/1/match/path", expected, texts);
    }
}

#[test]
fn a_host_must_be_a_name_or_a_suffix() {
    let expected = "a host such as \"api.example.com\" or \"*.example.com\", without a port";
    let stars = ["*", "*.", "*example.com", "api.*.com", "**.example.com"];
    let others =
        ["", "api.example.com:443", "[::1]:443", "::1", "https://example.com", "a b", "\u{e9}.com"];
    let dots = [".", ".example.com", "a..b", "*..example.com", "example.com."];
    assert_texts_refused("/routes/1/match/hosts/0", expected, &stars);
    assert_texts_refused("/routes/1/match/hosts/0", expected, &dots);
    assert_texts_refused("/routes/1/match/hosts/0", expected, &others);
}

#[test]
fn a_method_must_be_in_capitals() {
    let expected = "a method in capitals, not CONNECT";
    let methods = ["", "get", "Get", "CONNECT", "GET ", "GET,POST", "*"];
    assert_texts_refused("/routes/1/match/methods/0", expected, &methods);
}

#[test]
fn a_scope_must_be_one_word() {
    let expected = "one scope, without spaces, quotes or backslashes (RFC 6749 §3.3)";
    let scopes = ["", "a b", "a\"b", "a\\b", "a\nb", "\u{e9}"];
    assert_texts_refused("/routes/0/allow/0/scopes/0", expected, &scopes);
}

#[test]
fn a_claim_is_forwarded_in_a_header_of_its_own() {
    let expected = "a header name that is not one of HTTP's own or a credential";
    let credentials =
        ["Authorization", "api-key", "Ocp-Apim-Subscription-Key", "Cookie", "Proxy-Authorization"];
    let framing = ["Host", "Content-Length", "Transfer-Encoding", "Connection", "TE", "Upgrade"];
    let invalid = ["", "x id", ":path", "x-id\r\n", "x-\u{e9}"];
    for name in [&credentials[..], &framing[..], &invalid[..]].concat() {
        let problem = format!("expected {expected}, found {name:?}");
        assert_refused(&format!("/routes/0/forward_claims/{name}"), json!("oid"), &problem);
    }
    assert_eq!(
        message("/routes/0/forward_claims/X-Caller-Id", Some(json!("sub"))),
        "routes[0].forward_claims.x-caller-id: expected each header once, found it again in another case"
    );
}

#[test]
fn what_frames_a_message_is_not_stripped_and_the_replaced_credential_never_passes() {
    let expected = "the name of a header that does not frame a message";
    for name in ["", "Host", "content-length", "Transfer-Encoding", "x y"] {
        let problem = format!("expected {expected}, found {name:?}");
        let strip = json!({ "headers": [name] });
        assert_eq!(message("/strip", Some(strip)), format!("strip.headers[0]: {problem}"));
    }
    let expected = "the name of a header other than authorization, proxy-authorization, cookie and \
                    those that frame a message";
    for name in ["Authorization", "cookie", "proxy-authorization", "host"] {
        let problem = format!("expected {expected}, found {name:?}");
        let pass = json!({ "headers": [name] });
        let found = message("/routes/0/pass", Some(pass));
        assert_eq!(found, format!("routes[0].pass.headers[0]: {problem}"));
    }
    let health = json!({
        "name": "ready", "match": { "methods": ["GET"], "path": "/readyz" }, "health": true,
        "pass": { "cookies": ["a"] }
    });
    let found = message("/routes/2", Some(health));
    assert!(found.starts_with("routes[2].pass: expected no such key on a health route"), "{found}");
}

#[test]
fn an_algorithm_must_be_one_with_a_public_key() {
    let expected = "one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, Ed25519";
    let names = ["", "none", "None", "HS256", "HS384", "HS512", "rs256", "ES256K", "RSA-OAEP"];
    assert_texts_refused("/issuers/0/algorithms/0", expected, &names);
}

#[test]
fn a_label_is_short_and_tame() {
    let expected = "1 to 64 of A-Z a-z 0-9 . _ -";
    let long = "k".repeat(65);
    let labels = ["", "a b", "a/b", "a\nb", "a\0", "a\"b", "\u{e9}", long.as_str()];
    assert_texts_refused("/issuers/0/name", expected, &labels);
    assert_texts_refused("/routes/1/name", expected, &labels);
    let identity = json!({ "resource": "r", "imds": { "cluster": "imds" } });
    for label in ["", "a b", "a\nb", long.as_str()] {
        let problem = format!("expected {expected}, found the name {label:?}");
        assert_refused(&format!("/identities/{label}"), identity.clone(), &problem);
    }
}

#[test]
fn a_text_is_not_empty_and_has_no_control_characters() {
    let pointers = [
        "/issuers/0/issuer",
        "/issuers/0/audiences/0",
        "/issuers/0/jwks/cluster",
        "/issuers/2/entra/clients/0",
        "/identities/openai/resource",
        "/identities/openai/imds/cluster",
        "/identities/openai/imds/client_id",
        "/identities/container/app_service/cluster",
        "/identities/container/app_service/mi_res_id",
        "/identities/outside/client_credentials/client_id",
        "/identities/outside/client_credentials/scope",
        "/routes/0/allow/1/clients/0",
        "/routes/0/allow/1/roles/0",
        "/routes/0/allow/1/deployments/0",
    ];
    let expected = "a text that is not empty and has no control characters";
    for text in ["", "a\r\nb", "\0", "\u{85}"] {
        let problem = format!("expected {expected}, found {text:?}");
        assert_refused("/routes/0/allow/1/claims/department/0", json!(text), &problem);
    }
    for pointer in pointers {
        assert_texts_refused(pointer, expected, &["", "a\r\nb", "\0", "\u{85}"]);
    }
    let types = ["", "application/", "Application/", "jwt\n"];
    assert_texts_refused("/issuers/0/token_types/0", "a token type such as \"at+jwt\"", &types);
}

#[test]
fn only_a_claim_that_means_nothing_else_stands_for_the_audience() {
    let expected = "the name of a claim such as \"client_id\", not a pointer and none that means \
                    something else";
    let texts = ["", "aud", "sub", "iss", "scope", "token_use", "/client_id", "a\nb"];
    assert_texts_refused("/issuers/0/audience_claim", expected, &texts);
    let problem = "expected no such key beside `entra`, whose tokens have `aud`, found client_id";
    assert_refused("/issuers/2/audience_claim", json!("client_id"), problem);
    let mut document = base();
    document["issuers"][0]["audience_claim"] = json!("client_id");
    let claim = parse(&document).unwrap().issuers.remove(0).audience_claim;
    assert_eq!(claim.as_deref(), Some("client_id"));
}
