//! Which containerd it is, and what is known of that version.

use larder_proto::containerd::services::version::v1::version_client::VersionClient;

use super::{Containerd, ContainerdError, call};

impl Containerd {
    /// The version as containerd gives it: `1.7.24~ds1`, `v2.1.5-k3s1`.
    pub(crate) async fn version(&self) -> Result<String, ContainerdError> {
        let mut client = VersionClient::new(self.channel());
        Ok(call("tell its version".to_owned(), client.version(self.request(()))).await?.version)
    }
}

/// Whether this containerd serves pods with `hostUsers: false` by an idmapped mount of its `snapshots/` directory, which links
/// lead out of: they would see wrong owners on attached layers. A version that cannot be read is taken for a new one.
pub(crate) fn idmaps_snapshots(version: &str) -> bool {
    match numbers(version) {
        Some((0..=1, _, _)) => false,
        Some((2, 0, patch)) => patch >= 7,
        Some((2, 1, patch)) => patch >= 5,
        _ => true,
    }
}

/// Major, minor and patch; what follows, such as a distribution's own count or `-rc.1`, is left out.
fn numbers(version: &str) -> Option<(u32, u32, u32)> {
    let mut parts = version.trim_start_matches('v').splitn(3, '.');
    let (major, minor, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let patch = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?, patch.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_from_the_versions_that_idmap_the_snapshots() {
        for version in ["1.6.20~ds1", "v1.7.24", "1.7.29", "2.0.0", "2.0.6", "v2.1.4-k3s1"] {
            assert!(!idmaps_snapshots(version), "{version}");
        }
        for version in
            ["2.0.7", "2.1.5", "v2.1.9-k3s1", "2.1.9~ds1", "2.2.0-rc.0", "2.3.4", "3.0.0", "", "main"]
        {
            assert!(idmaps_snapshots(version), "{version}");
        }
    }
}
