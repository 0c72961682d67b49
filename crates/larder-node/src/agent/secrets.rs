//! Pull secrets that the set names, read with the agent's own rights; their credentials come before those of the node.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use larder_api::SecretRef;
use larder_core::ImageRef;

use crate::causes::with_causes;
use crate::cri::Auth;
use crate::fetch::{Offer, Registries};
use crate::pull_secret::{SecretReader, StoredSecret};

/// For one secret: an API server that is being replaced is asked again with the next attempt.
const READ: Duration = Duration::from_secs(10);

/// What the agent asks about registries, besides: what is in a pull secret.
pub trait SecretCredentials: Registries {
    /// The credentials for `image` in the secret called `name`; the error says what is wrong with it.
    fn in_secret(
        &self,
        image: &ImageRef,
        name: &str,
        secret: StoredSecret,
    ) -> impl Future<Output = Result<Vec<Auth>, String>>;
}

/// The registries as the set's images see them.
pub(super) struct SetRegistries<'a, R> {
    registries: &'a R,
    reader: SecretReader,
    /// Which secrets are for which image.
    wanted: RefCell<BTreeMap<ImageRef, Vec<SecretRef>>>,
    /// Of which image a secret could not be read, and why.
    unreadable: RefCell<BTreeMap<ImageRef, String>>,
}

impl<'a, R: SecretCredentials> SetRegistries<'a, R> {
    pub(super) fn new(registries: &'a R, reader: SecretReader) -> Self {
        Self { registries, reader, wanted: RefCell::default(), unreadable: RefCell::default() }
    }

    /// The next pull of `image` is tried with these secrets.
    pub(super) fn use_for(&self, image: &ImageRef, secrets: &[SecretRef]) {
        self.wanted.borrow_mut().insert(image.clone(), secrets.to_vec());
    }

    /// Why a secret of `image` could not be used, if that is so.
    pub(super) fn unreadable(&self, image: &ImageRef) -> Option<String> {
        self.unreadable.borrow().get(image).cloned()
    }

    /// Nothing of `image` is of interest any more.
    pub(super) fn forget(&self, image: &ImageRef) {
        self.wanted.borrow_mut().remove(image);
        self.unreadable.borrow_mut().remove(image);
    }

    async fn read(&self, image: &ImageRef, secret: &SecretRef) -> Result<Vec<Auth>, String> {
        let name = format!("{}/{}", secret.namespace, secret.name);
        let stored = self.reader.read(&secret.namespace, &secret.name, READ).await;
        let stored = stored.map_err(|error| format!("secret {name}: {}", with_causes(&error)))?;
        self.registries.in_secret(image, &name, stored).await
    }
}

impl<R: SecretCredentials> Registries for SetRegistries<'_, R> {
    async fn credentials(&self, image: &ImageRef) -> Offer {
        let secrets = self.wanted.borrow().get(image).cloned().unwrap_or_default();
        let mut credentials = Vec::new();
        self.unreadable.borrow_mut().remove(image);
        for secret in &secrets {
            match self.read(image, secret).await {
                Ok(found) => credentials.extend(found.into_iter().map(Some)),
                Err(error) => {
                    tracing::warn!(%image, error, "a pull secret cannot be used");
                    self.unreadable.borrow_mut().insert(image.clone(), error);
                }
            }
        }
        let offer = self.registries.credentials(image).await;
        credentials.extend(offer.credentials);
        Offer { credentials, more_to_come: offer.more_to_come }
    }

    async fn size(&self, image: &ImageRef) -> Option<u64> {
        self.registries.size(image).await
    }
}
