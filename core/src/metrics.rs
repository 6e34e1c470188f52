//! The metrics that the module counts: their names, labels and meanings.
//!
//! Label values come from the configuration and from fixed lists, never from a caller, so their
//! number is bounded.

/// Describes one metric.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Metric {
    /// The name, as `/stats/prometheus` shows it with the `stats_tags` of `envoy.yaml`.
    pub name: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
    /// The names of its labels, in the order of their values.
    pub labels: &'static [&'static str],
    /// What it says, in one line of Markdown.
    pub meaning: &'static str,
}

/// Says how a metric changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It is set.
    Gauge,
}

/// Counts for one thread: the port to the host, which knows where the numbers are.
pub trait Meter {
    /// Adds to a counter, unless it is nothing, with these values of its labels, in their order.
    fn add(&mut self, metric: &Metric, labels: &[&str], count: u64);

    /// Sets a gauge with these values of its labels, in their order.
    fn set(&mut self, metric: &Metric, labels: &[&str], value: u64);
}

/// Counts requests by their decision.
pub const REQUESTS: Metric = Metric {
    name: "keyless_requests",
    kind: Kind::Counter,
    labels: &["issuer", "route", "verdict", "reason"],
    meaning: "requests, by decision; labels are the values in filter state",
};

/// Counts fetches by their result.
pub const FETCHES: Metric = Metric {
    name: "keyless_fetches",
    kind: Kind::Counter,
    labels: &["kind", "name", "result"],
    meaning: "fetches; `kind` is `jwks` or `identity`, `name` that of the issuer or identity, \
              `result` `ok` or one of the codes below",
};

/// Says when the current keys or the current token were requested.
pub const ASKED_AT: Metric = Metric {
    name: "keyless_asked_at",
    kind: Kind::Gauge,
    labels: &["kind", "name"],
    meaning: "when the current keys or token were requested, in Unix seconds",
};

/// Says until when the current keys or the current token may be used.
pub const GOOD_UNTIL: Metric = Metric {
    name: "keyless_good_until",
    kind: Kind::Gauge,
    labels: &["kind", "name"],
    meaning: "when the current keys or token must no longer be used, in Unix seconds; alert when \
              `time()` comes near",
};

/// Says how many keys of a key set cannot be used.
pub const UNUSABLE_KEYS: Metric = Metric {
    name: "keyless_unusable_keys",
    kind: Kind::Gauge,
    labels: &["name"],
    meaning: "keys in the current key set of the issuer `name` that cannot be used, without those \
              that are not for signatures; the log has their `kid`s and the reasons",
};

/// Counts identity tokens that a backend rejected.
pub const REJECTIONS: Metric = Metric {
    name: "keyless_rejections",
    kind: Kind::Counter,
    labels: &["name"],
    meaning: "401 responses of a backend to the token of the identity `name`",
};

/// Counts answers of routes with `usage` by how sure it is what they used.
pub const ANSWERS: Metric = Metric {
    name: "keyless_answers",
    kind: Kind::Counter,
    labels: &["issuer", "route", "deployment", "basis"],
    meaning: "successful answers of routes with `usage`; `basis` says how sure it is what they used",
};

/// Counts tokens.
pub const TOKENS: Metric = Metric {
    name: "keyless_tokens",
    kind: Kind::Counter,
    labels: &["issuer", "route", "deployment", "type", "basis"],
    meaning: "tokens; `type` is `input` or `output`",
};

/// Counts tokens that are parts of others.
pub const TOKEN_PARTS: Metric = Metric {
    name: "keyless_token_parts",
    kind: Kind::Counter,
    labels: &["issuer", "route", "deployment", "part", "basis"],
    meaning: "tokens that are parts of the above and must not be added to them; `part` is `cached`, \
              `cache_write`, `audio_input`, `reasoning` or `audio_output`",
};

/// Counts money.
pub const COST: Metric = Metric {
    name: "keyless_cost",
    kind: Kind::Counter,
    labels: &["issuer", "route", "deployment", "basis"],
    meaning: "what they cost by `prices`, in millionths of your currency's unit",
};

/// Counts answers that have no price.
pub const UNPRICED: Metric = Metric {
    name: "keyless_unpriced",
    kind: Kind::Counter,
    labels: &["issuer", "route", "deployment"],
    meaning: "answers with tokens whose deployment has no price; they are not in `keyless_cost`",
};

/// Counts checks of limits.
pub const LIMIT_CHECKS: Metric = Metric {
    name: "keyless_limit_checks",
    kind: Kind::Counter,
    labels: &["limit", "result"],
    meaning: "checks of limits; `result` is `within`, `near` if four fifths or more of it were used before, \
              `exhausted`, or `would_exhaust` under the limit's `report_only`",
};

/// Counts counters that were given up.
pub const LEDGER_EVICTED: Metric = Metric {
    name: "keyless_ledger_evicted",
    kind: Kind::Counter,
    labels: &[],
    meaning: "counters of limits that were forgotten before their window was over, because there \
              are more than `ledger.entries`",
};

/// Counts settlements with the other proxies of a fleet.
pub const LEDGER_SETTLEMENTS: Metric = Metric {
    name: "keyless_ledger_settlements",
    kind: Kind::Counter,
    labels: &["result"],
    meaning: "calls to the service of `ledger.cluster`; `result` is `ok`, `unsent` (told later), or \
              `unconfirmed` (it may have been counted, and is not told again)",
};

/// Says when the last settlement was answered.
pub const LEDGER_SETTLED_AT: Metric = Metric {
    name: "keyless_ledger_settled_at",
    kind: Kind::Gauge,
    labels: &[],
    meaning: "when that service last answered, in Unix seconds; with nothing to tell it is not asked",
};

/// Says whether the service has a limit as it is configured here.
pub const LIMITS_DISAGREE: Metric = Metric {
    name: "keyless_limits_disagree",
    kind: Kind::Gauge,
    labels: &["limit"],
    meaning: "1 if that service has another number or window for the limit, or none; `keyless limits` \
              writes its file",
};

/// Says whether the host verifies signatures.
pub const HOST_CRYPTO: Metric = Metric {
    name: "keyless_host_crypto",
    kind: Kind::Gauge,
    labels: &[],
    meaning: "1 if Envoy verifies RS* and ES*, 0 if the module does; PS* and EdDSA are always \
              verified by the module",
};

/// Holds all metrics.
pub const ALL: [Metric; 17] = [
    REQUESTS,
    FETCHES,
    ASKED_AT,
    GOOD_UNTIL,
    UNUSABLE_KEYS,
    REJECTIONS,
    ANSWERS,
    TOKENS,
    TOKEN_PARTS,
    COST,
    UNPRICED,
    LIMIT_CHECKS,
    LEDGER_EVICTED,
    LEDGER_SETTLEMENTS,
    LEDGER_SETTLED_AT,
    LIMITS_DISAGREE,
    HOST_CRYPTO,
];

impl Metric {
    /// Returns the name with these values of the labels, in their order, as Istio's bootstrap and
    /// the `stats_tags` of `envoy.yaml` read them: `name.label=.=value;.;`.
    pub fn with(&self, values: &[&str]) -> String {
        let mut name = self.name.to_owned();
        for (at, (label, value)) in self.labels.iter().zip(values).enumerate() {
            name += if at == 0 { "." } else { "" };
            name += &[label, "=.=", value, ";.;"].concat();
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_in_the_name_as_istio_reads_them() {
        let name = FETCHES.with(&["jwks", "entra", "ok"]);
        assert_eq!(name, "keyless_fetches.kind=.=jwks;.;name=.=entra;.;result=.=ok;.;");
        assert_eq!(HOST_CRYPTO.with(&[]), "keyless_host_crypto");
    }
}
