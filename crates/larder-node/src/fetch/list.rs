//! Image lists, and the images that they want. Opens no file.

use std::collections::HashSet;

use larder_core::{ImageRef, ReferenceError};

/// Longer lines are no references: the grammar ends at 255 bytes of name, 128 of tag and 71 of digest.
const MAX_LINE: usize = 1024;

/// An image that is wanted on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What the runtime is asked for: as typed, with the tag that is implied. It completes short names by rules of its own.
    pub name: String,
    /// The same, completed as Docker and containerd do it.
    pub reference: ImageRef,
}

/// A line that names no image.
#[derive(Debug, PartialEq, Eq)]
pub struct BadLine {
    /// What the line has.
    pub text: String,
    /// What is wrong with it.
    pub error: ReferenceError,
}

/// What is wanted, each image once, and what cannot be meant.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ImageList {
    /// In the order of first mention.
    pub wanted: Vec<Wanted>,
    /// Likewise.
    pub bad: Vec<BadLine>,
}

impl Wanted {
    /// From what was typed.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let reference: ImageRef = text.parse()?;
        let implied = reference.digest().is_none() && !has_tag(text);
        let name = if implied { format!("{text}:latest") } else { text.to_owned() };
        Ok(Self { name, reference })
    }

    /// Whether the name leaves the registry to the runtime.
    pub(super) fn is_short(&self) -> bool {
        !self.name.starts_with(&format!("{}/", self.reference.registry()))
    }
}

/// A colon before the last slash belongs to the registry's port.
fn has_tag(text: &str) -> bool {
    text.rsplit('/').next().is_some_and(|last| last.contains(':'))
}

impl ImageList {
    /// The images of `lines`: one each, trimmed; blank ones and comments are skipped, repeated ones count once.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut list = Self::default();
        let mut known = HashSet::new();
        for line in lines.into_iter().map(str::trim) {
            if line.is_empty() || line.starts_with('#') || !known.insert(line) {
                continue;
            }
            match Wanted::parse(&line[..line.floor_char_boundary(MAX_LINE)]) {
                Ok(wanted) => list.wanted.push(wanted),
                Err(error) => list.bad.push(BadLine { text: shown(line), error }),
            }
        }
        let mut known = HashSet::new();
        list.wanted.retain(|wanted| known.insert(wanted.reference.clone()));
        list
    }
}

/// A line of foreign text as it may be printed.
fn shown(line: &str) -> String {
    let end = line.floor_char_boundary(MAX_LINE);
    line[..end].chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_trimmed_deduplicated_and_keep_their_order() {
        let text = "\u{feff}# comment\r\nredis:7\r\n\r\n  b/c  \r\n#x\nredis:7\ndocker.io/library/redis:7\nUPPER\nb/c:latest\nUPPER\n";
        let list = ImageList::parse(text.trim_start_matches('\u{feff}').lines());
        let names: Vec<_> = list.wanted.iter().map(|wanted| wanted.name.as_str()).collect();
        assert_eq!(names, ["redis:7", "b/c:latest"]);
        assert_eq!(list.bad.iter().map(|bad| bad.text.as_str()).collect::<Vec<_>>(), ["UPPER"]);
    }

    #[test]
    fn the_runtime_is_asked_for_what_was_typed_with_the_implied_tag() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let table = [
            ("redis", "redis:latest", true),
            ("redis:7", "redis:7", true),
            ("h:5000/a/b", "h:5000/a/b:latest", false),
            ("docker.io/library/redis:7", "docker.io/library/redis:7", false),
            (&format!("redis@{digest}"), &format!("redis@{digest}"), true),
            (&format!("h.io/a:1@{digest}"), &format!("h.io/a:1@{digest}"), false),
        ];
        for (typed, name, short) in table {
            let wanted = Wanted::parse(typed).unwrap();
            assert_eq!((wanted.name.as_str(), wanted.is_short()), (name, short), "{typed}");
        }
    }

    #[test]
    fn foreign_bytes_make_bad_lines_and_no_harm() {
        let long = format!("a/{}", "é".repeat(4000));
        let list = ImageList::parse([long.as_str(), "a b", "\u{1b}[2Jx"]);
        assert_eq!(list.wanted, []);
        assert!(list.bad.iter().all(|bad| bad.text.len() <= MAX_LINE && !bad.text.contains('\u{1b}')));
        assert_eq!(list.bad.len(), 3);
    }
}
