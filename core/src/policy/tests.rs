use serde_json::{Value, json};

use super::*;
use crate::config::Config;

pub(super) fn list(routes: &Value) -> Vec<Route> {
    let issuer = |name: &str| {
        json!({
            "issuer": format!("https://{name}.example.com/"), "name": name, "audiences": ["api"],
            "jwks": { "cluster": name, "uri": format!("https://{name}.example.com/jwks.json") }
        })
    };
    let document = json!({ "issuers": [issuer("one"), issuer("two")], "routes": routes });
    Config::parse(document.to_string().as_bytes()).unwrap().routes
}

pub(super) fn routes(routes: &Value) -> Routes {
    Routes::new(list(routes))
}

/// A public route that differs from the others by its name and what it matches.
pub(super) fn route(name: &str, matching: Value) -> Value {
    json!({ "name": name, "match": matching, "public": true })
}

/// The name of the route that is found, and the deployment.
fn found(list: &Routes, method: &str, host: &str, path: &str) -> Option<(String, Option<String>)> {
    list.find(method, host, path)
        .map(|found| (found.route.name.to_string(), found.deployment.map(str::to_owned)))
}

/// The name of the route that a GET to any host finds.
pub(super) fn at(list: &Routes, path: &str) -> Option<String> {
    found(list, "GET", "", path).map(|(name, _)| name)
}

pub(super) fn get(name: &str, path: &str) -> Value {
    route(name, json!({ "methods": ["GET"], "path": path }))
}

#[test]
fn the_first_route_that_matches_wins_over_a_later_more_specific_one() {
    let wide_first =
        routes(&json!([get("wide", "/openai/{*rest}"), get("narrow", "/openai/models")]));
    assert_eq!(at(&wide_first, "/openai/models").as_deref(), Some("wide"));
    let narrow_first =
        routes(&json!([get("narrow", "/openai/models"), get("wide", "/openai/{*rest}")]));
    assert_eq!(at(&narrow_first, "/openai/models").as_deref(), Some("narrow"));
    assert_eq!(at(&narrow_first, "/openai/files").as_deref(), Some("wide"));
}

#[test]
fn a_route_whose_method_or_host_differs_leaves_the_request_to_a_later_one() {
    let list = routes(&json!([
        route("write", json!({ "methods": ["POST", "PUT"], "path": "/a" })),
        route("inner", json!({ "methods": ["GET"], "path": "/a", "hosts": ["in.example.com"] })),
        route("other", json!({ "methods": ["GET"], "path": "/{*rest}" })),
    ]));
    let name = |method, host| found(&list, method, host, "/a").map(|(name, _)| name);
    assert_eq!(name("PUT", "in.example.com").as_deref(), Some("write"));
    assert_eq!(name("GET", "in.example.com").as_deref(), Some("inner"));
    assert_eq!(name("GET", "out.example.com").as_deref(), Some("other"));
    assert_eq!(name("DELETE", "in.example.com"), None);
}

#[test]
fn a_method_is_compared_exactly() {
    let list = routes(&json!([get("only", "/a")]));
    assert!(list.find("GET", "", "/a").is_some());
    for method in ["get", "Get", "HEAD", "GET ", "GETS", ""] {
        assert!(list.find(method, "", "/a").is_none(), "{method}");
    }
}

#[test]
fn a_host_is_exact_or_below_a_suffix_in_any_case() {
    let hosts = json!(["api.example.com", "*.Example.org"]);
    let list = routes(&json!([route(
        "only",
        json!({ "methods": ["GET"], "path": "/a", "hosts": hosts })
    )]));
    let matches = |host| list.find("GET", host, "/a").is_some();
    for host in ["api.example.com", "API.Example.COM", "a.example.org", "a.b.EXAMPLE.org"] {
        assert!(matches(host), "{host}");
    }
    let others = ["", "example.com", "a.api.example.com", "api.example.com.", "api.example.com:80"];
    for host in others.into_iter().chain(["example.org", ".example.org", "badexample.org"]) {
        assert!(!matches(host), "{host}");
    }
}

#[test]
fn a_route_without_hosts_is_for_any_host_and_for_none() {
    let list = routes(&json!([get("only", "/a")]));
    for host in ["api.example.com", "[::1]", ""] {
        assert!(list.find("GET", host, "/a").is_some(), "{host}");
    }
}

#[test]
fn the_deployment_is_the_segment_of_that_name() {
    let chat = "/openai/deployments/{deployment}/chat/completions";
    let any = "/{area}/deployments/{deployment}/{*rest}";
    let list = routes(&json!([get("chat", chat), get("any", any), get("none", "/{area}/models")]));
    let deployment = |path| found(&list, "GET", "", path).map(|(_, deployment)| deployment);
    let expected = |text: &str| Some(Some(text.to_owned()));
    assert_eq!(deployment("/openai/deployments/gpt-4o/chat/completions"), expected("gpt-4o"));
    assert_eq!(deployment("/x/deployments/GPT%204/a/b"), expected("GPT%204"), "as it was sent");
    assert_eq!(deployment("/openai/models"), Some(None));
    assert_eq!(deployment("/openai/deployments//chat/completions"), None, "never an empty one");
    assert_eq!(deployment("/openai/deployments/a/b"), expected("a"));
}

#[test]
fn a_catch_all_takes_one_segment_or_more() {
    let list = routes(&json!([get("all", "/openai/{*rest}")]));
    assert!(at(&list, "/openai/a").is_some() && at(&list, "/openai/a/b/c").is_some());
    assert!(at(&list, "/openai/").is_none() && at(&list, "/openai").is_none());
    assert!(at(&list, "/openaid/a").is_none());
}

#[test]
fn a_path_that_no_pattern_matches_whole_finds_nothing() {
    let list = routes(&json!([get("only", "/openai/models")]));
    let paths = ["", "/", "/openai", "/openai/models/", "/openai/models/a", "/OpenAI/models"];
    for path in paths.into_iter().chain(["openai/models", "/openai%2fmodels", "*"]) {
        assert!(at(&list, path).is_none(), "{path}");
    }
    assert!(Routes::new(Vec::new()).find("GET", "", "/openai/models").is_none());
}

/// What the grants say to a caller of issuer `one` that calls the deployment `gpt`.
fn verdict(allow: &Value, claims: &Value) -> Result<(), Denial> {
    verdict_of(0, allow, claims)
}

fn verdict_of(issuer: usize, allow: &Value, claims: &Value) -> Result<(), Denial> {
    let matching = json!({ "methods": ["GET"], "path": "/{deployment}" });
    let route = json!({ "name": "only", "match": matching, "allow": allow });
    let list = routes(&json!([route]));
    let found = list.find("GET", "", "/gpt").unwrap();
    let Access::Granted { grants, .. } = &found.route.access else { panic!("public") };
    admit(grants, EntryIndex(issuer), found.deployment.into(), &Claims::of(claims.clone()))
}

fn scope_missing(scopes: &[&str]) -> Result<(), Denial> {
    Err(Denial::ScopeMissing { scopes: scopes.iter().map(|&scope| scope.to_owned()).collect() })
}

fn deployment_forbidden() -> Result<(), Denial> {
    Err(Denial::DeploymentForbidden { deployment: "gpt".to_owned() })
}

/// A caller who satisfies every condition of [`full_grant`].
fn full_claims() -> Value {
    json!({ "azp": "app", "scp": "read write", "roles": ["User", "Author"], "department": "R&D" })
}

fn full_grant() -> Value {
    json!({
        "issuer": "one", "clients": ["app"], "scopes": ["read", "write"], "deployments": ["gpt"],
        "roles": ["User", "Author"], "claims": { "department": ["R&D", "Sales"] }
    })
}

#[test]
fn an_empty_grant_admits_everybody() {
    assert_eq!(verdict(&json!([{}]), &json!({})), Ok(()));
    assert_eq!(verdict_of(1, &json!([{}]), &full_claims()), Ok(()));
    assert_eq!(verdict(&json!([{ "scopes": ["a"] }, {}]), &json!({})), Ok(()));
}

#[test]
fn no_grant_admits_nobody() {
    let denial = admit(&[], EntryIndex(0), Deployment::Unnamed, &Claims::of(full_claims()));
    assert_eq!(denial, Err(Denial::IssuerForbidden));
}

#[test]
fn every_condition_refuses_alone_with_its_own_denial() {
    let rows = [
        (json!({ "issuer": "two" }), Err(Denial::IssuerForbidden)),
        (json!({ "clients": ["other"] }), Err(Denial::ClientForbidden)),
        (json!({ "claims": { "department": ["Sales"] } }), Err(Denial::ClaimMissing)),
        (json!({ "roles": ["Admin"] }), Err(Denial::RoleMissing)),
        (json!({ "scopes": ["admin"] }), scope_missing(&["admin"])),
        (json!({ "deployments": ["o1"] }), deployment_forbidden()),
    ];
    for (grant, expected) in rows {
        assert_eq!(verdict(&json!([grant]), &full_claims()), expected, "{grant}");
    }
}

#[test]
fn every_condition_admits_alone() {
    let full = full_grant();
    for (name, condition) in full.as_object().unwrap() {
        assert_eq!(verdict(&json!([{ name: condition }]), &full_claims()), Ok(()), "{name}");
    }
}

#[test]
fn all_conditions_of_a_grant_must_hold() {
    let with = |member: &str, value: Value| {
        let mut claims = full_claims();
        claims[member] = value;
        verdict(&json!([full_grant()]), &claims)
    };
    assert_eq!(verdict(&json!([full_grant()]), &full_claims()), Ok(()));
    assert_eq!(verdict_of(1, &json!([full_grant()]), &full_claims()), Err(Denial::IssuerForbidden));
    assert_eq!(with("azp", json!("other")), Err(Denial::ClientForbidden));
    assert_eq!(with("department", json!("HR")), Err(Denial::ClaimMissing));
    assert_eq!(with("roles", json!(["User"])), Err(Denial::RoleMissing));
    assert_eq!(with("scp", json!("read")), scope_missing(&["read", "write"]));
    let mut elsewhere = full_grant();
    elsewhere["deployments"] = json!(["o1"]);
    assert_eq!(verdict(&json!([elsewhere]), &full_claims()), deployment_forbidden());
}

#[test]
fn all_scopes_are_needed_and_all_are_named() {
    let allow = json!([{ "scopes": ["read", "write"] }]);
    for claims in [json!({ "scp": "write read" }), json!({ "scope": "read x write" })] {
        assert_eq!(verdict(&allow, &claims), Ok(()));
    }
    for claims in [json!({ "scp": "read" }), json!({ "scope": "reads write" }), json!({})] {
        assert_eq!(verdict(&allow, &claims), scope_missing(&["read", "write"]));
    }
}

#[test]
fn all_roles_are_needed() {
    let allow = json!([{ "roles": ["User", "Author"] }]);
    assert_eq!(verdict(&allow, &json!({ "roles": ["Author", "x", "User"] })), Ok(()));
    for roles in [json!(["User"]), json!("User Author"), json!(["user", "author"]), json!(null)] {
        assert_eq!(verdict(&allow, &json!({ "roles": roles })), Err(Denial::RoleMissing));
    }
    let scopes = json!({ "scp": "User Author" });
    assert_eq!(verdict(&allow, &scopes), Err(Denial::RoleMissing), "a scope is no role");
}

#[test]
fn each_claim_equals_or_contains_any_of_its_values() {
    let allow = json!([{ "claims": { "department": ["R&D", "Sales"], "level": ["3"] } }]);
    for department in [json!("R&D"), json!("Sales"), json!(["HR", "Sales"])] {
        let claims = json!({ "department": department, "level": "3" });
        assert_eq!(verdict(&allow, &claims), Ok(()), "{claims}");
    }
    let others = [
        json!({ "department": "R&D" }),
        json!({ "department": "R&D", "level": "4" }),
        json!({ "department": "R&D", "level": 3 }),
        json!({ "department": "r&d", "level": "3" }),
        json!({ "department": "R&D, Sales", "level": "3" }),
        json!({ "department": [], "level": "3" }),
        json!({ "department": { "R&D": true }, "level": "3" }),
    ];
    for claims in others {
        assert_eq!(verdict(&allow, &claims), Err(Denial::ClaimMissing), "{claims}");
    }
}

#[test]
fn a_claim_may_be_required_as_a_number_a_boolean_or_a_value_inside_of_another() {
    let expected = json!({ "level": [3, "three"], "employee": [true], "/realm/roles": ["chat"] });
    let allow = json!([{ "claims": expected }]);
    for level in [json!(3), json!(3.0), json!("three"), json!([1, 3])] {
        let claims = json!({ "level": level, "employee": true, "realm": { "roles": ["chat"] } });
        assert_eq!(verdict(&allow, &claims), Ok(()), "{claims}");
    }
    let others = [
        json!({ "level": "3", "employee": true, "realm": { "roles": ["chat"] } }),
        json!({ "level": 3, "employee": "true", "realm": { "roles": ["chat"] } }),
        json!({ "level": 3, "employee": true, "realm": { "roles": ["chats"] } }),
        json!({ "level": 3, "employee": true, "/realm/roles": ["chat"] }),
    ];
    for claims in others {
        assert_eq!(verdict(&allow, &claims), Err(Denial::ClaimMissing), "{claims}");
    }
}

#[test]
fn the_client_is_azp_or_else_appid_or_else_client_id() {
    let allow = json!([{ "clients": ["app", "tool"] }]);
    for name in ["azp", "appid", "client_id"] {
        assert_eq!(verdict(&allow, &json!({ name: "app" })), Ok(()), "{name}");
        assert_eq!(verdict(&allow, &json!({ name: "tool" })), Ok(()), "{name}");
        let others = [json!("App"), json!("ap"), json!(["app"]), json!(null)];
        for other in others {
            assert_eq!(verdict(&allow, &json!({ name: other })), Err(Denial::ClientForbidden));
        }
    }
    let first_counts = json!({ "azp": "other", "appid": "app", "client_id": "app" });
    assert_eq!(verdict(&allow, &first_counts), Err(Denial::ClientForbidden));
    assert_eq!(verdict(&allow, &json!({ "sub": "app" })), Err(Denial::ClientForbidden));
}

#[test]
fn a_deployment_is_compared_exactly() {
    let with = |names: Value| verdict(&json!([{ "deployments": names }]), &json!({}));
    assert_eq!(with(json!(["o1", "gpt"])), Ok(()));
    for names in [json!(["GPT"]), json!(["gp", "gpt-4o"]), json!(["*"])] {
        assert_eq!(with(names), deployment_forbidden());
    }
}

#[test]
fn any_grant_admits_and_conditions_of_two_do_not_add_up() {
    let allow = json!([
        { "scopes": ["read"], "roles": ["User"] },
        { "issuer": "two", "scopes": ["write"] }
    ]);
    assert_eq!(verdict(&allow, &json!({ "scp": "read", "roles": ["User"] })), Ok(()));
    assert_eq!(verdict_of(1, &allow, &json!({ "scp": "write" })), Ok(()));
    assert_eq!(verdict(&allow, &json!({ "scp": "read write" })), Err(Denial::RoleMissing));
}

#[test]
fn the_nearest_grant_decides_the_denial() {
    let rungs = [
        (json!({ "issuer": "two" }), Err(Denial::IssuerForbidden)),
        (json!({ "clients": ["other"] }), Err(Denial::ClientForbidden)),
        (json!({ "claims": { "department": ["HR"] } }), Err(Denial::ClaimMissing)),
        (json!({ "roles": ["Admin"] }), Err(Denial::RoleMissing)),
        (json!({ "scopes": ["admin"] }), scope_missing(&["admin"])),
        (json!({ "deployments": ["o1"] }), deployment_forbidden()),
    ];
    for (at, (grave, _)) in rungs.iter().enumerate() {
        for (near, expected) in &rungs[at..] {
            assert_eq!(verdict(&json!([grave, near]), &full_claims()), *expected);
            assert_eq!(verdict(&json!([near, grave]), &full_claims()), *expected);
        }
    }
}

#[test]
fn a_grant_is_as_far_away_as_its_most_serious_condition() {
    let two_missing = json!({ "roles": ["Admin"], "scopes": ["admin"] });
    assert_eq!(verdict(&json!([two_missing]), &full_claims()), Err(Denial::RoleMissing));
    let nearer = json!({ "deployments": ["o1"] });
    let denial = verdict(&json!([two_missing, nearer]), &full_claims());
    assert_eq!(denial, deployment_forbidden());
}

#[test]
fn the_scopes_that_are_named_are_those_of_the_nearest_grant() {
    let allow = json!([
        { "issuer": "two", "scopes": ["far"] },
        { "scopes": ["near", "read"] },
        { "scopes": ["later"] }
    ]);
    assert_eq!(verdict(&allow, &full_claims()), scope_missing(&["near", "read"]), "the first one");
    let none = json!({});
    assert_eq!(verdict(&allow, &none), scope_missing(&["later"]), "the one that lacks the fewest");
    assert_eq!(verdict_of(1, &allow, &json!({})), scope_missing(&["far"]));
}

#[test]
fn all_that_a_grant_lacks_is_listed_the_most_serious_first() {
    let lacks = |grant: Value| {
        let route = json!({
            "name": "r", "match": { "methods": ["GET"], "path": "/{deployment}" },
            "allow": [grant]
        });
        let Access::Granted { grants, .. } = list(&json!([route])).remove(0).access else {
            panic!("not granted")
        };
        let claims = Claims::of(json!({ "scp": "read" }));
        unmet(&grants[0], EntryIndex(0), Deployment::Named("gpt"), &claims).collect::<Vec<_>>()
    };
    let grant = json!({
        "scopes": ["read", "write", "admin"], "roles": ["User"], "issuer": "one",
        "deployments": ["o1"], "clients": ["app"]
    });
    assert_eq!(
        lacks(grant),
        [Unmet::Client, Unmet::Roles, Unmet::Deployment, Unmet::Scopes { missing: 2 }]
    );
    assert_eq!(lacks(json!({ "scopes": ["read"], "deployments": ["gpt"] })), []);
}

#[test]
fn who_fails_for_the_deployment_alone_is_told_of_it_and_not_of_a_scope() {
    let mini = Grant { deployments: vec!["mini".to_owned()], ..Grant::default() };
    let all = Grant { scopes: vec!["all".to_owned()], ..Grant::default() };
    let limited = Grant { scopes: vec!["few".to_owned()], ..mini.clone() };
    let claims = Claims::of(json!({ "scp": "chat" }));
    let ask = |grants: &[Grant]| admit(grants, EntryIndex(0), Deployment::Named("gpt-5"), &claims);
    let forbidden = Err(Denial::DeploymentForbidden { deployment: "gpt-5".to_owned() });
    assert_eq!(ask(&[mini.clone(), all.clone()]), forbidden);
    assert_eq!(ask(&[all.clone(), mini]), forbidden, "in whatever order");
    let lacking = Err(Denial::ScopeMissing { scopes: vec!["all".to_owned()] });
    assert_eq!(ask(&[limited, all]), lacking, "it lacks a scope, too");
}
