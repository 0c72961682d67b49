//! `cargo xtask demo`: from image references to running containers that pulled nothing, on real parts.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use larder_core::{ByteSize, Digest, ImageRef};
use larder_tests::containerd::{Containerd, Version};
use larder_tests::debian::Suite;
use larder_tests::image::{
    Compression, Entry, Image, ImageBuilder, Layer, LayerBuilder, busybox, package_entries,
};
use larder_tests::larder::{self, larder, node_arguments};
use larder_tests::loopdev::{Access, LoopDevice};
use larder_tests::node::State;
use larder_tests::registry::Registry;
use larder_tests::workdir::Workdir;

use crate::say;

/// An image of the demo, pushed.
struct Pushed {
    reference: ImageRef,
    image: Image,
}

/// What the demo measured.
struct Figures {
    started: Vec<Duration>,
    bake: Duration,
    attach: Duration,
    disk: u64,
    pulled: u64,
}

pub(crate) fn run() -> Result<()> {
    // Before anything is timed.
    larder::binary()?;
    say("making three images from Debian packages, and pushing them to a registry");
    let registry = Registry::start()?;
    let images = push(&registry)?;
    let directory = Workdir::new()?;
    let disk = directory.path().join("cache.img");
    let names: Vec<String> = images.iter().map(|pushed| pushed.reference.to_string()).collect();

    let mut arguments = vec!["build".to_owned(), "--quiet".to_owned(), "--plain-http".to_owned()];
    arguments.extend(names.iter().cloned().chain(["-o".to_owned(), text(&disk)]));
    let bake = timed(&arguments)?;
    let before_node = registry.requests()?.len();

    say("starting containerd 2.1, with an empty store");
    let containerd = Containerd::start(Version::V2_1)?;
    let device = LoopDevice::attach(&disk, Access::ReadOnly)?;
    let attach = timed(&on_node(&["attach", "--disk", &text(device.path())], &containerd))?;

    let mut started = Vec::new();
    for name in &names {
        let begin = Instant::now();
        let ran = containerd.run(name, &[])?;
        started.push(begin.elapsed());
        ensure!(ran.exit_code == 0, "the container of {name} ended with {}: {}", ran.exit_code, ran.stderr);
        say(format_args!("  {name}: {}", ran.stdout.trim()));
    }
    let pulled = registry.requests()?[before_node..].iter().map(|request| request.bytes).sum();
    afterwards(&registry, &containerd)?;
    let size = std::fs::metadata(&disk).context("look at the disk")?.len();
    print(&images, &Figures { started, bake, attach, disk: size, pulled });
    Ok(())
}

/// Three images: a shell, an interpreter, and a program for it. All share the base, two of them more.
fn push(registry: &Registry) -> Result<Vec<Pushed>> {
    let packages = Suite::Bookworm.packages(&["libc6", "libcrypt1", "dash", "perl-base"])?;
    let [libc, libcrypt, dash, perl] = packages.as_slice() else {
        anyhow::bail!("four packages were asked for")
    };
    let base = busybox()?.entries(package_entries(libc)?).build(Compression::Gzip)?;
    let shell = LayerBuilder::default().entries(package_entries(dash)?).build(Compression::Zstd)?;
    let interpreter =
        LayerBuilder::default().entries(package_entries(libcrypt)?).entries(package_entries(perl)?);
    let interpreter = interpreter.build(Compression::Gzip)?;
    let program =
        LayerBuilder::default().entry(Entry::file("app/hello.pl", "print \"hello from perl $]\\n\";\n"));
    let program = program.build(Compression::None)?;
    let image = |name: &str, layers: &[&Layer], argv: &[&str]| {
        let image = ImageBuilder::default().layers(layers.iter().copied()).entrypoint(argv).build();
        Ok(Pushed { reference: registry.push(&image, name)?, image })
    };
    [
        image("demo/shell:1", &[&base, &shell], &["/bin/dash", "-c", "echo hello from dash"]),
        image("demo/perl:1", &[&base, &interpreter], &["/usr/bin/perl", "-e", "print \"hello from $^X\\n\""]),
        image("demo/app:1", &[&base, &interpreter, &program], &["/usr/bin/perl", "/app/hello.pl"]),
    ]
    .into_iter()
    .collect()
}

/// What is done with a node later on: an image that no disk has, a disk that goes away, and its return.
fn afterwards(registry: &Registry, containerd: &Containerd) -> Result<()> {
    say("\nprefetching an image that is not on the disk");
    let extra = busybox()?.entry(Entry::file("extra", "")).build(Compression::Gzip)?;
    let extra = ImageBuilder::default().layer(&extra).cmd(&["/bin/busybox", "true"]).build();
    let extra = registry.push(&extra, "demo/extra:1")?.to_string();
    let socket = text(&containerd.socket());
    timed(&["fetch", "--min-free=0", "--cri-socket", &socket, &extra].map(str::to_owned))?;
    status(containerd, 0)?;

    say("\ntaking the disk away");
    let state = State::of(containerd);
    state.unmount();
    status(containerd, 1)?;

    say("\nbringing it back");
    timed(&on_node(&["attach", "--restore"], containerd))?;
    status(containerd, 0)?;
    timed(&on_node(&["detach"], containerd)).map(drop)
}

/// Shows what the node says of its images, and expects that exit status.
fn status(containerd: &Containerd, expected: i32) -> Result<()> {
    let arguments = on_node(&["status", "--node"], containerd);
    say(format_args!("$ larder {}", arguments.join(" ")));
    let ran = larder(&arguments)?;
    ran.stdout.lines().for_each(|line| say(format_args!("  {line}")));
    say(format_args!("  exit status {expected}"));
    ensure!(ran.status == Some(expected), "it ended with {:?}: {}", ran.status, ran.stderr);
    Ok(())
}

fn on_node(words: &[&str], containerd: &Containerd) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).chain(node_arguments(containerd)).collect()
}

/// Runs a command of larder, shows it, and says how long it took.
fn timed(arguments: &[String]) -> Result<Duration> {
    say(format_args!("$ larder {}", arguments.join(" ")));
    let started = Instant::now();
    let said = larder(arguments)?.done()?;
    let took = started.elapsed();
    said.lines().for_each(|line| say(format_args!("  {line}")));
    Ok(took)
}

fn print(images: &[Pushed], figures: &Figures) {
    let Figures { started, bake, attach, disk, pulled } = figures;
    let mut layers: Vec<&Layer> = images.iter().flat_map(|pushed| &pushed.image.layers).collect();
    let uses = layers.len();
    let bytes = |layers: &[&Layer]| ByteSize(layers.iter().map(|layer| layer.size).sum());
    let fetched_alone = bytes(&layers);
    let mut seen = std::collections::BTreeSet::<Digest>::new();
    layers.retain(|layer| seen.insert(layer.digest));
    say(format_args!("\n{:<36} {:>6} {:>10} {:>16}", "image", "layers", "bytes", "container ran in"));
    for (pushed, started) in images.iter().zip(started) {
        let own: Vec<&Layer> = pushed.image.layers.iter().collect();
        let (name, count, size) = (pushed.reference.to_string(), own.len(), bytes(&own).to_string());
        say(format_args!("{name:<36} {count:>6} {size:>10} {:>14.2} s", started.as_secs_f64()));
    }
    say(format_args!(
        "\nlayers: {} on the disk for {uses} in the images ({} shared)",
        layers.len(),
        uses - layers.len()
    ));
    say(format_args!("fetched by the bake: {} instead of {fetched_alone}", bytes(&layers)));
    say(format_args!(
        "disk: {}, baked in {:.2} s, attached in {:.2} s",
        ByteSize(*disk),
        bake.as_secs_f64(),
        attach.as_secs_f64()
    ));
    say(format_args!("bytes that the node fetched from the registry (its log): {pulled}"));
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
