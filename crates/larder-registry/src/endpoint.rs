//! Which URL a registry's name stands for, and which names mean the same registry.

use reqwest::Url;

use crate::options::PlainHttp;

const DOCKER_HUB: &str = "docker.io";
/// Where Docker Hub answers the distribution protocol.
const DOCKER_HUB_API: &str = "registry-1.docker.io";

/// The root of a registry's API, such as `https://registry-1.docker.io/`; none for a host that makes no URL.
pub(crate) fn base_url(registry: &str, plain_http: &PlainHttp) -> Option<Url> {
    let scheme = if plain_http.covers(registry) { "http" } else { "https" };
    let host = if registry == DOCKER_HUB { DOCKER_HUB_API } else { registry };
    Url::parse(&format!("{scheme}://{host}/")).ok()
}

/// The one name for all of Docker Hub's, and every other host as it is, in lower case.
pub(crate) fn canonical_host(host: &str) -> String {
    match host.to_ascii_lowercase().as_str() {
        DOCKER_HUB | "index.docker.io" | DOCKER_HUB_API => DOCKER_HUB.to_owned(),
        other => other.to_owned(),
    }
}

/// Whether `host` is one of Docker Hub's names.
pub(crate) fn is_docker_hub(host: &str) -> bool {
    canonical_host(host) == DOCKER_HUB
}

/// Splits `HOST[:PORT]`; an IPv6 address keeps its brackets.
pub(crate) fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (name, Some(port)),
        _ => (host, None),
    }
}

/// A URL fit for messages: without credentials, query (signatures) and fragment.
pub(crate) fn display(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_name_becomes_a_url() {
        let plain = PlainHttp::Hosts(vec!["localhost".to_owned()]);
        let table = [
            ("docker.io", "https://registry-1.docker.io/"),
            ("ghcr.io", "https://ghcr.io/"),
            ("localhost:5000", "http://localhost:5000/"),
            ("127.0.0.1:5000", "https://127.0.0.1:5000/"),
            ("[::1]:5000", "https://[::1]:5000/"),
        ];
        for (registry, url) in table {
            assert_eq!(base_url(registry, &plain).unwrap().as_str(), url);
        }
    }

    #[test]
    fn a_port_is_split_off_but_not_an_ipv6_group() {
        assert_eq!(split_port("a:5000"), ("a", Some("5000")));
        assert_eq!(split_port("[::1]:5000"), ("[::1]", Some("5000")));
        assert_eq!(split_port("[::1]"), ("[::1]", None));
        assert_eq!(split_port("a"), ("a", None));
    }

    #[test]
    fn a_displayed_url_holds_no_secret() {
        let url = Url::parse("https://user:pw@s3.example:8443/bucket/x?X-Amz-Signature=abc#f").unwrap();
        assert_eq!(display(&url), "https://s3.example:8443/bucket/x");
    }
}
