//! The custom resource definitions, for `kubectl apply` and for tests.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray as Items,
};
use kube::CustomResourceExt;

use crate::{ImageCache, NodeImageSet};

/// Both definitions.
pub fn custom_resource_definitions() -> [CustomResourceDefinition; 2] {
    [ImageCache::crd(), NodeImageSet::crd()]
}

/// The same without CEL rules, for servers before 1.25, which refuse a field that they do not know.
pub fn without_validation_rules(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            take_rules(schema);
        }
    }
    definition
}

fn take_rules(schema: &mut JSONSchemaProps) {
    schema.x_kubernetes_validations = None;
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        take_rules(property);
    }
    match &mut schema.items {
        Some(Items::Schema(item)) => take_rules(item),
        Some(Items::Schemas(items)) => items.iter_mut().for_each(take_rules),
        None => {}
    }
}
