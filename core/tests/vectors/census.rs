//! How many rows of each file get which verdict, so that none changes unseen.

use crate::row::Verdict::{self, Accept, Reject};

/// One file of `data/` and all results on its rows.
pub(crate) struct File {
    pub(crate) name: &'static str,
    /// What the source says, what we say of the token and of its signature alone, and of how many
    /// rows.
    pub(crate) results: &'static [(Verdict, &'static str, &'static str, usize)],
}

pub(crate) const CENSUS: &[File] = &[
    File {
        name: "istio.json",
        results: &[
            (Accept, "audience_mismatch", "ok", 10),
            (Accept, "ok", "ok", 1),
            (Accept, "token_not_yet_valid", "ok", 3),
            (Reject, "audience_mismatch", "key_unknown", 2),
            (Reject, "issuer_unknown", "ok", 2),
            (Reject, "token_expired", "key_unknown", 1),
            (Reject, "token_expired", "ok", 1),
        ],
    },
    File {
        name: "jwt_compact.json",
        results: &[
            (Accept, "algorithm_forbidden", "algorithm_forbidden", 2),
            (Accept, "audience_mismatch", "ok", 1),
            (Accept, "claims_malformed", "ok", 7),
            (Reject, "algorithm_forbidden", "algorithm_forbidden", 3),
            (Reject, "audience_mismatch", "signature_invalid", 1),
            (Reject, "claims_malformed", "ok", 1),
        ],
    },
    File {
        name: "jwt_verify_lib.json",
        results: &[
            (Accept, "algorithm_forbidden", "algorithm_forbidden", 2),
            (Accept, "audience_mismatch", "-", 6),
            (Accept, "audience_mismatch", "ok", 5),
            (Accept, "claims_malformed", "-", 2),
            (Accept, "claims_malformed", "key_unknown", 2),
            (Accept, "claims_malformed", "ok", 17),
            (Accept, "claims_malformed", "token_malformed", 1),
            (Accept, "ok", "ok", 1),
            (Accept, "token_not_yet_valid", "ok", 4),
            (Reject, "algorithm_forbidden", "-", 7),
            (Reject, "algorithm_forbidden", "algorithm_forbidden", 64),
            (Reject, "audience_mismatch", "key_unknown", 1),
            (Reject, "audience_mismatch", "signature_invalid", 24),
            (Reject, "claims_malformed", "-", 9),
            (Reject, "claims_malformed", "key_unknown", 4),
            (Reject, "claims_malformed", "keys_unavailable", 2),
            (Reject, "claims_malformed", "signature_invalid", 99),
            (Reject, "kid_malformed", "-", 1),
            (Reject, "signature_invalid", "signature_invalid", 8),
            (Reject, "token_expired", "-", 3),
            (Reject, "token_malformed", "-", 10),
            (Reject, "token_not_yet_valid", "-", 2),
            (Reject, "token_not_yet_valid", "signature_invalid", 32),
        ],
    },
    File {
        name: "rfc7515_appendix_jwx.json",
        results: &[
            (Accept, "-", "ok", 1),
            (Accept, "audience_mismatch", "ok", 1),
            (Reject, "-", "signature_invalid", 1),
            (Reject, "algorithm_forbidden", "algorithm_forbidden", 3),
            (Reject, "token_expired", "ok", 1),
        ],
    },
    File {
        name: "rfc7520_cookbook.json",
        results: &[
            (Accept, "-", "algorithm_forbidden", 1),
            (Accept, "-", "ok", 3),
            (Reject, "-", "algorithm_forbidden", 2),
            (Reject, "-", "token_malformed", 22),
        ],
    },
    File {
        name: "wycheproof.json",
        results: &[
            (Accept, "-", "algorithm_forbidden", 2),
            (Accept, "-", "key_unknown", 2),
            (Accept, "-", "ok", 33),
            (Reject, "-", "algorithm_forbidden", 36),
            (Reject, "-", "key_unknown", 7),
            (Reject, "-", "keys_unavailable", 14),
            (Reject, "-", "signature_invalid", 295),
            (Reject, "-", "token_malformed", 38),
        ],
    },
];
