//! What `kubectl get` shows of each kind.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceColumnDefinition;

/// One column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    name: &'static str,
    type_: &'static str,
    source: Source,
    wide: bool,
}

/// Where a column's value stands in the object.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// At a JSON path.
    Path(&'static str),
    /// In the status of the condition of this type.
    Condition(&'static str),
}

impl Column {
    /// Shown by `-o wide` only.
    const fn wide(self) -> Self {
        Self { wide: true, ..self }
    }

    /// The column as CRDs spell it.
    pub(super) fn define(self) -> CustomResourceColumnDefinition {
        CustomResourceColumnDefinition {
            name: self.name.to_owned(),
            type_: self.type_.to_owned(),
            json_path: match self.source {
                Source::Path(path) => path.to_owned(),
                Source::Condition(type_) => format!(".status.conditions[?(@.type==\"{type_}\")].status"),
            },
            priority: self.wide.then_some(10),
            ..CustomResourceColumnDefinition::default()
        }
    }
}

const fn column(name: &'static str, type_: &'static str, path: &'static str) -> Column {
    Column { name, type_, source: Source::Path(path), wide: false }
}

const fn text(name: &'static str, path: &'static str) -> Column {
    column(name, "string", path)
}

const fn count(name: &'static str, path: &'static str) -> Column {
    column(name, "integer", path)
}

const fn condition(name: &'static str, type_: &'static str) -> Column {
    Column { name, type_: "string", source: Source::Condition(type_), wide: false }
}

const AGE: Column = column("Age", "date", ".metadata.creationTimestamp");
const PAUSED: Column = condition("Paused", "Paused").wide();
const CLUSTER_LABEL: Column = text("Cluster", r".metadata.labels['cluster\.x-k8s\.io/cluster-name']");

pub(super) const CLUSTER: &[Column] = &[
    text("ClusterClass", ".spec.topology.classRef.name"),
    condition("Available", "Available"),
    count("CP Desired", ".status.controlPlane.desiredReplicas"),
    count("CP Current", ".status.controlPlane.replicas").wide(),
    count("CP Ready", ".status.controlPlane.readyReplicas").wide(),
    count("CP Available", ".status.controlPlane.availableReplicas"),
    count("CP Up-to-date", ".status.controlPlane.upToDateReplicas"),
    count("W Desired", ".status.workers.desiredReplicas"),
    count("W Current", ".status.workers.replicas").wide(),
    count("W Ready", ".status.workers.readyReplicas").wide(),
    count("W Available", ".status.workers.availableReplicas"),
    count("W Up-to-date", ".status.workers.upToDateReplicas"),
    PAUSED,
    text("Phase", ".status.phase"),
    AGE,
    text("Version", ".spec.topology.version"),
];

pub(super) const MACHINE: &[Column] = &[
    text("Cluster", ".spec.clusterName"),
    text("Node Name", ".status.nodeRef.name"),
    text("Provider ID", ".spec.providerID").wide(),
    text("Failure domain", ".status.failureDomain"),
    condition("Ready", "Ready"),
    condition("Available", "Available"),
    condition("Up-to-date", "UpToDate"),
    text("Internal-IP", r#".status.addresses[?(@.type=="InternalIP")].address"#).wide(),
    text("External-IP", r#".status.addresses[?(@.type=="ExternalIP")].address"#).wide(),
    text("OS-Image", ".status.nodeInfo.osImage").wide(),
    PAUSED,
    text("Phase", ".status.phase"),
    AGE,
    text("Version", ".spec.version"),
];

pub(super) const MACHINE_SET: &[Column] = &[
    text("Cluster", ".spec.clusterName"),
    count("Desired", ".spec.replicas"),
    count("Current", ".status.replicas"),
    count("Ready", ".status.readyReplicas"),
    count("Available", ".status.availableReplicas"),
    count("Up-to-date", ".status.upToDateReplicas"),
    PAUSED,
    AGE,
    text("Version", ".spec.template.spec.version"),
];

pub(super) const MACHINE_DEPLOYMENT: &[Column] = &[
    text("Cluster", ".spec.clusterName"),
    condition("Available", "Available"),
    count("Desired", ".spec.replicas"),
    count("Current", ".status.replicas"),
    count("Ready", ".status.readyReplicas"),
    count("Available", ".status.availableReplicas"),
    count("Up-to-date", ".status.upToDateReplicas"),
    PAUSED,
    text("Phase", ".status.phase"),
    AGE,
    text("Version", ".spec.template.spec.version"),
];

pub(super) const KUBEADM_CONFIG: &[Column] =
    &[CLUSTER_LABEL, PAUSED, text("Data secret created", ".status.initialization.dataSecretCreated"), AGE];

pub(super) const KUBEADM_CONFIG_TEMPLATE: &[Column] = &[
    text("ClusterClass", r#".metadata.ownerReferences[?(@.kind=="ClusterClass")].name"#),
    text("Cluster", r#".metadata.ownerReferences[?(@.kind=="Cluster")].name"#),
    AGE,
];

pub(super) const KUBEADM_CONTROL_PLANE: &[Column] = &[
    CLUSTER_LABEL,
    condition("Available", "Available"),
    count("Desired", ".spec.replicas"),
    count("Current", ".status.replicas"),
    count("Ready", ".status.readyReplicas"),
    count("Available", ".status.availableReplicas"),
    count("Up-to-date", ".status.upToDateReplicas"),
    PAUSED,
    column("Initialized", "boolean", ".status.initialization.controlPlaneInitialized"),
    AGE,
    text("Version", ".spec.version"),
];

pub(super) const KUBEADM_CONTROL_PLANE_TEMPLATE: &[Column] =
    &[text("ClusterClass", r#".metadata.ownerReferences[?(@.kind=="ClusterClass")].name"#), AGE];

pub(super) const DEV_CLUSTER: &[Column] = &[CLUSTER_LABEL, AGE];

pub(super) const DEV_CLUSTER_TEMPLATE: &[Column] = &[AGE];

pub(super) const DEV_MACHINE: &[Column] = &[
    CLUSTER_LABEL,
    text("Provider ID", ".spec.providerID").wide(),
    text("Failure domain", ".status.failureDomain"),
    text("IP", r#".status.addresses[?(@.type=="InternalIP")].address"#).wide(),
    PAUSED,
    text("Provisioned", ".status.initialization.provisioned"),
    AGE,
];

pub(super) const DEV_MACHINE_TEMPLATE: &[Column] = &[AGE];
