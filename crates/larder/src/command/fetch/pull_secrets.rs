//! Pull secrets of the Kubernetes API, read while images are pulled already: none waits long for a secret that it may not need.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use larder_node::{SecretReader, StoredSecret};
use larder_registry::{Keyring, KeyringOptions, PullSecret};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::cli::SecretName;
use crate::printer;

/// For each secret: an API server that is being replaced is back by then.
const READ: Duration = Duration::from_mins(1);
/// What secrets have before images are pulled without them; an API server answers within milliseconds.
const HEAD_START: Duration = Duration::from_secs(3);

/// The secrets of one run, on their way or here.
pub(super) struct PullSecrets {
    found: watch::Receiver<Found>,
    waited_for_until: Instant,
    /// Reading ends with this.
    _reading: JoinSet<()>,
}

/// What was read by now.
#[derive(Clone, Default)]
pub(super) struct Found {
    /// A secret's each.
    pub(super) keyrings: Vec<Arc<Keyring>>,
    /// Whether some are on their way.
    pub(super) more_to_come: bool,
}

impl Default for PullSecrets {
    fn default() -> Self {
        let (_, found) = watch::channel(Found::default());
        Self { found, waited_for_until: Instant::now(), _reading: JoinSet::new() }
    }
}

impl PullSecrets {
    /// Begins to read. Where there is no Kubernetes API to ask at all, that is an error at once.
    pub(super) async fn read(names: Vec<SecretName>) -> anyhow::Result<Self> {
        if names.is_empty() {
            return Ok(Self::default());
        }
        let reader = SecretReader::from_environment().await.context("--pull-secret")?;
        let reader =
            reader.context("--pull-secret: this is no pod of a cluster, and KUBECONFIG is not set")?;
        let (sender, found) = watch::channel(Found { more_to_come: true, ..Found::default() });
        let mut reading = JoinSet::new();
        reading.spawn(read_all(reader, names, sender));
        Ok(Self { found, waited_for_until: Instant::now() + HEAD_START, _reading: reading })
    }

    /// What there is: everything, or after the head start what came until then.
    pub(super) async fn found(&self) -> Found {
        let mut found = self.found.clone();
        // Too late, or nobody reads any more: what there is counts.
        let _ = timeout_at(self.waited_for_until, found.wait_for(|found| !found.more_to_come)).await;
        let found = found.borrow();
        found.clone()
    }
}

/// In the order of `names`, so that this is the order in which they are tried.
async fn read_all(reader: SecretReader, names: Vec<SecretName>, sender: watch::Sender<Found>) {
    let mut reading = JoinSet::new();
    for (place, name) in names.into_iter().enumerate() {
        let reader = reader.clone();
        reading.spawn(async move { (place, read_one(&reader, &name).await) });
    }
    let mut read = std::collections::BTreeMap::new();
    while let Some(Ok((place, keyring))) = reading.join_next().await {
        read.extend(keyring.map(|keyring| (place, keyring)));
        let keyrings = read.values().cloned().collect();
        sender.send_replace(Found { keyrings, more_to_come: !reading.is_empty() });
    }
}

/// One that cannot be had is named, and the others are none the worse.
async fn read_one(reader: &SecretReader, name: &SecretName) -> Option<Arc<Keyring>> {
    let namespace =
        name.namespace.as_ref().map_or_else(|| reader.namespace().to_owned(), ToString::to_string);
    let full_name = format!("{namespace}/{}", name.name);
    let subject = format!("pull secret {full_name}");
    let stored = reader.read(&namespace, &name.name.to_string(), READ).await;
    let StoredSecret { kind, data } = stored.inspect_err(|error| printer::failure(&subject, error)).ok()?;
    let keyring = PullSecret::of_secret(full_name, &kind, data).and_then(|secret| {
        Keyring::load(&KeyringOptions { secrets: vec![secret], ..KeyringOptions::default() })
    });
    // These name the secret themselves.
    keyring.map(Arc::new).inspect_err(|error| printer::failure("credentials", error)).ok()
}
