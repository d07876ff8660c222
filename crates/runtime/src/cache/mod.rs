//! The process' one view of the management cluster: a store per kind, each fed by one watch.

mod external;
mod feed;
mod store;

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use kube::Client;
use kube::core::ApiResource;
use tokio::sync::SetOnce;
use windlass_contract::{Contract, External};
use windlass_model::{Key, Uid};

pub(crate) use external::Externals;
pub(crate) use store::{Store, Waiter};

use crate::kind::{Cached, GroupKind};
use crate::queue::Priority;
use crate::tasks::{Spawner, Tasks};
use crate::writes::{Check, Need};

/// Reads of cached objects; cheap to clone.
///
/// Typed kinds are synced before the first pass starts, so "not there" means that. A kind that is found at
/// run time says [`Lookup::Unsynced`] until its first list has arrived.
#[derive(Clone)]
pub struct Cache {
    shared: Arc<Shared>,
    /// The object whose pass this is: it is woken when an external object it asked for changes.
    asker: Option<Waiter>,
}

/// An external object, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    /// Here it is.
    Found(T),
    /// It does not exist.
    Absent,
    /// Nobody knows yet: the watch of its kind is starting. The asker is woken when it has started.
    Unsynced,
}

impl<T> Lookup<T> {
    /// The object, if there is one.
    pub fn found(self) -> Option<T> {
        match self {
            Self::Found(object) => Some(object),
            Self::Absent | Self::Unsynced => None,
        }
    }
}

pub(crate) struct Shared {
    typed: BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>,
    kinds: BTreeMap<GroupKind, Arc<dyn Kind>>,
    externals: Externals,
}

/// What the cache needs of a typed store without knowing its type.
pub(crate) trait Kind: Send + Sync {
    fn check(&self, need: &Need, waiter: &Waiter) -> Check;
    fn version(&self) -> u64;
    fn resource(&self) -> ApiResource;
    fn synced(&self) -> &SetOnce<()>;
    fn external(&self, key: &Key, asker: Option<&Waiter>) -> Lookup<Arc<External>>;
    fn start(self: Arc<Self>, client: Client, cache: Weak<Shared>, spawner: &Spawner);
}

impl Cache {
    fn store<K: Cached>(&self) -> Arc<Store<K>> {
        let known = self.shared.typed.get(&TypeId::of::<K>()).cloned();
        let store = known.and_then(|store| store.downcast::<Store<K>>().ok());
        store.expect("a kind is read from the cache only by controllers that declared it in `watches`")
    }

    /// The object, if it exists.
    pub fn get<K: Cached>(&self, key: &Key) -> Option<Arc<K>> {
        self.store::<K>().get(key)
    }

    /// All objects of a namespace, by name.
    pub fn list<K: Cached>(&self, namespace: &str) -> Vec<Arc<K>> {
        self.store::<K>().list(namespace)
    }

    /// All objects of all namespaces, by namespace and name.
    pub fn all<K: Cached>(&self) -> Vec<Arc<K>> {
        self.store::<K>().all()
    }

    /// The objects labelled with the cluster's name, by name.
    pub fn of_cluster<K: Cached>(&self, namespace: &str, cluster: &str) -> Vec<Arc<K>> {
        self.store::<K>().of_cluster(namespace, cluster)
    }

    /// The objects with an owner reference (controller or not) to `owner`, by namespace and name.
    pub fn owned_by<K: Cached>(&self, owner: &Uid) -> Vec<Arc<K>> {
        self.store::<K>().owned_by(owner)
    }

    /// An object of a kind found at run time. The first call for a kind starts its watch; an event of the
    /// object, or the end of the first list, wakes the object whose pass asked.
    pub fn external(&self, kind: &GroupKind, key: &Key) -> Lookup<Arc<External>> {
        match self.shared.kinds.get(kind) {
            Some(typed) => typed.external(key, self.asker.as_ref()),
            None => self.shared.externals.get(kind, key, self.asker.as_ref(), Arc::downgrade(&self.shared)),
        }
    }

    /// Version and plural of a kind found at run time, once its watch has started.
    pub fn resource(&self, kind: &GroupKind) -> Option<ApiResource> {
        match self.shared.kinds.get(kind) {
            Some(typed) => Some(typed.resource()),
            None => self.shared.externals.resource(kind).map(|(resource, _)| resource),
        }
    }

    /// What the fields of a kind found at run time mean: the version of the contract that it speaks. Known
    /// whenever [`Cache::external`] finds objects of it.
    pub fn contract(&self, kind: &GroupKind) -> Contract {
        self.shared.externals.resource(kind).map_or(Contract::V1Beta2, |(_, contract)| contract)
    }

    /// The same cache, asked on behalf of one object.
    pub(crate) fn asked_by(&self, asker: Waiter) -> Self {
        Self { shared: self.shared.clone(), asker: Some(asker) }
    }

    pub(crate) fn from_shared(shared: Arc<Shared>) -> Self {
        Self { shared, asker: None }
    }

    /// Whether the cache has seen `need`; if not, `waiter` is woken when it is worth asking again.
    pub(crate) fn check(&self, kind: &GroupKind, need: &Need, waiter: &Waiter) -> Check {
        match self.shared.kinds.get(kind) {
            Some(typed) => typed.check(need, waiter),
            None => self.shared.externals.check(kind, need, waiter),
        }
    }

    /// How far the watch of a typed kind has come; for tests and metrics.
    pub fn version(&self, kind: &GroupKind) -> Option<u64> {
        self.shared.kinds.get(kind).map(|typed| typed.version())
    }

    /// Whether every typed kind has been listed once.
    pub fn is_synced(&self) -> bool {
        self.shared.kinds.values().all(|kind| kind.synced().initialized())
    }

    /// Resolves when every typed kind has been listed once.
    pub async fn synced(&self) {
        for kind in self.shared.kinds.values() {
            kind.synced().wait().await;
        }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("kinds", &self.shared.kinds.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Called for every change of an object of a kind, with the urgency of the change.
pub(crate) type Listener<K> = Arc<dyn Fn(&K, Priority, &Cache) + Send + Sync>;

/// Collects kinds and listeners before the first watch starts; afterwards neither changes.
#[derive(Default)]
pub(crate) struct CacheBuilder {
    typed: BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>,
    kinds: BTreeMap<GroupKind, Arc<dyn Kind>>,
    external: Vec<Listener<External>>,
}

impl CacheBuilder {
    /// Makes sure that a kind is cached.
    pub(crate) fn kind<K: Cached>(&mut self) -> Arc<Store<K>> {
        let id = TypeId::of::<K>();
        if let Some(store) = self.typed.get(&id).cloned().and_then(|store| store.downcast::<Store<K>>().ok())
        {
            return store;
        }
        let store = Arc::new(Store::<K>::new(ApiResource::erase::<K>(&())));
        self.typed.insert(id, store.clone());
        self.kinds.insert(GroupKind::of::<K>(), store.clone());
        store
    }

    pub(crate) fn external(&mut self, listener: Listener<External>) {
        self.external.push(listener);
    }

    /// Starts the watches.
    pub(crate) fn start(self, client: &Client, tasks: &Tasks) -> Cache {
        let Self { typed, kinds, external } = self;
        let externals = Externals::new(client.clone(), tasks.spawner(), external);
        let shared = Arc::new(Shared { typed, kinds, externals });
        for kind in shared.kinds.values() {
            kind.clone().start(client.clone(), Arc::downgrade(&shared), &tasks.spawner());
        }
        Cache::from_shared(shared)
    }
}
