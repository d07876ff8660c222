//! Watches a management API as a person would with `kubectl get --watch`, and tells when nothing happens any more.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::stream::{BoxStream, SelectAll};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{Api, ApiResource, DynamicObject, WatchEvent, WatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::Value;

/// Kinds of Cluster API, and the built-in kinds that its controllers write.
pub const KINDS: [(&str, &str, &str); 14] = [
    ("cluster.x-k8s.io", "v1beta2", "Cluster"),
    ("cluster.x-k8s.io", "v1beta2", "Machine"),
    ("cluster.x-k8s.io", "v1beta2", "MachineSet"),
    ("cluster.x-k8s.io", "v1beta2", "MachineDeployment"),
    ("bootstrap.cluster.x-k8s.io", "v1beta2", "KubeadmConfig"),
    ("bootstrap.cluster.x-k8s.io", "v1beta2", "KubeadmConfigTemplate"),
    ("controlplane.cluster.x-k8s.io", "v1beta2", "KubeadmControlPlane"),
    ("infrastructure.cluster.x-k8s.io", "v1beta2", "DevCluster"),
    ("infrastructure.cluster.x-k8s.io", "v1beta2", "DevMachine"),
    ("infrastructure.cluster.x-k8s.io", "v1beta2", "DevMachineTemplate"),
    ("", "v1", "Secret"),
    ("", "v1", "ConfigMap"),
    ("", "v1", "Event"),
    ("coordination.k8s.io", "v1", "Lease"),
];

/// The resource of a kind of [`KINDS`].
pub fn resource(kind: &str) -> Result<ApiResource> {
    let (group, version, kind) =
        KINDS.into_iter().find(|(_, _, of)| *of == kind).with_context(|| format!("unknown kind {kind}"))?;
    Ok(ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(group, version, kind)))
}

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Change {
    /// Whether the object is gone.
    pub deleted: bool,
    /// Its resource version: the place of the change among all.
    pub revision: u64,
    /// The object after the change, or its last state.
    pub object: Value,
}

impl Change {
    /// `Kind/name`.
    pub fn what(&self) -> String {
        let text = |pointer| self.object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        format!("{}/{}", text("/kind"), text("/metadata/name"))
    }
}

/// Everything that changes in the namespace `default`.
pub struct Observer {
    streams: SelectAll<BoxStream<'static, Result<Change>>>,
    changes: Vec<Change>,
}

impl Observer {
    /// Starts with everything that is there.
    pub async fn start(client: &Client) -> Result<Self> {
        let mut streams = SelectAll::new();
        for (_, _, kind) in KINDS {
            let resource = resource(kind)?;
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &resource);
            let events = api.watch(&WatchParams::default(), "0").await?.map_err(anyhow::Error::from);
            let changes = events.try_filter_map(move |event| {
                let change = change(&resource, event);
                async move { change }
            });
            streams.push(changes.boxed());
        }
        Ok(Self { streams, changes: Vec::new() })
    }

    /// Returns once nothing has been written for as long as `quiet`, with what changed until then.
    ///
    /// # Errors
    /// When the API fails, or writes go on after a minute.
    pub async fn settle(&mut self, quiet: Duration) -> Result<&[Change]> {
        let before = self.changes.len();
        let end = tokio::time::Instant::now() + Duration::from_mins(1);
        while let Ok(next) = tokio::time::timeout(quiet, self.streams.next()).await {
            let change = next.context("a watch ended")??;
            if tokio::time::Instant::now() > end {
                bail!("no rest after a minute; the last change was of {}", change.what());
            }
            self.changes.push(change);
        }
        Ok(&self.changes[before..])
    }

    /// Every change so far, in the order of their revisions.
    pub fn changes(&self) -> Vec<&Change> {
        let mut changes: Vec<_> = self.changes.iter().collect();
        changes.sort_by_key(|change| change.revision);
        changes
    }

    /// The objects that are there, in the order in which they came.
    pub fn objects(&self) -> Vec<&Value> {
        let uid = |change: &Change| change.object.pointer("/metadata/uid").cloned();
        let mut there: Vec<(Option<Value>, &Value)> = Vec::new();
        for change in self.changes() {
            let at = there.iter().position(|(of, _)| *of == uid(change));
            match (at, change.deleted) {
                (Some(at), true) => drop(there.remove(at)),
                (Some(at), false) => there[at].1 = &change.object,
                (None, true) => {}
                (None, false) => there.push((uid(change), &change.object)),
            }
        }
        there.into_iter().map(|(_, object)| object).collect()
    }
}

fn change(resource: &ApiResource, event: WatchEvent<DynamicObject>) -> Result<Option<Change>> {
    let (deleted, object) = match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => (false, object),
        WatchEvent::Deleted(object) => (true, object),
        WatchEvent::Bookmark(_) => return Ok(None),
        WatchEvent::Error(status) => bail!("the watch of {} failed: {}", resource.plural, status.message),
    };
    let revision = object.resource_version().unwrap_or_default();
    let revision = revision.parse().with_context(|| format!("resource version {revision:?}"))?;
    Ok(Some(Change { deleted, revision, object: serde_json::to_value(object)? }))
}
