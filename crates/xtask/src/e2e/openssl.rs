//! Certificates that a person makes, with openssl: independent of the code under test.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::shell::must;

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub struct Pair {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

impl Pair {
    fn named(folder: &Path, name: &str) -> Self {
        Self { certificate: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) }
    }
}

/// A certificate authority.
pub fn authority(folder: &Path, name: &str) -> Result<Pair> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let pair = Pair::named(folder, name);
    let mut command = Command::new("openssl");
    command.args([
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "30",
        "-subj",
        &format!("/CN={name}"),
    ]);
    command.args([
        "-addext",
        "basicConstraints=critical,CA:TRUE",
        "-addext",
        "keyUsage=critical,keyCertSign,digitalSignature",
    ]);
    command.arg("-keyout").arg(&pair.key).arg("-out").arg(&pair.certificate);
    must(&mut command)?;
    Ok(pair)
}

/// A certificate for servers and clients at an address, signed by an authority.
pub fn certificate(folder: &Path, authority: &Pair, name: &str, address: &str) -> Result<Pair> {
    let pair = Pair::named(folder, name);
    let (request, extensions) = (folder.join(format!("{name}.csr")), folder.join(format!("{name}.ext")));
    let mut command = Command::new("openssl");
    command.args(["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", &format!("/CN={name}")]);
    must(command.arg("-keyout").arg(&pair.key).arg("-out").arg(&request))?;
    let text = format!("subjectAltName=IP:{address}\nextendedKeyUsage=serverAuth,clientAuth\n");
    std::fs::write(&extensions, text)?;
    let mut command = Command::new("openssl");
    command.args(["x509", "-req", "-days", "30", "-CAcreateserial"]);
    command.arg("-in").arg(&request).arg("-extfile").arg(&extensions).arg("-out").arg(&pair.certificate);
    must(command.arg("-CA").arg(&authority.certificate).arg("-CAkey").arg(&authority.key))?;
    Ok(pair)
}

/// A key pair for signing tokens: private and public part.
pub fn signing_key(folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let (private, public) = (folder.join("sa.key"), folder.join("sa.pub"));
    must(Command::new("openssl").args(["genrsa", "-out"]).arg(&private).arg("2048"))?;
    must(Command::new("openssl").args(["rsa", "-pubout", "-in"]).arg(&private).arg("-out").arg(&public))?;
    Ok((private, public))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_openssl_makes_verifies() {
        let folder = std::env::temp_dir().join(format!("windlass-openssl-{}", std::process::id()));
        let ca = authority(&folder, "ca").unwrap();
        let leaf = certificate(&folder, &ca, "server", "127.0.0.1").unwrap();
        let mut verify = Command::new("openssl");
        verify.args(["verify", "-purpose", "sslserver", "-verify_ip", "127.0.0.1", "-CAfile"]);
        must(verify.arg(&ca.certificate).arg(&leaf.certificate)).unwrap();
        assert!(signing_key(&folder).unwrap().1.exists());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
