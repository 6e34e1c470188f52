//! What is wrong with a `WasmPlugin` or a `TrafficExtension` beside its `pluginConfig`; istiod refuses
//! the same, or the API server by Istio's schema (`ValidateTrafficExtension`, Istio 1.31).

use serde_json::Value;

/// Returns what Istio would refuse in such a resource.
pub(crate) fn errors(resource: &Value) -> Vec<String> {
    let (spec, path) = module(resource);
    let phases = ["UNSPECIFIED_PHASE", "AUTHN", "AUTHZ", "STATS"];
    let strategies = ["FAIL_CLOSE", "FAIL_OPEN", "FAIL_RELOAD"];
    let phase = resource.pointer("/spec/phase");
    let found = [
        url(spec.get("url")).map(|problem| format!("{path}.url: {problem}")),
        spec.get("sha256").and_then(digest).map(|problem| format!("{path}.sha256: {problem}")),
        one_of(phase, &phases).map(|problem| format!("spec.phase: {problem}")),
        one_of(spec.get("failStrategy"), &strategies)
            .map(|problem| format!("{path}.failStrategy: {problem}")),
    ];
    found.into_iter().flatten().collect()
}

/// The part that says which module runs and how, and its path.
pub(crate) fn module(resource: &Value) -> (&Value, &'static str) {
    match resource.pointer("/spec/wasm") {
        Some(wasm) => (wasm, "spec.wasm"),
        None => (resource.get("spec").unwrap_or(&Value::Null), "spec"),
    }
}

fn url(url: Option<&Value>) -> Option<String> {
    let url = url.and_then(Value::as_str).unwrap_or_default();
    let scheme = url.split_once("://").map_or("oci", |(scheme, _)| scheme);
    match scheme {
        _ if url.is_empty() => Some("expected the address of an image, found none".to_owned()),
        "oci" | "file" | "http" | "https" => None,
        other => Some(format!("expected the scheme oci, http, https or file, found {other}")),
    }
}

fn digest(digest: &Value) -> Option<String> {
    let digest = digest.as_str().unwrap_or_default();
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let fits = digest.is_empty() || digest.len() == 64 && digest.bytes().all(is_digit);
    let expected = "expected the 64 hexadecimal digits that follow `sha256:`, in lower case";
    (!fits).then(|| format!("{expected}, found {} characters", digest.chars().count()))
}

fn one_of(value: Option<&Value>, expected: &[&str]) -> Option<String> {
    let value = value?;
    let is_known = value.as_str().is_some_and(|text| expected.contains(&text));
    (!is_known).then(|| format!("expected one of {}, found {value}", expected.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plugin(member: &str, value: Value) -> Value {
        let mut plugin = json!({ "spec": { "phase": "AUTHZ", "wasm": {
            "url": "oci://registry.example.com/keyless:0.1.0", "failStrategy": "FAIL_RELOAD" } } });
        *plugin.pointer_mut("/spec").unwrap().pointer_mut(member).unwrap() = value;
        plugin
    }

    #[test]
    fn each_mistake_is_named_by_its_path() {
        for (member, value, found) in [
            ("/phase", json!("FIRST"), "spec.phase: expected one of UNSPECIFIED_PHASE, AUTHN"),
            (
                "/wasm/failStrategy",
                json!("FAIL_OFTEN"),
                "spec.wasm.failStrategy: expected one of FAIL_CLOSE",
            ),
            ("/wasm/url", json!(""), "spec.wasm.url: expected the address of an image, found none"),
            ("/wasm/url", json!("ftp://x/keyless"), "spec.wasm.url: expected the scheme oci"),
        ] {
            let mistakes = errors(&plugin(member, value));
            assert!(mistakes.len() == 1 && mistakes[0].starts_with(found), "{mistakes:?}");
        }
        assert!(errors(&plugin("/phase", json!("STATS"))).is_empty());
    }

    #[test]
    fn a_digest_has_64_digits_in_lower_case() {
        let with = |digest: &str| {
            let mut plugin = plugin("/phase", json!("AUTHZ"));
            plugin["spec"]["wasm"]["sha256"] = digest.into();
            errors(&plugin).len()
        };
        assert_eq!(with(&"a1".repeat(32)), 0);
        assert_eq!([with("12ab"), with(&"A1".repeat(32)), with(&"é".repeat(32))], [1, 1, 1]);
    }

    #[test]
    fn a_wasm_plugin_has_the_same_members_at_another_place() {
        let plugin = json!({ "spec": { "url": "keyless", "sha256": "1" } });
        assert!(errors(&plugin)[0].starts_with("spec.sha256: expected the 64 hexadecimal digits"));
    }
}
