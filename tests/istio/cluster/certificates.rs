//! An authority that the cluster trusts, and whom it has certified.

use std::fs;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType,
};
use rsa::pkcs8::{EncodePrivateKey as _, LineEnding};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::folder;

/// Certifies the names that it is asked to.
#[derive(Debug)]
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Makes an authority, and adds it to those that this machine's namespace trusts.
    pub(crate) fn start() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().unwrap();
        let authority = Self(CertifiedIssuer::self_signed(params, key).unwrap());
        let bundle = "/etc/ssl/certs/ca-certificates.crt"; // `tests/istio/run` has put a copy there
        let trusted = fs::read_to_string(bundle).unwrap();
        fs::write(bundle, format!("{trusted}\n{}", authority.0.pem())).unwrap();
        fs::write(folder().join("world/ca.pem"), authority.0.pem()).unwrap();
        authority
    }

    /// Returns its own certificate.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// Returns what ends TLS in that name.
    pub(crate) fn acceptor(&self, name: &str) -> TlsAcceptor {
        let (certificate, key) = self.certify(&[name], None);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// Writes a certificate and its key as files, and returns their paths.
    pub(crate) fn files(&self, file: &str, names: &[&str]) -> (String, String) {
        self.write(file, self.certify(names, None))
    }

    /// The same for a user of the API server with all rights.
    pub(crate) fn admin(&self) -> (String, String) {
        self.write("admin", self.certify(&["admin"], Some("system:masters")))
    }

    fn write(
        &self,
        file: &str,
        (certificate, key): (rcgen::Certificate, KeyPair),
    ) -> (String, String) {
        let path = |ending: &str| folder().join("world").join(format!("{file}.{ending}"));
        fs::write(path("pem"), certificate.pem()).unwrap();
        fs::write(path("key"), key.serialize_pem()).unwrap();
        (path("pem").display().to_string(), path("key").display().to_string())
    }

    fn certify(&self, names: &[&str], group: Option<&str>) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, names[0]);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = names.iter().map(|name| san(name)).collect();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }
}

/// Writes the key that signs the tokens of service accounts, RSA as `kubeadm` makes it, and returns its
/// path.
pub(super) fn signing_key(file: &str) -> String {
    let key = rsa::PrivateKey::new(&mut rand::rng(), 2048).unwrap();
    let path = folder().join("world").join(format!("{file}.key"));
    fs::write(&path, key.to_pkcs8_pem(LineEnding::LF).unwrap().as_bytes()).unwrap();
    path.display().to_string()
}

fn san(name: &str) -> SanType {
    match name.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(name.try_into().unwrap()),
    }
}
