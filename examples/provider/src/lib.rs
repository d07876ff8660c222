//! A provider: a machine is a directory on a shelf, with a switch. See `docs/writing-a-provider.md`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use async_trait::async_trait;
use windlass_model::{Condition, Key, Status};
use windlass_provider::bootstrap::{self, Metadata, Step};
use windlass_provider::{
    ClusterInfrastructure, ClusterInstance, ClusterRequest, Endpoint, Error, ErrorKind, Instance,
    InstanceState, MachineRequest, Machines, Result, Token,
};

/// One exchange with the backend. All go through one place, so that tests can cut the line.
pub enum Ask<'a> {
    /// The names in a directory.
    List(&'a Path),
    /// The text of a file; nothing where there is none.
    Read(&'a Path),
    /// Writes a file, and its directory if need be.
    Write(&'a Path, &'a str),
    /// Moves a directory at once; fails where something is.
    Rename(&'a Path, &'a Path),
    /// Removes a directory with all that is in it, if it is there.
    Remove(&'a Path),
}

/// The backend: the disk of this machine.
pub fn local(ask: &Ask<'_>) -> io::Result<Vec<String>> {
    match ask {
        Ask::List(path) => {
            fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
        }
        Ask::Read(path) | Ask::Remove(path) if matches!(path.try_exists(), Ok(false)) => Ok(vec![]),
        Ask::Read(path) => fs::read_to_string(path).map(|text| vec![text]),
        Ask::Write(path, text) => {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(path, text).map(|()| vec![])
        }
        Ask::Rename(from, to) => fs::rename(from, to).map(|()| vec![]),
        Ask::Remove(path) => fs::remove_dir_all(path).map(|()| vec![]),
    }
}

/// Answers exchanges: [`local`], or a test's.
pub type Backend = dyn Fn(&Ask<'_>) -> io::Result<Vec<String>> + Send + Sync;

/// The provider. Two of them over one directory are as good as one: they remember nothing.
pub struct Shelf {
    /// Has the directories `machines` and `clusters`.
    pub root: PathBuf,
    /// Where exchanges go.
    pub backend: Arc<Backend>,
}

impl Shelf {
    /// One exchange; what goes wrong, as a kind that says what can be done and a message that says it.
    fn ask(&self, ask: &Ask<'_>) -> Result<Vec<String>> {
        let (Ask::List(path)
        | Ask::Read(path)
        | Ask::Write(path, _)
        | Ask::Rename(_, path)
        | Ask::Remove(path)) = ask;
        (self.backend)(ask).map_err(|error| {
            let retry_after = Duration::from_secs(1);
            let (kind, advice) = match error.kind() {
                io::ErrorKind::PermissionDenied => (ErrorKind::Rejected, "let this user write there"),
                io::ErrorKind::DirectoryNotEmpty => (ErrorKind::Rejected, "move what is there away"),
                io::ErrorKind::StorageFull => (ErrorKind::OutOfCapacity, "make room"),
                io::ErrorKind::ResourceBusy => (ErrorKind::Throttled { retry_after }, "it is tried again"),
                _ => (ErrorKind::Transient, "see that the shelf is mounted"),
            };
            Error::new(kind, format!("cannot use {}: {error}; {advice}", path.display()))
        })
    }

    /// The directory made for this token. What starts with a dot is half made or half deleted.
    fn seek(&self, board: &str, token: &Token) -> Result<Option<PathBuf>> {
        let board = self.root.join(board);
        for name in self.ask(&Ask::List(&board))?.iter().filter(|name| !name.starts_with('.')) {
            if self.ask(&Ask::Read(&board.join(name).join("token")))? == [token.as_str()] {
                return Ok(Some(board.join(name)));
            }
        }
        Ok(None)
    }

    /// Makes a directory with these files, all or nothing: under the token first, then at its place.
    fn put(&self, board: &str, name: &str, token: &Token, files: &[(&str, &str)]) -> Result<PathBuf> {
        let board_at = self.root.join(board);
        let (half, place) = (board_at.join(format!(".{token}")), board_at.join(name));
        self.ask(&Ask::Remove(&half))?;
        for (file, text) in files.iter().chain(&[("token", token.as_str())]) {
            self.ask(&Ask::Write(&half.join(file), text))?;
        }
        let Err(error) = self.ask(&Ask::Rename(&half, &place)) else { return Ok(place) };
        self.ask(&Ask::Remove(&half))?;
        self.seek(board, token)?.ok_or(error) // Another process may have made it at the same time.
    }

    /// Deletes what was made for this token, and what a create that was cut off left of it.
    fn take(&self, board: &str, token: &Token) -> Result<()> {
        let half = self.root.join(board).join(format!(".{token}"));
        self.ask(&Ask::Remove(&half))?;
        let Some(place) = self.seek(board, token)? else { return Ok(()) };
        self.ask(&Ask::Rename(&place, &half))?;
        self.ask(&Ask::Remove(&half)).map(drop)
    }

    fn read(&self, place: &Path, file: &str) -> Result<String> {
        Ok(self.ask(&Ask::Read(&place.join(file)))?.concat().trim().to_owned())
    }

    /// A machine as its directory tells it.
    fn instance(&self, place: &Path) -> Result<Instance> {
        let switched = match self.read(place, "switch")?.as_str() {
            "on" => Condition::new("SwitchedOn", Status::True, "SwitchedOn"),
            _ => Condition::new("SwitchedOn", Status::False, "SwitchedOff")
                .because(format!("somebody turned it off; write `on` to {}", place.join("switch").display())),
        };
        Ok(Instance {
            provider_id: format!("shelf:////{}", place.file_name().unwrap_or_default().display()),
            state: InstanceState::Running,
            addresses: vec![],
            failure_domain: Some(self.read(place, "domain")?),
            conditions: vec![Condition::new("Shelved", Status::True, "Shelved"), switched],
            next_change: Some(Duration::from_secs(20)), // Nobody tells us when a switch is turned.
        })
    }
}

/// Readable and unique: names in Kubernetes have no underscores.
fn site(cluster: &Key) -> String {
    format!("{}_{}", cluster.namespace, cluster.name)
}

#[async_trait]
impl Machines for Shelf {
    async fn create(&self, token: &Token, request: &MachineRequest) -> Result<Instance> {
        if let Some(place) = self.seek("machines", token)? {
            return self.instance(&place);
        }
        let (name, site) = (&request.name, site(&request.cluster));
        if !self.ask(&Ask::List(&self.root.join("clusters")))?.contains(&site) {
            return Err(Error::not_found(format!(
                "the shelf has no place for {site}; see its infrastructure"
            )));
        }
        let metadata = Metadata { hostname: name.clone(), ..Metadata::default() };
        let boot = bootstrap::parse(&request.bootstrap_format, request.bootstrap_data.expose(), &metadata);
        let boot =
            boot.map_err(|error| Error::rejected(format!("{name}: {error}; see its bootstrap config")))?;
        let steps: Vec<_> = boot.steps.iter().map(Step::display).collect();
        let domain = request.failure_domain.as_deref().unwrap_or("top");
        let files = [("steps", &*steps.join("\n")), ("domain", domain), ("switch", "on")];
        self.instance(&self.put("machines", &format!("{site}_{name}"), token, &files)?)
    }

    async fn find(&self, token: &Token) -> Result<Option<Instance>> {
        self.seek("machines", token)?.map(|place| self.instance(&place)).transpose()
    }

    async fn delete(&self, token: &Token) -> Result<()> {
        self.take("machines", token)
    }

    fn stages(&self, _: bool) -> &'static [&'static str] {
        &["Shelved", "SwitchedOn"]
    }
}

#[async_trait]
impl ClusterInfrastructure for Shelf {
    async fn create(&self, token: &Token, request: &ClusterRequest) -> Result<ClusterInstance> {
        if self.seek("clusters", token)?.is_none() {
            self.put("clusters", &site(&request.cluster), token, &[])?;
        }
        let made = ClusterInfrastructure::find(self, token).await?;
        made.ok_or_else(|| Error::transient("it was made and is gone; it is tried again"))
    }

    async fn find(&self, token: &Token) -> Result<Option<ClusterInstance>> {
        let Some(place) = self.seek("clusters", token)? else { return Ok(None) };
        let host = format!("{}.example", place.file_name().unwrap_or_default().display());
        Ok(Some(ClusterInstance {
            state: InstanceState::Running,
            endpoint: Some(Endpoint { host, port: 6443 }),
            failure_domains: [("top".to_owned(), true), ("bottom".to_owned(), false)].into(),
            conditions: vec![],
            annotations: [].into(),
            next_change: None,
        }))
    }

    async fn delete(&self, token: &Token) -> Result<()> {
        self.take("clusters", token)
    }
}
