//! The client against a registry that behaves, and against one that does not.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fake::{Registry, Reply, Sample, amd64, chain, client, index, options};
use larder_core::{Blob, Image, media_type};
use larder_registry::{
    BlobError, Client, ImageSpec, MAX_MANIFEST, PlainHttp, RegistryError, ResolveError, Resolved,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn sample() -> Arc<Sample> {
    // Several chunks on the wire, and no byte like its neighbours.
    Arc::new(Sample::new((0..300_000_u32).flat_map(u32::to_le_bytes).collect()))
}

async fn resolve(client: &Client, registry: &Registry, name: &str) -> Result<Resolved, ResolveError> {
    let spec: ImageSpec = format!("{}/{name}", registry.host).parse().unwrap();
    client.resolve(&spec, &amd64()).await.map(|mut all| all.pop().unwrap())
}

async fn read_layer(client: &Client, resolved: &Resolved) -> io::Result<Vec<u8>> {
    let mut reader = client.open(&resolved.origin, &resolved.image.layers[0].descriptor)?;
    let read = move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| bytes)
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

fn blob_error(error: &io::Error) -> &BlobError {
    error.get_ref().unwrap().downcast_ref().unwrap()
}

#[tokio::test]
async fn a_tag_resolves_to_an_image_whose_layer_can_be_read() {
    let sample = sample();
    let served = Arc::clone(&sample);
    let registry = Registry::start(move |request, _| served.reply(request)).await;
    let client = client("{}");
    let resolved = resolve(&client, &registry, "team/x:1").await.unwrap();
    let Image { indexes, manifest, config, layers, .. } = &resolved.image;
    assert_eq!((indexes.len(), manifest, config), (0, &sample.manifest, &sample.config));
    assert_eq!(layers[0].descriptor, sample.layer.descriptor);
    assert!(read_layer(&client, &resolved).await.unwrap() == sample.layer.bytes);
    let requests = registry.requests();
    assert_eq!(requests[0].path, "/v2/team/x/manifests/1");
    for media_type in media_type::MANIFESTS {
        assert!(requests[0].header("accept").unwrap().contains(media_type));
    }
    assert_eq!(requests.len(), 3);
}

#[tokio::test]
async fn a_digest_wins_over_the_tag_which_stays_in_the_name() {
    let sample = sample();
    let served = Arc::clone(&sample);
    let registry = Registry::start(move |request, _| served.reply(request)).await;
    let digest = sample.manifest.descriptor.digest;
    let resolved = resolve(&client("{}"), &registry, &format!("x:1@{digest}")).await.unwrap();
    assert_eq!(resolved.image.reference.tag(), Some("1"));
    assert_eq!(registry.requests()[0].path, format!("/v2/x/manifests/{digest}"));
}

#[tokio::test]
async fn indexes_lead_to_the_platform_but_not_through_three_of_them() {
    let sample = sample();
    let other = Blob::new(media_type::OCI_MANIFEST, "{}");
    let inner = index(&[(&other, Some("linux/arm64")), (&sample.manifest, Some("linux/amd64"))]);
    let middle = index(&[(&inner, None)]);
    let outer = index(&[(&middle, None)]);
    let served = (Arc::clone(&sample), [inner.clone(), middle.clone(), outer.clone()]);
    let registry = Registry::start(move |request, _| {
        let (sample, indexes) = &served;
        let name = request.path.rsplit('/').next().unwrap();
        let found = indexes.iter().find(|index| index.descriptor.digest.to_string() == name);
        found.map_or_else(|| sample.reply(request), Reply::blob)
    })
    .await;
    let name = |index: &Blob| format!("x@{}", index.descriptor.digest);
    let client = client("{}");
    let resolved = resolve(&client, &registry, &name(&middle)).await.unwrap();
    assert_eq!(resolved.image.indexes, [middle, inner]);
    let error = resolve(&client, &registry, &name(&outer)).await.unwrap_err();
    assert!(matches!(error, ResolveError::TooDeep(_)), "{error}");
}

#[tokio::test]
async fn a_manifest_that_is_too_large_or_a_page_or_another_one_is_refused_at_once() {
    let sample = sample();
    let registry = Registry::start(move |request, _| match request.path.rsplit('/').next().unwrap() {
        "large" => Reply::new(200, vec![b' '; usize::try_from(MAX_MANIFEST).unwrap() + 1]),
        "html" => Reply::new(200, "<html>maintenance").header("content-type", "text/html"),
        "other" => Reply::blob(&sample.manifest)
            .header("docker-content-digest", &sample.config.descriptor.digest.to_string()),
        "denied" => Reply::new(403, r#"{"errors":[{"code":"DENIED","message":"go\naway"}]}"#),
        _ => Reply::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#),
    })
    .await;
    let client = client("{}");
    let table = [
        ("large", "larger than the limit of 4.00 MiB"),
        ("html", "\"text/html\" is neither an image manifest nor an index"),
        ("other", "the content has digest sha256:"),
        ("denied", "answered 403 Forbidden: DENIED: go away (no credential was sent)"),
        ("none", "answered 404 Not Found: MANIFEST_UNKNOWN"),
    ];
    for (tag, message) in table {
        let error = resolve(&client, &registry, &format!("x:{tag}")).await.unwrap_err();
        let text = chain(&error);
        assert!(text.contains(message) && text.contains("/v2/x/manifests/"), "{tag}: {text}");
        assert_eq!(registry.requests_for(&format!("/{tag}")).len(), 1, "{tag}");
    }
}

#[tokio::test]
async fn a_busy_registry_is_asked_again_when_it_says() {
    let sample = sample();
    let registry = Registry::start(move |request, before| match before {
        0 => Reply::new(429, "").header("retry-after", "1"),
        1 => Reply::new(503, ""),
        _ => sample.reply(request),
    })
    .await;
    let begin = Instant::now();
    resolve(&client("{}"), &registry, "x:1").await.unwrap();
    // The manifest and the configuration were each put off for a second.
    assert!(begin.elapsed() >= Duration::from_secs(2));
    assert_eq!(registry.requests().len(), 6);
}

#[tokio::test]
async fn a_registry_that_stays_busy_is_given_up() {
    let registry = Registry::start(|request, _| match request.path.as_str() {
        "/v2/x/manifests/long" => Reply::new(429, "").header("retry-after", "3600"),
        _ => Reply::new(500, ""),
    })
    .await;
    let client = client("{}");
    let error = resolve(&client, &registry, "x:1").await.unwrap_err();
    assert!(chain(&error).starts_with("gave up after 3 attempts: http://127.0.0.1:"), "{}", chain(&error));
    assert_eq!(registry.requests().len(), 3);
    let error = resolve(&client, &registry, "x:long").await.unwrap_err();
    assert!(chain(&error).contains("429"), "{}", chain(&error));
    assert_eq!(registry.requests().len(), 4);
}

#[tokio::test]
async fn a_registry_that_is_away_or_silent_is_named() {
    let client = client("{}");
    let spec: ImageSpec = "127.0.0.1:1/x:1".parse().unwrap();
    let error = client.resolve(&spec, &amd64()).await.unwrap_err();
    assert!(chain(&error).contains("cannot get http://127.0.0.1:1/v2/x/manifests/1"), "{}", chain(&error));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let spec: ImageSpec = format!("{}/x:1", listener.local_addr().unwrap()).parse().unwrap();
    let error = client.resolve(&spec, &amd64()).await.unwrap_err();
    assert!(chain(&error).contains("gave no answer within 300ms"), "{}", chain(&error));
}

#[tokio::test]
async fn a_registry_without_tls_is_told_from_one_that_is_away() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let spec: ImageSpec = format!("{}/x:1", listener.local_addr().unwrap()).parse().unwrap();
    let (mut options, _dir) = options("{}");
    options.plain_http = PlainHttp::default();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // What an HTTP server makes of the first bytes of TLS.
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream.read_to_end(&mut Vec::new()).await
    });
    let error = Client::new(options).unwrap().resolve(&spec, &amd64()).await.unwrap_err();
    assert!(matches!(error, ResolveError::Registry(RegistryError::Tls { .. })), "{}", chain(&error));
    assert!(chain(&error).contains("does the registry speak plain HTTP only?"), "{}", chain(&error));
    drop(server.await);
}

#[tokio::test]
async fn a_broken_or_stalled_stream_is_resumed_where_it_stopped() {
    for ranges in [true, false] {
        let sample = sample();
        let served = Arc::clone(&sample);
        let registry = Registry::start(move |request, before| {
            let reply = served.reply(request);
            if !request.path.ends_with(&served.layer.descriptor.digest.to_string()) {
                return reply;
            }
            let bytes = &served.layer.bytes;
            let from = request.header("range").map(|range| {
                range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse::<usize>().unwrap()
            });
            let reply = match from.filter(|_| ranges) {
                None => reply,
                Some(from) => Reply::new(206, &bytes[from..])
                    .header("content-range", &format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len())),
            };
            match before {
                0 => reply.cut_after(400_000),
                1 => reply.stall_after(500_000),
                _ => reply,
            }
        })
        .await;
        let client = client("{}");
        let resolved = resolve(&client, &registry, "x:1").await.unwrap();
        assert!(read_layer(&client, &resolved).await.unwrap() == sample.layer.bytes, "ranges: {ranges}");
        let requests = registry.requests_for(&sample.layer.descriptor.digest.to_string());
        let ranges: Vec<_> = requests.iter().map(|request| request.header("range")).collect();
        assert_eq!(ranges[..2], [None, Some("bytes=400000-")]);
        assert_eq!(ranges.len(), 3);
    }
}

#[tokio::test]
async fn a_stream_that_makes_no_progress_is_given_up() {
    let sample = sample();
    let served = Arc::clone(&sample);
    let registry = Registry::start(move |request, _| {
        let reply = served.reply(request);
        let layer = request.path.ends_with(&served.layer.descriptor.digest.to_string());
        if layer { reply.cut_after(0) } else { reply }
    })
    .await;
    let client = client("{}");
    let resolved = resolve(&client, &registry, "x:1").await.unwrap();
    let error = read_layer(&client, &resolved).await.unwrap_err();
    let BlobError::Fetch { digest, source } = blob_error(&error) else { panic!("{error}") };
    assert_eq!(*digest, sample.layer.descriptor.digest);
    assert!(matches!(source, RegistryError::GaveUp { attempts: 3, .. }), "{source}");
}

#[tokio::test]
async fn a_blob_with_other_bytes_or_another_length_is_an_error_at_once() {
    let sample = sample();
    let digest = sample.layer.descriptor.digest.to_string();
    let wrong: [(Vec<u8>, &str); 2] = [
        (vec![0; sample.layer.bytes.len()], "the content has digest sha256:"),
        (b"<html>".to_vec(), "answered with 6 bytes of \"text/html\" where the blob has 1200000"),
    ];
    for (body, message) in wrong {
        let (served, name) = (Arc::clone(&sample), digest.clone());
        let registry = Registry::start(move |request, _| {
            if request.path.ends_with(&name) {
                return Reply::new(200, body.clone()).header("content-type", "text/html");
            }
            served.reply(request)
        })
        .await;
        let client = client("{}");
        let resolved = resolve(&client, &registry, "x:1").await.unwrap();
        let error = read_layer(&client, &resolved).await.unwrap_err();
        let text = chain(blob_error(&error));
        assert!(text.contains(message) && text.contains(&digest), "{text}");
        assert_eq!(registry.requests_for(&digest).len(), 1);
    }
}

#[tokio::test]
async fn a_configuration_with_other_bytes_is_refused() {
    let sample = sample();
    let registry = Registry::start(move |request, _| {
        let config = request.path.ends_with(&sample.config.descriptor.digest.to_string());
        if config { Reply::new(200, vec![b' '; sample.config.bytes.len()]) } else { sample.reply(request) }
    })
    .await;
    let error = resolve(&client("{}"), &registry, "x:1").await.unwrap_err();
    assert!(matches!(error, ResolveError::Config(BlobError::Digest { .. })), "{}", chain(&error));
}

#[tokio::test]
async fn a_dropped_reader_ends_its_fetch() {
    let sample = Arc::new(Sample::new(vec![7; 64 << 20]));
    let served = Arc::clone(&sample);
    let registry = Registry::start(move |request, _| {
        let layer = request.path.ends_with(&served.layer.descriptor.digest.to_string());
        let reply = served.reply(request);
        if layer { reply.stall_after(1000) } else { reply }
    })
    .await;
    let client = client("{}");
    let resolved = resolve(&client, &registry, "x:1").await.unwrap();
    let mut reader = client.open(&resolved.origin, &sample.layer.descriptor).unwrap();
    let reader = tokio::task::spawn_blocking(move || reader.read(&mut [0; 10]).map(|_| reader)).await;
    drop(reader.unwrap().unwrap());
    // Past the stall's timeout: a fetch that went on would ask again.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(registry.requests_for("/blobs/").len(), 2);
}
