use std::time::Duration;

use keyless_core::config::Config;
use keyless_core::http::HeaderName;
use keyless_core::identity::{ClientSecret, File, IdentityIndex, Selector, Source};
use keyless_core::jwt::{ClaimValue, EntryIndex, TokenType};
use keyless_core::policy::{Access, DeploymentPlace, Grant, HostPattern};
use keyless_core::signature::Algorithm;
use keyless_core::token_cache::Limits;
use serde_json::{Value, json};

use super::{accepted, base, grants, known_keys, parse, remote, shown};

/// Credentials that are removed whatever the configuration says.
const CREDENTIALS: [&str; 3] = ["api-key", "authorization", "ocp-apim-subscription-key"];

const RESOURCE: &str = "https://cognitiveservices.azure.com";

fn stripped(config: &Config) -> Vec<&str> {
    config.stripped.headers.iter().map(HeaderName::as_str).collect()
}

/// A document in which every object has its keys in the opposite order.
fn backwards(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members = members.iter().rev();
            let members: Vec<_> =
                members.map(|(name, value)| format!("{name:?}: {}", backwards(value))).collect();
            format!("{{\n{}\n}}", members.join(",\n"))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(backwards).collect();
            format!("[ {} ]", items.join(", "))
        }
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

#[test]
fn what_is_not_said_has_the_default_of_the_table() {
    let config = parse(&json!({
        "issuers": [{
            "issuer": "https://idp.example.com/", "audiences": ["api"],
            "jwks": { "cluster": "idp", "uri": "https://idp.example.com/keys" }
        }],
        "routes": [{ "name": "all", "match": { "methods": ["GET"], "path": "/" }, "allow": [{}] }]
    }))
    .unwrap();
    let issuer = &config.issuers[0];
    assert_eq!(&*issuer.name, "idp.example.com");
    assert_eq!(issuer.algorithms, [Algorithm::Rs256]);
    assert!(issuer.token_types.iter().any(|one| one.accepts(Some("JWT"))));
    assert!(issuer.token_types.iter().any(|one| one.accepts(Some("at+jwt"))));
    assert_eq!(issuer.token_types.len(), 2);
    assert_eq!((issuer.leeway, issuer.max_lifetime), (Duration::from_mins(1), None));
    assert!(issuer.clients.is_empty() && issuer.tenant.is_none());
    let jwks = remote(issuer);
    assert_eq!((jwks.timeout, jwks.refresh), (Duration::from_secs(5), Duration::from_hours(1)));
    assert_eq!(jwks.max_age, Duration::from_hours(24));
    assert_eq!(jwks.unknown_kid_interval, Duration::from_secs(30));
    assert_eq!(config.token_cache, Limits { max_entries: 4096, max_bytes: 32 << 20 });
    assert!(!config.report_only && config.protected_resource.is_none());
    assert!(config.identities.is_empty() && config.routes[0].hosts.is_empty());
    assert_eq!(config.routes[0].deployment, DeploymentPlace::Path);
    assert!(!config.routes[0].cors);
    let Access::Granted { grants, identity, forward_claims } = &config.routes[0].access else {
        panic!("public by default");
    };
    assert!(identity.is_none() && forward_claims.is_empty());
    let Grant { issuer, clients, scopes, roles, claims, deployments } = &grants[0];
    assert!(issuer.is_none() && claims.is_empty());
    assert!([clients, scopes, roles, deployments].into_iter().all(Vec::is_empty));
}

#[test]
fn what_is_said_of_an_issuer_is_kept() {
    let config = parse(&base()).unwrap();
    let issuer = &config.issuers[1];
    assert_eq!((&*issuer.name, issuer.audiences[0].as_str()), ("partner", "openai-gateway"));
    assert_eq!(
        (issuer.entry.0, &issuer.accepted[..]),
        (1, &["https://idp.example.com/".into()][..])
    );
    assert_eq!(issuer.algorithms, [Algorithm::Ps256, Algorithm::Rs512]);
    assert_eq!(
        (issuer.leeway, issuer.max_lifetime),
        (Duration::ZERO, Some(Duration::from_hours(24)))
    );
    let jwks = remote(issuer);
    assert_eq!(jwks.cluster, "partner_idp");
    assert_eq!(known_keys(issuer), ("idp.example.com:8080", "/"));
    assert_eq!((jwks.timeout, jwks.refresh), (Duration::from_secs(2), Duration::from_mins(30)));
    assert_eq!(jwks.max_age, Duration::from_hours(12));
    assert_eq!(jwks.unknown_kid_interval, Duration::from_mins(1));
    let keys = known_keys(&config.issuers[0]);
    assert_eq!(keys, ("login.example.com", "/keys?v=2"), "the query belongs to the path");
}

#[test]
fn what_is_said_of_a_route_is_kept() {
    let config = parse(&base()).unwrap();
    let route = &config.routes[0];
    assert_eq!((&*route.name, route.methods[0].as_str()), ("chat", "POST"));
    assert!(route.names_deployment() && !config.routes[1].names_deployment());
    let Access::Granted { grants, identity, forward_claims } = &route.access else {
        panic!("public");
    };
    assert_eq!(*identity, Some(IdentityIndex(1)));
    assert_eq!(
        (forward_claims[0].0.as_str(), forward_claims[0].1.member()),
        ("x-caller-id", "oid")
    );
    assert_eq!(
        (grants[0].issuer, grants[1].issuer),
        (None, Some(EntryIndex(1))),
        "the issuer's place"
    );
    assert_eq!(grants[0].scopes, ["openai.chat"]);
    assert_eq!((&grants[1].clients[0], &grants[1].roles[0]), (&"app".into(), &"ChatUser".into()));
    let (name, values) = &grants[1].claims[0];
    assert_eq!((name.member(), &values[..]), ("department", &[ClaimValue::Text("R&D".into())][..]));
    assert_eq!(grants[1].deployments, ["gpt-4o-mini"]);
    assert!(matches!(config.routes[2].access, Access::Public));
}

#[test]
fn a_route_may_have_several_paths() {
    let path = "/openai/deployments/{deployment}/completions";
    let several = json!([path, "/x/{deployment}/{*rest}"]);
    let config = accepted("/routes/0/match/path", several.clone());
    let route = &config.routes[0];
    assert!(route.names_deployment() && route.paths.len() == 2);
    assert_eq!(route.matches("/openai/deployments/gpt/completions"), Some(Some("gpt")));
    assert_eq!(route.matches("/x/o3/a/b"), Some(Some("o3")));
    assert_eq!(route.matches("/y"), None);
    let mut mixed = several;
    mixed[1] = json!("/openai/v1/completions");
    let refused = parse(&crate::changed("/routes/0/match/path", Some(mixed))).map(drop);
    let refused = refused.unwrap_err();
    assert!(refused.starts_with("routes[0].allow[1].deployments: expected"), "{refused}");
    let missing = crate::message("/routes/0/match/path", Some(json!(["/a", "b"])));
    assert!(missing.starts_with("routes[0].match.path[1]: expected a pattern"), "{missing}");
    let empty = crate::message("/routes/0/match/path", Some(json!([])));
    assert!(empty.contains("expected at least one item, found an empty list"), "{empty}");
}

#[test]
fn a_deployment_may_stand_in_the_body() {
    let config = accepted("/routes/1/deployment", json!("body.model"));
    assert_eq!(config.routes[1].deployment, DeploymentPlace::Body);
    let mut document = base();
    document["routes"][1]["deployment"] = json!("body.model");
    document["routes"][1]["allow"] = json!([{ "deployments": ["gpt-4o"] }]);
    assert_eq!(grants(&parse(&document).unwrap(), 1)[0].deployments, ["gpt-4o"]);
    let config = accepted("/routes/2/deployment", json!("path"));
    assert_eq!(config.routes[2].deployment, DeploymentPlace::Path, "even where there is none");
}

#[test]
fn a_route_may_be_for_probes() {
    let mut document = base();
    document["routes"][2] = json!({
        "name": "ready", "match": { "methods": ["GET"], "path": "/readyz" }, "health": true
    });
    assert!(matches!(parse(&document).unwrap().routes[2].access, Access::Health));
    document["routes"][2]["public"] = json!(false);
    assert!(parse(&document).is_ok());
}

#[test]
fn any_route_to_a_backend_may_be_for_browsers() {
    for route in [0, 2] {
        let config = accepted(&format!("/routes/{route}/cors"), json!(true));
        let cors: Vec<_> = config.routes.iter().map(|route| route.cors).collect();
        assert_eq!(cors, [route == 0, false, route == 2]);
    }
}

/// The path, the address and the metadata of a gateway that is described like this.
fn described(entry: Value) -> (String, String, Value) {
    let config = accepted("/protected_resource", entry);
    let resource = config.protected_resource.unwrap();
    (resource.path, resource.url, serde_json::from_str(&resource.metadata).unwrap())
}

#[test]
fn a_gateway_may_be_described_to_clients_that_look_for_its_issuer() {
    let (path, url, metadata) = described(json!({ "resource": "https://gateway.example.com" }));
    assert_eq!(path, "/.well-known/oauth-protected-resource");
    assert_eq!(url, format!("https://gateway.example.com{path}"));
    let tenant = |id| format!("https://login.microsoftonline.com/{id}/v2.0");
    let expected = json!({
        "resource": "https://gateway.example.com",
        "authorization_servers": [
            "https://login.example.com/v2", "https://idp.example.com/",
            tenant(crate::TENANT), tenant(crate::OTHER_TENANT),
            "https://accounts.example.com/realm/", "https://offline.example.com"
        ],
        "scopes_supported": ["openai.chat"],
        "bearer_methods_supported": ["header"]
    });
    assert_eq!(metadata, expected);
    let entry = json!({
        "resource": "https://gateway.example.com:8443/openai/v1", "scopes_supported": ["b", "a"]
    });
    let (path, url, metadata) = described(entry);
    assert_eq!(path, "/.well-known/oauth-protected-resource/openai/v1");
    assert_eq!(url, format!("https://gateway.example.com:8443{path}"));
    assert_eq!(metadata["scopes_supported"], json!(["b", "a"]));
    let entry = json!({ "resource": "https://gateway.example.com/", "path": "/meta/data.json" });
    let (path, url, metadata) = described(entry);
    assert_eq!(
        (path.as_str(), url.as_str()),
        ("/meta/data.json", "https://gateway.example.com/meta/data.json")
    );
    assert_eq!(metadata["resource"], "https://gateway.example.com/", "as it was written");
    let slash = described(json!({ "resource": "https://gateway.example.com/" }));
    assert_eq!(slash.0, "/.well-known/oauth-protected-resource");
}

#[test]
fn an_issuer_that_is_no_url_is_not_shown() {
    let mut document = base();
    document["issuers"][0]["issuer"] = json!("urn:example:issuer");
    document["issuers"][0]["name"] = json!("urn");
    let resource = parse(&document).unwrap().protected_resource.unwrap();
    assert!(!resource.metadata.contains("urn:") && resource.metadata.contains("idp.example.com"));
}

#[test]
fn a_gate_may_be_told_to_report_only() {
    let mut document = base();
    document["report_only"] = json!(true);
    assert!(parse(&document).unwrap().report_only);
}

#[test]
fn the_order_of_keys_and_the_space_between_them_mean_nothing() {
    let text = backwards(&base());
    let turned = Config::parse(text.as_bytes()).map_err(|error| error.to_string());
    assert!(turned.is_ok());
    assert_eq!(shown(&turned), shown(&parse(&base())));
}

#[test]
fn a_claim_may_be_required_as_a_string_a_number_or_a_boolean() {
    let values = json!(["a", 1, 1.5, -0.0, 9_007_199_254_740_991_i64, true, false]);
    let config = accepted("/routes/0/allow/1/claims/level", values);
    let (_, values) = &grants(&config, 0)[1].claims[1];
    let number = ClaimValue::Number;
    let numbers = [1.0, 1.5, 0.0, 9_007_199_254_740_991.0].map(number);
    assert_eq!(values[0], ClaimValue::Text("a".into()));
    assert_eq!(values[1..5], numbers);
    assert_eq!(values[5..], [ClaimValue::Bool(true), ClaimValue::Bool(false)]);
}

#[test]
fn a_claim_is_named_by_its_member_or_by_a_pointer() {
    let names = [("oid", "oid"), ("https://a.example/b", "https://a.example/b"), ("~", "~")];
    let pointers =
        [("/realm/roles/0", "realm"), ("/a~1b~0c/d", "a/b~c"), ("/", ""), ("/oid", "oid")];
    for (name, member) in names.into_iter().chain(pointers) {
        let config = accepted("/routes/0/forward_claims/x-caller-id", json!(name));
        let Access::Granted { forward_claims, .. } = &config.routes[0].access else {
            panic!("public")
        };
        assert_eq!(forward_claims[0].1.member(), member, "{name}");
    }
}

#[test]
fn a_grant_may_name_an_issuer_that_took_its_name_from_its_host() {
    let config = accepted("/routes/0/allow/1/issuer", json!("login.example.com"));
    assert_eq!(grants(&config, 0)[1].issuer, Some(EntryIndex(0)));
}

/// The source of an identity that is configured like this, and the cluster that leads to it.
fn source(kind: &str, entry: &Value) -> (String, Source) {
    let config = accepted("/identities/openai", json!({ "resource": RESOURCE, kind: entry }));
    let identity = config.identities.iter().find(|one| one.name == "openai").unwrap();
    assert_eq!((identity.name.as_str(), identity.resource.as_str()), ("openai", RESOURCE));
    (identity.cluster.clone(), identity.source.clone())
}

#[test]
fn an_identity_of_a_machine_is_selected_in_one_of_four_ways() {
    let imds = |entry: Value| source("imds", &entry);
    let selected = |selector| ("imds".to_owned(), Source::Imds(selector));
    assert_eq!(imds(json!({ "cluster": "imds" })), selected(Selector::System));
    let client = json!({ "cluster": "imds", "client_id": "c" });
    assert_eq!(imds(client), selected(Selector::ClientId("c".to_owned())));
    let object = json!({ "cluster": "imds", "object_id": "o" });
    assert_eq!(imds(object), selected(Selector::ObjectId("o".to_owned())));
    let resource = json!({ "cluster": "imds", "msi_res_id": "/r" });
    assert_eq!(imds(resource), selected(Selector::ResourceId("/r".to_owned())));
}

#[test]
fn an_identity_of_an_application_is_selected_in_one_of_four_ways() {
    let app = |entry: Value| source("app_service", &entry);
    let selected = |selector| ("app".to_owned(), Source::AppService(selector));
    assert_eq!(app(json!({ "cluster": "app" })), selected(Selector::System));
    let client = json!({ "cluster": "app", "client_id": "c" });
    assert_eq!(app(client), selected(Selector::ClientId("c".to_owned())));
    let principal = json!({ "cluster": "app", "principal_id": "o" });
    assert_eq!(app(principal), selected(Selector::ObjectId("o".to_owned())));
    let resource = json!({ "cluster": "app", "mi_res_id": "/r" });
    assert_eq!(app(resource), selected(Selector::ResourceId("/r".to_owned())));
}

#[test]
fn an_application_with_a_secret_asks_for_all_that_the_resource_grants() {
    let mut entry = json!({
        "cluster": "entra", "token_uri": "https://login.example.com:8443/t/token?v=2",
        "client_id": "app", "client_secret_env": "APP_SECRET_2"
    });
    let (cluster, Source::ClientCredentials(credentials)) = source("client_credentials", &entry)
    else {
        panic!("another source");
    };
    assert_eq!(cluster, "entra");
    assert_eq!(credentials.token_uri.authority, "login.example.com:8443");
    assert_eq!(credentials.token_uri.path, "/t/token?v=2");
    assert_eq!(credentials.client_id, "app");
    let variable = ClientSecret::Environment("APP_SECRET_2".to_owned());
    assert_eq!(credentials.client_secret, variable);
    assert_eq!(credentials.scope, "https://cognitiveservices.azure.com/.default");
    entry["scope"] = json!("a b");
    let (_, Source::ClientCredentials(credentials)) = source("client_credentials", &entry) else {
        panic!("another source");
    };
    assert_eq!(credentials.scope, "a b");
}

#[test]
fn a_secret_may_be_in_a_file_in_place_of_the_environment() {
    let entry = json!({
        "cluster": "entra", "token_uri": "https://login.example.com/token", "client_id": "app",
        "client_secret_file": { "cluster": "secret_file" }
    });
    let (_, Source::ClientCredentials(credentials)) = source("client_credentials", &entry) else {
        panic!("another source");
    };
    let file = File { cluster: "secret_file".to_owned(), path: "/".to_owned() };
    assert_eq!(credentials.client_secret, ClientSecret::File(file));
}

#[test]
fn a_workload_identity_leaves_what_it_does_not_name_to_the_environment() {
    let mut entry = json!({ "cluster": "entra", "token_file": { "cluster": "file" } });
    let (cluster, Source::WorkloadIdentity(workload)) = source("workload_identity", &entry) else {
        panic!("another source");
    };
    assert_eq!(cluster, "entra");
    assert_eq!(workload.token_file, File { cluster: "file".to_owned(), path: "/".to_owned() });
    assert_eq!((workload.tenant_id, workload.client_id), (None, None));
    assert_eq!(workload.authority_host, None);
    entry["token_file"]["path"] = json!("/var/token");
    entry["tenant_id"] = json!("t");
    entry["client_id"] = json!("c");
    entry["authority_host"] = json!("https://login.example.com/base");
    let (_, Source::WorkloadIdentity(workload)) = source("workload_identity", &entry) else {
        panic!("another source");
    };
    assert_eq!(workload.token_file.path, "/var/token");
    assert_eq!(
        (workload.tenant_id.as_deref(), workload.client_id.as_deref()),
        (Some("t"), Some("c"))
    );
    let authority = workload.authority_host.expect("one is named");
    assert_eq!(
        (authority.authority.as_str(), authority.path.as_str()),
        ("login.example.com", "/base")
    );
}

#[test]
fn a_duration_may_be_as_short_or_long_as_its_limits() {
    for (text, expected) in [
        ("1ms", Duration::from_millis(1)),
        ("1h 30m", Duration::from_mins(90)),
        ("30d", Duration::from_hours(720)),
    ] {
        let config = accepted("/issuers/0/max_lifetime", json!(text));
        assert_eq!(config.issuers[0].max_lifetime, Some(expected));
    }
    let config = accepted("/issuers/0/leeway", json!("5m"));
    assert_eq!(config.issuers[0].leeway, Duration::from_mins(5));
}

#[test]
fn keys_outlive_a_refresh_that_is_rarer_than_daily() {
    let config = accepted("/issuers/0/jwks/refresh", json!("25h"));
    assert_eq!(remote(&config.issuers[0]).max_age, Duration::from_hours(25));
}

#[test]
fn every_algorithm_of_the_table_may_be_accepted() {
    let names = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
    let config = accepted("/issuers/0/algorithms", json!(names));
    let found: Vec<_> = config.issuers[0].algorithms.iter().map(|one| format!("{one:?}")).collect();
    assert_eq!(found.join(" ").to_uppercase(), names.join(" ").to_uppercase());
    let both = accepted("/issuers/0/algorithms", json!(["EdDSA", "Ed25519"]));
    assert_eq!(both.issuers[0].algorithms, [Algorithm::EdDsa; 2]);
}

#[test]
fn a_token_type_means_the_same_with_and_without_application_and_in_any_case() {
    let accepts = |configured: &str, given: Option<&str>| {
        let config = accepted("/issuers/0/token_types", json!([configured]));
        config.issuers[0].token_types.iter().any(|one: &TokenType| one.accepts(given))
    };
    for configured in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
        for given in ["at+jwt", "at+JWT", "application/at+jwt", "APPLICATION/at+jwt"] {
            assert!(accepts(configured, Some(given)), "{configured} {given}");
        }
        for given in [None, Some("JWT"), Some("jwt"), Some("text/at+jwt"), Some("")] {
            assert!(!accepts(configured, given), "{configured} {given:?}");
        }
    }
    assert!(accepts("jwt", None) && accepts("application/JWT", None), "an absent typ is a JWT");
}

#[test]
fn a_host_is_one_name_or_all_below_a_suffix() {
    let matches = |pattern: &str, host: &str| {
        let config = accepted("/routes/1/match/hosts", json!([pattern]));
        config.routes[1].hosts.iter().any(|one: &HostPattern| one.matches(host))
    };
    assert!(matches("api.example.com", "API.example.com"));
    assert!(matches("API.Example.com", "api.example.com"));
    assert!(!matches("api.example.com", "eu.api.example.com"));
    assert!(matches("*.example.com", "api.example.com"));
    assert!(matches("*.Example.com", "eu.api.EXAMPLE.com"));
    for host in ["example.com", ".example.com", "notexample.com", "example.com.evil.org", ""] {
        assert!(!matches("*.example.com", host), "{host}");
    }
    assert!(matches("[::1]", "[::1]"));
}

#[test]
fn credentials_and_forwarded_headers_are_stripped_in_lower_case() {
    let headers = json!({ "X-Caller-Id": "oid", "X-Team": "department" });
    let config = accepted("/routes/1/forward_claims", headers);
    assert_eq!(stripped(&config), ["x-caller-id", "x-team"], "each once, whatever route names it");
    assert!(CREDENTIALS.iter().all(|name| config.stripped.has_header(name)));
}

#[test]
fn credentials_are_stripped_where_nothing_is_forwarded() {
    let config = accepted("/routes/0/forward_claims", json!({}));
    assert_eq!(stripped(&config), [""; 0]);
    assert!(CREDENTIALS.iter().all(|name| config.stripped.has_header(name)));
    assert!(!config.stripped.has_header("accept") && !config.stripped.has_parameter(b"a=1"));
}

#[test]
fn more_may_be_stripped_and_a_route_may_let_some_through() {
    let strip = json!({ "headers": ["X-Custom-Key"], "query": ["My_Ticket"] });
    let config = accepted("/strip", strip);
    assert_eq!(stripped(&config), ["x-caller-id", "x-custom-key"]);
    for parameter in ["my_ticket=1", "MYTICKET", "my-ticket=1"] {
        assert!(config.stripped.has_parameter(parameter.as_bytes()), "{parameter}");
    }
    let pass = json!({ "headers": ["X-Api-Key"], "cookies": ["affinity"] });
    let config = accepted("/routes/0/pass", pass);
    let passed = &config.routes[0].pass;
    assert_eq!(passed.headers[0].as_str(), "x-api-key");
    assert_eq!(passed.cookies, ["affinity"]);
    assert!(config.routes[1].pass.headers.is_empty() && config.routes[1].pass.cookies.is_empty());
}
