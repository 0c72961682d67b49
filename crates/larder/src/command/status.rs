//! `larder status`: of a cluster's ImageCaches, or of this node.

mod caches;
mod node;

use super::UsageError;
use crate::cli::{ContainerdArgs, KUBELETS_NAMESPACE, StatusArgs};
use crate::exit::Exit;

pub(super) fn run(args: StatusArgs) -> anyhow::Result<Exit> {
    if args.node {
        let namespace = args.namespace.unwrap_or_else(|| KUBELETS_NAMESPACE.to_owned());
        return node::run(args.output, ContainerdArgs { place: args.place, namespace });
    }
    if args.place.containerd.is_some() || args.place.root.is_some() {
        return Err(UsageError("--containerd and --root are for --node".to_owned()).into());
    }
    caches::run(args)
}
