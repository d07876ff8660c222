//! The table of compiled-in kinds.

mod control;
mod core;
mod network;
mod workloads;

use super::{Generation, Hook, Subresource};

/// One row of the table of kinds.
pub(in crate::kinds) struct Row {
    pub(in crate::kinds) group: &'static str,
    pub(in crate::kinds) version: &'static str,
    pub(in crate::kinds) kind: &'static str,
    pub(in crate::kinds) plural: &'static str,
    pub(in crate::kinds) short: &'static [&'static str],
    pub(in crate::kinds) categories: &'static [&'static str],
    pub(in crate::kinds) namespaced: bool,
    /// Name of the OpenAPI definition in `data/builtin-schemas.json`.
    pub(in crate::kinds) definition: &'static str,
    /// Versions that are served besides, with the names of their definitions.
    pub(in crate::kinds) others: &'static [(&'static str, &'static str)],
    /// Folder below `/registry/`, as kube-apiserver lays its keys out; the
    /// plural when empty.
    pub(in crate::kinds) folder: &'static str,
    pub(in crate::kinds) status: bool,
    pub(in crate::kinds) scale: bool,
    /// Subresources besides `status` and `scale`.
    pub(in crate::kinds) more: &'static [&'static Subresource],
    pub(in crate::kinds) generation: Generation,
    pub(in crate::kinds) hook: Hook,
    /// Fields that field selectors may name, with the value of an absent one.
    pub(in crate::kinds) fields: &'static [(&'static str, &'static str)],
    /// Warning for every use.
    pub(in crate::kinds) deprecation: Option<&'static str>,
}

/// Name of the schema of CustomResourceDefinition. Schemas in schemas recurse,
/// so that its inner part is checked by code, see `crd`.
pub(in crate::kinds) const CRD: &str = "CustomResourceDefinition";

const ROW: Row = Row {
    group: "",
    version: "v1",
    kind: "",
    plural: "",
    short: &[],
    categories: &[],
    namespaced: true,
    definition: "",
    others: &[],
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
const DEVICES: Row = Row { group: "resource.k8s.io", ..ROW };
const REVIEW: Row = Row { group: "authorization.k8s.io", ..WIDE };
const EVENT: Row = Row { kind: "Event", plural: "events", short: &["ev"], ..ROW };

/// The kinds compiled in.
pub(in crate::kinds) fn rows() -> impl Iterator<Item = &'static Row> {
    [core::ROWS, workloads::ROWS, network::ROWS, control::ROWS].into_iter().flatten()
}
