//! Builds kube-apiserver from the source that Debian carries, with the compiler of its time. About six minutes on two cores.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cache;
use crate::debian::Suite;
use crate::go;
use crate::process::{run, run_within};

/// What Debian 12's source package `kubernetes` holds.
const VERSION: &str = "1.20.2";
const MAJOR_MINOR: (u32, u32) = (1, 20);
/// On a machine where many build at the same time.
const LIMIT: Duration = Duration::from_hours(1);
/// Where the generated code belongs that Debian leaves out: what the API server says of its types.
const OPENAPI: &str = "k8s.io/kubernetes/pkg/generated/openapi";
const GENERATED: &str = "zz_generated.openapi";
/// Types of the API server that are not below k8s.io/api.
const MORE_TYPES: [&str; 10] = [
    "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1",
    "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1",
    "k8s.io/apimachinery/pkg/api/resource",
    "k8s.io/apimachinery/pkg/apis/meta/v1",
    "k8s.io/apimachinery/pkg/apis/meta/v1beta1",
    "k8s.io/apimachinery/pkg/runtime",
    "k8s.io/apimachinery/pkg/util/intstr",
    "k8s.io/apimachinery/pkg/version",
    "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1",
    "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1beta1",
];

/// The program, from the cache.
pub(super) fn api_server() -> Result<PathBuf> {
    let place = cache::install(&format!("kubernetes/{VERSION}"), |place| {
        let work = place.join("build");
        let built = Build::prepare(&work)?.run(&place.join("kube-apiserver"));
        fs::remove_dir_all(&work).context("remove what the build left")?;
        built
    })?;
    Ok(place.join("kube-apiserver"))
}

/// A directory with Go, the sources, and all that Go writes.
struct Build {
    work: PathBuf,
    go_root: PathBuf,
    tree: PathBuf,
}

impl Build {
    fn prepare(work: &Path) -> Result<Self> {
        let (sources, tree, go_root) = (work.join("sources"), work.join("tree"), work.join("go"));
        for dir in [&sources, &tree] {
            fs::create_dir_all(dir)?;
        }
        go::make_root(Suite::Bullseye, "1.15", &go_root)?;
        let archive = Suite::Bookworm.upstream_source("kubernetes", &sources)?;
        run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(&tree).arg("--strip-components=1"))?;
        Ok(Self { work: work.to_owned(), go_root, tree })
    }

    fn run(&self, program: &Path) -> Result<()> {
        let generator = self.work.join("openapi-gen");
        self.build(&generator, "./vendor/k8s.io/kube-openapi/cmd/openapi-gen", "")?;
        self.generate(&generator)?;
        self.build(program, "./cmd/kube-apiserver", &linker_flags())
    }

    fn build(&self, output: &Path, package: &str, flags: &str) -> Result<()> {
        let mut go = self.command(&self.go_root.join("bin/go"));
        go.args(["build", "-mod=vendor", "-ldflags", flags, "-o"]).arg(output).arg(package);
        run_within(&mut go, LIMIT).map(drop)
    }

    fn generate(&self, generator: &Path) -> Result<()> {
        let output = self.work.join("generated");
        let mut command = self.command(generator);
        command.args(["--go-header-file", "hack/boilerplate/boilerplate.generatego.txt", "-O", GENERATED]);
        command.args(["-p", OPENAPI, "-i", &self.types()?.join(",")]);
        command.arg("-r").arg(self.work.join("report")).arg("-o").arg(&output);
        run_within(&mut command, LIMIT)?;
        let file = format!("{GENERATED}.go");
        fs::copy(output.join(OPENAPI).join(&file), self.tree.join("pkg/generated/openapi").join(&file))
            .context("take over the generated code")?;
        Ok(())
    }

    /// The packages of k8s.io/api, which are `<group>/<version>`, and those of elsewhere.
    fn types(&self) -> Result<Vec<String>> {
        let mut types = MORE_TYPES.map(str::to_owned).to_vec();
        for group in subdirectories(&self.tree.join("vendor/k8s.io/api"))? {
            let versions = subdirectories(&self.tree.join("vendor/k8s.io/api").join(&group))?;
            let is_version = |name: &&String| group != "testdata" && name.starts_with('v');
            types.extend(
                versions.iter().filter(is_version).map(|version| format!("k8s.io/api/{group}/{version}")),
            );
        }
        Ok(types)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.tree).env("GOROOT", &self.go_root).env("GOPATH", self.work.join("path"));
        command.env("GOCACHE", self.work.join("cache")).env("GOFLAGS", "-mod=vendor").env("GOPROXY", "off");
        command.env("GO111MODULE", "on").env("CGO_ENABLED", "0").env_remove("GOTOOLCHAIN");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut dirs = vec![self.go_root.join("bin")];
        dirs.extend(std::env::split_paths(&path));
        if let Ok(path) = std::env::join_paths(dirs) {
            command.env("PATH", path);
        }
        command
    }
}

/// Without symbols, and with the version, which two packages have a copy of.
fn linker_flags() -> String {
    let packages = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"];
    let (major, minor) = MAJOR_MINOR;
    let values = [format!("gitVersion=v{VERSION}"), format!("gitMajor={major}"), format!("gitMinor={minor}")];
    let flags =
        packages.iter().flat_map(|package| values.iter().map(move |value| format!(" -X {package}.{value}")));
    format!("-s -w{}", flags.collect::<String>())
}

fn subdirectories(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
