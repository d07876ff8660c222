//! What the workload cluster is told before a machine joins: kubeadm reads there what the machine shall be.

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleRef, Subject};
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use windlass_kubeadm_bootstrap::{ClusterFacts, cluster_document, yaml};

use crate::controller::{KubeadmControlPlaneError as Error, KubeadmControlPlanes};
use crate::observe::Scene;
use crate::workload::{KUBEADM_CONFIG, NAMESPACE, patient};
use crate::{intents, kubeadm_config};

/// The part of kubeadm's notes about the whole cluster.
const CLUSTER_CONFIGURATION: &str = "ClusterConfiguration";
/// What lets an API server talk to kubelets whose client certificate makes it no administrator. A newer kubeadm makes
/// such certificates, and the binding with a new cluster; a machine that joins an older cluster finds none.
const KUBELET_CLIENT: &str = "kubeadm:apiserver-kubelet-client";
/// The role and the user that it binds.
const KUBELET_ADMIN: (&str, &str) = ("system:kubelet-api-admin", "kube-apiserver-kubelet-client");
const RBAC: &str = "rbac.authorization.k8s.io";

/// Brings kubeadm's notes in line with the spec.
pub(crate) async fn prepare(controller: &KubeadmControlPlanes, scene: &Scene) -> Result<(), Error> {
    let Ok(connected) = controller.workloads.get(&scene.cluster_key()) else { return Ok(()) };
    let replaces = scene.world.machines.iter().any(|machine| !machine.outdated.is_empty());
    if replaces && (scene.version.major, scene.version.minor) < (1, 38) {
        bind_kubelet_client(&connected.client).await?;
    }
    let api: Api<ConfigMap> = Api::namespaced(connected.client, NAMESPACE);
    let Some(found) = patient(api.get_opt(KUBEADM_CONFIG)).await? else { return Ok(()) };
    let text = found.data.as_ref().and_then(|data| data.get(CLUSTER_CONFIGURATION));
    let noted: Option<Value> = text.and_then(|text| serde_saphyr::from_str(text).ok());
    let noted = noted.ok_or(Error::Notes)?;
    let wanted = wanted(scene)?;
    let Some(after) = kubeadm_config::updated(&noted, &wanted) else { return Ok(()) };
    let patch = json!({
        "metadata": { "resourceVersion": found.metadata.resource_version },
        "data": { CLUSTER_CONFIGURATION: yaml(&after) },
    });
    patient(api.patch(KUBEADM_CONFIG, &PatchParams::default(), &Patch::Merge(patch))).await.map(drop)
}

/// What a new cluster would be made with.
fn wanted(scene: &Scene) -> Result<Value, Error> {
    let spec = intents::kubeadm(&scene.object, &scene.version);
    let name = scene.cluster_key().name;
    let endpoint = scene.endpoint().unwrap_or_default();
    let network = &scene.cluster.spec.cluster_network;
    let facts = ClusterFacts { name: &name, endpoint: &endpoint, network };
    let waits = &spec.init_configuration.timeouts;
    cluster_document(&scene.version, &facts, &spec.cluster_configuration, waits).map_err(Error::Kubeadm)
}

async fn bind_kubelet_client(client: &Client) -> Result<(), Error> {
    let api: Api<ClusterRoleBinding> = Api::all(client.clone());
    if patient(api.get_opt(KUBELET_CLIENT)).await?.is_some() {
        return Ok(());
    }
    let (role, user) = KUBELET_ADMIN;
    let binding = ClusterRoleBinding {
        metadata: ObjectMeta { name: Some(KUBELET_CLIENT.to_owned()), ..ObjectMeta::default() },
        role_ref: RoleRef {
            api_group: RBAC.to_owned(),
            kind: "ClusterRole".to_owned(),
            name: role.to_owned(),
        },
        subjects: Some(vec![Subject {
            api_group: Some(RBAC.to_owned()),
            kind: "User".to_owned(),
            name: user.to_owned(),
            namespace: None,
        }]),
    };
    patient(api.create(&PostParams::default(), &binding)).await.map(drop)
}
