//! `larder deploy prefetcher`: a DaemonSet whose pods pull an image list through their node's runtime before they are ready.

mod metrics;
mod pod;

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec};
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec};
use larder_core::ImageRef;

use super::metadata::{Component, Instance};
use super::{Flavor, ImageList, Object, ObjectName, Placement, access};

pub(crate) use metrics::ServiceType;

/// The key of the image list in its ConfigMap.
const LIST_KEY: &str = "images.txt";

/// A prefetcher, as it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Prefetcher {
    /// Its name and place.
    pub(crate) instance: Instance,
    /// Larder's own image.
    pub(crate) image: ImageRef,
    /// The kind of cluster.
    pub(crate) flavor: Flavor,
    /// The pull secret for the listed images.
    pub(crate) secret: Option<ObjectName>,
    /// Where further credentials come from.
    pub(crate) credentials: Credentials,
    /// Whether each attempt's result is collected.
    pub(crate) metrics: Metrics,
    /// The images; none where the ConfigMap is the user's.
    pub(crate) list: Option<ImageList>,
    /// Which nodes.
    pub(crate) placement: Placement,
}

/// The credential providers that a node's kubelet has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// They are not used.
    #[default]
    None,
    /// As Google Kubernetes Engine installs them.
    Gke,
}

/// Whether and how results are collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metrics {
    /// They are not.
    Off,
    /// They are, and are read through a service of this type.
    Collected(ServiceType),
}

impl Prefetcher {
    /// Everything that is to be applied, in that order.
    pub(crate) fn objects(&self) -> Vec<Object> {
        let instance = &self.instance;
        let mut objects = vec![access::account(instance, Component::Prefetch)];
        if let Some(namespace) = &instance.namespace {
            objects.extend(access::node_labeler(instance, namespace, Component::Prefetch));
        }
        if self.flavor == Flavor::Ocp {
            objects.extend(access::constraint_user(instance, Component::Prefetch));
        }
        objects.extend(self.list.as_ref().map(|list| self.config_map(list)));
        if let Metrics::Collected(service_type) = self.metrics {
            objects.extend(metrics::objects(instance, &self.image, service_type));
        }
        objects.push(Object::DaemonSet(Box::new(self.daemon_set())));
        objects
    }

    fn config_map(&self, list: &ImageList) -> Object {
        Object::ConfigMap(ConfigMap {
            metadata: self.instance.namespaced(self.instance.named(""), Component::Prefetch),
            data: Some([(LIST_KEY.to_owned(), list.text().to_owned())].into()),
            ..ConfigMap::default()
        })
    }

    fn daemon_set(&self) -> DaemonSet {
        let mut template = self.instance.labelled(Component::Prefetch);
        template.annotations = pod::annotations(self);
        let spec = DaemonSetSpec {
            selector: self.instance.selector(Component::Prefetch),
            template: PodTemplateSpec { metadata: Some(template), spec: Some(pod::spec(self)) },
            update_strategy: Some(self.placement.update_strategy()),
            ..DaemonSetSpec::default()
        };
        let metadata = self.instance.namespaced(self.instance.named(""), Component::Prefetch);
        DaemonSet { metadata, spec: Some(spec), status: None }
    }
}
