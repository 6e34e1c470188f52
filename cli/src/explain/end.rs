//! How a request ends, and what its caller gets.

use keyless_core::config::Config;
use keyless_core::denial::Denial;
use keyless_core::gate::{Awaited, Decided, Decision, Fetch, Step};
use keyless_core::http::Reply;
use keyless_core::policy::{self, Access, Deployment};

use super::{Explanation, Granting};
use crate::Outcome;

/// How a request ends, and what its caller gets.
pub(super) struct End {
    is_refused: bool,
    /// It holds only if the signature is good, which nobody has looked at.
    is_unchecked: bool,
    lines: Vec<String>,
}

/// The code of a denial, and its message.
pub(super) fn said(denial: &Denial) -> String {
    let body: serde_json::Value = serde_json::from_str(&denial.reply().body).unwrap_or_default();
    let message = body.pointer("/error/message").and_then(serde_json::Value::as_str);
    format!("{}: {}", denial.code(), message.unwrap_or_default())
}

impl End {
    pub(super) fn of(explanation: &Explanation<'_>, decided: Decided) -> Self {
        match decided.decision {
            Decision::Deny(reply) => Self::refused(reply),
            Decision::Forward(_) if explanation.granting().is_none() => {
                Self::line("the backend's: the request goes on without a credential")
            }
            Decision::Forward(_) => Self::forwarded(explanation),
            Decision::Respond(_) if decided.record.reason == "metadata" => {
                Self::line("200: keyless tells which issuers it trusts (protected_resource)")
            }
            Decision::Respond(_) => Self::probe(),
            Decision::Wait(wait) => match wait.on() {
                Awaited::Body => Self::undecided(),
                Awaited::Readiness => Self::probe(),
                // There is no identity here to fetch a token for.
                Awaited::Fetch(Fetch::Identity(_), _) => Self::forwarded(explanation),
                Awaited::Fetch(Fetch::Keys(_), _) => {
                    Self { is_unchecked: true, ..Self::if_good(explanation) }
                }
            },
        }
    }

    /// How the request ends if the signature is good.
    fn if_good(explanation: &Explanation<'_>) -> Self {
        let of_client = explanation.steps.iter().find_map(|step| match step {
            Step::Client(Err(denial)) => Some(denial.clone()),
            _ => None,
        });
        let (Some((route, _)), Some(granting)) = (explanation.route(), explanation.granting())
        else {
            return Self::forwarded(explanation);
        };
        let Granting { grants, entry, deployment, claims } = granting;
        let denial =
            of_client.or_else(|| policy::admit_to(route, grants, entry, deployment, claims).err());
        match (denial, deployment, &explanation.request.model) {
            (Some(denial), _, _) => Self::denied(explanation.config, &denial),
            (None, Deployment::Unread, Some(Err(denial))) => {
                Self::denied(explanation.config, denial)
            }
            (None, Deployment::Unread, _) => Self::undecided(),
            (None, _, _) => Self::forwarded(explanation),
        }
    }

    fn line(text: &str) -> Self {
        Self { is_refused: false, is_unchecked: false, lines: vec![text.to_owned()] }
    }

    fn probe() -> Self {
        Self::line("200, or 503 while keys or tokens are missing; keyless answers")
    }

    fn undecided() -> Self {
        Self::line("the body's model decides; give it with --model")
    }

    fn denied(config: &Config, denial: &Denial) -> Self {
        Self::refused(match &config.protected_resource {
            Some(resource) => resource.reply(denial),
            None => denial.reply(),
        })
    }

    fn refused(reply: Reply) -> Self {
        let mut lines = vec![reply.status.to_string()];
        lines.extend(reply.headers.iter().map(|(name, value)| format!("{name}: {value}")));
        lines.extend([String::new(), reply.body]);
        Self { is_refused: true, is_unchecked: false, lines }
    }

    fn forwarded(explanation: &Explanation<'_>) -> Self {
        let lines = forwarded(explanation);
        Self { is_refused: false, is_unchecked: false, lines }
    }

    /// Adds the last section.
    pub(super) fn told(self, config: &Config, mut text: String) -> Outcome {
        let is_let_go = self.is_refused && config.report_only;
        text += if self.is_unchecked { "reply, if the signature is good" } else { "reply" };
        if is_let_go {
            text += " (but for report_only, by which the request goes on)";
        }
        for line in &self.lines {
            text += format!("\n  {line}").trim_end_matches(' ');
        }
        Outcome { text: text + "\n", is_success: !self.is_refused || is_let_go }
    }
}

fn forwarded(explanation: &Explanation<'_>) -> Vec<String> {
    let mut lines = vec!["the backend's: the request goes on".to_owned()];
    let (Some((route, _)), Some(granting)) = (explanation.route(), explanation.granting()) else {
        return lines;
    };
    let Access::Granted { identity, forward_claims, .. } = &route.access else { return lines };
    let deployment = route.deployment_header.as_ref().zip(granting.deployment.name());
    let identity = identity.and_then(|index| explanation.config.identities.get(index.0));
    lines.push(match identity {
        Some(identity) => format!("authorization: the token of {}", identity.name),
        None => "authorization: removed".to_owned(),
    });
    lines.extend(deployment.map(|(header, name)| format!("{}: {name}", header.as_str())));
    lines.extend(forward_claims.iter().map(|(header, claim)| {
        let is_there = granting.claims.printable(claim).is_some();
        let what = if is_there { "" } else { "removed: the token has no printable " };
        format!("{}: {what}claim {claim}", header.as_str())
    }));
    lines
}
