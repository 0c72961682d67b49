//! Which key of a credential file is for which repository. Pure.
//!
//! A key is `HOST[:PORT][/PATH]`, with or without a scheme and the `/v1/` or `/v2/` that Docker once wrote; `*` in a
//! host stands for any part of one label. [`closest`] gives one answer, and there a path ends between two components, so
//! `host/team` is not for `host/team-b`: a credential goes only where it belongs. [`all`] gives every answer, by the kubelet's
//! own rules: what it would pull with, a prefetch has to pull with.

mod glob;

use std::cmp::Reverse;

use crate::endpoint;
use glob::glob;

/// How closely a key names a repository: the longer path wins, then the host with fewer wildcards.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Closeness {
    path_components: usize,
    wildcards: Reverse<usize>,
}

/// The key among `keys` that names `repository` of `registry` most closely.
pub(super) fn closest<'a>(
    keys: impl Iterator<Item = &'a str>,
    registry: &str,
    repository: &str,
) -> Option<&'a str> {
    let rated = keys.filter_map(|key| Some((rate(key, registry, repository)?, key)));
    rated.max_by(|(a, _), (b, _)| a.cmp(b)).map(|(_, key)| key)
}

/// Every key among `keys` that the kubelet would take for `repository` of `registry`, in its order: by the host and path that
/// they name, the last first, so that longer paths come before shorter ones, and names before wildcards.
pub(super) fn all<'a>(keys: impl Iterator<Item = &'a str>, registry: &str, repository: &str) -> Vec<&'a str> {
    let named = keys.filter(|key| is_for(key, registry, repository));
    let mut sorted: Vec<(String, &str)> = named.map(|key| (canonical(key), key)).collect();
    sorted.sort_by(|a, b| b.cmp(a));
    sorted.into_iter().map(|(_, key)| key).collect()
}

/// Whether the kubelet would take `key` for `repository` of `registry`: a path is any beginning of the repository.
pub(super) fn is_for(key: &str, registry: &str, repository: &str) -> bool {
    let (host, path) = split(key);
    matches_host(&endpoint::canonical_host(host), &endpoint::canonical_host(registry))
        && repository.starts_with(path)
}

fn canonical(key: &str) -> String {
    let (host, path) = split(key);
    format!("{}/{path}", endpoint::canonical_host(host))
}

/// Whether `key` names the host `registry`, whatever its path.
pub(super) fn names_host(key: &str, registry: &str) -> bool {
    let (host, _) = split(key);
    endpoint::canonical_host(host) == endpoint::canonical_host(registry)
}

fn rate(key: &str, registry: &str, repository: &str) -> Option<Closeness> {
    let (host, path) = split(key);
    let path = path.trim_end_matches('/');
    let host = endpoint::canonical_host(host);
    let host_matches = matches_host(&host, &endpoint::canonical_host(registry));
    let path_components = components(path, repository)?;
    host_matches.then(|| Closeness { path_components, wildcards: Reverse(host.matches('*').count()) })
}

/// Host with port, and path without the slash before it.
fn split(key: &str) -> (&str, &str) {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let path = match path {
        "v1" | "v2" => "",
        _ => path.strip_prefix("v1/").or_else(|| path.strip_prefix("v2/")).unwrap_or(path),
    };
    (host, path)
}

fn matches_host(pattern: &str, host: &str) -> bool {
    let (pattern, pattern_port) = endpoint::split_port(pattern);
    let (host, port) = endpoint::split_port(host);
    if pattern.contains(':') {
        // The brackets of an IPv6 address are no class of characters.
        return pattern_port == port && pattern == host;
    }
    let same_length = pattern.split('.').count() == host.split('.').count();
    let labels_match = pattern.split('.').zip(host.split('.')).all(|(pattern, label)| glob(pattern, label));
    pattern_port == port && same_length && labels_match
}

/// How many whole components of `repository` the path spells out; none where it names another one.
fn components(path: &str, repository: &str) -> Option<usize> {
    if path.is_empty() {
        return Some(0);
    }
    let rest = repository.strip_prefix(path)?;
    (rest.is_empty() || rest.starts_with('/')).then(|| path.split('/').count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_for_its_registry_and_path_alone() {
        let table = [
            ("ghcr.io", "ghcr.io", "team/x", true),
            ("https://ghcr.io", "ghcr.io", "team/x", true),
            ("https://ghcr.io/v1/", "ghcr.io", "team/x", true),
            ("https://ghcr.io/v2", "ghcr.io", "team/x", true),
            ("GHCR.io", "ghcr.io", "team/x", true),
            ("ghcr.io/team", "ghcr.io", "team/x", true),
            ("ghcr.io/team/x", "ghcr.io", "team/x", true),
            ("ghcr.io/team/", "ghcr.io", "team/x", true),
            ("ghcr.io/tea", "ghcr.io", "team/x", false),
            ("ghcr.io/team/x/y", "ghcr.io", "team/x", false),
            ("ghcr.io/team", "ghcr.io", "team-b/x", false),
            ("ghcr.io.evil.example", "ghcr.io", "team/x", false),
            ("evil.example/ghcr.io", "ghcr.io", "team/x", false),
            ("ghcr.io:5000", "ghcr.io", "team/x", false),
            ("ghcr.io", "ghcr.io:5000", "team/x", false),
            ("localhost:5000", "localhost:5000", "x", true),
            ("[::1]:5000", "[::1]:5000", "x", true),
            ("https://index.docker.io/v1/", "docker.io", "library/x", true),
            ("index.docker.io", "docker.io", "library/x", true),
            ("docker.io/library", "docker.io", "library/x", true),
            ("docker.io", "docker.io.example", "library/x", false),
            ("*.dkr.example", "a.dkr.example", "x", true),
            ("*.dkr.example", "a.b.dkr.example", "x", false),
            ("*.dkr.example", "dkr.example", "x", false),
            ("a*-b.example:1", "a1-b.example:1", "x", true),
            ("*.example", "a.example:1", "x", false),
            ("*", "ghcr.io", "x", false),
            ("", "ghcr.io", "x", false),
        ];
        for (key, registry, repository, expected) in table {
            assert_eq!(
                rate(key, registry, repository).is_some(),
                expected,
                "{key} for {registry}/{repository}"
            );
        }
    }

    #[test]
    fn the_closest_key_wins() {
        let keys = ["*.io", "ghcr.io", "ghcr.io/team/x", "ghcr.io/team", "ghcr.io/other", "*.io/team/x/y"];
        let closest = |registry, repository| closest(keys.into_iter(), registry, repository);
        assert_eq!(closest("ghcr.io", "team/x"), Some("ghcr.io/team/x"));
        assert_eq!(closest("ghcr.io", "team/y"), Some("ghcr.io/team"));
        assert_eq!(closest("ghcr.io", "z"), Some("ghcr.io"));
        assert_eq!(closest("ghcr.io", "team/x/y"), Some("*.io/team/x/y"));
        assert_eq!(closest("quay.io", "z"), Some("*.io"));
        assert_eq!(closest("quay.example", "z"), None);
    }

    #[test]
    fn the_kubelet_takes_every_key_that_fits_and_any_beginning_of_a_path() {
        let table = [
            ("ghcr.io/tea", "ghcr.io", "team/x", true),
            ("ghcr.io/team/", "ghcr.io", "team/x", true),
            ("ghcr.io/team/", "ghcr.io", "team-b/x", false),
            ("https://ghcr.io/v1/team", "ghcr.io", "team/x", true),
            ("ghcr.io/team/x/y", "ghcr.io", "team/x", false),
            ("*.kubernetes.io", "kubernetes.io", "x", false),
            ("*.*.kubernetes.io", "abc.kubernetes.io", "x", false),
            ("prefix.*.io", "prefix.kubernetes.io", "x", true),
            ("*-good.kubernetes.io", "prefix-good.kubernetes.io", "x", true),
            ("*.azurecr.?o", "team.azurecr.io", "x", true),
            ("[a-c]r.io", "br.io", "x", true),
            ("[r.io", "[r.io", "x", false),
            ("gcr.io:*", "gcr.io:5000", "x", false),
            ("https://index.docker.io/v1/", "docker.io", "library/x", true),
            ("https://registry-1.docker.io/v2/", "docker.io", "library/x", true),
            ("", "docker.io", "library/x", false),
        ];
        for (key, registry, repository, expected) in table {
            assert_eq!(is_for(key, registry, repository), expected, "{key} for {registry}/{repository}");
        }
    }

    #[test]
    fn the_kubelet_begins_with_the_longest_path_and_ends_with_wildcards() {
        let keys = ["*.io", "https://ghcr.io/v2/team", "ghcr.io", "ghcr.io/team/x", "quay.io", "g*.io/team"];
        let all = |repository| all(keys.into_iter(), "ghcr.io", repository);
        assert_eq!(
            all("team/x"),
            ["ghcr.io/team/x", "https://ghcr.io/v2/team", "ghcr.io", "g*.io/team", "*.io"]
        );
        assert_eq!(all("z"), ["ghcr.io", "*.io"]);
    }
}
