//! The disk floor: how much room images may take without the kubelet reclaiming space. Decisions; `measure` alone looks.

use std::path::Path;
use std::str::FromStr;

use larder_core::{ByteSize, ByteSizeError};

/// The kubelet collects images, and evicts pods, once less than this part of the image file system is free.
const KUBELET_THRESHOLD: u8 = 15;
/// A pull keeps the layers as they come and unpacks them, mostly to more: less than twice the registry's size never does.
const ROOM_PER_BYTE: u64 = 2;
/// With more room than this the registry is not asked how large an image is: no image is near it, even several at once.
pub(super) const PLENTY: u64 = 200 << 30;

/// What has to stay free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinFree {
    /// This much.
    Bytes(u64),
    /// This part of the file system, in hundredths.
    Percent(u8),
}

/// A text that is no disk floor.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MinFreeError {
    /// A part of more than the whole.
    #[error("{0:?} is no percentage of 0 to 100")]
    Percent(String),
    /// Not a size either.
    #[error(transparent)]
    Size(#[from] ByteSizeError),
}

/// Why an image is not pulled: it would not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the image file system has room for {}, and {}", ByteSize(*.room), what(*.registry_size))]
pub struct NoRoom {
    /// Free bytes less the floor.
    pub room: u64,
    /// The layers as the registry has them, in bytes, where that is known.
    pub registry_size: Option<u64>,
}

fn what(registry_size: Option<u64>) -> String {
    match registry_size {
        Some(size) => format!("the image is {} in the registry, and takes twice that", ByteSize(size)),
        None => "nothing is pulled below the disk floor".to_owned(),
    }
}

/// What a file system says of itself, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) size: u64,
    /// For everybody, without root's reserve.
    pub(crate) free: u64,
}

/// What is to be done with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It fits: this much is set aside for it.
    Pull(u64),
    /// Others are being pulled: look again when one of them is done.
    Wait,
    /// It does not fit.
    Refuse(NoRoom),
}

impl Default for MinFree {
    fn default() -> Self {
        Self::Percent(KUBELET_THRESHOLD)
    }
}

impl FromStr for MinFree {
    type Err = MinFreeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(percent) = text.strip_suffix('%') else {
            return Ok(Self::Bytes(text.parse::<ByteSize>()?.0));
        };
        let percent = percent.parse().ok().filter(|percent| *percent <= 100);
        percent.map(Self::Percent).ok_or_else(|| MinFreeError::Percent(text.to_owned()))
    }
}

impl MinFree {
    /// Whether there is no floor.
    pub(super) fn is_nothing(self) -> bool {
        matches!(self, Self::Bytes(0) | Self::Percent(0))
    }

    /// What may be taken of `space`.
    pub(super) fn room(self, space: Space) -> u64 {
        let floor = match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => space.size / 100 * u64::from(percent),
        };
        space.free.saturating_sub(floor)
    }
}

/// Whether an image of `registry_size` may be pulled into `room`, of which `reserved` is set aside for `running` others.
pub(super) fn admit(room: u64, reserved: u64, running: usize, registry_size: Option<u64>) -> Admission {
    let needed = registry_size.unwrap_or_default().saturating_mul(ROOM_PER_BYTE);
    match () {
        () if room > 0 && needed <= room.saturating_sub(reserved) => Admission::Pull(needed),
        () if running > 0 => Admission::Wait,
        () => Admission::Refuse(NoRoom { room, registry_size }),
    }
}

/// The file system that `directory` is on.
pub(crate) fn measure(directory: &Path) -> std::io::Result<Space> {
    let seen = rustix::fs::statvfs(directory)?;
    Ok(Space {
        size: seen.f_blocks.saturating_mul(seen.f_frsize),
        free: seen.f_bavail.saturating_mul(seen.f_frsize),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_bytes_or_a_part() {
        let table = [
            ("0", MinFree::Bytes(0)),
            ("10G", MinFree::Bytes(10 << 30)),
            ("15%", MinFree::Percent(15)),
            ("100%", MinFree::Percent(100)),
        ];
        for (text, floor) in table {
            assert_eq!(text.parse(), Ok(floor), "{text}");
        }
        for text in ["", "%", "101%", "-1%", "1.5%", "x", "10 G"] {
            assert!(text.parse::<MinFree>().is_err(), "{text:?}");
        }
        let space = Space { size: 1000, free: 400 };
        assert_eq!(MinFree::default().room(space), 250);
        assert_eq!(MinFree::Bytes(500).room(space), 0);
        assert!(["0", "0%"].iter().all(|text| text.parse::<MinFree>().unwrap().is_nothing()));
        assert!(!MinFree::default().is_nothing() && !MinFree::Bytes(1).is_nothing());
    }

    #[test]
    fn an_image_is_refused_only_when_waiting_for_others_cannot_help() {
        let refused = |room, registry_size| Admission::Refuse(NoRoom { room, registry_size });
        let table = [
            ((100, 0, 0, Some(50)), Admission::Pull(100)),
            ((100, 0, 0, Some(51)), refused(100, Some(51))),
            ((100, 1, 1, Some(50)), Admission::Wait),
            ((100, 0, 3, Some(51)), Admission::Wait),
            ((0, 0, 0, None), refused(0, None)),
            ((1, 0, 0, None), Admission::Pull(0)),
            ((u64::MAX, 0, 0, Some(u64::MAX)), Admission::Pull(u64::MAX)),
        ];
        for ((room, reserved, running, size), expected) in table {
            assert_eq!(
                admit(room, reserved, running, size),
                expected,
                "{room} {reserved} {running} {size:?}"
            );
        }
    }

    #[test]
    fn a_refusal_says_what_is_missing() {
        let refusal = NoRoom { room: 3 << 20, registry_size: Some(2 << 20) }.to_string();
        assert_eq!(
            refusal,
            "the image file system has room for 3.00 MiB, and the image is 2.00 MiB in the registry, and takes twice that"
        );
    }
}
