//! Images as docker archives: what `docker save` writes and `ctr images import` reads.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use super::entry::Entry;
use super::{Image, header};

impl Image {
    /// Writes a docker archive in which `reference` names the image. Layers keep their compression.
    pub fn write_docker_archive(&self, path: &Path, reference: &str) -> Result<()> {
        let config = format!("{}.json", self.config.descriptor.digest.hex());
        let layers: Vec<_> = self.layers.iter().map(|layer| format!("{}.tar", layer.digest.hex())).collect();
        let manifest = json!([{ "Config": config, "RepoTags": [reference], "Layers": layers }]);
        let mut entries = vec![Entry::file(config, self.config.bytes.to_vec())];
        for (layer, name) in self.layers.iter().zip(layers) {
            entries.push(Entry::file_from(name, layer.path().to_owned(), layer.size));
        }
        entries.push(Entry::file("manifest.json", manifest.to_string()));
        write(&entries, path).with_context(|| format!("write docker archive {}", path.display()))
    }
}

fn write(entries: &[Entry], path: &Path) -> Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    entries.iter().try_for_each(|entry| header::write(entry, &mut out))?;
    header::write_end(&mut out)?;
    out.flush()?;
    Ok(())
}
