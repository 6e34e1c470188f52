use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::policy::tests::{at, get, list, route, routes};

/// The first match of the plain list.
fn first<'a>(list: &'a [Route], method: &str, host: &str, path: &str) -> Option<&'a str> {
    let takes = |route: &&Route| is_for(route, method, host) && route.matches(path).is_some();
    list.iter().find(takes).map(|route| &*route.name)
}

/// Patterns that overlap a lot, in all forms that `matchit` knows.
fn pattern() -> impl Strategy<Value = String> {
    let segments = vec!["a", "b", "ab", "{x}", "{deployment}", "a{x}", "{x}b", "a{x}b", "{{a}}"];
    let ends = vec!["", "", "", "/", "/{*rest}", "/a{*rest}"];
    let segments = prop::collection::vec(prop::sample::select(segments), 0..5);
    (segments, prop::sample::select(ends))
        .prop_map(|(segments, end)| format!("/{}{end}", segments.join("/")))
        .prop_filter("a pattern", |text| matchit::Router::new().insert(text, ()).is_ok())
}

fn any_route() -> impl Strategy<Value = Value> {
    let hosts = ["a.example", "*.a.example", "*.example", "B.example", "b.a.example"];
    let methods = prop::sample::subsequence(vec!["GET", "POST", "PUT"], 1..=2);
    (methods, pattern(), prop::sample::subsequence(hosts.to_vec(), 0..=2)).prop_map(
        |(methods, path, hosts)| {
            let mut matching = json!({ "methods": methods, "path": path });
            if !hosts.is_empty() {
                matching["hosts"] = json!(hosts);
            }
            matching
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn the_tree_finds_the_first_match_of_the_list(
        routes in prop::collection::vec(any_route(), 1..24),
        requests in prop::collection::vec((
            "(GET|POST|DELETE)",
            "((b[.])?A?[.]?a[.]|b[.]|)(example|Example)|",
            "(/(a|b|ab|aab|[{]a[}]|c)){0,5}/?",
        ), 32),
    ) {
        let routes = routes.into_iter().enumerate();
        let routes: Vec<_> = routes.map(|(at, matching)| route(&at.to_string(), matching)).collect();
        let list = list(&json!(routes));
        let tree = Routes::new(list.clone());
        for (method, host, path) in &requests {
            let found = tree.find(method, host, path).map(|found| &*found.route.name);
            prop_assert_eq!(found, first(&list, method, host, path), "{} {}{}", method, host, path);
        }
    }
}

#[test]
fn a_pattern_deeper_than_the_tree_is_found_all_the_same() {
    let deep = "/a".repeat(40);
    let list = routes(&json!([get("other", &format!("{deep}/b")), get("deep", &deep)]));
    assert_eq!(at(&list, &deep).as_deref(), Some("deep"));
    assert_eq!(at(&list, &format!("{deep}/b")).as_deref(), Some("other"));
    assert_eq!(at(&list, &format!("{deep}/c")), None);
    assert_eq!(at(&list, &"/a".repeat(39)), None);
}
