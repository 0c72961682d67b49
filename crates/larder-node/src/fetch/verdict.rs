//! Whether a failed pull can succeed later. CRI's errors are text: tables of what each runtime says tell; what no table
//! knows is transient.

mod table;

use tonic::Code;

use super::list::Wanted;
use crate::cri::{CriError, Family};

/// What a failure means for the attempts to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may work later.
    Transient,
    /// Never with this credential; with another one it may. Registries hide what is private behind "not found", too.
    Denied,
    /// Never on this node, whoever asks.
    Permanent,
}

/// Judges the runtime's error for `wanted`.
pub(super) fn judge(family: Family, error: &CriError, wanted: &Wanted) -> Verdict {
    let text = without_names(&error.message, wanted);
    let mut rows = table::of(family).iter().flat_map(|rows| rows.iter());
    match rows.find(|row| text.contains(row.says)) {
        Some(row) => row.verdict,
        None => of_code(error.code),
    }
}

/// gRPC's own codes, where the text says nothing that is known.
fn of_code(code: Code) -> Verdict {
    match code {
        Code::NotFound | Code::Unauthenticated | Code::PermissionDenied => Verdict::Denied,
        Code::InvalidArgument | Code::Unimplemented => Verdict::Permanent,
        _ => Verdict::Transient,
    }
}

/// The text in lower case and without the image's names, which may hold any of the words that are looked for.
fn without_names(message: &str, wanted: &Wanted) -> String {
    let reference = &wanted.reference;
    let in_url = format!("/v2/{}/", reference.repository());
    let names = [wanted.name.clone(), reference.to_string(), reference.name(), in_url];
    let without = |text: String, name: &String| text.replace(&name.to_lowercase(), "IMAGE");
    names.iter().fold(message.to_lowercase(), without)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(family: Family, code: Code, message: &str, image: &str) -> Verdict {
        judge(family, &CriError { code, message: message.to_owned() }, &Wanted::parse(image).unwrap())
    }

    #[test]
    fn what_is_unknown_is_transient() {
        for family in [Family::Containerd1, Family::Containerd2, Family::CriO, Family::Other] {
            for code in
                [Code::Unknown, Code::Internal, Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled]
            {
                assert_eq!(
                    verdict(family, code, "something new", "a:1"),
                    Verdict::Transient,
                    "{family:?} {code:?}"
                );
            }
        }
    }

    #[test]
    fn the_name_of_an_image_says_nothing_about_its_pull() {
        let image = "h.io/manifest-unknown/unauthorized:404-not-found";
        let text =
            format!("failed to pull image \"{image}\": failed to do request: connection reset by peer");
        assert_eq!(verdict(Family::Containerd1, Code::Unknown, &text, image), Verdict::Transient);
        let text = "Head \"https://h.io/v2/manifest-unknown/unauthorized/manifests/1\": EOF";
        assert_eq!(verdict(Family::Containerd2, Code::Unknown, text, image), Verdict::Transient);
        let image = "h.io/429-too-many-requests:1";
        let text = format!("failed to resolve reference \"{image}\": {image}: not found");
        assert_eq!(verdict(Family::Containerd2, Code::NotFound, &text, image), Verdict::Denied);
    }

    #[test]
    fn cri_o_tells_what_containers_image_says() {
        let table = [
            ("reading manifest 1 in h.io/a: manifest unknown", Verdict::Denied),
            (
                "initializing source docker://h.io/a:1: reading manifest 1 in h.io/a: name unknown",
                Verdict::Denied,
            ),
            (
                "unable to retrieve auth token: invalid username/password: unauthorized: please log in",
                Verdict::Denied,
            ),
            ("Requesting bearer token: invalid status code from registry 403 (Forbidden)", Verdict::Denied),
            (
                "Requesting bearer token: invalid status code from registry 503 (Service Unavailable)",
                Verdict::Transient,
            ),
            ("reading manifest 1 in h.io/a: toomanyrequests: slow down", Verdict::Transient),
            (
                "SignatureValidationFailed: Source image rejected: A signature was required",
                Verdict::Permanent,
            ),
            ("short-name resolution enforced but cannot prompt without a TTY", Verdict::Permanent),
            (
                "no image found in image index for architecture \"s390x\", variant \"\", OS \"linux\"",
                Verdict::Permanent,
            ),
            (
                "pinging container registry h.io: Get \"https://h.io/v2/\": dial tcp: i/o timeout",
                Verdict::Transient,
            ),
            ("writing blob: storing blob to file: write: no space left on device", Verdict::Permanent),
        ];
        for (text, expected) in table {
            assert_eq!(verdict(Family::CriO, Code::Unknown, text, "h.io/a:1"), expected, "{text}");
        }
    }

    /// As seen of containerd 1.6.20, 1.7.24 and 2.1.9 with docker-registry 2.8.2.
    #[test]
    fn containerd_tells_what_its_resolver_and_its_store_say() {
        let image = "127.0.0.1:5000/a/b:1";
        let of_1 =
            format!("failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": ");
        let of_2 = format!("failed to pull and unpack image \"{image}\": failed to resolve image: ");
        let copy = format!("failed to pull and unpack image \"{image}\": failed to copy: ");
        let denied = "pull access denied, repository does not exist or may require authorization: authorization failed: \
            no basic auth credentials";
        let full = "write /var/lib/containerd/io.containerd.content.v1.content/ingest/4f/data: no space left on device";
        let head = "failed to do request: Head \"http://127.0.0.1:5000/v2/a/b/manifests/1\": EOF";
        let old_denied =
            "pulling from host 127.0.0.1:5000 failed with status code [manifests 1]: 401 Unauthorized";
        let table = [
            (Family::Containerd1, Code::NotFound, format!("{of_1}{image}: not found"), Verdict::Denied),
            (Family::Containerd2, Code::NotFound, format!("{of_2}{image}: not found"), Verdict::Denied),
            (Family::Containerd1, Code::Unknown, format!("{of_1}{old_denied}"), Verdict::Denied),
            (Family::Containerd1, Code::Unknown, format!("{of_1}{denied}"), Verdict::Denied),
            (Family::Containerd2, Code::Unknown, format!("{of_2}{denied}"), Verdict::Denied),
            (
                Family::Containerd1,
                Code::NotFound,
                "no match for platform in manifest: not found".to_owned(),
                Verdict::Permanent,
            ),
            (
                Family::Containerd2,
                Code::NotFound,
                format!(
                    "get image config descriptor: no match for platform in manifest {}: not found",
                    larder_core::Digest::of(b"")
                ),
                Verdict::Permanent,
            ),
            (Family::Containerd1, Code::Unknown, format!("{copy}{full}"), Verdict::Permanent),
            (Family::Containerd2, Code::Unknown, format!("{copy}{full}"), Verdict::Permanent),
            (Family::Containerd1, Code::Unknown, format!("{of_1}{head}"), Verdict::Transient),
            (Family::Containerd2, Code::Unknown, format!("{of_2}{head}"), Verdict::Transient),
            (
                Family::Containerd1,
                Code::Unavailable,
                "No such file or directory (os error 2)".to_owned(),
                Verdict::Transient,
            ),
        ];
        for (family, code, text, expected) in table {
            assert_eq!(verdict(family, code, &text, image), expected, "{family:?}: {text}");
        }
    }
}
