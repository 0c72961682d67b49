//! The CRI calls about images; `container` has those about pods.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use larder_core::ImageRef;
use larder_proto::cri::image_service_client::ImageServiceClient;
use larder_proto::cri::runtime_service_client::RuntimeServiceClient;
use larder_proto::cri::{
    AuthConfig, Image, ImageSpec, ImageStatusRequest, PullImageRequest, RemoveImageRequest, VersionRequest,
};
use tonic::transport::Channel;

use super::Containerd;
use crate::blocking::wait;
use crate::process::until;
use crate::registry::Credentials;
use crate::workdir::Workdir;

/// From an image's event to CRI's own list of images.
const SEEN: Duration = Duration::from_secs(10);

/// What a call needs; clones share the connection.
#[derive(Clone, Debug)]
pub(super) struct Cri {
    pub(super) channel: Channel,
    /// The control group below which all pods live.
    pub(super) group: String,
    pub(super) logs: PathBuf,
}

impl Cri {
    pub(super) fn new(channel: Channel, dir: &Workdir) -> Self {
        Self { channel, group: format!("/{}", dir.name()), logs: dir.join("logs") }
    }

    pub(super) async fn ready(&self) -> Result<()> {
        RuntimeServiceClient::new(self.channel.clone()).version(VersionRequest::default()).await?;
        Ok(())
    }

    /// Waits until an image that was stored beside CRI is known to it.
    pub(super) fn image_seen(&self, reference: &str) -> Result<()> {
        until(&format!("image {reference}"), SEEN, || {
            wait(self.image_status(reference))?.context("CRI does not have it yet")
        })?;
        Ok(())
    }

    async fn image_status(&self, reference: &str) -> Result<Option<Image>> {
        let request = ImageStatusRequest { image: Some(spec(reference)), verbose: false };
        let mut images = ImageServiceClient::new(self.channel.clone());
        Ok(images.image_status(request).await?.into_inner().image)
    }

    async fn pull(&self, reference: &str, auth: Option<AuthConfig>) -> Result<String> {
        let request = PullImageRequest { image: Some(spec(reference)), auth, sandbox_config: None };
        let mut images = ImageServiceClient::new(self.channel.clone());
        Ok(images.pull_image(request).await?.into_inner().image_ref)
    }

    async fn remove(&self, reference: &str) -> Result<()> {
        let request = RemoveImageRequest { image: Some(spec(reference)) };
        ImageServiceClient::new(self.channel.clone()).remove_image(request).await?;
        Ok(())
    }
}

pub(super) fn spec(reference: &str) -> ImageSpec {
    ImageSpec { image: reference.to_owned(), ..ImageSpec::default() }
}

impl Containerd {
    /// Pulls as kubelet does, and returns CRI's id of the image.
    pub fn pull(&self, reference: &ImageRef) -> Result<String> {
        wait(self.cri.pull(&reference.to_string(), None)).with_context(|| format!("pull {reference}"))
    }

    /// Pulls with basic authentication.
    pub fn pull_as(&self, reference: &ImageRef, credentials: &Credentials) -> Result<String> {
        let Credentials { user, password } = credentials.clone();
        let auth = AuthConfig { username: user, password, ..AuthConfig::default() };
        wait(self.cri.pull(&reference.to_string(), Some(auth))).with_context(|| format!("pull {reference}"))
    }

    /// What CRI says of an image, by any name that it may have; none when it is not there.
    pub fn image_status(&self, name: &str) -> Result<Option<Image>> {
        wait(self.cri.image_status(name)).with_context(|| format!("status of image {name}"))
    }

    /// Removes an image as kubelet does.
    pub fn remove_image(&self, name: &str) -> Result<()> {
        wait(self.cri.remove(name)).with_context(|| format!("remove image {name}"))
    }
}
