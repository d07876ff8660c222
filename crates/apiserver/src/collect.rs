//! What the garbage collector does about one finding.

use std::sync::Arc;

use serde_json::{Value, json};
use windlass_store::Entry;

use crate::call::{Call, Caller, Part};
use crate::delete::{DeleteOptions, FOREGROUND, ORPHAN, Propagation};
use crate::gc::{Index, Work};
use crate::kinds::{Kind, split_api_version};
use crate::namespaces::Remaining;
use crate::object::{Meta, OwnerRef, Stored};
use crate::server::Server;
use crate::status::ApiError;
use crate::write::Change;

/// How often a finding is looked at when others write what it is about.
const ATTEMPTS: usize = 5;

/// Whether a finding was dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was, or somebody else will report when it goes on.
    Settled,
    /// It was refused; to be tried again.
    Again,
}

/// Deals with findings.
pub struct Collector<'a> {
    pub(crate) server: &'a Server,
    pub(crate) caller: &'a Caller,
    pub(crate) index: &'a Index,
}

/// What has become of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// It is there, or nobody can tell.
    Solid,
    /// It waits for its dependents to go.
    Waiting,
    /// It is gone.
    Absent,
}

impl Collector<'_> {
    /// Looks at a finding against what is stored now.
    pub async fn look(&self, work: &Work) -> Done {
        for _ in 0..ATTEMPTS {
            match self.look_once(work).await {
                Ok(()) => return Done::Settled,
                // Gone: its change is on its way here.
                Err(error) if error.code == 404 => return Done::Settled,
                // Written by somebody else in between: look again.
                Err(error) if error.code == 409 => {}
                Err(error) => {
                    tracing::debug!(?work, %error, "garbage collection was refused");
                    return Done::Again;
                }
            }
        }
        Done::Again
    }

    async fn look_once(&self, work: &Work) -> Result<(), ApiError> {
        match work {
            Work::Dependent(key) => Box::pin(self.dependent(key)).await,
            Work::Owner(key) => Box::pin(self.owner(key)).await,
            // The task has found the owner before it asks.
            Work::Blocked(_) => Ok(()),
            Work::Namespace(name) => Box::pin(self.namespace(name)).await,
            Work::Definition(name) => Box::pin(self.definition(name)).await,
            Work::Expired(key, revision) => Box::pin(self.expired(key, *revision)).await,
        }
    }

    /// The kind behind a store key.
    fn kind_of(&self, key: &str) -> Option<Arc<Kind>> {
        let kinds = self.server.kinds();
        let stored = |kind: &&Arc<Kind>| !kind.hook.is_virtual() && key.starts_with(&kind.prefix);
        kinds.iter().filter(stored).max_by_key(|kind| (kind.prefix.len(), kind.group.is_empty())).cloned()
    }

    fn call(&self, kind: Arc<Kind>, meta: &Meta) -> Call<'_> {
        Call::internal(self.server, self.caller, kind, &meta.namespace, &meta.name)
    }

    fn read(&self, key: &str) -> Option<(Arc<Entry>, Meta)> {
        let entry = self.server.inner.store.get(key)?;
        let meta = Stored::of(&entry.value).ok()?.metadata().ok()?;
        Some((entry, meta))
    }

    fn owner_state(&self, owner: &OwnerRef, namespace: &str) -> Owner {
        let (group, _) = split_api_version(&owner.api_version);
        let kinds = self.server.kinds();
        let Some(kind) = kinds.by_kind(group, &owner.kind) else { return Owner::Solid };
        if kind.namespaced && namespace.is_empty() {
            // Not a valid owner; upstream leaves such objects alone.
            return Owner::Solid;
        }
        match self.read(&kind.key(namespace, &owner.name)) {
            Some((_, meta)) if meta.uid != owner.uid => Owner::Absent,
            Some((_, meta)) => {
                let waits = meta.deletion_timestamp.is_some()
                    && meta.finalizers.iter().any(|finalizer| finalizer == FOREGROUND);
                if waits { Owner::Waiting } else { Owner::Solid }
            }
            None => Owner::Absent,
        }
    }

    /// An object whose owners may be gone.
    async fn dependent(&self, key: &str) -> Result<(), ApiError> {
        let (Some((_, meta)), Some(kind)) = (self.read(key), self.kind_of(key)) else { return Ok(()) };
        let states: Vec<Owner> =
            meta.owner_references.iter().map(|owner| self.owner_state(owner, &meta.namespace)).collect();
        if states.iter().all(|state| *state == Owner::Solid) {
            return Ok(());
        }
        if states.contains(&Owner::Solid) {
            let gone: Vec<&str> = meta
                .owner_references
                .iter()
                .zip(&states)
                .filter(|(_, state)| **state != Owner::Solid)
                .map(|(owner, _)| owner.uid.as_str())
                .collect();
            return self.disown(kind, &meta, &gone).await;
        }
        if meta.deletion_timestamp.is_some() {
            return Ok(());
        }
        let has = |finalizer: &str| meta.finalizers.iter().any(|f| f == finalizer);
        let dependents = self.index.dependents(&meta.uid);
        let waits_for = states.contains(&Owner::Waiting) && !dependents.is_empty();
        if waits_for && dependents.keys().any(|key| self.waits(key)) {
            self.unblock(&kind, &meta).await?;
        }
        let propagation = if waits_for || has(FOREGROUND) {
            Propagation::Foreground
        } else if has(ORPHAN) {
            Propagation::Orphan
        } else {
            Propagation::Background
        };
        self.delete(kind, &meta, propagation).await
    }

    /// Whether an object waits for its dependents to go.
    fn waits(&self, key: &str) -> bool {
        self.read(key).is_some_and(|(_, meta)| {
            meta.deletion_timestamp.is_some() && meta.finalizers.iter().any(|f| f == FOREGROUND)
        })
    }

    /// Lets the owners of an object go before it: they may wait for each
    /// other in a circle.
    async fn unblock(&self, kind: &Arc<Kind>, meta: &Meta) -> Result<(), ApiError> {
        let call = self.call(Arc::clone(kind), meta);
        let entry = self.server.inner.store.get(&call.key()).ok_or_else(|| call.not_found())?;
        let mut owners = call.parse(&entry)?["metadata"]["ownerReferences"].take();
        for owner in owners.as_array_mut().into_iter().flatten() {
            if owner["blockOwnerDeletion"] == true {
                owner["blockOwnerDeletion"] = json!(false);
            }
        }
        let patch = json!({"metadata": {
            "uid": meta.uid, "resourceVersion": entry.mod_revision.to_string(), "ownerReferences": owners,
        }});
        call.change(Change::merge(patch)).await.map(|_| ())
    }

    async fn delete(&self, kind: Arc<Kind>, meta: &Meta, propagation: Propagation) -> Result<(), ApiError> {
        let options = DeleteOptions {
            propagation: Some(propagation),
            uid: Some(meta.uid.clone()),
            ..DeleteOptions::default()
        };
        self.call(kind, meta).delete(&options).await.map(|_| ())
    }

    /// Takes owners off an object.
    async fn disown(&self, kind: Arc<Kind>, meta: &Meta, uids: &[&str]) -> Result<(), ApiError> {
        let call = self.call(Arc::clone(&kind), meta);
        let entry = self.server.inner.store.get(&call.key()).ok_or_else(|| call.not_found())?;
        let object = call.parse(&entry)?;
        let kept: Vec<Value> = object
            .pointer("/metadata/ownerReferences")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter(|owner| !uids.contains(&owner["uid"].as_str().unwrap_or_default()))
            .cloned()
            .collect();
        let owners = if kept.is_empty() { Value::Null } else { Value::from(kept) };
        let patch = json!({"metadata": {
            "uid": meta.uid, "resourceVersion": entry.mod_revision.to_string(), "ownerReferences": owners,
        }});
        call.change(Change::merge(patch)).await.map(|_| ())
    }

    /// A deleted object that waits for its dependents.
    async fn owner(&self, key: &str) -> Result<(), ApiError> {
        let (Some((_, meta)), Some(kind)) = (self.read(key), self.kind_of(key)) else { return Ok(()) };
        if meta.deletion_timestamp.is_none() {
            return Ok(());
        }
        let has = |finalizer: &str| meta.finalizers.iter().any(|f| f == finalizer);
        let dependents = self.index.dependents(&meta.uid);
        if has(ORPHAN) {
            for dependent in dependents.keys() {
                let (Some((_, child)), Some(kind)) = (self.read(dependent), self.kind_of(dependent)) else {
                    continue;
                };
                self.disown(kind, &child, &[meta.uid.as_str()]).await?;
            }
            return self.release(kind, &meta, ORPHAN).await;
        }
        let blocks = |(key, blocks): (&Arc<str>, &bool)| *blocks && self.read(key).is_some();
        if has(FOREGROUND) && !dependents.iter().any(blocks) {
            return self.release(kind, &meta, FOREGROUND).await;
        }
        Ok(())
    }

    /// Takes a finalizer off an object.
    async fn release(&self, kind: Arc<Kind>, meta: &Meta, finalizer: &str) -> Result<(), ApiError> {
        let call = self.call(kind, meta);
        let entry = self.server.inner.store.get(&call.key()).ok_or_else(|| call.not_found())?;
        let now = Stored::of(&entry.value)?.metadata()?;
        let kept: Vec<&String> = now.finalizers.iter().filter(|f| *f != finalizer).collect();
        let finalizers = if kept.is_empty() { Value::Null } else { json!(kept) };
        let patch = json!({"metadata": {
            "uid": meta.uid, "resourceVersion": entry.mod_revision.to_string(), "finalizers": finalizers,
        }});
        call.change(Change::merge(patch)).await.map(|_| ())
    }

    /// An Event whose time is up, unless it was written again.
    async fn expired(&self, key: &str, revision: u64) -> Result<(), ApiError> {
        match (self.read(key), self.kind_of(key)) {
            (Some((entry, meta)), Some(kind)) if entry.mod_revision == revision => {
                self.delete(kind, &meta, Propagation::Background).await
            }
            _ => Ok(()),
        }
    }

    /// A namespace being removed: everything in it goes, then the namespace.
    async fn namespace(&self, name: &str) -> Result<(), ApiError> {
        let key = format!("/registry/namespaces/{name}");
        let Some((_, meta)) = self.read(&key).filter(|(_, meta)| meta.deletion_timestamp.is_some()) else {
            return Ok(());
        };
        let remaining = self.clear_namespace(name).await?;
        if !remaining.is_empty() {
            return self.report(&meta, &remaining).await;
        }
        // Creates that saw the namespace alive have ended once the turn is
        // ours; what they made shows now.
        let _turn = self.server.inner.namespaces.write().await;
        let remaining = self.clear_namespace(name).await?;
        self.report(&meta, &remaining).await?;
        if !remaining.is_empty() {
            return Ok(());
        }
        let call = self.namespace_call(&meta, Part::Finalize)?;
        let Some(entry) = self.server.inner.store.get(&call.key()) else { return Ok(()) };
        let mut finalizers = call.parse(&entry)?["spec"]["finalizers"].take();
        if let Some(list) = finalizers.as_array_mut() {
            list.retain(|finalizer| finalizer != "kubernetes");
        }
        if finalizers == json!([]) {
            finalizers = Value::Null;
        }
        let patch = json!({"spec": {"finalizers": finalizers}});
        call.change(Change::merge(patch)).await.map(|_| ())
    }

    fn namespace_call(&self, meta: &Meta, part: Part) -> Result<Call<'_>, ApiError> {
        let kinds = self.server.kinds();
        let kind = kinds.get("", "namespaces").ok_or_else(ApiError::no_such_path)?;
        let mut call = self.call(Arc::clone(kind), meta);
        call.part = part;
        Ok(call)
    }

    /// Deletes the content of a namespace; returns what still waits.
    async fn clear_namespace(&self, name: &str) -> Result<Remaining, ApiError> {
        let mut remaining = Remaining::default();
        let kinds = self.server.kinds();
        for kind in kinds.iter().filter(|kind| kind.namespaced && !kind.hook.is_virtual()) {
            self.clear(kind, Some(name)).await?;
            let prefix = kind.collection(Some(name));
            let left =
                self.server.inner.store.range(&prefix, None, None, None).map_err(ApiError::internal)?;
            for entry in left.entries {
                remaining.count(kind, &Stored::of(&entry.value)?.metadata()?);
            }
        }
        Ok(remaining)
    }

    /// Says in the namespace's conditions what it waits for.
    async fn report(&self, meta: &Meta, remaining: &Remaining) -> Result<(), ApiError> {
        let call = self.namespace_call(meta, Part::Status)?;
        let Some(entry) = self.server.inner.store.get(&call.key()) else { return Ok(()) };
        let before = call.parse(&entry)?["status"]["conditions"].take();
        let now = crate::rules::seconds(call.now);
        let conditions = remaining.conditions(before.as_array().map_or(&[], Vec::as_slice), &now);
        if before == conditions {
            return Ok(());
        }
        let patch = json!({"status": {"conditions": conditions}});
        call.change(Change::merge(patch)).await.map(|_| ())
    }

    /// A definition being removed: its objects go first.
    async fn definition(&self, name: &str) -> Result<(), ApiError> {
        let kinds = self.server.kinds();
        let definitions = kinds
            .get("apiextensions.k8s.io", "customresourcedefinitions")
            .ok_or_else(ApiError::no_such_path)?;
        let Some((_, meta)) =
            self.read(&definitions.key("", name)).filter(|(_, meta)| meta.deletion_timestamp.is_some())
        else {
            return Ok(());
        };
        self.server.report_termination(name).await;
        let served = name.split_once('.').and_then(|(plural, group)| kinds.get(group, plural));
        if let Some(kind) = served
            && self.clear(kind, None).await? > 0
        {
            return Ok(());
        }
        self.release(Arc::clone(definitions), &meta, crate::crd::CLEANUP).await?;
        self.server.release_names(name).await;
        Ok(())
    }

    /// Deletes a collection; returns how many objects still wait.
    async fn clear(&self, kind: &Arc<Kind>, namespace: Option<&str>) -> Result<usize, ApiError> {
        let store = &self.server.inner.store;
        let prefix = kind.collection(namespace);
        let range = store.range(&prefix, None, None, None).map_err(ApiError::internal)?;
        for entry in &range.entries {
            let meta = Stored::of(&entry.value)?.metadata()?;
            if meta.deletion_timestamp.is_none() {
                match self.delete(Arc::clone(kind), &meta, Propagation::Background).await {
                    Err(error) if error.code != 404 => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
        }
        let left = store.range(&prefix, None, Some(1), None).map_err(ApiError::internal)?;
        Ok(left.entries.len())
    }
}
