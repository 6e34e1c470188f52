use super::*;

const WAIT: Duration = Duration::from_millis(1200);

fn exhausted() -> Exhausted {
    let amount = "60 requests in 1m".to_owned();
    Exhausted { limit: "minute".into(), amount, most: 60, resets_in: WAIT, is_taken: false }
}

/// One row for each reason: status, code, and the `error` of the challenge where there is one.
fn table() -> Vec<(Denial, u16, &'static str, Option<&'static str>)> {
    use Denial::*;
    let scopes = vec!["openai.chat".to_owned(), "openai.read".to_owned()];
    vec![
        (AlgorithmForbidden, 401, "algorithm_forbidden", Some("invalid_token")),
        (AudienceMismatch { is_missing: true }, 401, "audience_mismatch", Some("invalid_token")),
        (AuthorizationAmbiguous, 400, "authorization_ambiguous", Some("invalid_request")),
        (AuthorizationMalformed, 400, "authorization_malformed", Some("invalid_request")),
        (BodyLate, 408, "body_late", None),
        (BodyMalformed, 400, "body_malformed", None),
        (BodyTooLarge, 413, "body_too_large", None),
        (BodyUnsupported, 415, "body_unsupported", None),
        (BudgetExhausted { exhausted: exhausted() }, 429, "budget_exhausted", None),
        (ClaimMissing, 403, "claim_missing", Some("insufficient_scope")),
        (ClaimsMalformed { claim: "exp" }, 401, "claims_malformed", Some("invalid_token")),
        (ClientForbidden, 403, "client_forbidden", Some("insufficient_scope")),
        (
            DeploymentForbidden { deployment: String::new() },
            403,
            "deployment_forbidden",
            Some("insufficient_scope"),
        ),
        (ExtensionUnsupported, 401, "extension_unsupported", Some("invalid_token")),
        (GatewayError, 503, "gateway_error", None),
        (IdentityRejected, 502, "identity_rejected", None),
        (IdentityUnavailable { retry_after: WAIT }, 503, "identity_unavailable", None),
        (IssuerForbidden, 403, "issuer_forbidden", Some("insufficient_scope")),
        (IssuerUnknown, 401, "issuer_unknown", Some("invalid_token")),
        (KeyUnknown, 401, "key_unknown", Some("invalid_token")),
        (KeysUnavailable { retry_after: WAIT }, 503, "keys_unavailable", None),
        (KidMalformed, 401, "kid_malformed", Some("invalid_token")),
        (LifetimeExceeded, 401, "lifetime_exceeded", Some("invalid_token")),
        (LimitsUnavailable { retry_after: WAIT }, 503, "limits_unavailable", None),
        (ModelMalformed, 400, "model_malformed", None),
        (ModelMissing, 400, "model_missing", None),
        (ModelNotFound { deployment: String::new() }, 404, "model_not_found", None),
        (PathRefused { fault: "it has ';'" }, 400, "path_refused", None),
        (RequestsExhausted { exhausted: exhausted() }, 429, "requests_exhausted", None),
        (RoleMissing, 403, "role_missing", Some("insufficient_scope")),
        (RouteUnknown { nearest: None }, 404, "route_unknown", None),
        (ScopeMissing { scopes }, 403, "scope_missing", Some("insufficient_scope")),
        (SignatureInvalid, 401, "signature_invalid", Some("invalid_token")),
        (TenantMismatch, 401, "tenant_mismatch", Some("invalid_token")),
        (TokenEncrypted, 401, "token_encrypted", Some("invalid_token")),
        (TokenExpired, 401, "token_expired", Some("invalid_token")),
        (TokenMalformed, 401, "token_malformed", Some("invalid_token")),
        (TokenMissing { places: Vec::new() }, 401, "token_missing", None),
        (TokenNotYetValid, 401, "token_not_yet_valid", Some("invalid_token")),
        (TokenTooLarge, 400, "token_too_large", Some("invalid_request")),
        (TokensExhausted { exhausted: exhausted() }, 429, "tokens_exhausted", None),
        (TooManyWaiting { retry_after: WAIT }, 503, "too_many_waiting", None),
        (TypeForbidden, 401, "type_forbidden", Some("invalid_token")),
    ]
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
}

#[test]
fn every_reason_has_its_status_code_and_challenge() {
    for (denial, status, code, error) in table() {
        let reply = denial.reply();
        assert_eq!(reply.status, status, "{denial:?}");
        assert_eq!(denial.code(), code);
        let challenge = header(&reply, "www-authenticate").unwrap_or_default();
        assert_eq!(challenge.is_empty(), !matches!(status, 401 | 403) && error.is_none());
        if let Some(error) = error {
            assert!(challenge.contains(&format!("error=\"{error}\"")), "{challenge}");
        }
    }
}

#[test]
fn the_table_has_every_reason_with_what_its_reply_has() {
    let mut listed: Vec<_> = Denial::ALL.iter().map(|reason| reason.code).collect();
    listed.sort_unstable();
    let known: Vec<_> = table().into_iter().map(|(_, _, code, _)| code).collect();
    assert_eq!(listed, known);
    for (denial, ..) in table() {
        let reason = Denial::ALL.iter().find(|reason| reason.code == denial.code()).unwrap();
        let reply = denial.reply();
        assert_eq!(reply.status, reason.status(), "{denial:?}");
        let challenge = header(&reply, "www-authenticate");
        assert_eq!(challenge.is_some(), reason.challenge().is_some(), "{denial:?}");
        let error = challenge.and_then(|text| text.split("error=\"").nth(1)?.split('"').next());
        assert_eq!(error.unwrap_or_default(), reason.challenge().unwrap_or_default());
    }
}

#[test]
fn the_body_has_the_shape_that_the_openai_sdks_show() {
    let body: serde_json::Value = serde_json::from_str(&Denial::TokenExpired.reply().body).unwrap();
    assert_eq!(
        body,
        json!({"error": {
            "code": "token_expired",
            "message": "The token has expired.",
            "type": "authentication_error",
            "param": null
        }})
    );
}

#[test]
fn a_request_without_a_credential_gets_a_challenge_without_an_error() {
    let reply = Denial::TokenMissing { places: Vec::new() }.reply();
    assert_eq!(header(&reply, "www-authenticate"), Some("Bearer realm=\"keyless\""));
}

#[test]
fn what_a_caller_can_mend_is_named() {
    let rows = [
        (
            Denial::TokenMissing { places: vec!["as 'a'", "in 'b'"] },
            "Send a token as 'a' or in 'b'.",
        ),
        (
            Denial::PathRefused { fault: "it has '//'" },
            "The path is refused: it has '//'. Send it normalized.",
        ),
        (
            Denial::RouteUnknown { nearest: Some("POST /a/{b}".to_owned()) },
            "No route matches this request. The nearest is 'POST /a/{b}'.",
        ),
        (
            Denial::ModelNotFound { deployment: "gpt-9".to_owned() },
            "The model 'gpt-9' does not exist or you do not have access to it.",
        ),
        (
            Denial::ModelNotFound { deployment: "<a>".to_owned() },
            "The model does not exist or you do not have access to it.",
        ),
    ];
    for (denial, expected) in rows {
        let body: serde_json::Value = serde_json::from_str(&denial.reply().body).unwrap();
        assert_eq!(body["error"]["message"], json!(expected));
    }
}

#[test]
fn a_missing_scope_is_named_in_the_challenge() {
    let scopes = vec!["openai.chat".to_owned(), "openai.read".to_owned()];
    let reply = Denial::ScopeMissing { scopes }.reply();
    let challenge = header(&reply, "www-authenticate").unwrap();
    assert!(challenge.ends_with(", scope=\"openai.chat openai.read\""), "{challenge}");
}

#[test]
fn a_forbidden_deployment_is_named_if_its_name_is_plain() {
    let reply = |name: &str| Denial::DeploymentForbidden { deployment: name.into() }.reply();
    let longest = "d".repeat(64);
    for name in ["gpt-4o", "Text_Embedding.3", &longest] {
        let message = format!("The caller is not allowed to use the deployment '{name}'.");
        let reply = reply(name);
        let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(body["error"]["message"], json!(message));
        let challenge = header(&reply, "www-authenticate").unwrap();
        assert!(challenge.ends_with(&format!("error_description=\"{message}\"")), "{challenge}");
    }
    let unnamed = reply("not plain");
    let overlong = "d".repeat(65);
    for name in ["", "GPT%204", "a\"b", "a\\b", "a'b", "a\r\nb", "\u{e9}", &overlong] {
        assert_eq!(reply(name), unnamed, "{name:?}");
    }
}

#[test]
fn every_challenge_points_to_the_metadata_and_other_replies_do_not() {
    let url = "https://gateway.example.com/.well-known/oauth-protected-resource";
    for (denial, ..) in table() {
        let (plain, reply) = (denial.reply(), denial.reply().pointing_to(url));
        let challenge = header(&plain, "www-authenticate");
        let expected = challenge.map(|text| format!("{text}, resource_metadata=\"{url}\""));
        assert_eq!(header(&reply, "www-authenticate"), expected.as_deref());
        let others = |reply: &Reply| {
            let headers = reply.headers.iter().filter(|(name, _)| *name != "www-authenticate");
            (reply.status, reply.body.clone(), headers.cloned().collect::<Vec<_>>())
        };
        assert_eq!(others(&reply), others(&plain));
    }
}

#[test]
fn retry_after_is_in_whole_seconds_rounded_up_and_never_zero() {
    for (wait, said) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (59_999, "60")] {
        let denial = Denial::KeysUnavailable { retry_after: Duration::from_millis(wait) };
        assert_eq!(header(&denial.reply(), "retry-after"), Some(said));
    }
    let endless = Denial::IdentityUnavailable { retry_after: Duration::MAX };
    assert_eq!(header(&endless.reply(), "retry-after"), Some("18446744073709551615"));
}

#[test]
fn a_message_names_the_claim_that_is_malformed_and_tells_no_audience_from_another() {
    let message = |denial: Denial| {
        let body: serde_json::Value = serde_json::from_str(&denial.reply().body).unwrap();
        body["error"]["message"].as_str().unwrap().to_owned()
    };
    let claim = message(Denial::ClaimsMalformed { claim: "exp" });
    assert_eq!(claim, "The token's claim 'exp' is missing or has the wrong type.");
    assert_eq!(
        message(Denial::AudienceMismatch { is_missing: true }),
        "The token has no audience."
    );
    let other = message(Denial::AudienceMismatch { is_missing: false });
    assert_eq!(other, "The token's audience does not match.");
}
