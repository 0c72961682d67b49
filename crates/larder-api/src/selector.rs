//! A node selector as users write it: a map, or the design document's `key=value` text.

use std::collections::BTreeMap;

use serde_json::Value;

/// The labels that a node must have, all of them. No labels: every node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSelector(BTreeMap<String, String>);

/// Why a value selects no nodes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SelectorError {
    /// Neither a map nor a text.
    #[error("nodeSelector is {0}; write a map of labels, or key=value")]
    Kind(Value),
    /// A label's value is no text: `true` and `1` need quotes in YAML.
    #[error("nodeSelector: the value of {key:?} is {value}; write it in quotes")]
    Value {
        /// The label.
        key: String,
        /// What stands there.
        value: Value,
    },
    /// A part of the text is no `key=value`.
    #[error("nodeSelector {0:?} is not key=value[,key=value]...")]
    Text(String),
}

impl NodeSelector {
    /// Of a field that has no type in the schema.
    pub fn parse(value: Option<&Value>) -> Result<Self, SelectorError> {
        match value {
            None | Some(Value::Null) => Ok(Self::default()),
            Some(Value::String(text)) => Self::from_text(text),
            Some(Value::Object(map)) => {
                map.iter().map(|(key, value)| label(key, value)).collect::<Result<_, _>>().map(Self)
            }
            Some(other) => Err(SelectorError::Kind(other.clone())),
        }
    }

    fn from_text(text: &str) -> Result<Self, SelectorError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        text.split(',')
            .map(|part| {
                let (key, value) = part.split_once('=')?;
                let (key, value) = (key.trim(), value.trim_start_matches('=').trim());
                (!key.is_empty() && !key.ends_with('!')).then(|| (key.to_owned(), value.to_owned()))
            })
            .collect::<Option<_>>()
            .map(Self)
            .ok_or_else(|| SelectorError::Text(text.to_owned()))
    }

    /// Whether a node with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

fn label(key: &str, value: &Value) -> Result<(String, String), SelectorError> {
    match value {
        Value::String(text) => Ok((key.to_owned(), text.clone())),
        other => Err(SelectorError::Value { key: key.to_owned(), value: other.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn maps_and_texts_select_the_same() {
        let wanted = NodeSelector(labels(&[("zone", "a"), ("gpu", "")]));
        for value in [json!({"zone": "a", "gpu": ""}), json!("zone=a,gpu="), json!(" zone == a , gpu=")] {
            assert_eq!(NodeSelector::parse(Some(&value)), Ok(wanted.clone()), "{value}");
        }
        for value in [None, Some(json!(null)), Some(json!({})), Some(json!(""))] {
            assert_eq!(NodeSelector::parse(value.as_ref()), Ok(NodeSelector::default()), "{value:?}");
        }
    }

    #[test]
    fn a_node_needs_every_label() {
        let selector = NodeSelector(labels(&[("zone", "a"), ("gpu", "yes")]));
        assert!(selector.matches(&labels(&[("zone", "a"), ("gpu", "yes"), ("more", "1")])));
        assert!(!selector.matches(&labels(&[("zone", "a")])));
        assert!(!selector.matches(&labels(&[("zone", "b"), ("gpu", "yes")])));
        assert!(NodeSelector::default().matches(&labels(&[])));
    }

    #[test]
    fn what_selects_nothing_is_named() {
        let cases = [
            (json!(["zone=a"]), r#"nodeSelector is ["zone=a"]; write a map of labels, or key=value"#),
            (json!({"gpu": true}), r#"nodeSelector: the value of "gpu" is true; write it in quotes"#),
            (json!("zone"), r#"nodeSelector "zone" is not key=value[,key=value]..."#),
            (json!("zone!=a"), r#"nodeSelector "zone!=a" is not key=value[,key=value]..."#),
            (json!("zone=a,"), r#"nodeSelector "zone=a," is not key=value[,key=value]..."#),
            (json!("=a"), r#"nodeSelector "=a" is not key=value[,key=value]..."#),
        ];
        for (value, message) in cases {
            assert_eq!(NodeSelector::parse(Some(&value)).expect_err("refused").to_string(), message);
        }
    }
}
