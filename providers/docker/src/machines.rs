//! Machines that are containers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use windlass_api::infrastructure::{DockerMachineBackend, parse_duration};
use windlass_model::{Condition, Key, Status, Time, Version};
use windlass_provider::bootstrap::{self, KubeadmTweaks, Metadata};
use windlass_provider::{
    Address, AddressKind, Error, Instance, InstanceState, MachineRequest, Machines, Result, Token,
};

use crate::bootstrap::Staging;
use crate::container::{self, Node, Privileges};
use crate::engine::{Answer, Container, EngineError, Facts, State};
use crate::names::{self, Role};
use crate::progress::{self, Boot};
use crate::shared::{Made, Making, Shared, Waiting};
use crate::{Docker, image, preload};

/// Says whether the container runs.
const PROVISIONED: &str = "ContainerProvisioned";
/// How long a boot may take, where the object does not say.
const BOOT: Duration = Duration::from_mins(5);
/// How long a machine gets no new connections before it is killed, where others can take them.
const DRAIN: Duration = Duration::from_secs(2);
/// The field that names a machine's image.
const IMAGE_FIELD: &str = "spec.backend.docker.customImage";
/// kubeadm's check that a sysctl of bridges is set: it is the host's.
const BRIDGE_CHECK: &str = "FileContent--proc-sys-net-bridge-bridge-nf-call-iptables";
/// Since which version a kubelet can be told to take control groups of version 1, which it refuses later.
const CGROUP_V1_REFUSED: (u64, u64) = (1, 31);
/// What stands under [`names::PRIVILEGES`].
const LISTED: &str = "listed";

#[async_trait]
impl Machines for Docker {
    async fn create(&self, token: &Token, request: &MachineRequest) -> Result<Instance> {
        let shared = &self.0;
        shared.watch();
        shared.balancers.weigh(token, &request.annotations);
        let name = names::machine(&request.cluster.name, &request.name);
        let found = shared.look(token, &format!("look up the container {name}")).await?;
        match found {
            Some(found) if found.state != State::Created => return shared.instance(token, &found).await,
            Some(never_started) => shared.discard(&never_started.id).await,
            None => {}
        }
        shared.create_machine(token, &name, request).await
    }

    async fn find(&self, token: &Token) -> Result<Option<Instance>> {
        let shared = &self.0;
        shared.watch();
        if let Some(waiting) = shared.waiting.lock().get(token).cloned() {
            return Ok(Some(pulling(&waiting)));
        }
        let found = shared.look(token, "look up the machine's container").await?;
        match found {
            // One that was never started counts here, so that it goes with its object, but not for `follow`: there it
            // is as good as not made.
            Some(found) => shared.instance(token, &found).await.map(Some),
            None => Ok(None),
        }
    }

    async fn follow(
        &self,
        token: &Token,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Option<Instance>> {
        let shared = &self.0;
        shared.watch();
        if let Some(waiting) = shared.waiting.lock().get(token).cloned() {
            return Ok(Some(pulling(&waiting)));
        }
        let changed = shared.balancers.weigh(token, annotations);
        let found = shared.look(token, "look up the machine's container").await?;
        let Some(found) = found.filter(|found| found.state != State::Created) else { return Ok(None) };
        if Role::of(&found) == Some(Role::ControlPlane) {
            let cluster = found.label(names::CLUSTER_UID);
            if changed {
                shared.balancers.mark(cluster);
            }
            shared.balance_if_stale(cluster).await?;
        }
        shared.instance(token, &found).await.map(Some)
    }

    async fn delete(&self, token: &Token) -> Result<()> {
        let shared = &self.0;
        shared.waiting.lock().remove(token);
        shared.balancers.unweigh(token);
        let Some(found) = shared.look(token, "look up the machine's container").await? else {
            shared.drained.lock().remove(token);
            return Ok(());
        };
        let control_plane = Role::of(&found) == Some(Role::ControlPlane);
        let uid = found.label(names::CLUSTER_UID).to_owned();
        if control_plane && found.state == State::Running && shared.drain(token, &uid).await? {
            return Ok(());
        }
        let what = format!("remove the container {}", found.name);
        shared.engine.remove(&found.id).await.map_err(|error| error.during(&what))?;
        shared.boots.lock().remove(&found.id);
        if control_plane {
            // It is gone whatever becomes of this: the next look at the cluster makes up for it.
            shared.balancers.mark(&uid);
            let balanced = shared.balance_if_stale(&uid).await;
            shared.drained.lock().remove(token);
            balanced?;
        }
        Ok(())
    }

    fn provider_id(&self, _token: &Token, request: &MachineRequest) -> Option<String> {
        Some(names::provider_id(&names::machine(&request.cluster.name, &request.name)))
    }

    fn stages(&self, _control_plane: bool) -> &'static [&'static str] {
        &[PROVISIONED, progress::STAGE]
    }
}

/// A machine whose image is being pulled.
fn pulling(waiting: &Waiting) -> Instance {
    let message = format!("pulling the image {}", waiting.image);
    let first = Condition::new(PROVISIONED, Status::False, "WaitingForImage").because(message);
    Instance {
        provider_id: waiting.provider_id.clone(),
        state: InstanceState::Pending,
        addresses: vec![],
        failure_domain: None,
        conditions: vec![first, Condition::new(progress::STAGE, Status::False, "WaitingForContainer")],
        next_change: None,
    }
}

/// What a request asks for, checked.
struct Wanted {
    image: String,
    role: Role,
    spec: DockerMachineBackend,
    staging: Staging,
}

impl Wanted {
    fn of(name: &str, token: &Token, request: &MachineRequest, facts: &Facts) -> Result<Self> {
        let refuse = |what: String| Error::rejected(format!("cannot create the container {name}: {what}"));
        let spec: DockerMachineBackend = serde_json::from_value(request.spec.clone())
            .map_err(|error| refuse(format!("spec.backend.docker is not understood: {error}; correct it")))?;
        if let Some(fault) = container::unfit(&spec.extra_mounts) {
            return Err(refuse(fault));
        }
        let image = image::node(spec.custom_image.as_deref(), &request.version);
        let image =
            image.ok_or_else(|| refuse(format!("no image; set {IMAGE_FIELD} or the Machine's version")))?;
        let timeout = match spec.bootstrap_timeout.as_deref() {
            None | Some("") => BOOT,
            Some(text) => parse_duration(text).ok_or_else(|| {
                refuse(format!(
                    "spec.backend.docker.bootstrapTimeout is `{text}`; write a duration such as 5m"
                ))
            })?,
        };
        let metadata = Metadata {
            hostname: name.to_owned(),
            instance_id: token.to_string(),
            cloud_name: "docker".to_owned(),
            availability_zone: request.failure_domain.clone(),
            ..Metadata::default()
        };
        let wrong = |error| {
            refuse(format!(
                "the bootstrap data cannot be run: {error}; correct the bootstrap configuration and delete the Machine"
            ))
        };
        let data = request.bootstrap_data.expose();
        let mut boot = bootstrap::parse(&request.bootstrap_format, data, &metadata).map_err(wrong)?;
        bootstrap::edit_kubeadm(&mut boot, &tweaks(name, &request.version, facts)).map_err(wrong)?;
        let role = if request.control_plane { Role::ControlPlane } else { Role::Worker };
        let staging = Staging::new(&boot, &spec.pre_load_images, timeout);
        Ok(Self { image, role, spec, staging })
    }
}

/// What kubeadm and the kubelet must be told in a container: what upstream's Docker provider tells them.
fn tweaks(name: &str, version: &str, facts: &Facts) -> KubeadmTweaks {
    let version = version.parse::<Version>();
    let checks = ["SystemVerification", "Swap", "NumCPU", "Mem", BRIDGE_CHECK];
    let mut kubelet = vec![
        // The disk is the host's, and so are its garbage and its shortage.
        ("image-gc-high-threshold", "100"),
        ("eviction-hard", "nodefs.available<0%,nodefs.inodesFree<0%,imagefs.available<0%"),
        ("fail-swap-on", "false"),
    ];
    if facts.cgroup_v1 && version.is_ok_and(|version| (version.major, version.minor) >= CGROUP_V1_REFUSED) {
        kubelet.push(("fail-cgroupv1", "false"));
    }
    let provider_id = ("provider-id".to_owned(), names::provider_id(name));
    KubeadmTweaks {
        ignore_preflight_errors: checks.map(str::to_owned).to_vec(),
        cri_socket: Some("unix:///var/run/containerd/containerd.sock".to_owned()),
        kubelet_args: kubelet
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .chain([provider_id])
            .collect(),
        // The sysctl is the host's, and read-only in the container.
        components: vec![serde_json::json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "conntrack": { "maxPerCore": 0 },
        })],
    }
}

impl Shared {
    async fn create_machine(
        self: &Arc<Self>,
        token: &Token,
        name: &str,
        request: &MachineRequest,
    ) -> Result<Instance> {
        let facts = self.engine.facts().await;
        let facts = facts.map_err(|error| error.during(&format!("create the container {name}")))?;
        let wanted = Wanted::of(name, token, request, facts)?;
        let key = Key::new(request.cluster.namespace.clone(), request.name.clone());
        let pending = |image: &str| Waiting {
            image: image.to_owned(),
            key: Some(key.clone()),
            provider_id: names::provider_id(name),
        };
        for image in &wanted.spec.pre_load_images {
            let has = self.engine.has_image(image).await;
            let has = has.map_err(|error| error.during(&format!("look up the image {image}")))?;
            if !has && !self.pull(image, "spec.backend.docker.preLoadImages").await? {
                return Ok(self.wait_for(token, pending(image)));
            }
        }
        if !self.run_node(token, name, request, &wanted).await? {
            return Ok(self.wait_for(token, pending(&wanted.image)));
        }
        if wanted.role == Role::ControlPlane {
            self.balancers.mark(&request.cluster_uid.0);
            // The machine runs; the next pass makes up for a load balancer that could not be told.
            self.balance_if_stale(&request.cluster_uid.0).await?;
        }
        let found = self.look(token, &format!("look up the container {name}")).await?;
        let Some(found) = found else {
            return Err(Error::transient(format!("the container {name} vanished as soon as it was started")));
        };
        self.booting(&found.id, Some(key), wanted.staging.plan.clone(), found.created);
        self.instance(token, &found).await
    }

    fn wait_for(&self, token: &Token, waiting: Waiting) -> Instance {
        let instance = pulling(&waiting);
        self.waiting.lock().insert(token.clone(), waiting);
        instance
    }

    /// Makes and starts a node; `false` where its image is being pulled.
    async fn run_node(
        self: &Arc<Self>,
        token: &Token,
        name: &str,
        request: &MachineRequest,
        wanted: &Wanted,
    ) -> Result<bool> {
        let what = format!("create the container {name}");
        let failed = |error: EngineError| error.during(&what);
        let network = self.networks.ensure(&self.engine).await.map_err(failed)?;
        let facts = self.engine.facts().await.map_err(failed)?;
        let environment = container::proxies(&self.options.environment, &network.subnets);
        let archive = wanted.staging.archive().map_err(|error| {
            Error::rejected(format!("cannot {what}: its bootstrap data cannot be packed: {error}"))
        })?;
        loop {
            let privileges = self.privileges().await.map_err(failed)?;
            let node = Node {
                name,
                image: &wanted.image,
                role: wanted.role,
                labels: labels(token, request, wanted.role, privileges),
                mounts: &wanted.spec.extra_mounts,
                environment: &environment,
                network: &network.id,
                ipv6: network.ipv6,
                publish_at: self.engine.publish_at(),
            };
            let body = container::node(&node, facts, privileges);
            let Made::There(id) = self.make(Making { name, token, body }, IMAGE_FIELD).await? else {
                return Ok(false);
            };
            match self.fill_and_start(&id, &archive, wanted).await {
                Ok(()) => return Ok(true),
                Err(EngineError::Privileges(why)) if privileges == Privileges::All => {
                    self.discard(&id).await;
                    tracing::warn!(
                        why,
                        "the engine refuses privileged containers: nodes get a list of capabilities"
                    );
                    *self.privileges.lock() = Some(Privileges::Listed);
                }
                Err(error) => {
                    self.discard(&id).await;
                    if error.is_missing_network() {
                        self.networks.forget().await;
                        return Err(Error::transient(format!("cannot {what}: {error}; it is made again")));
                    }
                    return Err(error.during(&what));
                }
            }
        }
    }

    async fn fill_and_start(&self, id: &str, archive: &[u8], wanted: &Wanted) -> Answer<()> {
        self.engine.upload(id, archive.to_vec()).await?;
        for (index, image) in wanted.spec.pre_load_images.iter().enumerate() {
            preload::upload(&self.engine, id, image, index).await?;
        }
        self.engine.start(id).await
    }

    /// What the engine grants: what it granted before, or all until it refuses.
    async fn privileges(&self) -> Answer<Privileges> {
        if let Some(known) = *self.privileges.lock() {
            return Ok(known);
        }
        let refused = self.engine.containers(&[names::is(names::PRIVILEGES, LISTED)]).await?;
        let known = if refused.is_empty() { Privileges::All } else { Privileges::Listed };
        *self.privileges.lock() = Some(known);
        Ok(known)
    }

    /// Takes a machine out of the load balancer for a moment; `false` where that is over or nobody could take
    /// its connections.
    async fn drain(&self, token: &Token, cluster: &str) -> Result<bool> {
        let now = self.now();
        if let Some(since) = self.drained.lock().get(token) {
            return Ok(now.since(*since) < DRAIN);
        }
        let filters =
            [names::is(names::CLUSTER_UID, cluster), names::is(names::ROLE, Role::ControlPlane.as_str())];
        let others = self
            .engine
            .containers(&filters)
            .await
            .map_err(|error| error.during("look up the cluster's control plane"))?;
        let stays = |it: &Container| it.state == State::Running && it.label(names::TOKEN) != token.as_str();
        if !others.iter().any(stays) {
            return Ok(false);
        }
        self.drained.lock().insert(token.clone(), now);
        self.balancers.mark(cluster);
        if let Err(error) = self.balance(cluster).await {
            self.drained.lock().remove(token);
            return Err(error);
        }
        Ok(true)
    }

    /// What a container is as a machine.
    async fn instance(self: &Arc<Self>, token: &Token, container: &Container) -> Result<Instance> {
        let now = self.now();
        let drained = self.drained.lock().get(token).copied();
        let leaves = drained.is_some() || container.state == State::Removing;
        let boot = if leaves {
            None
        } else {
            self.boot(container)
                .await
                .map_err(|error| error.during(&format!("read how far the boot of {} is", container.name)))?
        };
        Ok(describe(container, boot.as_ref(), drained.filter(|_| leaves), now, self.networks.name()))
    }
}

fn labels(
    token: &Token,
    request: &MachineRequest,
    role: Role,
    privileges: Privileges,
) -> BTreeMap<String, String> {
    let mut labels = names::labels(token, &request.cluster, &request.cluster_uid.0, role);
    let mut add = |name: &str, value: &str| labels.insert(name.to_owned(), value.to_owned());
    add(names::MACHINE, &request.name);
    if let Some(domain) = &request.failure_domain {
        add(names::FAILURE_DOMAIN, domain);
    }
    if let Some(weight) = request.annotations.get(names::WEIGHT) {
        add(names::FIRST_WEIGHT, weight);
    }
    if privileges == Privileges::Listed {
        add(names::PRIVILEGES, LISTED);
    }
    labels
}

/// A machine from its container and its boot.
fn describe(
    container: &Container,
    boot: Option<&Boot>,
    drained: Option<Time>,
    now: Time,
    network: &str,
) -> Instance {
    let running = container.state == State::Running;
    let state = match container.state {
        _ if drained.is_some() => InstanceState::Deleting,
        State::Running | State::Paused => InstanceState::Running,
        State::Created | State::Restarting | State::Stopped => InstanceState::Pending,
        State::Removing => InstanceState::Deleting,
    };
    let bootstrap = match boot {
        Some(boot) => boot.condition(&container.name, running, now),
        None if state == InstanceState::Deleting => {
            Condition::new(progress::STAGE, Status::False, "Deleting")
        }
        None => Condition::new(progress::STAGE, Status::Unknown, "BootstrapUnknown").because(format!(
            "the container {} has nothing that says how its boot went; delete the Machine to replace it",
            container.name
        )),
    };
    let deadline = boot.filter(|boot| !boot.progress.is_final()).map(Boot::deadline);
    let next_change = match drained {
        Some(since) => Some(since.after(DRAIN).until(now).max(Duration::from_millis(100))),
        None if state == InstanceState::Deleting => Some(Duration::from_secs(1)),
        None => deadline.map(|deadline| deadline.until(now)).filter(|left| !left.is_zero()),
    };
    let domain = container.label(names::FAILURE_DOMAIN);
    Instance {
        provider_id: names::provider_id(&container.name),
        state,
        addresses: addresses(container, network),
        failure_domain: (!domain.is_empty()).then(|| domain.to_owned()),
        conditions: vec![provisioned(container, drained.is_some()), bootstrap],
        next_change,
    }
}

fn addresses(container: &Container, network: &str) -> Vec<Address> {
    let address = |kind, address: &str| Address { kind, address: address.to_owned() };
    let mut all = vec![address(AddressKind::Hostname, &container.name)];
    for one in container.addresses(network) {
        all.push(address(AddressKind::InternalIP, one));
        all.push(address(AddressKind::ExternalIP, one));
    }
    all
}

fn provisioned(container: &Container, leaves: bool) -> Condition {
    let no = |reason: &'static str| Condition::new(PROVISIONED, Status::False, reason);
    let name = &container.name;
    match container.state {
        _ if leaves => no("Deleting"),
        State::Running if container.label(names::PRIVILEGES) == LISTED => {
            Condition::new(PROVISIONED, Status::True, "Provisioned").because(
                "the engine refuses privileged containers; this one has the capabilities that nodes need",
            )
        }
        State::Running => Condition::new(PROVISIONED, Status::True, "Provisioned"),
        State::Created => no("NotStarted"),
        State::Paused => no("ContainerPaused")
            .because(format!("the container {name} is paused; `docker unpause {name}` lets it go on")),
        State::Restarting => no("ContainerRestarting")
            .because(format!("the container {name} restarts; `docker logs {name}` may say why")),
        State::Stopped => no("ContainerStopped").because(format!(
            "the container {name} does not run ({}); `docker start {name}` starts it again, deleting the Machine \
             replaces it",
            // Without how long ago: that would change all the time.
            container.status.split(" ago").next().unwrap_or_default().split(") ").next().unwrap_or_default()
        )),
        State::Removing => no("Deleting"),
    }
}
