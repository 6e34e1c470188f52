//! The table of what came of the rows.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::row::{Outcome, Row};

/// A row and what came of it.
pub(super) struct Line {
    pub(super) row: Row,
    pub(super) outcome: Outcome,
}

/// Between these two lines of `docs/reliability.md` stands the table.
const BEGIN: &str = "<!-- make chaos: begin -->\n";
const END: &str = "<!-- make chaos: end -->\n";

impl Line {
    /// What must not be, each with its row.
    pub(super) fn complaints(&self) -> impl Iterator<Item = String> {
        let complaints = self.outcome.complaints.iter();
        complaints.map(|complaint| format!("{}: {complaint}", self.row.fault))
    }
}

/// Writes the table in Markdown.
pub(super) fn table(lines: &[Line]) -> String {
    let mut text = "| fault | lasted | answers | longest wait | IMDS asked | bound |\n\
        |---|---|---|---|---|---|\n"
        .to_owned();
    for Line { row, outcome } in lines {
        let Outcome { lasted, answers, longest, tries, bound, note, .. } = outcome;
        let answers: Vec<String> =
            answers.iter().map(|(status, count)| format!("{count} × {status}")).collect();
        let answers = answers.join(", ");
        let note = note.as_ref().map(|note| format!("; {note}")).unwrap_or_default();
        writeln!(
            text,
            "| {}{note} | {} s | {answers} | {:.1} s | {tries} | {bound} |",
            row.fault,
            lasted.as_secs(),
            longest.as_secs_f64()
        )
        .unwrap();
    }
    text
}

/// Puts the table into `docs/reliability.md`.
pub(super) fn write(lines: &[Line]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reliability.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the beginning of the table");
    let (_, after) = rest.split_once(END).expect("the end of the table");
    fs::write(path, format!("{before}{BEGIN}{}{END}{after}", table(lines))).unwrap();
}
