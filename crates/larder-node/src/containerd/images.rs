//! Image records: containerd's names for images.

use std::collections::HashMap;

use larder_core::Descriptor;
use larder_proto::containerd::services::images::v1::images_client::ImagesClient;
use larder_proto::containerd::services::images::v1::{
    CreateImageRequest, DeleteImageRequest, Image, ListImagesRequest, UpdateImageRequest,
};
use larder_proto::containerd::types;
use larder_proto::well_known::FieldMask;

use super::{Containerd, ContainerdError, MAX_MESSAGE, call, none_if_absent};

/// An image record as containerd lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageRecord {
    pub(crate) name: String,
    /// The digest of what it points to; of any algorithm, for others write records too.
    pub(crate) target: String,
    pub(crate) media_type: String,
    pub(crate) labels: HashMap<String, String>,
}

impl From<Image> for ImageRecord {
    fn from(image: Image) -> Self {
        let target = image.target.unwrap_or_default();
        Self { name: image.name, target: target.digest, media_type: target.media_type, labels: image.labels }
    }
}

impl Containerd {
    fn images(&self) -> ImagesClient<tonic::transport::Channel> {
        ImagesClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Every image record of the namespace.
    pub(crate) async fn list_images(&self) -> Result<Vec<ImageRecord>, ContainerdError> {
        let request = self.request(ListImagesRequest { filters: vec![] });
        let answer = call("list images".to_owned(), self.images().list(request)).await?;
        Ok(answer.images.into_iter().map(ImageRecord::from).collect())
    }

    /// Creates an image record.
    pub(crate) async fn create_image(
        &self,
        name: &str,
        target: &Descriptor,
        labels: HashMap<String, String>,
    ) -> Result<(), ContainerdError> {
        let request =
            CreateImageRequest { image: Some(image(name, target, labels)), source_date_epoch: None };
        call(format!("create image {name}"), self.images().create(self.request(request))).await.map(|_| ())
    }

    /// Points an image record to `target`, adds `labels` and leaves its others.
    pub(crate) async fn update_image(
        &self,
        name: &str,
        target: &Descriptor,
        labels: HashMap<String, String>,
    ) -> Result<(), ContainerdError> {
        let paths = labels.keys().map(|key| format!("labels.{key}")).chain(["target".to_owned()]).collect();
        let request = UpdateImageRequest {
            image: Some(image(name, target, labels)),
            update_mask: Some(FieldMask { paths }),
            source_date_epoch: None,
        };
        call(format!("update image {name}"), self.images().update(self.request(request))).await.map(|_| ())
    }

    /// Sets labels of an image record, or takes them away where they are empty, and leaves its others.
    pub(crate) async fn label_image(
        &self,
        name: &str,
        labels: HashMap<String, String>,
    ) -> Result<(), ContainerdError> {
        let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
        let target = Some(types::Descriptor::default());
        let image = Image { name: name.to_owned(), labels, target, created_at: None, updated_at: None };
        let update_mask = Some(FieldMask { paths });
        let request = UpdateImageRequest { image: Some(image), update_mask, source_date_epoch: None };
        call(format!("label image {name}"), self.images().update(self.request(request))).await.map(|_| ())
    }

    /// Deletes an image record, and leaves the garbage; one that is gone is fine.
    pub(crate) async fn delete_image(&self, name: &str) -> Result<(), ContainerdError> {
        let request = DeleteImageRequest { name: name.to_owned(), sync: false, target: None };
        let action = format!("delete image {name}");
        let deleted = call(action, self.images().delete(self.request(request))).await;
        none_if_absent(deleted).map(|_| ())
    }
}

fn image(name: &str, target: &Descriptor, labels: HashMap<String, String>) -> Image {
    let target = types::Descriptor {
        media_type: target.media_type.clone(),
        digest: target.digest.to_string(),
        size: i64::try_from(target.size).unwrap_or(i64::MAX),
        annotations: HashMap::new(),
    };
    Image { name: name.to_owned(), labels, target: Some(target), created_at: None, updated_at: None }
}
