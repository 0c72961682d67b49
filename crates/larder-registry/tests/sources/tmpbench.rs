use std::io::BufRead;
use std::sync::Arc;
use std::time::Instant;
use larder_registry::ImageSpec;
use super::fake::{Registry, Sample, amd64, client};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn speed() {
    let sample = Arc::new(Sample::new(vec![7; 1 << 30]));
    let served = Arc::clone(&sample);
    let registry = Registry::start(move |request, _| served.reply(request)).await;
    let client = client("{}");
    let spec: ImageSpec = format!("{}/x:1", registry.host).parse().unwrap();
    let resolved = client.resolve(&spec, &amd64()).await.unwrap().remove(0);
    let c = client.clone();
    tokio::task::spawn_blocking(move || {
        let begin = Instant::now();
        let mut r = c.open(&resolved.origin, &resolved.image.layers[0].descriptor).unwrap();
        let (mut n, mut total, mut big) = (0u64, 0u64, 0usize);
        loop {
            let l = r.fill_buf().unwrap().len();
            if l == 0 { break }
            n += 1; total += l as u64; big = big.max(l);
            r.consume(l);
        }
        println!("{total} bytes {n} chunks, largest {big}, avg {} {:?}", total / n, begin.elapsed());
    }).await.unwrap();
    let begin = Instant::now();
    let d = larder_core::Digest::of(&sample.layer.bytes);
    println!("hash alone {:?} {d}", begin.elapsed());
}
