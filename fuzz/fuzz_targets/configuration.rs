//! The plugin's configuration: the same bytes get the same answer, and what is accepted is valid.

#![no_main]

use keyless_core::config::Config;
use keyless_core::policy::Access;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let answer = || Config::parse(bytes).map_err(|error| error.to_string());
    let (first, second) = (answer(), answer());
    assert_eq!(format!("{first:?}"), format!("{second:?}"));
    match first {
        Ok(config) => {
            assert!(!config.issuers.is_empty() && !config.routes.is_empty());
            assert!(config.stripped.has_header("authorization"), "callers' credentials are always removed");
            for issuer in &config.issuers {
                assert!(!issuer.accepted.is_empty() && !issuer.audiences.is_empty());
                assert!(!issuer.algorithms.is_empty() && !issuer.token_types.is_empty());
            }
            for route in &config.routes {
                match &route.access {
                    Access::Granted { grants, identity, .. } => {
                        assert!(!grants.is_empty(), "nobody is admitted by no grant");
                        assert!(identity.is_none_or(|index| index.0 < config.identities.len()));
                    }
                    Access::Health | Access::Public => {}
                }
            }
        }
        Err(message) => assert!(message.contains(": "), "it names the place: {message}"),
    }
});
