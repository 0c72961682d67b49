//! External programs: those that run to their end, and daemons that end with the lab.

mod daemon;
mod kill;
mod memory;

pub use daemon::Daemon;
pub(crate) use kill::{kill_tree, processes};
pub use memory::{anonymous_memory, wait_and_watch_memory};

use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

/// What a program may take if nothing else is said: the slowest of them unpack packages.
pub const LIMIT: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(2);
/// How much of a program's talk an error repeats, bytes.
const TAIL: usize = 2000;

/// Runs a program to a successful end and returns its standard output; the error has its arguments and what it said.
pub fn run(command: &mut Command) -> Result<String> {
    run_within(command, LIMIT)
}

/// As [`run`], for a program that may take `limit`.
pub fn run_within(command: &mut Command, limit: Duration) -> Result<String> {
    let finished = finish(command, limit).with_context(|| format!("run {}", argv(command)))?;
    if !finished.status.success() {
        let talk = if finished.stderr.is_empty() { &finished.stdout } else { &finished.stderr };
        bail!("{} failed, {}: {}", argv(command), finished.status, tail(talk));
    }
    Ok(finished.stdout)
}

struct Finished {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

/// Files instead of pipes, so that a program which leaves children behind cannot hold us up.
fn finish(command: &mut Command, limit: Duration) -> Result<Finished> {
    let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(err.try_clone()?);
    let mut child = command.spawn()?;
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("not finished after {} s: {}", limit.as_secs(), tail(&text(&mut err)?));
        }
        sleep(POLL);
    };
    Ok(Finished { status, stdout: text(&mut out)?, stderr: text(&mut err)? })
}

fn text(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub(crate) fn argv(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The end of what a program said, cut at a character.
pub(crate) fn tail(text: &str) -> &str {
    let text = text.trim_end();
    let mut from = text.len().saturating_sub(TAIL);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

/// Asks `probe` again and again until it has an answer or `limit` is over; its last refusal is in the error.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match probe() {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(anyhow!("{what}: not within {} s", limit.as_secs())));
            }
            Err(_) => sleep(POLL * 5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_arguments_and_what_was_said() {
        let error = run(Command::new("sh").args(["-c", "echo oh no >&2; exit 3"])).unwrap_err().to_string();
        assert_eq!(error, "sh -c echo oh no >&2; exit 3 failed, exit status: 3: oh no");
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let limit = Duration::from_millis(50);
        let error = run_within(Command::new("sleep").arg("60"), limit).unwrap_err();
        assert!(format!("{error:#}").starts_with("run sleep 60: not finished after 0 s"), "{error:#}");
    }

    #[test]
    fn a_tail_is_cut_at_a_character() {
        let long = format!("ä{}", "x".repeat(TAIL - 1));
        assert_eq!(tail(&long), "x".repeat(TAIL - 1));
    }
}
