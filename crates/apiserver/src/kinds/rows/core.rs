//! The core group.

use super::super::subresource::{
    ATTACH, BINDING, EPHEMERAL_CONTAINERS, EVICTION, EXEC, FINALIZE, LOG, NODE_PROXY, POD_PROXY,
    PORT_FORWARD, RESIZE, SERVICE_PROXY, TOKEN,
};
use super::super::{Generation, Hook};
use super::{EVENT, ROW, Row, WIDE, WORKLOAD};

pub(super) const ROWS: &[Row] = &[
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
        kind: "ComponentStatus",
        plural: "componentstatuses",
        short: &["cs"],
        definition: "api.core.v1.ComponentStatus",
        hook: Hook::ComponentStatus,
        deprecation: Some("v1 ComponentStatus is deprecated in v1.19+"),
        ..WIDE
    },
    Row {
        kind: "Binding",
        plural: "bindings",
        definition: "api.core.v1.Binding",
        hook: Hook::Binding,
        ..ROW
    },
];
