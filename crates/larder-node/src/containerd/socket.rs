//! Where containerd listens, and who listens there.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixStream;

use super::ContainerdError;

/// containerd itself; k3s and RKE2; `MicroK8s`. Relative to the root of the file system.
const SOCKETS: [&str; 3] = [
    "run/containerd/containerd.sock",
    "run/k3s/containerd/containerd.sock",
    "var/snap/microk8s/common/run/containerd.sock",
];
/// What else may be a node's runtime: its name, and its socket.
const OTHERS: [(&str, &str); 3] = [
    ("CRI-O", "run/crio/crio.sock"),
    ("Docker with cri-dockerd", "run/cri-dockerd.sock"),
    ("Docker", "run/docker.sock"),
];
/// Below `run/user/<uid>`, what rootless containerd and rootless k3s leave.
const ROOTLESS: [&str; 2] = ["containerd-rootless", "k3s/containerd/containerd.sock"];
/// A daemon that listens takes a connection at once; one that hangs with a full queue does not.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// What is at a socket's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    /// Nothing.
    Absent,
    /// A socket, and nobody who listens.
    Silent,
    /// Somebody who listens, or whom this user may not ask.
    Listens,
}

/// Who listens at a socket, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// As this process counts users.
    pub(crate) uid: u32,
    /// None where it is in another process namespace.
    pub(crate) pid: Option<i32>,
}

/// The socket that was named, or the one of the usual ones at which somebody listens.
pub(crate) async fn find_socket(named: Option<&Path>) -> Result<PathBuf, ContainerdError> {
    match named {
        Some(named) => Ok(named.to_owned()),
        None => find_below(Path::new("/")).await,
    }
}

/// Who listens at `socket`; none where nobody can be asked.
pub(crate) async fn peer(socket: &Path) -> Option<Peer> {
    let stream = tokio::time::timeout(PROBE_TIMEOUT, UnixStream::connect(socket)).await.ok()?.ok()?;
    let credentials = stream.peer_cred().ok()?;
    Some(Peer { uid: credentials.uid(), pid: credentials.pid().filter(|pid| *pid > 0) })
}

async fn find_below(root: &Path) -> Result<PathBuf, ContainerdError> {
    let mut probes = Vec::with_capacity(SOCKETS.len());
    for socket in SOCKETS {
        let path = root.join(socket);
        let probe = probe(&path).await;
        probes.push((path, probe));
    }
    let others =
        if probes.iter().all(|(_, probe)| *probe == Probe::Absent) { others(root) } else { Vec::new() };
    choose(&probes, &others)
}

async fn probe(socket: &Path) -> Probe {
    match tokio::time::timeout(PROBE_TIMEOUT, UnixStream::connect(socket)).await {
        Ok(Err(error)) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Probe::Absent,
            io::ErrorKind::ConnectionRefused => Probe::Silent,
            _ => Probe::Listens,
        },
        Ok(Ok(_)) | Err(_) => Probe::Listens,
    }
}

/// Runtimes that Larder does not attach to, by name, where their sockets are.
fn others(root: &Path) -> Vec<String> {
    let found = |(name, socket): &(&str, &str)| {
        let path = root.join(socket);
        path.exists().then(|| format!("{name} at {}", path.display()))
    };
    let mut others: Vec<_> = OTHERS.iter().filter_map(found).collect();
    for user in root.join("run/user").read_dir().into_iter().flatten().flatten() {
        let rootless = ROOTLESS.iter().map(|path| user.path().join(path)).find(|path| path.exists());
        others.extend(rootless.map(|path| format!("rootless containerd at {}", path.display())));
    }
    others
}

fn choose(probes: &[(PathBuf, Probe)], others: &[String]) -> Result<PathBuf, ContainerdError> {
    let listening: Vec<_> = probes.iter().filter(|(_, probe)| *probe == Probe::Listens).collect();
    match (&listening[..], others) {
        ([(socket, _)], _) => Ok(socket.clone()),
        ([], []) => Err(ContainerdError::NoSocket { tried: list(probes) }),
        ([], others) => Err(ContainerdError::OtherRuntime { found: others.join(", ") }),
        (several, _) => {
            let running: Vec<_> = several.iter().map(|(socket, _)| socket.display().to_string()).collect();
            Err(ContainerdError::SeveralSockets { running: running.join(" and ") })
        }
    }
}

fn list(probes: &[(PathBuf, Probe)]) -> String {
    let one = |(path, probe): &(PathBuf, Probe)| format!("{}{probe}", path.display());
    probes.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent | Self::Listens => "",
            Self::Silent => " (where nobody listens)",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::net::UnixListener;

    use super::*;

    fn listen(root: &Path, socket: &str) -> UnixListener {
        let path = root.join(socket);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        UnixListener::bind(path).unwrap()
    }

    #[tokio::test]
    async fn the_one_that_listens_is_found_wherever_it_is() {
        for socket in SOCKETS {
            let root = tempfile::tempdir().unwrap();
            let _listener = listen(root.path(), socket);
            assert_eq!(find_below(root.path()).await.unwrap(), root.path().join(socket));
        }
        assert_eq!(find_socket(Some(Path::new("/x"))).await.unwrap(), Path::new("/x"));
    }

    #[tokio::test]
    async fn a_socket_that_was_left_behind_does_not_count() {
        let root = tempfile::tempdir().unwrap();
        drop(listen(root.path(), SOCKETS[0]));
        let error = find_below(root.path()).await.unwrap_err().to_string();
        assert!(error.contains("containerd.sock (where nobody listens), "), "{error}");
        let _listener = listen(root.path(), SOCKETS[1]);
        assert_eq!(find_below(root.path()).await.unwrap(), root.path().join(SOCKETS[1]));
    }

    #[tokio::test]
    async fn several_that_listen_are_named_and_none_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let _listeners = [listen(root.path(), SOCKETS[0]), listen(root.path(), SOCKETS[2])];
        let error = find_below(root.path()).await.unwrap_err().to_string();
        assert!(
            error.contains(SOCKETS[0]) && error.contains(SOCKETS[2]) && error.contains("--containerd"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn another_runtime_is_named() {
        for (name, socket) in OTHERS {
            let root = tempfile::tempdir().unwrap();
            let _listener = listen(root.path(), socket);
            let error = find_below(root.path()).await.unwrap_err().to_string();
            assert!(error.contains(&format!("{name} at ")) && error.contains("larder fetch"), "{error}");
        }
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("run/user/1000/containerd-rootless")).unwrap();
        let error = find_below(root.path()).await.unwrap_err().to_string();
        assert!(error.contains("rootless containerd at "), "{error}");
    }

    #[tokio::test]
    async fn the_kernel_says_who_listens() {
        let root = tempfile::tempdir().unwrap();
        let _listener = listen(root.path(), "s");
        let peer = peer(&root.path().join("s")).await.unwrap();
        assert_eq!(peer.pid, i32::try_from(std::process::id()).ok());
        assert_eq!(super::peer(&root.path().join("none")).await, None);
    }
}
