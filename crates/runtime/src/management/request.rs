//! What a request is about, and on whose behalf it is made.

use std::sync::atomic::{AtomicBool, Ordering};

use kube::Resource;
use kube::api::PatchParams;
use kube::core::{ApiResource, DynamicObject, Request};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use windlass_model::Key;

use super::MANAGER;
use super::error::{Cause, ManagementError};
use crate::kind::Cached;
use crate::writes::Writes;

/// Whose writes these are.
pub(crate) struct Scope {
    pub(super) controller: &'static str,
    pub(super) key: Key,
    pub(super) writes: Writes,
    pub(super) conflicted: AtomicBool,
    /// The newest state of the object itself that this pass has written.
    pub(super) own: Mutex<Option<Value>>,
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

/// What a request is about, for its errors and for the record.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) verb: &'static str,
    pub(super) resource: &'a ApiResource,
    pub(super) key: &'a Key,
}

impl Target<'_> {
    pub(super) fn failed(&self, cause: Cause) -> ManagementError {
        let Self { verb, resource, key } = *self;
        ManagementError { verb, kind: resource.kind.clone(), key: key.clone(), source: Box::new(cause) }
    }

    pub(super) fn refused(&self, error: kube::Error) -> ManagementError {
        self.failed(match error {
            kube::Error::Api(status) => Cause::Refused(status),
            other => Cause::Request(other),
        })
    }

    pub(super) fn url(&self) -> Request {
        let namespace = Some(self.key.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        Request::new(DynamicObject::url_path(self.resource, namespace))
    }
}

/// Kind, version and plural of a typed kind.
pub fn resource_of<K: Cached>() -> ApiResource {
    ApiResource::erase::<K>(&())
}

pub(super) fn manager() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

pub(super) fn encode<K: Serialize>(target: &Target<'_>, object: &K) -> Result<Value, ManagementError> {
    serde_json::to_value(object).map_err(|error| target.failed(Cause::Object(error)))
}

pub(super) fn decode<K: Cached>(target: &Target<'_>, value: Value) -> Result<K, ManagementError> {
    serde_json::from_value(value).map_err(|error| target.failed(Cause::Object(error)))
}

/// Namespace and name of an object in JSON.
pub(super) fn value_key(object: &Value) -> Key {
    let text = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default();
    Key::new(text("/metadata/namespace"), text("/metadata/name"))
}

/// `object` with its `apiVersion` and `kind`.
pub(super) fn with_types(resource: &ApiResource, mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.entry("apiVersion").or_insert_with(|| resource.api_version.clone().into());
        fields.entry("kind").or_insert_with(|| resource.kind.clone().into());
    }
    object
}
