//! Certificates of authorities that the system does not know: read from PEM files, given to the HTTP client.

use std::io;
use std::path::{Path, PathBuf};

use reqwest::Certificate;

/// Why a file gives no certificates.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// It cannot be read.
    #[error("cannot read the CA certificates in {path}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What it holds is broken.
    #[error("the CA certificates in {path} cannot be used", path = .path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What the HTTP client said.
        #[source]
        source: reqwest::Error,
    },
    /// It holds none.
    #[error("{path} holds no PEM certificate", path = .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// The certificates in all of `paths`.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Certificate>, TrustError> {
    let files = paths.iter().map(|path| {
        let bytes = std::fs::read(path);
        parse(path, &bytes.map_err(|source| TrustError::Read { path: path.clone(), source })?)
    });
    Ok(files.collect::<Result<Vec<_>, _>>()?.concat())
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Certificate>, TrustError> {
    let broken = |source| TrustError::Broken { path: path.to_owned(), source };
    let certificates = Certificate::from_pem_bundle(bytes).map_err(broken)?;
    if certificates.is_empty() {
        return Err(TrustError::Empty { path: path.to_owned() });
    }
    // Only a client that is made with them looks into them.
    let trial = reqwest::Client::builder().tls_certs_only(certificates.iter().cloned()).build();
    trial.map_err(broken)?;
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_named() {
        let refused = |bytes: &[u8]| parse(Path::new("/ca.pem"), bytes).unwrap_err();
        assert_eq!(refused(b"").to_string(), "/ca.pem holds no PEM certificate");
        assert!(matches!(refused(b"\x30\x82 DER"), TrustError::Empty { .. }));
        let nonsense = b"-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n";
        assert!(matches!(refused(nonsense), TrustError::Broken { .. }));
        let error = read(&["/nonexistent/ca.pem".into()]).unwrap_err();
        assert_eq!(error.to_string(), "cannot read the CA certificates in /nonexistent/ca.pem");
    }
}
