//! Encryption of backups in the format of age (age-encryption.org/v1): the `age` and `rage` programs read them, too.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use age::secrecy::SecretString;
use age::stream::StreamWriter;
use age::x25519::Recipient;
use clap::Args;

use crate::failure::Failure;

/// How every encrypted file begins.
const MAGIC: &[u8] = b"age-encryption.org/";

/// For whom a backup is encrypted.
#[derive(Args, Clone, Debug)]
pub struct Lock {
    /// Encrypt it for the owner of this public key (`age1…`, as `age-keygen` prints it); may be repeated
    #[arg(long = "recipient", value_name = "KEY", conflicts_with = "passphrase_file")]
    recipients: Vec<String>,
    /// Encrypt it with the passphrase in this file
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// How a backup is decrypted.
#[derive(Args, Clone, Debug)]
pub struct Unlock {
    /// Decrypt it with the private key in this file (as `age-keygen` writes it)
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_file")]
    identity: Option<PathBuf>,
    /// Decrypt it with the passphrase in this file
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// What is put around a backup.
pub enum Seal {
    /// Nothing.
    None,
    /// Encryption.
    Age(Box<age::Encryptor>),
}

/// Where a backup is written to.
pub enum Sealed {
    Plain(BufWriter<File>),
    Age(Box<StreamWriter<BufWriter<File>>>),
}

impl Lock {
    /// Reads keys and passphrase.
    pub fn seal(&self) -> Result<Seal, Failure> {
        if let Some(file) = &self.passphrase_file {
            let encryptor = age::Encryptor::with_user_passphrase(passphrase(file)?);
            return Ok(Seal::Age(Box::new(encryptor)));
        }
        let recipients: Vec<Recipient> =
            self.recipients.iter().map(|key| recipient(key)).collect::<Result<_, _>>()?;
        match age::Encryptor::with_recipients(recipients.iter().map(|key| key as &dyn age::Recipient)) {
            Ok(encryptor) => Ok(Seal::Age(Box::new(encryptor))),
            Err(age::EncryptError::MissingRecipients) => Ok(Seal::None),
            Err(error) => Err(Failure::caused("cannot encrypt for these recipients", error)),
        }
    }
}

fn recipient(key: &str) -> Result<Recipient, Failure> {
    key.parse().map_err(|reason: &str| {
        Failure::new(format!("cannot encrypt for {key:?}: {reason}"))
            .hint("a public key begins with age1; `age-keygen -y FILE` prints that of a private one")
    })
}

/// The first line of a file.
fn passphrase(file: &Path) -> Result<SecretString, Failure> {
    let text = fs::read_to_string(file).map_err(|error| {
        Failure::caused(format!("cannot read the passphrase in {}", file.display()), error)
    })?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(Failure::new(format!("there is no passphrase in {}", file.display()))
            .hint("its first line is taken, without the end of line"));
    }
    Ok(SecretString::from(line.to_owned()))
}

impl Seal {
    /// Writes go through it into the file.
    pub fn over(self, file: File) -> io::Result<Sealed> {
        let file = BufWriter::new(file);
        match self {
            Self::None => Ok(Sealed::Plain(file)),
            Self::Age(encryptor) => Ok(Sealed::Age(Box::new(encryptor.wrap_output(file)?))),
        }
    }
}

impl Sealed {
    /// Writes what is left.
    pub fn finish(self) -> io::Result<File> {
        let buffer = match self {
            Self::Plain(buffer) => buffer,
            Self::Age(stream) => stream.finish()?,
        };
        buffer.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl Write for Sealed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Age(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Age(stream) => stream.flush(),
        }
    }
}

impl Unlock {
    /// Reads a backup, encrypted or not.
    pub fn open(&self, file: File) -> Result<Box<dyn Read>, Failure> {
        let mut file = BufReader::new(file);
        let begin = io::BufRead::fill_buf(&mut file)
            .map_err(|error| Failure::caused("cannot read the backup", error))?;
        if !begin.starts_with(MAGIC) {
            return Ok(Box::new(file));
        }
        let cannot = |error: age::DecryptError| {
            Failure::caused("cannot decrypt the backup", error).hint(
                "--identity names the private key it was encrypted for, --passphrase-file its passphrase",
            )
        };
        let decryptor = age::Decryptor::new_buffered(file).map_err(cannot)?;
        let identities = self.identities()?;
        let identities = identities.iter().map(|identity| &**identity as &dyn age::Identity);
        Ok(Box::new(decryptor.decrypt(identities).map_err(cannot)?))
    }

    fn identities(&self) -> Result<Vec<Box<dyn age::Identity>>, Failure> {
        if let Some(file) = &self.passphrase_file {
            return Ok(vec![Box::new(age::scrypt::Identity::new(passphrase(file)?))]);
        }
        let Some(file) = &self.identity else { return Ok(Vec::new()) };
        let cannot = |error: Box<dyn std::error::Error + Send + Sync>| {
            Failure::caused(format!("cannot use the private key in {}", file.display()), error)
        };
        let opened = File::open(file).map_err(|error| cannot(error.into()))?;
        let keys =
            age::IdentityFile::from_buffer(BufReader::new(opened)).map_err(|error| cannot(error.into()))?;
        let keys = keys.into_identities().map_err(|error| cannot(error.to_string().into()))?;
        Ok(keys.into_iter().map(|key| key as Box<dyn age::Identity>).collect())
    }
}
