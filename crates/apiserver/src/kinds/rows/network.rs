//! Networks and storage.

use super::super::Generation;
use super::{NETWORK, ROW, Row, STORAGE};

pub(super) const ROWS: &[Row] = &[
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
    Row {
        kind: "IPAddress",
        plural: "ipaddresses",
        short: &["ip"],
        namespaced: false,
        definition: "api.networking.v1.IPAddress",
        ..NETWORK
    },
    Row {
        kind: "ServiceCIDR",
        plural: "servicecidrs",
        namespaced: false,
        definition: "api.networking.v1.ServiceCIDR",
        status: true,
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
];
