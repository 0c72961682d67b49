//! Resolves image references and fetches their blobs from three kinds of source: registries that speak the OCI
//! distribution protocol, OCI layouts in a directory, and archives that `docker save` wrote.
//! Knows no disk and no Kubernetes: what comes out are a [`larder_core::Image`] and readers over its layers' blobs.

mod blob;
mod client;
mod document;
mod mirror;
mod options;
mod reader;
mod resolve;
mod spec;

mod archive;
mod credentials;
mod endpoint;
mod foreign_text;
#[cfg(test)]
mod fuzz;
mod layout;
mod registry;
mod trust;

pub use archive::ArchiveError;
pub use blob::BlobError;
pub use client::{Client, ClientError, Origin, Resolved};
pub use credentials::{
    Candidates, Credential, CredentialError, GoogleError, GoogleTokens, Keyring, KeyringOptions, PluginError,
    PluginPaths, PullSecret, PullSecretForm, Secret, Token, TokenAnswer, TokenError, TokenSource,
};
pub use document::{DocumentError, MAX_CONFIG, MAX_MANIFEST};
pub use layout::LayoutError;
pub use mirror::{Mirror, MirrorError};
pub use options::{ClientOptions, PlainHttp, Timeouts};
pub use registry::{Access, RangePolicy, RegistryError, RetryPolicy};
pub use resolve::ResolveError;
pub use spec::{ImageSpec, SpecError};
pub use trust::TrustError;
