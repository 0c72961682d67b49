//! The committed code under `src/generated` is what `proto/` gives. `LARDER_UPDATE=1` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::ffi::OsString;
use std::path::Path;
use std::{fs, io};

const PROTOS: &[&str] = &[
    "cri/v1.proto",
    "github.com/containerd/containerd/api/services/containers/v1/containers.proto",
    "github.com/containerd/containerd/api/services/content/v1/content.proto",
    "github.com/containerd/containerd/api/services/images/v1/images.proto",
    "github.com/containerd/containerd/api/services/introspection/v1/introspection.proto",
    "github.com/containerd/containerd/api/services/leases/v1/leases.proto",
    "github.com/containerd/containerd/api/services/namespaces/v1/namespace.proto",
    "github.com/containerd/containerd/api/services/snapshots/v1/snapshots.proto",
    "github.com/containerd/containerd/api/services/version/v1/version.proto",
    "prefetch/metrics.proto",
];

type Tree = BTreeMap<OsString, String>;

fn generate(out: &Path) -> Result<(), Box<dyn Error>> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let descriptors = protox::compile(PROTOS, [proto])?;
    let builder = tonic_prost_build::configure().out_dir(out).include_file("mod.rs");
    Ok(builder.bytes(".containerd.services.content.v1").compile_fds(descriptors)?)
}

fn read(dir: &Path) -> io::Result<Tree> {
    let read = |entry: io::Result<fs::DirEntry>| {
        let entry = entry?;
        Ok((entry.file_name(), fs::read_to_string(entry.path())?))
    };
    fs::read_dir(dir)?.map(read).collect()
}

#[test]
fn the_committed_code_is_what_the_protos_give() -> Result<(), Box<dyn Error>> {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated");
    let fresh = tempfile::tempdir()?;
    generate(fresh.path())?;
    if std::env::var_os("LARDER_UPDATE").is_some() {
        fs::remove_dir_all(&committed)?;
        fs::create_dir(&committed)?;
        generate(&committed)?;
    }
    let (committed, fresh) = (read(&committed)?, read(fresh.path())?);
    let names = committed.keys().chain(fresh.keys()).collect::<BTreeSet<_>>();
    let stale: Vec<_> = names.into_iter().filter(|name| committed.get(*name) != fresh.get(*name)).collect();
    assert!(stale.is_empty(), "{stale:?} are stale: run LARDER_UPDATE=1 cargo test -p larder-proto");
    Ok(())
}
