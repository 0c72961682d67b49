//! `larder controller`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use larder_api::PullPolicy;
use larder_controller::{Controller, Options, Rules};

use super::UsageError;
use super::metrics::{end, runtime};
use crate::cli::{ControllerArgs, Policy, Release, ReleaseFlags};
use crate::exit::Exit;
use crate::printer;

/// Where a pod is told its namespace.
const NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// The lease's, outside of a cluster.
const SYSTEM: &str = "kube-system";

pub(super) fn run(args: ControllerArgs) -> anyhow::Result<Exit> {
    check(&args.releases)?;
    let kubeconfig = args.kubeconfig.clone();
    let options = options(args)?;
    runtime()?.block_on(async {
        let end = end()?;
        let client = client(kubeconfig.as_deref()).await?;
        let controller = Controller::bind(options).await?;
        printer::talk(format_args!("metrics and health are told at {}", controller.metrics_address()?));
        controller.run(client, end).await?;
        Ok(Exit::Done)
    })
}

fn check(releases: &ReleaseFlags) -> anyhow::Result<()> {
    for release in releases.given() {
        match release {
            Release::Ignored(flag, why) => tracing::warn!("--{flag} has no use: {why}"),
            Release::Refused(flag, instead) => {
                return Err(UsageError(format!("--{flag} is not taken: {instead}")).into());
            }
        }
    }
    Ok(())
}

fn options(args: ControllerArgs) -> anyhow::Result<Options> {
    let ControllerArgs {
        image_cache_refresh_frequency: refresh,
        image_pull_deadline_duration: deadline,
        image_pull_policy,
        namespaces,
        allowed_registries,
        purge_deadline,
        metrics_address,
        lease_namespace,
        kubeconfig: _,
        releases: _,
    } = args;
    if deadline < Duration::from_secs(1) {
        return Err(UsageError("--image-pull-deadline-duration must be 1s or more".to_owned()).into());
    }
    let pull_policy = match image_pull_policy {
        Policy::IfNotPresent => PullPolicy::IfNotPresent,
        Policy::Always => PullPolicy::Always,
    };
    let rules = Rules {
        refresh: (!refresh.is_zero()).then_some(refresh),
        deadline,
        pull_policy,
        purge_deadline,
        allowed: allowed_registries,
        namespaces: namespaces.into_iter().collect(),
        jobs: false,
    };
    let lease_namespace = lease_namespace.unwrap_or_else(own_namespace);
    Ok(Options { rules, metrics_address, lease_namespace, identity: identity() })
}

fn own_namespace() -> String {
    fs::read_to_string(NAMESPACE).map_or_else(|_| SYSTEM.to_owned(), |text| text.trim().to_owned())
}

/// A pod's name is its own, and a container that begins again in it goes on with its lease; elsewhere processes share a host's name.
fn identity() -> String {
    std::env::var("POD_NAME").unwrap_or_else(|_| {
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "larder-controller".to_owned());
        format!("{host}-{}", std::process::id())
    })
}

async fn client(kubeconfig: Option<&Path>) -> anyhow::Result<Client> {
    let config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
        }
        None => Config::infer()
            .await
            .context("cannot find the API server: run it in a cluster, or set KUBECONFIG")?,
    };
    Client::try_from(config).context("cannot set up the client of the Kubernetes API")
}
