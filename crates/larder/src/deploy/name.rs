//! Names as Kubernetes takes them, checked before anything is printed.

use std::fmt;
use std::str::FromStr;

/// A DNS label (RFC 1123), what namespaces, services and label values have at most.
const MAX_LABEL: usize = 63;
/// A DNS subdomain (RFC 1123), what names of most objects have at most.
const MAX_SUBDOMAIN: usize = 253;
/// The longest ending that an instance's name gets: `-metrics-grpc`, on a service.
const LONGEST_ENDING: usize = 13;

/// Why a text is no name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum NameError {
    /// There is nothing.
    #[error("the name is empty")]
    Empty,
    /// Too many characters.
    #[error("{0:?} is longer than {1} characters")]
    Long(String, usize),
    /// Other characters than a name may have.
    #[error("{0:?} is not made of lower-case letters, digits and inner {1}")]
    Character(String, &'static str),
}

/// The name of an instance: a DNS label that leaves room for endings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InstanceName(String);

/// A DNS label: the name of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label(String);

/// A DNS subdomain: the name of a secret, a claim, a priority class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectName(String);

impl InstanceName {
    /// Whether a service can be named after it: those begin with a letter (RFC 1035).
    pub(crate) fn suits_service(&self) -> bool {
        self.0.starts_with(|c: char| c.is_ascii_lowercase())
    }
}

impl FromStr for InstanceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        label(text, MAX_LABEL - LONGEST_ENDING).map(Self)
    }
}

impl FromStr for Label {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        label(text, MAX_LABEL).map(Self)
    }
}

impl FromStr for ObjectName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        fits(text, MAX_SUBDOMAIN)?;
        if text.split('.').all(is_label) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Character(text.to_owned(), "dashes and dots"))
        }
    }
}

fn label(text: &str, max: usize) -> Result<String, NameError> {
    fits(text, max)?;
    if is_label(text) { Ok(text.to_owned()) } else { Err(NameError::Character(text.to_owned(), "dashes")) }
}

fn fits(text: &str, max: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty),
        length if length > max => Err(NameError::Long(text.to_owned(), max)),
        _ => Ok(()),
    }
}

fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_api_server_takes() {
        let long = "x".repeat(51);
        for name in ["a", "my-images", "7up", "on", &long[..50]] {
            assert!(name.parse::<InstanceName>().is_ok(), "{name:?}");
        }
        for name in ["", "-a", "a-", "A", "a.b", "a_b", "a/b", "ä", "a b", &long] {
            assert!(name.parse::<InstanceName>().is_err(), "{name:?}");
        }
        assert!("pull.secret-1".parse::<ObjectName>().is_ok());
        for name in ["", "a..b", ".a", "a.", "A", "a/b"] {
            assert!(name.parse::<ObjectName>().is_err(), "{name:?}");
        }
        assert!("x".repeat(63).parse::<Label>().is_ok() && "x".repeat(64).parse::<Label>().is_err());
    }

    #[test]
    fn a_service_name_begins_with_a_letter() {
        assert!("a7".parse::<InstanceName>().unwrap().suits_service());
        assert!(!"7a".parse::<InstanceName>().unwrap().suits_service());
    }
}
