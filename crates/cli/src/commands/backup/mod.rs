//! `windlass backup` and `windlass restore`: a plane as one file.

mod seal;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use http::Request;
use tokio_util::compat::FuturesAsyncReadCompatExt;
use tokio_util::io::SyncIoBridge;
use windlass_manager::VERSION;
use windlass_manager::backup::{self, Contents, RestoreError};
use windlass_manager::data_dir::DataDir;

use crate::commands::up::running;
use crate::failure::{Failure, api};
use crate::management::{ManagementArgs, again};
use crate::output;
use seal::{Lock, Seal, Unlock};

/// Write everything that the plane keeps into one file, while it runs
///
/// The file holds all objects as they are at one moment, Secrets among them, and the plane's authority, so that
/// kubeconfigs stay good. It ends in a checksum, which is checked before the file gets its name. What runs inside
/// machines is not in it.
#[derive(Args, Debug)]
pub struct Backup {
    /// Where to write it; a file that is there is replaced once the new one is whole
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    lock: Lock,
}

/// Make the plane of a data directory without one from a backup
///
/// `windlass up` starts it afterwards. Every client lists anew: the plane counts on far ahead of the backup.
#[derive(Args, Debug)]
pub struct Restore {
    /// What `windlass backup` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    unlock: Unlock,
}

impl Backup {
    /// Asks the plane for it; one that does not run is read from its folder.
    pub async fn run(&self, args: &ManagementArgs) -> Result<(), Failure> {
        // Before anything is read: a mistyped recipient must not cost a long wait.
        let seal = self.lock.seal()?;
        let file = self.file.clone();
        let dir = args.data_dir()?;
        let stopped = args.kubeconfig.is_none() && dir.database().exists() && running(&dir)?.is_none();
        let write = if stopped {
            tokio::task::spawn_blocking(move || of_folder(&dir, &file, seal))
        } else {
            let client = args.client().await?.client;
            let request = Request::get("/backup").body(Vec::new());
            let request = request.map_err(|error| Failure::caused("cannot ask for a backup", error))?;
            let stream = client.request_stream(request).await.map_err(|error| {
                api("cannot get a backup", error)
                    .hint("only a plane of windlass gives backups, and only to its administrators")
            })?;
            let stream = SyncIoBridge::new(Box::pin(stream).compat());
            tokio::task::spawn_blocking(move || keep(stream, &file, seal))
        };
        let contents = write.await.map_err(|error| Failure::caused("cannot write the backup", error))??;
        output::note(&format!("{} holds {}", self.file.display(), summary(contents)));
        Ok(())
    }
}

impl Restore {
    /// Makes the database, which the next start finishes.
    pub async fn run(&self, args: &ManagementArgs) -> Result<(), Failure> {
        let (file, dir, unlock) = (self.file.clone(), args.data_dir()?, self.unlock.clone());
        let shown = dir.path().display().to_string();
        let work = tokio::task::spawn_blocking(move || into_folder(&file, &dir, &unlock));
        let contents = work.await.map_err(|error| Failure::caused("cannot restore", error))??;
        output::note(&format!(
            "{shown} holds {}; start it with: {}",
            summary(contents),
            again(args, "up --detach")
        ));
        Ok(())
    }
}

fn summary(contents: Contents) -> String {
    let Contents { stores, keys, bytes } = contents;
    format!("{keys} objects of {stores} stores, {bytes} bytes")
}

/// A backup of a plane that does not run.
fn of_folder(dir: &DataDir, file: &Path, seal: Seal) -> Result<Contents, Failure> {
    let _lock = dir.lock(VERSION).map_err(|error| {
        let hint = error.hint().to_owned();
        Failure::caused("cannot read the plane's folder", error).hint(hint)
    })?;
    let (read, mut write) =
        io::pipe().map_err(|error| Failure::caused("cannot read the plane's folder", error))?;
    let exporting = {
        let dir = dir.clone();
        std::thread::spawn(move || backup::of_folder(&dir, &mut write))
    };
    let kept = keep(read, file, seal);
    match exporting.join() {
        // Its own error says more than that the file ends too soon.
        Ok(Err(error)) => Err(Failure::caused("cannot read the plane's folder", error)),
        Ok(Ok(())) | Err(_) => kept,
    }
}

/// Checks a backup while it is written to a file, which gets its name when all of it was right.
fn keep(mut from: impl Read, file: &Path, seal: Seal) -> Result<Contents, Failure> {
    let mut draft = file.as_os_str().to_owned();
    draft.push(".draft");
    let draft = PathBuf::from(draft);
    let kept = write(&mut from, &draft, seal).and_then(|contents| {
        fs::rename(&draft, file)
            .map_err(|error| Failure::caused(format!("cannot name {}", file.display()), error))?;
        Ok(contents)
    });
    if kept.is_err() {
        // Half a backup is of no use to anybody; the first error is the one that matters.
        let _ = fs::remove_file(&draft);
    }
    kept
}

fn write(from: &mut impl Read, draft: &Path, seal: Seal) -> Result<Contents, Failure> {
    let cannot = |error| Failure::caused(format!("cannot write {}", draft.display()), error);
    let open = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(draft);
    let mut out = seal.over(open.map_err(cannot)?).map_err(cannot)?;
    let contents = backup::verify(&mut Tee { from, to: &mut out }).map_err(|error| match error {
        RestoreError::Read(error) => Failure::caused("cannot read the backup, or write it down", error),
        other => Failure::caused("the plane sent no whole backup", other)
            .hint("its log says why; try again when the plane is well"),
    })?;
    out.finish().and_then(|file| file.sync_all()).map_err(cannot)?;
    Ok(contents)
}

fn into_folder(file: &Path, dir: &DataDir, unlock: &Unlock) -> Result<Contents, Failure> {
    let opened = File::open(file)
        .map_err(|error| Failure::caused(format!("cannot read {}", file.display()), error))?;
    let mut from = unlock.open(opened)?;
    let _lock = dir.lock(VERSION).map_err(|error| {
        let hint = error.hint().to_owned();
        Failure::caused("cannot use the data directory", error).hint(hint)
    })?;
    backup::restore(dir, &mut from).map_err(|error| {
        let exists = matches!(error, RestoreError::Exists { .. });
        let failure = Failure::caused(format!("cannot restore {}", file.display()), error);
        if exists {
            failure.hint("name an empty folder with --data-dir, or move that one away")
        } else {
            failure
        }
    })
}

/// Hands on what is read from it.
struct Tee<'a, R, W> {
    from: &'a mut R,
    to: &'a mut W,
}

impl<R: Read, W: Write> Read for Tee<'_, R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.to.write_all(&buffer[..length])?;
        Ok(length)
    }
}
