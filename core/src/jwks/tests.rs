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
fn what_serializers_write_for_nothing_and_padding_do_not_make_a_key_unusable() {
    let harmless = [
        json!({"alg": null, "use": null, "x5t": null, "d": null, "crv": null}),
        json!({"key_ops": [], "x5c": []}),
        json!({"kid": null}),
        json!({"n": format!("{N}==")}),
    ];
    for changes in harmless {
        assert_eq!(parse(&[jwk(changes.clone())]).unwrap().len(), 1, "{changes}");
    }
    let document = json!({"keys": [jwk(json!({}))]}).to_string();
    let marked = [b"\xef\xbb\xbf", document.as_bytes()].concat();
    assert_eq!(KeySet::parse(&marked, None).unwrap().len(), 1, "a byte order mark");
}

#[test]
fn a_key_without_a_name_is_that_of_every_name_if_it_is_the_only_one() {
    let count = |set: &KeySet| set.candidates(Some("a"), Algorithm::Rs256).count();
    assert_eq!(count(&parse(&[jwk(json!({"kid": null}))]).unwrap()), 1);
    assert_eq!(count(&parse(&[jwk(json!({"kid": "b"}))]).unwrap()), 0);
    let two = [jwk(json!({"kid": null})), jwk(json!({"kid": "b"}))];
    assert_eq!(count(&parse(&two).unwrap()), 0, "another one may be meant");
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
        json!({"n": format!("{N}!")}),
        json!({"n": N.replace('_', "/")}),
        json!({"e": "Ag"}),
        json!({"e": "AQ"}),
        json!({"e": ""}),
        json!({"e": 65537}),
    ];
    for changes in unusable {
        let bad = jwk(changes.clone());
        assert_eq!(
            parse(std::slice::from_ref(&bad)).err().map(|error| error.code()),
            Some("no_usable_key"),
            "{changes}"
        );
        let set = parse(&[bad, json!("not a key"), jwk(json!({"kid": "good"}))]).unwrap();
        assert_eq!(set.len(), 1);
        assert!(set.names("good"));
    }
}

#[test]
fn an_unusable_key_is_told_with_its_name_and_the_reason_and_bounded() {
    let told = |changes| {
        let set = parse(&[jwk(changes), jwk(json!({"kid": "good"}))]).unwrap();
        set.unusable().first.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let rows = [
        (
            json!({"kid": "Ow9/pad", "n": format!("{N}!")}),
            r#"kid="Ow9/pad" reason="n is not base64url""#,
        ),
        (json!({"n": null}), r#"kid="k" reason="no n""#),
        (
            json!({"n": null, "e": null, "x5c": ["MIIC"]}),
            r#"kid="k" reason="x5c holds no RSA key""#,
        ),
        (json!({"kid": 7}), r#"kid=none reason="kid is not a string""#),
        (json!({"kty": "oct"}), r#"kid="k" reason="kty is oct, a shared secret""#),
        (json!({"alg": "RS1"}), r#"kid="k" reason="alg is not one that can be verified""#),
        (json!({"alg": "ES256"}), r#"kid="k" reason="alg does not fit kty and crv""#),
        (json!({"kid": "a\n\"\u{7f}é", "n": null}), r#"kid="a\n\"\u{7f}\u{e9}" reason="no n""#),
    ];
    for (changes, expected) in rows {
        assert_eq!(told(changes), [expected]);
    }
    for other in [json!({"use": "enc"}), json!({"key_ops": ["encrypt"]})] {
        assert!(told(other).is_empty(), "it is for something else");
    }
    let [long] = &told(json!({"kid": "é".repeat(300), "n": null}))[..] else { panic!("one key") };
    assert!(long.len() < 100, "{long}");
    let keys: Vec<_> = (0..50).map(|_| jwk(json!({"n": null}))).chain([jwk(json!({}))]).collect();
    let set = parse(&keys).unwrap();
    assert_eq!((set.unusable().count, set.unusable().first.len()), (50, MAX_TOLD));
}

#[test]
fn a_key_that_is_published_as_a_certificate_alone_is_the_same_key() {
    let certificates: Value = serde_json::from_str(include_str!("certificates.json")).unwrap();
    let spki = |key: Value| parse(&[key]).unwrap().keys.remove(0).public.spki().to_vec();
    for (kind, versions) in certificates.as_object().unwrap() {
        let key = &versions["key"];
        let expected = spki(key.clone());
        for x5c in versions["x5c"].as_array().unwrap() {
            let chain = json!([x5c, "bm90IGxvb2tlZCBhdA=="]);
            let alone = json!({"kty": key["kty"], "crv": key["crv"], "x5c": chain});
            assert_eq!(spki(alone), expected, "{kind}");
            let with_members = jwk(json!({"x5c": chain}));
            assert_ne!(spki(with_members), expected, "{kind}: the members are the key");
        }
    }
}

#[test]
fn a_certificate_that_holds_no_such_key_makes_none() {
    let certificates: Value = serde_json::from_str(include_str!("certificates.json")).unwrap();
    let of = |kind: &str| certificates[kind]["x5c"][0].clone();
    let mut cut = of("RSA").as_str().map(str::to_owned).unwrap();
    cut.truncate(cut.len() - 4);
    let rows = [
        (json!({"kty": "RSA", "x5c": [of("EC")]}), "x5c holds no RSA key"),
        (json!({"kty": "RSA", "x5c": [cut]}), "x5c holds no RSA key"),
        (json!({"kty": "RSA", "x5c": ["-----BEGIN CERTIFICATE-----"]}), "x5c is not base64"),
        (json!({"kty": "RSA", "x5c": "MIIC"}), "x5c is not base64"),
        (json!({"kty": "RSA", "x5c": [], "n": "", "e": ""}), "n is not of 2048"),
        (json!({"kty": "EC", "crv": "P-256", "x5c": [of("RSA")]}), "x5c holds no point"),
        (json!({"kty": "EC", "crv": "P-384", "x5c": [of("EC")]}), "not a point of crv"),
    ];
    for (key, reason) in rows {
        let error = parse(std::slice::from_ref(&key)).unwrap_err().to_string();
        assert!(error.contains(reason), "{key}: {error}");
    }
}

#[test]
fn a_key_set_without_a_usable_key_says_why() {
    let error = |keys: &[Value]| parse(keys).unwrap_err().to_string();
    let x5c = jwk(json!({"n": null, "e": null, "x5c": ["MIIC"]}));
    let expected = r#"no usable key: kid="k" reason="x5c holds no RSA key""#;
    assert_eq!(error(&[jwk(json!({"use": "enc"})), x5c]), expected);
    let expected = r#"no usable key: kid="k" reason="use is not sig""#;
    assert_eq!(error(&[jwk(json!({"use": "enc"}))]), expected);
    assert_eq!(error(&[]), "no usable key: none at all");
    let discovery = br#"{"issuer": "https://idp.example.com", "jwks_uri": "https://x/keys"}"#;
    let error = KeySet::parse(discovery, None).unwrap_err().to_string();
    assert!(error.contains("`discovery`"), "{error}");
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
    for (text, code) in [
        ("", "truncated"),
        ("<html>", "not_json"),
        ("[]", "malformed"),
        ("{}", "malformed"),
        (r#"{"keys":{}}"#, "malformed"),
        (r#"{"keys":[]}"#, "no_usable_key"),
        (r#"{"keys":[{}"#, "truncated"),
    ] {
        assert_eq!(KeySet::parse(text.as_bytes(), None).unwrap_err().code(), code, "{text}");
    }
    let repeated = format!(r#"{{"keys":[{0}],"keys":[{0}]}}"#, jwk(json!({})));
    assert_eq!(KeySet::parse(repeated.as_bytes(), None).err(), Some(FetchError::Repeated));
    let many: Vec<Value> = (0..=MAX_KEYS).map(|_| json!({})).collect();
    assert_eq!(parse(&many).err(), Some(FetchError::Malformed("too many keys")));
}

/// RFC 7515, appendix A.3.
const P256: [&str; 2] =
    ["f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"];
/// The generator of P-384 (FIPS 186-4, D.1.2.4).
const P384: [&str; 2] = [
    "qofKIr6LBTeOscce8yCtdG4dO2KLp5uYWfdB4IJUKjhVAvJdv1UpbDpUXjhydgq3",
    "NhfeSpYmLG9dnpi_kpLcKfj0Hb0omhR86doxE7XwuMAKYLHOHX6BnXpDHXyQ6g5f",
];
/// RFC 8037, appendix A.2.
const ED25519: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

fn ec(curve: &str, [x, y]: [&str; 2]) -> Value {
    json!({"kty": "EC", "kid": "k", "crv": curve, "x": x, "y": y})
}

fn okp(curve: &str, x: &str) -> Value {
    json!({"kty": "OKP", "kid": "k", "crv": curve, "x": x})
}

#[test]
fn a_key_signs_with_the_algorithms_of_its_type_alone() {
    let rows = [
        (ec("P-256", P256), "ES256"),
        (ec("P-384", P384), "ES384"),
        (okp("Ed25519", ED25519), "Ed25519 EdDSA"),
        (jwk(json!({})), "PS256 PS384 PS512 RS256 RS384 RS512"),
    ];
    for (key, expected) in rows {
        let set = parse(std::slice::from_ref(&key)).unwrap();
        let signs = |algorithm| set.candidates(Some("k"), algorithm).count() == 1;
        let names = Algorithm::ALL.iter().filter(|(_, algorithm)| signs(*algorithm));
        let mut names: Vec<_> = names.map(|(name, _)| *name).collect();
        names.sort_unstable();
        assert_eq!(names.join(" "), expected, "{key}");
    }
}

#[test]
fn elliptic_curve_keys_that_are_none_are_left_out() {
    let [x, y] = P256;
    let short = "g83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVA";
    let with = |mut key: Value, name: &str, value: Value| {
        key[name] = value;
        key
    };
    let unusable = [
        ec("P-256", [y, x]),
        ec("P-256", ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"; 2]),
        ec("P-256", [short, y]),
        ec("P-256", [x, ""]),
        ec("P-256", P384),
        ec("P-384", P256),
        ec("P-521", P256),
        ec("secp256k1", P256),
        ec("p-256", P256),
        ec("Ed25519", [ED25519, ED25519]),
        with(ec("P-256", P256), "y", Value::Null),
        with(ec("P-256", P256), "crv", Value::Null),
        with(ec("P-256", P256), "crv", json!(256)),
        with(ec("P-256", P256), "kty", json!("RSA")),
        with(ec("P-256", P256), "alg", json!("ES384")),
        with(ec("P-256", P256), "alg", json!("RS256")),
        with(ec("P-256", P256), "alg", json!("ES256K")),
        okp("Ed448", ED25519),
        okp("X25519", ED25519),
        okp("P-256", ED25519),
        okp("Ed25519", short),
        okp("Ed25519", ""),
        with(okp("Ed25519", ED25519), "alg", json!("ES256")),
        with(okp("Ed25519", ED25519), "use", json!("enc")),
    ];
    for key in unusable {
        assert_eq!(
            parse(std::slice::from_ref(&key)).err().map(|error| error.code()),
            Some("no_usable_key"),
            "{key}"
        );
    }
    let pinned = with(ec("P-256", P256), "alg", json!("ES256"));
    assert_eq!(parse(&[pinned]).unwrap().candidates(None, Algorithm::Es256).count(), 1);
}

const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

fn tenant() -> Tenant {
    let accepted = vec![
        format!("https://login.microsoftonline.com/{TENANT}/v2.0"),
        format!("https://sts.windows.net/{TENANT}/"),
    ];
    Tenant { id: TENANT.to_owned(), accepted }
}

#[test]
fn a_tenants_key_names_its_issuer_as_a_template_in_full_or_not_at_all() {
    let is_kept = |issuer: Value| {
        let document = json!({"keys": [jwk(json!({"issuer": issuer}))]}).to_string();
        assert!(KeySet::parse(document.as_bytes(), None).is_ok(), "elsewhere it means nothing");
        KeySet::parse(document.as_bytes(), Some(&tenant())).is_ok()
    };
    for issuer in [
        "https://login.microsoftonline.com/{tenantid}/v2.0".to_owned(),
        "https://sts.windows.net/{tenantid}/".to_owned(),
        format!("https://login.microsoftonline.com/{TENANT}/v2.0"),
        format!("https://sts.windows.net/{TENANT}/"),
    ] {
        assert!(is_kept(json!(issuer)), "{issuer}");
    }
    assert!(is_kept(json!(null)), "absent");
    for issuer in [
        "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
        "https://login.microsoftonline.com/11111111-86f1-41af-91ab-2d7cd011db47/v2.0",
        "https://sts.windows.net/11111111-86f1-41af-91ab-2d7cd011db47/",
        "https://login.microsoftonline.us/{tenantid}/v2.0",
        "https://login.microsoftonline.com/{tenantid}/v2.0/",
        "https://login.microsoftonline.com/{tenantid}",
        "https://evil.example/{tenantid}/v2.0",
        "https://login.microsoftonline.com/{TENANTID}/v2.0",
        "{tenantid}",
        "",
    ] {
        assert!(!is_kept(json!(issuer)), "{issuer}");
    }
    assert!(!is_kept(json!(7)) && !is_kept(json!([])) && !is_kept(json!(false)));
}

#[test]
fn keys_of_others_leave_a_tenants_own_in_place() {
    let personal = "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0";
    let keys = [
        jwk(json!({"kid": "a", "issuer": personal})),
        jwk(json!({"kid": "b", "issuer": "https://login.microsoftonline.com/{tenantid}/v2.0"})),
        jwk(json!({"kid": "c"})),
    ];
    let document = json!({ "keys": keys }).to_string();
    let set = KeySet::parse(document.as_bytes(), Some(&tenant())).unwrap();
    assert!(!set.names("a") && set.names("b") && set.names("c") && set.len() == 2);
}

const ISSUER: &str = "https://idp.example.com/realm";

fn discover(issuer: &str, document: &Value) -> Result<String, FetchError> {
    let uri = discovered(document.to_string().as_bytes(), issuer)?;
    Ok(format!("{}{}", uri.authority, uri.path))
}

#[test]
fn a_document_leads_to_the_keys_of_exactly_its_issuer() {
    let uri = "https://idp.example.com/keys?v=2";
    let good = json!({"issuer": ISSUER, "jwks_uri": uri, "token_endpoint": 7});
    assert_eq!(discover(ISSUER, &good).as_deref(), Ok("idp.example.com/keys?v=2"));
    for issuer in [
        "https://idp.example.com/realm/",
        "https://IDP.example.com/realm",
        "https://evil.example",
        "",
    ] {
        let document = json!({"issuer": issuer, "jwks_uri": uri});
        let wrong = FetchError::Malformed("the document of another issuer");
        assert_eq!(discover(ISSUER, &document), Err(wrong), "{issuer}");
    }
    for issuer in [json!(null), json!(7), json!([ISSUER])] {
        assert!(discover(ISSUER, &json!({"issuer": issuer, "jwks_uri": uri})).is_err());
    }
    assert!(discover(ISSUER, &json!({"jwks_uri": uri})).is_err());
}

#[test]
fn a_document_leads_to_no_other_host() {
    let ask =
        |issuer: &str, uri: &str| discover(issuer, &json!({"issuer": issuer, "jwks_uri": uri}));
    let same = [
        "http://idp.example.com/k",
        "https://IDP.example.com/k",
        "https://idp.example.com",
        "https://idp.example.com:443/k",
        "http://idp.example.com:80/k",
    ];
    for uri in same {
        assert!(ask(ISSUER, uri).is_ok(), "{uri}: the cluster says whether there is TLS");
    }
    let local = "http://localhost:8080/";
    assert_eq!(ask(local, "http://localhost:8080/k").as_deref(), Ok("localhost:8080/k"));
    for (issuer, uri) in [
        (ISSUER, "https://evil.example/k"),
        (ISSUER, "https://idp.example.com.evil.example/k"),
        (ISSUER, "https://keys.idp.example.com/k"),
        (ISSUER, "https://idp.example.com:8443/k"),
        (ISSUER, "https://idp.example.com:80/k"),
        (ISSUER, "http://idp.example.com:443/k"),
        (local, "http://localhost/k"),
        (local, "http://localhost:8081/k"),
    ] {
        let wrong = FetchError::Malformed("a jwks_uri on another host than the issuer's");
        assert_eq!(ask(issuer, uri), Err(wrong), "{uri}");
    }
    for (issuer, uri) in [
        (ISSUER, "https://user@idp.example.com/k"),
        (ISSUER, "https://idp.example.com@evil.example/k"),
        (ISSUER, "ftp://idp.example.com/k"),
        (ISSUER, "file:///etc/keys"),
        (ISSUER, "//idp.example.com/k"),
        (ISSUER, "/keys"),
        (ISSUER, ""),
        ("http://169.254.169.254/", "http://169.254.169.254/metadata/identity/oauth2/token"),
        ("http://[fe80::1]/", "http://[fe80::1]/k"),
    ] {
        assert_eq!(
            ask(issuer, uri),
            Err(FetchError::Malformed("no jwks_uri that may be asked")),
            "{uri}"
        );
    }
    assert!(ask("urn:example:issuer", "https://idp.example.com/k").is_err());
}

#[test]
fn what_is_no_document_leads_nowhere() {
    assert!(discover(ISSUER, &json!({"issuer": ISSUER})).is_err());
    assert!(
        discover(ISSUER, &json!({"issuer": ISSUER, "jwks_uri": ["https://idp.example.com"]}))
            .is_err()
    );
    let uri = "https://idp.example.com/k";
    let object = format!("\"issuer\":{ISSUER:?},\"jwks_uri\":{uri:?}");
    for (text, code) in [
        (String::new(), "truncated"),
        ("<html>".to_owned(), "not_json"),
        (format!("[{{{object}}}]"), "malformed"),
        (format!("{{{object}"), "truncated"),
        (format!("{{{object},\"jwks_uri\":{uri:?}}}"), "repeated"),
        (format!("{{\"issuer\":\"https://evil.example\",{object}}}"), "repeated"),
    ] {
        assert_eq!(discovered(text.as_bytes(), ISSUER).unwrap_err().code(), code, "{text}");
    }
}
