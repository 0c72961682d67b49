//! Which nodes a DaemonSet is for, and how many of them may be without it while it changes.

use std::collections::BTreeMap;
use std::str::FromStr;

use k8s_openapi::api::apps::v1::{DaemonSetUpdateStrategy, RollingUpdateDaemonSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::ObjectName;

/// A label's value, and the part of its key behind the slash (Kubernetes, "Labels and Selectors").
const MAX_PART: usize = 63;
const OS: (&str, &str) = ("kubernetes.io/os", "linux");

/// Where pods run.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    /// Labels that a node must have.
    pub(crate) node_selector: BTreeMap<String, String>,
    /// How important the pods are.
    pub(crate) priority_class: Option<ObjectName>,
    /// How many nodes change at the same time.
    pub(crate) max_unavailable: MaxUnavailable,
}

/// Why a node selector is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SelectorError {
    /// No key and value.
    #[error("{0:?} is not KEY=VALUE")]
    Form(String),
    /// The key breaks the grammar of labels.
    #[error("{0:?} is not the key of a label")]
    Key(String),
    /// The value breaks the grammar of labels.
    #[error("{0:?} is not the value of a label")]
    Value(String),
    /// Two values for one key, which no node has.
    #[error("key {0} is there twice, with different values")]
    Twice(String),
}

impl Placement {
    /// The labels that a node must have, its operating system included: the images are Linux's.
    pub(super) fn selector(&self) -> BTreeMap<String, String> {
        let mut selector = BTreeMap::from([(OS.0.to_owned(), OS.1.to_owned())]);
        selector.extend(self.node_selector.clone());
        selector
    }

    /// Old pods go first: two of one instance on a node would pull the same images.
    pub(super) fn update_strategy(&self) -> DaemonSetUpdateStrategy {
        let max_unavailable = Some(self.max_unavailable.0.clone());
        DaemonSetUpdateStrategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(RollingUpdateDaemonSet { max_unavailable, max_surge: None }),
        }
    }
}

/// One label out of `KEY=VALUE`.
pub(crate) fn label(text: &str) -> Result<(String, String), SelectorError> {
    let (key, value) = text.split_once('=').ok_or_else(|| SelectorError::Form(text.to_owned()))?;
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let good_prefix = prefix.is_none_or(|prefix| prefix.parse::<ObjectName>().is_ok());
    if !good_prefix || name.is_empty() || !is_part(name) {
        return Err(SelectorError::Key(key.to_owned()));
    }
    if !is_part(value) {
        return Err(SelectorError::Value(value.to_owned()));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// All labels together.
pub(crate) fn selector(labels: Vec<(String, String)>) -> Result<BTreeMap<String, String>, SelectorError> {
    let mut selector = BTreeMap::new();
    for (key, value) in labels {
        if selector.get(&key).is_some_and(|other| *other != value) {
            return Err(SelectorError::Twice(key));
        }
        selector.insert(key, value);
    }
    Ok(selector)
}

fn is_part(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    let inner = |c: char| edge(c) || matches!(c, '-' | '_' | '.');
    text.len() <= MAX_PART
        && text.chars().all(inner)
        && (text.is_empty() || (text.starts_with(edge) && text.ends_with(edge)))
}

/// A number of nodes, or a part of all, that may be without the pod while it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MaxUnavailable(pub(crate) IntOrString);

/// A text is no number of nodes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected a number from 1, or a percentage from 1% to 100%")]
pub(crate) struct MaxUnavailableError;

impl FromStr for MaxUnavailable {
    type Err = MaxUnavailableError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (digits, most) = text.strip_suffix('%').map_or((text, i32::MAX), |digits| (digits, 100));
        let plain = digits.chars().all(|c| c.is_ascii_digit());
        let number: i32 = digits
            .parse()
            .ok()
            .filter(|number| plain && (1..=most).contains(number))
            .ok_or(MaxUnavailableError)?;
        Ok(Self(if most == 100 {
            IntOrString::String(format!("{number}%"))
        } else {
            IntOrString::Int(number)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_made_of_labels() {
        let good = [("pool=gpu", "pool", "gpu"), ("a.b/c_d=", "a.b/c_d", ""), ("x=a=b", "", "")];
        for (text, key, value) in &good[..2] {
            assert_eq!(label(text), Ok(((*key).to_owned(), (*value).to_owned())));
        }
        for text in ["pool", "=x", "a b=c", "/a=b", "A.b/c=d", "x=a=b", "x=-a", "x=ä"] {
            assert!(label(text).is_err(), "{text:?}");
        }
        assert!(label(&format!("x={}", "y".repeat(64))).is_err());
        let twice = |a: &str, b: &str| selector(vec![label(a).unwrap(), label(b).unwrap()]);
        assert_eq!(twice("a=1", "a=2"), Err(SelectorError::Twice("a".to_owned())));
        assert_eq!(twice("a=1", "a=1").unwrap().len(), 1);
    }

    #[test]
    fn nodes_are_counted_or_a_part() {
        let table = [
            ("1", IntOrString::Int(1)),
            ("25%", IntOrString::String("25%".to_owned())),
            ("007", IntOrString::Int(7)),
        ];
        for (text, number) in table {
            assert_eq!(text.parse(), Ok(MaxUnavailable(number)), "{text}");
        }
        for text in ["", "0", "0%", "101%", "-1", "+1", "%", "1.5", "9999999999"] {
            assert_eq!(text.parse::<MaxUnavailable>(), Err(MaxUnavailableError), "{text}");
        }
    }
}
