//! Text that must never be seen: tokens on their way through the gate.

use std::fmt;
use std::rc::Rc;

/// Holds a token and refuses to show it.
///
/// It has no `Display` and no `Serialize`, and `Debug` prints a placeholder, so a secret reaches a
/// log or a reply only through [`Secret::expose`].
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Rc<str>);

impl Secret {
    /// Wraps the text of a secret.
    pub fn new(text: impl Into<Rc<str>>) -> Self {
        Self(text.into())
    }

    /// Returns the secret itself, for the one place that sends it on.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_does_not_show_a_secret() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }
}
