//! Reads `WWW-Authenticate` (RFC 9110, 11.6.1; the distribution spec's token scheme). Pure.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// How a registry wants to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// With a token of the server at `realm`.
    Bearer {
        /// The token server's URL.
        realm: String,
        /// What the token server calls the registry.
        service: Option<String>,
        /// What the token is to allow.
        scope: Option<String>,
    },
    /// With user name and password.
    Basic,
}

/// One scheme with its parameters, names in lower case.
#[derive(Debug, Default, PartialEq, Eq)]
struct Raw {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The challenge to answer: a token where there is a choice.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(WWW_AUTHENTICATE).into_iter();
        let raw: Vec<Raw> = values.filter_map(|value| value.to_str().ok()).flat_map(split).collect();
        let bearer = raw.iter().find_map(Raw::bearer);
        bearer.or_else(|| raw.iter().any(|raw| raw.scheme == "basic").then_some(Self::Basic))
    }
}

impl Raw {
    fn bearer(&self) -> Option<Challenge> {
        let parameter = |name: &str| {
            let found = self.parameters.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
        };
        let realm = parameter("realm").filter(|_| self.scheme == "bearer")?;
        Some(Challenge::Bearer { realm, service: parameter("service"), scope: parameter("scope") })
    }
}

/// A word that `=` follows is a parameter of the scheme before it; any other word begins the next scheme.
fn split(header: &str) -> Vec<Raw> {
    let mut challenges: Vec<Raw> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        let word = word.to_ascii_lowercase();
        rest = match tail.strip_prefix('=') {
            Some(tail) => {
                let (value, tail) = value(tail);
                if let Some(challenge) = challenges.last_mut() {
                    challenge.parameters.push((word, value));
                }
                tail
            }
            None if word.is_empty() => return challenges,
            None => {
                challenges.push(Raw { scheme: word, parameters: Vec::new() });
                tail
            }
        };
    }
}

/// A quoted string or a word, and what follows it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[&'static str]) -> Option<Challenge> {
        let value = |text: &&'static str| (WWW_AUTHENTICATE, reqwest::header::HeaderValue::from_static(text));
        let mut map = HeaderMap::new();
        for (name, value) in headers.iter().map(value) {
            map.append(name, value);
        }
        Challenge::read(&map)
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.to_owned(), service: owned(service), scope: owned(scope) }
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/x:pull,push""#;
        let scope = Some("repository:library/x:pull,push");
        let parsed = bearer("https://auth.docker.io/token", Some("registry.docker.io"), scope);
        assert_eq!(read(&[hub]), Some(parsed.clone()));
        assert_eq!(read(&[r#"Basic realm="x, Bearer y""#]), Some(Challenge::Basic));
        assert_eq!(read(&[r#"Basic realm="x""#, hub]), Some(parsed));
        assert_eq!(
            read(&["basic realm=x, BEARER Realm=https://a/t"]),
            Some(bearer("https://a/t", None, None))
        );
        assert_eq!(read(&[r#"Bearer realm="a\"b", scope="""#]), Some(bearer("a\"b", None, None)));
    }

    #[test]
    fn what_cannot_be_answered_is_no_challenge() {
        for header in ["Negotiate", "Negotiate YII=", "Bearer", r#"Bearer service="x""#, "", "=", "\"", ",,"]
        {
            assert_eq!(read(&[header]), None, "{header}");
        }
        assert_eq!(read(&[]), None);
    }
}
