//! Makes text that others wrote (a registry's error, a helper's complaint) fit for one line of ours.

/// The most characters that are quoted of it.
const LONGEST: usize = 300;

/// `text` in one line, without control characters, cut where it gets long.
pub(crate) fn one_line(text: &str) -> String {
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    let line = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_in_its_line() {
        assert_eq!(one_line("  a\r\n\x1b[31mb\tc "), "a [31mb c");
        assert_eq!(one_line(&"é".repeat(400)), format!("{}...", "é".repeat(300)));
    }
}
