//! Large blobs in parts: how many, in which order, and what a server without ranges makes of it.

use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use super::fake::{Registry, Reply, Request, Sample, amd64, options};
use larder_registry::{BlobError, Client, ImageSpec, RangePolicy};

const PART: usize = 100_000;
const POLICY: RangePolicy = RangePolicy { above: 500_000, part: PART as u64, lanes: 3, ahead: 2 };

fn sample(length: u32) -> Arc<Sample> {
    Arc::new(Sample::new((0..length / 4).flat_map(u32::to_le_bytes).collect()))
}

/// The bounds of `Range: bytes=FIRST-[LAST]`, the second one past the end.
fn asked(request: &Request, length: usize) -> Option<(usize, usize)> {
    let (first, last) = request.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
    let end = if last.is_empty() { length } else { last.parse::<usize>().unwrap() + 1 };
    Some((first.parse().unwrap(), end))
}

fn partial(bytes: &[u8], (start, end): (usize, usize)) -> Reply {
    let range = format!("bytes {start}-{}/{}", end - 1, bytes.len());
    Reply::new(206, &bytes[start..end]).header("content-range", &range)
}

/// Serves `sample`; `layer` answers for the layer, told the part that is wanted and how many requests came before.
async fn serve(
    sample: &Arc<Sample>,
    layer: impl Fn(&Sample, Option<(usize, usize)>, usize) -> Reply + Send + Sync + 'static,
) -> Registry {
    let sample = Arc::clone(sample);
    Registry::start(move |request, before| {
        if !request.path.ends_with(&sample.layer.descriptor.digest.to_string()) {
            return sample.reply(request);
        }
        layer(&sample, asked(request, sample.layer.bytes.len()), before)
    })
    .await
}

fn by_parts(sample: &Sample, part: Option<(usize, usize)>) -> Reply {
    part.map_or_else(|| Reply::blob(&sample.layer), |part| partial(&sample.layer.bytes, part))
}

async fn fetch(registry: &Registry, policy: RangePolicy) -> io::Result<Vec<u8>> {
    let (mut options, _dir) = options("{}");
    options.ranges = policy;
    let client = Client::new(options).unwrap();
    let spec: ImageSpec = format!("{}/x:1", registry.host).parse().unwrap();
    let resolved = client.resolve(&spec, &amd64()).await.unwrap().pop().unwrap();
    let mut reader = client.open(&resolved.origin, &resolved.image.layers[0].descriptor).unwrap();
    let read = move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| bytes)
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

fn ranges(registry: &Registry, sample: &Sample) -> Vec<Option<String>> {
    let requests = registry.requests_for(&sample.layer.descriptor.digest.to_string());
    requests.iter().map(|request| request.header("range").map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_large_blob_comes_in_parts_and_in_order() {
    let sample = sample(1_250_000);
    let registry = serve(&sample, |sample, part, _| by_parts(sample, part)).await;
    assert!(fetch(&registry, POLICY).await.unwrap() == sample.layer.bytes);
    let mut seen = ranges(&registry, &sample);
    seen.sort_by_key(|range| range.as_ref().map(String::len));
    assert_eq!(seen.len(), 13);
    assert!(seen.contains(&Some("bytes=0-99999".to_owned())));
    assert!(seen.contains(&Some("bytes=1200000-".to_owned())));
}

#[tokio::test]
async fn a_small_blob_is_one_request_without_a_range() {
    let sample = sample(499_996);
    let registry = serve(&sample, |sample, part, _| by_parts(sample, part)).await;
    assert!(fetch(&registry, POLICY).await.unwrap() == sample.layer.bytes);
    assert_eq!(ranges(&registry, &sample), [None]);
}

#[tokio::test]
async fn a_server_without_ranges_sends_all_in_its_first_answer() {
    let sample = sample(1_250_000);
    let registry = serve(&sample, |sample, _, _| Reply::blob(&sample.layer)).await;
    assert!(fetch(&registry, POLICY).await.unwrap() == sample.layer.bytes);
    assert_eq!(ranges(&registry, &sample), [Some("bytes=0-99999".to_owned())]);
}

#[tokio::test]
async fn a_server_that_stops_giving_ranges_is_read_over_one_connection() {
    let sample = sample(1_250_000);
    let registry =
        serve(
            &sample,
            |sample, part, before| {
                if before < 4 { by_parts(sample, part) } else { Reply::blob(&sample.layer) }
            },
        )
        .await;
    assert!(fetch(&registry, POLICY).await.unwrap() == sample.layer.bytes);
    // Parts that were under way, and then the rest at once.
    assert!(ranges(&registry, &sample).len() < 10);
}

#[tokio::test]
async fn a_part_that_breaks_or_stalls_is_resumed_by_itself() {
    let sample = sample(1_250_000);
    let broken = Mutex::new(Vec::new());
    let registry = serve(&sample, move |sample, part, _| {
        let reply = by_parts(sample, part);
        let (start, end) = part.unwrap();
        let mut broken = broken.lock().unwrap();
        if end - start < PART / 2 || broken.contains(&start) {
            return reply;
        }
        broken.push(start);
        if start == 300_000 { reply.stall_after(60_000) } else { reply.cut_after(60_000) }
    })
    .await;
    assert!(fetch(&registry, POLICY).await.unwrap() == sample.layer.bytes);
    assert!(ranges(&registry, &sample).contains(&Some("bytes=360000-399999".to_owned())));
}

#[tokio::test]
async fn a_part_that_cannot_be_had_or_has_other_bytes_fails_the_blob() {
    let sample = sample(1_250_000);
    let registry = serve(&sample, |sample, part, _| match part {
        Some((700_000, _)) => Reply::new(500, ""),
        part => by_parts(sample, part),
    })
    .await;
    let error = fetch(&registry, POLICY).await.unwrap_err();
    let error = error.get_ref().unwrap().downcast_ref().unwrap();
    assert!(matches!(error, BlobError::Fetch { .. }), "{error}");
    let registry = serve(&sample, |sample, part, _| match part {
        Some((700_000, end)) => partial(&vec![0; sample.layer.bytes.len()], (700_000, end)),
        part => by_parts(sample, part),
    })
    .await;
    let error = fetch(&registry, POLICY).await.unwrap_err();
    assert!(!BlobError::is_elsewhere(&error), "{error}");
    let error = error.get_ref().unwrap().downcast_ref().unwrap();
    let BlobError::Sent { wrong, hosts, .. } = error else { panic!("{error}") };
    assert!(matches!(**wrong, BlobError::Digest { .. }) && *hosts == registry.host, "{error}");
}

#[tokio::test]
async fn all_blobs_of_a_client_share_what_may_be_fetched_ahead() {
    let sample = sample(1_250_000);
    let registry = serve(&sample, |sample, part, _| by_parts(sample, part)).await;
    // Without a permit each part is fetched when it is read, one after the other.
    let policy = RangePolicy { ahead: 0, ..POLICY };
    assert!(fetch(&registry, policy).await.unwrap() == sample.layer.bytes);
    let starts: Vec<usize> = registry
        .requests_for(&sample.layer.descriptor.digest.to_string())
        .iter()
        .map(|request| asked(request, 0).unwrap().0)
        .collect();
    assert_eq!(starts, (0..13).map(|part| part * PART).collect::<Vec<_>>());
}
