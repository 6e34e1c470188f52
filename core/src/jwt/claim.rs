//! Claims as the configuration names them, and the values that it expects of them.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

/// Names a claim: a member of the token, or with a leading `/` the place of a value inside of one,
/// as a JSON pointer (RFC 6901).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimName {
    member: String,
    /// The pointer from there on; empty for the member itself.
    rest: String,
}

/// Says what a claim has to be, or to contain if it is a list.
#[derive(Clone, Debug, PartialEq)]
pub enum ClaimValue {
    /// `true` or `false`
    Bool(bool),
    /// A number, compared by value: 1 is 1.0. It is one of those that every reader of JSON reads
    /// alike (RFC 7493 §2.2).
    Number(f64),
    /// A text, compared exactly.
    Text(String),
}

impl ClaimName {
    /// Parses the name of a member, or with a leading `/` a JSON pointer (RFC 6901).
    pub fn parse(text: &str) -> Option<Self> {
        if !is_printable(text) {
            return None;
        }
        let Some(pointer) = text.strip_prefix('/') else {
            return Some(Self { member: text.to_owned(), rest: String::new() });
        };
        let mut escaped = pointer.split('~').skip(1);
        if !escaped.all(|rest| rest.starts_with(['0', '1'])) {
            return None;
        }
        let end = pointer.find('/').unwrap_or(pointer.len());
        let (member, rest) = pointer.split_at(end);
        Some(Self { member: member.replace("~1", "/").replace("~0", "~"), rest: rest.to_owned() })
    }

    /// Returns the member of the token that holds the claim.
    pub fn member(&self) -> &str {
        &self.member
    }

    /// Returns the claim, given the value of its member.
    pub fn within<'a>(&self, member: &'a Value) -> Option<&'a Value> {
        member.pointer(&self.rest)
    }
}

impl fmt::Display for ClaimName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rest.is_empty() && !self.member.starts_with('/') {
            return formatter.write_str(&self.member);
        }
        let member = self.member.replace('~', "~0").replace('/', "~1");
        write!(formatter, "/{member}{}", self.rest)
    }
}

#[cfg(test)]
impl ClaimName {
    /// Reads a name that must be one.
    pub(crate) fn of(text: &str) -> Self {
        Self::parse(text).unwrap()
    }
}

impl ClaimValue {
    /// Returns true if a claim is this value, or a list that contains it.
    pub fn is_met_by(&self, claim: &Value) -> bool {
        let is_in = |list: &Vec<Value>| list.iter().any(|item| self.is(item));
        self.is(claim) || claim.as_array().is_some_and(is_in)
    }

    fn is(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Bool(expected), Value::Bool(found)) => expected == found,
            (Self::Number(expected), Value::Number(found)) => {
                // A greater number than the expected ones may be rounded here, but not down to one.
                let order = found.as_f64().and_then(|found| expected.partial_cmp(&found));
                order.is_some_and(Ordering::is_eq)
            }
            (Self::Text(expected), Value::String(found)) => expected == found,
            (Self::Bool(_) | Self::Number(_) | Self::Text(_), _) => false,
        }
    }
}

impl fmt::Display for ClaimValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(formatter, "{value}"),
            Self::Number(value) => write!(formatter, "{value}"),
            Self::Text(value) => write!(formatter, "{value:?}"),
        }
    }
}

/// Returns true for a text that is not empty and has no control characters.
pub(super) fn is_printable(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_as_it_is_written() {
        for name in ["oid", "a~b", "https://example.com/groups", "/a/b~1c/0", "/a~0b/c", "/~1a"] {
            assert_eq!(ClaimName::of(name).to_string(), name);
        }
    }
}
