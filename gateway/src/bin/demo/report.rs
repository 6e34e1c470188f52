//! How the walk is told.

use std::{
    error::Error,
    io::{IsTerminal, stdout},
};

/// Prints the walk, and remembers which claims did not hold.
#[derive(Debug)]
pub(crate) struct Report {
    coloured: bool,
    failed: Vec<String>,
    held: usize,
}

/// The ANSI codes in use (ECMA-48, "select graphic rendition").
#[derive(Clone, Copy, Debug)]
enum Style {
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
}

impl Report {
    pub(crate) fn for_stdout() -> Self {
        Self { coloured: stdout().is_terminal(), failed: Vec::new(), held: 0 }
    }

    pub(crate) fn title(&self, text: &str) {
        println!("\n{}\n", self.styled(Style::Bold, text));
    }

    /// Prints a line under its label; an empty label continues the line before.
    pub(crate) fn line(&self, label: &str, text: &str) {
        println!("   {} {text}", self.styled(Style::Dim, &format!("{label:<8}")));
    }

    /// Prints a command, unbroken so that it can be copied.
    pub(crate) fn command(command: &str) {
        println!("   {command}");
    }

    /// Prints a claim and whether it holds.
    pub(crate) fn claim(&mut self, claim: &str, holds: bool) {
        let mark = if holds {
            self.held += 1;
            self.styled(Style::Green, "✓")
        } else {
            self.failed.push(claim.to_owned());
            self.styled(Style::Red, "✗")
        };
        println!("   {mark} {claim}");
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

    fn styled(&self, style: Style, text: &str) -> String {
        if self.coloured { format!("\x1b[{}m{text}\x1b[0m", style as u8) } else { text.to_owned() }
    }
}
