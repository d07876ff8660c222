//! A program with cluster management inside: `cargo run -p windlass-manager --example embed`.
#![expect(clippy::print_stdout, reason = "what the program is there for")]

use std::time::Duration;

use kube::api::Api;
use kube::runtime::wait::await_condition;
use windlass_api::core::Cluster;
use windlass_manager::plane::{Plane, PlaneOptions};
use windlass_manager::templates;
use windlass_runtime::conditions;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let plane = Plane::start(PlaneOptions::in_memory()).await?;
    templates::apply(&plane.client(), &templates::memory("embedded", 1, 1)?).await?;

    let clusters: Api<Cluster> = Api::default_namespaced(plane.client());
    let available = |cluster: Option<&Cluster>| {
        let status = cluster.and_then(|cluster| cluster.status.as_ref());
        status.is_some_and(|status| conditions::is_true(&status.conditions, "Available"))
    };
    let wait = await_condition(clusters, "embedded", available);
    tokio::time::timeout(Duration::from_mins(1), wait).await??;
    println!("the cluster is available");

    plane.shutdown().await;
    Ok(())
}
