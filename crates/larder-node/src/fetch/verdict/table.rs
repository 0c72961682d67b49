//! What runtimes say when a pull fails, in lower case; the first row that is found counts, so overloads and broken networks,
//! whose texts may quote a permanent error, come first.

use super::Verdict;
use crate::cri::Family;

/// A part of an error's text, and what it means.
pub(super) struct Row {
    pub(super) says: &'static str,
    pub(super) verdict: Verdict,
}

const fn transient(says: &'static str) -> Row {
    Row { says, verdict: Verdict::Transient }
}

const fn denied(says: &'static str) -> Row {
    Row { says, verdict: Verdict::Denied }
}

const fn permanent(says: &'static str) -> Row {
    Row { says, verdict: Verdict::Permanent }
}

/// Of all runtimes: registries' and Go's own words.
const COMMON: &[Row] = &[
    // A full disk stays full for longer than we retry, and each further try fills it again.
    permanent("no space left on device"),
    permanent("disk quota exceeded"),
    transient("toomanyrequests"),
    transient("429 too many requests"),
    transient("500 internal server error"),
    transient("502 bad gateway"),
    transient("503 service unavailable"),
    transient("504 gateway timeout"),
    transient("connection refused"),
    transient("connection reset"),
    transient("no such host"),
    transient("i/o timeout"),
    transient("tls handshake timeout"),
    transient("context deadline exceeded"),
    transient("unexpected eof"),
    denied("manifest unknown"),
    denied("manifest_unknown"),
    denied("name unknown"),
    denied("name_unknown"),
    denied("repository does not exist"),
    denied("requested access to the resource is denied"),
    denied("unauthorized"),
    denied("authentication required"),
    denied("access denied"),
    denied("403 forbidden"),
    permanent("no match for platform"),
    permanent("no matching manifest"),
    permanent("invalid reference format"),
    permanent("unsupported media type"),
    permanent("mediatype is not supported"),
];

/// containerd's resolver, authoriser and unpacker.
const CONTAINERD: &[Row] = &[
    // Its own store, where collection may outrun a pull: not the registry's answer.
    transient("content digest"),
    transient("parent snapshot"),
    denied("insufficient_scope"),
    denied("no basic auth credentials"),
    denied("authorization failed"),
    denied("401 unauthorized"),
    denied("404 not found"),
    denied(": not found"),
    permanent("failed to parse image"),
    permanent("schema 1 image manifests are no longer supported"),
];

/// From 2.0, which lost schema 1 and took in the transfer service.
const CONTAINERD_2: &[Row] = &[permanent("schema1 is not supported"), permanent("image verifier")];

/// containers/image, which CRI-O pulls with.
const CRI_O: &[Row] = &[
    denied("invalid username/password"),
    denied("unable to retrieve auth token"),
    denied("invalid status code from registry 401"),
    denied("invalid status code from registry 403"),
    denied("invalid status code from registry 404"),
    permanent("signaturevalidationfailed"),
    permanent("source image rejected"),
    permanent("short-name resolution enforced"),
    permanent("short name mode is enforcing"),
    permanent("no image found in image index for architecture"),
    permanent("no image found in manifest list for architecture"),
    permanent("unsupported manifest media type"),
];

/// The rows for a runtime, in their order.
pub(super) fn of(family: Family) -> &'static [&'static [Row]] {
    match family {
        Family::Containerd1 => &[COMMON, CONTAINERD],
        Family::Containerd2 => &[COMMON, CONTAINERD, CONTAINERD_2],
        Family::CriO => &[COMMON, CRI_O],
        Family::Other => &[COMMON],
    }
}
