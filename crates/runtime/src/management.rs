//! The management cluster as a pass writes to it: every write is remembered until the cache has seen it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kube::api::{DeleteParams, GetParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{ApiResource, DynamicObject, Request};
use kube::{Client, Resource};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use windlass_contract::{Contract, ContractError, Resolved};
use windlass_model::{Key, Uid};

use crate::diff;
use crate::kind::{Cached, GroupKind, key_of};
use crate::writes::{Need, Writes};

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

/// A request to the management cluster failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {kind} {key}")]
pub struct ManagementError {
    verb: &'static str,
    kind: String,
    key: Key,
    #[source]
    source: Box<Cause>,
}

/// Why.
#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("{}", status_text(.0))]
    Refused(Box<kube::core::Status>),
    #[error(transparent)]
    Request(kube::Error),
    #[error("the object does not fit its kind")]
    Object(#[source] serde_json::Error),
    #[error(transparent)]
    Contract(ContractError),
    #[error("no definition of this kind is installed; install the provider that brings it")]
    Unknown,
}

fn status_text(status: &kube::core::Status) -> String {
    if status.message.is_empty() {
        format!("{} ({})", status.reason, status.code)
    } else {
        status.message.clone()
    }
}

impl ManagementError {
    fn code(&self) -> u16 {
        match &*self.source {
            Cause::Refused(status) => status.code,
            Cause::Unknown => 404,
            Cause::Request(_) | Cause::Object(_) | Cause::Contract(_) => 0,
        }
    }

    /// Somebody else wrote the object first.
    pub fn is_conflict(&self) -> bool {
        self.code() == 409
    }

    /// The object, its namespace or its kind does not exist.
    pub fn is_not_found(&self) -> bool {
        self.code() == 404
    }

    /// The server will refuse the same request again (a validation or an authorization): retrying is pointless.
    pub fn is_rejected(&self) -> bool {
        matches!(self.code(), 400 | 403 | 422)
    }
}

/// Whose writes these are.
pub(crate) struct Scope {
    controller: &'static str,
    key: Key,
    writes: Writes,
    conflicted: AtomicBool,
    /// The newest state of the object itself that this pass has written.
    own: Mutex<Option<Value>>,
}

impl Scope {
    pub(crate) fn new(controller: &'static str, key: Key, writes: Writes) -> Self {
        Self { controller, key, writes, conflicted: AtomicBool::new(false), own: Mutex::new(None) }
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// Whether a write of this pass was refused because it was based on an old version.
    pub(crate) fn conflicted(&self) -> bool {
        self.conflicted.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Management {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = self.scope.as_ref().map(|scope| (scope.controller, scope.key.to_string()));
        f.debug_struct("Management").field("scope", &scope).finish_non_exhaustive()
    }
}

/// What a request is about, for its errors and for the record.
#[derive(Clone, Copy)]
struct Target<'a> {
    verb: &'static str,
    resource: &'a ApiResource,
    key: &'a Key,
}

impl Target<'_> {
    fn failed(&self, cause: Cause) -> ManagementError {
        let Self { verb, resource, key } = *self;
        ManagementError { verb, kind: resource.kind.clone(), key: key.clone(), source: Box::new(cause) }
    }

    fn refused(&self, error: kube::Error) -> ManagementError {
        self.failed(match error {
            kube::Error::Api(status) => Cause::Refused(status),
            other => Cause::Request(other),
        })
    }

    fn url(&self) -> Request {
        let namespace = Some(self.key.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        Request::new(DynamicObject::url_path(self.resource, namespace))
    }
}

/// Kind, version and plural of a typed kind.
pub fn resource_of<K: Cached>() -> ApiResource {
    ApiResource::erase::<K>(&())
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

fn manager() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

fn encode<K: Serialize>(target: &Target<'_>, object: &K) -> Result<Value, ManagementError> {
    serde_json::to_value(object).map_err(|error| target.failed(Cause::Object(error)))
}

fn decode<K: Cached>(target: &Target<'_>, value: Value) -> Result<K, ManagementError> {
    serde_json::from_value(value).map_err(|error| target.failed(Cause::Object(error)))
}

/// Namespace and name of an object in JSON.
fn value_key(object: &Value) -> Key {
    let text = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default();
    Key::new(text("/metadata/namespace"), text("/metadata/name"))
}

/// `object` with its `apiVersion` and `kind`.
fn with_types(resource: &ApiResource, mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.entry("apiVersion").or_insert_with(|| resource.api_version.clone().into());
        fields.entry("kind").or_insert_with(|| resource.kind.clone().into());
    }
    object
}

/// Reads the definition of a kind and picks the version that speaks the newest contract.
pub(crate) async fn find_resource(
    client: &Client,
    kind: &GroupKind,
) -> Result<(ApiResource, Contract), ManagementError> {
    let definitions = windlass_contract::resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let key = Key::new("", windlass_contract::crd_name(&kind.group, &kind.kind));
    let target = Target { verb: "find", resource: &definitions, key: &key };
    let definition = Management::new(client.clone()).get_value(&definitions, &key).await?;
    let mut definition = definition.ok_or_else(|| target.failed(Cause::Unknown))?;
    let labels = definition.pointer_mut("/metadata/labels").map(Value::take).unwrap_or_default();
    let labels: BTreeMap<String, String> = serde_json::from_value(labels).unwrap_or_default();
    let resolved = windlass_contract::resolve(&key.name, &labels);
    let Resolved { contract, version } = resolved.map_err(|error| target.failed(Cause::Contract(error)))?;
    Ok((windlass_contract::resource(&kind.group, &version, &kind.kind), contract))
}
