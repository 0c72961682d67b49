//! What pulls share: the runtime, the registries, the room on the disk, and who is told. Which images are pulled is decided
//! elsewhere: by `run` for a list, by the agent for what changes.

use std::path::PathBuf;

use tokio::time::{Instant, timeout_at};

use super::gate::Gate;
use super::report::{Event, Reporter};
use super::schedule::Limits;
use super::space::{MinFree, Space, measure};
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

    /// From now on pulls leave room on the disk.
    pub(crate) async fn keep(&mut self, floor: Floor, deadline: Instant) -> Result<(), FetchError> {
        self.gate = Gate::new(self.place_for(floor, deadline).await?.map(|place| (place, floor.min_free)));
        Ok(())
    }

    /// The image file system, where its floor is kept and it can be seen.
    pub(crate) fn space(&self) -> Option<Space> {
        self.gate.space()
    }

    /// Tells how far pulls are, until it is dropped.
    pub(crate) async fn watching(&self) {
        self.watch.run(self.reporter).await;
    }

    /// The directory to watch, where there is a floor to keep and it can be seen.
    async fn place_for(&self, floor: Floor, deadline: Instant) -> Result<Option<PathBuf>, FetchError> {
        if floor.min_free.is_nothing() {
            return Ok(None);
        }
        let place = match timeout_at(deadline, self.cri.image_places()).await {
            Ok(Ok(places)) => {
                places.into_iter().next().ok_or("the runtime names no image file system".to_owned())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the runtime does not tell its image file system in time".to_owned()),
        };
        let seen = place.and_then(|place| match measure(place.as_ref()) {
            Ok(_) => Ok(PathBuf::from(place)),
            Err(error) => Err(format!("{place}: {error}")),
        });
        match seen {
            Ok(place) => Ok(Some(place)),
            Err(reason) if floor.insist => Err(FetchError::Floor(reason)),
            Err(reason) => {
                self.reporter.event(Event::NoFloor(&reason));
                Ok(None)
            }
        }
    }
}
