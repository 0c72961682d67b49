//! `larder status --node`: ask the node, and print what it says.

use anyhow::Context as _;
use larder_core::ByteSize;
use larder_node::{Hydration, HydrationState, ImageStatus, NodeStatus, Origin};
use tokio::runtime::Runtime;

use crate::cli::{ContainerdArgs, Form};
use crate::command::disk::{Table, print, short};
use crate::exit::Exit;
use crate::interrupt::or_interrupted;

pub(super) fn run(output: Form, containerd: ContainerdArgs) -> anyhow::Result<Exit> {
    let options = containerd.into();
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let status = async { Ok(larder_node::status(&options).await?) };
    let status = runtime.block_on(or_interrupted(status)).context("the status of this node")?;
    print(output, &status, || text(&status))?;
    Ok(if status.is_warm() { Exit::Done } else { Exit::Failed })
}

fn text(status: &NodeStatus) -> String {
    let NodeStatus { containerd: _, limits, disks, images } = status;
    let mut disk_table = Table::of(["DISK", "STATE", "HYDRATED", "PLACE"]);
    for disk in disks {
        let state = disk.fault.as_ref().map_or_else(|| "mounted".to_owned(), ToString::to_string);
        let hydrated = disk.hydration.as_ref().map_or_else(|| "-".to_owned(), hydrated);
        disk_table.row([short(&disk.disk), state, hydrated, disk.place.display().to_string()]);
    }
    let mut image_table = Table::of(["IMAGE", "WARM", "PINNED", "LAYERS", "LINKED", "SOURCE", "REASON"]);
    for image in images {
        image_table.row(row(image));
    }
    let limits = limits.iter().fold(String::new(), |text, limit| text + "\nlimit: " + limit);
    let attached = !disks.is_empty() || images.iter().any(|image| image.origin != Origin::Runtime);
    let disks = if attached { disk_table.to_string() } else { "nothing is attached\n".to_owned() };
    let images = if images.is_empty() { String::new() } else { format!("\n{image_table}") };
    format!("{disks}{images}{limits}")
}

fn hydrated(hydration: &Hydration) -> String {
    let Hydration { state, read, total, bytes_per_second, message, .. } = hydration;
    let percent = u128::from(*read) * 100 / u128::from(*total).max(1);
    let why = message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    match state {
        HydrationState::Running => {
            format!("{percent} % of {}, {}/s", ByteSize(*total), ByteSize(*bytes_per_second))
        }
        HydrationState::Done => "yes".to_owned(),
        HydrationState::Ended => format!("ended at {percent} %{why}"),
        HydrationState::Failed => format!("failed{why}"),
    }
}

fn row(image: &ImageStatus) -> [String; 7] {
    let ImageStatus { name, origin, disk, pinned, layers, linked, reasons } = image;
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let dash = || "-".to_owned();
    let source = match origin {
        Origin::Disk => disk.as_ref().map_or_else(dash, short),
        Origin::Others => "others".to_owned(),
        Origin::Runtime => "runtime".to_owned(),
    };
    let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
    [
        name.clone(),
        yes(image.is_warm()),
        yes(*pinned),
        layers.map_or_else(dash, |layers| layers.to_string()),
        linked.to_string(),
        source,
        if reasons.is_empty() { dash() } else { reasons.join("; ") },
    ]
}
