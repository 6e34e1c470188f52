//! What `jwt_verify_lib` finds usable of a key set, and what we do.

use std::collections::BTreeMap;

use keyless_core::jwks::KeySet;
use serde::Deserialize;

use crate::rows;

/// A document and the number of keys that the source's own test counts, where it does.
#[derive(Deserialize)]
struct Row {
    name: String,
    jwks_text: String,
    expect: Expect,
    keys_used: Option<usize>,
}

#[derive(Clone, Copy, Deserialize, Eq, PartialEq)]
enum Expect {
    #[serde(rename = "usable")]
    Usable,
    #[serde(rename = "no usable key")]
    Unusable,
}

/// The rows of which we use another number of keys than the source, and why.
const DIFFERENCES: [(&str, usize, &str); 11] = [
    ("GoodEC", 3, "the fourth is on P-521, and we have no ES512"),
    ("GoodOKP", 0, "no point of the curve has this `x`"),
    ("JwksIgnoreUnsupportedKey", 0, "the key of GoodOKP"),
    ("JwksIgnoreUnsupportedKeyInMiddle", 1, "the key of GoodOKP"),
    ("JwkECMissingAlg", 0, "P-521"),
    ("JwkECMissingCrv", 0, "P-521, and `crv` is absent"),
    ("JwksECMatchAlgES512CrvP521", 0, "P-521"),
    ("JwksECMissingBothAlgCrvES256", 0, "`crv` is absent, which RFC 7518 §6.2.1.1 requires"),
    ("JwksECUnspecifiedCrv", 0, "`crv` is absent from all three"),
    ("JwksGoodX509", 0, "certificates by name are no JWKS (RFC 7517 §5)"),
    ("RealJwksX509", 0, "certificates by name are no JWKS"),
];

impl Row {
    /// How many keys the source uses; a document whose keys its test does not count has one.
    fn theirs(&self) -> usize {
        match self.expect {
            Expect::Usable => self.keys_used.unwrap_or(1),
            Expect::Unusable => 0,
        }
    }

    fn ours(&self) -> usize {
        KeySet::parse(self.jwks_text.as_bytes(), None).map_or(0, |set| set.len())
    }
}

#[test]
fn as_many_keys_are_used_as_the_source_uses_or_the_reason_is_listed() {
    let rows: Vec<Row> = rows("jwks_parse.json");
    assert_eq!(rows.len(), 62);
    let mut listed: BTreeMap<_, _> =
        DIFFERENCES.into_iter().map(|(name, ours, reason)| (name, (ours, reason))).collect();
    for row in &rows {
        let name = row.name.rsplit('/').next().unwrap();
        match listed.remove(name) {
            Some((ours, reason)) => {
                assert_eq!(row.ours(), ours, "{name}: {reason}");
                assert_ne!(row.ours(), row.theirs(), "{name} differs no longer");
            }
            None => assert_eq!(row.ours(), row.theirs(), "{name}"),
        }
    }
    assert!(listed.is_empty(), "no rows of these names: {listed:?}");
}
