//! What programs take of the machine's memory: what is their own alone, and cannot be given back.

use std::fs;
use std::process::{Child, ExitStatus};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

/// Between two looks; a peak that is shorter is of no consequence.
const LOOK: Duration = Duration::from_millis(5);

/// Anonymous memory of a process in bytes; none once it has ended.
pub fn anonymous_memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
}

/// Waits for the end of `child`; how it ended, and the most anonymous memory that it was seen to have, in bytes.
pub fn wait_and_watch_memory(child: &mut Child) -> Result<(ExitStatus, u64)> {
    let mut most = 0;
    loop {
        most = most.max(anonymous_memory(child.id()).unwrap_or_default());
        if let Some(status) = child.try_wait()? {
            return Ok((status, most));
        }
        sleep(LOOK);
    }
}
