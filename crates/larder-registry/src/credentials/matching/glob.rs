//! Patterns of one label of a host name, in the syntax of Go's `path.Match`: `*`, `?`, `[a-z]`, `[^a-z]`, and `\` before any of
//! them. The kubelet matches with it. Takes time in proportion to both lengths, whatever the pattern.

/// One element of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Any,
    One,
    Exactly(char),
    Class { negated: bool, ranges: Vec<(char, char)> },
}

/// Whether `text` is what `pattern` says; a malformed pattern matches nothing.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    terms(pattern).is_some_and(|terms| matches(&terms, &text.chars().collect::<Vec<_>>()))
}

fn matches(terms: &[Term], text: &[char]) -> bool {
    let (mut term, mut at) = (0, 0);
    // Where to go on if the text after the latest star has to begin later.
    let mut retry: Option<(usize, usize)> = None;
    while at < text.len() || term < terms.len() {
        match (terms.get(term), text.get(at)) {
            (Some(Term::Any), _) => {
                retry = Some((term + 1, at + 1));
                term += 1;
                continue;
            }
            (Some(one), Some(&c)) if one.takes(c) => {
                (term, at) = (term + 1, at + 1);
                continue;
            }
            _ => {}
        }
        match retry {
            Some((after_star, next)) if next <= text.len() => {
                (term, at) = (after_star, next);
                retry = Some((after_star, next + 1));
            }
            _ => return false,
        }
    }
    true
}

impl Term {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::Exactly(wanted) => *wanted == c,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|&(from, to)| (from..=to).contains(&c)) != *negated
            }
        }
    }
}

fn terms(pattern: &str) -> Option<Vec<Term>> {
    let mut terms = Vec::new();
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        terms.push(match c {
            '*' => Term::Any,
            '?' => Term::One,
            '\\' => Term::Exactly(rest.next()?),
            '[' => {
                let (class, after) = class(rest.as_str())?;
                rest = after.chars();
                class
            }
            c => Term::Exactly(c),
        });
    }
    Some(terms)
}

/// What follows `[`, and what follows its `]`.
fn class(text: &str) -> Option<(Term, &str)> {
    let (negated, text) = text.strip_prefix('^').map_or((false, text), |rest| (true, rest));
    let mut ranges = Vec::new();
    let mut rest = text.chars();
    loop {
        match rest.next()? {
            ']' if !ranges.is_empty() => return Some((Term::Class { negated, ranges }, rest.as_str())),
            ']' | '-' => return None,
            first => {
                let from = if first == '\\' { rest.next()? } else { first };
                let mut after = rest.clone();
                let to = if after.next() == Some('-') {
                    rest = after;
                    match rest.next()? {
                        ']' | '-' => return None,
                        '\\' => rest.next()?,
                        to => to,
                    }
                } else {
                    from
                };
                ranges.push((from, to));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_to_go() {
        let table = [
            ("abc", "abc", true),
            ("abc", "abd", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYcZ", false),
            ("**a**", "xay", true),
            ("?", "a", true),
            ("?", "", false),
            ("a?c", "abc", true),
            ("eu-[a-c]1", "eu-b1", true),
            ("eu-[a-c]1", "eu-d1", false),
            ("[^a-c]", "d", true),
            ("[^a-c]", "b", false),
            ("[abx-z]", "y", true),
            ("[abx-z]", "w", false),
            (r"\*", "*", true),
            (r"\*", "a", false),
            (r"[\]]", "]", true),
            ("[", "[", false),
            ("[]", "", false),
            ("[a", "a", false),
            ("[a-]", "a", false),
            ("[-a]", "a", false),
            (r"a\", "a", false),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(glob(pattern, text), expected, "{pattern} for {text}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        assert!(!glob(&"a*".repeat(100), &"a".repeat(99)));
        assert!(!glob(&format!("{}b", "*a".repeat(60)), &"a".repeat(5000)));
    }
}
