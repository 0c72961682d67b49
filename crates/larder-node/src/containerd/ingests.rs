//! What is being written to the content store just now, and the documents that say what it belongs to.

use std::collections::HashMap;

use larder_core::Digest;
use larder_proto::containerd::services::content::v1::content_client::ContentClient;
use larder_proto::containerd::services::content::v1::{ListContentRequest, ListStatusesRequest};

use super::call::call_stream;
use super::{Containerd, ContainerdError, MAX_MESSAGE, call};

/// containerd labels each blob with the repositories that it came from, below the registry's host.
const SOURCE: &str = "containerd.io/distribution.source.";
/// Larger blobs are layers, or no manifest that is worth reading for a progress bar. In bytes.
const MAX_MANIFEST: i64 = 1 << 20;

impl Containerd {
    /// Blobs that are being fetched, with the bytes that have come.
    pub(crate) async fn ingests(&self) -> Result<HashMap<Digest, u64>, ContainerdError> {
        let mut client = ContentClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE);
        let request = self.request(ListStatusesRequest { filters: vec![] });
        let answer = call("list writes to its content".to_owned(), client.list_statuses(request)).await?;
        let ingest = |status: larder_proto::containerd::services::content::v1::Status| {
            Some((digest_of(&status.r#ref)?, u64::try_from(status.offset).ok()?))
        };
        Ok(answer.statuses.into_iter().filter_map(ingest).collect())
    }

    /// Blobs from `repository` of `registry` that are small enough for manifests.
    pub(crate) async fn small_blobs_of(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Vec<Digest>, ContainerdError> {
        let label = format!("{SOURCE}{registry}");
        let request = self.request(ListContentRequest { filters: vec![format!("labels.{label:?}")] });
        call_stream(format!("list content of {registry}"), async {
            let mut client = ContentClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE);
            let mut stream = client.list(request).await?.into_inner();
            let mut found = Vec::new();
            while let Some(answer) = stream.message().await? {
                let ours = answer.info.iter().filter(|info| {
                    let sources = info.labels.get(&label).map(String::as_str).unwrap_or_default();
                    info.size <= MAX_MANIFEST && sources.split(',').any(|source| source == repository)
                });
                found.extend(ours.filter_map(|info| info.digest.parse::<Digest>().ok()));
            }
            Ok(found)
        })
        .await
    }
}

/// Writes of pulls are named `layer-sha256:...`, `manifest-sha256:...` and the like.
fn digest_of(reference: &str) -> Option<Digest> {
    reference.split_once('-')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_of_pulls_are_known_by_their_name() {
        let digest = Digest::of(b"x");
        assert_eq!(digest_of(&format!("layer-{digest}")), Some(digest));
        for other in ["", "layer-", "import-7", "attach-sha256:0"] {
            assert_eq!(digest_of(other), None, "{other}");
        }
    }
}
