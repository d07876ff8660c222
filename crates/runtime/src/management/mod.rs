//! The management cluster as a pass writes to it: every write is remembered until the cache has seen it.

mod error;
mod find;
mod request;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kube::Client;
use kube::api::{DeleteParams, GetParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::ApiResource;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use windlass_model::{Key, Uid};

use crate::diff;
use crate::kind::{Cached, GroupKind, key_of};
use crate::writes::Need;

pub use error::ManagementError;
pub(crate) use find::find_resource;
pub(crate) use request::Scope;
pub use request::resource_of;

use error::Cause;
use request::{Target, decode, encode, manager, value_key, with_types};

pub use kube::api::PropagationPolicy as Propagation;

/// Field manager of everything but applies: upstream's binary writes under this name.
pub const MANAGER: &str = "manager";

/// Writes and live reads, on behalf of one object.
#[derive(Clone)]
pub struct Management {
    client: Client,
    read_your_writes: bool,
    scope: Option<Arc<Scope>>,
    resources: Arc<Mutex<BTreeMap<GroupKind, (Instant, ApiResource)>>>,
}

/// A request that takes longer has failed, with or without effect; the next pass finds out.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the version of a kind found at run time is believed: definitions change with provider upgrades.
const BELIEVED: Duration = Duration::from_mins(1);

/// The end of a create.
#[derive(Clone, Debug, PartialEq)]
pub enum Created<K> {
    /// It is new.
    Made(K),
    /// An object of this name was there already.
    Existed,
}

/// The end of a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The server has accepted the deletion; finalizers may still hold the object.
    Asked,
    /// There was nothing (any more), or another incarnation.
    Gone,
}

impl fmt::Debug for Management {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = self.scope.as_ref().map(|scope| (scope.controller, scope.key.to_string()));
        f.debug_struct("Management").field("scope", &scope).finish_non_exhaustive()
    }
}

impl Management {
    /// Access without a pass around it: nothing is remembered.
    pub fn new(client: Client) -> Self {
        Self { client, read_your_writes: false, scope: None, resources: Arc::default() }
    }

    pub(crate) fn remembering(mut self, read_your_writes: bool) -> Self {
        self.read_your_writes = read_your_writes;
        self
    }

    pub(crate) fn scoped(&self, scope: Arc<Scope>) -> Self {
        Self { scope: Some(scope), ..self.clone() }
    }

    /// One request, under the name of the controller that makes it.
    async fn send(&self, mut request: http::Request<Vec<u8>>) -> Result<Value, kube::Error> {
        if let Some(scope) = &self.scope
            && let Ok(agent) = http::HeaderValue::from_str(&format!("windlass-{}", scope.controller))
        {
            request.headers_mut().insert(http::header::USER_AGENT, agent);
        }
        let answer = tokio::time::timeout(PATIENCE, self.client.request(request)).await;
        answer.map_err(|elapsed| kube::Error::Service(elapsed.into()))?
    }

    /// The plain client, for what this type has no words for. Writes through it are not remembered.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Reads an object live. Secrets and ConfigMaps are only ever read like this.
    pub async fn get<K: Cached>(&self, key: &Key) -> Result<Option<K>, ManagementError> {
        let resource = resource_of::<K>();
        let target = Target { verb: "read", resource: &resource, key };
        match self.get_value(&resource, key).await? {
            Some(value) => Ok(Some(decode(&target, value)?)),
            None => Ok(None),
        }
    }

    /// Reads an object of any kind live.
    pub async fn get_value(
        &self,
        resource: &ApiResource,
        key: &Key,
    ) -> Result<Option<Value>, ManagementError> {
        let target = Target { verb: "read", resource, key };
        let request = target.url().get(&key.name, &GetParams::default()).map_err(kube::Error::BuildRequest);
        let request = request.map_err(|error| target.refused(error))?;
        match self.send(request).await {
            Ok(value) => Ok(Some(with_types(resource, value))),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(target.refused(error)),
        }
    }

    /// Reads an object of a kind found at run time (a template, say) live. `None` if the object is missing; a
    /// missing kind is an error.
    pub async fn get_external(&self, kind: &GroupKind, key: &Key) -> Result<Option<Value>, ManagementError> {
        let resource = self.resource(kind).await?;
        self.get_value(&resource, key).await
    }

    /// Version and plural of a kind found at run time, read from its definition's contract label.
    pub async fn resource(&self, kind: &GroupKind) -> Result<ApiResource, ManagementError> {
        if let Some((found, resource)) = self.resources.lock().get(kind)
            && found.elapsed() < BELIEVED
        {
            return Ok(resource.clone());
        }
        let (resource, _) = find_resource(&self.client, kind).await?;
        self.resources.lock().insert(kind.clone(), (Instant::now(), resource.clone()));
        Ok(resource)
    }

    /// Creates an object; one that exists is left alone.
    pub async fn create<K: Cached>(&self, object: &K) -> Result<Created<K>, ManagementError> {
        let (resource, key) = (resource_of::<K>(), key_of(object));
        let target = Target { verb: "create", resource: &resource, key: &key };
        match self.create_value(&resource, &encode(&target, object)?).await? {
            Created::Made(value) => Ok(Created::Made(decode(&target, value)?)),
            Created::Existed => Ok(Created::Existed),
        }
    }

    /// Creates an object of any kind; one that exists is left alone.
    pub async fn create_value(
        &self,
        resource: &ApiResource,
        object: &Value,
    ) -> Result<Created<Value>, ManagementError> {
        let key = value_key(object);
        let target = Target { verb: "create", resource, key: &key };
        let body = serde_json::to_vec(&with_types(resource, object.clone()));
        let body = body.map_err(|error| target.failed(Cause::Object(error)))?;
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let request = target.url().create(&params, body).map_err(kube::Error::BuildRequest);
        match self.send(request.map_err(|error| target.refused(error))?).await {
            Ok(value) => {
                self.record(&target, &value);
                Ok(Created::Made(with_types(resource, value)))
            }
            Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists" => {
                Ok(Created::Existed)
            }
            Err(error) => Err(target.refused(error)),
        }
    }

    /// Server-side apply of `intent` by force, as `manager`. The intent names the object.
    pub async fn apply(
        &self,
        resource: &ApiResource,
        manager: &str,
        intent: &Value,
    ) -> Result<Value, ManagementError> {
        let key = value_key(intent);
        let target = Target { verb: "apply", resource, key: &key };
        let params = PatchParams::apply(manager).force();
        let patch = Patch::Apply(with_types(resource, intent.clone()));
        self.patch(&target, None, &params, &patch, None).await
    }

    /// Server-side apply of a typed kind by force, as `manager`.
    pub async fn apply_typed<K: Cached>(&self, manager: &str, intent: &Value) -> Result<K, ManagementError> {
        let (resource, key) = (resource_of::<K>(), value_key(intent));
        let value = self.apply(&resource, manager, intent).await?;
        decode(&Target { verb: "apply", resource: &resource, key: &key }, value)
    }

    /// Writes what differs in metadata and spec, and nothing if nothing does. A change of finalizers or owner
    /// references conflicts if anybody has written the object since `before`.
    pub async fn update<K: Cached>(&self, before: &K, after: &K) -> Result<Option<K>, ManagementError> {
        self.write(before, after, None).await
    }

    /// Writes what differs in status, and nothing if nothing does. A change of conditions conflicts if anybody
    /// has written the object since `before`.
    pub async fn update_status<K: Cached>(
        &self,
        before: &K,
        after: &K,
    ) -> Result<Option<K>, ManagementError> {
        self.write(before, after, Some("status")).await
    }

    async fn write<K: Cached>(
        &self,
        before: &K,
        after: &K,
        subresource: Option<&str>,
    ) -> Result<Option<K>, ManagementError> {
        let (resource, key) = (resource_of::<K>(), key_of(before));
        let verb = if subresource.is_some() { "update the status of" } else { "update" };
        let target = Target { verb, resource: &resource, key: &key };
        let (old, new) = (encode(&target, before)?, encode(&target, after)?);
        let patch = match subresource {
            Some(_) => diff::status(&self.newest::<K>(&target, old, diff::status_part), &new),
            None => diff::main(&self.newest::<K>(&target, old, diff::main_part), &new),
        };
        let Some(patch) = patch else { return Ok(None) };
        let locked = diff::locked_at(&patch);
        let value = self.patch(&target, subresource, &manager(), &Patch::Merge(patch), locked).await?;
        decode(&target, value).map(Some)
    }

    /// `old` with the resource version that this pass itself has given the object since: our own earlier write
    /// is no conflict. Unless `part`, which the lock protects, has changed under it: then it is one.
    fn newest<K: Cached>(
        &self,
        target: &Target<'_>,
        mut old: Value,
        part: fn(&Value) -> Vec<Value>,
    ) -> Value {
        let Some(scope) = &self.scope else { return old };
        let own = scope.own.lock().clone().filter(|_| *target.key == scope.key);
        let own =
            own.filter(|own| own.get("kind").and_then(Value::as_str) == Some(target.resource.kind.as_str()));
        // Through the type, so that both sides are spelled alike.
        let own = own.and_then(|own| serde_json::from_value::<K>(own).ok());
        let Some(own) = own.and_then(|own| serde_json::to_value(own).ok()) else { return old };
        if part(&own) == part(&old)
            && let (Some(slot), Some(version)) =
                (old.pointer_mut("/metadata/resourceVersion"), own.pointer("/metadata/resourceVersion"))
        {
            *slot = version.clone();
        }
        old
    }

    /// A merge patch of an object of any kind. With `lock` it conflicts unless the object still has that
    /// resource version.
    pub async fn patch_external(
        &self,
        resource: &ApiResource,
        key: &Key,
        patch: Value,
        lock: Option<&str>,
    ) -> Result<Value, ManagementError> {
        let target = Target { verb: "update", resource, key };
        let mut patch = patch;
        if let (Some(version), Some(fields)) = (lock, patch.as_object_mut())
            && let Some(meta) = fields.entry("metadata").or_insert_with(|| json!({})).as_object_mut()
        {
            meta.insert("resourceVersion".to_owned(), version.into());
        }
        let locked = diff::locked_at(&patch);
        self.patch(&target, None, &manager(), &Patch::Merge(patch), locked).await
    }

    async fn patch<P: Serialize + fmt::Debug>(
        &self,
        target: &Target<'_>,
        subresource: Option<&str>,
        params: &PatchParams,
        patch: &Patch<P>,
        locked: Option<u64>,
    ) -> Result<Value, ManagementError> {
        let name = &target.key.name;
        let request = match subresource {
            Some(part) => target.url().patch_subresource(part, name, params, patch),
            None => target.url().patch(name, params, patch),
        };
        let request = request.map_err(|error| target.refused(kube::Error::BuildRequest(error)))?;
        match self.send(request).await {
            Ok(value) => {
                self.record(target, &value);
                Ok(with_types(target.resource, value))
            }
            Err(error) => {
                let error = target.refused(error);
                if let (true, Some(version)) = (error.is_conflict(), locked) {
                    self.overtaken(target, version);
                }
                Err(error)
            }
        }
    }

    /// Deletes an object of a typed kind, if it still is that incarnation.
    pub async fn delete<K: Cached>(
        &self,
        key: &Key,
        uid: &Uid,
        how: Propagation,
    ) -> Result<Deleted, ManagementError> {
        self.delete_as(&resource_of::<K>(), key, uid, how).await
    }

    /// Deletes an object of any kind, if it still is that incarnation.
    pub async fn delete_as(
        &self,
        resource: &ApiResource,
        key: &Key,
        uid: &Uid,
        how: Propagation,
    ) -> Result<Deleted, ManagementError> {
        let target = Target { verb: "delete", resource, key };
        let preconditions = Preconditions { resource_version: None, uid: Some(uid.0.clone()) };
        let params = DeleteParams {
            propagation_policy: Some(how),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        let request = target.url().delete(&key.name, &params).map_err(kube::Error::BuildRequest);
        match self.send(request.map_err(|error| target.refused(error))?).await {
            Ok(value) => {
                self.record(&target, &value);
                self.need(&target, Need::Gone(key.clone(), uid.clone()));
                Ok(Deleted::Asked)
            }
            // Gone, or replaced by a namesake: either way the cache is behind, and the next pass waits for it.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                self.need(&target, Need::Gone(key.clone(), uid.clone()));
                Ok(Deleted::Gone)
            }
            Err(error) => Err(target.refused(error)),
        }
    }

    /// Puts the finalizer on and returns the object as it is then.
    pub(crate) async fn add_finalizer<K: Cached>(
        &self,
        object: &K,
        finalizer: &str,
    ) -> Result<K, ManagementError> {
        let mut after = object.clone();
        after.meta_mut().finalizers.get_or_insert_default().push(finalizer.to_owned());
        Ok(self.update(object, &after).await?.unwrap_or(after))
    }

    /// Takes the finalizer off. An object that is gone already is fine.
    pub(crate) async fn remove_finalizer<K: Cached>(
        &self,
        object: &K,
        finalizer: &str,
    ) -> Result<(), ManagementError> {
        let mut after = object.clone();
        after.meta_mut().finalizers.get_or_insert_default().retain(|name| name != finalizer);
        match self.update(object, &after).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Remembers a write until the cache has seen it.
    fn record(&self, target: &Target<'_>, answer: &Value) {
        if let Some(scope) = &self.scope
            && *target.key == scope.key
        {
            *scope.own.lock() = Some(with_types(target.resource, answer.clone()));
        }
        let version = answer.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        if let Some(version) = version.and_then(|version| version.parse().ok()) {
            self.need(target, Need::Version(version));
        }
    }

    /// Remembers that the cache's copy of the object is older than the server's.
    fn overtaken(&self, target: &Target<'_>, version: u64) {
        if let Some(scope) = &self.scope {
            scope.conflicted.store(true, Ordering::Relaxed);
        }
        self.need(target, Need::Moved(target.key.clone(), version));
    }

    fn need(&self, target: &Target<'_>, need: Need) {
        if let (Some(scope), true) = (&self.scope, self.read_your_writes) {
            scope.writes.add(&scope.key, GroupKind::from(target.resource), need);
        }
    }
}
