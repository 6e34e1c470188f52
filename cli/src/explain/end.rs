//! How the way of a request ends, and what its caller gets.

use keyless_core::config::Config;
use keyless_core::denial::Denial;
use keyless_core::http::HeaderName;
use keyless_core::jwt::{ClaimName, Claims};

use crate::Outcome;

/// How the way of a request ends.
pub(super) enum End<'a> {
    /// It goes on.
    Forwarded {
        identity: Option<usize>,
        forward_claims: &'a [(HeaderName, ClaimName)],
        claims: &'a Claims,
    },
    /// The gateway itself answers a probe.
    Health,
    /// The gateway itself tells who issues tokens.
    Metadata,
    /// It goes on without a look at its caller.
    Public,
    /// It is refused.
    Refused(Denial),
    /// It depends on the body.
    Undecided,
}

/// The code of a denial, and its message.
pub(super) fn said(denial: &Denial) -> String {
    let body: serde_json::Value = serde_json::from_str(&denial.reply().body).unwrap_or_default();
    let message = body.pointer("/error/message").and_then(serde_json::Value::as_str);
    format!("{}: {}", denial.code(), message.unwrap_or_default())
}

impl End<'_> {
    /// The end of a request whose token nobody can judge; a reason for that is always known.
    pub(super) fn of(refusal: Option<Denial>) -> Self {
        Self::Refused(refusal.unwrap_or(Denial::TokenMalformed))
    }

    /// Adds the last section.
    pub(super) fn told(self, config: &Config, text: String) -> Outcome {
        self.ended(config, text, "reply")
    }

    /// Adds the last section for a token whose signature nobody has looked at.
    pub(super) fn told_unchecked(self, config: &Config, text: String) -> Outcome {
        self.ended(config, text, "reply, if the signature is good")
    }

    fn ended(self, config: &Config, mut text: String, heading: &str) -> Outcome {
        let is_refused = matches!(self, Self::Refused(_));
        let is_let_go = is_refused && config.report_only;
        let lines = self.lines(config);
        text += heading;
        if is_let_go {
            text += " (but for report_only, by which the request goes on)";
        }
        for line in lines {
            text += format!("\n  {line}").trim_end_matches(' ');
        }
        Outcome { text: text + "\n", is_well: !is_refused || is_let_go }
    }

    fn lines(self, config: &Config) -> Vec<String> {
        let line = |text: &str| vec![text.to_owned()];
        match self {
            Self::Forwarded { identity, forward_claims, claims } => {
                forwarded(config, identity, forward_claims, claims)
            }
            Self::Health => line("200, or 503 while keys or tokens are missing; keyless answers"),
            Self::Metadata => {
                line("200: keyless tells which issuers it trusts (protected_resource)")
            }
            Self::Public => line("the backend's: the request goes on without a credential"),
            Self::Refused(denial) => refused(config, &denial),
            Self::Undecided => line("the body's model decides; give it with --model"),
        }
    }
}

fn refused(config: &Config, denial: &Denial) -> Vec<String> {
    let reply = match &config.protected_resource {
        Some(resource) => denial.reply().pointing_to(&resource.url),
        None => denial.reply(),
    };
    let mut lines = vec![reply.status.to_string()];
    lines.extend(reply.headers.iter().map(|(name, value)| format!("{name}: {value}")));
    lines.extend([String::new(), reply.body]);
    lines
}

fn forwarded(
    config: &Config,
    identity: Option<usize>,
    forward_claims: &[(HeaderName, ClaimName)],
    claims: &Claims,
) -> Vec<String> {
    let mut lines = vec!["the backend's: the request goes on".to_owned()];
    let identity = identity.and_then(|at| config.identities.get(at));
    lines.push(match identity {
        Some(identity) => format!("authorization: the token of {}", identity.name),
        None => "authorization: removed".to_owned(),
    });
    lines.extend(forward_claims.iter().map(|(header, claim)| {
        let is_there = claims.printable(claim).is_some();
        let what = if is_there { "" } else { "removed: the token has no printable " };
        format!("{}: {what}claim {claim}", header.as_str())
    }));
    lines
}
