//! Pulls a list of images through CRI: nothing but a runtime's socket is needed. Decisions are in modules without I/O;
//! `run`, `pulls` and `pull` carry them out, and the agent uses the latter two as well.

mod candidates;
mod engine;
mod gate;
mod list;
mod presence;
mod progress;
mod pull;
mod pulls;
mod report;
mod run;
mod schedule;
mod space;
mod verdict;
mod watch;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use larder_core::ImageRef;
use tokio::time::{Instant, timeout};

use crate::containerd::{Containerd, KUBERNETES_NAMESPACE};
use crate::cri::{Auth, Cri, RuntimeError, open};
pub(crate) use engine::{Engine, Floor};
pub use list::{BadLine, ImageList, Wanted};
pub(crate) use presence::{exact_name, is_moving};
pub(crate) use pull::Job;
pub(crate) use pulls::{Outcome, Pulls};
pub use report::{Event, FetchReport, Missing, Present, Reporter};
use run::Run;
pub use schedule::Limits;
pub(crate) use schedule::start_after;
pub use space::{MinFree, MinFreeError, NoRoom};
pub(crate) use space::{Space, measure};

/// A runtime that is starting is waited for so long.
const FIND: Duration = Duration::from_secs(5);

/// How images are fetched.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// CRI's socket.
    pub socket: PathBuf,
    /// For each attempt and pause.
    pub limits: Limits,
    /// For everything, but for the time that `start_spread` waits.
    pub overall: Duration,
    /// Images that are pulled at the same time.
    pub max_parallel: NonZeroUsize,
    /// A fleet's nodes begin to pull within it.
    pub start_spread: Duration,
    /// This node's name, which tells its moment within `start_spread`.
    pub node: String,
    /// The disk floor.
    pub min_free: MinFree,
    /// Whether to refuse to work where the floor cannot be watched.
    pub insist_on_floor: bool,
    /// Pull what is there, too.
    pub always: bool,
    /// What counting the runtime's images before and after may take, for the log; none does not count.
    pub count_within: Option<Duration>,
}

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A disk floor was asked for, and it cannot be kept.
    #[error("the disk floor cannot be kept: {0}")]
    Floor(String),
}

/// Credentials for an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// To be tried, the likeliest first; none of it is anonymous. Nothing at all is anonymous, too.
    pub credentials: Vec<Option<Auth>>,
    /// Whether to ask again: some that may be needed are still on their way.
    pub more_to_come: bool,
}

/// What the engine asks about registries.
pub trait Registries {
    /// The credentials that there are for an image by now.
    fn credentials(&self, image: &ImageRef) -> impl Future<Output = Offer>;

    /// The bytes of an image's layers as its registry has them, where that can be told.
    fn size(&self, image: &ImageRef) -> impl Future<Output = Option<u64>>;
}

/// Makes the runtime have every image of `list`. What went wrong with single images is in the report.
pub async fn fetch(
    list: ImageList,
    options: &FetchOptions,
    registries: &impl Registries,
    reporter: &dyn Reporter,
) -> Result<FetchReport, FetchError> {
    let deadline = Instant::now() + options.overall;
    let (cri, runtime) = open(&options.socket, FIND).await?;
    reporter.event(Event::Runtime { name: &runtime.name, version: &runtime.version });
    let containerd = if runtime.is_containerd() { connect(&options.socket).await } else { None };
    let engine = Engine::new(cri.clone(), runtime.family(), containerd, options.limits, registries, reporter);
    count(&cri, options.count_within).await;
    let report = Run { engine, options, deadline }.fetch(list).await;
    count(&cri, options.count_within).await;
    report
}

/// For what CRI does not tell or do, such as the progress of pulls: without it they are as good.
pub(crate) async fn connect(socket: &Path) -> Option<Containerd> {
    match Containerd::connect(socket, KUBERNETES_NAMESPACE).await {
        Ok(containerd) => Some(containerd),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::debug!(error, "containerd does not answer beside CRI");
            None
        }
    }
}

/// For the log only: whatever comes of it changes no result.
async fn count(cri: &Cri, within: Option<Duration>) {
    let Some(within) = within else { return };
    match timeout(within, cri.list_images()).await {
        Ok(Ok(images)) => tracing::debug!(images = images.len(), "the runtime has images"),
        Ok(Err(error)) => tracing::warn!(%error, "the runtime does not list its images"),
        Err(_) => tracing::warn!(?within, "the runtime does not list its images in time"),
    }
}
