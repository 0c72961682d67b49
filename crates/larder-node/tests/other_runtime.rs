//! What answers CRI and is no containerd is refused by the name that it gives itself, before anything is touched.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::Path;
use std::task::{Context, Poll};

use futures_util::stream;
use larder_node::{AttachOptions, DiskSource, NodeOptions, attach, status};
use tokio::net::{UnixListener, UnixStream};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::transport::Server;

/// Answers CRI's `Version`, and knows no service of containerd's.
#[derive(Clone, Copy)]
struct Runtime(&'static str);

impl Service<http::Request<Body>> for Runtime {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// One message of one field: `runtime_name` is the second string of `VersionResponse`.
    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = http::Response::builder().header("content-type", "application/grpc");
        if request.uri().path() != "/runtime.v1.RuntimeService/Version" {
            let unimplemented = answer.header("grpc-status", "12");
            return ready(Ok(unimplemented.body(Body::empty()).unwrap()));
        }
        let length = |text: &str| char::from(u8::try_from(text.len()).unwrap());
        let message = format!("\x12{}{}", length(self.0), self.0);
        let frame = format!("\0\0\0\0{}{message}", length(&message));
        ready(Ok(answer.body(Body::new(frame)).unwrap()))
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
