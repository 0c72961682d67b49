//! Decides what a fetched document is: index or manifest, and whether it is the one that was asked for. Pure.

use bytes::Bytes;
use larder_core::{Blob, ByteSize, Descriptor, Digest, ImageError, media_type};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The largest index or manifest that is read, in bytes: what the distribution spec asks registries to accept.
pub const MAX_MANIFEST: u64 = 4 << 20;
/// The largest image configuration that is read, in bytes; history makes real ones tens of KiB.
pub const MAX_CONFIG: u64 = 8 << 20;

/// Docker's first manifest format, bare and signed.
const SCHEMA_ONE: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];
/// What servers say that know nothing of media types.
const GENERIC: [&str; 3] = ["application/json", "application/octet-stream", "text/plain"];

/// Why a document is not the index or manifest that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// More bytes than Larder reads of its kind.
    #[error("the {what} is larger than the limit of {limit}")]
    TooLarge {
        /// `manifest` or `configuration`.
        what: &'static str,
        /// [`MAX_MANIFEST`] or [`MAX_CONFIG`].
        limit: ByteSize,
    },
    /// The bytes are not those of the digest.
    #[error("the content has digest {found}, not {expected}")]
    Digest {
        /// As asked for, or as the registry says.
        expected: Digest,
        /// Of the bytes that came.
        found: Digest,
    },
    /// The bytes are not as many as the descriptor says.
    #[error("the content has {found} bytes, not {expected}")]
    Size {
        /// As the index says.
        expected: u64,
        /// That came.
        found: u64,
    },
    /// The document says it is something else than its index entry or its `Content-Type` does.
    #[error("the content is {found:?}, but was announced as {announced:?}")]
    MediaType {
        /// In `Content-Type` or the index entry.
        announced: String,
        /// In the document.
        found: String,
    },
    /// Neither an index nor a manifest, by its media type.
    #[error("media type {0:?} is neither an image manifest nor an index")]
    Unsupported(String),
    /// Neither an index nor a manifest, by its fields.
    #[error("the content is neither an image manifest nor an index")]
    Shapeless,
    /// Both an index and a manifest: readers would disagree on what it is (CVE-2021-41190).
    #[error("the content has the fields of an image manifest and of an index")]
    Ambiguous,
    /// No JSON object.
    #[error("the content is not a JSON document")]
    Json(#[source] serde_json::Error),
    /// Schema 1.
    #[error(transparent)]
    Image(#[from] ImageError),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u32>,
    media_type: Option<String>,
    manifests: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
}

/// The index or manifest in `bytes`, announced as media type `announced`, with the digest that it must have, if known.
pub(crate) fn read(
    bytes: Bytes,
    announced: Option<&str>,
    expected: Option<Digest>,
) -> Result<Blob, DocumentError> {
    let found = Digest::of(&bytes);
    if let Some(expected) = expected.filter(|expected| *expected != found) {
        return Err(DocumentError::Digest { expected, found });
    }
    let media_type = decide(&bytes, announced, found)?;
    let descriptor = Descriptor { media_type, digest: found, size: bytes.len() as u64 };
    Ok(Blob { descriptor, bytes })
}

/// Checks that `blob` is what the index's `entry` points to; its digest is checked already.
pub(crate) fn check_entry(blob: &Blob, entry: &Descriptor) -> Result<(), DocumentError> {
    let found = &blob.descriptor;
    if found.size != entry.size {
        return Err(DocumentError::Size { expected: entry.size, found: found.size });
    }
    agree(&entry.media_type, &found.media_type)
}

/// The announced type where it says something, else the document's own, else what its fields look like.
fn decide(bytes: &[u8], announced: Option<&str>, digest: Digest) -> Result<String, DocumentError> {
    // Parameters, such as a charset, do not change what it is.
    let announced = announced.and_then(|value| value.split(';').next()).map(str::trim);
    let announced = announced.filter(|value| !value.is_empty() && !GENERIC.contains(value));
    if let Some(announced) = announced {
        supported(announced, digest)?;
    }
    let shape: Shape = serde_json::from_slice(bytes).map_err(DocumentError::Json)?;
    let shaped = shape.kind(digest)?;
    let own = shape.media_type.as_deref();
    if let Some(own) = own {
        supported(own, digest)?;
    }
    if let (Some(announced), Some(own)) = (announced, own) {
        agree(announced, own)?;
    }
    let media_type = announced.or(own).unwrap_or(shaped);
    if media_type::is_index(media_type) != media_type::is_index(shaped) {
        return Err(DocumentError::MediaType { announced: media_type.to_owned(), found: shaped.to_owned() });
    }
    Ok(media_type.to_owned())
}

fn supported(media_type: &str, digest: Digest) -> Result<(), DocumentError> {
    if SCHEMA_ONE.contains(&media_type) {
        return Err(ImageError::SchemaOne(digest).into());
    }
    if media_type::MANIFESTS.contains(&media_type) {
        return Ok(());
    }
    Err(DocumentError::Unsupported(media_type.to_owned()))
}

fn agree(announced: &str, found: &str) -> Result<(), DocumentError> {
    if announced == found {
        return Ok(());
    }
    Err(DocumentError::MediaType { announced: announced.to_owned(), found: found.to_owned() })
}

impl Shape {
    fn kind(&self, digest: Digest) -> Result<&'static str, DocumentError> {
        let manifest = self.config.is_some() || self.layers.is_some();
        match (self.manifests.is_some(), manifest) {
            _ if self.schema_version == Some(1) => Err(ImageError::SchemaOne(digest).into()),
            (true, true) => Err(DocumentError::Ambiguous),
            (true, false) => Ok(media_type::OCI_INDEX),
            (false, true) => Ok(media_type::OCI_MANIFEST),
            (false, false) => Err(DocumentError::Shapeless),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;
    const INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

    fn media_type_of(body: &str, announced: Option<&str>) -> Result<String, String> {
        let read = read(Bytes::from(body.to_owned()), announced, None);
        read.map(|blob| blob.descriptor.media_type).map_err(|error| error.to_string())
    }

    #[test]
    fn the_announced_type_counts_then_the_documents_then_its_shape() {
        let docker = format!(r#"{{"mediaType":"{}",{}"#, media_type::DOCKER_MANIFEST, &MANIFEST[1..]);
        let table = [
            (MANIFEST, Some(media_type::DOCKER_MANIFEST), media_type::DOCKER_MANIFEST),
            (
                MANIFEST,
                Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"),
                media_type::OCI_MANIFEST,
            ),
            (&docker, Some("application/json"), media_type::DOCKER_MANIFEST),
            (&docker, None, media_type::DOCKER_MANIFEST),
            (INDEX, Some("text/plain"), media_type::OCI_INDEX),
            (MANIFEST, None, media_type::OCI_MANIFEST),
        ];
        for (body, announced, expected) in table {
            assert_eq!(media_type_of(body, announced).as_deref(), Ok(expected), "{body} {announced:?}");
        }
    }

    #[test]
    fn what_disagrees_with_itself_or_is_no_image_is_refused() {
        let docker = format!(r#"{{"mediaType":"{}",{}"#, media_type::DOCKER_MANIFEST, &MANIFEST[1..]);
        let table = [
            (docker.as_str(), Some(media_type::OCI_MANIFEST), "but was announced as"),
            (INDEX, Some(media_type::OCI_MANIFEST), "but was announced as"),
            ("<html>", Some("text/html"), "text/html"),
            ("<html>", None, "not a JSON document"),
            ("{}", None, "neither an image manifest nor an index"),
            (r#"{"manifests":[],"layers":[]}"#, None, "of an image manifest and of an index"),
            (r#"{"mediaType":"application/x"}"#, None, "neither"),
            ("{}", Some(SCHEMA_ONE[1]), "schema version 1"),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, None, "schema version 1"),
        ];
        for (body, announced, message) in table {
            let error = media_type_of(body, announced).unwrap_err();
            assert!(error.contains(message), "{body}: {error}");
        }
    }

    #[test]
    fn a_document_is_held_against_its_digest_and_its_index_entry() {
        let bytes = Bytes::from(MANIFEST);
        let other = Digest::of(b"other");
        assert!(matches!(read(bytes.clone(), None, Some(other)), Err(DocumentError::Digest { .. })));
        let blob = read(bytes.clone(), None, Some(Digest::of(&bytes))).unwrap();
        assert!(check_entry(&blob, &blob.descriptor).is_ok());
        let longer = Descriptor { size: 1, ..blob.descriptor.clone() };
        assert!(matches!(check_entry(&blob, &longer), Err(DocumentError::Size { expected: 1, .. })));
        let docker =
            Descriptor { media_type: media_type::DOCKER_MANIFEST.to_owned(), ..blob.descriptor.clone() };
        assert!(matches!(check_entry(&blob, &docker), Err(DocumentError::MediaType { .. })));
    }
}
