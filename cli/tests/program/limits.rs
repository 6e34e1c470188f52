//! `keyless limits`, and what `keyless check` says of a fleet.

use serde_json::json;

use crate::{configuration, keyless};

/// A configuration with a limit, whose proxies count together.
fn fleet() -> String {
    let mut configuration = configuration();
    configuration["limits"] = json!([
        { "name": "user-minute", "per": ["issuer", "subject"], "requests": 60, "window": "1m" }
    ]);
    configuration["ledger"] = json!({ "cluster": "ratelimit", "domain": "gateway" });
    configuration.to_string()
}

#[test]
fn the_limits_become_a_file_of_the_service() {
    let said = keyless(&["limits", "-"], &fleet());
    let expected = "\
# Made by `keyless limits`: make it again when the limits change.
domain: \"gateway\"
descriptors:
  - key: limit
    value: \"user-minute\"
    descriptors:
      - key: key
        rate_limit: # requests in 1m
          unit: minute
          requests_per_unit: 60
";
    assert_eq!((said.status, said.out.as_str()), (0, expected), "{}", said.err);
}

#[test]
fn mistakes_are_told_in_place_of_a_file() {
    let said = keyless(&["limits", "-"], &fleet().replace("\"1m\"", "\"2m\""));
    assert_eq!((said.status, said.out.as_str()), (2, ""));
    assert!(said.err.contains("limits[0].window: expected one of"), "{}", said.err);
}

#[test]
fn the_cluster_of_the_service_is_one_that_envoy_must_have() {
    let said = keyless(&["check", "-"], &fleet());
    assert_eq!(said.status, 0, "{}", said.out);
    assert!(said.out.contains("ratelimit  limits of a fleet\n"), "{}", said.out);
}

#[test]
fn a_cluster_of_the_service_without_http_2_is_told_of() {
    let shipped = include_str!("../../../envoy.yaml");
    let ledger = r#""ledger": { "cluster": "imds" }, "issuers": ["#;
    let said = keyless(&["check", "-"], &shipped.replace("\"issuers\": [", ledger));
    assert!(said.out.contains("cluster_not_for_grpc"), "{}", said.out);
    let options = "- name: imds
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          explicit_http_config: { http2_protocol_options: {} }
";
    let with = shipped.replace("\"issuers\": [", ledger).replace("- name: imds\n", options);
    let said = keyless(&["check", "-"], &with);
    assert!(!said.out.contains("cluster_not_for_grpc"), "{}", said.out);
}
