//! The table of compiled-in kinds.

use super::subresource::{
    APPROVAL, ATTACH, BINDING, EPHEMERAL_CONTAINERS, EVICTION, EXEC, FINALIZE, LOG, NODE_PROXY, POD_PROXY,
    PORT_FORWARD, RESIZE, SERVICE_PROXY, TOKEN,
};
use super::{Generation, Hook, Subresource};

/// One row of the table of kinds.
pub(super) struct Row {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
    pub(super) short: &'static [&'static str],
    pub(super) categories: &'static [&'static str],
    pub(super) namespaced: bool,
    /// Name of the OpenAPI definition in `data/builtin-schemas.json`.
    pub(super) definition: &'static str,
    /// Folder below `/registry/`, as kube-apiserver lays its keys out; the
    /// plural when empty.
    pub(super) folder: &'static str,
    pub(super) status: bool,
    pub(super) scale: bool,
    /// Subresources besides `status` and `scale`.
    pub(super) more: &'static [&'static Subresource],
    pub(super) generation: Generation,
    pub(super) hook: Hook,
    /// Fields that field selectors may name, with the value of an absent one.
    pub(super) fields: &'static [(&'static str, &'static str)],
    /// Warning for every use.
    pub(super) deprecation: Option<&'static str>,
}

/// Name of the schema of CustomResourceDefinition. Schemas in schemas recurse,
/// so that its inner part is checked by code, see `crd`.
pub(super) const CRD: &str = "CustomResourceDefinition";

const ROW: Row = Row {
    group: "",
    version: "v1",
    kind: "",
    plural: "",
    short: &[],
    categories: &[],
    namespaced: true,
    definition: "",
    folder: "",
    status: false,
    scale: false,
    more: &[],
    generation: Generation::None,
    hook: Hook::None,
    fields: &[],
    deprecation: None,
};
/// Kinds of the whole cluster.
const WIDE: Row = Row { namespaced: false, ..ROW };
/// Workloads: what others run, with a status of how far they are.
const WORKLOAD: Row =
    Row { group: "apps", categories: &["all"], status: true, generation: Generation::Spec, ..ROW };
const BATCH: Row = Row { group: "batch", ..WORKLOAD };
const RBAC: Row = Row { group: "rbac.authorization.k8s.io", ..ROW };
const NETWORK: Row = Row { group: "networking.k8s.io", ..ROW };
const STORAGE: Row = Row { group: "storage.k8s.io", ..WIDE };
const WEBHOOKS: Row = Row {
    group: "admissionregistration.k8s.io",
    categories: &["api-extensions"],
    generation: Generation::Content,
    ..WIDE
};
const FLOW: Row =
    Row { group: "flowcontrol.apiserver.k8s.io", status: true, generation: Generation::Spec, ..WIDE };
const REVIEW: Row = Row { group: "authorization.k8s.io", ..WIDE };
const EVENT: Row = Row { kind: "Event", plural: "events", short: &["ev"], ..ROW };

/// The kinds compiled in.
pub(super) const ROWS: &[Row] = &[
    // The core group.
    Row {
        kind: "Namespace",
        plural: "namespaces",
        short: &["ns"],
        definition: "api.core.v1.Namespace",
        status: true,
        more: &[&FINALIZE],
        hook: Hook::Namespace,
        fields: &[("status.phase", "")],
        ..WIDE
    },
    Row {
        kind: "Secret",
        plural: "secrets",
        definition: "api.core.v1.Secret",
        hook: Hook::Secret,
        fields: &[("type", "")],
        ..ROW
    },
    Row {
        kind: "ConfigMap",
        plural: "configmaps",
        short: &["cm"],
        definition: "api.core.v1.ConfigMap",
        hook: Hook::ConfigMap,
        ..ROW
    },
    Row {
        definition: "api.core.v1.Event",
        fields: &[
            ("involvedObject.kind", ""),
            ("involvedObject.namespace", ""),
            ("involvedObject.name", ""),
            ("involvedObject.uid", ""),
            ("involvedObject.apiVersion", ""),
            ("involvedObject.resourceVersion", ""),
            ("involvedObject.fieldPath", ""),
            ("reason", ""),
            ("reportingComponent", ""),
            ("source", ""),
            ("type", ""),
        ],
        ..EVENT
    },
    Row {
        group: "events.k8s.io",
        definition: "api.events.v1.Event",
        fields: &[
            ("regarding.kind", ""),
            ("regarding.namespace", ""),
            ("regarding.name", ""),
            ("regarding.uid", ""),
            ("regarding.apiVersion", ""),
            ("regarding.resourceVersion", ""),
            ("regarding.fieldPath", ""),
            ("reason", ""),
            ("reportingController", ""),
            ("type", ""),
        ],
        ..EVENT
    },
    Row {
        kind: "Node",
        plural: "nodes",
        short: &["no"],
        definition: "api.core.v1.Node",
        folder: "minions",
        status: true,
        more: &[&NODE_PROXY],
        fields: &[("spec.unschedulable", "false")],
        ..WIDE
    },
    Row {
        kind: "Pod",
        plural: "pods",
        short: &["po"],
        categories: &["all"],
        definition: "api.core.v1.Pod",
        status: true,
        more: &[
            &ATTACH,
            &BINDING,
            &EPHEMERAL_CONTAINERS,
            &EVICTION,
            &EXEC,
            &LOG,
            &PORT_FORWARD,
            &POD_PROXY,
            &RESIZE,
        ],
        hook: Hook::Pod,
        generation: Generation::Spec,
        fields: &[
            ("spec.nodeName", ""),
            ("spec.restartPolicy", ""),
            ("spec.schedulerName", ""),
            ("spec.serviceAccountName", ""),
            ("spec.hostNetwork", "false"),
            ("status.phase", ""),
            ("status.podIP", ""),
            ("status.nominatedNodeName", ""),
        ],
        ..ROW
    },
    Row {
        kind: "PodTemplate",
        plural: "podtemplates",
        definition: "api.core.v1.PodTemplate",
        generation: Generation::Content,
        ..ROW
    },
    Row {
        group: "",
        kind: "ReplicationController",
        plural: "replicationcontrollers",
        short: &["rc"],
        definition: "api.core.v1.ReplicationController",
        folder: "controllers",
        scale: true,
        fields: &[("status.replicas", "0")],
        ..WORKLOAD
    },
    Row {
        kind: "ServiceAccount",
        plural: "serviceaccounts",
        short: &["sa"],
        definition: "api.core.v1.ServiceAccount",
        more: &[&TOKEN],
        ..ROW
    },
    Row {
        kind: "Service",
        plural: "services",
        short: &["svc"],
        categories: &["all"],
        definition: "api.core.v1.Service",
        folder: "services/specs",
        status: true,
        more: &[&SERVICE_PROXY],
        fields: &[("spec.clusterIP", ""), ("spec.type", "")],
        ..ROW
    },
    Row {
        kind: "Endpoints",
        plural: "endpoints",
        short: &["ep"],
        definition: "api.core.v1.Endpoints",
        folder: "services/endpoints",
        deprecation: Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        ..ROW
    },
    Row {
        kind: "PersistentVolume",
        plural: "persistentvolumes",
        short: &["pv"],
        definition: "api.core.v1.PersistentVolume",
        status: true,
        ..WIDE
    },
    Row {
        kind: "PersistentVolumeClaim",
        plural: "persistentvolumeclaims",
        short: &["pvc"],
        definition: "api.core.v1.PersistentVolumeClaim",
        status: true,
        ..ROW
    },
    Row {
        kind: "LimitRange",
        plural: "limitranges",
        short: &["limits"],
        definition: "api.core.v1.LimitRange",
        ..ROW
    },
    Row {
        kind: "ResourceQuota",
        plural: "resourcequotas",
        short: &["quota"],
        definition: "api.core.v1.ResourceQuota",
        status: true,
        ..ROW
    },
    Row {
        kind: "Binding",
        plural: "bindings",
        definition: "api.core.v1.Binding",
        hook: Hook::Binding,
        ..ROW
    },
    // Workloads.
    Row {
        kind: "DaemonSet",
        plural: "daemonsets",
        short: &["ds"],
        definition: "api.apps.v1.DaemonSet",
        ..WORKLOAD
    },
    Row {
        kind: "Deployment",
        plural: "deployments",
        short: &["deploy"],
        definition: "api.apps.v1.Deployment",
        generation: Generation::SpecAndAnnotations,
        scale: true,
        ..WORKLOAD
    },
    Row {
        kind: "ReplicaSet",
        plural: "replicasets",
        short: &["rs"],
        definition: "api.apps.v1.ReplicaSet",
        scale: true,
        ..WORKLOAD
    },
    Row {
        kind: "StatefulSet",
        plural: "statefulsets",
        short: &["sts"],
        definition: "api.apps.v1.StatefulSet",
        scale: true,
        ..WORKLOAD
    },
    Row {
        group: "apps",
        kind: "ControllerRevision",
        plural: "controllerrevisions",
        definition: "api.apps.v1.ControllerRevision",
        ..ROW
    },
    Row {
        kind: "Job",
        plural: "jobs",
        definition: "api.batch.v1.Job",
        fields: &[("status.successful", "0")],
        ..BATCH
    },
    Row { kind: "CronJob", plural: "cronjobs", short: &["cj"], definition: "api.batch.v1.CronJob", ..BATCH },
    Row {
        group: "autoscaling",
        version: "v2",
        kind: "HorizontalPodAutoscaler",
        plural: "horizontalpodautoscalers",
        short: &["hpa"],
        categories: &["all"],
        definition: "api.autoscaling.v2.HorizontalPodAutoscaler",
        status: true,
        ..ROW
    },
    Row {
        group: "policy",
        kind: "PodDisruptionBudget",
        plural: "poddisruptionbudgets",
        short: &["pdb"],
        definition: "api.policy.v1.PodDisruptionBudget",
        status: true,
        generation: Generation::Spec,
        ..ROW
    },
    Row {
        group: "scheduling.k8s.io",
        kind: "PriorityClass",
        plural: "priorityclasses",
        short: &["pc"],
        definition: "api.scheduling.v1.PriorityClass",
        generation: Generation::Fixed,
        ..WIDE
    },
    Row {
        group: "node.k8s.io",
        kind: "RuntimeClass",
        plural: "runtimeclasses",
        definition: "api.node.v1.RuntimeClass",
        ..WIDE
    },
    // Networks.
    Row {
        group: "discovery.k8s.io",
        kind: "EndpointSlice",
        plural: "endpointslices",
        definition: "api.discovery.v1.EndpointSlice",
        generation: Generation::Content,
        ..ROW
    },
    Row {
        kind: "Ingress",
        plural: "ingresses",
        short: &["ing"],
        definition: "api.networking.v1.Ingress",
        folder: "ingress",
        status: true,
        generation: Generation::Spec,
        ..NETWORK
    },
    Row {
        kind: "IngressClass",
        plural: "ingressclasses",
        namespaced: false,
        definition: "api.networking.v1.IngressClass",
        generation: Generation::Spec,
        ..NETWORK
    },
    Row {
        kind: "NetworkPolicy",
        plural: "networkpolicies",
        short: &["netpol"],
        definition: "api.networking.v1.NetworkPolicy",
        generation: Generation::Spec,
        ..NETWORK
    },
    // Storage.
    Row {
        kind: "StorageClass",
        plural: "storageclasses",
        short: &["sc"],
        definition: "api.storage.v1.StorageClass",
        ..STORAGE
    },
    Row {
        kind: "CSIDriver",
        plural: "csidrivers",
        definition: "api.storage.v1.CSIDriver",
        generation: Generation::Spec,
        ..STORAGE
    },
    Row { kind: "CSINode", plural: "csinodes", definition: "api.storage.v1.CSINode", ..STORAGE },
    Row {
        kind: "CSIStorageCapacity",
        plural: "csistoragecapacities",
        namespaced: true,
        definition: "api.storage.v1.CSIStorageCapacity",
        ..STORAGE
    },
    Row {
        kind: "VolumeAttachment",
        plural: "volumeattachments",
        definition: "api.storage.v1.VolumeAttachment",
        status: true,
        ..STORAGE
    },
    Row {
        kind: "VolumeAttributesClass",
        plural: "volumeattributesclasses",
        short: &["vac"],
        definition: "api.storage.v1.VolumeAttributesClass",
        ..STORAGE
    },
    // Coordination, identity and access.
    Row {
        group: "coordination.k8s.io",
        kind: "Lease",
        plural: "leases",
        definition: "api.coordination.v1.Lease",
        ..ROW
    },
    Row {
        group: "certificates.k8s.io",
        kind: "CertificateSigningRequest",
        plural: "certificatesigningrequests",
        short: &["csr"],
        definition: "api.certificates.v1.CertificateSigningRequest",
        status: true,
        more: &[&APPROVAL],
        fields: &[("spec.signerName", "")],
        ..WIDE
    },
    Row { kind: "Role", plural: "roles", definition: "api.rbac.v1.Role", ..RBAC },
    Row { kind: "RoleBinding", plural: "rolebindings", definition: "api.rbac.v1.RoleBinding", ..RBAC },
    Row {
        kind: "ClusterRole",
        plural: "clusterroles",
        namespaced: false,
        definition: "api.rbac.v1.ClusterRole",
        ..RBAC
    },
    Row {
        kind: "ClusterRoleBinding",
        plural: "clusterrolebindings",
        namespaced: false,
        definition: "api.rbac.v1.ClusterRoleBinding",
        ..RBAC
    },
    Row {
        kind: "SelfSubjectAccessReview",
        plural: "selfsubjectaccessreviews",
        definition: "api.authorization.v1.SelfSubjectAccessReview",
        hook: Hook::SelfSubjectAccessReview,
        ..REVIEW
    },
    Row {
        kind: "SelfSubjectRulesReview",
        plural: "selfsubjectrulesreviews",
        definition: "api.authorization.v1.SelfSubjectRulesReview",
        hook: Hook::SelfSubjectRulesReview,
        ..REVIEW
    },
    Row {
        kind: "SubjectAccessReview",
        plural: "subjectaccessreviews",
        definition: "api.authorization.v1.SubjectAccessReview",
        hook: Hook::SubjectAccessReview,
        ..REVIEW
    },
    Row {
        kind: "LocalSubjectAccessReview",
        plural: "localsubjectaccessreviews",
        namespaced: true,
        definition: "api.authorization.v1.LocalSubjectAccessReview",
        hook: Hook::LocalSubjectAccessReview,
        ..REVIEW
    },
    Row {
        group: "authentication.k8s.io",
        kind: "SelfSubjectReview",
        plural: "selfsubjectreviews",
        definition: "api.authentication.v1.SelfSubjectReview",
        hook: Hook::SelfSubjectReview,
        ..WIDE
    },
    Row {
        group: "authentication.k8s.io",
        kind: "TokenReview",
        plural: "tokenreviews",
        definition: "api.authentication.v1.TokenReview",
        hook: Hook::TokenReview,
        ..WIDE
    },
    // Extensions of the API itself.
    Row {
        group: "apiextensions.k8s.io",
        kind: "CustomResourceDefinition",
        plural: "customresourcedefinitions",
        short: &["crd", "crds"],
        categories: &["api-extensions"],
        definition: CRD,
        folder: "apiextensions.k8s.io/customresourcedefinitions",
        status: true,
        generation: Generation::Spec,
        hook: Hook::CustomResourceDefinition,
        ..WIDE
    },
    Row {
        group: "apiregistration.k8s.io",
        kind: "APIService",
        plural: "apiservices",
        categories: &["api-extensions"],
        definition: "kube-aggregator.pkg.apis.apiregistration.v1.APIService",
        folder: "apiregistration.k8s.io/apiservices",
        status: true,
        ..WIDE
    },
    Row {
        kind: "ValidatingWebhookConfiguration",
        plural: "validatingwebhookconfigurations",
        definition: "api.admissionregistration.v1.ValidatingWebhookConfiguration",
        ..WEBHOOKS
    },
    Row {
        kind: "MutatingWebhookConfiguration",
        plural: "mutatingwebhookconfigurations",
        definition: "api.admissionregistration.v1.MutatingWebhookConfiguration",
        ..WEBHOOKS
    },
    Row { kind: "FlowSchema", plural: "flowschemas", definition: "api.flowcontrol.v1.FlowSchema", ..FLOW },
    Row {
        kind: "PriorityLevelConfiguration",
        plural: "prioritylevelconfigurations",
        definition: "api.flowcontrol.v1.PriorityLevelConfiguration",
        ..FLOW
    },
];
