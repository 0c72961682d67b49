//! `larder build`: resolves every image, then bakes them.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use larder_core::{Digest, Image, Layer, Platform};
use larder_disk::{BuildOptions, BuildPlan, BuildReport, Cancel, LayerSource};
use larder_registry::{BlobError, Client, ClientOptions, ImageSpec, Origin};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::{UsageError, report};
use crate::cli::{BuildArgs, ReportForm};
use crate::exit::Exit;
use crate::interrupt::{Interrupted, or_interrupted};
use crate::progress::Progress;

/// Images that are resolved at the same time; registries limit the rate of requests.
const RESOLVES: usize = 8;

/// A checked request to bake.
struct Request {
    images: Vec<ImageSpec>,
    /// None for a plan only.
    output: Option<PathBuf>,
    platform: Platform,
    client: ClientOptions,
    build: BuildOptions,
    report: ReportForm,
    quiet: bool,
}

impl TryFrom<BuildArgs> for Request {
    type Error = anyhow::Error;

    fn try_from(args: BuildArgs) -> Result<Self, Self::Error> {
        let BuildArgs {
            mut images,
            output,
            image_list,
            platform,
            registry,
            jobs,
            size,
            headroom,
            max_layer_size,
            store_snapshot_checksum,
            dry_run,
            report,
            no_journal,
            force,
            quiet,
        } = args;
        if let Some(list) = image_list {
            images.extend(read_list(&list)?);
        }
        if images.is_empty() {
            return Err(UsageError("the image list names no image".to_owned()).into());
        }
        let jobs = jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
        Ok(Self {
            images,
            output: output.filter(|_| !dry_run),
            platform: platform.unwrap_or_else(Platform::host),
            client: registry.try_into()?,
            build: BuildOptions {
                jobs,
                journal: !no_journal,
                force,
                size: size.map(|size| size.0),
                headroom: headroom.0,
                max_layer_size: max_layer_size.0,
                checksums: store_snapshot_checksum,
            },
            report,
            quiet,
        })
    }
}

pub(super) fn run(args: BuildArgs) -> anyhow::Result<Exit> {
    let request = Request::try_from(args)?;
    let started = Instant::now();
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let (images, blobs) = runtime.block_on(or_interrupted(resolve(&request)))?;
    let Some(output) = &request.output else {
        let plan = larder_disk::plan(&images)?;
        let requests = blobs.requests(&images, &plan);
        report::planned(request.report, &images, &plan, requests);
        return Ok(Exit::Done);
    };
    let report = bake(runtime, &request, output, images.clone(), blobs)?;
    report::built(request.report, output, &images, &report, started.elapsed());
    Ok(Exit::Done)
}

/// The images of a list, with the line that a mistake is on.
fn read_list(path: &Path) -> anyhow::Result<Vec<ImageSpec>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read the image list {}", path.display()))?;
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            line.parse().map_err(|error| UsageError(format!("{}:{number}: {error}", path.display())).into())
        })
        .collect()
}

/// Resolves every image, several at a time; the results are in the order of the request.
async fn resolve(request: &Request) -> anyhow::Result<(Vec<Image>, Blobs)> {
    let client = Client::new(request.client.clone())?;
    let mut tasks = JoinSet::new();
    let mut waiting = request.images.iter().enumerate();
    let mut resolved: Vec<Vec<_>> = Vec::new();
    resolved.resize_with(request.images.len(), Vec::new);
    loop {
        while tasks.len() < RESOLVES
            && let Some((place, spec)) = waiting.next()
        {
            let (client, spec, platform) = (client.clone(), spec.clone(), request.platform.clone());
            tasks.spawn(async move {
                let images = client.resolve(&spec, &platform).await;
                (place, images.with_context(|| format!("image {spec}")))
            });
        }
        let Some(done) = tasks.join_next().await else { break };
        let (place, images) = done.context("a resolving task ended unexpectedly")?;
        resolved[place] = images?;
    }
    let mut origins = HashMap::new();
    let mut images = Vec::new();
    for found in resolved.into_iter().flatten() {
        for layer in &found.image.layers {
            origins.entry(layer.descriptor.digest).or_insert_with(|| found.origin.clone());
        }
        images.push(found.image);
    }
    Ok((images, Blobs { client, origins }))
}

/// Where each blob is: joins the registry client to the disk.
struct Blobs {
    client: Client,
    origins: HashMap<Digest, Origin>,
}

impl Blobs {
    /// Requests to registries for all that a build fetches: manifests and configurations, and each blob once.
    fn requests(&self, images: &[Image], plan: &BuildPlan) -> usize {
        let remote = |digest: &Digest| self.origins.get(digest).is_some_and(Origin::is_registry);
        let from_registries = images
            .iter()
            .filter(|image| image.layers.first().is_some_and(|layer| remote(&layer.descriptor.digest)));
        let documents: usize = from_registries.map(|image| image.indexes.len() + 2).sum();
        documents + plan.layers.iter().filter(|layer| remote(&layer.digest)).count()
    }
}

impl LayerSource for Blobs {
    fn open(&self, layer: &Layer) -> io::Result<Box<dyn BufRead + Send + '_>> {
        let origin = self.origins.get(&layer.descriptor.digest).ok_or(io::ErrorKind::NotFound)?;
        self.client.open(origin, &layer.descriptor).map(|reader| reader as Box<dyn BufRead + Send>)
    }

    fn is_elsewhere(&self, error: &io::Error) -> bool {
        BlobError::is_elsewhere(error)
    }
}

/// Bakes on a thread of its own, and listens for signals meanwhile.
fn bake(
    runtime: Runtime,
    request: &Request,
    output: &Path,
    images: Vec<Image>,
    blobs: Blobs,
) -> anyhow::Result<BuildReport> {
    let cancel = Arc::new(Cancel::default());
    let progress = Progress::new(request.quiet);
    let (done, finished) = tokio::sync::oneshot::channel::<()>();
    let worker = std::thread::spawn({
        let (output, options, cancel) = (output.to_owned(), request.build, Arc::clone(&cancel));
        move || {
            let report = larder_disk::build(&images, &blobs, &output, &options, &progress, &cancel);
            progress.clear();
            // Dropping it wakes the waiting side, also when the build panics.
            drop(done);
            report
        }
    });
    let waited = runtime.block_on(or_interrupted(async {
        let _closed = finished.await;
        Ok(())
    }));
    if waited.is_err() {
        cancel.cancel();
        // Ends every fetch, so that no worker waits for the network.
        runtime.shutdown_background();
    }
    let report = worker.join().map_err(|_| anyhow::anyhow!("the build ended unexpectedly"))?;
    waited.and(report.map_err(|error| match error {
        larder_disk::BuildError::Cancelled => Interrupted.into(),
        other => other.into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_skips_comments_and_names_the_line_of_a_mistake() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("images.txt");
        fs::write(&path, "# base\n\n redis:7 \noci:dir:v1\n").unwrap();
        let images: Vec<String> = read_list(&path).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(images, ["docker.io/library/redis:7", "oci:dir:v1"]);
        fs::write(&path, "redis\nUPPER\n").unwrap();
        let error = read_list(&path).unwrap_err();
        assert!(error.to_string().contains("images.txt:2: "), "{error}");
        assert_eq!(Exit::of(&error), Exit::Usage);
    }
}
