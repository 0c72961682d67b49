//! TLS for both ports, from two PEM files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::rustls::{self, ServerConfig};

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those that lead to its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file has none of what it is for.
    #[error("cannot read a PEM {what} from {path}", path = .path.display())]
    File {
        /// Certificate or key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the parser or the system said.
        #[source]
        source: pem::Error,
    },
    /// The key does not belong to the certificate, or one of them is of no use.
    #[error("certificate {certificate} and key {key} cannot be used", certificate = .files.certificate.display(), key = .files.key.display())]
    Pair {
        /// The two.
        files: TlsFiles,
        /// What the TLS library said.
        #[source]
        source: rustls::Error,
    },
}

impl TlsFiles {
    /// Makes connections of TCP such of TLS, which carry one of `protocols`.
    pub(super) fn acceptor(&self, protocols: &[&str]) -> Result<TlsAcceptor, TlsError> {
        let certificates = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(unreadable("private key", &self.key))?;
        let pair = |source| TlsError::Pair { files: self.clone(), source };
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(pair)?
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .map_err(pair)?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let some = all.and_then(|all| if all.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(all) });
    some.map_err(unreadable("certificate", path))
}

fn unreadable(what: &'static str, path: &Path) -> impl FnOnce(pem::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::File { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_or_key_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
        let files = TlsFiles { certificate: certificate.clone(), key };
        let refused = || files.acceptor(&["h2"]).err().unwrap();
        let expected = format!("cannot read a PEM certificate from {}", certificate.display());
        assert_eq!(refused().to_string(), expected);
        for content in ["", "-----BEGIN CERTIFICATE-----\n", "nonsense"] {
            std::fs::write(&certificate, content).unwrap();
            assert_eq!(refused().to_string(), expected, "{content}");
        }
        std::fs::write(&certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
            .unwrap();
        assert!(refused().to_string().starts_with("cannot read a PEM private key from "));
    }
}
