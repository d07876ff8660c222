//! The controllers and providers, put together over any management API.
//!
//! Everything they touch is a part that comes from outside: the client, the clock, the keys, and what they
//! reach beyond the management API ([`Seams`]). That is what lets a whole plane run in a simulation.

use std::sync::Arc;

use kube::Client;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use windlass_controllers::Patience;
use windlass_controllers::cluster::Clusters;
use windlass_controllers::infrastructure::{
    ClusterController, DevClusters, DevMachineTemplates, DevMachines, MachineController, Registry,
    TemplateController,
};
use windlass_controllers::machine::Machines as MachineObjects;
use windlass_controllers::machine_deployment::MachineDeployments;
use windlass_controllers::machine_set::MachineSets;
use windlass_kubeadm_bootstrap::KubeadmConfigs;
use windlass_kubeadm_control_plane::KubeadmControlPlanes;
use windlass_memory::{InProcess, World};
use windlass_model::Key;
use windlass_pki::{KeySource, SystemKeys};
use windlass_runtime::{Clock, Metrics, Progress, Runtime, RuntimeOptions, Tasks};
use windlass_workload::{Connector, Dial, EtcdConnector, PortForward, Workloads};

#[cfg(feature = "docker")]
use crate::backends::Calls;
use crate::backends::{Backend, DockerSettings};

/// What the controllers are made of.
pub struct Parts {
    /// The management API.
    pub client: Client,
    /// Tells the time.
    pub clock: Clock,
    /// Where everything runs; it ends with them.
    pub tasks: Tasks,
    /// The metrics of the process.
    pub metrics: Metrics,
    /// Makes keys and tokens.
    pub keys: Arc<dyn KeySource>,
    /// How the loop behaves.
    pub options: RuntimeOptions,
    /// What lies beyond the management API.
    pub seams: Seams,
}

/// Stands between the controllers and etcd: a simulation lets calls fail here. Else it gives back what it gets.
pub type EtcdGate = Box<dyn FnOnce(Arc<dyn EtcdConnector>) -> Arc<dyn EtcdConnector> + Send>;

/// The three places, beside the management API, where effects leave the process.
pub struct Seams {
    /// Reaches workload clusters.
    pub connector: Arc<dyn Connector>,
    /// Put before the way to their etcd.
    pub etcd: EtcdGate,
    /// Where machines come from. Their names differ.
    pub backends: Vec<Backend>,
}

impl Seams {
    /// The simulated cloud; clusters that are not of it are dialled.
    pub fn of(world: &World) -> Self {
        Self {
            connector: Arc::new(InProcess::new(world.clone()).or(Arc::new(Dial))),
            etcd: Box::new(|etcd| etcd),
            backends: vec![Backend::memory(world)],
        }
    }

    /// Everything that this build has: the simulated cloud, and containers if it was built with them.
    #[cfg_attr(not(feature = "docker"), expect(unused_variables, reason = "only containers need them"))]
    pub fn all(
        world: &World,
        docker: &DockerSettings,
        clock: &Clock,
        tasks: &Tasks,
        metrics: &Metrics,
    ) -> Self {
        #[cfg(feature = "docker")]
        {
            let docker = docker.provider(clock.clone(), tasks.spawner());
            let containers = Backend::docker(&docker, clock, &Calls::new(metrics));
            let published = windlass_docker::Published::new(docker, Arc::new(Dial));
            Self {
                connector: Arc::new(InProcess::new(world.clone()).or(Arc::new(published))),
                etcd: Box::new(|etcd| etcd),
                backends: vec![Backend::memory(world), containers],
            }
        }
        #[cfg(not(feature = "docker"))]
        Self::of(world)
    }
}

/// The controllers at work.
#[derive(Debug)]
pub struct Assembly {
    runtime: Runtime,
    workloads: Workloads,
}

impl Assembly {
    /// The loop.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The connections to workload clusters.
    pub fn workloads(&self) -> &Workloads {
        &self.workloads
    }

    /// Stops the controllers in order.
    pub async fn shutdown(self) {
        self.runtime.shutdown().await;
    }
}

/// What else the leader does; called at the beginning of each of its terms.
pub type Leading = Box<dyn Fn(&Tasks) + Send + Sync>;

/// Starts every controller.
pub fn start(parts: Parts) -> Assembly {
    start_leading(parts, Box::new(|_| ()))
}

/// Starts every controller, and `leading` whenever this process leads.
pub fn start_leading(parts: Parts, leading: Leading) -> Assembly {
    let Parts { client, clock, tasks, metrics, keys, options, seams } = parts;
    let Seams { connector, etcd, backends } = seams;
    let workloads = Workloads::new(client.clone(), connector, clock.clone(), tasks.child(), &metrics);
    let etcd = etcd(Arc::new(PortForward::new(Arc::new(workloads.clone()), clock.clone(), tasks.spawner())));
    let (mut machines, mut clusters) = (Registry::default(), Registry::default());
    let (mut news, mut cluster_news) = (Vec::new(), Vec::new());
    for backend in backends {
        machines = machines.with(backend.name, backend.machines);
        clusters = clusters.with(backend.name, backend.clusters);
        news.push((backend.name, backend.news));
        cluster_news.extend(backend.cluster_news);
    }
    let news = merged(news, &tasks);
    let runtime = Runtime::builder(client, clock, tasks)
        .options(options)
        .metrics(metrics)
        .add(Clusters::new(workloads.clone(), Patience::default()))
        .add(MachineDeployments::new(Patience::default()))
        .add(MachineSets::new(Patience::default()))
        .add(MachineObjects::new(workloads.clone(), Patience::default()))
        .add(KubeadmControlPlanes::new(keys.clone(), workloads.clone(), etcd))
        .add(KubeadmConfigs::new(keys, workloads.clone()))
        .add(ClusterController::<DevClusters>::new(clusters).news(cluster_news))
        .add(TemplateController::<DevMachineTemplates>::new(machines.clone()))
        .add(MachineController::<DevMachines>::new(machines, news))
        .while_leading(leading)
        .start();
    let settled = Settled { progress: runtime.progress().clone(), workloads: workloads.clone() };
    runtime.metrics().register(|registry| registry.register_collector(Box::new(settled)));
    Assembly { runtime, workloads }
}

/// The news of all backends as one. Those of a single one go through nobody else's hands.
fn merged(mut news: Vec<(&str, UnboundedReceiver<Key>)>, tasks: &Tasks) -> Option<UnboundedReceiver<Key>> {
    if news.len() <= 1 {
        return news.pop().map(|(_, news)| news);
    }
    let (all, receiver) = unbounded_channel();
    for (name, mut news) in news {
        let all = all.clone();
        tasks.spawn(format!("news of {name}"), async move {
            while let Some(key) = news.recv().await {
                if all.send(key).is_err() {
                    return;
                }
            }
        });
    }
    Some(receiver)
}

/// Whether the manager has nothing to do and reaches every cluster it wants to reach.
#[derive(Debug)]
struct Settled {
    progress: Progress,
    workloads: Workloads,
}

impl Collector for Settled {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let settled = ConstGauge::new(i64::from(self.progress.settled() && self.workloads.all_connected()));
        let what = "1 when nothing is due and every workload cluster is connected";
        settled.encode(encoder.encode_descriptor("windlass_settled", what, None, settled.metric_type())?)
    }
}

/// Reports what key generation costs, apart from everything else.
pub fn count_keys(metrics: &Metrics, keys: &Arc<SystemKeys>) {
    let collector = Keys(keys.clone());
    metrics.register(|registry| registry.register_collector(Box::new(collector)));
}

#[derive(Debug)]
struct Keys(Arc<SystemKeys>);

impl Collector for Keys {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let made = ConstCounter::new(self.0.made());
        made.encode(encoder.encode_descriptor(
            "windlass_keys_generated",
            "Private keys generated",
            None,
            made.metric_type(),
        )?)?;
        let seconds = ConstCounter::new(self.0.cpu_time().as_secs_f64());
        let what = "Thread CPU time inside the key generator";
        seconds.encode(encoder.encode_descriptor(
            "windlass_key_generation_cpu_seconds",
            what,
            None,
            seconds.metric_type(),
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn news_of_all_backends_arrive() {
        let tasks = Tasks::new();
        let (senders, news): (Vec<_>, Vec<_>) = (0..3).map(|_| unbounded_channel()).unzip();
        let mut all = merged(news.into_iter().map(|news| ("x", news)).collect(), &tasks).unwrap();
        for (at, sender) in senders.iter().enumerate() {
            sender.send(Key::new("default", at.to_string())).unwrap();
            assert_eq!(all.recv().await.map(|key| key.name), Some(at.to_string()));
        }
        drop(senders);
        assert_eq!(all.recv().await, None, "it ends with the last of them");
        assert!(merged(vec![], &tasks).is_none());
        tasks.shutdown().await;
    }
}
