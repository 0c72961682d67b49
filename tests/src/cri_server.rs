//! A runtime that is nothing but CRI: no containerd services, as CRI-O, and every answer to a pull as a test wants it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use larder_proto::cri::image_service_server::{ImageService, ImageServiceServer};
use larder_proto::cri::{
    FilesystemIdentifier, FilesystemUsage, Image, ImageFsInfoRequest, ImageFsInfoResponse, ImageSpec,
    ImageStatusRequest, ImageStatusResponse, ListImagesRequest, ListImagesResponse, PullImageRequest,
    PullImageResponse, RemoveImageRequest, RemoveImageResponse, VersionRequest, VersionResponse,
};
use tokio::net::UnixListener;
use tokio::task::AbortHandle;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, http};
use tonic::server::{Grpc, UnaryService};
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::{Service as _, service_fn};

use crate::blocking::wait;
use crate::workdir::Workdir;

const VERSION: &str = "/runtime.v1.RuntimeService/Version";
const IMAGES: &str = "/runtime.v1.ImageService/";
/// Longer than any test waits.
const FOREVER: Duration = Duration::from_mins(10);
/// What every image is said to weigh, in bytes.
pub const IMAGE_SIZE: u64 = 4096;

/// A pull that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    /// The image, as it was asked for.
    pub image: String,
    /// The user of the credential; none is anonymous.
    pub user: Option<String>,
    /// When.
    pub at: Instant,
    /// Whether it is the first, second, ... of its image, counted from 1.
    pub nth: usize,
}

/// What becomes of a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The image is there.
    Pulled,
    /// The image is there after so long.
    PulledAfter(Duration),
    /// An error.
    Fails(Code, String),
    /// Nothing, for longer than anybody waits.
    Hangs,
}

/// A running server; it ends on drop.
#[derive(Debug)]
pub struct CriServer {
    shared: Node,
    running: AbortHandle,
    dir: Workdir,
}

#[derive(Clone)]
struct Node(Arc<Shared>);

struct Shared {
    runtime: (&'static str, &'static str),
    script: Box<dyn Fn(&Pull) -> Answer + Send + Sync>,
    images_in: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    images: BTreeMap<String, Image>,
    pulls: Vec<Pull>,
    counts: BTreeMap<String, usize>,
    running: usize,
    most: usize,
}

impl CriServer {
    /// CRI-O, as far as CRI can tell; `script` answers pulls, on a thread that may block.
    pub fn start(script: impl Fn(&Pull) -> Answer + Send + Sync + 'static) -> Result<Self> {
        Self::start_with(("cri-o", "1.33.0"), None, script)
    }

    /// The same, of any name and version, which says that its images are in `images_in`.
    pub fn start_with(
        runtime: (&'static str, &'static str),
        images_in: Option<PathBuf>,
        script: impl Fn(&Pull) -> Answer + Send + Sync + 'static,
    ) -> Result<Self> {
        let dir = Workdir::new()?;
        let images_in = images_in.unwrap_or_else(|| dir.path().to_owned());
        let shared = Shared { runtime, script: Box::new(script), images_in, state: Mutex::default() };
        let shared = Node(Arc::new(shared));
        let (node, socket) = (shared.clone(), dir.join("crio.sock"));
        let running = wait(async move { serve(node, &socket) })?;
        Ok(Self { shared, running, dir })
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("crio.sock")
    }

    /// The pulls so far.
    pub fn pulls(&self) -> Vec<Pull> {
        self.shared.state().pulls.clone()
    }

    /// The most pulls that were under way at the same time.
    pub fn most_at_once(&self) -> usize {
        self.shared.state().most
    }

    /// The names of the images that it has.
    pub fn images(&self) -> Vec<String> {
        self.shared.state().images.keys().cloned().collect()
    }

    /// Gives it an image, as if it had been pulled before.
    pub fn add(&self, name: &str) {
        self.shared.add(name);
    }
}

impl Drop for CriServer {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Within a runtime.
fn serve(node: Node, socket: &Path) -> Result<AbortHandle> {
    let listener = UnixListener::bind(socket).with_context(|| format!("listen at {}", socket.display()))?;
    let incoming = futures_util::stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    let images = ImageServiceServer::new(node.clone());
    let service = service_fn(move |request: http::Request<Body>| {
        let (mut images, node) = (images.clone(), node.clone());
        async move {
            let path = request.uri().path();
            let answer = match path {
                VERSION => Grpc::new(ProstCodec::default()).unary(node, request).await,
                path if path.starts_with(IMAGES) => images.call(request).await?,
                _ => Status::unimplemented("unknown service").into_http(),
            };
            Ok::<_, Infallible>(answer)
        }
    });
    let task = tokio::spawn(Server::builder().serve_with_incoming(service, Box::pin(incoming)));
    Ok(task.abort_handle())
}

impl Node {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, name: &str) {
        let image = Image {
            id: format!("sha256:{name}"),
            repo_tags: vec![completed(name)],
            size: IMAGE_SIZE,
            ..Image::default()
        };
        self.state().images.insert(completed(name), image);
    }

    fn begin(&self, request: PullImageRequest) -> Pull {
        let mut state = self.state();
        let image = image_of(request.image);
        let count = state.counts.entry(image.clone()).or_default();
        *count += 1;
        let nth = *count;
        let pull = Pull { image, user: request.auth.map(|auth| auth.username), at: Instant::now(), nth };
        state.pulls.push(pull.clone());
        state.running += 1;
        state.most = state.most.max(state.running);
        pull
    }

    async fn answer(&self, pull: &Pull) -> Result<(), Status> {
        let (node, asked) = (self.clone(), pull.clone());
        let answer = tokio::task::spawn_blocking(move || (node.0.script)(&asked)).await;
        match answer.map_err(|error| Status::internal(error.to_string()))? {
            Answer::Pulled => {}
            Answer::PulledAfter(time) => tokio::time::sleep(time).await,
            Answer::Fails(code, message) => return Err(Status::new(code, message)),
            Answer::Hangs => tokio::time::sleep(FOREVER).await,
        }
        self.add(&pull.image);
        Ok(())
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").finish_non_exhaustive()
    }
}

/// A pull counts as under way until it is answered, or the client has gone away.
struct UnderWay(Node);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.state().running -= 1;
    }
}

/// CRI-O's own rule for short names, with one registry to search.
fn completed(name: &str) -> String {
    match name.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) => name.to_owned(),
        _ => format!("quay.example/{name}"),
    }
}

fn image_of(spec: Option<ImageSpec>) -> String {
    spec.unwrap_or_default().image
}

impl UnaryService<VersionRequest> for Node {
    type Response = VersionResponse;
    type Future = BoxFuture<Response<VersionResponse>, Status>;

    fn call(&mut self, _: Request<VersionRequest>) -> Self::Future {
        let (name, version) = self.0.runtime;
        let answer = VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: name.to_owned(),
            runtime_version: version.to_owned(),
            runtime_api_version: "v1".to_owned(),
        };
        Box::pin(async move { Ok(Response::new(answer)) })
    }
}

#[tonic::async_trait]
impl ImageService for Node {
    async fn list_images(
        &self,
        _: Request<ListImagesRequest>,
    ) -> Result<Response<ListImagesResponse>, Status> {
        Ok(Response::new(ListImagesResponse { images: self.state().images.values().cloned().collect() }))
    }

    async fn image_status(
        &self,
        request: Request<ImageStatusRequest>,
    ) -> Result<Response<ImageStatusResponse>, Status> {
        let name = completed(&image_of(request.into_inner().image));
        let image = self.state().images.get(&name).cloned();
        Ok(Response::new(ImageStatusResponse { image, ..ImageStatusResponse::default() }))
    }

    async fn pull_image(
        &self,
        request: Request<PullImageRequest>,
    ) -> Result<Response<PullImageResponse>, Status> {
        let pull = self.begin(request.into_inner());
        let _under_way = UnderWay(self.clone());
        self.answer(&pull).await?;
        Ok(Response::new(PullImageResponse { image_ref: format!("sha256:{}", pull.image) }))
    }

    async fn remove_image(
        &self,
        request: Request<RemoveImageRequest>,
    ) -> Result<Response<RemoveImageResponse>, Status> {
        let name = completed(&image_of(request.into_inner().image));
        self.state().images.remove(&name);
        Ok(Response::new(RemoveImageResponse {}))
    }

    async fn image_fs_info(
        &self,
        _: Request<ImageFsInfoRequest>,
    ) -> Result<Response<ImageFsInfoResponse>, Status> {
        let mountpoint = self.0.images_in.to_string_lossy().into_owned();
        let system = FilesystemUsage {
            fs_id: Some(FilesystemIdentifier { mountpoint }),
            ..FilesystemUsage::default()
        };
        Ok(Response::new(ImageFsInfoResponse {
            image_filesystems: vec![system],
            ..ImageFsInfoResponse::default()
        }))
    }
}
