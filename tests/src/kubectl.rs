//! kubectl from Debian.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::debian::Suite;
use crate::kubernetes_schema;
use crate::process::run;
use crate::workdir::Workdir;

/// kubectl, without arguments, and without anybody's configuration.
pub fn command() -> Result<Command> {
    let mut command = Command::new(Suite::Trixie.package("kubectl")?.file("usr/bin/kubectl")?);
    command.env("KUBECONFIG", "/dev/null");
    Ok(command)
}

/// The objects that `kubectl apply -k DIRECTORY` applies.
pub fn kustomize(directory: &Path) -> Result<Vec<Value>> {
    let text = run(command()?.arg("kustomize").arg(directory))?;
    let dir = Workdir::new()?;
    let file = dir.join("kustomized.yaml");
    std::fs::write(&file, text).context("write what kubectl printed")?;
    kubernetes_schema::documents(&file)
}
