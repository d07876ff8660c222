//! The memory provider against the rules of the provider traits.

#![expect(clippy::unwrap_used, reason = "the bench stands outside of test functions")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::{Fixture, Place};
use serde_json::{Value, json};
use windlass_model::Uid;
use windlass_provider::conformance::{self, ClusterBench, MachineBench};
use windlass_provider::{ClusterInfrastructure, ClusterRequest, ErrorKind, MachineRequest, Machines};

struct Bench {
    place: Place,
    cluster: Fixture,
}

#[async_trait]
impl MachineBench for Bench {
    async fn connect(&self) -> Arc<dyn Machines> {
        self.place.machines()
    }

    fn request(&self, name: &str) -> MachineRequest {
        let spec = json!({"vm": {"provisioning": {"startupDuration": "3s"}}});
        self.cluster.machine(name, false, Fixture::join("a.b", "sha256:00"), &spec)
    }

    async fn living(&self) -> Vec<String> {
        let history = self.place.world.machine_history().unwrap().into_iter();
        history.filter(|line| line.deleted.is_none()).map(|line| line.token.to_string()).collect()
    }

    async fn rest(&self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
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
    async fn connect(&self) -> Arc<dyn ClusterInfrastructure> {
        self.place.clusters()
    }

    fn request(&self, name: &str) -> ClusterRequest {
        Fixture::new(name).request()
    }

    async fn living(&self) -> usize {
        let history = self.place.world.cluster_history().unwrap().into_iter();
        history.filter(|line| line.deleted.is_none()).count()
    }

    async fn rest(&self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_memory_provider_keeps_the_rules() {
    let bench = Bench { place: Place::new().await, cluster: Fixture::new("c") };
    assert_eq!(conformance::clusters(&bench).await, Ok(()));
    bench.place.found(&bench.cluster).await;
    assert_eq!(conformance::machines(&bench).await, Ok(()));
}
