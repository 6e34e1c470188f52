use serde_json::json;

use super::*;
use crate::config::Config;
use crate::signature::PublicKey;

/// A maker that finds every signature valid, or none.
struct Always(bool);

impl Crypto for Always {
    fn verify(&self, _: Algorithm, _: &PublicKey, _: &[u8], _: &[u8]) -> bool {
        self.0
    }
}

const NOW: u64 = 1_700_000_000;
const ISSUER: &str = "https://idp.example.com/";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn issuer(changes: Value) -> Issuer {
    let mut issuer = json!({
        "issuer": ISSUER, "audiences": ["api", "other"],
        "jwks": {"cluster": "idp", "uri": "https://idp.example.com/jwks.json"}
    });
    merge(&mut issuer, changes);
    let route = json!({
        "name": "all", "match": {"methods": ["GET"], "path": "/"}, "allow": [{}]
    });
    let document = json!({"issuers": [issuer], "routes": [route]});
    Config::parse(document.to_string().as_bytes()).unwrap().issuers.remove(0)
}

fn merge(base: &mut Value, changes: Value) {
    let members = base.as_object_mut().unwrap();
    members.extend(changes.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
}

fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn token_of(header: &str, payload: &str) -> String {
    format!("{}.{}.c2lnbmF0dXJl", encode(header), encode(payload))
}

/// A good token with some members of header and claims replaced; `null` leaves one out.
fn token(header: Value, claims: Value) -> String {
    let mut full_header = json!({"alg": "RS256", "typ": "JWT", "kid": "k"});
    let mut full_claims = json!({"iss": ISSUER, "aud": "api", "exp": NOW + 3600, "sub": "me"});
    merge(&mut full_header, header);
    merge(&mut full_claims, claims);
    token_of(&full_header.to_string(), &full_claims.to_string())
}

fn parse_error(text: &str) -> Option<Denial> {
    Token::parse(text).err()
}

fn check(header: Value, claims: Value, changes: Value) -> Result<(), Denial> {
    let text = token(header, claims);
    Token::parse(&text)?.check(&issuer(changes), now())
}

fn check_claims(claims: Value) -> Result<(), Denial> {
    check(json!({}), claims, json!({}))
}

#[test]
fn a_good_token_passes() {
    assert_eq!(check(json!({}), json!({}), json!({})), Ok(()));
}

#[test]
fn every_check_has_an_outcome_of_its_own_and_the_first_that_fails_decides() {
    let text = token(json!({"alg": "ES256"}), json!({"exp": NOW - 3600, "aud": "third"}));
    let token = Token::parse(&text).unwrap();
    let checks = token.checks(&issuer(json!({})), now());
    let failed: Vec<_> = checks.iter().filter(|(_, one)| one.is_err()).cloned().collect();
    assert_eq!(
        failed,
        [
            ("alg", Err(Denial::AlgorithmForbidden)),
            ("exp", Err(Denial::TokenExpired)),
            ("aud", Err(Denial::AudienceMismatch { is_missing: false })),
        ]
    );
    assert_eq!(token.check(&issuer(json!({})), now()), Err(Denial::AlgorithmForbidden));
}

#[test]
fn what_is_not_three_parts_of_canonical_base64url_is_malformed() {
    let good = token(json!({}), json!({}));
    let (signed, _) = good.rsplit_once('.').unwrap();
    let header = encode(r#"{"alg":"RS256"}"#);
    let texts = [
        String::new(),
        "a".to_owned(),
        signed.to_owned(),
        format!("{good}.e30"),
        format!("{good}.e30.e30"),
        format!("{good}="),
        format!("{signed}.a+b/"),
        format!("{signed}.YR"),
        format!("{header}.."),
        format!(".{header}."),
        format!("{header}.{}.c2ln", encode("[]")),
        format!("{header}.{}.c2ln", encode("\u{feff}{}")),
        format!(" {good}"),
    ];
    for text in texts {
        assert_eq!(parse_error(&text), Some(Denial::TokenMalformed), "{text}");
    }
}

#[test]
fn a_repeated_member_is_malformed() {
    let payload = format!(r#"{{"iss":"{ISSUER}","aud":"api","exp":{}}}"#, NOW + 60);
    assert!(Token::parse(&token_of(r#"{"alg":"RS256"}"#, &payload)).is_ok());
    let twice = r#"{"alg":"none","alg":"RS256"}"#;
    assert_eq!(parse_error(&token_of(twice, &payload)), Some(Denial::TokenMalformed));
    let twice = payload.replace(r#""aud":"api""#, r#""aud":"api","aud":"evil""#);
    assert_eq!(parse_error(&token_of(r#"{"alg":"RS256"}"#, &twice)), Some(Denial::TokenMalformed));
}

#[test]
fn an_algorithm_without_a_public_key_is_forbidden() {
    for name in ["none", "None", "nOnE", "HS256", "HS384", "HS512", "rs256", "ES256K", ""] {
        let text = token(json!({"alg": name}), json!({}));
        assert_eq!(parse_error(&text), Some(Denial::AlgorithmForbidden), "{name}");
    }
    for alg in [json!(null), json!(256), json!(["RS256"])] {
        let text = token(json!({"alg": alg}), json!({}));
        assert_eq!(parse_error(&text), Some(Denial::TokenMalformed), "{alg}");
    }
}

#[test]
fn only_the_issuers_algorithms_pass() {
    let with = |name| check(json!({"alg": name}), json!({}), json!({"algorithms": ["PS512"]}));
    assert_eq!(with("PS512"), Ok(()));
    assert_eq!(with("RS256"), Err(Denial::AlgorithmForbidden));
    assert_eq!(
        check(json!({"alg": "RS512"}), json!({}), json!({})),
        Err(Denial::AlgorithmForbidden),
        "RS256 alone is the default"
    );
}

#[test]
fn a_critical_extension_is_refused_whatever_it_is() {
    for crit in [json!(["b64"]), json!([]), json!("exp"), json!(7)] {
        let text = token(json!({"crit": crit, "b64": false}), json!({}));
        assert_eq!(parse_error(&text), Some(Denial::ExtensionUnsupported));
    }
}

#[test]
fn keys_in_the_header_are_ignored() {
    let header = json!({
        "jku": "https://evil.example/", "x5u": "https://evil.example/", "x5c": ["AAAA"],
        "jwk": {"kty": "oct", "k": "AAAA"}
    });
    assert_eq!(check(header, json!({}), json!({})), Ok(()));
}

#[test]
fn the_type_must_be_one_of_the_issuers() {
    let with = |typ: Value| check(json!({"typ": typ}), json!({}), json!({}));
    for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/JWT"] {
        assert_eq!(with(json!(typ)), Ok(()), "{typ}");
    }
    assert_eq!(with(json!(null)), Ok(()), "an absent type counts as JWT");
    for typ in ["", "dpop+jwt", "logout+jwt", "JWE", "text/jwt", "application/application/jwt"] {
        assert_eq!(with(json!(typ)), Err(Denial::TypeForbidden), "{typ}");
    }
    assert_eq!(with(json!(1)), Err(Denial::TokenMalformed));
    let strict = json!({"token_types": ["application/at+jwt"]});
    assert_eq!(check(json!({"typ": "at+jwt"}), json!({}), strict.clone()), Ok(()));
    assert_eq!(check(json!({"typ": null}), json!({}), strict), Err(Denial::TypeForbidden));
}

#[test]
fn a_key_name_must_be_a_text_of_bounded_length() {
    for kid in [json!(1), json!([]), json!("k".repeat(257))] {
        let text = token(json!({"kid": kid}), json!({}));
        assert_eq!(parse_error(&text), Some(Denial::KidMalformed));
    }
}

#[test]
fn an_encrypted_token_is_told_from_other_malformed_ones() {
    let header = encode(r#"{"alg":"RSA-OAEP","enc":"A256GCM","kid":"k"}"#);
    for text in [format!("{header}.AA.AA.AA.AA"), format!("{header}..AA.AA.AA")] {
        assert_eq!(parse_error(&text), Some(Denial::TokenEncrypted), "{text}");
    }
    let plain = encode(r#"{"alg":"RS256"}"#);
    for text in [format!("{plain}.AA.AA.AA.AA"), format!("{header}.AA.AA.AA")] {
        assert_ne!(parse_error(&text), Some(Denial::TokenEncrypted), "{text}");
    }
}

#[test]
fn a_claim_may_stand_for_the_audience_and_aud_is_checked_all_the_same() {
    let of_client = || json!({"audience_claim": "client_id"});
    let mismatch = |is_missing| Err(Denial::AudienceMismatch { is_missing });
    let rows = [
        (json!({"aud": null, "client_id": "api"}), Ok(())),
        (json!({"aud": "other", "client_id": "api"}), Ok(())),
        (json!({"aud": null, "client_id": "third"}), mismatch(false)),
        (json!({"aud": null, "client_id": "API"}), mismatch(false)),
        (json!({"aud": null}), mismatch(true)),
        (json!({"aud": "api"}), mismatch(true)),
        (json!({"aud": "third", "client_id": "api"}), mismatch(false)),
        (json!({"aud": null, "client_id": ["api"]}), mismatch(false)),
        (json!({"aud": null, "client_id": 1}), mismatch(false)),
        (json!({"aud": 1, "client_id": "api"}), Err(malformed("aud"))),
    ];
    for (claims, expected) in rows {
        assert_eq!(check(json!({}), claims.clone(), of_client()), expected, "{claims}");
    }
    let unset = json!({"aud": null, "client_id": "api"});
    assert_eq!(check_claims(unset), mismatch(true), "only where the entry says so");
}

fn malformed(claim: &'static str) -> Denial {
    Denial::ClaimsMalformed { claim }
}

#[test]
fn the_audience_is_compared_exactly() {
    for aud in [json!("api"), json!("other"), json!(["x", "api"])] {
        assert_eq!(check_claims(json!({"aud": aud})), Ok(()));
    }
    let wrong = [json!(null), json!([]), json!("API"), json!("api/"), json!("ap"), json!(["x"])];
    for aud in wrong {
        let is_missing = aud.is_null();
        let mismatch = Denial::AudienceMismatch { is_missing };
        assert_eq!(check_claims(json!({"aud": aud})), Err(mismatch), "{aud}");
    }
    for aud in [json!({"api": 1}), json!(1), json!(["api", 1]), json!(true)] {
        assert_eq!(check_claims(json!({"aud": aud})), Err(malformed("aud")), "{aud}");
    }
}

#[test]
fn a_token_ends_at_its_expiry_plus_the_leeway() {
    let with =
        |exp: Value, leeway| check(json!({}), json!({"exp": exp}), json!({"leeway": leeway}));
    assert_eq!(with(json!(NOW - 59), "60s"), Ok(()));
    assert_eq!(with(json!(NOW - 60), "60s"), Err(Denial::TokenExpired));
    assert_eq!(with(json!(NOW + 1), "0s"), Ok(()));
    assert_eq!(with(json!(NOW), "0s"), Err(Denial::TokenExpired));
    assert_eq!(with(json!(1_700_000_001.5), "0s"), Ok(()), "RFC 7519 allows fractions");
    assert_eq!(with(json!(9_007_199_254_740_992_u64), "0s"), Ok(()));
}

#[test]
fn dates_that_are_none_are_malformed() {
    let dates =
        [json!("1700000000"), json!(-1), json!(1e300), json!(u64::MAX), json!([]), json!({})];
    for date in dates {
        for name in ["exp", "nbf", "iat"] {
            let claims = json!({ name: date });
            assert_eq!(check_claims(claims.clone()), Err(malformed(name)), "{claims}");
        }
    }
    assert_eq!(check_claims(json!({"exp": null})), Err(malformed("exp")), "required");
}

#[test]
fn a_token_from_the_future_is_not_yet_valid() {
    for name in ["nbf", "iat"] {
        assert_eq!(check_claims(json!({ name: NOW + 60 })), Ok(()));
        assert_eq!(check_claims(json!({ name: NOW + 61 })), Err(Denial::TokenNotYetValid));
    }
}

#[test]
fn a_lifetime_beyond_the_issuers_limit_is_refused() {
    let with = |iat: Value| check(json!({}), json!({"iat": iat}), json!({"max_lifetime": "1h"}));
    assert_eq!(with(json!(NOW)), Ok(()));
    assert_eq!(with(json!(NOW - 1)), Err(Denial::LifetimeExceeded));
    assert_eq!(with(json!(null)), Err(malformed("iat")), "without iat there is no lifetime");
}

#[test]
fn an_issuer_must_be_a_text() {
    for iss in [json!(null), json!(1), json!([ISSUER])] {
        assert_eq!(check_claims(json!({"iss": iss})), Err(malformed("iss")));
    }
}

#[test]
fn a_subject_and_a_token_id_must_be_texts() {
    for name in ["sub", "jti"] {
        assert_eq!(check_claims(json!({ name: null })), Ok(()), "both are optional");
        for value in [json!(1), json!(true), json!(["me"]), json!({})] {
            let claims = json!({ name: value });
            assert_eq!(check_claims(claims.clone()), Err(malformed(name)), "{claims}");
        }
    }
}

fn keys(changes: Value) -> KeySet {
    let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    let mut jwk = json!({"kty": "RSA", "kid": "k", "n": n, "e": "AQAB"});
    merge(&mut jwk, changes);
    KeySet::parse(json!({"keys": [jwk]}).to_string().as_bytes(), None).unwrap()
}

#[test]
fn claims_come_out_only_of_a_valid_signature() {
    let text = token(json!({}), json!({}));
    let verify = |keys: &KeySet, valid| {
        Token::parse(&text)
            .unwrap()
            .verify(keys, &Always(valid))
            .map(|verified| verified.claims().text("sub").unwrap().to_owned())
    };
    assert_eq!(verify(&keys(json!({})), true), Ok("me".to_owned()));
    assert_eq!(verify(&keys(json!({})), false), Err(Denial::SignatureInvalid));
    assert_eq!(verify(&keys(json!({"kid": "other"})), true), Err(Denial::KeyUnknown));
    assert_eq!(verify(&keys(json!({"kid": null})), true), Ok("me".to_owned()), "the only key");
    assert_eq!(verify(&keys(json!({"alg": "PS256"})), true), Err(Denial::AlgorithmForbidden));
}

#[test]
fn scopes_are_whole_words_of_scp_or_scope() {
    for value in [json!({"scp": "a b"}), json!({"scope": "b a"}), json!({"scp": ["a", "b"]})] {
        let claims = Claims::of(value);
        assert!(claims.has_scope("a") && claims.has_scope("b"));
        assert!(!claims.has_scope("a b") && !claims.has_scope("") && !claims.has_scope("A"));
    }
    assert!(!Claims::of(json!({"scp": 1, "roles": ["a"]})).has_scope("a"));
}

#[test]
fn a_claim_equals_or_contains_what_is_required() {
    let claims = Claims::of(json!({"one": "R&D", "list": ["x", "R&D", 1], "object": {"R&D": 1}}));
    let has = |name, text: &str| {
        claims.has(
            &ClaimName::of(name),
            &[ClaimValue::Text("?".into()), ClaimValue::Text(text.into())],
        )
    };
    assert!(has("one", "R&D") && has("list", "R&D"));
    assert!(!has("one", "R") && !has("object", "R&D") && !has("none", "R&D") && !has("list", "1"));
}

#[test]
fn a_number_is_compared_by_value_and_a_boolean_with_a_boolean() {
    let claims: Value = serde_json::from_str(
        r#"{"one": 1, "float": 1.0, "exponent": 10e-1, "text": "1", "true": true, "list": [2, true],
            "zero": -0.0, "huge": 9007199254740992, "largest": 9007199254740991}"#,
    )
    .unwrap();
    let claims = Claims::of(claims);
    let has = |name, value| claims.has(&ClaimName::of(name), &[value]);
    let number = ClaimValue::Number;
    for name in ["one", "float", "exponent"] {
        assert!(has(name, number(1.0)) && !has(name, number(1.5)), "{name}");
        assert!(!has(name, ClaimValue::Bool(true)) && !has(name, ClaimValue::Text("1".into())));
    }
    assert!(!has("text", number(1.0)) && !has("true", number(1.0)) && has("zero", number(0.0)));
    assert!(has("list", number(2.0)) && has("list", ClaimValue::Bool(true)));
    assert!(has("true", ClaimValue::Bool(true)) && !has("true", ClaimValue::Bool(false)));
    let largest = number(9_007_199_254_740_991.0);
    assert!(has("largest", largest.clone()) && !has("huge", largest));
}

#[test]
fn a_pointer_leads_to_a_value_inside_of_a_claim() {
    let claims = Claims::of(json!({
        "realm_access": {"roles": ["a", "b"], "a/b": 1}, "/plain": "x", "teams": [{"id": "t1"}]
    }));
    let has = |name, text: &str| claims.has(&ClaimName::of(name), &[ClaimValue::Text(text.into())]);
    assert!(has("/realm_access/roles", "b") && has("/realm_access/roles/0", "a"));
    assert!(has("/teams/0/id", "t1") && has("/~1plain", "x"));
    for name in ["/realm_access", "/realm_access/roles/2", "/realm_access/roles/00", "/teams/id"] {
        assert!(!has(name, "a") && !has(name, "t1"), "{name}");
    }
    assert!(claims.has(&ClaimName::of("/realm_access/a~1b"), &[ClaimValue::Number(1.0)]));
    assert_eq!(claims.printable(&ClaimName::of("/teams/0/id")).as_deref(), Some("t1"));
}

#[test]
fn a_pointers_first_member_is_kept() {
    let kept = KeptClaims::new([ClaimName::of("/a~1b/c").member()]);
    let text = token(json!({}), json!({"a/b": {"c": "x"}, "c": "y"}));
    let claims = Token::parse_for(&text, &kept).unwrap().claims;
    assert!(claims.has(&ClaimName::of("/a~1b/c"), &[ClaimValue::Text("x".into())]));
}

#[test]
fn only_plain_values_go_into_headers() {
    let claims = Claims::of(json!({
        "text": "J\u{fc}rgen", "number": 7, "flag": true, "empty": "", "list": ["a"],
        "split": "a\r\nx-admin: 1", "nul": "a\u{0}"
    }));
    let printable = |name| claims.printable(&ClaimName::of(name));
    assert_eq!(printable("text").as_deref(), Some("J\u{fc}rgen"));
    assert_eq!(printable("number").as_deref(), Some("7"));
    assert_eq!(printable("flag").as_deref(), Some("true"));
    for name in ["empty", "list", "split", "nul", "absent"] {
        assert_eq!(printable(name), None, "{name}");
    }
}

#[test]
fn debug_output_shows_no_claim() {
    let text = token(json!({}), json!({"sub": "somebody"}));
    let token = Token::parse(&text).unwrap();
    assert_eq!(format!("{token:?} {:?}", token.claims), "Token(Rs256) Claims(…)");
}
