//! The platform that an image is for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Operating system, architecture and, for some architectures, a variant: `linux/amd64`, `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// Go's name of the architecture: `amd64`, `arm64`.
    pub architecture: String,
    /// `v8`, `v7`; left out where the architecture has one only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// A text that is not `OS/ARCHITECTURE[/VARIANT]`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("platform {0:?}: expected OS/ARCHITECTURE[/VARIANT], such as linux/amd64")]
pub struct PlatformError(String);

impl Platform {
    /// The platform that this program was built for.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: None }
    }

    /// Whether an image for `self` is one for `wanted`: the same system and architecture, and no other variant.
    /// A variant that one side leaves out is the architecture's default (`v8` for arm64, `v7` for arm), as containerd reads it.
    pub fn serves(&self, wanted: &Platform) -> bool {
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && self.effective_variant() == wanted.effective_variant()
    }

    fn effective_variant(&self) -> Option<&str> {
        match (self.architecture.as_str(), self.variant.as_deref()) {
            ("arm64", None) => Some("v8"),
            ("arm", None) => Some("v7"),
            ("amd64", Some("v1")) => None,
            (_, variant) => variant,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        let ok = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        match parts.as_slice() {
            [os, architecture, variant @ ..] if variant.len() < 2 && parts.iter().all(|part| ok(part)) => {
                Ok(Self {
                    os: os.to_ascii_lowercase(),
                    architecture: architecture.to_ascii_lowercase(),
                    variant: variant.first().map(|variant| variant.to_ascii_lowercase()),
                })
            }
            _ => Err(PlatformError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_parsed_and_displayed() {
        for text in ["linux/amd64", "linux/arm/v7", "windows/amd64"] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), text);
        }
        for text in ["", "linux", "linux/", "linux/arm/v7/x", "linux/a b"] {
            assert_eq!(text.parse::<Platform>(), Err(PlatformError(text.to_owned())));
        }
    }

    #[test]
    fn a_left_out_variant_is_the_default_one() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        assert!(platform("linux/arm64/v8").serves(&platform("linux/arm64")));
        assert!(platform("linux/arm").serves(&platform("linux/arm/v7")));
        assert!(!platform("linux/arm/v6").serves(&platform("linux/arm")));
        assert!(!platform("linux/amd64/v3").serves(&platform("linux/amd64")));
        assert!(!platform("windows/amd64").serves(&platform("linux/amd64")));
    }
}
