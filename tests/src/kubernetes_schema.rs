//! Manifests against the schemas of Kubernetes itself: `kubernetes-validate` on PyPI carries those of every release. It is
//! installed into the cache, by Debian's pip, so that python3 alone is needed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cache;
use crate::debian::Suite;
use crate::process::{run, run_within};

/// It has the schemas of 1.25 to 1.37.
const REQUIREMENT: &str = "kubernetes-validate==1.37.0";
/// 23 MB, and some small ones.
const INSTALL: Duration = Duration::from_mins(5);

/// The objects of `manifests` that a release of Kubernetes takes, `KIND/NAME` in lower case each; an error names the first that
/// it does not take, or does not know. Strict: a field that the schema lacks is an error.
pub fn validate(manifests: &[&Path], release: &str) -> Result<Vec<String>> {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", packages()?).env("PYTHONDONTWRITEBYTECODE", "1");
    command.args(["-m", "kubernetes_validate", "--strict", "-k", release]).args(manifests);
    let said = run(&mut command)?;
    said.lines().map(|line| passed(line).with_context(|| line.to_owned())).collect()
}

/// Whether a value keeps a JSON schema; the error has the first place where it does not.
pub fn check(value: &Value, schema: &Path) -> Result<()> {
    let script = "import json, sys, jsonschema; \
        errors = list(jsonschema.Draft7Validator(json.load(open(sys.argv[2]))).iter_errors(json.loads(sys.argv[1]))); \
        sys.exit('; '.join('.'.join(map(str, e.path)) + ': ' + e.message for e in errors) or 0)";
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", packages()?).args(["-c", script, &value.to_string()]).arg(schema);
    run(&mut command).map(drop)
}

/// A manifest's documents as another reader of YAML has them, by the rules of YAML 1.1.
pub fn documents(manifest: &Path) -> Result<Vec<Value>> {
    let script =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1], newline='')))))";
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", packages()?).args(["-c", script]).arg(manifest);
    serde_json::from_str(&run(&mut command)?).context("read what python wrote")
}

/// `INFO FILE passed for resource KIND/NAME against version RELEASE`; all else is a complaint, also where the exit status is 0.
fn passed(line: &str) -> Option<String> {
    let (_, rest) = line.strip_prefix("INFO ")?.split_once(" passed for resource ")?;
    Some(rest.split_once(" against version ")?.0.to_owned())
}

/// Wheels may hold machine code for one Python: so a directory for each.
fn packages() -> Result<PathBuf> {
    let python =
        run(Command::new("python3").args(["-c", "import sys; print('%d.%d' % sys.version_info[:2])"]))?;
    let name = format!("python/{}/{REQUIREMENT}", python.trim());
    cache::install(&name, |place| {
        let mut command = Command::new("python3");
        command.arg(pip()?.join("pip")).args(["install", "--quiet", "--no-input", "--target"]).arg(place);
        run_within(command.arg(REQUIREMENT).env("PIP_ROOT_USER_ACTION", "ignore"), INSTALL).map(drop)
    })
}

/// A wheel, which python runs as it is.
fn pip() -> Result<PathBuf> {
    let wheels = Suite::Bookworm.package("python3-pip-whl")?.file("usr/share/python-wheels")?;
    let entries = std::fs::read_dir(&wheels).with_context(|| format!("read {}", wheels.display()))?;
    let mut wheels = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pip-")) {
            wheels.push(path);
        }
    }
    ensure!(wheels.len() == 1, "package python3-pip-whl has {} wheels of pip", wheels.len());
    wheels.pop().context("one was counted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passed_counts() {
        let line = "INFO /tmp/a.yaml passed for resource daemonset/a against version 1.37";
        assert_eq!(passed(line).as_deref(), Some("daemonset/a"));
        assert_eq!(passed("WARN /tmp/a.yaml Couldn't find schema for kind X"), None);
        assert_eq!(passed("ERROR a did not validate for resource daemonset/a against version 1.37: x"), None);
    }
}
