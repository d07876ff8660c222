//! The manager, with every seam behind the gate.

use std::sync::Arc;

use kube::Client;
use windlass_manager::assembly::{self, Assembly, Seams};
use windlass_manager::backends::Backend;
use windlass_memory::World;
use windlass_pki::FixtureKeys;
use windlass_provider::Machines;
use windlass_runtime::{Clock, Metrics, RuntimeOptions, Tasks};

use crate::defect::{Defect, Forgetful};
use crate::etcd::Members;
use crate::gate::Gate;
use crate::http::{self, Connections};
use crate::provider::Gated;

/// What the manager is started over.
pub struct Parts {
    /// The management API, not gated yet.
    pub client: Client,
    /// Tells the time.
    pub clock: Clock,
    /// The cloud.
    pub world: World,
    /// How the loop behaves.
    pub options: RuntimeOptions,
    /// Which life this is.
    pub life: u32,
}

/// Starts the manager.
pub fn start(parts: Parts, tasks: &Tasks, gate: &Gate, defect: Option<Defect>) -> Assembly {
    let Parts { client, clock, world, options, life } = parts;
    let Seams { connector, etcd: _, backends } = Seams::of(&world);
    let gated = |backend: Backend| {
        let machines: Arc<dyn Machines> = match defect {
            Some(Defect::NoToken) => Arc::new(Forgetful::new(backend.machines, life)),
            Some(Defect::EarlyFinalizer | Defect::StaleCache | Defect::LateNews) | None => backend.machines,
        };
        Backend {
            machines: Arc::new(Gated::new(machines, gate.clone())),
            clusters: Arc::new(Gated::new(backend.clusters, gate.clone())),
            ..backend
        }
    };
    let before_etcd = gate.clone();
    let seams = Seams {
        connector: Arc::new(Connections::new(connector, gate.clone())),
        etcd: Box::new(|etcd| Arc::new(Members::new(etcd, before_etcd))),
        backends: backends.into_iter().map(gated).collect(),
    };
    assembly::start(assembly::Parts {
        client: http::client(client, gate.clone(), "management", defect),
        clock,
        tasks: tasks.child(),
        metrics: Metrics::new(),
        keys: Arc::new(FixtureKeys),
        options,
        seams,
    })
}
