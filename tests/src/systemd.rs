//! systemd's own judgement of units, by the `systemd-analyze` of a Debian package: neither systemd nor its units need to be on
//! the machine.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::debian::Suite;
use crate::process::run;

/// The package, and what its program is linked with.
const PACKAGES: [&str; 22] = [
    "systemd",
    "libacl1",
    "libapparmor1",
    "libaudit1",
    "libblkid1",
    "libc6",
    "libcap-ng0",
    "libcap2",
    "libcrypt1",
    "libgcrypt20",
    "libgpg-error0",
    "libip4tc2",
    "libkmod2",
    "liblz4-1",
    "liblzma5",
    "libmount1",
    "libpam0g",
    "libpcre2-8-0",
    "libseccomp2",
    "libselinux1",
    "libssl3",
    "libzstd1",
];
/// Where bookworm's packages have libraries.
const LIBRARIES: [&str; 3] =
    ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/systemd"];

/// Has the units `names` of `directory` checked, with those that they name; what systemd complains of is the error.
pub fn verify(directory: &Path, names: &[&str]) -> Result<()> {
    let packages = Suite::Bookworm.packages(&PACKAGES)?;
    let [systemd, .., _] = packages.as_slice() else { anyhow::bail!("no package was asked for") };
    let roots = packages.iter().flat_map(|package| LIBRARIES.map(|library| package.root.join(library)));
    let libraries: Vec<String> = roots.map(|path| path.display().to_string()).collect();
    let libc = packages.iter().find(|package| package.name == "libc6").context("libc6 was asked for")?;
    let mut command = Command::new(libc.file("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")?);
    command.arg("--library-path").arg(libraries.join(":")).arg(systemd.file("usr/bin/systemd-analyze")?);
    let units = format!("{}:{}", directory.display(), systemd.file("lib/systemd/system")?.display());
    command.env("SYSTEMD_UNIT_PATH", units).args(["verify", "--man=no"]);
    command.args(names.iter().map(|name| directory.join(name)));
    // Some complaints do not change its exit status; all are on stderr, which `run` has no use for after a success.
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"said=$("$@" 2>&1) && [ -z "$said" ] || { echo "$said" >&2; exit 1; }"#, "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    run(&mut shell).map(drop)
}
