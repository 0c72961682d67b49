//! What pulls share: the runtime, the registries, the room on the disk, and who is told. Which images are pulled is decided
//! elsewhere: by `run` for a list, by the agent for what changes.

use std::path::PathBuf;

use tokio::time::{Instant, timeout_at};

use super::gate::Gate;
use super::report::{Event, Reporter};
use super::schedule::Limits;
use super::space::{MinFree, measure};
use super::watch::Watch;
use super::{FetchError, Registries};
use crate::containerd::Containerd;
use crate::cri::{Cri, Family};

/// What every step needs.
pub(crate) struct Engine<'a, R> {
    pub(super) cri: Cri,
    pub(super) family: Family,
    pub(super) limits: Limits,
    pub(super) registries: &'a R,
    pub(super) reporter: &'a dyn Reporter,
    pub(super) gate: Gate,
    pub(super) watch: Watch,
}

/// What has to stay free on the image file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Floor {
    pub(crate) min_free: MinFree,
    /// Whether it is an error that the file system cannot be seen.
    pub(crate) insist: bool,
}

impl<'a, R: Registries> Engine<'a, R> {
    pub(crate) fn new(
        cri: Cri,
        family: Family,
        containerd: Option<Containerd>,
        limits: Limits,
        registries: &'a R,
        reporter: &'a dyn Reporter,
    ) -> Self {
        let (gate, watch) = (Gate::new(None), Watch::new(containerd));
        Self { cri, family, limits, registries, reporter, gate, watch }
    }

    /// From now on pulls leave room on the disk, where it can be seen.
    pub(crate) async fn keep(&mut self, floor: Floor, deadline: Instant) -> Result<(), FetchError> {
        let Floor { min_free, insist } = floor;
        if min_free.is_nothing() {
            return Ok(());
        }
        match self.place(deadline).await {
            Ok(place) => self.gate = Gate::new(Some((place, min_free))),
            Err(reason) if insist => return Err(FetchError::Floor(reason)),
            Err(reason) => self.reporter.event(Event::NoFloor(&reason)),
        }
        Ok(())
    }

    /// Tells how far pulls are, until it is dropped.
    pub(crate) async fn watching(&self) {
        self.watch.run(self.reporter).await;
    }

    /// The runtime's image file system; the error says why it cannot be seen.
    pub(crate) async fn place(&self, deadline: Instant) -> Result<PathBuf, String> {
        let places = match timeout_at(deadline, self.cri.image_places()).await {
            Ok(Ok(places)) => places,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("the runtime does not tell its image file system in time".to_owned()),
        };
        let place = places.into_iter().next().ok_or("the runtime names no image file system")?;
        measure(place.as_ref()).map_err(|error| format!("{place}: {error}"))?;
        Ok(PathBuf::from(place))
    }
}
