//! Takes away all that lives below a directory. Nothing here fails: what cannot go now goes at the next start.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};

use crate::process::{kill_tree, processes, run};

/// Where every containerd has its shims' sockets, whatever its own directories are.
const SHIM_SOCKETS: &str = "/run/containerd/s";
const SHIM: &str = "containerd-shim-runc-v2";
/// Killed containers leave their control groups within milliseconds.
const GONE: Duration = Duration::from_secs(2);

pub(super) fn sweep(dir: &Path) {
    shims(dir);
    mounts(dir);
    loop_devices(dir);
    if let Some(name) = dir.file_name() {
        control_groups(&name.to_string_lossy());
    }
    let _ = fs::remove_dir_all(dir);
}

/// Shims outlive their containerd on purpose, and listen on sockets outside of its state directory.
fn shims(dir: &Path) {
    let below = format!("{}/", dir.display());
    for process in processes() {
        let is_shim = process.argv.first().is_some_and(|program| program.ends_with(SHIM));
        if is_shim && process.argv.iter().any(|word| word.starts_with(&below)) {
            kill_tree(process.pid);
        }
    }
    for bundle in subdirectories(&dir.join("state/io.containerd.runtime.v2.task"))
        .iter()
        .flat_map(|namespace| subdirectories(namespace))
    {
        if let Some(socket) = shim_socket(&bundle) {
            let _ = fs::remove_file(socket);
        }
    }
}

/// 1.x writes the address alone, 2.x a JSON object that contains it.
fn shim_socket(bundle: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(bundle.join("address"))
        .or_else(|_| fs::read_to_string(bundle.join("bootstrap.json")))
        .ok()?;
    let address = text.split('"').find_map(|word| word.strip_prefix("unix://"))?;
    Some(PathBuf::from(address.trim_end())).filter(|socket| socket.starts_with(SHIM_SOCKETS))
}

fn mounts(dir: &Path) {
    let Ok(table) = fs::read_to_string("/proc/self/mounts") else { return };
    let points = table.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    let below: Vec<&Path> = points.filter(|point| point.starts_with(dir)).collect();
    for point in below.iter().rev() {
        let _ = unmount(*point, UnmountFlags::DETACH);
    }
}

fn loop_devices(dir: &Path) {
    for device in subdirectories(Path::new("/sys/block")) {
        let Ok(file) = fs::read_to_string(device.join("loop/backing_file")) else { continue };
        if let Some(name) = device.file_name().filter(|_| Path::new(file.trim_end()).starts_with(dir)) {
            let _ = run(Command::new("losetup").arg("--detach").arg(Path::new("/dev").join(name)));
        }
    }
}

/// Version 1 has a tree a controller, version 2 one tree: the group is `name` at the top of each.
fn control_groups(name: &str) {
    let top = Path::new("/sys/fs/cgroup");
    let trees = subdirectories(top).into_iter().chain([top.to_owned()]);
    for group in trees.map(|tree| tree.join(name)).filter(|group| group.is_dir()) {
        let deadline = Instant::now() + GONE;
        while !remove_group(&group) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn remove_group(group: &Path) -> bool {
    for child in subdirectories(group) {
        remove_group(&child);
    }
    fs::remove_dir(group).is_ok()
}

fn subdirectories(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}
