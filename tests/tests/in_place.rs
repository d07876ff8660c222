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
    until(&mut observer, |observer| running(observer) == 2).await?;
    let born = uids(&observer);

    let (a, b, none) = (json!("a"), json!("b"), Value::Null);
    for (team, note) in [(&a, &a), (&b, &none), (&none, &b), (&none, &none)] {
        let metadata = json!({ "metadata": { "labels": { "team": team }, "annotations": { "note": note } } });
        for (kind, name, spec) in [
            ("KubeadmControlPlane", "label-control-plane", json!({ "machineTemplate": metadata })),
            ("MachineDeployment", "label-md-0", json!({ "template": metadata })),
        ] {
            let api = api(&plane, kind)?;
            api.patch(name, &PatchParams::default(), &Patch::Merge(json!({ "spec": spec }))).await?;
        }
        until(&mut observer, |observer| {
            parts(observer).iter().all(|part| {
                let meta = &part["metadata"];
                meta["labels"]["team"] == *team && meta["annotations"]["note"] == *note
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_of_somebody_else_stays_and_holds_nothing_up() -> Result<()> {
    let plane = Plane::start(PlaneOptions::in_memory()).await?;
    let mut observer = Observer::start(&plane.client()).await?;
    templates::apply(&plane.client(), &templates::memory("foreign", 1, 1)?).await?;
    until(&mut observer, |observer| running(observer) == 2).await?;
    let foreign = json!({ "metadata": { "labels": { "mine": "x" }, "annotations": { "mine": "x" } } });
    for part in parts(&observer) {
        let text = |pointer| part.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let api = api(&plane, text("/kind"))?;
        api.patch(text("/metadata/name"), &PatchParams::default(), &Patch::Merge(&foreign)).await?;
    }
    for (kind, name, replicas) in
        [("MachineDeployment", "foreign-md-0", 2), ("KubeadmControlPlane", "foreign-control-plane", 3)]
    {
        let more = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        api(&plane, kind)?.patch(name, &PatchParams::default(), &more).await?;
    }
    until(&mut observer, |observer| {
        let is = |kind: &str, replicas: u64| {
            observer.objects().into_iter().filter(|object| object["kind"] == kind).all(|object| {
                let status = &object["status"];
                status["readyReplicas"] == replicas
                    && status["observedGeneration"] == object["metadata"]["generation"]
            })
        };
        is("MachineSet", 2) && is("MachineDeployment", 2) && is("KubeadmControlPlane", 3)
    })
    .await?;
    let marked = parts(&observer).into_iter().filter(|part| part["metadata"]["labels"]["mine"] == "x");
    ensure!(marked.count() == 2 * PARTS.len(), "labels of somebody else went");
    plane.shutdown().await;
    Ok(())
}

fn api(plane: &Plane, kind: &str) -> Result<Api<DynamicObject>> {
    Ok(Api::namespaced_with(plane.client(), "default", &resource(kind)?))
}

fn running(observer: &Observer) -> usize {
    let running = |object: &&Value| object["kind"] == "Machine" && object["status"]["phase"] == "Running";
    observer.objects().into_iter().filter(running).count()
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
