//! `larder fetch`: reads the list, lets the node pull, and says of each image what became of it.

mod deliver;
mod pull_secrets;
mod registries;
mod show;
mod told;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use larder_node::fetch::{FetchError, FetchOptions, ImageList, Limits, fetch};
use larder_node::metrics::node_name;
use tokio::runtime::{Builder, Runtime};

use super::UsageError;
use crate::cli::{FetchArgs, SecretName};
use crate::exit::Exit;
use crate::interrupt::or_interrupted;
use crate::printer;
use deliver::Delivery;
use pull_secrets::PullSecrets;
pub(super) use registries::RegistryAccess;
use show::Show;
use told::Told;

/// A checked request to fetch.
struct Request {
    list: ImageList,
    options: FetchOptions,
    registries: RegistryAccess,
    pull_secrets: Vec<SecretName>,
    delivery: Delivery,
    quiet: bool,
}

impl TryFrom<FetchArgs> for Request {
    type Error = anyhow::Error;

    fn try_from(args: FetchArgs) -> Result<Self, Self::Error> {
        let list = list(&args)?;
        let FetchArgs {
            images: _,
            cri_socket,
            image_list_file: _,
            docker_config,
            image_credential_provider_config: provider_config,
            image_credential_provider_bin_dir: provider_directory,
            pull_secret: pull_secrets,
            max_parallel_pulls,
            start_spread,
            min_free,
            always,
            initial_pull_attempt_timeout,
            max_pull_attempt_timeout,
            initial_pull_attempt_delay,
            max_pull_attempt_delay,
            overall_timeout,
            image_list_timeout,
            metrics_endpoint,
            metrics_ca_cert,
            metrics_token_file,
            debug,
            quiet,
        } = args;
        if given(&provider_config).is_some() != given(&provider_directory).is_some() {
            let pair = "--image-credential-provider-config and --image-credential-provider-bin-dir";
            return Err(UsageError(format!("{pair} need each other")).into());
        }
        let plugins = given(&provider_config).zip(given(&provider_directory));
        let registries = RegistryAccess::new(given(&docker_config), plugins)?;
        let target = Some(metrics_endpoint.as_str()).filter(|target| !target.is_empty());
        let node = node_name();
        let delivery =
            Delivery::new(&node, target, metrics_ca_cert.as_deref(), metrics_token_file.as_deref())?;
        let options = FetchOptions {
            socket: socket(&cri_socket),
            limits: Limits {
                initial_attempt: initial_pull_attempt_timeout,
                max_attempt: max_pull_attempt_timeout,
                initial_delay: initial_pull_attempt_delay,
                max_delay: max_pull_attempt_delay,
            },
            overall: overall_timeout,
            max_parallel: max_parallel_pulls,
            start_spread,
            node,
            insist_on_floor: min_free.is_some(),
            min_free: min_free.unwrap_or_default(),
            always,
            count_within: debug.then_some(image_list_timeout),
        };
        Ok(Self { list, options, registries, pull_secrets, delivery, quiet })
    }
}

pub(super) fn run(args: FetchArgs) -> anyhow::Result<Exit> {
    let Request { list, options, registries, pull_secrets, mut delivery, quiet } = args.try_into()?;
    let told = Told::new(Show::new(quiet), delivery.wants_results());
    let (fetched, delivered) = runtime()?.block_on(async {
        delivery.find_label().await;
        let work = async {
            let registries = registries.with_pull_secrets(PullSecrets::read(pull_secrets).await?);
            let pulls = Box::pin(fetch(list, &options, &registries, &told));
            Ok(tokio::join!(pulls, delivery.begun()).0)
        };
        let fetched = or_interrupted(work).await;
        let succeeded = matches!(&fetched, Ok(Ok(report)) if !report.has_failures());
        let attempts = told.into_attempts();
        // A second signal ends this, too.
        let delivered = or_interrupted(async {
            delivery.ended(&attempts, succeeded).await;
            Ok(())
        });
        (fetched, delivered.await)
    });
    match fetched? {
        Err(FetchError::Runtime(error)) => {
            printer::error(&error.into());
            delivered.map(|()| Exit::Unreachable)
        }
        Err(error) => Err(error.into()),
        Ok(report) if report.has_failures() => delivered.map(|()| Exit::Failed),
        Ok(_) => delivered.map(|()| Exit::Done),
    }
}

/// One thread does: it only waits for the runtime, and a node has better use for the memory of more.
fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
}

/// The images of the file, then those that were typed.
fn list(args: &FetchArgs) -> anyhow::Result<ImageList> {
    let FetchArgs { images, image_list_file, .. } = args;
    let text = match given(image_list_file) {
        Some(path) => read_list(path)?,
        None if images.is_empty() => {
            return Err(UsageError("no image is named: give images, or --image-list-file".to_owned()).into());
        }
        None => String::new(),
    };
    let typed = images.iter().map(|image| image.name.as_str());
    Ok(ImageList::parse(text.lines().chain(typed)))
}

/// Bytes that are no UTF-8 make bad lines, not a bad list.
fn read_list(path: &Path) -> anyhow::Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read the image list {}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned())
}

/// A flag of the prefetcher's is off when its value is empty.
fn given(path: &OsStr) -> Option<&Path> {
    Some(Path::new(path)).filter(|path| !path.as_os_str().is_empty())
}

/// As a path, or as kubelet and crictl write endpoints.
pub(super) fn socket(typed: &Path) -> PathBuf {
    typed.strip_prefix("unix:").map_or_else(|_| typed.to_owned(), |path| Path::new("/").join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_may_be_written_as_endpoints() {
        for typed in ["/run/crio/crio.sock", "unix:///run/crio/crio.sock"] {
            assert_eq!(socket(Path::new(typed)), Path::new("/run/crio/crio.sock"), "{typed}");
        }
    }
}
