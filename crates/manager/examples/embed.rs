//! A program with cluster management inside: `cargo run -p windlass-manager --example embed`.

use kube::api::{Api, Patch, PatchParams};
use kube::runtime::wait::await_condition;
use windlass_api::core::Cluster;
use windlass_manager::plane::{Plane, PlaneOptions};
use windlass_manager::templates;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let plane = Plane::start(PlaneOptions::in_memory()).await?;
    let client = plane.client();
    templates::apply(&client, &templates::memory("embedded", 1, 1)?).await?;

    let clusters: Api<Cluster> = Api::default_namespaced(client);
    let available = |cluster: Option<&Cluster>| cluster.is_some_and(|cluster| cluster.is_true("Available"));
    let cluster = await_condition(clusters, "embedded", available).await?;
    println!("{:?}", cluster.and_then(|cluster| cluster.status).map(|status| status.phase));

    plane.shutdown().await;
    Ok(())
}
