//! `larder hydrate`, and what attach takes for it.

use std::path::PathBuf;

use clap::Args;
use larder_core::ByteSize;

/// Reads a cache disk through once, at idle priority, so that a network disk that fetches its blocks when they are first read has
/// them before containers want them.
///
/// Only what is in use on the disk is read, past the page cache. `larder attach --hydrate` starts this in the background, and
/// `larder status --node` shows how far it is. A disk that was read since the node started is not read again. The exit status is
/// 1 if the disk goes away meanwhile.
#[derive(Args, Debug)]
pub(crate) struct HydrateArgs {
    /// The cache disk: a block device, the directory where it is mounted, or the id of an attached one
    #[arg(value_name = "DIR|DEVICE|ID")]
    pub(crate) disk: String,
    /// Read at most so many bytes a second, such as 100M: for disks whose I/O scheduler knows no idle class
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    pub(crate) rate: Option<ByteSize>,
    /// Where disks are mounted, below it in disks/<id>
    #[arg(long, value_name = "DIR", default_value = "/var/lib/larder")]
    pub(crate) state_dir: PathBuf,
    /// Show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Whether attach goes on to read the disk.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct AttachHydrateArgs {
    /// Read the disk through in the background, at idle priority: for network disks that fetch blocks when they are first read
    #[arg(long)]
    pub(crate) hydrate: bool,
    /// Read at most so many bytes a second
    #[arg(long, value_name = "SIZE", value_parser = rate, requires = "hydrate")]
    pub(crate) hydrate_rate: Option<ByteSize>,
}

/// A rate of nothing would never end.
fn rate(text: &str) -> Result<ByteSize, String> {
    match text.parse::<ByteSize>() {
        Ok(ByteSize(0)) => Err("expected more than nothing".to_owned()),
        Ok(rate) => Ok(rate),
        Err(error) => Err(error.to_string()),
    }
}
