//! Boots one node from bootstrap data in a file and says how it comes along: a way to try data without a cluster.
//!
//! `cargo run -p windlass-docker --example boot -- IMAGE VERSION FILE`. The node and its network go at the end.

#![expect(clippy::print_stdout, reason = "a program for people")]

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use serde_json::json;
use windlass_docker::{Docker, Options};
use windlass_model::{Condition, Key, Secret, Uid};
use windlass_provider::{ClusterInfrastructure, MachineRequest, Machines, Token};
use windlass_runtime::{Clock, Tasks};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [image, version, file] = arguments.as_slice() else {
        return Err("usage: boot IMAGE VERSION FILE".into());
    };
    let (tasks, clock) = (Tasks::new(), Clock::system());
    let options = Options::from_environment(clock.clone(), tasks.spawner());
    let docker = Docker::new(Options { network: "windlass-boot".to_owned(), ..options });
    let mut news = docker.news();
    let token = Token::of(&Uid::from("windlass-boot"));
    let request = MachineRequest {
        cluster: Key::new("default", "windlass-boot"),
        cluster_uid: Uid::from("windlass-boot"),
        name: "node".to_owned(),
        version: version.clone(),
        control_plane: true,
        failure_domain: None,
        bootstrap_data: Secret::new(std::fs::read(file)?),
        bootstrap_format: String::new(),
        annotations: BTreeMap::new(),
        spec: json!({ "customImage": image }),
    };
    let start = clock.now();
    let mut seen = Some(Machines::create(&docker, &token, &request).await?);
    let mut said = Vec::new();
    while let Some(machine) = seen {
        for condition in machine.conditions.iter().filter(|it| !said.contains(*it)) {
            println!(
                "{:?} {} {}: {}",
                clock.now().since(start),
                condition.kind,
                condition.reason,
                condition.message
            );
        }
        said = machine.conditions;
        if said.iter().all(|it| it.is_true() || it.reason.starts_with("BootstrapFailed")) {
            break;
        }
        let _later = tokio::time::timeout(Duration::from_mins(1), news.recv()).await;
        seen = Machines::find(&docker, &token).await?;
    }
    Machines::delete(&docker, &token).await?;
    ClusterInfrastructure::delete(&docker, &token).await?;
    let ready = said.iter().all(Condition::is_true);
    if ready { Ok(()) } else { Err("the boot failed".into()) }
}
