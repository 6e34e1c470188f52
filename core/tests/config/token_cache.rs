//! The bounds of what a thread remembers.

use keyless_core::config::Config;
use keyless_core::token_cache::Limits;
use serde_json::{Value, json};

use super::{accepted, assert_refused, base, changed, parse};

/// The base document with the text of one number written another way.
fn written(number: &str) -> Result<Config, String> {
    let text =
        base().to_string().replace("\"max_entries\":1000", &format!("\"max_entries\":{number}"));
    Config::parse(text.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn bounds_have_defaults_one_by_one() {
    let limits = |value: Value| accepted("/token_cache", value).token_cache;
    let (max_entries, max_bytes) = (4096, 32 << 20);
    assert_eq!(limits(json!({})), Limits { max_entries, max_bytes });
    assert_eq!(limits(json!({ "max_entries": 7 })), Limits { max_entries: 7, max_bytes });
    assert_eq!(limits(json!({ "max_bytes": 7 })), Limits { max_entries, max_bytes: 7 });
    let unsaid = parse(&changed("/token_cache", None)).unwrap();
    assert_eq!(unsaid.token_cache, Limits { max_entries, max_bytes });
}

#[test]
fn a_bound_may_be_written_as_istio_writes_numbers() {
    for number in ["4096", "4.096e3", "4096.0", "4.096E+03"] {
        assert_eq!(written(number).unwrap().token_cache.max_entries, 4096, "{number}");
    }
    assert_eq!(written("1e+06").unwrap().token_cache.max_entries, 1_000_000);
    assert_eq!(written("1").unwrap().token_cache.max_entries, 1);
    assert_eq!(written("4294967295").unwrap().token_cache.max_entries, 0xffff_ffff);
}

#[test]
fn a_bound_is_a_whole_number_above_zero() {
    let expected = "expected a whole number from 1 to 4294967295";
    let rows = [
        (json!(0), "0"),
        (json!(-1), "-1"),
        (json!(0.5), "0.5"),
        (json!(4096.5), "4096.5"),
        (json!(-0.0), "-0.0"),
        (json!(1_u64 << 32), "4294967296"),
        (json!(u64::MAX), "18446744073709551615"),
        (json!(1e300), "1e+300"),
    ];
    for (value, found) in rows {
        for key in ["max_entries", "max_bytes"] {
            let problem = format!("{expected}, found {found}");
            assert_refused(&format!("/token_cache/{key}"), value.clone(), &problem);
        }
    }
}

#[test]
fn a_bound_is_a_number() {
    let rows = [
        (json!("4096"), "\"4096\""),
        (json!("4096MiB"), "\"4096MiB\""),
        (json!(true), "true"),
        (json!([4096]), "a list"),
    ];
    for (value, found) in rows {
        let problem = format!("expected a number, found {found}");
        assert_refused("/token_cache/max_entries", value, &problem);
    }
}
