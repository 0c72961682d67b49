//! `cargo xtask image`: Larder's own image, made without a container engine, as an OCI layout or in a registry.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use larder_core::ImageRef;
use larder_registry::{Credential, Keyring, KeyringOptions};
use larder_tests::blocking::wait;
use larder_tests::image::{product, product_suite};
use larder_tests::registry::{self, Credentials};

use crate::say;

/// What is made, and where it goes.
#[derive(clap::Args)]
pub(crate) struct ImageArgs {
    /// The OCI layout to write, or to add to
    #[arg(short, long, value_name = "DIR", required_unless_present = "registry")]
    output: Option<PathBuf>,
    /// The registry to push to, over TLS but for loopback; one that wants tokens of a token server needs another tool
    #[arg(long, value_name = "HOST/NAME[:TAG]")]
    registry: Option<String>,
    /// A docker configuration with the registry's user and password
    #[arg(long, value_name = "FILE", requires = "registry")]
    docker_config: Option<PathBuf>,
    /// The image's tag, where the registry's has none
    #[arg(long, value_name = "TAG", default_value = concat!("v", env!("CARGO_PKG_VERSION")))]
    tag: String,
    /// The program to put into it [default: built here, for release]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

pub(crate) fn run(args: &ImageArgs) -> Result<()> {
    let ImageArgs { output, registry, docker_config, tag, binary } = args;
    let to = registry.as_ref().map(|name| destination(name, tag)).transpose()?;
    let login = to.as_ref().map(|to| credentials(to, docker_config.as_deref())).transpose()?;
    let binary = binary.clone().map_or_else(build, Ok)?;
    let image = product(&binary, product_suite()?, env!("CARGO_PKG_VERSION"))?;
    if let Some(output) = output {
        image.write_layout(output, tag)?;
        say(format_args!("{} {tag} {}", output.display(), image.digest()));
    }
    if let Some(to) = &to {
        registry::push(&image, to, login.flatten())?;
        say(format_args!("{to} {}", image.digest()));
    }
    Ok(())
}

/// `name`, with `tag` where it has none.
fn destination(name: &str, tag: &str) -> Result<ImageRef> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let text = if last.contains([':', '@']) { name.to_owned() } else { format!("{name}:{tag}") };
    let to: ImageRef = text.parse().with_context(|| format!("--registry {name}"))?;
    ensure!(to.digest().is_none(), "--registry {name}: the image's digest is known once it is made");
    Ok(to)
}

/// The user and password for `to`, if there are any.
fn credentials(to: &ImageRef, docker_config: Option<&Path>) -> Result<Option<Credentials>> {
    let files = docker_config.into_iter().map(Path::to_owned).collect();
    let keyring = Keyring::load(&KeyringOptions { files, ..KeyringOptions::default() })?;
    let found = wait(keyring.candidates(to));
    if let Some(error) = found.failures.into_iter().next() {
        return Err(error).with_context(|| format!("credentials for {to}"));
    }
    Ok(found.credentials.into_iter().find_map(|credential| match credential {
        Credential::Password { username, password } => {
            Some(Credentials { user: username, password: password.expose().to_owned() })
        }
        Credential::IdentityToken(_) => None,
    }))
}

fn build() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let build = ["build", "--release", "--locked", "--package", "larder"];
    let status = Command::new("cargo").args(build).current_dir(root).status().context("start cargo")?;
    ensure!(status.success(), "cargo build ended with {status}");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("release/larder"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_without_a_tag_gets_the_versions() {
        let name = |text: &str| destination(text, "v1").map(|to| to.to_string()).ok();
        assert_eq!(name("h:5000/larder").as_deref(), Some("h:5000/larder:v1"));
        assert_eq!(name("h:5000/team/larder:x").as_deref(), Some("h:5000/team/larder:x"));
        let digest = format!("h/larder@sha256:{}", "0".repeat(64));
        for bad in ["", "h:5000/Larder", "h:5000/larder:", digest.as_str()] {
            assert_eq!(name(bad), None, "{bad}");
        }
    }
}
