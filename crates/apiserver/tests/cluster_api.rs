//! The real definitions of Cluster API on the server.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::discovery::Discovery;
use serde_json::json;
use support::{admin, create, message, object, server};

#[tokio::test]
async fn all_definitions_are_served_and_their_schemas_work() {
    let server = server().await;
    let definitions = windlass_api::crd::crds();
    server.install_crds(&definitions).await.unwrap();
    let revision = server.store().revision();
    server.install_crds(&definitions).await.unwrap();
    assert_eq!(server.store().revision(), revision, "installed again, nothing is written");

    let discovery = Discovery::new(admin(&server)).run_aggregated().await.unwrap();
    let kinds = discovery.groups().filter(|group| group.name().ends_with("cluster.x-k8s.io"));
    assert_eq!(kinds.map(|group| group.recommended_resources().len()).sum::<usize>(), definitions.len());

    let gvk = GroupVersionKind::gvk("cluster.x-k8s.io", "v1beta2", "MachineDeployment");
    let resource = ApiResource::from_gvk_with_plural(&gvk, "machinedeployments");
    let api: Api<DynamicObject> = Api::namespaced_with(admin(&server), "default", &resource);
    let deployment = |replicas: i32| {
        object(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDeployment", "metadata": {"name": "md"},
            "spec": {"clusterName": "c", "replicas": replicas, "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
                    "clusterName": "c", "version": "v1.35.0",
                    "bootstrap": {"configRef": {"apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "KubeadmConfigTemplate", "name": "t"}},
                    "infrastructureRef": {"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "DevMachineTemplate", "name": "t"},
                }}},
        }))
    };
    create(&api, &deployment(1)).await;
    let scale = Patch::Merge(json!({"spec": {"replicas": 3}}));
    let scaled = api.patch_scale("md", &PatchParams::default(), &scale).await.unwrap();
    assert_eq!(scaled.spec.unwrap().replicas, Some(3));
    let mut wrong = deployment(1);
    wrong.metadata.name = Some("other".to_owned());
    wrong.data["spec"]["template"]["spec"]["version"] = json!("");
    let said = message(api.create(&PostParams::default(), &wrong).await);
    assert!(said.contains("spec.template.spec.version"), "{said}");
}
