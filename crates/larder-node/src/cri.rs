//! The CRI client: what the kubelet would be told.

mod auth;
mod containers;
mod images;
mod open;

use std::path::PathBuf;

use larder_core::Digest;
use larder_proto::cri::image_service_client::ImageServiceClient;
use larder_proto::cri::{ImageFsInfoRequest, ImageSpec, ImageStatusRequest};
use tonic::transport::Channel;

use crate::containerd::{ContainerdError, call};
pub use auth::Auth;
pub use images::CriError;
pub(crate) use images::ImageSeen;
pub use open::RuntimeError;
pub(crate) use open::{Family, Runtime, open};

/// The image service of a runtime.
#[derive(Clone, Debug)]
pub(crate) struct Cri {
    channel: Channel,
}

impl Cri {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { channel }
    }

    fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone())
    }

    /// Where the runtime unpacks images: one directory a snapshotter, the default one first.
    pub(crate) async fn image_directories(&self) -> Result<Vec<PathBuf>, ContainerdError> {
        let action = "tell CRI's image directory".to_owned();
        let info = call(action, self.images().image_fs_info(ImageFsInfoRequest {})).await?;
        let directories = info.image_filesystems.into_iter().filter_map(|system| system.fs_id);
        Ok(directories.map(|id| PathBuf::from(id.mountpoint)).collect())
    }

    /// The id, which is the digest of the configuration, of the image that pods would get for `name`.
    pub(crate) async fn image_id(&self, name: &str) -> Result<Option<Digest>, ContainerdError> {
        let image = Some(ImageSpec { image: name.to_owned(), ..ImageSpec::default() });
        let request = ImageStatusRequest { image, verbose: false };
        let status =
            call(format!("tell CRI's status of {name}"), self.images().image_status(request)).await?;
        Ok(status.image.and_then(|image| image.id.parse().ok()))
    }
}
