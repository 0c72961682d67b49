//! Runs a plugin: question on standard input, answer on standard output, and an end to it and all its children in time.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::PluginError;
use super::config::Provider;
use crate::foreign_text;

/// Of an answer, in bytes: a token has some KiB, and an answer names few registries.
const MAX_ANSWER: usize = 1 << 20;
/// Of a plugin's complaints, in bytes; what follows is read and forgotten.
const MAX_COMPLAINT: usize = 64 << 10;

/// A plugin that runs, in a process group of its own. Dropping it kills the group: before the plugin itself was waited for, so
/// that its number cannot be another's yet.
struct Group {
    leader: Option<Pid>,
    child: Child,
}

struct Finished {
    status: std::process::ExitStatus,
    answer: Option<Vec<u8>>,
    complaint: Vec<u8>,
}

/// Whether `program` is a file that may be run.
pub(super) fn is_executable(program: &Path) -> bool {
    program.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// What `program`, the plugin of `provider`, answers to `request`.
pub(super) async fn run(
    provider: &Provider,
    program: &Path,
    request: Vec<u8>,
    limit: Duration,
) -> Result<Vec<u8>, PluginError> {
    let plugin = provider.name.clone();
    tracing::debug!(plugin, "asking a credential provider");
    let finished = match timeout(limit, finish(provider, program, request)).await {
        Ok(Ok(finished)) => finished,
        Ok(Err(source)) => return Err(PluginError::Run { plugin, source }),
        Err(_) => return Err(PluginError::TimedOut { plugin, after: limit }),
    };
    let Finished { status, answer, complaint } = finished;
    if !status.success() {
        // What it wrote to standard output may be half a credential.
        let message = foreign_text::one_line(&String::from_utf8_lossy(&complaint));
        return Err(PluginError::Failed { plugin, status, message });
    }
    answer.ok_or(PluginError::TooLong { plugin, limit: MAX_ANSWER })
}

async fn finish(provider: &Provider, program: &Path, request: Vec<u8>) -> io::Result<Finished> {
    let mut command = Command::new(program);
    command.args(&provider.args).envs(provider.env.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.kill_on_drop(true).spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let leader = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let mut group = Group { leader, child };
    let ask = async {
        let Some(mut stdin) = stdin else { return Ok(()) };
        match stdin.write_all(&request).await {
            // It may know its answer without reading the question.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    };
    let (asked, answer, complaint) = tokio::join!(ask, read(stdout, MAX_ANSWER), read(stderr, MAX_COMPLAINT));
    asked?;
    let ((answer, whole), (complaint, _)) = (answer?, complaint?);
    let status = group.end().await?;
    Ok(Finished { status, answer: whole.then_some(answer), complaint })
}

/// The first `most` bytes, and whether that is all; the rest is read too, so that the writer comes to its end.
async fn read(pipe: Option<impl AsyncRead + Unpin>, most: usize) -> io::Result<(Vec<u8>, bool)> {
    let (mut kept, mut whole) = (Vec::new(), true);
    let Some(mut pipe) = pipe else { return Ok((kept, whole)) };
    let mut buffer = vec![0; 8 << 10];
    loop {
        let count = pipe.read(&mut buffer).await?;
        if count == 0 {
            return Ok((kept, whole));
        }
        let room = count.min(most - kept.len());
        kept.extend_from_slice(&buffer[..room]);
        whole &= room == count;
    }
}

impl Group {
    /// Waits for the plugin. Both of its outputs are closed, so it has ended, or is about to.
    async fn end(&mut self) -> io::Result<std::process::ExitStatus> {
        let status = self.child.wait().await?;
        self.leader = None;
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            // The one reason to fail is that nobody is left.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}
