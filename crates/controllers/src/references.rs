//! Who owns what, and where references point.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::api::ObjectMeta;
use serde_json::json;
use windlass_api::core::{Cluster, ContractRef};
use windlass_api::names;
use windlass_model::{Key, Uid};
use windlass_plan::referent::{Known, Referent};
use windlass_runtime::{Cached, External, GroupKind, Lookup, ManagementError, Pass};

/// The reference that says who controls the object.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Whether `owner` is among the owners, controlling or not.
pub(crate) fn is_owned_by(meta: &ObjectMeta, owner: &Uid) -> bool {
    meta.owner_references.iter().flatten().any(|reference| reference.uid == owner.0)
}

/// Whether `owner` controls the object.
pub(crate) fn is_controlled_by(meta: &ObjectMeta, owner: &Uid) -> bool {
    controller_of(meta).is_some_and(|reference| reference.uid == owner.0)
}

/// A plain owner: what it owns goes with it, but it does not look after it.
pub(crate) fn owner<K: Cached>(object: &K) -> OwnerReference {
    let meta = object.meta();
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        controller: None,
        block_owner_deletion: None,
    }
}

/// The owner that looks after the object.
pub(crate) fn controller<K: Cached>(object: &K) -> OwnerReference {
    OwnerReference { controller: Some(true), block_owner_deletion: Some(true), ..owner(object) }
}

/// `owners` with `reference` in the place of an older one to the same object, else at the end.
pub(crate) fn put_owner(owners: &mut Option<Vec<OwnerReference>>, reference: OwnerReference) {
    let owners = owners.get_or_insert_default();
    match owners.iter_mut().find(|known| known.uid == reference.uid) {
        Some(known) => *known = reference,
        None => owners.push(reference),
    }
}

/// Whether the object is on its way out.
pub(crate) fn is_leaving<K: Resource>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_some()
}

/// A label's value.
pub(crate) fn label<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(name).map(String::as_str)
}

/// An annotation's value.
pub(crate) fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(name).map(String::as_str)
}

/// Group and kind of a reference.
pub(crate) fn group_kind(reference: &ContractRef) -> GroupKind {
    GroupKind::new(&*reference.api_group, &*reference.kind)
}

/// What the cache knows of a reference's target; references never leave the namespace.
pub(crate) fn look(pass: &Pass, reference: &ContractRef) -> Referent<Arc<External>> {
    let key = pass.key.sibling(&*reference.name);
    let known = match pass.cache.external(&group_kind(reference), &key) {
        Lookup::Found(object) => Known::Present(object),
        Lookup::Absent => Known::Absent,
        Lookup::Unsynced => Known::Unsynced,
    };
    Referent { kind: reference.kind.clone(), name: reference.name.clone(), known }
}

/// The same reference with what an observation makes of its target.
pub(crate) fn observed<T>(
    target: &Referent<Arc<External>>,
    observe: impl FnOnce(&External) -> T,
) -> Referent<T> {
    let known = match &target.known {
        Known::Present(object) => Known::Present(observe(object)),
        Known::Absent => Known::Absent,
        Known::Unsynced => Known::Unsynced,
    };
    Referent { kind: target.kind.clone(), name: target.name.clone(), known }
}

/// Puts `owner` and, if given, the cluster's label on an object of a provider.
pub(crate) async fn own_external(
    pass: &Pass,
    kind: &GroupKind,
    object: &External,
    owner: OwnerReference,
    cluster: Option<&str>,
) -> Result<(), ManagementError> {
    let mut owners = object.metadata.owner_references.clone();
    put_owner(&mut owners, owner);
    let mut metadata = json!({ "ownerReferences": owners });
    if let Some(cluster) = cluster {
        metadata["labels"] = json!({ names::LABEL_CLUSTER_NAME: cluster });
    }
    let key = Key::new(
        object.metadata.namespace.clone().unwrap_or_default(),
        object.metadata.name.clone().unwrap_or_default(),
    );
    let resource = match pass.cache.resource(kind) {
        Some(resource) => resource,
        None => pass.management.resource(kind).await?,
    };
    let version = object.metadata.resource_version.as_deref();
    pass.management.patch_external(&resource, &key, json!({ "metadata": metadata }), version).await?;
    Ok(())
}

/// The Cluster an object belongs to.
pub(crate) fn cluster_of(pass: &Pass, name: &str) -> Option<Arc<Cluster>> {
    pass.cache.get::<Cluster>(&pass.key.sibling(name))
}

/// A count as the API writes it.
pub(crate) fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A count as decisions take it; what is negative counts as nothing.
pub(crate) fn natural(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}
