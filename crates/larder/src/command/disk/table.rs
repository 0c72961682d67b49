//! Columns as wide as what is in them.

use std::fmt;

use larder_core::Digest;

/// Rows of cells.
#[derive(Default)]
pub(in crate::command) struct Table(Vec<Vec<String>>);

impl Table {
    /// A table whose first row is its header.
    pub(in crate::command) fn of<const N: usize>(header: [&str; N]) -> Self {
        Self(vec![header.map(str::to_owned).to_vec()])
    }

    pub(in crate::command) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.0.push(cells.map(|cell| printable(&cell)).to_vec());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.0 {
            for (column, cell) in row.iter().enumerate() {
                let length = cell.chars().count();
                match widths.get_mut(column) {
                    Some(width) => *width = length.max(*width),
                    None => widths.push(length),
                }
            }
        }
        for row in &self.0 {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// What a disk says may hold anything; a terminal gets no control characters from it.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Enough of a digest to tell one from another.
pub(in crate::command) fn short(digest: &Digest) -> String {
    digest.hex().chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_in_text() {
        let mut table = Table::of(["A", "LONGER"]);
        table.row(["wide cell".to_owned(), "x".to_owned()]);
        table.row(["é\n".to_owned(), String::new()]);
        assert_eq!(table.to_string(), "A          LONGER\nwide cell  x\né\u{fffd}\n");
    }
}
