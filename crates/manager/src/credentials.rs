//! Keys and certificates of the plane's own API: its authority, its serving certificate, the administrator.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use windlass_model::{Secret, Time};
use windlass_pki::{
    Algorithm, Authority, KeySource, Kubeconfig, KubeconfigError, Leaf, PkiError, PrivateKey, SystemKeys,
    certificate_times,
};

use crate::data_dir::{DataDir, DataDirError};

/// Ten years, as kubeadm's authorities.
const AUTHORITY_DAYS: u32 = 3650;

/// One year, as kubeadm's certificates. The serving certificate is made anew at every start.
const YEAR: Duration = Duration::from_hours(365 * 24);

/// The administrator's certificate is renewed at a start when less than this is left.
const RENEW: Duration = Duration::from_hours(90 * 24);

/// Credentials cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read or written.
    #[error("cannot keep the plane's credentials")]
    File(#[from] DataDirError),
    /// A file is not what it should be.
    #[error("cannot use {}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: PkiError,
    },
    /// The library refuses.
    #[error("cannot make the plane's credentials")]
    Make(#[from] PkiError),
    /// The kubeconfig cannot be written as YAML.
    #[error("cannot make the administrator's kubeconfig")]
    Kubeconfig(#[from] KubeconfigError),
}

/// What the API server needs to serve TLS, in PEM.
#[derive(Debug)]
pub struct Credentials {
    /// Who signs servers and clients of the plane.
    pub ca: String,
    /// The serving certificate.
    pub certificate: String,
    /// Its key, PKCS#8.
    pub key: Secret<String>,
}

/// Loads or makes the authority, makes a serving certificate for `address`, and keeps the
/// administrator's kubeconfig in the data directory current. Blocking.
pub fn prepare(dir: &DataDir, address: SocketAddr, now: Time) -> Result<Credentials, CredentialsError> {
    let authority = authority(dir, now)?;
    let key = new_key()?;
    let names =
        [&address.ip().to_string(), "127.0.0.1", "::1", "localhost", "kubernetes", "kubernetes.default.svc"];
    let leaf = Leaf::server("kube-apiserver", &names.map(str::to_owned), YEAR);
    let certificate = authority.issue(&key, &leaf, now)?;
    keep_admin(dir, &authority, address, now)?;
    Ok(Credentials { ca: authority.certificate_pem().to_owned(), certificate, key: key.to_pkcs8_pem()? })
}

fn new_key() -> Result<PrivateKey, PkiError> {
    SystemKeys::default().generate(Algorithm::EcdsaP256, "plane")
}

fn authority(dir: &DataDir, now: Time) -> Result<Authority, CredentialsError> {
    let (certificate, key) = (dir.pki("ca.crt"), dir.pki("ca.key"));
    if certificate.exists() && key.exists() {
        let unusable = |source| CredentialsError::Unusable { path: certificate.clone(), source };
        return Authority::from_pem(&read(&certificate)?, &read(&key)?).map_err(unusable);
    }
    let made = new_key()?;
    let authority = Authority::self_signed(&made, "windlass", AUTHORITY_DAYS, now)?;
    // The key first: a certificate without its key would be taken for a damaged authority.
    dir.write_private(&key, made.to_pem()?.expose().as_bytes())?;
    dir.write_private(&certificate, authority.certificate_pem().as_bytes())?;
    Ok(authority)
}

/// Writes the administrator's kubeconfig unless the one that is there still does.
fn keep_admin(
    dir: &DataDir,
    authority: &Authority,
    address: SocketAddr,
    now: Time,
) -> Result<(), CredentialsError> {
    let path = dir.management_kubeconfig();
    let server = format!("https://{address}");
    if fs::read_to_string(&path).is_ok_and(|text| still_good(&text, &server, authority, now)) {
        return Ok(());
    }
    let key = new_key()?;
    let leaf = Leaf::client("kubernetes-admin", &["system:masters"], YEAR);
    let certificate = authority.issue(&key, &leaf, now)?;
    let kubeconfig = Kubeconfig::with_certificate(server, authority.certificate_pem(), certificate, &key)?;
    let yaml = kubeconfig.to_yaml("windlass", "windlass-admin")?;
    dir.write_private(&path, yaml.expose().as_bytes())?;
    Ok(())
}

fn still_good(text: &str, server: &str, authority: &Authority, now: Time) -> bool {
    let Ok(kubeconfig) = Kubeconfig::parse(text) else { return false };
    let windlass_pki::Identity::Certificate { certificate_pem, .. } = &kubeconfig.identity else {
        return false;
    };
    let fresh = certificate_times(certificate_pem).is_ok_and(|(_, expiry)| expiry > now.after(RENEW));
    fresh && kubeconfig.server == server && kubeconfig.ca_pem.as_deref() == Some(authority.certificate_pem())
}

fn read(path: &std::path::Path) -> Result<String, CredentialsError> {
    fs::read_to_string(path)
        .map_err(|source| DataDirError::Io { what: "read", path: path.to_path_buf(), source }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "127.0.0.1:7443";

    #[test]
    fn the_administrator_stays_until_something_changes() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::new(folder.path());
        let now = Time::from_secs(1_800_000_000);
        let kubeconfig = |now, address: &str| {
            prepare(&dir, address.parse().unwrap(), now).unwrap();
            fs::read_to_string(dir.management_kubeconfig()).unwrap()
        };
        let first = kubeconfig(now, ADDRESS);
        assert_eq!(kubeconfig(now.after(Duration::from_hours(1)), ADDRESS), first);
        assert_ne!(kubeconfig(now.after(YEAR.saturating_sub(RENEW)), ADDRESS), first, "about to expire");
        assert!(kubeconfig(now, "127.0.0.1:7444").contains("https://127.0.0.1:7444"));
    }

    #[test]
    fn a_damaged_authority_is_refused_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::new(folder.path());
        prepare(&dir, ADDRESS.parse().unwrap(), Time::from_secs(1_800_000_000)).unwrap();
        fs::write(dir.pki("ca.crt"), "nonsense").unwrap();
        let error = prepare(&dir, ADDRESS.parse().unwrap(), Time::from_secs(1_800_000_000)).unwrap_err();
        assert!(error.to_string().contains("ca.crt"), "{error}");
    }
}
