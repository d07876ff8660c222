//! The objects of one kind, their indexes, and who waits for them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use kube::api::ObjectMeta;
use kube::core::ApiResource;
use kube::{Client, Resource};
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::SetOnce;
use windlass_api::names::LABEL_CLUSTER_NAME;
use windlass_contract::External;
use windlass_model::{Key, Uid};

use super::feed::Feed;
use super::{Kind, Listener, Lookup, Shared};
use crate::dispatch::Inbox;
use crate::kind::{Cached, GroupKind, version_of};
use crate::tasks::Spawner;
use crate::watch::{Scope, run};
use crate::writes::{Check, Need};

/// An object of a controller that wants to hear about something.
#[derive(Clone)]
pub(crate) struct Waiter {
    pub(crate) inbox: Inbox,
    pub(crate) key: Key,
}

/// What a store must know of its objects.
pub(crate) trait Stored:
    Resource + Clone + fmt::Debug + DeserializeOwned + Send + Sync + 'static
{
}
impl<K: Resource + Clone + fmt::Debug + DeserializeOwned + Send + Sync + 'static> Stored for K {}

pub(crate) struct Store<K> {
    pub(super) resource: ApiResource,
    pub(super) state: RwLock<State<K>>,
    pub(super) listeners: Mutex<Vec<Listener<K>>>,
    /// Set by the first list. It wakes those who wait in the order in which they came, where a watch channel
    /// would choose one by chance: a simulation must be repeatable.
    pub(super) synced: SetOnce<()>,
    /// Set once somebody reads this typed kind as an external one: how to make it one.
    pub(super) bridge: OnceLock<fn(&ApiResource, &K) -> Option<External>>,
}

pub(super) struct State<K> {
    pub(super) objects: BTreeMap<Key, Arc<K>>,
    by_cluster: BTreeMap<(String, String), BTreeSet<Key>>,
    by_owner: BTreeMap<Uid, BTreeSet<Key>>,
    version: u64,
    pub(super) synced: bool,
    /// Parked until the watch reaches a version.
    by_version: BTreeMap<u64, Vec<Waiter>>,
    /// Parked until something happens to one object.
    by_object: BTreeMap<Key, Vec<Waiter>>,
    /// To be queued when something happens to one object (external reads), once.
    pub(super) interested: BTreeMap<Key, BTreeMap<(&'static str, Key), Waiter>>,
}

/// Who is to be called after the lock has been released.
#[derive(Default)]
pub(super) struct Wake {
    pub(super) parked: Vec<Waiter>,
    pub(super) interested: Vec<Waiter>,
}

impl<K: Stored> Store<K> {
    pub(crate) fn new(resource: ApiResource) -> Self {
        let state = State {
            objects: BTreeMap::new(),
            by_cluster: BTreeMap::new(),
            by_owner: BTreeMap::new(),
            version: 0,
            synced: false,
            by_version: BTreeMap::new(),
            by_object: BTreeMap::new(),
            interested: BTreeMap::new(),
        };
        Self {
            resource,
            state: RwLock::new(state),
            listeners: Mutex::new(Vec::new()),
            synced: SetOnce::new(),
            bridge: OnceLock::new(),
        }
    }

    pub(crate) fn resource(&self) -> &ApiResource {
        &self.resource
    }

    pub(crate) fn listen(&self, listener: Listener<K>) {
        self.listeners.lock().push(listener);
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.state.read().objects.get(key).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.state.read().objects.values().cloned().collect()
    }

    pub(crate) fn list(&self, namespace: &str) -> Vec<Arc<K>> {
        let state = self.state.read();
        let from = Key::new(namespace, "");
        let within = state.objects.range(from..).take_while(|(key, _)| key.namespace == namespace);
        within.map(|(_, object)| object.clone()).collect()
    }

    pub(crate) fn of_cluster(&self, namespace: &str, cluster: &str) -> Vec<Arc<K>> {
        let state = self.state.read();
        let keys = state.by_cluster.get(&(namespace.to_owned(), cluster.to_owned()));
        keys.into_iter().flatten().filter_map(|key| state.objects.get(key).cloned()).collect()
    }

    pub(crate) fn owned_by(&self, owner: &Uid) -> Vec<Arc<K>> {
        let state = self.state.read();
        let keys = state.by_owner.get(owner);
        keys.into_iter().flatten().filter_map(|key| state.objects.get(key).cloned()).collect()
    }

    /// The object, and the asker's name on the list of those to be woken when it changes.
    pub(crate) fn ask(&self, key: &Key, asker: Option<&Waiter>) -> Lookup<Arc<K>> {
        let mut state = self.state.write();
        if let Some(asker) = asker {
            let id = (asker.inbox.name(), asker.key.clone());
            state.interested.entry(key.clone()).or_default().insert(id, asker.clone());
        }
        match (state.objects.get(key), state.synced) {
            (_, false) => Lookup::Unsynced,
            (Some(object), true) => Lookup::Found(object.clone()),
            (None, true) => Lookup::Absent,
        }
    }

    /// Whether `need` has been seen. If not, `waiter` is on the list: both under one lock.
    pub(crate) fn wait(&self, need: &Need, waiter: &Waiter) -> Check {
        let mut state = self.state.write();
        if state.met(need) {
            return Check::Met;
        }
        match need {
            Need::Version(version) => state.by_version.entry(*version).or_default().push(waiter.clone()),
            Need::Gone(key, _) | Need::Moved(key, _) => {
                state.by_object.entry(key.clone()).or_default().push(waiter.clone());
            }
        }
        Check::Waiting
    }

    pub(crate) fn seen(&self) -> u64 {
        self.state.read().version
    }
}

impl<K: Stored> State<K> {
    fn met(&self, need: &Need) -> bool {
        let now = |key: &Key| self.objects.get(key).map(|object| object.meta());
        match need {
            Need::Version(version) => self.synced && self.version >= *version,
            Need::Gone(key, uid) => now(key).is_none_or(|meta| {
                meta.deletion_timestamp.is_some() || meta.uid.as_deref() != Some(uid.0.as_str())
            }),
            // What is not there has been deleted since, unless the cache is even older than the view that was
            // refused (which may have been read live).
            Need::Moved(key, version) => now(key).map_or(self.version, version_of) > *version,
        }
    }

    /// Puts an object in, or takes it out; returns what was there.
    pub(super) fn put(&mut self, key: &Key, new: Option<&Arc<K>>) -> Option<Arc<K>> {
        let old = match new {
            Some(object) => self.objects.insert(key.clone(), object.clone()),
            None => self.objects.remove(key),
        };
        if let Some(old) = &old {
            if let Some(cluster) = cluster_of(old.meta()) {
                remove(&mut self.by_cluster, &cluster, key);
            }
            for owner in owners_of(old.meta()) {
                remove(&mut self.by_owner, &owner, key);
            }
        }
        if let Some(new) = new {
            if let Some(cluster) = cluster_of(new.meta()) {
                self.by_cluster.entry(cluster).or_default().insert(key.clone());
            }
            for owner in owners_of(new.meta()) {
                self.by_owner.entry(owner).or_default().insert(key.clone());
            }
        }
        old
    }

    /// Everybody who waits for this object.
    pub(super) fn touched(&mut self, key: &Key, wake: &mut Wake) {
        wake.parked.extend(self.by_object.remove(key).into_iter().flatten());
        wake.interested.extend(self.interested.remove(key).into_iter().flat_map(BTreeMap::into_values));
    }

    /// The watch has reached `version`: everybody who waits for it or less.
    pub(super) fn reached(&mut self, version: u64, wake: &mut Wake) {
        self.version = self.version.max(version);
        if !self.synced {
            return;
        }
        while let Some((needed, _)) = self.by_version.first_key_value()
            && *needed <= self.version
            && let Some((_, waiters)) = self.by_version.pop_first()
        {
            wake.parked.extend(waiters);
        }
    }
}

fn remove<I: Ord>(index: &mut BTreeMap<I, BTreeSet<Key>>, at: &I, key: &Key) {
    if let Some(keys) = index.get_mut(at) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(at);
        }
    }
}

fn cluster_of(meta: &ObjectMeta) -> Option<(String, String)> {
    let name = meta.labels.as_ref()?.get(LABEL_CLUSTER_NAME)?;
    Some((meta.namespace.clone().unwrap_or_default(), name.clone()))
}

fn owners_of(meta: &ObjectMeta) -> impl Iterator<Item = Uid> {
    meta.owner_references.iter().flatten().map(|owner| Uid(owner.uid.clone()))
}

impl<K: Cached> Kind for Store<K> {
    fn check(&self, need: &Need, waiter: &Waiter) -> Check {
        self.wait(need, waiter)
    }

    fn version(&self) -> u64 {
        self.seen()
    }

    fn resource(&self) -> ApiResource {
        self.resource.clone()
    }

    fn synced(&self) -> &SetOnce<()> {
        &self.synced
    }

    fn external(&self, key: &Key, asker: Option<&Waiter>) -> Lookup<Arc<External>> {
        self.bridge.get_or_init(|| to_external::<K>);
        match self.ask(key, asker) {
            Lookup::Found(object) => {
                to_external(&self.resource, &*object).map_or(Lookup::Absent, |it| Lookup::Found(Arc::new(it)))
            }
            Lookup::Absent => Lookup::Absent,
            Lookup::Unsynced => Lookup::Unsynced,
        }
    }

    fn start(self: Arc<Self>, client: Client, cache: Weak<Shared>, spawner: &Spawner) {
        let name = format!("watch {}", GroupKind::from(&self.resource));
        let scope = Scope::all(self.resource.clone());
        spawner.spawn(name, async move { run(&client, &scope, &Feed { store: self, cache }).await });
    }
}

/// A typed object as one of unknown kind.
fn to_external<K: Serialize>(resource: &ApiResource, object: &K) -> Option<External> {
    let mut value = serde_json::to_value(object).ok()?;
    let fields = value.as_object_mut()?;
    fields.insert("apiVersion".to_owned(), resource.api_version.clone().into());
    fields.insert("kind".to_owned(), resource.kind.clone().into());
    serde_json::from_value(value).ok()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    #[test]
    fn needs_are_met_by_newer_views_only() {
        let store = Store::<ConfigMap>::new(ApiResource::erase::<ConfigMap>(&()));
        let key = Key::new("ns", "a");
        let see = |version: u64, object: Option<u64>| {
            let object = object.map(|version| {
                let metadata = ObjectMeta {
                    resource_version: Some(version.to_string()),
                    uid: Some("u".to_owned()),
                    ..ObjectMeta::default()
                };
                Arc::new(ConfigMap { metadata, ..ConfigMap::default() })
            });
            let mut state = store.state.write();
            state.put(&key, object.as_ref());
            (state.version, state.synced) = (version, true);
        };
        let (moved, gone) = (Need::Moved(key.clone(), 50), Need::Gone(key.clone(), Uid::from("u")));
        #[rustfmt::skip]
        let table = [
            // version  object   version 50  moved on from 50  gone
            (49,        Some(40), false,     false,            false),
            (50,        Some(50), true,      false,            false),
            (60,        Some(50), true,      false,            false),
            (60,        Some(60), true,      true,             false),
            (40,        None,     false,     false,            true),
            (60,        None,     true,      true,             true),
        ];
        for (version, object, reached, has_moved, is_gone) in table {
            see(version, object);
            let state = store.state.read();
            let met = [&Need::Version(50), &moved, &gone].map(|need| state.met(need));
            assert_eq!(met, [reached, has_moved, is_gone], "{version}, {object:?}");
        }
    }
}
