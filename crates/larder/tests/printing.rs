//! What becomes of data when stdout takes no more of it.

#![expect(clippy::unwrap_used, reason = "a test's own mistakes may panic")]

use std::fs::File;
use std::process::{Command, Output, Stdio};

/// The program's end and words, when it prints much to `stdout`.
fn completion(stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Output {
    let mut larder = Command::new(env!("CARGO_BIN_EXE_larder"));
    larder
        .args(["completion", "bash"])
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap()
}

fn nobody_reads() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_reader_that_is_gone_is_no_failure() {
    let ended = completion(nobody_reads(), Stdio::piped());
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn data_that_cannot_be_written_is_a_failure_in_one_line() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let ended = completion(full, Stdio::piped());
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(
        said.starts_with("error: cannot write to standard output: ") && said.lines().count() == 1,
        "{said}"
    );
}

#[test]
fn an_error_that_nobody_hears_keeps_its_exit_status() {
    let mut larder = Command::new(env!("CARGO_BIN_EXE_larder"));
    let ended = larder.args(["inspect", "/dev/null/none"]).stderr(nobody_reads()).status().unwrap();
    assert_eq!(ended.code(), Some(1));
}
