//! The versions of containerd that Debian has, each from one suite.

use std::fmt;

use anyhow::{Result, ensure};

use crate::debian::{Package, Suite};

/// A minor version of containerd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 1.6, from Debian 12.
    V1_6,
    /// 1.7, from Debian 13.
    V1_7,
    /// 2.1, from Debian 14.
    V2_1,
}

impl Version {
    /// All of them, the oldest first.
    pub const ALL: [Self; 3] = [Self::V1_6, Self::V1_7, Self::V2_1];

    fn suite(self) -> Suite {
        match self {
            Self::V1_6 => Suite::Bookworm,
            Self::V1_7 => Suite::Trixie,
            Self::V2_1 => Suite::Forky,
        }
    }

    /// The suite's package; an error once the suite has moved to another minor version.
    pub(super) fn package(self) -> Result<Package> {
        let package = self.suite().package("containerd")?;
        ensure!(
            package.version.starts_with(&format!("{self}.")),
            "Debian {} now has containerd {}, not {self}",
            self.suite(),
            package.version
        );
        Ok(package)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_6 => "1.6",
            Self::V1_7 => "1.7",
            Self::V2_1 => "2.1",
        })
    }
}
