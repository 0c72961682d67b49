//! What `larder deploy` prints: a checked request becomes typed Kubernetes objects, or systemd units. Pure: nothing here
//! reads a file, talks to a cluster or prints.

mod access;
mod attach;
mod container;
mod image;
mod list;
mod metadata;
mod name;
mod object;
mod placement;
mod prefetcher;
mod systemd;

pub(crate) use attach::Attach;
pub(crate) use image::{REPOSITORY, TAG, Version};
pub(crate) use list::ImageList;
pub(crate) use metadata::Instance;
pub(crate) use name::{InstanceName, Label, NameError, ObjectName};
pub(crate) use object::{Object, yaml};
pub(crate) use placement::{MaxUnavailable, Placement, SelectorError, label, selector};
pub(crate) use prefetcher::{Credentials, Metrics, Prefetcher, ServiceType};
pub(crate) use systemd::{ProgramPath, ServiceName, Systemd};

/// The kind of cluster that a manifest is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Flavor {
    /// Any Kubernetes with containerd that restricts nothing further
    #[default]
    Vanilla,
    /// OpenShift: CRI-O, and security context constraints
    Ocp,
}
