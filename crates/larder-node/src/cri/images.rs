//! The calls about images that `fetch` and the agent make. Deadlines are the caller's.

use std::error::Error as _;

use larder_proto::cri::{
    Image, ImageFsInfoRequest, ImageSpec, ImageStatusRequest, ListImagesRequest, PullImageRequest,
    RemoveImageRequest,
};
use tonic::{Code, Status};

use super::{Auth, Cri};

/// Lists of images and of containers on a node are far smaller; more is not read.
pub(super) const MAX_MESSAGE: usize = 16 << 20;
/// What is kept of a runtime's error: some carry whole HTML pages. In bytes.
const MAX_TEXT: usize = 2048;

/// What the runtime said when it did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code:?})")]
pub struct CriError {
    /// The kind of error, as far as gRPC tells.
    pub code: Code,
    /// The runtime's words, on one line.
    pub message: String,
}

/// An image as the runtime lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageSeen {
    /// Mostly the digest of its configuration; images of the same id are one.
    pub(crate) id: String,
    pub(crate) tags: Vec<String>,
    pub(crate) digests: Vec<String>,
    /// In bytes, as the runtime counts them.
    pub(crate) size: u64,
    /// Whether the runtime tells the kubelet to keep it; those before CRI had this never say so.
    pub(crate) pinned: bool,
}

impl From<Image> for ImageSeen {
    fn from(image: Image) -> Self {
        let Image { id, repo_tags: tags, repo_digests: digests, size, pinned, .. } = image;
        Self { id, tags, digests, size, pinned }
    }
}

impl Cri {
    /// Pulls `image`; returns when the runtime has unpacked it. Dropping the future ends the pull.
    pub(crate) async fn pull(&self, image: &str, auth: Option<&Auth>) -> Result<(), CriError> {
        let request = PullImageRequest {
            image: Some(spec(image)),
            auth: auth.map(Auth::message),
            sandbox_config: None,
        };
        self.images().pull_image(request).await?;
        Ok(())
    }

    /// What the runtime has under `image`, if anything.
    pub(crate) async fn seen(&self, image: &str) -> Result<Option<ImageSeen>, CriError> {
        let request = ImageStatusRequest { image: Some(spec(image)), verbose: false };
        let status = self.images().image_status(request).await?.into_inner();
        Ok(status.image.map(ImageSeen::from))
    }

    /// Every image that the runtime has.
    pub(crate) async fn list_images(&self) -> Result<Vec<ImageSeen>, CriError> {
        let mut client = self.images().max_decoding_message_size(MAX_MESSAGE);
        let images = client.list_images(ListImagesRequest { filter: None }).await?.into_inner().images;
        Ok(images.into_iter().map(ImageSeen::from).collect())
    }

    /// Takes `image` away; one that is not there is fine. containerd takes every other name of the same image away, too.
    pub(crate) async fn remove_image(&self, image: &str) -> Result<(), CriError> {
        self.images().remove_image(RemoveImageRequest { image: Some(spec(image)) }).await?;
        Ok(())
    }

    /// Directories that the runtime keeps images in, the default one first.
    pub(crate) async fn image_places(&self) -> Result<Vec<String>, CriError> {
        let info = self.images().image_fs_info(ImageFsInfoRequest {}).await?.into_inner();
        Ok(info.image_filesystems.into_iter().filter_map(|system| Some(system.fs_id?.mountpoint)).collect())
    }
}

fn spec(image: &str) -> ImageSpec {
    ImageSpec { image: image.to_owned(), user_specified_image: image.to_owned(), ..ImageSpec::default() }
}

impl From<Status> for CriError {
    fn from(status: Status) -> Self {
        let mut text = status.message().to_owned();
        let mut cause = status.source();
        while let Some(error) = cause {
            let why = error.to_string();
            // Transport errors repeat themselves on every level.
            if !text.contains(&why) {
                text = format!("{text}: {why}");
            }
            cause = error.source();
        }
        Self { code: status.code(), message: one_line(&text) }
    }
}

fn one_line(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() > MAX_TEXT {
        line.truncate(line.floor_char_boundary(MAX_TEXT));
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_one_line_of_bearable_length() {
        let status = Status::unknown(format!("a\r\n  b {}", "é".repeat(5000)));
        let error = CriError::from(status);
        assert!(error.message.starts_with("a b éé"), "{error}");
        assert!(error.message.len() <= MAX_TEXT + 3 && error.message.ends_with("..."));
        assert_eq!(CriError::from(Status::not_found("x: not found")).to_string(), "x: not found (NotFound)");
    }
}
