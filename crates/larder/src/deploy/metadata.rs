//! The one place that makes metadata: names, namespace and labels of an instance's objects.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::{InstanceName, Label};

const NAME: &str = "app.kubernetes.io/name";
const INSTANCE: &str = "app.kubernetes.io/instance";
const COMPONENT: &str = "app.kubernetes.io/component";

/// One of possibly many, told apart by its name.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    /// Its name.
    pub(crate) name: InstanceName,
    /// Where its objects are; none leaves it to whoever applies them.
    pub(crate) namespace: Option<Label>,
}

/// A part of an instance, whose pods no other part selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Component {
    Prefetch,
    Metrics,
    Attach,
}

impl Component {
    fn label(self) -> &'static str {
        match self {
            Self::Prefetch => "prefetch",
            Self::Metrics => "metrics",
            Self::Attach => "attach",
        }
    }
}

impl Instance {
    /// The instance's name, with an ending.
    pub(super) fn named(&self, ending: &str) -> String {
        format!("{}{ending}", self.name)
    }

    /// Of an object in a namespace.
    pub(super) fn namespaced(&self, name: String, component: Component) -> ObjectMeta {
        let namespace = self.namespace.as_ref().map(ToString::to_string);
        ObjectMeta { namespace, ..self.unplaced(name, component) }
    }

    /// Of an object outside all namespaces.
    pub(super) fn unplaced(&self, name: String, component: Component) -> ObjectMeta {
        ObjectMeta { name: Some(name), ..self.labelled(component) }
    }

    /// Of a pod in a template.
    pub(super) fn labelled(&self, component: Component) -> ObjectMeta {
        ObjectMeta { labels: Some(self.labels(component)), ..ObjectMeta::default() }
    }

    /// Labels that only the pods of `component` of this instance have.
    pub(super) fn labels(&self, component: Component) -> BTreeMap<String, String> {
        let instance = self.name.to_string();
        [(NAME, "larder"), (INSTANCE, &instance), (COMPONENT, component.label())]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    /// The selector of `component`'s pods.
    pub(super) fn selector(&self, component: Component) -> LabelSelector {
        LabelSelector { match_labels: Some(self.labels(component)), ..LabelSelector::default() }
    }
}
