//! How the walk is told.

use std::{
    error::Error,
    io::{IsTerminal, stdout},
};

use serde_json::{Value, json};

/// Prints the walk, and remembers which claims did not hold.
#[derive(Debug)]
pub(crate) struct Report {
    form: Form,
    failed: Vec<String>,
    held: usize,
    /// What was told so far, under each title.
    told: Vec<Value>,
}

/// For whom it is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// Programs: one line of JSON at the end.
    Json,
    /// People: line by line, with colours in a terminal.
    Text {
        /// Whether there are colours.
        coloured: bool,
    },
}

/// The ANSI codes in use (ECMA-48, "select graphic rendition").
#[derive(Clone, Copy, Debug)]
enum Style {
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
}

impl Form {
    /// Text for whoever reads the standard output.
    pub(crate) fn text() -> Self {
        Self::Text { coloured: stdout().is_terminal() }
    }
}

impl Report {
    pub(crate) fn new(form: Form) -> Self {
        Self { form, failed: Vec::new(), held: 0, told: Vec::new() }
    }

    /// Whether it is told to people.
    pub(crate) fn is_text(&self) -> bool {
        self.form != Form::Json
    }

    pub(crate) fn title(&mut self, text: &str) {
        self.told.push(json!({ "title": text, "lines": [], "claims": [] }));
        self.print(&format!("\n{}\n", self.styled(Style::Bold, text)));
    }

    /// Prints a line under its label; an empty label continues the line before.
    pub(crate) fn line(&mut self, label: &str, text: &str) {
        self.note("lines", json!({ "label": label, "text": text }));
        self.print(&format!("   {} {text}", self.styled(Style::Dim, &format!("{label:<8}"))));
    }

    /// Prints a command, unbroken so that it can be copied.
    pub(crate) fn command(&self, command: &str) {
        self.print(&format!("   {command}"));
    }

    /// Prints a claim and whether it holds.
    pub(crate) fn claim(&mut self, claim: &str, holds: bool) {
        self.note("claims", json!({ "claim": claim, "holds": holds }));
        let mark = if holds {
            self.held += 1;
            self.styled(Style::Green, "✓")
        } else {
            self.failed.push(claim.to_owned());
            self.styled(Style::Red, "✗")
        };
        self.print(&format!("   {mark} {claim}"));
    }

    /// Prints what kept the walk from going on, down to its cause.
    pub(crate) fn error(&self, error: &dyn Error) {
        eprintln!("\n{}", self.styled(Style::Red, &error.to_string()));
        let mut cause = error.source();
        while let Some(error) = cause {
            eprintln!("   because: {error}");
            cause = error.source();
        }
    }

    /// Prints the result.
    pub(crate) fn close(&self) {
        if !self.is_text() {
            return println!("{}", self.document());
        }
        let (held, failed) = (self.held, self.failed.len());
        if self.all_held() {
            println!("\n{}", self.styled(Style::Green, &format!("All {held} claims held.")));
        } else {
            println!("\n{}", self.styled(Style::Red, &format!("{failed} claim(s) did not hold:")));
            self.failed.iter().for_each(|claim| println!("   {claim}"));
        }
    }

    pub(crate) fn all_held(&self) -> bool {
        self.failed.is_empty()
    }

    /// Returns all that was told.
    fn document(&self) -> Value {
        json!({ "steps": self.told, "held": self.held, "failed": self.failed })
    }

    fn note(&mut self, list: &str, what: Value) {
        let step = self.told.last_mut().and_then(|step| step.get_mut(list)?.as_array_mut());
        if let Some(list) = step {
            list.push(what);
        }
    }

    fn print(&self, text: &str) {
        if self.is_text() {
            println!("{text}");
        }
    }

    fn styled(&self, style: Style, text: &str) -> String {
        match self.form {
            Form::Text { coloured: true } => format!("\x1b[{}m{text}\x1b[0m", style as u8),
            Form::Json | Form::Text { coloured: false } => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Form, Report};

    #[test]
    fn a_program_gets_every_line_and_claim_under_its_title() {
        let mut report = Report::new(Form::Json);
        report.title("1  A caller");
        report.line("sent", "nothing");
        report.claim("it is refused", true);
        report.title("2  Another");
        report.claim("it is admitted", false);
        let expected = json!({
            "steps": [
                {
                    "title": "1  A caller",
                    "lines": [{ "label": "sent", "text": "nothing" }],
                    "claims": [{ "claim": "it is refused", "holds": true }],
                },
                {
                    "title": "2  Another", "lines": [],
                    "claims": [{ "claim": "it is admitted", "holds": false }],
                },
            ],
            "held": 1,
            "failed": ["it is admitted"],
        });
        assert_eq!(report.document(), expected);
        assert!(!report.all_held());
    }
}
