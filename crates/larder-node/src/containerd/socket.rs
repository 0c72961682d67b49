//! Where containerd listens.

use std::path::{Path, PathBuf};

use super::ContainerdError;

/// containerd itself; k3s and RKE2; `MicroK8s`.
const SOCKETS: [&str; 3] = [
    "/run/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
];

/// The socket that was named, or the first of the usual ones that exists.
pub(crate) fn find_socket(
    named: Option<&Path>,
    exists: impl Fn(&Path) -> bool,
) -> Result<PathBuf, ContainerdError> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let usual = SOCKETS.iter().map(Path::new).find(|socket| exists(socket));
    usual.map(Path::to_owned).ok_or_else(|| ContainerdError::NoSocket { tried: SOCKETS.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_socket_wins_and_the_usual_ones_are_tried_in_order() {
        let k3s = Path::new(SOCKETS[1]);
        assert_eq!(find_socket(Some(Path::new("/x")), |_| true).unwrap(), Path::new("/x"));
        assert_eq!(find_socket(None, |_| true).unwrap(), Path::new(SOCKETS[0]));
        assert_eq!(find_socket(None, |socket| socket == k3s).unwrap(), k3s);
        let error = find_socket(None, |_| false).unwrap_err().to_string();
        assert!(error.contains(SOCKETS[2]), "{error}");
    }
}
