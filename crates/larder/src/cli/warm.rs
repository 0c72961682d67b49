//! `larder warm`, and `larder release-caches`.

use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use larder_core::{ImageRef, ReferenceError};

use super::{ClusterArgs, Labels, labels};
use crate::deploy::{MaxUnavailable, ObjectName};
use larder_core::parse_go_duration as duration;

/// Keeps images in stock on a cluster's nodes: makes an ImageCache, or extends one by what it lacks.
///
/// The cache stays, and new nodes get its images, too, until `--rm` drops it. With `--wait` the exit status is 0 only when every Ready
/// node that the cache selects has all of its images; it is 1 when that failed, or took too long, and 3 if there is no API server.
#[derive(Args, Debug)]
#[command(after_help = "\
    Roll out only what is warm:\n\
    larder warm registry.example/shop:v2 --node-selector pool=web --wait && kubectl set image deployment/shop shop=registry.example/shop:v2")]
pub(crate) struct WarmArgs {
    /// An image
    #[arg(value_name = "IMAGE", required_unless_present = "rm")]
    pub(crate) images: Vec<TypedImage>,
    /// Only nodes with this label; repeatable
    #[arg(short = 'l', long, value_name = "KEY=VALUE", value_parser = labels)]
    pub(crate) node_selector: Vec<Labels>,
    /// The ImageCache's name
    #[arg(long, value_name = "NAME", default_value = "warm")]
    pub(crate) name: ObjectName,
    /// A secret of the cache's namespace with registry credentials; repeatable
    #[arg(long, value_name = "SECRET")]
    pub(crate) pull_secret: Vec<ObjectName>,
    /// Who pulls [default for a new cache: agent]
    #[arg(long, value_name = "WHO")]
    pub(crate) pull_by: Option<Puller>,
    /// Nodes that pull at the same time, as a number or a percentage of the cache's nodes
    #[arg(long, value_name = "N|PERCENT%")]
    pub(crate) max_parallel_nodes: Option<MaxUnavailable>,
    /// Wait until every Ready node has the images; with --rm, until the cache is gone
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait; 0s for as long as it takes
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30m")]
    pub(crate) timeout: Duration,
    /// Drop the cache: its images leave the nodes, but for those in use
    #[arg(long, conflicts_with_all = ["images", "node_selector", "pull_secret", "pull_by", "max_parallel_nodes"])]
    pub(crate) rm: bool,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Who pulls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Puller {
    /// The agent on each node
    Agent,
    /// The kubelet, for a Job on each node
    Job,
}

/// An image as it was typed, which is how the cache names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TypedImage {
    pub(crate) text: String,
    pub(crate) image: ImageRef,
}

impl FromStr for TypedImage {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Ok(Self { text: text.to_owned(), image: text.parse()? })
    }
}

/// Takes the controller's finalizer off every ImageCache, so that no namespace waits for a controller that is gone.
///
/// For the end of an installation. A controller that runs would put it back: name it, and it is stopped first. Images and
/// ImageCaches stay.
#[derive(Args, Debug)]
pub(crate) struct ReleaseCachesArgs {
    /// The controller's Deployment in the namespace, to be scaled to 0
    #[arg(long, value_name = "NAME")]
    pub(crate) controller: Option<ObjectName>,
    /// How long it may take
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "3m")]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}
