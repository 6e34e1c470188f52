//! `keyless check`.

use serde_json::{Value, json};

use crate::{Said, Scratch, configuration, keyless};

fn check(text: &str) -> Said {
    keyless(&["check", "-"], text)
}

/// The line that begins with this, without it.
fn rest<'a>(said: &'a Said, start: &str) -> &'a str {
    let mut lines = said.out.lines().filter_map(|line| line.trim_start().strip_prefix(start));
    lines.next().unwrap_or_else(|| panic!("no {start:?} in {}", said.out))
}

#[test]
fn what_ships_is_valid_and_has_no_warning() {
    for (file, place) in [
        ("envoy.yaml", "static_resources.listeners[0]"),
        ("istio/wasmplugin.yaml", "WasmPlugin openai-gateway/keyless"),
        ("istio/trafficextension.yaml", "TrafficExtension openai-gateway/keyless"),
    ] {
        let said = keyless(&["check", file], "");
        assert_eq!((said.status, said.err.as_str()), (0, ""), "{file}");
        assert!(said.out.starts_with(&format!("{file}, {place}")), "{}", said.out);
        assert!(said.out.lines().next().unwrap().ends_with(": valid"), "{}", said.out);
        assert!(!said.out.contains("\nwarnings\n"), "{}", said.out);
        assert_eq!(
            rest(&said, "chat  "),
            "         POST /openai/deployments/{deployment}/chat/completions"
        );
    }
}

#[test]
fn the_pages_example_is_valid() {
    let page = include_str!("../../../docs/configuration.md");
    let example = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let said = check(example);
    assert_eq!(said.status, 0, "{}", said.out);
    assert_eq!(rest(&said, "or issuer "), "partner, role ChatUser, deployment gpt-4o-mini");
    assert_eq!(rest(&said, "partner_idp"), "  keys of issuer partner");
}

#[test]
fn each_kind_of_entry_is_summarised() {
    let said = check(&configuration().to_string());
    assert_eq!(said.status, 0, "{}", said.out);
    for line in [
        "  idp  iss https://idp.example.com/",
        "       max lifetime 1h, leeway 1m",
        "       keys: 1 inline",
        "          system-assigned identity, from IMDS, cluster imds",
        "         allow scopes chat and more",
        "         or role Chat, claim team \"a\" or 1, deployment mini",
        "         upstream identity: openai",
        "         header x-caller: claim oid",
        "  model  POST /v1/{*rest} on *.example.com",
        "         deployment: the model in the body",
        "         no upstream credential",
        "         public: no token required, no upstream credential",
        "         health: answered by keyless",
        "  imds  tokens of identity openai",
    ] {
        assert!(said.out.lines().any(|one| one == line), "no {line:?} in {}", said.out);
    }
    assert!(!said.out.contains("report_only"));
    let mut lenient = configuration();
    lenient["report_only"] = true.into();
    lenient["routes"][0]["cors"] = true.into();
    lenient["protected_resource"] = json!({ "resource": "https://gateway.example.com" });
    let said = check(&lenient.to_string());
    assert!(said.out.contains("report_only: dry run"), "{}", said.out);
    assert!(said.out.contains("CORS preflight: forwarded"), "{}", said.out);
    assert!(
        said.out.contains("protected resource metadata at /.well-known/oauth-protected-resource")
    );
}

#[test]
fn a_mistake_is_reported_with_its_place() {
    let mut wrong = configuration();
    wrong["routes"][0]["identity"] = "nobody".into();
    for (text, message) in [
        (wrong.to_string(), "routes[0].identity: expected one of \"openai\", found \"nobody\""),
        ("{".to_owned(), "$: expected a JSON object, found invalid JSON"),
        (String::new(), "found an empty document"),
        (r#"{"issuers": [], "issuers": []}"#.to_owned(), "issuers: expected each key once"),
        (
            "issuers: []\nroutes: []".to_owned(),
            "issuers: expected at least one item, found an empty list\n  routes: expected",
        ),
    ] {
        let said = check(&text);
        assert_eq!(said.status, 1, "{text}");
        assert!(said.out.starts_with("-: invalid\n  "), "{}", said.out);
        assert!(said.out.contains(message), "{}", said.out);
    }
}

#[test]
fn a_mistake_in_a_bigger_file_is_reported_with_both_places() {
    let shipped = std::fs::read_to_string("../envoy.yaml").unwrap();
    let broken = Scratch::new("envoy.yaml", &shipped.replacen("\"identity\"", "\"identidy\"", 1));
    let said = keyless(&["check", broken.path()], "");
    assert_eq!(said.status, 1);
    assert!(
        said.out.contains("http_filters[0].typed_config: invalid\n  routes[0].identidy: "),
        "{}",
        said.out
    );
    let both = ["wasmplugin", "trafficextension"]
        .map(|name| std::fs::read_to_string(format!("../istio/{name}.yaml")).unwrap());
    let both = both.join("\n---\n").replacen("path: /healthz", "path: healthz", 1);
    let said = check(&both);
    assert_eq!(said.status, 1);
    assert!(
        said.out
            .starts_with("-, document 1, WasmPlugin openai-gateway/keyless: invalid\n  routes["),
        "{}",
        said.out
    );
    assert!(said.out.contains("-, document 2, TrafficExtension openai-gateway/keyless: valid"));
}

#[test]
fn a_cluster_that_the_file_lacks_is_a_mistake_unless_more_come_later() {
    let shipped = std::fs::read_to_string("../envoy.yaml").unwrap();
    let without = shipped.replace("- name: imds", "- name: other");
    let said = check(&without);
    assert_eq!(said.status, 1);
    assert_eq!(rest(&said, "imds "), "  tokens of identity openai; MISSING");
    assert_eq!(
        rest(&said, "static_resources.clusters: "),
        "expected a cluster \"imds\" for tokens of identity openai, found none"
    );
    let said = check(&format!("{without}\ndynamic_resources: {{}}\n"));
    assert_eq!(said.status, 0, "{}", said.out);
    assert_eq!(rest(&said, "imds "), "  tokens of identity openai; not in this file");
}

#[test]
fn what_is_probably_a_mistake_is_a_warning_and_no_error() {
    let mut odd = configuration();
    odd["identities"]["spare"] = odd["identities"]["openai"].clone();
    let mut late = odd["routes"][0].clone();
    late["name"] = "late".into();
    late["match"]["path"] = "/chat/mini".into();
    late["allow"] = json!([{ "roles": ["Chat"] }, {}]);
    odd["routes"].as_array_mut().unwrap().push(late);
    let said = check(&odd.to_string());
    assert_eq!(said.status, 0);
    let (_, warnings) = said.out.split_once("\nwarnings\n").unwrap();
    let first = warnings.lines().map(str::trim).filter(|line| line.ends_with(']'));
    assert_eq!(
        first.collect::<Vec<_>>(),
        [
            "routes[4]: late is unreachable: shadowed by routes[0] chat [route_unreachable]",
            "routes[4].allow[1]: has no condition and allows every valid token of any issuer \
             [grant_without_condition]",
            "identities.spare: unused: no route names it [identity_unused]",
        ]
    );
    assert_eq!(warnings.matches("\n    why: ").count(), 3, "{warnings}");
    assert_eq!(warnings.matches("\n    instead: ").count(), 3, "{warnings}");
}

#[test]
fn a_limit_that_does_not_limit_what_it_seems_to_is_a_warning() {
    let mut odd = configuration();
    odd["limits"] = json!([
        { "name": "fine", "per": ["issuer", "subject"], "requests": 60, "window": "1m" },
        { "name": "subject", "per": ["subject"], "requests": 60, "window": "1m" },
        { "name": "tokens", "per": ["issuer"], "tokens": 60, "window": "1m" }
    ]);
    let warnings = |document: &Value| {
        let said = check(&document.to_string());
        assert_eq!(said.status, 0, "{}", said.out);
        let warnings = said.out.split_once("\nwarnings\n").map_or("", |(_, warnings)| warnings);
        let first = warnings.lines().filter_map(|line| Some(line.trim().split_once(" [")?.0));
        first.map(str::to_owned).collect::<Vec<_>>()
    };
    let by_subject = "limits[1]: subject counts by subject without issuer";
    let unmet = "limits[2]: tokens counts nothing: it is for no route that asks for a token and has `usage`";
    assert_eq!(warnings(&odd), [by_subject, unmet]);

    odd["routes"][0]["usage"] = "ask".into();
    odd["routes"][0]["deployments"] = json!(["gpt-4o", "mini"]);
    odd["limits"] = json!([{ "name": "money", "cost": "5", "window": "1d" }]);
    assert_eq!(warnings(&odd), ["limits[0]: money counts nothing: there are no `prices`"]);
    odd["prices"] = json!({ "GPT-4o": { "input": "1", "output": "1" } });
    let unpriced = "limits[0]: money does not count the deployment mini, which has no price";
    assert!(warnings(&odd).contains(&unpriced.to_owned()), "{:?}", warnings(&odd));
}

#[test]
fn a_route_that_reads_bodies_which_envoy_does_not_show_is_a_mistake() {
    let shipped = std::fs::read_to_string("../envoy.yaml").unwrap();
    let (name, hidden) = ("\"name\": \"chat-v1\",", "# allow_on_headers_stop_iteration: true");
    assert!(shipped.contains(name) && shipped.contains(hidden));
    let reading = shipped.replace(name, &format!("{name} \"deployment\": \"body.model\","));
    let said = check(&reading);
    assert_eq!(said.status, 1, "{}", said.out);
    assert!(
        rest(&said, "routes[2].deployment: ")
            .starts_with("expected `allow_on_headers_stop_iteration: true`")
    );
    let said = check(&reading.replace(hidden, "allow_on_headers_stop_iteration: true"));
    assert_eq!(said.status, 0, "{}", said.out);
    let plugin = std::fs::read_to_string("../istio/wasmplugin.yaml").unwrap();
    let name = "- name: chat-v1\n";
    let said = check(&plugin.replace(name, &format!("{name}        deployment: body.model\n")));
    assert_eq!(said.status, 1, "{}", said.out);
}

#[test]
fn what_cannot_be_read_has_another_status_than_what_is_invalid() {
    for said in [
        keyless(&["check", "nothing.yaml"], ""),
        keyless(&["check", "istio/guard.yaml"], ""),
        keyless(&["check", "README.md"], ""),
        check("a: [\n"),
        check("a: 1\na: 1\n"),
        keyless(&["check"], ""),
    ] {
        assert_eq!((said.status, said.out.as_str()), (2, ""), "{}", said.err);
        assert!(!said.err.is_empty());
    }
}
