//! Lets images through to the disk: the room that pulls under way will still take is set aside.

use std::cell::Cell;
use std::path::PathBuf;

use tokio::sync::Notify;

use super::space::{Admission, MinFree, NoRoom, PLENTY, admit, measure};

/// The image file system, and what is set aside on it.
#[derive(Debug)]
pub(super) struct Gate {
    /// None where there is no floor to keep.
    watched: Option<(PathBuf, MinFree)>,
    reserved: Cell<u64>,
    running: Cell<usize>,
    freed: Notify,
}

/// Room that is set aside for one image until it is dropped.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    gate: &'a Gate,
    bytes: u64,
}

impl Gate {
    pub(super) fn new(watched: Option<(PathBuf, MinFree)>) -> Self {
        Self { watched, reserved: Cell::new(0), running: Cell::new(0), freed: Notify::new() }
    }

    /// Free bytes less the floor; none where nothing limits it.
    fn room(&self) -> Option<u64> {
        let (directory, floor) = self.watched.as_ref()?;
        match measure(directory) {
            Ok(space) => Some(floor.room(space)),
            Err(error) => {
                tracing::warn!(directory = %directory.display(), %error, "the image file system is not seen any more");
                None
            }
        }
    }

    /// Whether it matters how large an image is: not where there is plenty of room, or none.
    pub(super) fn is_tight(&self) -> bool {
        self.room().is_some_and(|room| (1..PLENTY).contains(&room))
    }

    /// Waits until an image of `registry_size` may be pulled.
    pub(super) async fn enter(&self, registry_size: Option<u64>) -> Result<Reservation<'_>, NoRoom> {
        loop {
            let room = self.room().unwrap_or(u64::MAX);
            match admit(room, self.reserved.get(), self.running.get(), registry_size) {
                Admission::Pull(bytes) => {
                    self.reserved.set(self.reserved.get().saturating_add(bytes));
                    self.running.set(self.running.get() + 1);
                    return Ok(Reservation { gate: self, bytes });
                }
                Admission::Wait => self.freed.notified().await,
                Admission::Refuse(no_room) => return Err(no_room),
            }
        }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let Self { gate, bytes } = self;
        gate.reserved.set(gate.reserved.get().saturating_sub(*bytes));
        gate.running.set(gate.running.get() - 1);
        gate.freed.notify_waiters();
    }
}
