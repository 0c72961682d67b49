//! Apt with lists, caches and sources of its own for one suite; proxies and the like stay the machine's.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Suite;
use crate::{cache, process};

/// Package lists are about 10 MB, the largest package here 50 MB.
const DOWNLOAD: Duration = Duration::from_mins(10);
/// What every Debian machine has installed, and trusts.
const KEYRING: &str = "usr/share/keyrings/debian-archive-keyring.gpg";

pub(super) struct Apt {
    suite: Suite,
    root: PathBuf,
    /// `deb` or `deb-src`.
    kind: &'static str,
}

impl Apt {
    /// The caller holds the suite's lock as long as it uses this.
    pub(super) fn of(suite: Suite) -> Result<Self> {
        Self::with(suite, "apt", "deb")
    }

    /// For the suite's source packages; the caller holds another lock for these.
    pub(super) fn of_sources(suite: Suite) -> Result<Self> {
        Self::with(suite, "apt-sources", "deb-src")
    }

    fn with(suite: Suite, name: &str, kind: &'static str) -> Result<Self> {
        let root = cache::dir()?.join(format!("debian/{suite}/{name}"));
        for dir in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(root.join(dir)).with_context(|| format!("create {}", root.display()))?;
        }
        fs::write(root.join("status"), "")?;
        Ok(Self { suite, root, kind })
    }

    /// Brings the suite's package lists up to date and checks their signature.
    pub(super) fn update(&self) -> Result<()> {
        match self.update_trusting(&Path::new("/").join(KEYRING)) {
            Err(error) if format!("{error:#}").contains("NO_PUBKEY") => {
                self.update_trusting(&self.later_keyring().context(error)?)
            }
            done => done,
        }
    }

    fn update_trusting(&self, keyring: &Path) -> Result<()> {
        let source = format!(
            "{} [signed-by={}] {} {} main\n",
            self.kind,
            keyring.display(),
            machine_mirror()?,
            self.suite
        );
        fs::write(self.root.join("sources.list"), source)?;
        let mut update = self.command("apt-get");
        // Lists of an earlier, failed update are no success.
        update.args(["-o", "APT::Update::Error-Mode=any", "update"]);
        process::run_within(&mut update, DOWNLOAD).map(drop)
    }

    /// A machine from before the suite's keys: the suite it trusts has a newer keyring package.
    fn later_keyring(&self) -> Result<PathBuf> {
        let trusted = if self.suite == Suite::Forky { Suite::Trixie } else { Suite::Bookworm };
        anyhow::ensure!(trusted != self.suite, "this machine does not trust Debian {trusted}");
        trusted.package("debian-archive-keyring")?.file(KEYRING)
    }

    /// Puts the packages' .deb files into `dir`, their hashes checked against the signed lists.
    pub(super) fn download(&self, names: &[&str], dir: &Path) -> Result<()> {
        let mut download = self.command("apt-get");
        download.arg("download").args(names).current_dir(dir);
        process::run_within(&mut download, DOWNLOAD).map(drop)
    }

    /// Puts the files of a source package into `dir`, their hashes checked against the signed lists.
    pub(super) fn download_source(&self, name: &str, dir: &Path) -> Result<()> {
        let mut download = self.command("apt-get");
        download.args(["source", "--download-only", "--only-source", name]).current_dir(dir);
        process::run_within(&mut download, DOWNLOAD).map(drop)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let at = |option: &str, path: &str| format!("{option}={}", self.root.join(path).display());
        let options = [
            at("Dir::Etc::sourcelist", "sources.list"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Dir::Etc::preferences=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            at("Dir::State", "state"),
            at("Dir::State::status", "status"),
            at("Dir::Cache", "cache"),
            // Root's cache is closed to the user that apt would become.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ];
        command.args(options.iter().flat_map(|option| ["-o", option]));
        command
    }
}

/// `$LARDER_DEBIAN_MIRROR`, else the mirror that the machine's own apt takes its release from.
fn machine_mirror() -> Result<String> {
    if let Ok(mirror) = env::var("LARDER_DEBIAN_MIRROR") {
        return Ok(mirror);
    }
    let format = "$(RELEASE) $(COMPONENT) $(REPO_URI)";
    let targets = process::run(Command::new("apt-get").args([
        "indextargets",
        "--format",
        format,
        "Created-By: Packages",
    ]))?;
    let release = fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    mirror(&targets, &release)
        .context("apt has no source for this machine's Debian release: set LARDER_DEBIAN_MIRROR")
}

fn mirror(targets: &str, os_release: &str) -> Option<String> {
    let codename = os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    let releases = [codename, "stable", "oldstable", "testing"];
    targets.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>().as_slice() {
        [release, "main", uri] if releases.contains(release) => Some((*uri).to_owned()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_one_of_the_machines_own_release() {
        let targets = "nodistro main https://node.example/\nbookworm-updates main http://a.example/updates/\n\
            bookworm contrib http://a.example/contrib/\nbookworm main http://a.example/debian/\n";
        let debian = "ID=debian\nVERSION_CODENAME=bookworm\n";
        assert_eq!(mirror(targets, debian).as_deref(), Some("http://a.example/debian/"));
        assert_eq!(mirror(targets, "VERSION_CODENAME=noble\n"), None);
        assert_eq!(mirror("stable main http://b/debian/", debian).as_deref(), Some("http://b/debian/"));
    }
}
