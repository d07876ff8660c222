//! The recording's user, working on a plane of ours.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use windlass_manager::plane::{Plane, PlaneOptions};
use windlass_testkit::observer::{Observer, resource};

use crate::roles::Roles;

/// No write for so long is rest.
const QUIET: Duration = Duration::from_millis(700);

/// What the recording's cluster is upgraded to.
const NEXT_VERSION: &str = "v1.36.0";

/// A plane with the recording's cluster.
pub struct Replay {
    plane: Plane,
    observer: Observer,
    /// What the user is about to create.
    created: Vec<Value>,
    cluster: String,
    /// Roles of the objects before the deletion, and how many changes came before it.
    before: (Roles, usize),
}

impl Replay {
    pub async fn start(created: &[Value]) -> Result<Self> {
        let plane = Plane::start(PlaneOptions::in_memory()).await?;
        let observer = Observer::start(&plane.client()).await?;
        let cluster = created.iter().find(|object| object["kind"] == "Cluster").context("no Cluster")?;
        let cluster = cluster["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        Ok(Self { plane, observer, created: created.to_vec(), cluster, before: (Roles::default(), 0) })
    }

    /// Does what the user did in a phase.
    pub async fn act(&mut self, phase: &str) -> Result<()> {
        match phase {
            "create" => self.create().await?,
            "scale-md" => self.scale("MachineDeployment", 3).await?,
            "scale-kcp" => self.scale("KubeadmControlPlane", 3).await?,
            "upgrade-kcp" => self.patch("KubeadmControlPlane", json!({ "version": NEXT_VERSION })).await?,
            "upgrade-md" => {
                let template = json!({ "spec": { "version": NEXT_VERSION } });
                self.patch("MachineDeployment", json!({ "template": template })).await?;
            }
            "label-inplace" => {
                let template = json!({ "metadata": { "labels": { "team": "a" } } });
                self.patch("MachineDeployment", json!({ "template": template })).await?;
            }
            "scale-down-kcp" => self.scale("KubeadmControlPlane", 1).await?,
            "pause" => self.patch("Cluster", json!({ "paused": true })).await?,
            "unpause" => self.patch("Cluster", json!({ "paused": false })).await?,
            "delete" => {
                self.before = (Roles::of(self.objects()), self.observer.changes().len());
                self.api("Cluster")?.delete(&self.cluster, &kube::api::DeleteParams::default()).await?;
            }
            other => bail!("nobody knows how to do {other}"),
        }
        Ok(())
    }

    /// Waits until nothing is written any more.
    pub async fn rest(&mut self) -> Result<()> {
        self.observer.settle(QUIET).await.map(drop)
    }

    /// The objects that are there, in the order of their creation.
    pub fn objects(&self) -> impl Iterator<Item = &Value> + Clone {
        let objects = self.observer.objects().into_iter();
        objects.filter(|object| object["kind"] != "Event" && object["kind"] != "Lease")
    }

    /// What was deleted since the user deleted the cluster, `Kind/<role>` in order.
    pub fn deleted(&self) -> Vec<String> {
        let (roles, before) = &self.before;
        let since = self.observer.changes().into_iter().skip(*before).filter(|change| change.deleted);
        let gone = since.map(windlass_testkit::observer::Change::what).map(|what| roles.replace(&what));
        gone.filter(|what| !what.starts_with("Event/")).collect()
    }

    pub async fn end(self) {
        self.plane.shutdown().await;
    }

    fn api(&self, kind: &str) -> Result<Api<DynamicObject>> {
        Ok(Api::namespaced_with(self.plane.client(), "default", &resource(kind)?))
    }

    async fn create(&self) -> Result<()> {
        let params = PostParams { field_manager: Some("load".to_owned()), ..PostParams::default() };
        for object in &self.created {
            let mut object = hurried(object);
            for field in ["uid", "generation", "managedFields"] {
                object["metadata"].as_object_mut().context("no metadata")?.remove(field);
            }
            let kind = object["kind"].as_str().unwrap_or_default().to_owned();
            self.api(&kind)?.create(&params, &serde_json::from_value(object)?).await?;
        }
        Ok(())
    }

    async fn scale(&self, kind: &str, replicas: u32) -> Result<()> {
        let params = PatchParams { field_manager: Some("kubectl".to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        self.api(kind)?.patch_scale(&self.cluster, &params, &patch).await?;
        Ok(())
    }

    async fn patch(&self, kind: &str, spec: Value) -> Result<()> {
        let params =
            PatchParams { field_manager: Some("kubectl-patch".to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.api(kind)?.patch(&self.cluster, &params, &patch).await?;
        Ok(())
    }
}

/// The same object with short delays.
fn hurried(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| match key.as_str() {
                "startupDuration" => (key.clone(), json!("20ms")),
                _ => (key.clone(), hurried(value)),
            })
            .collect(),
        Value::Array(items) => items.iter().map(hurried).collect(),
        _ => value.clone(),
    }
}
