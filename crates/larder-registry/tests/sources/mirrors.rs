//! Mirrors: what they are asked, what they are sent, and what happens when they fail.

use std::io::{self, Read};
use std::sync::Arc;

use super::fake::{Registry, Reply, Request, Sample, amd64, chain, options};
use larder_registry::{BlobError, Client, ImageSpec, Mirror, ResolveError};
use tokio::net::TcpListener;

fn sample() -> Arc<Sample> {
    Arc::new(Sample::new((0..100_000_u32).flat_map(u32::to_le_bytes).collect()))
}

/// A client of `upstream` by way of `mirrors`; the credential in `config` is for those whom it names.
fn client(config: &str, upstream: &Registry, mirrors: &[&str]) -> Client {
    let (mut options, _dir) = options(config);
    let mirror = |url: &&str| format!("{}={url}", upstream.host).parse::<Mirror>().unwrap();
    options.mirrors = mirrors.iter().map(mirror).collect();
    Client::new(options).unwrap()
}

async fn fetch(client: &Client, upstream: &Registry) -> Result<io::Result<Vec<u8>>, ResolveError> {
    let spec: ImageSpec = format!("{}/team/x:1", upstream.host).parse().unwrap();
    let resolved = client.resolve(&spec, &amd64()).await?.pop().unwrap();
    let mut reader = client.open(&resolved.origin, &resolved.image.layers[0].descriptor).unwrap();
    let read = move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| bytes)
    };
    Ok(tokio::task::spawn_blocking(read).await.unwrap())
}

async fn sound(sample: &Arc<Sample>) -> Registry {
    let sample = Arc::clone(sample);
    Registry::start(move |request, _| sample.reply(request)).await
}

#[tokio::test]
async fn a_mirror_is_asked_first_for_everything_and_told_whose_image_is_meant() {
    let sample = sample();
    let (upstream, mirror) = (sound(&sample).await, sound(&sample).await);
    let client = client("{}", &upstream, &[&format!("http://{}/proxy/v2", mirror.host)]);
    assert!(fetch(&client, &upstream).await.unwrap().unwrap() == sample.layer.bytes);
    assert!(upstream.requests().is_empty());
    let namespace = upstream.host.replace(':', "%3A");
    let paths: Vec<String> = mirror.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths[0], format!("/proxy/v2/team/x/manifests/1?ns={namespace}"));
    assert!(paths[1..].iter().all(|path| path.starts_with("/proxy/v2/team/x/blobs/sha256:")));
    assert_eq!(paths.len(), 3);
}

#[tokio::test]
async fn another_registry_has_nothing_to_do_with_it() {
    let sample = sample();
    let (upstream, mirror) = (sound(&sample).await, sound(&sample).await);
    let (mut options, _dir) = options("{}");
    options.mirrors = vec![format!("docker.io=http://{}", mirror.host).parse().unwrap()];
    fetch(&Client::new(options).unwrap(), &upstream).await.unwrap().unwrap();
    assert!(mirror.requests().is_empty());
}

#[tokio::test]
async fn whatever_a_mirror_does_the_registry_itself_is_asked_next() {
    type Fault = fn(&Request, &Sample) -> Reply;
    let faults: [(&str, Fault); 10] = [
        ("404", |_, _| Reply::new(404, "{}")),
        ("401", |_, _| Reply::new(401, "{}").header("www-authenticate", "Basic realm=x")),
        ("403", |_, _| Reply::new(403, "{}")),
        ("429", |_, _| Reply::new(429, "").header("retry-after", "100")),
        ("500", |_, _| Reply::new(500, "")),
        ("html", |_, _| Reply::new(200, "<html>").header("content-type", "text/html")),
        ("cut", |request, sample| sample.reply(request).cut_after(3)),
        ("stall", |request, sample| sample.reply(request).stall_after(3)),
        ("layer cut", |request, sample| {
            let layer = request.path.contains(&sample.layer.descriptor.digest.to_string());
            if layer { sample.reply(request).cut_after(1000) } else { sample.reply(request) }
        }),
        ("other configuration", |request, sample| {
            let config = request.path.contains(&sample.config.descriptor.digest.to_string());
            let other = vec![b' '; sample.config.bytes.len()];
            if config { Reply::new(200, other) } else { sample.reply(request) }
        }),
    ];
    for (name, fault) in faults {
        let sample = sample();
        let upstream = sound(&sample).await;
        let served = Arc::clone(&sample);
        let mirror = Registry::start(move |request, _| fault(request, &served)).await;
        let client = client("{}", &upstream, &[&format!("http://{}", mirror.host)]);
        let layer = fetch(&client, &upstream).await.map_err(|error| chain(&error));
        assert!(layer.unwrap().unwrap() == sample.layer.bytes, "{name}");
        assert!(!mirror.requests().is_empty() && !upstream.requests().is_empty(), "{name}");
    }
}

#[tokio::test]
async fn a_mirror_that_is_away_is_asked_once_and_then_rests() {
    let sample = sample();
    let upstream = sound(&sample).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let mut asked = 0;
        while let Ok(Ok((connection, _))) =
            tokio::time::timeout(std::time::Duration::from_secs(2), listener.accept()).await
        {
            drop(connection);
            asked += 1;
        }
        asked
    });
    let client = client("{}", &upstream, &[&format!("http://{address}"), "http://127.0.0.1:1"]);
    for _ in 0..3 {
        assert!(fetch(&client, &upstream).await.unwrap().unwrap() == sample.layer.bytes);
    }
    // The HTTP client may try once more by itself when a connection closes before it was used.
    assert!(asked.await.unwrap() <= 2);
}

#[tokio::test]
async fn a_stream_that_breaks_at_a_mirror_goes_on_at_the_registry() {
    let sample = sample();
    let served = Arc::clone(&sample);
    let upstream = Registry::start(move |request, _| match request.header("range") {
        Some("bytes=1000-") => Reply::new(206, &served.layer.bytes[1000..])
            .header("content-range", &format!("bytes 1000-399999/{}", served.layer.bytes.len())),
        _ => Reply::new(500, ""),
    })
    .await;
    let served = Arc::clone(&sample);
    let mirror = Registry::start(move |request, _| {
        let layer = request.path.contains(&served.layer.descriptor.digest.to_string());
        if layer { served.reply(request).cut_after(1000) } else { served.reply(request) }
    })
    .await;
    let client = client("{}", &upstream, &[&format!("http://{}", mirror.host)]);
    assert!(fetch(&client, &upstream).await.unwrap().unwrap() == sample.layer.bytes);
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_blob_with_other_bytes_is_opened_again_at_the_next_host_and_last_at_the_registry() {
    let sample = sample();
    let other = |request: &Request, sample: &Sample| {
        let layer = request.path.contains(&sample.layer.descriptor.digest.to_string());
        let bytes: Vec<u8> = sample.layer.bytes.iter().rev().copied().collect();
        if layer { Reply::new(200, bytes) } else { sample.reply(request) }
    };
    let start = || {
        let served = Arc::clone(&sample);
        Registry::start(move |request, _| other(request, &served))
    };
    let (first, second, upstream) = (start().await, start().await, sound(&sample).await);
    let client = client(
        "{}",
        &upstream,
        &[&first, &second].map(|mirror| format!("http://{}", mirror.host)).each_ref().map(String::as_str),
    );
    let spec: ImageSpec = format!("{}/team/x:1", upstream.host).parse().unwrap();
    let resolved = client.resolve(&spec, &amd64()).await.unwrap().pop().unwrap();
    let mut read = Vec::new();
    for _ in 0..3 {
        let mut reader = client.open(&resolved.origin, &resolved.image.layers[0].descriptor).unwrap();
        let all = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map(|_| bytes)
        });
        read.push(all.await.unwrap());
    }
    for (host, error) in [&first, &second].into_iter().zip(&read) {
        let error = error.as_ref().unwrap_err();
        assert!(BlobError::is_elsewhere(error), "{error}");
        assert!(error.to_string().ends_with(&format!(", as {} sent it", host.host)), "{error}");
    }
    assert!(*read[2].as_ref().unwrap() == sample.layer.bytes);
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_mirror_gets_the_credential_of_its_own_host_and_no_other() {
    let guarded = |request: &Request| {
        let challenge = || Reply::new(401, "{}").header("www-authenticate", r#"Basic realm="x""#);
        request.header("authorization").is_none().then(challenge)
    };
    let sample = sample();
    let served = Arc::clone(&sample);
    let upstream =
        Registry::start(move |request, _| guarded(request).unwrap_or_else(|| served.reply(request))).await;
    let served = Arc::clone(&sample);
    let mirror =
        Registry::start(move |request, _| guarded(request).unwrap_or_else(|| served.reply(request))).await;
    let url = format!("http://{}", mirror.host);
    let sent = |registry: &Registry| {
        let mut sent: Vec<_> =
            registry.requests().iter().map(|r| r.header("authorization").map(str::to_owned)).collect();
        sent.dedup();
        sent
    };
    // dTpw is u:p, bTpt is m:m.
    let upstreams = format!(r#"{{"auths": {{"{}": {{"auth": "dTpw"}}}}}}"#, upstream.host);
    fetch(&client(&upstreams, &upstream, &[&url]), &upstream).await.unwrap().unwrap();
    assert_eq!(sent(&mirror), [None]);
    assert_eq!(sent(&upstream), [None, Some("Basic dTpw".to_owned())]);
    let mirrors = format!(r#"{{"auths": {{"{}": {{"auth": "bTpt"}}}}}}"#, mirror.host);
    fetch(&client(&mirrors, &upstream, &[&url]), &upstream).await.unwrap().unwrap();
    assert_eq!(sent(&mirror), [None, Some("Basic bTpt".to_owned())]);
}
