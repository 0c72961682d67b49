//! Asks `docker-credential-NAME get` for a credential (docker-credential-helpers' protocol).

use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::{Credential, CredentialError, Secret};
use crate::foreign_text;

/// What helpers answer, with exit status 1, for a server that they do not know.
const NOT_FOUND: &str = "credentials not found";
/// The user name that marks the secret as an identity token.
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: Secret,
}

/// The credential that the helper `name` keeps for `server`.
pub(super) async fn get(
    name: &str,
    server: &str,
    limit: Duration,
) -> Result<Option<Credential>, CredentialError> {
    if name.is_empty() || name.contains(['/', '\0']) {
        return Err(CredentialError::HelperName(name.to_owned()));
    }
    let program = format!("docker-credential-{name}");
    match timeout(limit, run(&program, server)).await {
        Ok(Ok(output)) => read(&program, server, &output),
        Ok(Err(source)) => Err(CredentialError::Run { program, source }),
        Err(_) => Err(CredentialError::HelperTimeout { program, after: limit }),
    }
}

async fn run(program: &str, server: &str) -> io::Result<Output> {
    tracing::debug!(program, server, "asking a credential helper");
    let mut command = Command::new(program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(server.as_bytes()).await {
            // It may know its answer without reading the question.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => written?,
        }
    }
    child.wait_with_output().await
}

fn read(program: &str, server: &str, output: &Output) -> Result<Option<Credential>, CredentialError> {
    let (program, server) = (program.to_owned(), server.to_owned());
    if !output.status.success() {
        // Helpers complain on standard output.
        let message =
            [output.stdout.as_slice(), output.stderr.as_slice()].map(String::from_utf8_lossy).join(" ");
        if message.contains(NOT_FOUND) {
            return Ok(None);
        }
        let message = foreign_text::one_line(&message);
        return Err(CredentialError::HelperFailed { program, server, message });
    }
    match serde_json::from_slice(&output.stdout) {
        Ok(Answer { username, secret }) if username == TOKEN_USER => {
            Ok(Some(Credential::IdentityToken(secret)))
        }
        Ok(Answer { username, secret }) => Ok(Some(Credential::Password { username, password: secret })),
        // The parser's words may quote the secret.
        Err(_) => Err(CredentialError::HelperAnswer { program, server }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn answer(code: i32, stdout: &str, stderr: &str) -> Result<Option<Credential>, CredentialError> {
        let status = ExitStatus::from_raw(code << 8);
        read(
            "docker-credential-x",
            "ghcr.io",
            &Output { status, stdout: stdout.into(), stderr: stderr.into() },
        )
    }

    #[test]
    fn a_helper_answers_with_a_password_or_a_token_or_nothing() {
        let secret = Secret("s".to_owned());
        let password = Credential::Password { username: "u".to_owned(), password: secret.clone() };
        let json = r#"{"ServerURL":"ghcr.io","Username":"u","Secret":"s"}"#;
        assert_eq!(answer(0, json, "").unwrap(), Some(password));
        let json = r#"{"ServerURL":"","Username":"<token>","Secret":"s"}"#;
        assert_eq!(answer(0, json, "").unwrap(), Some(Credential::IdentityToken(secret)));
        assert_eq!(answer(1, "credentials not found in native keychain\n", "").unwrap(), None);
    }

    #[test]
    fn a_helper_that_fails_is_quoted_but_not_its_secret() {
        let error = answer(1, "no\nkeychain", "bus gone").unwrap_err();
        assert_eq!(error.to_string(), "docker-credential-x failed for ghcr.io: no keychain bus gone");
        let error = answer(0, r#"{"Username":1,"Secret":"s3cret"}"#, "").unwrap_err();
        assert!(matches!(error, CredentialError::HelperAnswer { .. }));
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }

    #[tokio::test]
    async fn a_helper_is_asked_on_its_standard_input() {
        // `grep get` says back what it is told.
        let output = run("grep", "get.example").await.unwrap();
        assert_eq!(output.stdout, b"get.example\n");
    }

    #[tokio::test]
    async fn a_helper_must_be_a_program_by_name() {
        let limit = Duration::from_secs(5);
        for name in ["", "../x", "a/b"] {
            assert!(matches!(get(name, "a.io", limit).await, Err(CredentialError::HelperName(_))));
        }
        let error = get("that-nobody-has-installed", "a.io", limit).await.unwrap_err();
        assert!(matches!(error, CredentialError::Run { program, .. } if program.ends_with("installed")));
    }
}
