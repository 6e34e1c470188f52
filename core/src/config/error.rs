//! What is wrong with a configuration: `<path>: expected Y, found X`.

use std::fmt;

/// Says what is wrong in one place of a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Error {
    /// The place, such as `routes[0].identity`; `$` for the whole document.
    path: String,
    expected: String,
    found: String,
}

/// Lists all that is wrong with a configuration; shown with one mistake on a line.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Errors(Vec<Error>);

impl Error {
    pub(super) fn new(
        path: impl Into<String>,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        let (expected, found) = (expected.to_string(), found.to_string());
        Self { path: path.into(), expected, found }
    }
}

impl Errors {
    /// Returns the mistakes, in the order of the document's entries.
    pub fn iter(&self) -> impl Iterator<Item = &Error> {
        self.0.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps a mistake; one that the tenants of an entry share is reported once.
    pub(super) fn add(&mut self, error: Error) {
        if !self.0.contains(&error) {
            self.0.push(error);
        }
    }

    /// Keeps the mistake, or returns the value.
    pub(super) fn check<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: expected {}, found {}", self.path, self.expected, self.found)
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.iter().map(ToString::to_string).collect();
        formatter.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Error {}

impl std::error::Error for Errors {}
