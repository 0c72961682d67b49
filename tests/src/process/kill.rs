//! Ends processes by their id, with all that they have started.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// A line of the process table.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    parent: i32,
    pub(crate) argv: Vec<String>,
}

/// The processes of this moment; one that ends meanwhile is left out.
pub(crate) fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn process(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; state and parent follow it (proc(5)).
    let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let argv = line.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    Some(Process { pid: Pid::from_raw(pid)?, parent, argv })
}

/// All children, grandchildren and so on of `pid`.
pub(crate) fn descendants(pid: Pid) -> Vec<Pid> {
    let processes = processes();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).map(|pid| pid.as_raw_nonzero().get()) {
        found.extend(processes.iter().filter(|process| process.parent == parent).map(|process| process.pid));
        next += 1;
    }
    found.split_off(1)
}

/// Kills `pid` and its descendants; what has ended by itself meanwhile is no failure.
pub(crate) fn kill_tree(pid: Pid) {
    for pid in descendants(pid).into_iter().chain([pid]) {
        let _ = kill_process(pid, Signal::KILL);
    }
}
