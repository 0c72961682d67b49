//! The reference builder's way: containerd pulls, and the snapshots are copied to a loop-mounted ext4, with an md5 for each.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use larder_core::ImageRef;
use larder_tests::containerd::{Containerd, Version};
use larder_tests::image::Image;
use larder_tests::loopdev::{Access, LoopDevice, Mount};
use larder_tests::process::{run, run_within};

use super::measure::{Figures, disk_usage, seconds};

const LIMIT: std::time::Duration = std::time::Duration::from_mins(20);
/// The kernel's clock ticks in a second, as /proc counts (`getconf CLK_TCK`; fixed on Linux).
const TICKS: f64 = 100.0;

/// One run, without the md5 and with it.
pub(super) struct Reference {
    pub(super) without_md5: Figures,
    pub(super) with_md5: Figures,
}

/// Bakes `image` as the reference does; `size` is that of its disk.
pub(super) fn measure(reference: &ImageRef, image: &Image, size: u64, directory: &Path) -> Result<Reference> {
    let containerd = Containerd::start(Version::V1_7)?;
    let file = directory.join("reference.img");
    File::create(&file)?.set_len(size)?;
    let device = LoopDevice::attach(&file, Access::ReadWrite)?;
    let (prepare, ()) = seconds(|| {
        let options = "lazy_itable_init=0,lazy_journal_init=0,discard";
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0", "-E", options]).arg(device.path()))
            .map(drop)
    })?;
    let mount = Mount::ext4(device.path(), Access::ReadWrite)?;
    let name = reference.to_string();
    let (pull, _) = seconds(|| containerd.ctr(&["images", "pull", "--plain-http", &name]))?;
    let top = image.chain_ids().pop().context("an image without layers")?;
    let layers = containerd.layer_directories(top)?;
    ensure!(layers.len() == image.layers.len(), "a layer is missing: this run does not count");
    let (copy, copied) = seconds(|| {
        layers.iter().enumerate().try_fold(0.0, |cpu, (number, layer)| {
            let target = mount.path().join(format!("snapshots/{number}"));
            fs::create_dir_all(&target)?;
            Ok(cpu + with_cpu(&["cp", "-r", "-p", &text(layer), &text(&target)])?)
        })
    })?;
    let (md5, summed) = seconds(|| {
        (0..layers.len()).try_fold(0.0, |cpu, number| {
            let script = format!(
                "find {}/snapshots/{number}/fs -type f -print0 | xargs -0 --no-run-if-empty md5sum | cut -c1-32 | LC_ALL=C sort | md5sum",
                mount.path().display()
            );
            Ok(cpu + with_cpu(&["sh", "-c", &script])?)
        })
    })?;
    let scratch = disk_usage(&containerd.root())?;
    let daemon = containerd_cpu(&containerd)?;
    let (finish, ()) = seconds(|| {
        drop(mount);
        run(&mut Command::new("sync")).map(drop)
    })?;
    let peak_memory_bytes = containerd_memory(&containerd)?;
    let wall_seconds = prepare + pull + copy + finish;
    let without_md5 =
        Figures { wall_seconds, cpu_seconds: daemon + copied, peak_memory_bytes, scratch_bytes: scratch };
    let with_md5 =
        Figures { wall_seconds: wall_seconds + md5, cpu_seconds: daemon + copied + summed, ..without_md5 };
    fs::remove_file(&file)?;
    Ok(Reference { without_md5, with_md5 })
}

/// Runs a program and returns its CPU seconds.
fn with_cpu(argv: &[&str]) -> Result<f64> {
    const WRAPPER: &str = "
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)
sys.exit(status)
";
    let said = run_within(Command::new("python3").args(["-c", WRAPPER]).args(argv), LIMIT)?;
    said.trim().parse().context("read the measuring wrapper's figure")
}

/// CPU seconds of the daemon and the decompressors that it has waited for (proc(5): utime, stime, cutime, cstime).
fn containerd_cpu(containerd: &Containerd) -> Result<f64> {
    let stat =
        fs::read_to_string(format!("/proc/{}/stat", containerd.pid()?)).context("read containerd's times")?;
    let fields = stat.rsplit_once(") ").context("read containerd's times")?.1;
    let ticks = fields
        .split(' ')
        .skip(11)
        .take(4)
        .map(|field| field.parse::<f64>().context("read containerd's times"));
    Ok(ticks.sum::<Result<f64>>()? / TICKS)
}

/// The daemon's own; its decompressors are not counted.
fn containerd_memory(containerd: &Containerd) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", containerd.pid()?))
        .context("read containerd's memory")?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("read containerd's memory")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("read containerd's memory")?;
    Ok(kib * 1024)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
