//! The content store: indexes, manifests and configurations, which are small.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use larder_core::{Blob, Digest};
use larder_proto::containerd::services::content::v1::content_client::ContentClient;
use larder_proto::containerd::services::content::v1::{
    Info, InfoRequest, ReadContentRequest, UpdateRequest, WriteAction, WriteContentRequest,
};
use larder_proto::well_known::FieldMask;
use tonic::{Code, Status};

use super::call::call_stream;
use super::{Containerd, ContainerdError, call, none_if_absent};

/// What one message carries; far below containerd's limit of 16 MiB a message.
const CHUNK: usize = 1 << 20;
/// Larger content is no manifest or configuration (containerd's own limit for them).
const MAX_READ: i64 = 8 << 20;

impl Containerd {
    fn content(&self) -> ContentClient<tonic::transport::Channel> {
        ContentClient::new(self.channel())
    }

    /// The labels of a blob; none when it is absent.
    pub(crate) async fn content_labels(
        &self,
        digest: Digest,
    ) -> Result<Option<HashMap<String, String>>, ContainerdError> {
        let request = self.request(InfoRequest { digest: digest.to_string() });
        let answer = call(format!("look up content {digest}"), self.content().info(request)).await;
        Ok(none_if_absent(answer)?.and_then(|answer| answer.info).map(|info| info.labels))
    }

    /// Adds labels to a blob and leaves its others.
    pub(crate) async fn add_content_labels(
        &self,
        digest: Digest,
        labels: HashMap<String, String>,
    ) -> Result<(), ContainerdError> {
        let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
        let request = UpdateRequest {
            info: Some(Info { digest: digest.to_string(), labels, ..Info::default() }),
            update_mask: Some(FieldMask { paths }),
        };
        call(format!("label content {digest}"), self.content().update(self.request(request)))
            .await
            .map(|_| ())
    }

    /// Writes a blob with its labels; `reference` names the write and is used once. One that is there already is fine.
    pub(crate) async fn write_content(
        &self,
        reference: &str,
        blob: &Blob,
        labels: HashMap<String, String>,
    ) -> Result<(), ContainerdError> {
        let messages = futures_util::stream::iter(write_messages(reference, blob, &labels));
        call_stream(format!("write content {}", blob.descriptor.digest), async {
            let mut answers = match self.content().write(self.request(messages)).await {
                Err(status) if status.code() == Code::AlreadyExists => return Ok(()),
                answers => answers?.into_inner(),
            };
            loop {
                match answers.message().await {
                    Ok(Some(answer)) if answer.action() == WriteAction::Commit => return Ok(()),
                    Ok(Some(_)) => {}
                    Ok(None) => return Err(Status::aborted("the answer ended before the commit")),
                    Err(status) if status.code() == Code::AlreadyExists => return Ok(()),
                    Err(status) => return Err(status),
                }
            }
        })
        .await
    }

    /// A small blob's content; none when it is absent.
    pub(crate) async fn read_content(&self, digest: Digest) -> Result<Option<Bytes>, ContainerdError> {
        let request = ReadContentRequest { digest: digest.to_string(), offset: 0, size: 0 };
        let info = self.request(InfoRequest { digest: digest.to_string() });
        let read = call_stream(format!("read content {digest}"), async {
            let info = self.content().info(info).await?.into_inner().info.unwrap_or_default();
            if info.size > MAX_READ {
                return Err(Status::out_of_range(format!("{} bytes are too many for a manifest", info.size)));
            }
            let mut stream = self.content().read(self.request(request)).await?.into_inner();
            let mut content = BytesMut::new();
            while let Some(chunk) = stream.message().await? {
                content.extend_from_slice(&chunk.data);
            }
            Ok(content.freeze())
        });
        none_if_absent(read.await)
    }
}

/// The messages that write `blob`; the last one commits it.
fn write_messages(
    reference: &str,
    blob: &Blob,
    labels: &HashMap<String, String>,
) -> Vec<WriteContentRequest> {
    let total = blob.bytes.len();
    let starts = (0..total.max(1)).step_by(CHUNK);
    let message = |start: usize| {
        let end = total.min(start + CHUNK);
        let last = end == total;
        WriteContentRequest {
            action: if last { WriteAction::Commit } else { WriteAction::Write }.into(),
            r#ref: reference.to_owned(),
            total: signed(total),
            expected: blob.descriptor.digest.to_string(),
            offset: signed(start),
            data: blob.bytes.slice(start..end),
            labels: if last { labels.clone() } else { HashMap::new() },
        }
    };
    starts.map(message).collect()
}

fn signed(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_message_commits_and_carries_the_labels() {
        let blob = Blob::new("x", vec![7; CHUNK + 1]);
        let labels = HashMap::from([("a".to_owned(), "b".to_owned())]);
        let messages = write_messages("r", &blob, &labels);
        let seen: Vec<_> =
            messages.iter().map(|m| (m.action(), m.offset, m.data.len(), m.labels.len())).collect();
        assert_eq!(seen, [(WriteAction::Write, 0, CHUNK, 0), (WriteAction::Commit, 1 << 20, 1, 1)]);
        assert_eq!(write_messages("r", &Blob::new("x", vec![0; CHUNK]), &labels).len(), 1);
        assert_eq!(write_messages("r", &Blob::new("x", vec![]), &labels)[0].action(), WriteAction::Commit);
    }
}
