//! What attached images cannot do on a node, by its runtime's version.

use super::Node;
use crate::containerd::idmaps_snapshots;

impl Node {
    /// The limits, in words; empty where there are none.
    pub(crate) fn limits(&self) -> Vec<String> {
        limits(&self.version)
    }

    /// Says them, once a run.
    pub(crate) fn warn_of_limits(&self) {
        for limit in self.limits() {
            tracing::warn!("{limit}");
        }
    }
}

fn limits(version: &str) -> Vec<String> {
    let user_namespaces = format!(
        "containerd {version} shows wrong owners on attached layers to pods with `hostUsers: false`, which may not even start: keep those away from this node"
    );
    idmaps_snapshots(version).then_some(user_namespaces).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_names_the_version_and_the_pods() {
        assert_eq!(limits("1.7.24"), Vec::<String>::new());
        let [limit] = &limits("2.1.9")[..] else { panic!("one limit") };
        assert!(limit.contains("2.1.9") && limit.contains("hostUsers: false"), "{limit}");
    }
}
