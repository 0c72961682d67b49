//! `larder build` from real registries when something is in the way: broken networks, busy registries, wrong bytes, authorities
//! that nobody knows, tokens that expire, mirrors, and manifests that no image has.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use larder_core::{Blob, Digest, media_type};
use larder_tests::image::{Compression, Entry, Image, ImageBuilder, LayerBuilder, MultiImage, deep};
use larder_tests::larder::{self, Ran, finished};
use larder_tests::process::run;
use larder_tests::proxy::{Fault, Kind, Proxy, ProxyBuilder};
use larder_tests::registry::Registry;
use serde_json::{Value, json};

/// Builds that wait for a network need no processor of their own.
const AT_ONCE: usize = 8;
/// Two retries, and no patience.
const HASTE: [&str; 4] = ["--retries=2", "--stall-timeout=700ms", "--connect-timeout=2s", "--quiet"];
const ALWAYS: usize = usize::MAX;

/// A build in a directory of its own.
struct Built {
    ran: Ran,
    /// What is in the directory afterwards.
    left: Vec<String>,
}

fn build(image: &str, more: &[&str], environment: &[(&str, &str)]) -> Built {
    let directory = tempfile::tempdir().unwrap();
    let config = tempfile::NamedTempFile::new().unwrap();
    fs::write(config.path(), "{}").unwrap();
    let mut command = larder::command().unwrap();
    command.args(["build", "-o"]).arg(directory.path().join("disk.img")).args(HASTE);
    if !more.contains(&"--docker-config") {
        command.arg("--docker-config").arg(config.path());
    }
    command.args(more).arg(image).envs(environment.iter().copied());
    let ran = finished(&mut command).unwrap();
    let left = fs::read_dir(directory.path()).unwrap();
    let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    Built { ran, left }
}

impl Built {
    fn succeeded(self) -> Ran {
        assert_eq!(
            (self.ran.status, self.left.as_slice()),
            (Some(0), &["disk.img".to_owned()][..]),
            "{:?}",
            self.ran
        );
        self.ran
    }

    /// The one line that it says on its way out.
    fn failed(self, image: &str) -> String {
        let Ran { status, stdout, stderr } = &self.ran;
        let line = stderr.strip_prefix("error: ").unwrap_or_default();
        assert!(*status == Some(1) && stdout.is_empty(), "{:?}", self.ran);
        assert!(line.lines().count() == 1 && line.contains(image), "{:?}", self.ran);
        assert_eq!(self.left, [""; 0], "nothing is left behind");
        line.to_owned()
    }
}

/// Runs `test` for each of `cases`, several at a time; a panic of one ends the test.
fn each<T: Sync>(cases: &[T], test: impl Fn(&T) + Sync) {
    let next = Mutex::new(cases.iter());
    let work = || loop {
        let Some(case) = next.lock().unwrap().next() else { return };
        test(case);
    };
    std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
}

/// Large enough to break in the middle, and small.
fn small() -> Image {
    let noise: Vec<u8> = (0..60_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let layer = LayerBuilder::default().entry(Entry::file("noise", noise)).build(Compression::Gzip).unwrap();
    ImageBuilder::default().layer(&layer).build()
}

/// How a build under a fault ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// With a disk.
    Disk,
    /// At once: nothing was asked twice, and the error says this.
    AtOnce(&'static str),
    /// After three requests, and the error says this.
    GaveUp(&'static str),
}

const EVERYTHING: [Kind; 4] = [Kind::Token, Kind::Manifest, Kind::Config, Kind::Layer];
const CONTENT: [Kind; 3] = [Kind::Manifest, Kind::Config, Kind::Layer];

/// Each fault, how often it happens, in answer to what, and how that ends.
fn table() -> Vec<(Fault, usize, Vec<Kind>, End)> {
    use End::{AtOnce, Disk, GaveUp};
    let passing = [
        (Fault::Reset, "broke off"),
        (Fault::Cut, "broke off"),
        (Fault::Stalled, "sent nothing for 700ms"),
        (Fault::Busy(1), "answered 429 Too Many Requests: LAB"),
        (Fault::Status(500), "answered 500 Internal Server Error: LAB"),
    ];
    let passing = passing.into_iter().flat_map(|(fault, message)| {
        let always = (fault.clone(), ALWAYS, EVERYTHING.to_vec(), GaveUp(message));
        [(fault, 1, EVERYTHING.to_vec(), Disk), always]
    });
    let lasting = [
        (Fault::Refused, 1, CONTENT.to_vec(), Disk),
        (Fault::Refused, ALWAYS, CONTENT.to_vec(), GaveUp("Connection refused")),
        (Fault::Refused, ALWAYS, vec![Kind::Token], GaveUp("cannot get http://127.0.0.1:1/token")),
        (Fault::Status(401), ALWAYS, EVERYTHING.to_vec(), AtOnce("answered 401 Unauthorized")),
        (Fault::Status(403), ALWAYS, EVERYTHING.to_vec(), AtOnce("answered 403 Forbidden: LAB")),
        (Fault::Status(404), ALWAYS, EVERYTHING.to_vec(), AtOnce("answered 404 Not Found: LAB")),
        (Fault::Busy(3600), ALWAYS, EVERYTHING.to_vec(), AtOnce("answered 429 Too Many Requests: LAB")),
        (Fault::Html, ALWAYS, vec![Kind::Token], AtOnce("without a token that can be used")),
        (
            Fault::Html,
            ALWAYS,
            vec![Kind::Manifest],
            AtOnce("\"text/html\" is neither an image manifest nor an index"),
        ),
        (
            Fault::Html,
            ALWAYS,
            vec![Kind::Config, Kind::Layer],
            AtOnce("bytes of \"text/html\" where the blob has"),
        ),
        (Fault::WrongBytes, ALWAYS, CONTENT.to_vec(), AtOnce("the content has digest sha256:")),
        (Fault::Short, ALWAYS, vec![Kind::Manifest], AtOnce("the content has digest sha256:")),
        (Fault::Long, ALWAYS, vec![Kind::Manifest], AtOnce("the content has digest sha256:")),
        (Fault::Short, ALWAYS, vec![Kind::Config, Kind::Layer], AtOnce("where the blob has")),
        (Fault::Long, ALWAYS, vec![Kind::Config, Kind::Layer], AtOnce("where the blob has")),
        (Fault::WrongBytes, ALWAYS, vec![Kind::Token], AtOnce("without a token that can be used")),
        (Fault::Short, ALWAYS, vec![Kind::Token], AtOnce("without a token that can be used")),
        (Fault::Long, ALWAYS, vec![Kind::Token], AtOnce("without a token that can be used")),
        (Fault::Redirected, ALWAYS, vec![Kind::Token], AtOnce("answered 307 Temporary Redirect")),
    ];
    passing.chain(lasting).collect()
}

#[test]
fn each_fault_at_each_kind_of_request_passes_or_is_one_clear_line() {
    let registry = Registry::start().unwrap();
    let image = small();
    let pushed = registry.push(&image, "faults/small:1").unwrap();
    let cases: Vec<_> = table()
        .into_iter()
        .flat_map(|(fault, times, kinds, end)| {
            kinds.into_iter().map(move |kind| (fault.clone(), times, kind, end))
        })
        .collect();
    each(&cases, |(fault, times, kind, end)| {
        let proxy = ProxyBuilder::default().tokens(ALWAYS).config(image.config.descriptor.digest);
        let proxy = proxy.fault(*kind, fault.clone(), *times).start(&registry).unwrap();
        let reference = proxy.reference(&pushed).unwrap().to_string();
        let built = build(&reference, &["--plain-http"], &[]);
        let case = format!("{fault:?} {times} times at {kind:?}: {:?}", built.ran);
        if let End::Disk = end {
            assert_eq!(built.ran.status, Some(0), "{case}");
            built.succeeded();
            return;
        }
        let line = built.failed(&reference);
        let layer = image.layers[0].digest.to_string();
        assert!(*kind != Kind::Layer || line.contains(&layer), "{case}");
        // A 401 to a token that was good before is answered once, with a new one; where nobody listens, nobody counts.
        let asked = (*fault != Fault::Refused || *kind != Kind::Token).then(|| proxy.count(*kind));
        let answered = *fault == Fault::Status(401) && matches!(kind, Kind::Config | Kind::Layer);
        match end {
            End::AtOnce(message) => {
                assert!(line.contains(message), "{case}");
                assert_eq!(asked, Some(1 + usize::from(answered)), "{case}");
            }
            End::GaveUp(message) => {
                assert!(line.contains("gave up after 3 attempts: ") && line.contains(message), "{case}");
                assert!(asked.is_none_or(|asked| asked == 3), "{asked:?} requests, {case}");
            }
            End::Disk => {}
        }
    });
}

/// u:p for the proxy.
fn docker_config(proxy: &Proxy, directory: &Path) -> String {
    let path = directory.join("config.json");
    fs::write(&path, json!({"auths": {proxy.address(): {"auth": "dTpw"}}}).to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_redirect_to_another_host_takes_no_credential_along() {
    let registry = Registry::start().unwrap();
    let image = small();
    let pushed = registry.push(&image, "faults/redirected:1").unwrap();
    let proxy = ProxyBuilder::default().tokens(ALWAYS).config(image.config.descriptor.digest);
    let proxy = CONTENT.into_iter().fold(proxy, |proxy, kind| proxy.fault(kind, Fault::Redirected, ALWAYS));
    let proxy = proxy.start(&registry).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let config = docker_config(&proxy, directory.path());
    let reference = proxy.reference(&pushed).unwrap().to_string();
    build(&reference, &["--plain-http", "--docker-config", &config], &[]).succeeded();
    for asked in proxy.asked() {
        let expected = match (asked.kind, asked.storage) {
            (_, true) => None,
            (Kind::Token, _) => Some("Basic dTpw"),
            _ => Some("Bearer t1"),
        };
        assert_eq!(asked.authorization.as_deref(), expected, "{asked:?}");
    }
    assert_eq!(proxy.asked().iter().filter(|asked| asked.storage).count(), 3);
}

#[test]
fn a_token_that_expires_in_the_middle_of_a_build_is_renewed() {
    let registry = Registry::start().unwrap();
    let image = deep(12).unwrap();
    let pushed = registry.push(&image, "faults/expiring:1").unwrap();
    let proxy = ProxyBuilder::default().tokens(3).start(&registry).unwrap();
    build(&proxy.reference(&pushed).unwrap().to_string(), &["--plain-http"], &[]).succeeded();
    // A manifest, a configuration and twelve layers.
    assert_eq!(proxy.count(Kind::Token), 5);
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused_until_it_is_named() {
    let registry = Registry::start_with_tls().unwrap();
    let reference = registry.push(&small(), "tls/small:1").unwrap().to_string();
    let line = build(&reference, &[], &[]).failed(&reference);
    assert!(line.contains("is not trusted (--ca-cert") && line.contains("UnknownIssuer"), "{line}");
    let authority = registry.authority().unwrap().to_str().unwrap();
    build(&reference, &["--ca-cert", authority], &[]).succeeded();
    let plain = build(&reference, &["--plain-http"], &[]).failed(&reference);
    assert!(plain.contains("answered 400 Bad Request"), "{plain}");
    let no_file = build(&reference, &["--ca-cert", "/nonexistent/ca.pem"], &[]).failed("/nonexistent/ca.pem");
    assert!(no_file.contains("cannot read the CA certificates"), "{no_file}");
}

#[test]
fn plain_http_where_tls_is_expected_is_told() {
    let registry = Registry::start().unwrap();
    let reference = registry.reference("plain/small:1").unwrap().to_string();
    let line = build(&reference, &[], &[]).failed(&reference);
    assert!(line.contains("does the registry speak plain HTTP only?"), "{line}");
}

#[test]
fn a_mirror_stands_in_for_a_registry_and_the_registry_for_a_mirror_that_fails() {
    let registry = Registry::start().unwrap();
    let image = small();
    let pushed = registry.push(&image, "mirrored/small:1").unwrap();
    let mirror = format!("docker.io=http://{}", registry.address());
    let ran = build("mirrored/small:1", &["--mirror", &mirror], &[]).succeeded();
    assert!(ran.stdout.starts_with("docker.io/mirrored/small:1 sha256:"), "{ran:?}");
    let paths: Vec<String> = registry.requests().unwrap().into_iter().map(|request| request.path).collect();
    assert!(paths.len() == 3 && paths.iter().all(|path| path.ends_with("?ns=docker.io")), "{paths:?}");
    for fault in [Fault::Reset, Fault::Stalled, Fault::Status(404), Fault::Status(500), Fault::Html] {
        let proxy = ProxyBuilder::default().config(image.config.descriptor.digest);
        let proxy =
            EVERYTHING.into_iter().fold(proxy, |proxy, kind| proxy.fault(kind, fault.clone(), ALWAYS));
        let proxy = proxy.start(&registry).unwrap();
        let mirror = format!("{}=http://{}", registry.address(), proxy.address());
        build(&pushed.to_string(), &["--plain-http", "--mirror", &mirror], &[]).succeeded();
        assert!(proxy.count(Kind::Manifest) == 1, "{fault:?}");
    }
}

#[test]
fn googles_tokens_go_to_googles_registries_alone() {
    let registry = Registry::start().unwrap();
    let image = small();
    registry.push(&image, "google/small:1").unwrap();
    for (host, sent) in [("gcr.io", true), ("eu-docker.pkg.dev", true), ("evil-gcr.io", false)] {
        let proxy = ProxyBuilder::default().tokens(ALWAYS).start(&registry).unwrap();
        let proxied = format!("http://{}", proxy.address());
        let environment = [("HTTP_PROXY", proxied.as_str()), ("GCE_METADATA_HOST", proxy.address())];
        let arguments = ["--google-auth", "--plain-http"];
        build(&format!("{host}/google/small:1"), &arguments, &environment).succeeded();
        let asked = proxy.asked();
        let token = asked.iter().find(|asked| asked.kind == Kind::Token).unwrap();
        // oauth2accesstoken:ya29.lab
        let expected = sent.then_some("Basic b2F1dGgyYWNjZXNzdG9rZW46eWEyOS5sYWI=");
        assert_eq!(token.authorization.as_deref(), expected, "{host}");
        assert_eq!(proxy.count(Kind::Metadata), usize::from(sent), "{host}");
    }
}

#[test]
fn a_large_layer_comes_over_several_ranges_and_is_what_it_should_be() {
    let registry = Registry::start().unwrap();
    let noise: Vec<u8> =
        (0..20_u32 << 20).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let layer = LayerBuilder::default().entry(Entry::file("noise", noise)).build(Compression::None).unwrap();
    let image = ImageBuilder::default().layer(&layer).build();
    let reference = registry.push(&image, "ranges/large:1").unwrap().to_string();
    build(&reference, &["--plain-http"], &[]).succeeded();
    let requests = registry.requests().unwrap();
    let parts: Vec<_> = requests.iter().filter(|request| request.blob_sent() == Some(layer.digest)).collect();
    assert!(parts.iter().all(|request| request.status == 206), "{parts:?}");
    assert_eq!(parts.iter().map(|request| request.bytes).sum::<u64>(), layer.size);
    assert_eq!(parts.len() as u64, layer.size.div_ceil(8 << 20));
}

/// A manifest over `config` with layers of these media types.
fn manifest(config: &Blob, layers: &[&str]) -> Vec<u8> {
    let layer =
        |media_type: &&str| json!({"mediaType": media_type, "digest": Digest::of(b"layer"), "size": 5});
    let layers: Vec<Value> = layers.iter().map(layer).collect();
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config.descriptor, "layers": layers});
    manifest.to_string().into_bytes()
}

fn config(value: &Value) -> Blob {
    Blob::new(media_type::OCI_CONFIG, value.to_string())
}

#[test]
fn what_is_no_image_for_us_is_one_clear_line() {
    const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    const SCHEMA_ONE: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    const ENCRYPTED: &str = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
    let registry = Registry::start().unwrap();
    let pushed = registry.push(&small(), "bad/image:1").unwrap();
    let platform = larder_core::Platform::host();
    let (os, architecture) = (platform.os, platform.architecture);
    let fitting = config(
        &json!({"os": os, "architecture": architecture, "rootfs": {"type": "layers", "diff_ids": [Digest::of(b"x")]}}),
    );
    let elsewhere = config(
        &json!({"os": "plan9", "architecture": architecture, "rootfs": {"type": "layers", "diff_ids": [Digest::of(b"x")]}}),
    );
    let artifact = Blob::new(media_type::OCI_EMPTY, "{}");
    let oci = media_type::OCI_MANIFEST;
    let one = [media_type::OCI_LAYER_GZIP];
    let table: [(&str, Vec<u8>, &Blob, &str); 9] = [
        (oci, vec![b' '; (4 << 20) + 1], &fitting, "is larger than the limit of 4.00 MiB"),
        (
            SCHEMA_ONE,
            br#"{"schemaVersion":1,"fsLayers":[]}"#.to_vec(),
            &fitting,
            "schema version 1, which no current runtime runs",
        ),
        (oci, manifest(&fitting, &[FOREIGN]), &fitting, "the foreign layer sha256:"),
        (
            oci,
            manifest(&fitting, &[ENCRYPTED]),
            &fitting,
            "its layer has media type \"application/vnd.oci.image.layer.v1.tar+gzip+encrypted\"",
        ),
        (
            oci,
            manifest(&artifact, &[]),
            &artifact,
            "is not a container image: its configuration has media type",
        ),
        (oci, manifest(&fitting, &[one[0], one[0]]), &fitting, "has 2 layers, but its configuration lists 1"),
        (oci, manifest(&elsewhere, &one), &elsewhere, "is for plan9/"),
        (oci, b"<html>".to_vec(), &fitting, "the content is not a JSON document"),
        (oci, b"{}".to_vec(), &fitting, "the content is neither an image manifest nor an index"),
    ];
    each(&table, |(media_type, manifest, config, message)| {
        let proxy = ProxyBuilder::default().config(config.descriptor.digest);
        let proxy = proxy.fault(Kind::Manifest, Fault::Instead(media_type, manifest.clone()), ALWAYS);
        let proxy =
            proxy.fault(Kind::Config, Fault::Instead("application/json", config.bytes.to_vec()), ALWAYS);
        let proxy = proxy.start(&registry).unwrap();
        let reference = proxy.reference(&pushed).unwrap().to_string();
        let line = build(&reference, &["--plain-http"], &[]).failed(&reference);
        assert!(line.contains(message), "{line}");
        assert_eq!(proxy.count(Kind::Layer), 0, "{message}");
    });
}

#[test]
fn a_platform_that_an_index_lacks_and_a_diff_id_that_does_not_match_are_named() {
    let registry = Registry::start().unwrap();
    let other = ImageBuilder::default().platform("linux/s390x".parse().unwrap()).build();
    let index = MultiImage::of(vec![other]);
    let reference = registry.push_multi(&index, "bad/platform:1").unwrap().to_string();
    let line = build(&reference, &["--plain-http"], &[]).failed(&reference);
    assert!(line.contains("no image for linux/") && line.contains("which has linux/s390x"), "{line}");

    let mut image = small();
    let (real, wrong) = (image.layers[0].diff_id.to_string(), Digest::of(b"wrong").to_string());
    let replaced = |blob: &Blob, from: &str, to: &str| {
        let text = String::from_utf8(blob.bytes.to_vec()).unwrap();
        assert!(text.contains(from), "{text} has no {from}");
        Blob::new(&blob.descriptor.media_type, text.replace(from, to))
    };
    let config = replaced(&image.config, &real, &wrong);
    let (before, after) = (image.config.descriptor.digest.to_string(), config.descriptor.digest.to_string());
    image.manifest = replaced(&image.manifest, &before, &after);
    image.config = config;
    let reference = registry.push(&image, "bad/diff-id:1").unwrap().to_string();
    let line = build(&reference, &["--plain-http"], &[]).failed(&reference);
    let layer = image.layers[0].digest.to_string();
    assert!(line.contains(&layer) && line.contains(&real) && line.contains(&wrong), "{line}");
}

/// Noise that takes several buffers on the way, so that much is written before its end is seen.
fn large(compression: Compression) -> Image {
    let noise: Vec<u8> = (0..5_u32 << 20).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let layer = LayerBuilder::default().entry(Entry::file("noise", noise)).build(compression).unwrap();
    ImageBuilder::default().layer(&layer).build()
}

/// A proxy before `registry` that does this to every layer.
fn unsound(registry: &Registry, image: &Image, fault: Fault) -> Proxy {
    let proxy = ProxyBuilder::default().config(image.config.descriptor.digest);
    proxy.fault(Kind::Layer, fault, ALWAYS).start(registry).unwrap()
}

/// What asks each of `mirrors` before `host`.
fn mirrored(host: &str, mirrors: &[Proxy]) -> Vec<String> {
    let mirror = |mirror: &Proxy| format!("--mirror={host}=http://{}", mirror.address());
    mirrors.iter().map(mirror).chain(["--plain-http".to_owned()]).collect()
}

#[test]
fn wrong_bytes_of_a_mirror_are_fetched_from_the_next_host_and_leave_nothing_on_the_disk() {
    let registry = Registry::start().unwrap();
    for compression in [Compression::None, Compression::Gzip] {
        let image = large(compression);
        let reference = registry.push(&image, &format!("mirrored/{compression:?}:1").to_lowercase()).unwrap();
        let used = |disk: &Path, more: &[String]| {
            let arguments = ["build", "--quiet", "--report=json", "-o", disk.to_str().unwrap()];
            let arguments = arguments.map(str::to_owned).into_iter().chain(more.iter().cloned());
            let said = larder::larder(arguments.chain([reference.to_string()])).unwrap().done().unwrap();
            serde_json::from_str::<Value>(&said).unwrap()["used"].as_u64().unwrap()
        };
        let directory = tempfile::tempdir().unwrap();
        let (direct, retried) = (directory.path().join("direct.img"), directory.path().join("retried.img"));
        let mirrors =
            [Fault::WrongEnd, Fault::WrongBytes, Fault::Cut].map(|fault| unsound(&registry, &image, fault));
        let direct = used(&direct, &["--plain-http".to_owned()]);
        let again = used(&retried, &mirrored(registry.address(), &mirrors));
        assert!(mirrors.iter().all(|mirror| mirror.count(Kind::Layer) == 1));
        assert!(again < direct + image.layers[0].tar_size / 2, "{again} of the disk are used, not {direct}");
        run(Command::new("e2fsck").arg("-fn").arg(&retried)).unwrap();
        larder::larder(["verify", retried.to_str().unwrap()]).unwrap().done().unwrap();
    }
}

#[test]
fn wrong_bytes_of_the_registry_itself_are_one_line_that_names_image_layer_and_host() {
    let registry = Registry::start().unwrap();
    for (number, fault) in [Fault::WrongEnd, Fault::WrongBytes].into_iter().enumerate() {
        let image = large(Compression::Gzip);
        let pushed = registry.push(&image, &format!("wrong/everywhere-{number}:1")).unwrap();
        let itself = unsound(&registry, &image, fault);
        let mirrors = [unsound(&registry, &image, Fault::WrongEnd)];
        let reference = itself.reference(&pushed).unwrap().to_string();
        let arguments = mirrored(itself.address(), &mirrors);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let built = build(&reference, &arguments, &[("LARDER_LOG", "error")]);
        let line = built.failed(&reference);
        let layer = image.layers[0].digest;
        assert!(line.contains(&format!("layer {layer}: blob {layer}: the content has digest ")), "{line}");
        assert!(line.trim_end().ends_with(&format!(", as {} sent it", itself.address())), "{line}");
        assert_eq!((itself.count(Kind::Layer), mirrors[0].count(Kind::Layer)), (1, 1));
    }
}
