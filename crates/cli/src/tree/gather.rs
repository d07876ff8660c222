//! Reads everything of one cluster: one list a kind, not one request an object.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::discovery;
use kube::{Api, Client, ResourceExt};

use crate::failure::{Failure, api};

/// The label that says to which cluster an object belongs.
const CLUSTER_NAME: &str = "cluster.x-k8s.io/cluster-name";

const CORE: &str = "cluster.x-k8s.io";

/// The objects of a cluster.
#[derive(Debug, Default)]
pub struct Objects {
    /// The Cluster itself; `None` once it is gone.
    pub cluster: Option<DynamicObject>,
    /// Everything else, sorted by kind and name.
    pub others: Vec<DynamicObject>,
}

/// Reads a cluster and what belongs to it.
pub struct Gatherer {
    client: Client,
    namespace: String,
    name: String,
    /// Kinds of provider objects, resolved once.
    providers: BTreeMap<(String, String), ApiResource>,
}

impl Gatherer {
    /// For one cluster.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { client, namespace: namespace.to_owned(), name: name.to_owned(), providers: BTreeMap::new() }
    }

    /// One consistent enough look: a list for each kind that the cluster uses.
    pub async fn gather(&mut self) -> Result<Objects, Failure> {
        let clusters: Api<DynamicObject> = self.api(&core("Cluster", "clusters"));
        let doing = format!("cannot read cluster `{}` in namespace `{}`", self.name, self.namespace);
        let cluster = clusters.get_opt(&self.name).await.map_err(|error| api(doing, error))?;
        let mut others = Vec::new();
        for (kind, plural) in [
            ("MachineDeployment", "machinedeployments"),
            ("MachineSet", "machinesets"),
            ("Machine", "machines"),
        ] {
            others.extend(self.list(&core(kind, plural)).await?);
        }
        let mut wanted = BTreeSet::new();
        for object in cluster.iter().chain(&others) {
            references(&object.data, &mut wanted);
        }
        for (group, kind) in wanted {
            if let Some(resource) = self.resolve(&group, &kind).await {
                others.extend(self.list(&resource).await?);
            }
        }
        for object in &mut others {
            object.managed_fields_mut().clear();
        }
        others.sort_by_key(|object| (kind_of(object).to_owned(), object.name_any()));
        Ok(Objects { cluster, others })
    }

    fn api(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, resource)
    }

    async fn list(&self, resource: &ApiResource) -> Result<Vec<DynamicObject>, Failure> {
        let selector = ListParams::default().labels(&format!("{CLUSTER_NAME}={}", self.name));
        let found = self.api(resource).list(&selector).await;
        let found = found.map_err(|error| api(format!("cannot list {}", resource.plural), error))?;
        let typed = |mut object: DynamicObject| {
            // Items of a list carry no type of their own.
            object.types.get_or_insert_with(|| kube::api::TypeMeta {
                api_version: resource.api_version.clone(),
                kind: resource.kind.clone(),
            });
            object
        };
        Ok(found.items.into_iter().map(typed).collect())
    }

    /// The served version and plural of a provider kind; `None` if the server does not know it.
    async fn resolve(&mut self, group: &str, kind: &str) -> Option<ApiResource> {
        let key = (group.to_owned(), kind.to_owned());
        if let Some(known) = self.providers.get(&key) {
            return Some(known.clone());
        }
        let served = discovery::group(&self.client, group).await.ok()?;
        let (resource, _) = served.recommended_kind(kind)?;
        self.providers.insert(key, resource.clone());
        Some(resource)
    }
}

fn core(kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: CORE.to_owned(),
        version: "v1beta2".to_owned(),
        api_version: format!("{CORE}/v1beta2"),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

/// Group and kind of every object that another refers to. Templates do not belong to one machine.
fn references(object: &serde_json::Value, found: &mut BTreeSet<(String, String)>) {
    for path in ["/spec/infrastructureRef", "/spec/controlPlaneRef", "/spec/bootstrap/configRef"] {
        let Some(reference) = object.pointer(path) else { continue };
        let text =
            |key: &str| reference.get(key).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
        let (group, kind) = (text("apiGroup"), text("kind"));
        if !kind.is_empty() {
            found.insert((group, kind));
        }
    }
}

/// The kind of a listed object.
pub fn kind_of(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("", |types| types.kind.as_str())
}
