//! `cargo xtask bench node`: images attached from a disk and pulled through CRI from a registry on this machine, in turn; and
//! `larder fetch` beside the least that pulls.

mod attach;
pub(super) mod bare;
mod fetch;
mod floor;
mod stock;

use anyhow::{Result, ensure};
use larder_tests::containerd::Version;
use serde::Serialize;

use super::record::{self, release_binary};
use stock::Stock;

/// How many images are attached at once.
const COUNTS: [usize; 3] = [1, 10, 100];
/// How many are fetched.
const FETCHED: usize = 10;
/// Pulls of a second vary more than attaches do: so many times the runs.
const FETCH_ROUNDS: usize = 3;

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Results {
    attach: Vec<attach::Report>,
    fetch: Vec<fetch::Report>,
    memory: fetch::Memory,
}

pub(super) fn run(runs: usize) -> Result<()> {
    let binary = release_binary()?;
    let (mut attached, mut fetched) = (Vec::new(), Vec::new());
    for count in COUNTS {
        let stock = Stock::of(count, &binary)?;
        for version in Version::ALL {
            let report = attach::measure(&stock, &binary, version, runs)?;
            attach::print(&report);
            attached.push(report);
            if count == FETCHED {
                let report = fetch::measure(&stock, &binary, version, runs * FETCH_ROUNDS)?;
                fetch::print(&report);
                fetched.push(report);
            }
        }
    }
    let memory = fetch::memory(&binary)?;
    fetch::print_memory(&memory);
    let results = Results { attach: attached, fetch: fetched, memory };
    record::keep("node", &results)?;
    judge(&results)
}

fn judge(Results { attach, fetch, memory }: &Results) -> Result<()> {
    let over: Vec<_> = attach.iter().filter(|report| report.of_budget > 1.0).collect();
    ensure!(over.is_empty(), "attach took longer than it may: {over:?}");
    let slow: Vec<_> = fetch.iter().filter(|report| report.is_slow()).collect();
    ensure!(slow.is_empty(), "fetch took longer than it may: {slow:?}");
    ensure!(!memory.is_large(), "more memory than there may be: {memory:?}");
    Ok(())
}
