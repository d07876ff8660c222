//! Words about kinds and objects that the whole runtime shares.

use std::fmt;

use kube::Resource;
use kube::api::ObjectMeta;
use kube::core::ApiResource;
use serde::Serialize;
use serde::de::DeserializeOwned;
use windlass_model::{Key, Uid};

/// A typed object that the cache can hold.
pub trait Cached:
    Resource<DynamicType = ()> + Clone + fmt::Debug + DeserializeOwned + Serialize + Send + Sync + 'static
{
}

impl<K> Cached for K where
    K: Resource<DynamicType = ()> + Clone + fmt::Debug + DeserializeOwned + Serialize + Send + Sync + 'static
{
}

/// API group and kind, the version left open: what references of contract v1beta2 say.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKind {
    /// API group; empty for the core group.
    pub group: String,
    /// Kind, in CamelCase.
    pub kind: String,
}

impl GroupKind {
    /// From its two parts.
    pub fn new(group: impl Into<String>, kind: impl Into<String>) -> Self {
        Self { group: group.into(), kind: kind.into() }
    }

    /// That of a typed kind.
    pub fn of<K: Cached>() -> Self {
        Self::new(K::group(&()), K::kind(&()))
    }
}

impl From<&ApiResource> for GroupKind {
    fn from(resource: &ApiResource) -> Self {
        Self::new(&*resource.group, &*resource.kind)
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.kind)
        } else {
            write!(f, "{}.{}", self.kind, self.group)
        }
    }
}

/// Namespace and name of an object.
pub fn key_of<K: Resource>(object: &K) -> Key {
    meta_key(object.meta())
}

/// UID of an object; empty before it is created.
pub fn uid_of<K: Resource>(object: &K) -> Uid {
    Uid(object.meta().uid.clone().unwrap_or_default())
}

/// Namespace and name.
pub(crate) fn meta_key(meta: &ObjectMeta) -> Key {
    Key::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// A resource version as a number: Kubernetes promises that they compare (KEP-5504), and so do we.
pub(crate) fn version_of(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}
