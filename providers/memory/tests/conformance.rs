//! The memory provider against the rules of the provider traits.

#![expect(clippy::unwrap_used, reason = "the bench stands outside of test functions")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::{Fixture, Place};
use serde_json::{Value, json};
use windlass_memory::LedgerLine;
use windlass_model::{Key, Uid};
use windlass_provider::conformance::{self, ClusterBench, Harness, MachineBench, Sort, Trouble, Unsupported};
use windlass_provider::{ClusterInfrastructure, ClusterRequest, ErrorKind, MachineRequest, Machines, Token};

struct Bench {
    place: Place,
    cluster: Fixture,
}

/// The cluster of the same name in another namespace.
fn elsewhere(fixture: &Fixture) -> ClusterRequest {
    let cluster = Key::new("elsewhere", fixture.key.name.as_str());
    ClusterRequest { cluster, cluster_uid: Uid::from("elsewhere"), ..fixture.request() }
}

fn elsewhere_token() -> Token {
    Token::of(&Uid::from("infra-elsewhere"))
}

/// What exists according to the world's ledger.
fn living(history: Vec<LedgerLine>) -> Vec<String> {
    let living = history.into_iter().filter(|line| line.deleted.is_none());
    living.map(|line| line.token.to_string()).collect()
}

#[async_trait]
impl Harness for Bench {
    async fn rest(&self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    async fn afflict(&self, _: Trouble) -> Result<(), Unsupported> {
        Err(Unsupported::because("the provider and its world are one process: nothing is between them"))
    }

    async fn relieve(&self) -> bool {
        false
    }

    async fn occupy(&self, _: Sort, _: &str) -> Result<(), Unsupported> {
        Err(Unsupported::because("machines and clusters of the world are known by their tokens only"))
    }

    async fn occupied(&self, _: Sort, _: &str) -> bool {
        false
    }

    async fn vacate(&self, _: Sort, _: &str) {}

    fn remembers(&self) -> bool {
        true
    }

    async fn leftovers(&self) -> Vec<String> {
        let base = [self.cluster.token().to_string(), elsewhere_token().to_string()];
        let clusters = living(self.place.world.cluster_history().unwrap()).into_iter();
        let clusters = clusters.filter(|token| !base.contains(token));
        clusters.chain(living(self.place.world.machine_history().unwrap())).collect()
    }
}

#[async_trait]
impl MachineBench for Bench {
    async fn machines(&self) -> Arc<dyn Machines> {
        self.place.machines()
    }

    fn machine(&self, name: &str) -> MachineRequest {
        let spec = json!({"vm": {"provisioning": {"startupDuration": "3s"}}});
        self.cluster.machine(name, false, Fixture::join("a.b", "sha256:00"), &spec)
    }

    async fn machine_elsewhere(&self, name: &str) -> Result<MachineRequest, Unsupported> {
        let ClusterRequest { cluster, cluster_uid, .. } = elsewhere(&self.cluster);
        Ok(MachineRequest { cluster, cluster_uid, ..self.machine(name) })
    }

    async fn living_machines(&self) -> Vec<String> {
        living(self.place.world.machine_history().unwrap())
    }

    fn refusals(&self) -> Vec<(MachineRequest, ErrorKind)> {
        let good = self.cluster.machine("refused", false, String::new(), &Value::Null);
        let spec = json!({"vm": {"provisioning": {"startupDuration": "soon"}}});
        vec![
            (MachineRequest { spec, ..good.clone() }, ErrorKind::Rejected),
            (MachineRequest { cluster_uid: Uid::from("nobody"), ..good }, ErrorKind::NotFound),
        ]
    }
}

#[async_trait]
impl ClusterBench for Bench {
    async fn clusters(&self) -> Arc<dyn ClusterInfrastructure> {
        self.place.clusters()
    }

    fn cluster(&self, name: &str) -> ClusterRequest {
        Fixture::new(name).request()
    }

    async fn cluster_elsewhere(&self, name: &str) -> Result<ClusterRequest, Unsupported> {
        Ok(elsewhere(&Fixture::new(name)))
    }

    async fn living_clusters(&self) -> Vec<String> {
        living(self.place.world.cluster_history().unwrap())
    }
}

/// There is nothing between this provider and its world that could fail. What a crash between two of its
/// own writes does is tried by `tests/world.rs` and by the simulator.
const NOT_TRIED: [&str; 8] =
    ["name-taken", "cut-create", "half-made", "cut-delete", "cut-find", "unreachable", "throttled", "denied"];

#[tokio::test(start_paused = true)]
async fn the_memory_provider_keeps_the_rules() {
    let bench = Bench { place: Place::new().await, cluster: Fixture::new("c") };
    let report = conformance::clusters(&bench).await;
    assert_eq!(report.clone().verdict(), Ok(NOT_TRIED.to_vec()), "\n{report}");

    bench.place.found(&bench.cluster).await;
    let provider = bench.place.clusters();
    provider.create(&elsewhere_token(), &elsewhere(&bench.cluster)).await.unwrap();
    let report = conformance::machines(&bench).await;
    assert_eq!(report.clone().verdict(), Ok(NOT_TRIED.to_vec()), "\n{report}");
}
