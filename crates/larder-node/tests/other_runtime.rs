//! What answers CRI and is no containerd is refused by the name that it gives itself, before anything is touched.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::Path;
use std::task::{Context, Poll};

use futures_util::stream;
use larder_node::{AttachOptions, DiskSource, NodeOptions, attach, status};
use larder_proto::cri::{VersionRequest, VersionResponse};
use tokio::net::{UnixListener, UnixStream};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, UnaryService};
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// Answers CRI's `Version`, and knows no service of containerd's.
#[derive(Clone, Copy)]
struct Runtime(&'static str);

impl UnaryService<VersionRequest> for Runtime {
    type Response = VersionResponse;
    type Future = Ready<Result<Response<VersionResponse>, Status>>;

    fn call(&mut self, _: Request<VersionRequest>) -> Self::Future {
        ready(Ok(Response::new(VersionResponse {
            runtime_name: self.0.to_owned(),
            ..VersionResponse::default()
        })))
    }
}

impl Service<http::Request<Body>> for Runtime {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let runtime = *self;
        Box::pin(async move {
            if request.uri().path() != "/runtime.v1.RuntimeService/Version" {
                return Ok(Status::unimplemented("").into_http());
            }
            Ok(Grpc::new(ProstCodec::default()).unary(runtime, request).await)
        })
    }
}

fn serve(socket: &Path, name: &'static str) {
    let listener = UnixListener::bind(socket).unwrap();
    let accept = |listener: UnixListener| async {
        let accepted: std::io::Result<UnixStream> = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    };
    let incoming = stream::unfold(listener, accept);
    tokio::spawn(Server::builder().serve_with_incoming(Runtime(name), Box::pin(incoming)));
}

#[tokio::test]
async fn cri_o_and_cri_dockerd_are_refused_by_name() {
    for (name, said) in [("cri-o", "CRI-O"), ("docker", "Docker with cri-dockerd"), ("other", "other")] {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("runtime.sock");
        let state_dir = directory.path().join("state");
        serve(&socket, name);
        let options =
            NodeOptions { socket: Some(socket), state_dir: state_dir.clone(), ..NodeOptions::default() };
        let disk = DiskSource::Directory(directory.path().to_owned());
        let attached = Box::pin(attach(&options, &disk, &[], AttachOptions::default()));
        let attached = attached.await.unwrap_err().to_string();
        // Whoever runs this listens too: another user than root is refused for that already.
        let refusal =
            if rustix::process::getuid().is_root() { format!("is {said}: ") } else { "rootless".to_owned() };
        assert!(attached.contains(&refusal) && attached.contains("larder fetch"), "{attached}");
        assert_eq!(status(&options).await.unwrap_err().to_string(), attached);
        assert!(!state_dir.exists(), "nothing is touched");
    }
}
