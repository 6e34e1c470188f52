//! What the log says of what came of a fetch, and of a rejected token.

use super::{FailedStep, KeysReport, Report, UpstreamRejection};
use crate::log::Line;

impl Report {
    /// Returns what the log says of it: changes, and nothing where all is as before.
    pub fn lines(&self) -> Vec<Line> {
        self.result_line().into_iter().chain(self.key_lines()).collect()
    }

    fn result_line(&self) -> Option<Line> {
        let Self { kind, name, step, result, is_news, .. } = self;
        if !is_news {
            return None;
        }
        Some(match result {
            Ok(()) => Line::info(format!("fetch kind={kind} name={name} result=ok")),
            Err(error) => {
                let (code, message) = (error.code(), error.to_string());
                let text = |step: FailedStep| format!(" step={}", step.as_str());
                let step = step.map_or_else(String::new, text);
                Line::warn(format!(
                    "fetch kind={kind} name={name}{step} result={code} message={message:?}"
                ))
            }
        })
    }

    fn key_lines(&self) -> impl Iterator<Item = Line> {
        self.keys.iter().filter(|keys| keys.is_news).flat_map(move |keys| {
            let KeysReport { count, unusable, .. } = keys;
            unusable.first.iter().map(move |key| {
                let (name, unusable) = (&self.name, unusable.count);
                Line::warn(format!(
                    "unusable key name={name} keys={count} unusable={unusable} {key}"
                ))
            })
        })
    }
}

impl UpstreamRejection {
    /// Returns what the log says of it, if it is news.
    pub fn line(&self) -> Option<Line> {
        let Self { identity, explanation, is_news } = self;
        let reason = explanation.as_deref().unwrap_or("no reason given");
        is_news.then(|| {
            Line::warn(format!(
                "upstream rejected the identity token identity={identity} reason={reason:?}"
            ))
        })
    }
}
