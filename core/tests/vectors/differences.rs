//! The rows that we refuse though their source accepts them, each by name and with the reason.

use crate::row::{Outcome, Parts};

/// Rows that are refused for one reason.
pub(crate) struct Difference {
    pub(crate) outcome: Outcome,
    pub(crate) reason: &'static str,
    /// What must be true of such a row for the reason to be the right one.
    pub(crate) holds: fn(&Parts) -> bool,
    pub(crate) rows: &'static [&'static str],
}

pub(crate) const DIFFERENCES: &[Difference] = &[
    Difference {
        outcome: Outcome { token: "audience_mismatch", signature: "ok" },
        reason: "it has no `aud`, which must name one of our audiences (RFC 8725 §3.9)",
        holds: |row| row.claims.get("aud").is_none(),
        rows: &[
            "istio/samples/demo",
            "istio/samples/groups-scope",
            "istio/tests/common/jwt/TokenIssuer1",
            "istio/tests/common/jwt/TokenIssuer1WithAzp",
            "istio/tests/common/jwt/TokenIssuer1WithNestedClaims1",
            "istio/tests/common/jwt/TokenIssuer1WithNestedClaims2",
            "istio/tests/common/jwt/TokenIssuer1WithCollisionResistantName",
            "istio/tests/common/jwt/TokenIssuer2",
            "istio/tests/common/jwt/TokenIssuer2WithSpaceDelimitedPermission",
            "istio/tests/common/jwt/TokenIssuer3",
            "jwt-compact/algorithms/es256_reference",
            "jwt_verify_lib/verify_jwk_rsa/VerifyJwkRsaTest.NoKidOK/JwtTextNoKid",
            "jwt_verify_lib/verify_jwk_rsa/VerifyJwkRsaTest.CorrectKidOK/JwtTextWithCorrectKid",
            "jwt_verify_lib/verify_jwk_rsa/VerifyJwkRsaTest.OkPublicKeyNotAlg/JwtTextNoKid",
            "jwt_verify_lib/verify_jwk_rsa/VerifyJwkRsaTest.OkPublicKeyNotKid/JwtTextNoKid",
            "jwt_verify_lib/verify_jwk_rsa/VerifyJwkRsaTest.LongClaimsWithCorrectKidOk/JwtTextWithLongClaimsCorrectKid",
            "rfc7515-appendix(jwx)/A.2-RS256",
        ],
    },
    Difference {
        outcome: Outcome { token: "audience_mismatch", signature: "-" },
        reason: "its times are right, but it has no `aud`",
        holds: |row| row.claims.get("aud").is_none(),
        rows: &[
            "jwt_verify_lib/jwt_time_test/BothNbfExp/1-now-1605052850",
            "jwt_verify_lib/jwt_time_test/BothNbfExp/3-now-1605050750",
            "jwt_verify_lib/jwt_time_test/BothNbfExpWithCustomClockSkew/5-now-1605052809",
            "jwt_verify_lib/jwt_time_test/BothNbfExpWithCustomClockSkew/7-now-1605050791",
            "jwt_verify_lib/jwt_time_test/OnlyExp/9-now-1605052850",
            "jwt_verify_lib/jwt_time_test/OnlyExp/11-now-0",
        ],
    },
    Difference {
        outcome: Outcome { token: "claims_malformed", signature: "ok" },
        reason: "it has no `exp`, without which it would be good for ever",
        holds: |row| row.claims.get("exp").is_none(),
        rows: &[
            "jwt-compact/algorithms/ed25519_reference",
            "jwt-compact/rsa/rs256_reference",
            "jwt-compact/rsa/rs384_reference",
            "jwt-compact/rsa/rs512_reference",
            "jwt-compact/rsa/ps256_reference",
            "jwt-compact/rsa/ps384_reference",
            "jwt_verify_lib/verify_jwk_ec/VerifyJwkECTest.KidOK/JwtTextEC",
            "jwt_verify_lib/verify_jwk_ec/VerifyJwkECTest.KidES384OK/JwtES384Text",
            "jwt_verify_lib/verify_jwk_ec/VerifyJwkECTest.NoKidOK/JwtTextECNoKid",
            "jwt_verify_lib/verify_jwk_ec/VerifyJwkECTest.PubkeyNoAlgOK/JwtES256Text",
            "jwt_verify_lib/verify_jwk_okp/VerifyJwkOKPTest.KidOK/JwtJWKEd25519",
            "jwt_verify_lib/verify_jwk_okp/VerifyJwkOKPTest.NoKidOK/JwtJWKEd25519NoKid",
            "jwt_verify_lib/verify_jwk_okp/VerifyJwkOKPTest.PubkeyNoAlgOK/JwtJWKEd25519",
            "jwt_verify_lib/verify_jwk_rsa_pss/VerifyKidMatchingTest.JwtTextWithNoKidOk/JwtTextWithNoKid",
            "jwt_verify_lib/verify_pem_ec/VerifyPKCSTestRs256.OKPem/JwtPemEs256",
            "jwt_verify_lib/verify_pem_ec/VerifyPKCSTestES384.OKPem/JwtPemEs384",
            "jwt_verify_lib/verify_pem_ec/VerifyPKCSTestES384.ES384CurveUnspecifiedOK/JwtPemEs384",
            "jwt_verify_lib/verify_pem_okp/VerifyPEMTestOKP.VerifyOK/JwtPemEd25519",
            "jwt_verify_lib/verify_pem_rsa/VerifyPKCSTestRs256.OKPem/JwtPemRs256",
            "jwt_verify_lib/verify_pem_rsa/VerifyPKCSTestRs384.OKPem/JwtPemRs384",
            "jwt_verify_lib/verify_pem_rsa/VerifyPKCSTestRs512.OKPem/JwtPemRs512",
            "jwt_verify_lib/verify_audiences/VerifyAudTest.Success/JwtOneAudtext-aud1+aud3",
            "jwt_verify_lib/verify_audiences/VerifyAudTest.Success/JwtOneAudtext",
        ],
    },
    Difference {
        outcome: Outcome { token: "claims_malformed", signature: "-" },
        reason: "it has no `exp`; its signature was never asked for",
        holds: |row| row.claims.get("exp").is_none(),
        rows: &[
            "jwt_verify_lib/jwt_time_test/OnlyNbf/13-now-1605050750",
            "jwt_verify_lib/jwt_time_test/NotTimeConstraint/16-now-0",
        ],
    },
    Difference {
        outcome: Outcome { token: "claims_malformed", signature: "ok" },
        reason: "it has no `iss`, which selects the issuer that must vouch for it (RFC 8725 §3.8)",
        holds: |row| row.claims.get("iss").is_none(),
        rows: &["jwt-compact/jwk/wasm_example"],
    },
    Difference {
        outcome: Outcome { token: "claims_malformed", signature: "key_unknown" },
        reason: "it has no `exp`, and it names a key in a set whose keys have no names",
        holds: |row| row.claims.get("exp").is_none() && row.header.get("kid").is_some(),
        rows: &[
            "jwt_verify_lib/verify_jwk_ec/VerifyJwkECTest.PubkeyNoKidOK/JwtES256Text",
            "jwt_verify_lib/verify_jwk_okp/VerifyJwkOKPTest.PubkeyNoKidOK/JwtJWKEd25519",
        ],
    },
    Difference {
        outcome: Outcome { token: "claims_malformed", signature: "token_malformed" },
        reason: "it has no `exp`, and its signature is padded (RFC 7515 §2)",
        holds: |row| row.claims.get("exp").is_none(),
        rows: &["jwt_verify_lib/verify_x509/VerifyX509Test.NoKidToken/kTokenNoKid"],
    },
    Difference {
        outcome: Outcome { token: "token_not_yet_valid", signature: "ok" },
        reason: "it was issued after the row's `now`; the source ignores `iat`",
        holds: |row| row.claims["iat"].as_u64() > row.now,
        rows: &[
            "istio/tests/common/jwt/TokenIssuer2WithSpaceDelimitedScope",
            "istio/tests/common/jwt/TokenIssuer2WithCustomScopeSpaceDelimitedScope",
            "istio/tests/common/jwt/TokenIssuer1WithAudList",
            "jwt_verify_lib/verify_jwk_rsa_pss/VerifyJwkRsaPssTest.Ps256CorrectKidOK/Ps256JwtTextWithCorrectKid",
            "jwt_verify_lib/verify_jwk_rsa_pss/VerifyJwkRsaPssTest.Ps384CorrectKidOK/Ps384JwtTextWithCorrectKid",
            "jwt_verify_lib/verify_jwk_rsa_pss/VerifyJwkRsaPssTest.Ps512CorrectKidOK/Ps512JwtTextWithCorrectKid",
            "jwt_verify_lib/verify_x509/VerifyX509Test.RealToken/kRealToken",
        ],
    },
    Difference {
        outcome: Outcome { token: "algorithm_forbidden", signature: "algorithm_forbidden" },
        reason: "we have no ES512 and ES256K",
        holds: |row| ["ES512", "ES256K"].iter().any(|name| row.header["alg"] == *name),
        rows: &[
            "jwt-compact/algorithms/es256k_reference",
            "jwt-compact/algorithms/high_s_in_signature_is_successfully_validated",
            "jwt_verify_lib/verify_jwk_ec/VerifyJwkECTest.KidES512OK/JwtES512Text",
            "jwt_verify_lib/verify_pem_ec/VerifyPKCSTestES512.OKPem/JwtPemEs512",
        ],
    },
    Difference {
        outcome: Outcome { token: "-", signature: "algorithm_forbidden" },
        reason: "we have no ES512",
        holds: |row| row.header["alg"] == "ES512",
        rows: &[
            "rfc7520-cookbook/4_3.ecdsa_signature",
            "wycheproof/json_web_signature/347-Figure27",
            "wycheproof/json_web_signature/351-Figure27",
        ],
    },
    Difference {
        outcome: Outcome { token: "-", signature: "key_unknown" },
        reason: "the key's own `alg` is PS256, and it binds (RFC 7517 §4.4)",
        holds: |row| row.header["alg"] == "PS384",
        rows: &[
            "wycheproof/json_web_signature/346-Figure20",
            "wycheproof/json_web_signature/350-Figure20",
        ],
    },
];
