//! What this containerd is made of.

use std::path::PathBuf;

use larder_proto::containerd::services::introspection::v1::PluginsRequest;
use larder_proto::containerd::services::introspection::v1::introspection_client::IntrospectionClient;

use super::{Containerd, ContainerdError, MAX_MESSAGE, call};

/// A plugin as containerd lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plugin {
    /// `io.containerd.snapshotter.v1` and the like.
    pub(crate) kind: String,
    pub(crate) id: String,
    /// Where it keeps its data, for plugins that say so.
    pub(crate) root: Option<PathBuf>,
    /// Why it is not loaded.
    pub(crate) error: Option<String>,
}

impl Containerd {
    /// Every plugin that this containerd was built with.
    pub(crate) async fn list_plugins(&self) -> Result<Vec<Plugin>, ContainerdError> {
        let mut client = IntrospectionClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE);
        let request = self.request(PluginsRequest { filters: vec![] });
        let plugins = call("list its plugins".to_owned(), client.plugins(request)).await?.plugins;
        let plugins = plugins.into_iter().map(|plugin| Plugin {
            kind: plugin.r#type,
            id: plugin.id,
            root: plugin.exports.get("root").map(PathBuf::from),
            error: plugin.init_err.map(|status| status.message),
        });
        Ok(plugins.collect())
    }
}
