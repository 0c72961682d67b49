//! Two listings of one layer: the one that was written with it, and the one that is made of it now.

use std::collections::HashMap;

use super::listing::HEADER;

/// The fields behind the path, as people call them.
const FIELDS: [&str; 6] = ["type", "mode", "owner", "time", "extended attributes", "content"];

/// Where a layer is not what its listing says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// As the listing writes it: printable.
    pub(crate) path: String,
    /// What is wrong there, in words.
    pub(crate) what: String,
}

/// The first `limit` differences between what was `listed` and what is `found`, and how many there are in all; none where `listed`
/// is not in a form that is known here.
pub(crate) fn differences(listed: &[u8], found: &[u8], limit: usize) -> Option<(Vec<Difference>, usize)> {
    let mut expected: HashMap<&[u8], &[u8]> = lines(listed)?.collect();
    let mut differences = Vec::new();
    let mut count = 0;
    let mut differ = |path: &[u8], what: String| {
        count += 1;
        if differences.len() < limit {
            differences.push(Difference { path: String::from_utf8_lossy(path).into_owned(), what });
        }
    };
    for (path, fields) in lines(found)? {
        match expected.remove(path) {
            None => differ(path, "it is not in the listing".to_owned()),
            Some(listed) if listed != fields => differ(path, changed(listed, fields)),
            Some(_) => {}
        }
    }
    let mut missing: Vec<&[u8]> = expected.into_keys().collect();
    missing.sort_unstable();
    for path in missing {
        differ(path, "it is listed, but not there".to_owned());
    }
    Some((differences, count))
}

/// Path and fields of every line.
fn lines(text: &[u8]) -> Option<impl Iterator<Item = (&[u8], &[u8])>> {
    let text = text.strip_prefix(HEADER.as_bytes())?;
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Some(lines.map(|line| {
        let end = line.iter().position(|byte| *byte == b'\t').unwrap_or(line.len());
        (&line[..end], line.get(end + 1..).unwrap_or_default())
    }))
}

fn changed(listed: &[u8], found: &[u8]) -> String {
    let fields =
        |line: &[u8]| -> Vec<Vec<u8>> { line.split(|byte| *byte == b'\t').map(<[u8]>::to_vec).collect() };
    let (listed, found) = (fields(listed), fields(found));
    if listed.len() != found.len() {
        // A hard link's line is shorter.
        return "its hard links are not those of the listing".to_owned();
    }
    let differing = listed.iter().zip(&found).zip(FIELDS).filter(|((listed, found), _)| listed != found);
    let names: Vec<&str> = differing.map(|(_, name)| name).collect();
    format!(
        "its {} {} not what the listing says",
        names.join(" and "),
        if names.len() > 1 { "are" } else { "is" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_the_path_and_what_is_wrong() {
        let text = |lines: &[&str]| [HEADER.as_bytes(), lines.concat().as_bytes()].concat();
        let listed = text(&[
            "a\tfile\t0644\t0:0\t0.0\t-\t3 aa\n",
            "b\tfile\t0644\t0:0\t0.0\t-\t3 bb\n",
            "c\thard-link\ta\n",
            "gone\tfifo\t0644\t0:0\t0.0\t-\t-\n",
        ]);
        let found = text(&[
            "a\tfile\t0600\t0:0\t0.0\t-\t3 cc\n",
            "b\tfile\t0644\t0:0\t0.0\t-\t3 bb\n",
            "c\tfile\t0644\t0:0\t0.0\t-\t3 aa\n",
            "new\tfifo\t0644\t0:0\t0.0\t-\t-\n",
        ]);
        let (all, count) = differences(&listed, &found, 3).unwrap();
        let all: Vec<String> = all.iter().map(|one| format!("{}: {}", one.path, one.what)).collect();
        assert_eq!(
            all,
            [
                "a: its mode and content are not what the listing says",
                "c: its hard links are not those of the listing",
                "new: it is not in the listing",
            ]
        );
        assert_eq!(count, 4);
        assert_eq!(differences(b"larder-listing 2\n", &found, 3), None);
    }
}
