//! Which form of the metrics a client wants, by its `Accept` header.

/// The forms that the metrics have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The array of results, as image-prefetcher has it.
    Json,
    /// Prometheus' text format.
    Prometheus,
}

/// Content types of Prometheus. A bare `text/plain` means its latest text format.
const PROMETHEUS: [&str; 3] =
    ["text/plain", "application/openmetrics-text", "application/vnd.google.protobuf"];

/// JSON to whoever names it, or names no content type of Prometheus. Libraries for HTTP often say `application/json, text/plain`.
pub(super) fn form(accept: Option<&str>) -> Form {
    let wanted: Vec<String> = accept.unwrap_or_default().split(',').filter_map(wanted).collect();
    let names = |kind: &str| wanted.iter().any(|wanted| wanted == kind);
    if !names("application/json") && PROMETHEUS.iter().any(|kind| names(kind)) {
        Form::Prometheus
    } else {
        Form::Json
    }
}

/// The content type of a media range; none where the client says that it does not want it.
fn wanted(range: &str) -> Option<String> {
    let mut parts = range.split(';').map(str::trim);
    let kind = parts.next()?.to_ascii_lowercase();
    let refused = parts.any(|parameter| {
        let weight = parameter.to_ascii_lowercase();
        weight.strip_prefix("q=").is_some_and(|weight| weight.trim().parse::<f32>().is_ok_and(|q| q <= 0.0))
    });
    (!refused).then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_names_a_content_type_of_prometheus_gets_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,*/*;q=0.2";
        let table = [
            (None, Form::Json),
            (Some(""), Form::Json),
            (Some("*/*"), Form::Json),
            (Some("application/json"), Form::Json),
            (Some("application/json, text/plain, */*"), Form::Json),
            (Some("text/html,application/xhtml+xml,*/*;q=0.8"), Form::Json),
            (Some("text/*"), Form::Json),
            (Some("text/plain;q=0, */*"), Form::Json),
            (Some("text/plain; Q=0.000"), Form::Json),
            (Some(";;,,q="), Form::Json),
            (Some(prometheus), Form::Prometheus),
            (Some("text/plain"), Form::Prometheus),
            (Some("Text/Plain; version=0.0.4; q=0.5"), Form::Prometheus),
            (Some("text/plain, application/json;q=0"), Form::Prometheus),
        ];
        for (accept, expected) in table {
            assert_eq!(form(accept), expected, "{accept:?}");
        }
    }
}
