//! The least that pulls a list of images: CRI's `PullImage`, so many at a time, and nothing else. A program of its own, so that
//! it can be measured as `larder fetch` is.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use larder_proto::cri::image_service_client::ImageServiceClient;
use larder_proto::cri::{ImageSpec, PullImageRequest};
use tonic::transport::Endpoint;

/// What is pulled, and through which runtime.
#[derive(clap::Args, Debug)]
pub(crate) struct BarePullArgs {
    /// The runtime's socket
    #[arg(long)]
    socket: PathBuf,
    /// Images that are pulled at the same time
    #[arg(long)]
    parallel: NonZeroUsize,
    images: Vec<String>,
}

pub(crate) fn run(args: &BarePullArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(pull_all(args))
}

async fn pull_all(args: &BarePullArgs) -> Result<()> {
    let BarePullArgs { socket, parallel, images } = args;
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
    let client = ImageServiceClient::new(endpoint.connect().await.context("connect")?);
    let pulls = images.iter().map(|image| {
        let mut client = client.clone();
        let spec = ImageSpec { image: image.clone(), ..ImageSpec::default() };
        let request = PullImageRequest { image: Some(spec), auth: None, sandbox_config: None };
        async move { client.pull_image(request).await.with_context(|| format!("pull {image}")).map(drop) }
    });
    stream::iter(pulls).buffer_unordered(parallel.get()).try_collect().await
}
