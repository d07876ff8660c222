//! The engine's API, as far as it is used here: typed answers, and errors that say what to do.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::pin::Pin;

use bollard::models::{
    ContainerCreateBody, ContainerSummary, ContainerSummaryStateEnum, EventMessage, NetworkCreateRequest,
    NetworkDisconnectRequest, SystemInfoCgroupVersionEnum,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, DownloadFromContainerOptionsBuilder,
    EventsOptionsBuilder, KillContainerOptionsBuilder, ListContainersOptionsBuilder,
    ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::io::AsyncWrite;
use tokio::sync::OnceCell;
use windlass_model::Time;

pub(crate) use error::EngineError;

mod error;
mod host;

/// What a call to the engine answers.
pub(crate) type Answer<T> = Result<T, EngineError>;

/// How long one call may take, in seconds, until its answer begins.
const TIMEOUT: u64 = 120;
/// The most that is read of one archive: what is staged for a boot and what it has said.
const LARGEST_ARCHIVE: usize = 32 << 20;

/// A connection to an engine, made at the first call.
#[derive(Debug)]
pub(crate) struct Engine {
    host: String,
    client: OnceCell<bollard::Docker>,
    facts: OnceCell<Facts>,
}

/// What an engine is like, as far as containers depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// It runs without root.
    pub(crate) rootless: bool,
    /// It maps users, which a node must not be subject to.
    pub(crate) user_namespaces: bool,
    /// Bind mounts must be relabelled.
    pub(crate) selinux: bool,
    /// Its kernel has control groups of the first version only, which newer kubelets refuse.
    pub(crate) cgroup_v1: bool,
    /// Its storage driver hides devices that the kubelet looks for.
    pub(crate) needs_device_mapper: bool,
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Made and never started.
    Created,
    /// Runs.
    Running,
    /// Frozen.
    Paused,
    /// Between two runs.
    Restarting,
    /// Has run.
    Stopped,
    /// Is being removed.
    Removing,
}

/// A container as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) state: State,
    /// In the engine's words, such as `Exited (137) 2 seconds ago`.
    pub(crate) status: String,
    pub(crate) created: Time,
    /// Address in IPv4 and IPv6 by the name of the network.
    networks: BTreeMap<String, (Option<String>, Option<String>)>,
    /// Port in the container, and where it is published.
    ports: Vec<(u16, String, u16)>,
}

impl Container {
    fn of(summary: ContainerSummary) -> Self {
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let networks = summary.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let ports = summary.ports.unwrap_or_default().into_iter();
        let name = summary.names.unwrap_or_default().into_iter().next().unwrap_or_default();
        Self {
            id: summary.id.unwrap_or_default(),
            name: name.trim_start_matches('/').to_owned(),
            labels: summary.labels.unwrap_or_default().into_iter().collect(),
            state: match summary.state {
                Some(ContainerSummaryStateEnum::CREATED) => State::Created,
                Some(ContainerSummaryStateEnum::RUNNING) => State::Running,
                Some(ContainerSummaryStateEnum::PAUSED) => State::Paused,
                Some(ContainerSummaryStateEnum::RESTARTING) => State::Restarting,
                Some(ContainerSummaryStateEnum::REMOVING) => State::Removing,
                _ => State::Stopped,
            },
            status: summary.status.unwrap_or_default(),
            created: Time::from_secs(summary.created.unwrap_or_default()),
            networks: networks
                .into_iter()
                .map(|(name, at)| (name, (filled(at.ip_address), filled(at.global_ipv6_address))))
                .collect(),
            ports: ports
                .filter_map(|port| Some((port.private_port, port.ip.unwrap_or_default(), port.public_port?)))
                .collect(),
        }
    }

    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// Its addresses on a network: IPv4 first.
    pub(crate) fn addresses(&self, network: &str) -> Vec<&str> {
        let Some((v4, v6)) = self.networks.get(network) else { return vec![] };
        v4.iter().chain(v6).map(String::as_str).collect()
    }

    /// Where the host publishes a port of the container: IPv4 first.
    pub(crate) fn published(&self, port: u16) -> Option<(&str, u16)> {
        let mut at: Vec<_> = self.ports.iter().filter(|(private, ..)| *private == port).collect();
        at.sort_by_key(|(_, host, _)| host.contains(':'));
        at.first().map(|(_, host, public)| (host.as_str(), *public))
    }
}

/// The output and the input of a command in a container.
pub(crate) struct Attached {
    pub(crate) output: Pin<Box<dyn Stream<Item = Answer<Bytes>> + Send>>,
    /// The command sees its end when this is dropped.
    pub(crate) input: Pin<Box<dyn AsyncWrite + Send>>,
}

fn filters<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> HashMap<String, Vec<String>> {
    let mut filters: HashMap<String, Vec<String>> = HashMap::new();
    for (key, value) in pairs {
        filters.entry(key.to_owned()).or_default().push(value);
    }
    filters
}

impl Engine {
    /// An engine at `host`, or where the environment and the command line's settings say.
    pub(crate) fn new(host: Option<String>) -> Self {
        let host = host.unwrap_or_else(host::default);
        Self { host, client: OnceCell::new(), facts: OnceCell::new() }
    }

    /// Where ports of containers are published, for containers of this engine: only on this machine, where
    /// the engine is here.
    pub(crate) fn publish_at(&self) -> &'static str {
        if self.remote_host().is_some() { "0.0.0.0" } else { "127.0.0.1" }
    }

    /// The machine of an engine that is not on this one.
    pub(crate) fn remote_host(&self) -> Option<&str> {
        host::remote(&self.host)
    }

    fn error(&self, error: &bollard::errors::Error) -> EngineError {
        EngineError::of(error, &self.host)
    }

    async fn client(&self) -> Answer<&bollard::Docker> {
        let connect = || async {
            let version = bollard::API_DEFAULT_VERSION;
            let client = match self.host.strip_prefix("unix://") {
                Some(path) => bollard::Docker::connect_with_unix(path, TIMEOUT, version),
                None => bollard::Docker::connect_with_host(&self.host),
            };
            let client = client.map_err(|error| self.error(&error))?;
            client.negotiate_version().await.map_err(|error| self.error(&error))
        };
        self.client.get_or_try_init(connect).await
    }

    /// What the engine is like; asked once.
    pub(crate) async fn facts(&self) -> Answer<&Facts> {
        let ask = || async {
            let info = self.client().await?.info().await.map_err(|error| self.error(&error))?;
            let options = info.security_options.unwrap_or_default();
            let has = |name: &str| options.iter().any(|option| option.contains(name));
            let driver = info.driver.unwrap_or_default();
            Ok(Facts {
                rootless: has("name=rootless"),
                user_namespaces: has("name=userns"),
                selinux: has("name=selinux"),
                cgroup_v1: info.cgroup_version == Some(SystemInfoCgroupVersionEnum::_1),
                needs_device_mapper: matches!(driver.as_str(), "btrfs" | "zfs"),
            })
        };
        self.facts.get_or_try_init(ask).await
    }

    /// All containers with these labels (`name` or `name=value`), running or not, sorted by name.
    pub(crate) async fn containers(&self, labels: &[String]) -> Answer<Vec<Container>> {
        self.list(filters(labels.iter().map(|label| ("label", label.clone())))).await
    }

    /// All containers, running or not, that belong to a network.
    pub(crate) async fn containers_on(&self, network: &str) -> Answer<Vec<Container>> {
        self.list(filters([("network", network.to_owned())])).await
    }

    /// The container of this name, whoever made it.
    pub(crate) async fn container(&self, name: &str) -> Answer<Option<Container>> {
        let found = self.list(filters([("name", format!("^/{}$", regex::escape(name)))])).await?;
        Ok(found.into_iter().find(|container| container.name == name))
    }

    async fn list(&self, filters: HashMap<String, Vec<String>>) -> Answer<Vec<Container>> {
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let found = self.client().await?.list_containers(Some(options)).await;
        let found = found.map_err(|error| self.error(&error))?;
        let mut found: Vec<_> = found.into_iter().map(Container::of).collect();
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// Makes a container and says its id.
    pub(crate) async fn create(&self, name: &str, body: ContainerCreateBody) -> Answer<String> {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let made = self.client().await?.create_container(Some(options), body).await;
        made.map(|made| made.id).map_err(|error| self.error(&error))
    }

    /// Starts a container; one that runs is left alone.
    pub(crate) async fn start(&self, id: &str) -> Answer<()> {
        self.client().await?.start_container(id, None).await.map_err(|error| self.error(&error))
    }

    /// Removes a container with its anonymous volumes, running or not; `Ok` where there is none.
    pub(crate) async fn remove(&self, id: &str) -> Answer<()> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let removed = self.client().await?.remove_container(id, Some(options)).await;
        match removed.map_err(|error| self.error(&error)) {
            // Somebody else's removal is under way.
            Err(EngineError::Conflict(message)) if message.contains("already in progress") => Ok(()),
            Ok(()) | Err(EngineError::Missing(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sends a signal to a container's first process.
    pub(crate) async fn kill(&self, id: &str, signal: &str) -> Answer<()> {
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        self.client().await?.kill_container(id, Some(options)).await.map_err(|error| self.error(&error))
    }

    /// Unpacks a tar archive at the root of a container, which need not run.
    pub(crate) async fn upload(&self, id: &str, archive: Vec<u8>) -> Answer<()> {
        self.upload_stream(id, futures::stream::iter([Bytes::from(archive)])).await
    }

    /// The same for an archive that comes in pieces.
    pub(crate) async fn upload_stream(
        &self,
        id: &str,
        pieces: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Answer<()> {
        let options = UploadToContainerOptionsBuilder::new().path("/").build();
        let client = self.client().await?;
        // Always as a stream: bollard writes whole bodies into its trace log, and these hold secrets.
        let sent = client.upload_to_container(id, Some(options), bollard::body_stream(pieces)).await;
        sent.map_err(|error| self.error(&error))
    }

    /// The files below a path of a container, which need not run, by their names in the archive. A file that is
    /// larger than what is left of the allowance is cut.
    pub(crate) async fn download(&self, id: &str, path: &str) -> Answer<BTreeMap<String, Vec<u8>>> {
        let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
        let mut pieces = Box::pin(self.client().await?.download_from_container(id, Some(options)));
        let mut archive = Vec::new();
        while let Some(piece) = pieces.next().await {
            archive.extend_from_slice(&piece.map_err(|error| self.error(&error))?);
            if archive.len() > LARGEST_ARCHIVE {
                break;
            }
        }
        Ok(unpack(&archive))
    }

    /// Runs a command in a container, attached to both of its ends.
    pub(crate) async fn attach(&self, id: &str, command: &[&str]) -> Answer<Attached> {
        let exec = bollard::exec::CreateExecOptions {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            cmd: Some(command.to_vec()),
            ..Default::default()
        };
        let client = self.client().await?;
        let exec = client.create_exec(id, exec).await.map_err(|error| self.error(&error))?;
        match client.start_exec(&exec.id, None).await.map_err(|error| self.error(&error))? {
            bollard::exec::StartExecResults::Attached { output, input } => {
                let host = self.host.clone();
                let output = output.map_ok(bollard::container::LogOutput::into_bytes);
                let output = output.map_err(move |error| EngineError::of(&error, &host));
                Ok(Attached { output: Box::pin(output), input })
            }
            bollard::exec::StartExecResults::Detached => {
                Err(EngineError::Other("the engine did not attach to a command".to_owned()))
            }
        }
    }

    /// What happens to containers with this label from now on.
    pub(crate) async fn events(
        &self,
        label: &str,
    ) -> Answer<Pin<Box<dyn Stream<Item = Answer<EventMessage>> + Send>>> {
        let pairs = [("type", "container"), ("label", label), ("event", "start"), ("event", "die")];
        let pairs = pairs.into_iter().chain([("event", "destroy")]);
        let filters = filters(pairs.map(|(key, value)| (key, value.to_owned())));
        let options = EventsOptionsBuilder::new().filters(&filters).build();
        let host = self.host.clone();
        let events = self.client().await?.events(Some(options));
        Ok(Box::pin(events.map_err(move |error| EngineError::of(&error, &host))))
    }

    /// The networks of exactly this name, the oldest first. Older engines allow several.
    pub(crate) async fn networks(&self, name: &str) -> Answer<Vec<bollard::models::Network>> {
        let filters = filters([("name", name.to_owned())]);
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let found = self.client().await?.list_networks(Some(options)).await;
        let mut found = found.map_err(|error| self.error(&error))?;
        found.retain(|network| network.name.as_deref() == Some(name));
        found.sort_by(|one, other| (&one.created, &one.id).cmp(&(&other.created, &other.id)));
        Ok(found)
    }

    /// Makes a network and says its id.
    pub(crate) async fn create_network(&self, request: NetworkCreateRequest) -> Answer<String> {
        let made = self.client().await?.create_network(request).await;
        made.map(|made| made.id).map_err(|error| self.error(&error))
    }

    /// Removes a network; `Ok` where there is none.
    pub(crate) async fn remove_network(&self, id: &str) -> Answer<()> {
        match self.client().await?.remove_network(id).await.map_err(|error| self.error(&error)) {
            Ok(()) | Err(EngineError::Missing(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes a container off a network; `Ok` where it is not on it.
    pub(crate) async fn disconnect(&self, network: &str, container: &str) -> Answer<()> {
        let request = NetworkDisconnectRequest { container: container.to_owned(), force: Some(true) };
        let done = self.client().await?.disconnect_network(network, request).await;
        match done.map_err(|error| self.error(&error)) {
            Ok(()) | Err(EngineError::Missing(_)) => Ok(()),
            Err(error) if error.text().contains("is not connected") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the engine has this image.
    pub(crate) async fn has_image(&self, image: &str) -> Answer<bool> {
        match self.client().await?.inspect_image(image).await.map_err(|error| self.error(&error)) {
            Ok(_) => Ok(true),
            Err(EngineError::Missing(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Pulls an image from its registry.
    pub(crate) async fn pull(&self, image: &str) -> Answer<()> {
        let options = CreateImageOptionsBuilder::new().from_image(image).build();
        let mut progress = Box::pin(self.client().await?.create_image(Some(options), None, None));
        while let Some(step) = progress.next().await {
            step.map_err(|error| self.error(&error))?;
        }
        Ok(())
    }

    /// An image as `docker save` writes it.
    pub(crate) async fn export(&self, image: &str) -> Answer<impl Stream<Item = Answer<Bytes>> + use<>> {
        let host = self.host.clone();
        // The stream borrows the client; this one is its own.
        let (client, image) = (self.client().await?.clone(), image.to_owned());
        Ok(async_stream(client, image).map_err(move |error| EngineError::of(&error, &host)))
    }
}

/// [`bollard::Docker::export_image`], owning its client.
fn async_stream(
    client: bollard::Docker,
    image: String,
) -> impl Stream<Item = Result<Bytes, bollard::errors::Error>> {
    let (sender, receiver) = futures::channel::mpsc::channel(4);
    let pump = async move {
        let pieces = client.export_image(&image);
        let _closed = pieces.map(Ok).forward(sender).await;
        None
    };
    futures::stream::select(receiver, futures::stream::once(pump).filter_map(|none| async move { none }))
}

/// The plain files of an archive, as far as they can be read.
fn unpack(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().into_iter().flatten() {
        let Ok(mut entry) = entry else { break };
        let Ok(path) = entry.path().map(|path| path.to_string_lossy().into_owned()) else { continue };
        if entry.header().entry_type().is_file() {
            let mut content = Vec::new();
            // What was read before an error is worth keeping: the archive may have been cut.
            let _cut = entry.read_to_end(&mut content);
            files.insert(path, content);
        }
    }
    files
}
