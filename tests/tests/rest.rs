//! A plane at rest writes nothing, not even after a restart; and nothing of a deleted cluster remains.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::api::{Api, DeleteParams, DynamicObject};
use serde_json::Value;
use windlass_manager::data_dir::DataDir;
use windlass_manager::plane::{Plane, PlaneOptions};
use windlass_manager::templates;
use windlass_testkit::observer::{Change, Observer, resource};

/// No write for so long, and it is worth looking whether everything is as it should be.
const QUIET: Duration = Duration::from_millis(700);
/// Longer than every interval at which a controller looks again while something is not as it should be.
const REST: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_at_rest_nor_after_a_restart() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (plane, mut observer) = start(&folder).await?;
    templates::apply(&plane.client(), &templates::memory("rest", 1, 1)?).await?;
    until(&mut observer, "the cluster is available", |observer| {
        observer
            .objects()
            .into_iter()
            .any(|object| object["kind"] == "Cluster" && is_true(object, "Available"))
    })
    .await?;
    observer.settle(REST).await?;
    ensure_none("at rest", observer.settle(REST).await?)?;
    let before = revisions(&observer);
    plane.shutdown().await;

    let (plane, mut observer) = start(&folder).await?;
    observer.settle(REST).await?;
    let changed: Vec<_> = revisions(&observer)
        .into_iter()
        .filter(|(what, revision)| before.get(what) != Some(revision))
        .map(|(what, _)| what)
        .collect();
    ensure!(changed.is_empty(), "written after a restart: {}", changed.join(", "));
    plane.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_deleted_cluster_remains() -> Result<()> {
    let plane = Plane::start(PlaneOptions::in_memory()).await?;
    let mut observer = Observer::start(&plane.client()).await?;
    templates::apply(&plane.client(), &templates::memory("gone", 1, 1)?).await?;
    until(&mut observer, "both machines run", |observer| {
        let running = |object: &&Value| object["kind"] == "Machine" && object["status"]["phase"] == "Running";
        observer.objects().into_iter().filter(running).count() == 2
    })
    .await?;
    let clusters: Api<DynamicObject> = Api::namespaced_with(plane.client(), "default", &resource("Cluster")?);
    clusters.delete("gone", &DeleteParams::default()).await?;
    until(&mut observer, "everything is gone", |observer| {
        observer.objects().into_iter().all(|object| object["kind"] == "Event")
    })
    .await?;
    plane.shutdown().await;
    Ok(())
}

async fn start(folder: &tempfile::TempDir) -> Result<(Plane, Observer)> {
    let data = DataDir::new(folder.path().join("data"));
    let mut options = PlaneOptions::new(data, SocketAddr::from(([127, 0, 0, 1], 0)));
    // Away from a plane that a person runs on this machine.
    options.workload_ports = 30900..=30999;
    let plane = Plane::start(options).await?;
    let observer = Observer::start(&plane.client()).await?;
    Ok((plane, observer))
}

/// Waits for rest again and again, until what is to come has come.
async fn until(observer: &mut Observer, what: &str, come: impl Fn(&Observer) -> bool) -> Result<()> {
    for _ in 0..60 {
        observer.settle(QUIET).await?;
        if come(observer) {
            return Ok(());
        }
    }
    let there: Vec<_> = revisions(observer).into_keys().collect();
    Err(anyhow::anyhow!("there are {}", there.join(", ")))
        .with_context(|| format!("it never came that {what}"))
}

fn is_true(object: &Value, kind: &str) -> bool {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == kind && condition["status"] == "True")
}

fn ensure_none(when: &str, changes: &[Change]) -> Result<()> {
    let written: Vec<_> = changes.iter().map(Change::what).collect();
    ensure!(written.is_empty(), "written {when}: {}", written.join(", "));
    Ok(())
}

/// The resource version of every object, Events included.
fn revisions(observer: &Observer) -> BTreeMap<String, String> {
    let text = |object: &Value, pointer| {
        object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let one = |object: &Value| {
        let what = format!("{}/{}", text(object, "/kind"), text(object, "/metadata/name"));
        (what, text(object, "/metadata/resourceVersion"))
    };
    observer.objects().into_iter().map(one).collect()
}
