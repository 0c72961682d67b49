//! Debian packages of several suites, unpacked beside each other without being installed. Apt fetches and checks them, from
//! the mirror that the machine itself uses, in a root of its own: the machine's package state is never touched. No
//! dependencies are resolved: what is used here starts with the libraries of any Debian since 12.

mod apt;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{cache, process};
use apt::Apt;

/// A Debian release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suite {
    /// Debian 11.
    Bullseye,
    /// Debian 12.
    Bookworm,
    /// Debian 13.
    Trixie,
    /// Debian 14.
    Forky,
}

/// An unpacked package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its exact version, which moves with the suite's updates: `1.6.20~ds1-1+deb12u3`.
    pub version: String,
    /// The directory that holds its files as they would lie below `/`.
    pub root: PathBuf,
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bullseye => "bullseye",
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Forky => "forky",
        })
    }
}

impl Suite {
    /// One package; see [`Suite::packages`].
    pub fn package(self, name: &str) -> Result<Package> {
        self.installed(name).map_or_else(
            || self.packages(&[name])?.pop().context("one package was asked for"),
            |package| package.context("read the cache"),
        )
    }

    /// The packages `names`, in that order; those that the cache lacks are fetched in one go.
    pub fn packages(self, names: &[&str]) -> Result<Vec<Package>> {
        let all = || names.iter().map(|name| self.installed(name)).collect::<Option<Result<Vec<_>>>>();
        if let Some(packages) = all() {
            return packages;
        }
        let _held = cache::lock(&format!("debian/{self}/apt"))?;
        let missing: Vec<&str> =
            names.iter().copied().filter(|name| self.installed(name).is_none()).collect();
        self.fetch(&missing).with_context(|| format!("packages of Debian {self}: {}", missing.join(" ")))?;
        all().with_context(|| format!("packages of Debian {self} vanished from the cache"))?
    }

    /// Puts what upstream released as the source of package `name` into `dir`, and returns that file: a compressed tar archive.
    pub fn upstream_source(self, name: &str, dir: &Path) -> Result<PathBuf> {
        let _held = cache::lock(&format!("debian/{self}/apt-sources"))?;
        let apt = Apt::of_sources(self)?;
        if apt.download_source(name, dir).is_err() {
            apt.update()?;
            apt.download_source(name, dir).with_context(|| format!("source of Debian {self}: {name}"))?;
        }
        let is_upstream = |path: &Path| path.to_string_lossy().contains(".orig.tar.");
        let files = fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
        let archive = files.into_iter().map(|file| file.path()).find(|path| is_upstream(path));
        archive.with_context(|| format!("source of Debian {self}: {name} has no upstream archive"))
    }

    fn installed(self, name: &str) -> Option<Result<Package>> {
        let place = cache::dir().ok()?.join(self.place(name));
        place.is_dir().then(|| Package::read(name, &place))
    }

    fn place(self, name: &str) -> String {
        format!("debian/{self}/packages/{name}")
    }

    fn fetch(self, names: &[&str]) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let apt = Apt::of(self)?;
        let debs = tempfile::tempdir()?;
        // Lists of an earlier call may be there, and may name files that the mirror has replaced since.
        if apt.download(names, debs.path()).is_err() {
            apt.update()?;
            apt.download(names, debs.path())?;
        }
        for deb in fs::read_dir(debs.path())? {
            let deb = deb?.path();
            let name = field(&deb, "Package")?;
            cache::install(&self.place(&name), |place| unpack(&deb, place))?;
        }
        Ok(())
    }
}

impl Package {
    /// A file of the package, such as `usr/bin/containerd`; an error when the package has none of that name.
    pub fn file(&self, path: &str) -> Result<PathBuf> {
        let file = self.root.join(path);
        ensure!(file.exists(), "package {} {} has no {path}", self.name, self.version);
        Ok(file)
    }

    fn read(name: &str, place: &Path) -> Result<Self> {
        let version = fs::read_to_string(place.join("version"))
            .with_context(|| format!("read the version of {}", place.display()))?;
        Ok(Self { name: name.to_owned(), version, root: place.join("root") })
    }
}

fn unpack(deb: &Path, place: &Path) -> Result<()> {
    process::run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(place.join("root")))?;
    fs::write(place.join("version"), field(deb, "Version")?)?;
    Ok(())
}

fn field(deb: &Path, field: &str) -> Result<String> {
    let value = process::run(Command::new("dpkg-deb").arg("-f").arg(deb).arg(field))?;
    Ok(value.trim().to_owned())
}
