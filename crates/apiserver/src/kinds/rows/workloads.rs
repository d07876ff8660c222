//! What others run, and what keeps it running: workloads, scaling, classes, devices.

use super::super::Generation;
use super::{BATCH, DEVICES, ROW, Row, WIDE, WORKLOAD};

pub(super) const ROWS: &[Row] = &[
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
        others: &[("v1", "api.autoscaling.v1.HorizontalPodAutoscaler")],
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
    // Devices.
    Row {
        kind: "DeviceClass",
        plural: "deviceclasses",
        namespaced: false,
        definition: "api.resource.v1.DeviceClass",
        generation: Generation::Spec,
        ..DEVICES
    },
    Row {
        kind: "ResourceClaim",
        plural: "resourceclaims",
        definition: "api.resource.v1.ResourceClaim",
        status: true,
        ..DEVICES
    },
    Row {
        kind: "ResourceClaimTemplate",
        plural: "resourceclaimtemplates",
        definition: "api.resource.v1.ResourceClaimTemplate",
        ..DEVICES
    },
    Row {
        kind: "ResourceSlice",
        plural: "resourceslices",
        namespaced: false,
        definition: "api.resource.v1.ResourceSlice",
        generation: Generation::Spec,
        fields: &[("spec.nodeName", ""), ("spec.driver", "")],
        ..DEVICES
    },
];
