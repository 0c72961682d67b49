//! Which of several replicas writes: the holder of one Lease.

use std::time::Duration;

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use larder_api::names;
use tokio::sync::watch::Receiver;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// A replica that dies is replaced after this time, in seconds.
const LEASE: u64 = 10;
/// The lease is renewed so long before it ends, in seconds.
const GRACE: u64 = 4;
/// For the first look at the lease.
const JOIN: Duration = Duration::from_secs(10);
/// Between two tries at it.
const WAIT: Duration = Duration::from_secs(2);
/// For giving the lease back; a process has 10 s to end.
const LEAVE: Duration = Duration::from_secs(5);

/// A replica among others.
pub(super) struct Lead {
    leads: Option<Receiver<bool>>,
    task: JoinHandle<Result<LeaseManager, LeaseManagerError>>,
}

impl Lead {
    /// Takes part; waits for an API server that is not there.
    pub(super) async fn join(client: &Client, namespace: &str, identity: &str) -> Self {
        loop {
            let lease = LeaseManagerBuilder::new(client.clone(), names::CONTROLLER)
                .with_namespace(namespace)
                .with_identity(identity)
                .with_field_manager(names::CONTROLLER)
                .with_duration(LEASE)
                .with_grace(GRACE)
                .build();
            match timeout(JOIN, lease).await {
                Ok(Ok(lease)) => {
                    let (leads, task) = lease.watch().await;
                    return Self { leads: Some(leads), task };
                }
                Ok(Err(error)) => {
                    tracing::warn!(namespace, %error, "the lease cannot be had, and is tried again");
                }
                Err(_) => tracing::warn!(namespace, "the API server does not answer for the lease"),
            }
            sleep(WAIT).await;
        }
    }

    /// Whether this replica leads, when that changes.
    pub(super) async fn changed(&mut self) -> bool {
        let Some(leads) = &mut self.leads else { return std::future::pending().await };
        if leads.changed().await.is_ok() {
            return *leads.borrow_and_update();
        }
        // Nobody renews the lease any more.
        self.leads = None;
        false
    }

    /// Gives the lease back, if it is ours.
    pub(super) async fn leave(self) {
        drop(self.leads);
        match timeout(LEAVE, self.task).await {
            Ok(Ok(Ok(_))) => tracing::info!("the lease is given back"),
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the lease could not be given back"),
            Ok(Err(error)) => tracing::warn!(%error, "the lease's task has ended"),
            Err(_) => tracing::warn!("the API server does not take the lease back"),
        }
    }
}
