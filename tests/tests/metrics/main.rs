//! `larder aggregate-metrics` and `larder sleep` as processes: what a client of gRPC and a client of HTTP see, and what they cost.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant, UNIX_EPOCH};

use larder_node::Attempt;
use larder_node::metrics::{MetricsEndpoint, SubmitError, submit};
use larder_tests::larder;
use larder_tests::process::{anonymous_memory, until};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Aggregating, MIB, Running, Sample, Tls, raw_submit, runtime};
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(20);
const PROMETHEUS: &str =
    "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

fn attempt(id: u128, error: Option<&str>) -> Attempt {
    Attempt {
        id: Uuid::from_u128(id),
        started_at: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        image: format!("quay.io/team/app:{id}"),
        error: error.map(str::to_owned),
        duration: Duration::from_millis(1500),
        size_bytes: if error.is_some() { 0 } else { 4096 },
    }
}

fn sample(id: usize) -> Sample {
    Sample {
        attempt_id: format!("id-{id}"),
        started_at: 1_700_000_000,
        image: "redis:7".to_owned(),
        error: String::new(),
        duration_ms: 12,
        node: "node-1".to_owned(),
        size_bytes: 99,
    }
}

/// The results that are told of, in the order of their ids.
fn results(aggregating: &Aggregating) -> Vec<Value> {
    let mut results: Vec<Value> = serde_json::from_str(&aggregating.get("/metrics", &[]).text).unwrap();
    results.sort_by_key(|result| result["attempt_id"].as_str().unwrap_or_default().to_owned());
    results
}

#[test]
fn a_client_of_the_bare_protocol_submits_and_curl_reads_the_array() {
    let aggregating = Aggregating::start(&[]);
    let empty = aggregating.get("/metrics", &[]);
    assert_eq!((empty.status, empty.text.as_str(), empty.kind.as_str()), (200, "[]\n", "application/json"));

    let failed = Sample { error: "not found".to_owned(), size_bytes: 0, duration_ms: 0, ..sample(2) };
    let answer = raw_submit(&aggregating.grpc, vec![sample(1), failed]).unwrap();
    assert!(answer.is_empty(), "the answer has no fields: {answer:?}");
    let expected = [
        json!({ "attempt_id": "id-1", "started_at": 1_700_000_000, "image": "redis:7", "duration_ms": 12,
            "node": "node-1", "size_bytes": 99 }),
        json!({ "attempt_id": "id-2", "started_at": 1_700_000_000, "image": "redis:7", "error": "not found",
            "node": "node-1" }),
    ];
    assert_eq!(results(&aggregating), expected);
}

#[test]
fn prometheus_gets_its_own_text_with_help_and_type() {
    let aggregating = Aggregating::start(&[]);
    raw_submit(&aggregating.grpc, vec![sample(1)]).unwrap();
    let answer = aggregating.get("/metrics", &[("accept", PROMETHEUS)]);
    assert_eq!(answer.kind, "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        "# HELP larder_prefetch_attempts_total Attempts at pulling an image that nodes told of.",
        "# TYPE larder_prefetch_attempts_total counter",
        "larder_prefetch_attempts_total{outcome=\"succeeded\"} 1",
        "larder_prefetch_bytes_total 99",
    ] {
        assert!(answer.text.lines().any(|found| found == line), "{line} is not in\n{}", answer.text);
    }
    assert!(!answer.text.contains("redis"), "no image is a label");
}

#[test]
fn what_is_submitted_twice_counts_once_and_every_node_has_its_name() {
    let aggregating = Aggregating::start(&[]);
    let endpoint = MetricsEndpoint::new(&aggregating.grpc, None, None).unwrap();
    let attempts = [attempt(1, None), attempt(2, Some("no such image"))];
    for _ in 0..2 {
        runtime().block_on(submit(&endpoint, "worker-1", &attempts, LIMIT)).unwrap();
    }
    let results = results(&aggregating);
    assert_eq!(results.len(), 2);
    assert!(results.iter().all(|result| result["node"] == "worker-1"));
    assert_eq!(results[1]["error"], "no such image");
    let text = aggregating.get("/metrics", &[("accept", PROMETHEUS)]).text;
    assert!(text.contains("\nlarder_metrics_results_repeated_total 2\n"), "{text}");
}

#[test]
fn a_submitter_waits_for_an_aggregator_that_comes_late() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = MetricsEndpoint::new(&format!("127.0.0.1:{port}"), None, None).unwrap();
    let submitting = std::thread::spawn(move || {
        runtime().block_on(submit(&endpoint, "worker-1", &[attempt(1, None)], LIMIT))
    });
    std::thread::sleep(Duration::from_secs(1));
    let aggregating = Aggregating::start(&["--grpc-port", &port.to_string()]);
    submitting.join().unwrap().unwrap();
    assert_eq!(results(&aggregating).len(), 1);
}

#[test]
fn a_submitters_limit_holds_whether_nobody_listens_or_nobody_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap().to_string();
    let limit = Duration::from_secs(2);
    for target in [silent.as_str(), "127.0.0.1:1"] {
        let endpoint = MetricsEndpoint::new(target, None, None).unwrap();
        let started = Instant::now();
        let error = runtime().block_on(submit(&endpoint, "n", &[attempt(1, None)], limit)).unwrap_err();
        assert!(matches!(&error, SubmitError::Undelivered { endpoint, .. } if endpoint == target), "{error}");
        assert!(started.elapsed() < limit + Duration::from_millis(500), "{:?}", started.elapsed());
    }
}

#[test]
fn with_a_token_and_tls_nobody_else_submits_or_reads() {
    let files = Tls::make();
    let token = files.write("token", "s3cret\n");
    let arguments = ["--tls-cert", files.certificate(), "--tls-key", files.key(), "--token-file", &token];
    let aggregating = Aggregating::start_with_tls(&arguments, &files);
    let endpoint = |token: Option<&str>| {
        MetricsEndpoint::new(&aggregating.grpc, Some(files.authority()), token.map(AsRef::as_ref)).unwrap()
    };
    let submit = |endpoint: &MetricsEndpoint, id| {
        runtime().block_on(submit(endpoint, "worker-1", &[attempt(id, None)], LIMIT))
    };
    submit(&endpoint(Some(&token)), 1).unwrap();
    let wrong = files.write("wrong", "s3cre");
    for token in [None, Some(wrong.as_str())] {
        let started = Instant::now();
        let error = submit(&endpoint(token), 2).unwrap_err();
        assert!(matches!(error, SubmitError::Refused { .. }), "{error}");
        assert!(!error.to_string().contains("s3cre") && started.elapsed() < LIMIT / 2);
    }
    let bare = MetricsEndpoint::new(&aggregating.grpc, None, None).unwrap();
    let limit = Duration::from_secs(2);
    runtime().block_on(larder_node::metrics::submit(&bare, "n", &[attempt(3, None)], limit)).unwrap_err();

    assert_eq!(aggregating.get("/metrics", &[]).status, 401);
    assert_eq!(aggregating.get("/metrics", &[("authorization", "Bearer s3cre")]).status, 401);
    assert_eq!(aggregating.get("/healthz", &[]).status, 200);
    let answer = aggregating.get("/metrics", &[("authorization", "Bearer s3cret")]);
    let results: Vec<Value> = serde_json::from_str(&answer.text).unwrap();
    assert_eq!((answer.status, results.len()), (200, 1));
    assert!(!aggregating.log().contains("s3cre"), "{}", aggregating.log());
}

#[test]
fn memory_stays_bounded_however_much_is_submitted_and_a_counter_says_what_is_missing() {
    let aggregating = Aggregating::start(&["--max-results", "5000"]);
    let long = |id: usize| Sample { error: "x".repeat(20_000), ..sample(id) };
    for batch in 0..10 {
        let samples = (batch * 1000..(batch + 1) * 1000).map(long).collect();
        raw_submit(&aggregating.grpc, samples).unwrap();
    }
    let answer = aggregating.get("/metrics", &[]);
    let results: Vec<Value> = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(results.len(), 5000);
    assert_eq!(results[0]["error"].as_str().unwrap().len(), 1024);
    assert_eq!(
        (answer.header("larder-results-dropped"), answer.header("larder-results-shortened")),
        ("5000", "10000")
    );
    let text = aggregating.get("/metrics", &[("accept", PROMETHEUS)]).text;
    assert!(text.contains("\nlarder_metrics_results_dropped_total 5000\n"), "{text}");
    assert!(text.contains("\nlarder_prefetch_attempts_total{outcome=\"failed\"} 10000\n"), "{text}");
    let anonymous = anonymous_memory(aggregating.pid()).unwrap();
    assert!(anonymous < 32 * MIB, "{anonymous} bytes");
    println!("anonymous memory with 5000 results of the largest kind: {} KiB", anonymous >> 10);
}

#[test]
fn bad_input_is_refused_and_the_aggregator_lives_on() {
    use std::io::Write as _;
    let aggregating = Aggregating::start(&[]);
    let nameless = Sample { attempt_id: String::new(), ..sample(1) };
    let status = raw_submit(&aggregating.grpc, vec![nameless]).unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    let huge = Sample { error: "x".repeat(1 << 20), ..sample(1) };
    assert_eq!(raw_submit(&aggregating.grpc, vec![huge]).unwrap_err().code(), tonic::Code::OutOfRange);
    for garbage in [
        &b"\x00\xff\x00\xff garbage"[..],
        b"GET / HTTP/1.1\r\nbroken",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff",
    ] {
        for address in [&aggregating.grpc, &aggregating.http] {
            std::net::TcpStream::connect(address).unwrap().write_all(garbage).unwrap();
        }
    }
    raw_submit(&aggregating.grpc, vec![sample(2)]).unwrap();
    assert_eq!(results(&aggregating).len(), 1);
    let text = aggregating.get("/metrics", &[("accept", PROMETHEUS)]).text;
    assert!(text.contains("\nlarder_metrics_submissions_refused_total 2\n"), "{text}");
}

#[test]
fn sigterm_ends_it_well_even_while_a_client_is_connected() {
    let mut aggregating = Aggregating::start(&[]);
    let held = std::net::TcpStream::connect(&aggregating.http).unwrap();
    aggregating.get("/healthz", &[]);
    aggregating.stop();
    drop(held);
    let mut running =
        Running::start(&["aggregate-metrics", "--bind", "127.0.0.1", "--grpc-port=0", "--http-port=0"]);
    wait_for_handlers(running.pid());
    assert_eq!(running.end_with(Signal::TERM), Some(0));
}

#[test]
fn a_port_that_is_taken_and_a_certificate_that_is_none_are_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = |arguments: &[&str]| {
        let base = ["aggregate-metrics", "--bind", "127.0.0.1", "--http-port", "0"];
        larder::larder(base.iter().chain(arguments)).unwrap()
    };
    let ran = run(&["--grpc-port", &port]);
    drop(taken);
    assert_eq!(ran.status, Some(1));
    assert!(ran.stderr.starts_with(&format!("error: cannot listen on 127.0.0.1:{port}: ")), "{}", ran.stderr);
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let ran = run(&["--grpc-port", "0", "--tls-cert", path, "--tls-key", path]);
    assert!(
        ran.stderr.starts_with(&format!("error: cannot read a PEM certificate from {path}")),
        "{}",
        ran.stderr
    );
    let ran = run(&["--grpc-port", "0", "--token-file", path]);
    assert!(ran.stderr.starts_with(&format!("error: {path} holds no token")), "{}", ran.stderr);
    assert_eq!(run(&["--tls-cert", path]).status, Some(2));
}

#[test]
fn sleep_costs_next_to_nothing_and_ends_well() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut asleep = Running::start(&["sleep"]);
        wait_for_handlers(asleep.pid());
        let anonymous = anonymous_memory(asleep.pid()).unwrap();
        println!("anonymous memory of larder sleep: {} KiB", anonymous >> 10);
        assert!(anonymous < 4 * MIB, "{anonymous} bytes");
        assert_eq!(asleep.end_with(signal), Some(0));
    }
}

/// Until SIGTERM and SIGINT are caught: the kernel tells which signals are.
fn wait_for_handlers(pid: u32) {
    const BOTH: u64 = 1 << 14 | 1 << 1;
    until("the signals are caught", LIMIT, || {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0");
        let caught = u64::from_str_radix(caught.trim(), 16)?;
        anyhow::ensure!(caught & BOTH == BOTH, "not yet");
        Ok(())
    })
    .unwrap();
}
