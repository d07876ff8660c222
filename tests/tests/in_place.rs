//! Labels and annotations of a template reach machines and their parts without replacing any, and leave them again.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use windlass_manager::plane::{Plane, PlaneOptions};
use windlass_manager::templates;
use windlass_testkit::observer::{Observer, resource};

const QUIET: Duration = Duration::from_millis(500);
/// What a machine is made of.
const PARTS: [&str; 3] = ["Machine", "KubeadmConfig", "DevMachine"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_come_and_go_in_place() -> Result<()> {
    let plane = Plane::start(PlaneOptions::in_memory()).await?;
    let mut observer = Observer::start(&plane.client()).await?;
    templates::apply(&plane.client(), &templates::memory("label", 1, 1)?).await?;
    until(&mut observer, |observer| {
        let running = |object: &&Value| object["kind"] == "Machine" && object["status"]["phase"] == "Running";
        observer.objects().into_iter().filter(running).count() == 2
    })
    .await?;
    let born = uids(&observer);

    for value in [json!("a"), json!("b"), Value::Null] {
        let metadata =
            json!({ "metadata": { "labels": { "team": value }, "annotations": { "note": value } } });
        for (kind, name, spec) in [
            ("KubeadmControlPlane", "label-control-plane", json!({ "machineTemplate": metadata })),
            ("MachineDeployment", "label-md-0", json!({ "template": metadata })),
        ] {
            let api: Api<DynamicObject> = Api::namespaced_with(plane.client(), "default", &resource(kind)?);
            api.patch(name, &PatchParams::default(), &Patch::Merge(json!({ "spec": spec }))).await?;
        }
        until(&mut observer, |observer| {
            parts(observer).iter().all(|part| {
                let meta = &part["metadata"];
                meta["labels"]["team"] == value && meta["annotations"]["note"] == value
            })
        })
        .await?;
        let others = parts(&observer).into_iter().filter(|part| {
            let has = |key: &str| part["metadata"]["annotations"].get(key).is_some();
            part["kind"] == "DevMachine" && !has("cluster.x-k8s.io/cloned-from-name")
        });
        ensure!(others.count() == 0, "annotations of others went, too");
    }
    ensure!(uids(&observer) == born, "something was replaced");
    plane.shutdown().await;
    Ok(())
}

fn parts(observer: &Observer) -> Vec<&Value> {
    let part = |object: &&Value| PARTS.iter().any(|kind| object["kind"] == *kind);
    observer.objects().into_iter().filter(part).collect()
}

fn uids(observer: &Observer) -> BTreeSet<String> {
    parts(observer).into_iter().map(|part| part["metadata"]["uid"].to_string()).collect()
}

async fn until(observer: &mut Observer, come: impl Fn(&Observer) -> bool) -> Result<()> {
    for _ in 0..40 {
        observer.settle(QUIET).await?;
        if come(observer) {
            return Ok(());
        }
    }
    let is = |part: &Value| {
        let (labels, notes) = (&part["metadata"]["labels"], &part["metadata"]["annotations"]);
        format!("{} {} {labels} {notes}", part["kind"], part["metadata"]["name"])
    };
    let parts: Vec<_> = parts(observer).into_iter().map(is).collect();
    Err(anyhow::anyhow!("it never came; there are\n{}", parts.join("\n")))
}
