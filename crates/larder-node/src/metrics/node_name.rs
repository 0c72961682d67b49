//! The name of the node that this runs on, as Kubernetes has it where it says so.

/// Set in pods from `spec.nodeName`; a pod's host name is its own, not the node's.
const VARIABLE: &str = "NODE_NAME";

/// `NODE_NAME`, else the host name.
pub fn node_name() -> String {
    let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    choose(std::env::var(VARIABLE).ok().as_deref(), host)
}

fn choose(variable: Option<&str>, host: impl FnOnce() -> String) -> String {
    match variable.map(str::trim) {
        None | Some("") => host(),
        Some(name) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_comes_before_the_host_name_unless_it_is_empty() {
        let host = || "pod-x1".to_owned();
        assert_eq!(choose(Some("node-7"), host), "node-7");
        assert_eq!(choose(Some(" "), host), "pod-x1");
        assert_eq!(choose(None, host), "pod-x1");
        assert!(!node_name().is_empty());
    }
}
