//! `larder deploy`: what was typed becomes a request, and what that makes is printed.

#[cfg(test)]
mod checks;
#[cfg(test)]
mod facts;
#[cfg(test)]
mod install;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod variants;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::UsageError;
use crate::cli::{
    DeployArgs, DeployAttachArgs, DeployPrefetcherArgs, DeploySystemdArgs, InstanceArgs, Provider,
};
use crate::deploy::{
    Attach, Credentials, ImageList, Instance, MaxUnavailable, Metrics, Object, Placement, Prefetcher,
    Systemd, TAG, Version, selector, yaml,
};
use crate::exit::Exit;
use crate::printer;

/// What kubectl can keep of an object in an annotation (256 KiB for all of them), escaped as JSON, with room for the rest.
const MAX_CLIENT_SIDE: usize = 200 << 10;

pub(super) fn run(args: DeployArgs) -> anyhow::Result<Exit> {
    match args {
        DeployArgs::Prefetcher(args) => prefetcher(*args),
        DeployArgs::Attach(args) => attach(*args),
        DeployArgs::Systemd(args) => systemd(args),
    }
}

fn prefetcher(args: DeployPrefetcherArgs) -> anyhow::Result<Exit> {
    let request = prefetcher_request(args)?;
    if request.instance.namespace.is_none() {
        printer::talk("without --namespace nodes are not labelled: the right to do so needs one");
    }
    if request.list.as_ref().is_some_and(|list| list.text().len() > MAX_CLIENT_SIDE) {
        printer::talk(
            "the image list is too long for plain `kubectl apply`: use `kubectl apply --server-side`",
        );
    }
    print(&request.objects())
}

fn prefetcher_request(args: DeployPrefetcherArgs) -> anyhow::Result<Prefetcher> {
    let DeployPrefetcherArgs {
        mut instance, version_argument, flavor_argument, secret, collect_metrics, ..
    } = args;
    instance.version = instance.version.or(version_argument);
    instance.k8s_flavor = instance.k8s_flavor.or(flavor_argument);
    if collect_metrics && !instance.name.suits_service() {
        let name = instance.name.to_string();
        return Err(usage(format_args!("{name:?} begins with a digit, and no service may")));
    }
    let list = args.image_list.as_deref().map(read_list).transpose()?;
    let InstanceRequest { instance, image, flavor, placement } =
        InstanceRequest::new(instance, args.max_unavailable)?;
    let credentials = match args.use_kubelet_image_credential_integration {
        Provider::Nobody => Credentials::None,
        Provider::Gke => Credentials::Gke,
    };
    let metrics = if collect_metrics { Metrics::Collected(args.metrics_service_type) } else { Metrics::Off };
    Ok(Prefetcher { instance, image, flavor, secret, credentials, metrics, list, placement })
}

fn attach(args: DeployAttachArgs) -> anyhow::Result<Exit> {
    print(&attach_request(args)?.objects())
}

fn attach_request(args: DeployAttachArgs) -> anyhow::Result<Attach> {
    let DeployAttachArgs { instance, claim, max_unavailable } = args;
    let claim = claim.map_or_else(|| instance.name.to_string().parse(), Ok)?;
    let InstanceRequest { instance, image, flavor, placement } =
        InstanceRequest::new(instance, max_unavailable)?;
    Ok(Attach { instance, image, flavor, claim, placement })
}

fn systemd(args: DeploySystemdArgs) -> anyhow::Result<Exit> {
    let DeploySystemdArgs { output, program, containerd_unit, kubelet_unit } = args;
    let systemd = Systemd::new(program, containerd_unit, kubelet_unit).map_err(usage)?;
    for unit in systemd.units() {
        match &output {
            Some(directory) => {
                let path = write(directory, unit.name, &unit.text)?;
                printer::data(path.display());
            }
            None => printer::data(format_args!("# {}\n{}", unit.name, unit.text)),
        }
    }
    Ok(Exit::Done)
}

/// What every kind of manifest is made for.
struct InstanceRequest {
    instance: Instance,
    image: larder_core::ImageRef,
    flavor: crate::deploy::Flavor,
    placement: Placement,
}

impl InstanceRequest {
    fn new(args: InstanceArgs, max_unavailable: MaxUnavailable) -> anyhow::Result<Self> {
        let InstanceArgs { name, version, image, k8s_flavor, namespace, node_selector, priority_class } =
            args;
        let version = version.unwrap_or_else(|| Version::Tag(TAG.to_owned()));
        let node_selector = selector(node_selector.into_iter().flatten().collect()).map_err(usage)?;
        Ok(Self {
            instance: Instance { name, namespace },
            image: version.of(&image).map_err(usage)?,
            flavor: k8s_flavor.unwrap_or_default(),
            placement: Placement { node_selector, priority_class, max_unavailable },
        })
    }
}

fn usage(error: impl std::fmt::Display) -> anyhow::Error {
    UsageError(error.to_string()).into()
}

fn read_list(path: &Path) -> anyhow::Result<ImageList> {
    let what = || format!("image list {}", path.display());
    let bytes = fs::read(path).with_context(what)?;
    ImageList::parse(&bytes).with_context(what)
}

fn print(objects: &[Object]) -> anyhow::Result<Exit> {
    let text = yaml(objects).context("write the manifest")?;
    printer::data(text.trim_end());
    Ok(Exit::Done)
}

/// Under a temporary name first: systemd must not read half a unit.
fn write(directory: &Path, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let (path, half) = (directory.join(name), directory.join(format!(".{name}.new")));
    let written = fs::write(&half, text).and_then(|()| fs::rename(&half, &path));
    written.with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
