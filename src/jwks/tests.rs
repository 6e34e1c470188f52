use serde_json::json;

use super::*;

const N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";

/// A good key with some members replaced; `null` leaves one out.
fn jwk(changes: Value) -> Value {
    let mut jwk = json!({"kty": "RSA", "kid": "k", "use": "sig", "n": N, "e": "AQAB"});
    for (name, value) in changes.as_object().unwrap() {
        jwk.as_object_mut().unwrap().insert(name.clone(), value.clone());
    }
    jwk.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    jwk
}

fn parse(keys: &[Value]) -> Result<KeySet, FetchError> {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes(), None)
}

#[test]
fn a_key_is_found_by_its_exact_name() {
    let set = parse(&[jwk(json!({"kid": "a"})), jwk(json!({"kid": "b"}))]).unwrap();
    assert!(set.names("a") && set.names("b") && !set.names("A") && !set.names(""));
    assert_eq!(set.candidates(Some("a"), Algorithm::Rs256).count(), 1);
    assert_eq!(set.candidates(Some("c"), Algorithm::Rs256).count(), 0);
}

#[test]
fn unusable_keys_are_left_out_and_spoil_nothing() {
    let unusable = [
        json!({"kty": "oct", "k": "c2VjcmV0"}),
        json!({"kty": 1}),
        json!({"kty": null}),
        json!({"use": "enc"}),
        json!({"use": 1}),
        json!({"key_ops": ["encrypt"]}),
        json!({"key_ops": "verify"}),
        json!({"alg": "HS256"}),
        json!({"alg": "none"}),
        json!({"alg": 256}),
        json!({"kid": 7}),
        json!({"n": null}),
        json!({"n": "AQAB"}),
        json!({"n": format!("{N}=")}),
        json!({"n": N.replace('_', "/")}),
        json!({"e": "Ag"}),
        json!({"e": "AQ"}),
        json!({"e": ""}),
        json!({"e": 65537}),
    ];
    for changes in unusable {
        let bad = jwk(changes.clone());
        assert_eq!(
            parse(std::slice::from_ref(&bad)).err(),
            Some(FetchError::Malformed("no usable key")),
            "{changes}"
        );
        let set = parse(&[bad, json!("not a key"), jwk(json!({"kid": "good"}))]).unwrap();
        assert_eq!(set.len(), 1);
        assert!(set.names("good"));
    }
}

#[test]
fn the_keys_own_algorithm_binds() {
    let set = parse(&[jwk(json!({"alg": "RS512", "key_ops": ["verify"]}))]).unwrap();
    assert_eq!(set.candidates(Some("k"), Algorithm::Rs512).count(), 1);
    assert_eq!(set.candidates(Some("k"), Algorithm::Rs256).count(), 0);
    assert_eq!(set.candidates(Some("k"), Algorithm::Ps512).count(), 0);
}

#[test]
fn without_a_name_only_a_handful_of_keys_is_tried() {
    let keys: Vec<Value> = (0..20).map(|n| jwk(json!({"kid": n.to_string()}))).collect();
    assert_eq!(parse(&keys).unwrap().candidates(None, Algorithm::Rs256).count(), MAX_TRIES);
}

#[test]
fn what_is_no_key_set_is_malformed() {
    for text in ["", "<html>", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":[{}"#] {
        assert!(
            matches!(KeySet::parse(text.as_bytes(), None), Err(FetchError::Malformed(_))),
            "{text}"
        );
    }
    let repeated = format!(r#"{{"keys":[{0}],"keys":[{0}]}}"#, jwk(json!({})));
    assert!(KeySet::parse(repeated.as_bytes(), None).is_err());
    let many: Vec<Value> = (0..=MAX_KEYS).map(|_| json!({})).collect();
    assert_eq!(parse(&many).err(), Some(FetchError::Malformed("too many keys")));
}
