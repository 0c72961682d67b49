//! Plugins that are shell scripts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// A directory with a configuration and the one plugin `p`.
struct Installed {
    dir: tempfile::TempDir,
    plugin: Plugin,
}

fn install(script: &str, more: &str) -> Installed {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("p");
    fs::write(&program, format!("#!/bin/sh\ncd {}\n{script}\n", dir.path().display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let config = dir.path().join("config.yaml");
    let head = "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n";
    let provider = "{name: p, matchImages: [a.io, '*.b.io/team'], defaultCacheDuration: 10m, apiVersion: credentialprovider.kubelet.k8s.io/v1";
    fs::write(&config, format!("{head}- {provider}{more}}}\n")).unwrap();
    let plugin = load(&config, dir.path()).unwrap().pop().unwrap();
    Installed { dir, plugin }
}

fn image(text: &str) -> ImageRef {
    text.parse().unwrap()
}

const ANSWER: &str = r#"echo '{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Registry","auth":{"a.io":{"username":"u","password":"'$PASSWORD$1'"}}}'"#;

fn passwords(credentials: &[Credential]) -> Vec<&str> {
    fn password(credential: &Credential) -> &str {
        match credential {
            Credential::Password { password, .. } => password.expose(),
            Credential::IdentityToken(_) => "",
        }
    }
    credentials.iter().map(password).collect()
}

#[tokio::test]
async fn a_plugin_is_asked_with_its_arguments_and_environment_once_a_registry() {
    let script = format!("cat > asked; echo x >> runs; {ANSWER}");
    let Installed { dir, plugin } =
        install(&script, ", args: [-arg], env: [{name: PASSWORD, value: s3cret}]");
    for name in ["a.io/x:1", "a.io/y@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]
    {
        assert_eq!(passwords(&plugin.credentials(&image(name)).await.unwrap()), ["s3cret-arg"]);
    }
    assert_eq!(fs::read_to_string(dir.path().join("runs")).unwrap(), "x\n");
    let asked: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.path().join("asked")).unwrap()).unwrap();
    let expected = serde_json::json!({
        "kind": "CredentialProviderRequest", "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "image": "a.io/x"
    });
    assert_eq!(asked, expected);
}

#[test]
fn a_plugin_is_for_the_images_that_it_matches() {
    let Installed { dir: _dir, plugin } = install("", "");
    for (name, expected) in
        [("a.io/x", true), ("c.b.io/team/x", true), ("c.b.io/x", false), ("b.io/team", false), ("x", false)]
    {
        assert_eq!(plugin.is_for(&image(name)), expected, "{name}");
    }
}

#[tokio::test]
async fn a_plugin_that_hangs_is_killed_with_its_children_and_not_asked_again_at_once() {
    let script = "echo x >> runs; sleep 300 & echo $! > child; wait";
    let Installed { dir, mut plugin } = install(script, "");
    plugin.limit = Duration::from_millis(500);
    let error = plugin.credentials(&image("a.io/x")).await.unwrap_err();
    assert!(matches!(*error, PluginError::TimedOut { .. }), "{error}");
    assert_eq!(error.to_string(), "credential provider p has not answered within 500ms, and was killed");
    let started = Instant::now();
    plugin.credentials(&image("a.io/y")).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_millis(400));
    assert_eq!(fs::read_to_string(dir.path().join("runs")).unwrap(), "x\n");
    let child = fs::read_to_string(dir.path().join("child")).unwrap();
    let alive = || {
        let status = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        !status.is_empty() && !status.contains(") Z ")
    };
    for _ in 0..100 {
        if !alive() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("child {child} is alive");
}

#[tokio::test]
async fn a_child_that_keeps_the_output_open_is_ended_too() {
    let Installed { dir: _dir, mut plugin } = install("sleep 300 & exit 0", "");
    plugin.limit = Duration::from_millis(300);
    let error = plugin.credentials(&image("a.io/x")).await.unwrap_err();
    assert!(matches!(*error, PluginError::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn what_a_plugin_does_wrong_is_told_with_its_name_and_no_secret() {
    let table = [
        ("echo s3cret; echo no metadata server >&2; exit 3", "failed, exit status: 3: no metadata server"),
        ("kill -9 $$", "failed, signal: 9"),
        ("echo s3cret", "cannot be read: bad JSON in line 1, column 1"),
        ("exit 0", "cannot be read: bad JSON"),
        ("head -c 3000000 /dev/zero", "more than 1048576 bytes"),
    ];
    for (script, part) in table {
        let Installed { dir: _dir, plugin } = install(script, "");
        let error = plugin.credentials(&image("a.io/x")).await.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("credential provider p ") && text.contains(part), "{script}: {text}");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
}

#[tokio::test]
async fn a_plugin_that_answers_without_reading_the_question_is_heard() {
    let long = format!("a.io/{}", "x/".repeat(100)) + "y";
    let Installed { dir: _dir, plugin } = install(&format!("exec <&-; {ANSWER}"), "");
    assert_eq!(plugin.credentials(&image(&long)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_plugin_for_service_accounts_says_that_it_cannot_help() {
    let more = ", tokenAttributes: {serviceAccountTokenAudience: a, requireServiceAccount: true}";
    let Installed { dir: _dir, plugin } = install(ANSWER, more);
    let error = plugin.credentials(&image("a.io/x")).await.unwrap_err();
    assert!(matches!(*error, PluginError::ServiceAccount { .. }));
}

#[test]
fn a_plugin_must_be_installed_and_its_configuration_there() {
    let Installed { dir, plugin } = install("", "");
    let config = dir.path().join("config.yaml");
    let program = plugin.program.clone();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
    let error = load(&config, dir.path()).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("credential provider p is configured, but {} is no program", program.display())
    );
    let error = load(Path::new("/nonexistent/config.yaml"), dir.path()).unwrap_err().to_string();
    assert_eq!(error, "cannot read the credential provider configuration /nonexistent/config.yaml");
}
