//! What the log says: the words are the same whatever host writes them.

/// Holds one line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// What it says; nothing that callers sent, but for what is escaped.
    pub text: String,
}

/// Says how much a line matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// Good to know.
    Info,
    /// Somebody should look.
    Warn,
}

impl Line {
    pub(crate) fn info(text: String) -> Self {
        Self { level: Level::Info, text }
    }

    pub(crate) fn warn(text: String) -> Self {
        Self { level: Level::Warn, text }
    }
}
