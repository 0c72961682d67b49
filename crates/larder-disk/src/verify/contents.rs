//! The disk's metadata: read as far as it can be, with everything noted that is wrong with it.

use std::collections::BTreeSet;

use larder_core::{Blob, ChainId, Digest, Image, Index};
use sha2::{Digest as _, Sha256};

use super::problem::{Place, Problems};
use crate::layout::{
    self, BLOBS, IMAGES, INDEX, LayoutError, Listings, OCI_LAYOUT, OCI_LAYOUT_FILE, SNAPSHOTS, SnapshotLine,
};
use crate::medium::{Medium, MediumError, Place as Location, Window};
use crate::tree::Kind;

/// What may be in a disk's root.
const KNOWN: [&str; 7] = [SNAPSHOTS, IMAGES, "snapshots", OCI_LAYOUT_FILE, INDEX, "blobs", "lost+found"];
/// The largest blob: the listing of about ten million paths.
pub(super) const MAX_BLOB: u64 = 2 << 30;
/// Names that do not belong there which are told one by one.
const MAX_STRANGERS: usize = 10;

/// What the metadata says.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) id: Option<Digest>,
    /// Whether the disk is an OCI layout, or was one.
    pub(super) described: bool,
    pub(super) images: Vec<Image>,
    /// Also those that cannot be read.
    pub(super) image_count: usize,
    /// One for each layer and directory.
    pub(super) lines: Vec<SnapshotLine>,
    pub(super) listings: Listings,
    pub(super) warnings: Vec<String>,
}

struct Reader<'a> {
    medium: &'a Medium,
    problems: &'a Problems,
}

/// Reads and checks everything but the layers themselves.
pub(super) fn contents(medium: &Medium, problems: &Problems) -> Contents {
    let reader = Reader { medium, problems };
    let mut contents = Contents::default();
    let names = reader.names(None);
    let has = |name: &str| names.iter().any(|found| found == name);
    contents.described = [OCI_LAYOUT_FILE, INDEX, "blobs"].into_iter().any(has);
    let strangers = names.iter().filter(|name| !KNOWN.contains(&name.as_str())).take(MAX_STRANGERS);
    contents.warnings.extend(strangers.map(|name| format!("{name} is not part of a cache disk")));
    if !contents.described && !has(SNAPSHOTS) {
        problems.at(Place::Disk, "there is no image and no layer on the disk");
        return contents;
    }
    contents.lines = reader.lines();
    if contents.described {
        reader.described(&mut contents);
    } else {
        reader.reference(&mut contents);
    }
    reader.directories(&contents);
    if contents.lines.is_empty() && contents.image_count == 0 {
        problems.at(Place::Disk, "there is no image and no layer on the disk");
    }
    contents
}

impl Reader<'_> {
    fn note<T>(&self, result: Result<T, LayoutError>) -> Option<T> {
        result.map_err(|error| self.problems.error(Place::Disk, &error)).ok()
    }

    /// The names in a directory, or in the root; none that cannot be read.
    fn names(&self, directory: Option<&str>) -> Vec<String> {
        self.children(directory).into_iter().map(|(name, _)| name).collect()
    }

    /// The same with the places that the names lead to.
    fn children(&self, directory: Option<&str>) -> Vec<(String, Location)> {
        let place = match directory {
            None => Ok(Some(self.medium.root())),
            Some(directory) => self.medium.find(directory),
        };
        let children = place.and_then(|place| self.medium.children(&place.ok_or(MediumError::Absent)?));
        let at = directory.map_or(Place::Disk, |directory| Place::File(directory.to_owned()));
        let children = children.map_err(|error| self.problems.error(at, &error)).unwrap_or_default();
        children.into_iter().map(|(name, place)| (name.escape_ascii().to_string(), place)).collect()
    }

    /// The lines of `snapshots.metadata`, without those that name a layer or a directory again.
    fn lines(&self) -> Vec<SnapshotLine> {
        let Some(bytes) = self.note(layout::read(self.medium, SNAPSHOTS)) else { return Vec::new() };
        if !bytes.is_empty() && !bytes.ends_with(b"\n") {
            self.problems.at(Place::File(SNAPSHOTS.to_owned()), "its last line is cut off");
        }
        let (mut chain_ids, mut numbers) = (BTreeSet::new(), BTreeSet::new());
        let mut lines = Vec::new();
        for line in layout::snapshot_lines(&bytes).filter_map(|line| self.note(line)) {
            if !chain_ids.insert(line.chain_id) || !numbers.insert(line.number) {
                let what = format!("it names {} and {} more than once", line.chain_id, line.directory);
                self.problems.at(Place::File(SNAPSHOTS.to_owned()), what);
            } else {
                lines.push(line);
            }
        }
        lines
    }

    /// Directories of layers that no line names hold what nothing vouches for.
    fn directories(&self, contents: &Contents) {
        if contents.lines.is_empty() {
            return;
        }
        let named: BTreeSet<String> = contents.lines.iter().map(|line| line.number.to_string()).collect();
        for name in self.names(Some("snapshots")).into_iter().filter(|name| !named.contains(name)) {
            let what = "snapshots.metadata does not name it";
            self.problems.at(Place::File(format!("snapshots/{name}")), what);
        }
    }

    fn reference(&self, contents: &mut Contents) {
        if let Some(table) = self.note(layout::read(self.medium, IMAGES)) {
            contents.image_count = crate::inspect::table(&table).len();
        }
        if contents.lines.iter().any(|line| line.md5.is_none()) {
            let what = "snapshots.metadata has no md5 column: the contents of files cannot be checked";
            contents.warnings.push(what.to_owned());
        }
    }

    fn described(&self, contents: &mut Contents) {
        self.oci_layout();
        self.blobs();
        let Some((id, index)) = self.note(layout::read_index(self.medium)) else { return };
        contents.id = Some(id);
        contents.image_count = layout::image_entries(&index).count();
        contents.images = self.images(&index);
        let listings = self.note(layout::read_listings(self.medium, &index)).flatten();
        match listings {
            None => self.problems.at(Place::File(INDEX.to_owned()), "it names no listings of layers"),
            Some((artifact, listings)) => {
                contents.listings = listings;
                if contents.images.len() == contents.image_count {
                    self.index(id, contents, &artifact);
                }
            }
        }
        self.layers(contents);
    }

    fn oci_layout(&self) {
        let Some(bytes) = self.note(layout::read(self.medium, OCI_LAYOUT_FILE)) else { return };
        if bytes != OCI_LAYOUT.as_bytes() {
            self.problems.at(Place::File(OCI_LAYOUT_FILE.to_owned()), "it is of another version, or damaged");
        }
    }

    fn images(&self, index: &Index) -> Vec<Image> {
        let read = |(name, entry): (&str, _)| {
            let image = name
                .parse()
                .map_err(LayoutError::from)
                .and_then(|reference| layout::read_image(self.medium, &reference, entry));
            match image {
                Ok(image) => Some(image),
                Err(LayoutError::Image { image, source }) => {
                    self.problems.error(Place::Image(image), source.as_ref());
                    None
                }
                Err(error) => {
                    self.problems.error(Place::Image(name.to_owned()), &error);
                    None
                }
            }
        };
        layout::image_entries(index).filter_map(read).collect()
    }

    /// Every blob has the digest that is its name.
    fn blobs(&self) {
        for (name, place) in self.children(Some(BLOBS)) {
            let path = format!("{BLOBS}/{name}");
            match self.digest(&place) {
                Ok(found) if found.hex() == name => {}
                Ok(found) => self.problems.at(Place::File(path), format_args!("its digest is {found}")),
                Err(error) => self.problems.error(Place::File(path), &error),
            }
        }
    }

    fn digest(&self, place: &Location) -> Result<Digest, MediumError> {
        let size = match self.medium.stat(place)?.kind {
            Kind::File(content) if content.size <= MAX_BLOB => content.size,
            Kind::File(_) => return Err(MediumError::TooLarge(MAX_BLOB)),
            _ => return Err(MediumError::Kind("regular file")),
        };
        let mut hasher = Sha256::new();
        self.medium.content(place, &mut Window::of(size), &mut |piece| hasher.update(piece))?;
        Ok(Digest::from_sha256(hasher.finalize().into()))
    }

    /// Nothing names the digest of `index.json` but the file system's UUID; where that was changed, the index must be the one that
    /// these images make. The table of images follows from them too.
    fn index(&self, id: Digest, contents: &mut Contents, artifact: &Blob) {
        let uuid = self.medium.facts().ok().flatten().map(|facts| facts.uuid);
        if uuid != Some(layout::file_system_uuid(id)) {
            if Digest::of(&layout::index_json(&contents.images, artifact)) != id {
                self.problems.at(Place::File(INDEX.to_owned()), "it is not the index of the disk's images");
            } else if uuid.is_some() {
                let what = "the file system's UUID is another than the disk was written with";
                contents.warnings.push(what.to_owned());
            }
        }
        if let Some(table) = self.note(layout::read(self.medium, IMAGES))
            && table != layout::images_metadata(&contents.images)
        {
            self.problems.at(Place::File(IMAGES.to_owned()), "it is not the table of the disk's images");
        }
    }

    /// Images, lines and listings name the same layers.
    fn layers(&self, contents: &mut Contents) {
        let lines: BTreeSet<ChainId> = contents.lines.iter().map(|line| line.chain_id).collect();
        let mut used = BTreeSet::new();
        for image in &contents.images {
            for layer in &image.layers {
                used.insert(layer.chain_id);
                let listed = contents.listings.get(&layer.chain_id);
                let what = match listed {
                    _ if !lines.contains(&layer.chain_id) => "it is not on the disk",
                    Some(entry) if entry.diff_id != Some(layer.diff_id) => "its listing is of another layer",
                    _ => continue,
                };
                let image = Some(image.reference.to_string());
                self.problems.at(Place::Layer { image, layer: layer.chain_id, path: None }, what);
            }
        }
        let lone = |layer: ChainId| Place::Layer { image: None, layer, path: None };
        for chain_id in &lines {
            if !contents.listings.contains_key(chain_id) {
                self.problems.at(lone(*chain_id), "it has no listing");
            }
        }
        for chain_id in contents.listings.keys().filter(|chain_id| !lines.contains(chain_id)) {
            self.problems.at(lone(*chain_id), "it has a listing, but is not on the disk");
        }
        if contents.images.len() == contents.image_count {
            let unused = lines.difference(&used).count();
            if unused > 0 {
                contents.warnings.push(format!("{unused} layers belong to no image"));
            }
        }
    }
}
