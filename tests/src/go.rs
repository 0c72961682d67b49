//! Go's compiler as Debian packages it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};

use crate::debian::Suite;

/// Makes a GOROOT of Go `version`. Debian splits Go into a package of programs and one of sources, with links between them.
pub(crate) fn make_root(suite: Suite, version: &str, root: &Path) -> Result<()> {
    let names = [format!("golang-{version}-go"), format!("golang-{version}-src")];
    let mut packages = suite.packages(&[&names[0], &names[1]])?.into_iter();
    let (programs, sources) = packages.next().zip(packages.next()).context("two packages were asked for")?;
    let (lib, share) = (format!("usr/lib/go-{version}"), format!("usr/share/go-{version}"));
    let include = format!("{share}/pkg/include");
    let mut links = vec![
        (programs.file(&format!("{lib}/bin"))?, "bin"),
        (programs.file(&format!("{lib}/pkg/tool"))?, "pkg/tool"),
        (sources.file(&format!("{share}/src"))?, "src"),
        (programs.file(&include).or_else(|_| sources.file(&include))?, "pkg/include"),
    ];
    // The standard library, compiled: until Go 1.19.
    let compiled = programs.file(&format!("{lib}/pkg/linux_amd64"));
    links.extend(compiled.ok().map(|compiled| (compiled, "pkg/linux_amd64")));
    fs::create_dir_all(root.join("pkg"))?;
    for (from, to) in links {
        symlink(from, root.join(to)).with_context(|| format!("link {to} of Go"))?;
    }
    Ok(())
}
