//! Puts the layers and the disk's own files into one tree.

use std::collections::BTreeMap;

use larder_core::{ChainId, Digest};

use super::plan::Plan;
use crate::ext4::{Closed, Ext4Error, Volume};
use crate::layer::{inherit, listing, reference_checksum};
use crate::layout::{self, LayerRecord};
use crate::tree::{Attributes, Content, Kind, Tree};

/// The disk's tree, and its id; `trees` are in the order of the plan's layers.
pub(super) fn assemble(
    plan: &Plan<'_>,
    trees: Vec<Tree>,
    volume: &Volume,
    checksums: bool,
) -> Result<(Tree, Digest), Ext4Error> {
    let mut finished: BTreeMap<ChainId, Tree> = BTreeMap::new();
    let mut records = Vec::new();
    // A layer's number is above that of every layer below it.
    for ((number, planned), mut tree) in (1..).zip(&plan.layers).zip(trees) {
        let layer = planned.layer;
        let below: Vec<&Tree> =
            plan.below(layer).iter().filter_map(|chain_id| finished.get(chain_id)).collect();
        inherit(&mut tree, &below);
        let listing = layout::listing_blob(listing(&tree));
        let md5 = checksums.then(|| reference_checksum(&tree));
        records.push(LayerRecord { chain_id: layer.chain_id, diff_id: layer.diff_id, number, listing, md5 });
        finished.insert(layer.chain_id, tree);
    }
    let mut disk = Tree::new(Attributes::plain_directory());
    for record in &records {
        if let Some(tree) = finished.remove(&record.chain_id) {
            let parent = disk.directory_at(&format!("snapshots/{}", record.number));
            disk.graft(parent, b"fs", tree);
        }
    }
    let (files, id) = layout::write(&plan.images, &records);
    let mut writer = volume.writer();
    for (path, bytes) in files {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let directory = disk.directory_at(directory);
        let mut file = writer.open(bytes.len() as u64);
        writer.write(&mut file, &bytes)?;
        let Closed { extents, md5: _ } = writer.close(file)?;
        let content = Content { size: bytes.len() as u64, extents, ..Content::default() };
        let attributes = Attributes { mode: 0o644, ..Attributes::default() };
        disk.insert(directory, name.as_bytes(), attributes, Kind::File(content));
    }
    writer.finish()?;
    Ok((disk, id))
}
