//! `larder deploy systemd`: two units that bring attached disks back when a machine starts: their mounts before containerd
//! looks at its snapshots, their images after containerd and before the kubelet starts pods.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What a unit may take before the machine goes on without it: a disk that hangs must not keep a node from starting.
const START: &str = "5min";
/// A unit's whole name at most (systemd.unit(5)).
const MAX_NAME: usize = 255;

/// The name of a service of systemd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceName(String);

/// A program's path that needs no quotes in a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProgramPath(PathBuf);

/// Why a text does not go into a unit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum UnitError {
    /// No service.
    #[error("{0:?} is not the name of a service, such as containerd.service")]
    Service(String),
    /// No path.
    #[error("{0:?} is not an absolute path of letters, digits and / . _ + -")]
    Program(String),
    /// Nothing can be between a unit and itself.
    #[error("containerd and the kubelet are both {0}: nothing can run between them")]
    Same(ServiceName),
}

/// The units, as they were asked for.
#[derive(Clone, Debug)]
pub(crate) struct Systemd {
    program: ProgramPath,
    containerd: ServiceName,
    kubelet: ServiceName,
}

/// A unit file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Its name: `larder-mount.service`.
    pub(crate) name: &'static str,
    /// What is in it.
    pub(crate) text: String,
}

const MOUNT: &str = "larder-mount.service";
const RESTORE: &str = "larder-restore.service";

impl Systemd {
    /// Units for a machine where these are containerd's and the kubelet's.
    pub(crate) fn new(
        program: ProgramPath,
        containerd: ServiceName,
        kubelet: ServiceName,
    ) -> Result<Self, UnitError> {
        if containerd == kubelet {
            return Err(UnitError::Same(kubelet));
        }
        Ok(Self { program, containerd, kubelet })
    }

    /// Both, in the order in which they run. Wanted, not required: a machine whose disk is away starts, and pulls.
    pub(crate) fn units(&self) -> [Unit; 2] {
        let Self { program, containerd, kubelet } = self;
        let mount = service(&Service {
            description: "Mount Larder's cache disks",
            after: "local-fs.target",
            before: containerd,
            command: &format!("{program} attach --restore --mount-only"),
        });
        let restore = service(&Service {
            description: "Restore or withdraw the images of Larder's cache disks",
            after: &format!("{MOUNT} {containerd}"),
            before: kubelet,
            command: &format!("{program} attach --restore"),
        });
        [Unit { name: MOUNT, text: mount }, Unit { name: RESTORE, text: restore }]
    }
}

struct Service<'a> {
    description: &'a str,
    after: &'a str,
    before: &'a ServiceName,
    command: &'a str,
}

fn service(service: &Service<'_>) -> String {
    let Service { description, after, before, command } = service;
    format!(
        "[Unit]\n\
        Description={description}\n\
        After={after}\n\
        Before={before}\n\
        ConditionPathIsDirectory=/var/lib/larder\n\
        \n\
        [Service]\n\
        Type=oneshot\n\
        RemainAfterExit=yes\n\
        ExecStart={command}\n\
        TimeoutStartSec={START}\n\
        \n\
        [Install]\n\
        WantedBy={before}\n"
    )
}

impl FromStr for ServiceName {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '@');
        let stem = text.strip_suffix(".service").unwrap_or_default();
        if !stem.is_empty() && text.len() <= MAX_NAME && stem.chars().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(UnitError::Service(text.to_owned()))
        }
    }
}

impl FromStr for ProgramPath {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '+' | '-');
        if text.starts_with('/') && !text.ends_with('/') && text.chars().all(allowed) {
            Ok(Self(Path::new(text).to_owned()))
        } else {
            Err(UnitError::Program(text.to_owned()))
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ProgramPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values<'a>(unit: &'a Unit, key: &str) -> Vec<&'a str> {
        unit.text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
    }

    #[test]
    fn mounts_come_before_containerd_and_images_between_it_and_the_kubelet() {
        let program = "/opt/larder/bin/larder".parse().unwrap();
        let units = Systemd::new(program, "c.service".parse().unwrap(), "k.service".parse().unwrap());
        let [mount, restore] = units.unwrap().units();
        let facts = [
            (&mount, "After", "local-fs.target"),
            (&mount, "Before", "c.service"),
            (&mount, "WantedBy", "c.service"),
            (&mount, "ExecStart", "/opt/larder/bin/larder attach --restore --mount-only"),
            (&restore, "After", "larder-mount.service c.service"),
            (&restore, "Before", "k.service"),
            (&restore, "WantedBy", "k.service"),
            (&restore, "ExecStart", "/opt/larder/bin/larder attach --restore"),
        ];
        for (unit, key, value) in facts {
            assert_eq!(values(unit, key), [value], "{} {key}", unit.name);
        }
    }

    #[test]
    fn what_would_need_quotes_is_refused() {
        for text in ["larder", "/a b", "/a%h", "/a;b", "/", "", "/a\nb"] {
            assert!(text.parse::<ProgramPath>().is_err(), "{text:?}");
        }
        for text in ["containerd", ".service", "a b.service", "a.socket", "a/b.service", ""] {
            assert!(text.parse::<ServiceName>().is_err(), "{text:?}");
        }
        let k3s: ServiceName = "k3s.service".parse().unwrap();
        let same = Systemd::new("/larder".parse().unwrap(), k3s.clone(), k3s.clone());
        assert_eq!(same.unwrap_err(), UnitError::Same(k3s));
    }
}
