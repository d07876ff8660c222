//! The boot of machines: what becomes due is done, one machine and one commit at a time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use serde_json::{Value, json};
use windlass_model::{Secret, Time};
use windlass_pki::{Algorithm, Authority, Leaf};
use windlass_provider::Token;
use windlass_runtime::time;

use super::admit::{BootstrapToken, Met, admit, halves};
use super::ledger::Changes;
use super::rows::{Initialized, MachineRow, NodeRef, Serving, ServingPki};
use super::site::{Site, State, elect};
use super::{WorldError, objects};
use crate::boot::{self, Boot, Init, Pki, Refusal, Registration};

/// The static pods of a control plane machine; the first one is etcd's.
pub(super) const COMPONENTS: [&str; 4] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];
/// kubeadm's certificates are valid for a year.
const VALID_FOR: Duration = Duration::from_hours(365 * 24);
/// kubeadm's bootstrap tokens are valid for a day.
const TOKEN_VALID_FOR: Duration = Duration::from_hours(24);

/// What happens to one machine, until it is committed.
struct Passage {
    state: State,
    machine: MachineRow,
    /// Certificates that are new.
    pki: Option<ServingPki>,
    now: Time,
}

impl Site {
    /// Does everything that is due now. The caller holds the site's turn.
    pub(super) async fn advance(&self, now: Time) -> Result<(), WorldError> {
        while let Some(token) = next_ready(&self.state(), now) {
            self.advance_machine(&token, now).await?;
        }
        Ok(())
    }

    async fn advance_machine(&self, token: &Token, now: Time) -> Result<(), WorldError> {
        let state = self.state();
        let Some(machine) = state.machines.get(token) else { return Ok(()) };
        let machine = (**machine).clone();
        let mut passage = Passage { state, machine, pki: None, now };
        if passage.machine.joined.is_none() {
            self.boot(&mut passage).await?;
        }
        start_control_plane(&mut passage).await?;
        self.commit(passage).await
    }

    /// Writes down what happened, and only then lets it be seen.
    async fn commit(&self, passage: Passage) -> Result<(), WorldError> {
        let Passage { mut state, machine, pki, now: _ } = passage;
        let mut changes = Changes::default().machine(&machine)?.cluster(&state.cluster)?;
        let booted = machine.joined.is_some() || machine.refusal.as_ref().is_some_and(|no| !no.may_pass());
        if booted && self.shared.ledger.disk(&machine.token).is_some() {
            changes = changes.wipe(&machine.token);
        }
        if let Some(pki) = pki {
            changes = changes.pki(&state.cluster.uid, &machine.token, &pki)?;
            state.pki.insert(machine.token.clone(), Arc::new(pki));
        }
        self.shared.ledger.write(changes).await?;
        let owner = machine.owner.clone();
        state.machines.insert(machine.token.clone(), Arc::new(machine));
        self.publish(state);
        self.shared.wake(&owner);
        Ok(())
    }

    /// Cloud-init and kubeadm.
    async fn boot(&self, passage: &mut Passage) -> Result<(), WorldError> {
        let disk = self.shared.ledger.disk(&passage.machine.token).unwrap_or_default();
        let read = boot::read(disk.expose(), &passage.machine.name);
        let boot = match read.and_then(|boot| fitting(boot, &passage.machine)) {
            Ok(boot) => boot,
            Err(refusal) => {
                passage.machine.refusal = Some(refusal);
                return Ok(());
            }
        };
        let token = token_of(&passage.state, &boot).await?;
        let met = Met {
            initialized: passage.state.cluster.initialized.as_ref(),
            ca: passage.state.newest_pki().map(|pki| pki.api_server.ca.as_str()),
            open: passage.state.is_open(),
            token,
        };
        if let Err(refusal) = admit(&boot, &passage.machine.token, &met, passage.now) {
            passage.machine.refusal = Some(refusal);
            return Ok(());
        }
        let (registration, control_plane) = match &boot {
            Boot::Init(init) => {
                self.initialize(passage, init).await?;
                (&init.node, true)
            }
            Boot::Join(join) => {
                if let Some(pki) = &join.control_plane {
                    let configuration = kubeadm_config(&passage.state).await?;
                    let made = self.serving_pki(&passage.machine, pki, &configuration, passage.now).await?;
                    passage.pki = Some(made);
                }
                (&join.node, join.control_plane.is_some())
            }
        };
        join(passage, registration, control_plane).await
    }

    /// `kubeadm init`: certificates, the API server, and what kubeadm puts into it.
    async fn initialize(&self, passage: &mut Passage, init: &Init) -> Result<(), WorldError> {
        let Passage { state, machine, pki, now } = passage;
        let version = init.cluster["kubernetesVersion"].as_str().unwrap_or(&machine.version).to_owned();
        *pki = Some(self.serving_pki(machine, &init.pki, &init.cluster, *now).await?);
        let running = match state.running.take() {
            Some(running) => running,
            None => self.start_server(&version).await?,
        };
        let server = init.cluster["controlPlaneEndpoint"].as_str().filter(|endpoint| !endpoint.is_empty());
        let server = server.map_or_else(|| format!("127.0.0.1:{}", state.cluster.port), str::to_owned);
        let server = format!("https://{server}");
        let mut first =
            objects::cluster(&state.cluster, &init.cluster, &version, &init.pki.ca_certificate, &server);
        let expiration = time::format(now.after(TOKEN_VALID_FOR));
        first.extend(init.tokens.iter().map(|token| {
            let (id, secret) = halves(token);
            objects::bootstrap_token(id, secret, &expiration)
        }));
        try_join_all(first.iter().map(|object| running.workload.ensure(object))).await?;
        state.running = Some(running);
        state.cluster.initialized = Some(Initialized {
            by: machine.token.clone(),
            name: machine.name.clone(),
            at: *now,
            version,
            image_repository: init.cluster["imageRepository"].as_str().map(str::to_owned),
            external_etcd: init.external_etcd,
        });
        Ok(())
    }

    /// The certificates of a machine's servers, signed by the CAs that came with its bootstrap data.
    async fn serving_pki(
        &self,
        machine: &MachineRow,
        pki: &Pki,
        configuration: &Value,
        now: Time,
    ) -> Result<ServingPki, WorldError> {
        let keys = self.shared.options.keys.clone();
        let names = serving_names(configuration);
        let (machine, pki) = (machine.owner.clone(), pki.clone());
        let make = {
            let keys = keys.clone();
            move || -> Result<ServingPki, WorldError> {
                let issue = |ca: String, ca_key: &Secret<String>, name: &str, names: &[String]| {
                    let authority = Authority::from_pem(&ca, ca_key.expose())?;
                    let key = keys.generate(Algorithm::EcdsaP256, &format!("{machine}/{name}"))?;
                    let certificate = authority.issue(&key, &Leaf::server(name, names, VALID_FOR), now)?;
                    Ok::<_, WorldError>(Serving { ca, certificate, key: key.to_pkcs8_pem()? })
                };
                let (etcd_ca, etcd_key) = pki.etcd_ca;
                let local = ["localhost".to_owned(), "127.0.0.1".to_owned()];
                Ok(ServingPki {
                    api_server: issue(pki.ca_certificate, &pki.ca_key, "kube-apiserver", &names)?,
                    etcd: etcd_key.map(|key| issue(etcd_ca, &key, "etcd", &local)).transpose()?,
                })
            }
        };
        if keys.is_instant() {
            return make();
        }
        tokio::task::spawn_blocking(make).await.map_err(|_| WorldError::Interrupted)?
    }
}

/// The machine to which something is due, the one that has waited longest first.
fn next_ready(state: &State, now: Time) -> Option<Token> {
    let open = state.is_open();
    let due = |machine: &MachineRow| match (&machine.joined, &machine.refusal) {
        (None, Some(refusal)) => (refusal.may_pass() && open).then(|| machine.node_due()),
        (None, None) => Some(machine.node_due()),
        (Some(_), _) => machine.next_due(now),
    };
    let ready = state.machines.values().filter_map(|machine| Some((due(machine)?, machine)));
    let ready = ready.filter(|(due, _)| *due <= now);
    ready
        .min_by(|one, other| (one.0, &one.1.name).cmp(&(other.0, &other.1.name)))
        .map(|(_, m)| m.token.clone())
}

/// A boot that makes of the machine what it was asked for.
fn fitting(boot: Boot, machine: &MachineRow) -> Result<Boot, Refusal> {
    let makes_control_plane = match &boot {
        Boot::Init(_) => true,
        Boot::Join(join) => join.control_plane.is_some(),
    };
    if makes_control_plane == machine.control_plane {
        return Ok(boot);
    }
    let what = if machine.control_plane {
        "it makes a worker of a control plane machine"
    } else {
        "it makes a control plane machine of a worker"
    };
    Err(Refusal::DataInvalid { what: what.to_owned() })
}

/// The Secret behind the token a machine joins with.
async fn token_of(state: &State, boot: &Boot) -> Result<Option<BootstrapToken>, WorldError> {
    let (Boot::Join(join), Some(running)) = (boot, &state.running) else { return Ok(None) };
    let (id, _) = halves(&join.token);
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(None);
    }
    let path = format!("/api/v1/namespaces/kube-system/secrets/bootstrap-token-{id}");
    Ok(running.workload.get(&path).await?.as_ref().and_then(BootstrapToken::of))
}

/// What `kubeadm init` has noted down for those who join.
async fn kubeadm_config(state: &State) -> Result<Value, WorldError> {
    let Some(running) = &state.running else { return Ok(Value::Null) };
    let map = running.workload.get("/api/v1/namespaces/kube-system/configmaps/kubeadm-config").await?;
    let text = map.as_ref().and_then(|map| map["data"]["ClusterConfiguration"].as_str());
    Ok(text.and_then(|text| serde_saphyr::from_str(text).ok()).unwrap_or_default())
}

/// The kubelet registers its node.
async fn join(
    passage: &mut Passage,
    registration: &Registration,
    control_plane: bool,
) -> Result<(), WorldError> {
    let Passage { state, machine, now, .. } = passage;
    let Some(running) = &state.running else { return Ok(()) };
    let node = objects::node(machine, registration, control_plane, &time::format(*now));
    let made = running.workload.ensure(&node).await?;
    if made["spec"]["providerID"] != node["spec"]["providerID"] {
        machine.refusal = Some(Refusal::NodeNameTaken { node: registration.name.clone() });
        return Ok(());
    }
    if !objects::is_ready(&made) {
        // The node of an earlier machine of this name, which nobody deleted: the kubelet takes it over.
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": made["metadata"], "status": node["status"]});
        running.workload.replace_status(&node).await?;
    }
    machine.node = Some(NodeRef {
        name: registration.name.clone(),
        uid: made["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
    });
    machine.joined = Some(*now);
    machine.refusal = None;
    Ok(())
}

/// The static pods of a control plane machine that are due.
async fn start_control_plane(passage: &mut Passage) -> Result<(), WorldError> {
    let Passage { state, machine, now, .. } = passage;
    let (Some(node), Some(running), true) =
        (machine.node.clone(), state.running.clone(), machine.control_plane)
    else {
        return Ok(());
    };
    let is_due =
        |due: Option<Time>, since: Option<Time>| since.is_none() && due.is_some_and(|due| due <= *now);
    let etcd = is_due(machine.etcd_due(), machine.etcd);
    let api_server = is_due(machine.api_server_due(), machine.api_server);
    let initialized = state.cluster.initialized.as_ref();
    let external_etcd = initialized.is_some_and(|initialized| initialized.external_etcd);
    let mut components = vec![];
    if etcd && !external_etcd {
        components.push(COMPONENTS[0]);
    }
    if api_server {
        components.extend(&COMPONENTS[1..]);
    }
    let repository = initialized.and_then(|initialized| initialized.image_repository.as_deref());
    let repository = repository.unwrap_or("registry.k8s.io");
    let pods: Vec<_> = components
        .into_iter()
        .map(|component| {
            let tag = if component == COMPONENTS[0] { "3.6.5-0" } else { &machine.version };
            let image = objects::image(repository, component, tag);
            objects::static_pod(component, machine, &node, &image, &time::format(*now))
        })
        .collect();
    try_join_all(pods.iter().map(|pod| running.workload.ensure_running(pod))).await?;
    if etcd {
        machine.etcd = Some(*now);
        state.machines.insert(machine.token.clone(), Arc::new(machine.clone()));
        if !external_etcd {
            state.cluster.etcd.add(&machine.token, &node.name, &machine.address);
            elect(state);
        }
    }
    if api_server {
        machine.api_server = Some(*now);
    }
    Ok(())
}

/// The first address of a subnet: the API server's own service has it.
fn first_address(subnet: &str) -> Option<String> {
    let (network, _) = subnet.split_once('/')?;
    Some(match network.parse().ok()? {
        IpAddr::V4(network) => Ipv4Addr::from(u32::from(network).checked_add(1)?).to_string(),
        IpAddr::V6(network) => Ipv6Addr::from(u128::from(network).checked_add(1)?).to_string(),
    })
}

/// The names by which an API server is called (kubeadm: certificates, `apiServer.certSANs`).
fn serving_names(configuration: &Value) -> Vec<String> {
    let dns = configuration["networking"]["dnsDomain"].as_str().unwrap_or("cluster.local");
    let extra = configuration["apiServer"]["certSANs"].as_array().into_iter().flatten();
    let endpoint = configuration["controlPlaneEndpoint"].as_str().unwrap_or_default();
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host).trim_matches(['[', ']']);
    let services = configuration["networking"]["serviceSubnet"].as_str().unwrap_or("10.96.0.0/12");
    let mut names: Vec<String> = ["127.0.0.1", "localhost", "kubernetes", "kubernetes.default"]
        .into_iter()
        .map(str::to_owned)
        .chain(services.split(',').filter_map(first_address))
        .chain([
            "kubernetes.default.svc".to_owned(),
            format!("kubernetes.default.svc.{dns}"),
            host.to_owned(),
        ])
        .chain(extra.filter_map(Value::as_str).map(str::to_owned))
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_server_is_called_by_what_kubeadm_says() {
        let configuration = json!({
            "controlPlaneEndpoint": "prod.example.com:6443",
            "apiServer": {"certSANs": ["10.1.2.3"]},
            "networking": {"serviceSubnet": "10.96.0.0/12,fd00::/108", "dnsDomain": "example.local"},
        });
        let expected = [
            "10.1.2.3",
            "10.96.0.1",
            "127.0.0.1",
            "fd00::1",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.example.local",
            "localhost",
            "prod.example.com",
        ];
        assert_eq!(serving_names(&configuration), expected);
    }
}
