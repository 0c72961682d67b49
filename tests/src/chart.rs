//! Renders a Helm chart: with helm where it is installed, else with the parts that helm is made of, Go's text/template and sprig, as
//! Debian packages them.

mod renderer;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::kubernetes_schema::{check, documents};
use crate::process::run;
use crate::workdir::Workdir;

/// A chart, to be installed under a name in a namespace.
#[derive(Clone, Debug)]
pub struct Chart {
    directory: PathBuf,
    release: Release,
}

/// What an installation is called.
#[derive(Clone, Copy, Debug)]
pub struct Release {
    /// Its name.
    pub name: &'static str,
    /// Its namespace.
    pub namespace: &'static str,
}

impl Chart {
    /// The chart in a directory.
    pub fn new(directory: &Path, release: Release) -> Self {
        Self { directory: directory.to_owned(), release }
    }

    /// The objects with default values, or with those of a file over them. Values that the chart's schema does not take are an
    /// error.
    pub fn render(&self, values: Option<&Path>) -> Result<Vec<Value>> {
        let dir = Workdir::new()?;
        let rendered = dir.join("rendered.yaml");
        let text = if helm().is_some() { self.by_helm(values)? } else { self.by_parts(values, &dir)? };
        fs::write(&rendered, text)?;
        let objects = documents(&rendered)?;
        Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
    }

    fn by_helm(&self, values: Option<&Path>) -> Result<String> {
        let mut command = Command::new("helm");
        command.args(["template", self.release.name]).arg(&self.directory);
        command.args(["--namespace", self.release.namespace]);
        command.args(values.map(|file| format!("--values={}", file.display())));
        run(&mut command)
    }

    fn by_parts(&self, file: Option<&Path>, dir: &Workdir) -> Result<String> {
        let mut values = self.document("values.yaml")?;
        if let Some(file) = file {
            merge(&mut values, first(file)?);
        }
        check(&values, &self.directory.join("values.schema.json"))?;
        let chart = self.document("Chart.yaml")?;
        let capital = |key: &str| format!("{}{}", key[..1].to_uppercase(), &key[1..]);
        let chart: BTreeMap<String, &Value> =
            chart.as_object().into_iter().flatten().map(|(key, value)| (capital(key), value)).collect();
        let request = json!({
            "Templates": self.texts("templates")?, "Files": self.files()?, "Values": values, "Chart": chart,
            "Release": { "Name": self.release.name, "Namespace": self.release.namespace, "Service": "Helm" },
        });
        let asked = dir.join("request.json");
        fs::write(&asked, request.to_string())?;
        let said = run(Command::new(renderer::program()?).arg(asked))?;
        let rendered: BTreeMap<PathBuf, String> =
            serde_json::from_str(&said).context("read what was rendered")?;
        let manifests =
            rendered.into_iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "yaml"));
        Ok(manifests.map(|(_, text)| text).collect::<Vec<_>>().join("\n---\n"))
    }

    fn document(&self, name: &str) -> Result<Value> {
        first(&self.directory.join(name))
    }

    /// What templates may read: helm gives them everything else of the chart.
    fn files(&self) -> Result<BTreeMap<String, String>> {
        let mut files = BTreeMap::new();
        for dir in fs::read_dir(&self.directory)? {
            let dir = dir?;
            let name = dir.file_name().to_string_lossy().into_owned();
            if dir.path().is_dir() && name != "templates" {
                files.extend(self.texts(&name)?);
            }
        }
        Ok(files)
    }

    fn texts(&self, dir: &str) -> Result<BTreeMap<String, String>> {
        let read = |entry: std::io::Result<fs::DirEntry>| {
            let entry = entry?;
            let name = format!("{dir}/{}", entry.file_name().to_string_lossy());
            Ok((name, fs::read_to_string(entry.path())?))
        };
        let entries =
            fs::read_dir(self.directory.join(dir)).with_context(|| format!("read {dir} of the chart"))?;
        entries.map(read).collect()
    }
}

fn helm() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("helm")).find(|helm| helm.is_file())
}

fn first(file: &Path) -> Result<Value> {
    let first = documents(file)?.into_iter().next();
    first.with_context(|| format!("{} has no document", file.display()))
}

/// As helm does: maps are merged, null takes away, all else replaces.
fn merge(values: &mut Value, over: Value) {
    match (values, over) {
        (Value::Object(values), Value::Object(over)) => {
            for (key, over) in over {
                if over.is_null() {
                    values.remove(&key);
                } else {
                    merge(values.entry(key).or_insert(Value::Null), over);
                }
            }
        }
        (values, over) => *values = over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_laid_over_values_as_helm_does() {
        let mut values = json!({ "a": { "b": 1, "c": [1, 2] }, "d": true, "e": {} });
        merge(&mut values, json!({ "a": { "c": [3] }, "d": null, "e": { "f": 2 }, "g": "h" }));
        assert_eq!(values, json!({ "a": { "b": 1, "c": [3] }, "e": { "f": 2 }, "g": "h" }));
    }
}
