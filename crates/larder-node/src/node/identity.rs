//! Who answers at a socket: asked of the kernel and of CRI.

use std::fs;

use larder_proto::cri::VersionRequest;
use larder_proto::cri::runtime_service_client::RuntimeServiceClient;

use crate::containerd::{Containerd, Peer, call};

/// The users of the peer's namespace; none where its process cannot be seen from here.
pub(super) fn user_map(peer: Peer) -> Option<String> {
    fs::read_to_string(format!("/proc/{}/uid_map", peer.pid?)).ok()
}

/// What CRI calls the runtime: `containerd`, `cri-o`, `docker`; none where nobody speaks CRI there.
pub(super) async fn runtime_name(containerd: &Containerd) -> Option<String> {
    let mut client = RuntimeServiceClient::new(containerd.channel());
    let answer = call("tell CRI's runtime".to_owned(), client.version(VersionRequest::default())).await;
    answer.ok().map(|answer| answer.runtime_name)
}
