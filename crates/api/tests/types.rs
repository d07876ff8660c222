//! The types against objects that upstream left behind (`recorded/`, one settled object a kind), and against
//! the habits the API expects of a writer.

#![expect(clippy::unwrap_used, reason = "helpers of a test: a surprise ends it")]

use std::fs;
use std::path::Path;

use kube_core::GroupVersionKind;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use windlass_api::admission::{self, Operation};
use windlass_api::bootstrap::{
    BootstrapToken, Discovery, File, JoinConfiguration, KubeadmConfig, KubeadmConfigSpec,
    KubeadmConfigTemplate, TokenDiscovery, User,
};
use windlass_api::control_plane::{KubeadmControlPlane, KubeadmControlPlaneTemplate};
use windlass_api::core::{
    Cluster, ClusterSpec, Machine, MachineDeployment, MachineSet, MachineSpec, MachineStatus,
};
use windlass_api::infrastructure::{
    DevCluster, DevClusterTemplate, DevMachine, DevMachineBackend, DevMachineTemplate, InMemoryMachineBackend,
};

fn recorded(kind: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(format!("{kind}.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// What becomes of an object that is read and written again.
fn round<T: DeserializeOwned + Serialize>(object: &Value) -> Value {
    serde_json::to_value(serde_json::from_value::<T>(object.clone()).unwrap()).unwrap()
}

/// A kind's plural-free name, and what reads and writes it.
type Kind = (&'static str, fn(&Value) -> Value);

const KINDS: [Kind; 12] = [
    ("cluster", round::<Cluster>),
    ("machine", round::<Machine>),
    ("machineset", round::<MachineSet>),
    ("machinedeployment", round::<MachineDeployment>),
    ("kubeadmconfig", round::<KubeadmConfig>),
    ("kubeadmconfigtemplate", round::<KubeadmConfigTemplate>),
    ("kubeadmcontrolplane", round::<KubeadmControlPlane>),
    ("kubeadmcontrolplanetemplate", round::<KubeadmControlPlaneTemplate>),
    ("devcluster", round::<DevCluster>),
    ("devclustertemplate", round::<DevClusterTemplate>),
    ("devmachine", round::<DevMachine>),
    ("devmachinetemplate", round::<DevMachineTemplate>),
];

#[test]
fn what_upstream_wrote_is_read_and_written_without_loss() {
    for (kind, round) in KINDS {
        let object = recorded(kind);
        assert_eq!(round(&object), object, "{kind}");
    }
}

#[test]
fn what_upstream_let_in_has_its_defaults_and_breaks_no_rule() {
    for (name, _) in KINDS {
        let object = recorded(name);
        let text = |member: &str| object[member].as_str().unwrap();
        let (group, version) = text("apiVersion").split_once('/').unwrap();
        let kind = GroupVersionKind::gvk(group, version, text("kind"));
        let mut defaulted = object.clone();
        admission::default(&kind, Operation::Create, &mut defaulted, None);
        assert_eq!(defaulted, object, "{name}");
        let review = admission::validate(&kind, Operation::Create, &object, None);
        assert!(review.allowed(), "{name}: {:?}", review.errors);
    }
}

#[test]
fn empty_structs_are_left_out() {
    assert_eq!(serde_json::to_value(MachineStatus::default()).unwrap(), json!({}));
    assert_eq!(serde_json::to_value(ClusterSpec::default()).unwrap(), json!({}));
    let machine = serde_json::to_value(MachineSpec::default()).unwrap();
    let members: Vec<_> = machine.as_object().unwrap().keys().collect();
    assert_eq!(members, ["bootstrap", "clusterName", "infrastructureRef"], "only what is required");
    // Here the empty object says something: which backend it is.
    let backend =
        DevMachineBackend { in_memory: Some(InMemoryMachineBackend::default()), ..Default::default() };
    assert_eq!(serde_json::to_value(backend).unwrap(), json!({ "inMemory": {} }));
}

#[test]
fn a_spec_may_be_missing_where_the_api_lets_it() {
    let bare = json!({ "apiVersion": "bootstrap.cluster.x-k8s.io/v1beta2", "kind": "KubeadmConfig", "metadata": {} });
    let config: KubeadmConfig = serde_json::from_value(bare.clone()).unwrap();
    assert_eq!(config.spec, KubeadmConfigSpec::default());
    assert_eq!(
        serde_json::to_value(&config).unwrap()["spec"],
        Value::Null,
        "the API drops null and refuses {{}}"
    );
    assert!(serde_json::from_value::<Machine>(bare).is_err());
}

#[test]
fn an_explicit_empty_list_of_taints_is_kept() {
    let spec = json!({ "initConfiguration": { "nodeRegistration": { "taints": [] } } });
    assert_eq!(round::<KubeadmConfigSpec>(&spec), spec);
}

#[test]
fn debug_shows_no_secret() {
    let secret = || "hunter2".into();
    let spec = KubeadmConfigSpec {
        init_configuration: windlass_api::bootstrap::InitConfiguration {
            bootstrap_tokens: vec![BootstrapToken { token: secret(), ..Default::default() }],
            ..Default::default()
        },
        join_configuration: JoinConfiguration {
            discovery: Discovery {
                bootstrap_token: TokenDiscovery { token: Some(secret()), ..Default::default() },
                tls_bootstrap_token: Some(secret()),
                ..Default::default()
            },
            ..Default::default()
        },
        files: vec![File { content: Some(secret()), ..Default::default() }],
        users: vec![User { passwd: Some(secret()), ..Default::default() }],
        ..Default::default()
    };
    let json = serde_json::to_string(&spec).unwrap();
    assert_eq!(json.matches("hunter2").count(), 5);
    assert!(!format!("{:?}", KubeadmConfig::new("k", spec)).contains("hunter2"));
}
