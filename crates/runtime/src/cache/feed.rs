//! From the events of a watch to the store, and to everybody who should know.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use kube::Resource;
use windlass_model::Key;

use super::store::{State, Store, Stored, Wake};
use super::{Cache, Shared};
use crate::kind::{meta_key, version_of};
use crate::queue::Priority;
use crate::watch::Sink;

/// Puts what a watch reports into a store.
pub(crate) struct Feed<K> {
    pub(crate) store: Arc<Store<K>>,
    pub(crate) cache: Weak<Shared>,
}

/// One change, as the listeners hear about it.
struct Change<K> {
    key: Key,
    old: Option<Arc<K>>,
    new: Option<Arc<K>>,
    initial: bool,
}

impl<K: Stored> Feed<K> {
    /// One object was made or changed, or is gone.
    fn change(&self, key: Key, version: u64, new: Option<Arc<K>>) {
        let Some(shared) = self.cache.upgrade() else { return };
        let mut wake = Wake::default();
        let change = {
            let mut state = self.store.state.write();
            let old = state.put(&key, new.as_ref());
            state.touched(&key, &mut wake);
            state.reached(version, &mut wake);
            Change { key, old, new, initial: false }
        };
        self.announce(&[change], wake, &Cache::from_shared(shared));
    }

    /// Tells everybody about a set of changes that the lock no longer covers.
    fn announce(&self, changes: &[Change<K>], wake: Wake, cache: &Cache) {
        let listeners = self.store.listeners.lock().clone();
        let bridge = self.store.bridge.get().filter(|_| !cache.external_listeners().is_empty());
        for change in changes {
            let priority = urgency(change);
            for object in [&change.old, &change.new].into_iter().flatten() {
                for listener in &listeners {
                    listener(object, priority, cache);
                }
                if let Some(object) = bridge.and_then(|bridge| bridge(&self.store.resource, object)) {
                    cache.external_listeners().iter().for_each(|listener| listener(&object, priority, cache));
                }
            }
        }
        for waiter in wake.interested {
            waiter.inbox.add(&waiter.key, Priority::Create);
        }
        for waiter in wake.parked {
            waiter.inbox.unpark(&waiter.key);
        }
    }
}

impl<K: Stored> Sink<K> for Feed<K> {
    fn replace(&self, objects: Vec<K>, version: u64) {
        let Some(shared) = self.cache.upgrade() else { return };
        let mut wake = Wake::default();
        let changes = self.store.state.write().replace(objects, version, &mut wake);
        // Set already by every list but the first.
        let _ = self.store.synced.set(());
        self.announce(&changes, wake, &Cache::from_shared(shared));
    }

    fn apply(&self, object: K) {
        let key = meta_key(object.meta());
        let version = version_of(object.meta());
        self.change(key, version, Some(Arc::new(object)));
    }

    fn delete(&self, object: K) {
        self.change(meta_key(object.meta()), version_of(object.meta()), None);
    }

    fn reached(&self, version: u64) {
        let mut wake = Wake::default();
        self.store.state.write().reached(version, &mut wake);
        for waiter in wake.parked {
            waiter.inbox.unpark(&waiter.key);
        }
    }
}

impl<K: Stored> State<K> {
    /// A complete list takes the place of what was known; returns what differs.
    fn replace(&mut self, objects: Vec<K>, version: u64, wake: &mut Wake) -> Vec<Change<K>> {
        let initial = !self.synced;
        let fresh: BTreeMap<Key, K> =
            objects.into_iter().map(|object| (meta_key(object.meta()), object)).collect();
        let gone = self.objects.keys().filter(|key| !fresh.contains_key(*key)).cloned();
        let gone: Vec<Key> = gone.collect();
        let mut changes = Vec::new();
        for key in gone {
            let old = self.put(&key, None);
            changes.push(Change { key, old, new: None, initial });
        }
        for (key, object) in fresh {
            let known = self.objects.get(&key).map(|known| &known.meta().resource_version);
            if known.is_some_and(|known| *known == object.meta().resource_version) {
                continue;
            }
            let new = Some(Arc::new(object));
            let old = self.put(&key, new.as_ref());
            changes.push(Change { key, old, new, initial });
        }
        self.synced = true;
        for change in &changes {
            self.touched(&change.key, wake);
        }
        if initial {
            // Who asked before the first list must hear that there is an answer now, even "absent".
            let interested = std::mem::take(&mut self.interested);
            wake.interested.extend(interested.into_values().flat_map(BTreeMap::into_values));
        }
        self.reached(version, wake);
        changes
    }
}

/// How urgent a change is: a person's edit before a deletion before progress before a first list.
fn urgency<K: Resource>(change: &Change<K>) -> Priority {
    if change.initial {
        return Priority::Background;
    }
    match (change.old.as_deref().map(Resource::meta), change.new.as_deref().map(Resource::meta)) {
        (_, None) => Priority::Delete,
        (_, Some(new)) if new.deletion_timestamp.is_some() => Priority::Delete,
        (Some(old), Some(new)) if new.generation != old.generation => Priority::User,
        (Some(_) | None, Some(_)) => Priority::Create,
    }
}
