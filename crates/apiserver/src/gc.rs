//! Garbage collection, namespace removal and removal of a definition's
//! objects: one task that follows the store.
//!
//! The index of owners is driven from committed changes in their order, so it
//! never knows of something that did not happen. What is decided here is
//! checked against the store again before anything is deleted. A server
//! without changes costs one parked task.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use windlass_store::{Entry, Event, Watch};

use crate::admission::Origin;
use crate::call::Caller;
use crate::collect::{Collector, Done};
use crate::object::{Meta, OwnerRef, Stored};
use crate::server::{Inner, Server};
use crate::user::UserInfo;

/// How many deletions are under way at a time: enough to share one commit.
const PARALLEL: usize = 32;
/// How long to wait before something refused is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// An object that may have lost its owners.
    Dependent(Arc<str>),
    /// A deleted object that waits for its dependents.
    Owner(Arc<str>),
    /// The object of this UID, if it waits for its dependents.
    Blocked(String),
    /// A namespace being removed.
    Namespace(String),
    /// A definition being removed, by name.
    Definition(String),
    /// An Event, if it is still at this revision.
    Expired(Arc<str>, u64),
}

/// Who owns what, and what is being removed.
#[derive(Debug, Default)]
pub struct Index {
    /// UID of an owner → keys of its dependents, and whether they block it.
    dependents: BTreeMap<String, BTreeMap<Arc<str>, bool>>,
    namespaces: BTreeSet<String>,
    /// Store prefix of the objects → name of the definition.
    definitions: BTreeMap<String, String>,
}

const EVENTS: &str = "/registry/events/";
const NAMESPACES: &str = "/registry/namespaces/";
const DEFINITIONS: &str = "/registry/apiextensions.k8s.io/customresourcedefinitions/";

impl Index {
    /// Dependents of an owner, and whether they block its foreground deletion.
    pub fn dependents(&self, uid: &str) -> BTreeMap<Arc<str>, bool> {
        self.dependents.get(uid).cloned().unwrap_or_default()
    }

    /// Takes in one change; adds what is to be looked at because of it.
    fn apply(
        &mut self,
        key: &Arc<str>,
        before: Option<&Meta>,
        after: Option<&Meta>,
        work: &mut BTreeSet<Work>,
    ) {
        let owners = |meta: Option<&Meta>| meta.map(|meta| meta.owner_references.clone()).unwrap_or_default();
        let (old, new) = (owners(before), owners(after));
        if old != new {
            self.unlink(key, before);
            for owner in &new {
                let dependents = self.dependents.entry(owner.uid.clone()).or_default();
                dependents.insert(Arc::clone(key), owner.block_owner_deletion);
            }
            if !new.is_empty() {
                work.insert(Work::Dependent(Arc::clone(key)));
            }
            // Owners that this one blocks no longer.
            let blocks =
                |owner: &OwnerRef| new.iter().any(|now| now.uid == owner.uid && now.block_owner_deletion);
            let freed = old.iter().filter(|owner| !blocks(owner));
            work.extend(freed.map(|owner| Work::Blocked(owner.uid.clone())));
        }
        match (before, after) {
            (Some(before), None) => self.deleted(key, before, work),
            (_, Some(after)) if after.deletion_timestamp.is_some() => self.deleting(key, after, work),
            _ => {}
        }
    }

    fn unlink(&mut self, key: &Arc<str>, before: Option<&Meta>) {
        for owner in before.iter().flat_map(|meta| &meta.owner_references) {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(key);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }

    fn deleting(&mut self, key: &Arc<str>, meta: &Meta, work: &mut BTreeSet<Work>) {
        if let Some(name) = key.strip_prefix(NAMESPACES) {
            self.namespaces.insert(name.to_owned());
            work.insert(Work::Namespace(name.to_owned()));
        }
        if let Some(name) = key.strip_prefix(DEFINITIONS) {
            if let Some(prefix) = crate::crd::prefix_of(name) {
                self.definitions.insert(prefix, name.to_owned());
            }
            work.insert(Work::Definition(name.to_owned()));
        }
        if meta.finalizers.iter().any(|f| f == crate::delete::FOREGROUND || f == crate::delete::ORPHAN) {
            work.insert(Work::Owner(Arc::clone(key)));
        }
    }

    fn deleted(&mut self, key: &Arc<str>, meta: &Meta, work: &mut BTreeSet<Work>) {
        self.unlink(key, Some(meta));
        work.extend(self.dependents(&meta.uid).into_keys().map(Work::Dependent));
        if let Some(name) = key.strip_prefix(NAMESPACES) {
            self.namespaces.remove(name);
        }
        if let Some(name) = key.strip_prefix(DEFINITIONS) {
            self.definitions.retain(|_, definition| definition != name);
        }
        if self.namespaces.contains(&meta.namespace) {
            work.insert(Work::Namespace(meta.namespace.clone()));
        }
        for (prefix, definition) in &self.definitions {
            if key.starts_with(prefix.as_str()) {
                work.insert(Work::Definition(definition.clone()));
            }
        }
        // Owners may wait for this one.
        for owner in &meta.owner_references {
            work.insert(Work::Blocked(owner.uid.clone()));
        }
    }
}

/// Starts the collector of a server.
pub fn start(server: &Server) {
    let revision = server.inner.store.revision();
    let Ok(watch) = server.inner.store.watch("", revision) else { return };
    let task = Task {
        server: Arc::downgrade(&server.inner),
        stop: server.inner.stop.clone(),
        watch,
        index: Index::default(),
        owners: BTreeMap::new(),
        work: BTreeSet::new(),
        again: BTreeSet::new(),
        again_at: Instant::now(),
        events: VecDeque::new(),
    };
    server.spawn(task.run());
}

struct Task {
    /// Weak: the collector does not keep its server alive.
    server: Weak<Inner>,
    stop: CancellationToken,
    watch: Watch,
    index: Index,
    /// UID → key of objects that wait for their dependents.
    owners: BTreeMap<String, Arc<str>>,
    work: BTreeSet<Work>,
    /// Refused or failed; tried again at a time.
    again: BTreeSet<Work>,
    again_at: Instant,
    /// When Events go that are not written again before, the next one first.
    events: VecDeque<(Instant, Arc<str>, u64)>,
}

impl Task {
    async fn run(mut self) {
        self.scan();
        loop {
            if !self.drain() {
                return;
            }
            if !self.work.is_empty() {
                self.collect().await;
                continue;
            }
            let stop = self.stop.clone();
            let expiry = self.events.front().map(|(at, ..)| *at);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                change = self.watch.next() => match change {
                    Ok(event) => self.take(&event),
                    Err(end) if !self.restart(end) => return,
                    Err(_) => {}
                },
                () = tokio::time::sleep_until(self.again_at), if !self.again.is_empty() => {
                    self.work.append(&mut self.again);
                }
                () = tokio::time::sleep_until(expiry.unwrap_or(self.again_at)), if expiry.is_some() => {
                    self.expire();
                }
            }
        }
    }

    /// Takes in all changes there are; false when the store has ended.
    fn drain(&mut self) -> bool {
        loop {
            match self.watch.try_next() {
                Ok(Some(event)) => self.take(&event),
                Ok(None) => return true,
                Err(end) => {
                    if !self.restart(end) {
                        return false;
                    }
                }
            }
        }
    }

    /// Begins anew after having fallen behind.
    fn restart(&mut self, end: windlass_store::WatchEnd) -> bool {
        let windlass_store::WatchEnd::Lagged { .. } = end else { return false };
        let Some(inner) = self.server.upgrade() else { return false };
        let Ok(watch) = inner.store.watch("", inner.store.revision()) else { return false };
        self.watch = watch;
        self.index = Index::default();
        self.owners.clear();
        self.scan();
        true
    }

    /// Takes in everything stored, as if it had just been written: what was
    /// left undone by a crash is found here.
    fn scan(&mut self) {
        let Some(inner) = self.server.upgrade() else { return };
        let Ok(range) = inner.store.range("", None, None, None) else { return };
        for entry in range.entries {
            let Some(meta) = meta_of(&entry.value) else { continue };
            self.apply(&entry.key, None, Some(&meta));
            self.remember(&entry);
        }
    }

    /// Notes when an Event goes. After a start they stay for their whole time
    /// once more.
    fn remember(&mut self, entry: &Entry) {
        let ttl = self.server.upgrade().and_then(|inner| inner.event_ttl);
        if let Some(ttl) = ttl.filter(|_| entry.key.starts_with(EVENTS)) {
            self.events.push_back((Instant::now() + ttl, Arc::clone(&entry.key), entry.mod_revision));
        }
    }

    fn expire(&mut self) {
        let now = Instant::now();
        while let Some((_, key, revision)) = self.events.pop_front_if(|(at, ..)| *at <= now) {
            self.work.insert(Work::Expired(key, revision));
        }
    }

    fn take(&mut self, event: &Event) {
        let meta = |entry: &Option<Arc<Entry>>| entry.as_ref().and_then(|e| meta_of(&e.value));
        let (before, after) = (meta(&event.previous), meta(&event.entry));
        self.apply(&event.key, before.as_ref(), after.as_ref());
        if let Some(entry) = &event.entry {
            self.remember(entry);
        }
    }

    fn apply(&mut self, key: &Arc<str>, before: Option<&Meta>, after: Option<&Meta>) {
        let mut work = BTreeSet::new();
        self.index.apply(key, before, after, &mut work);
        for item in work {
            let item = match item {
                Work::Blocked(uid) => self.owners.get(&uid).cloned().map(Work::Owner),
                Work::Owner(owner) => {
                    if let Some(meta) = after {
                        self.owners.insert(meta.uid.clone(), Arc::clone(&owner));
                        // Those that block go first.
                        let dependents = self.index.dependents(&meta.uid).into_keys();
                        self.work.extend(dependents.map(Work::Dependent));
                    }
                    Some(Work::Owner(owner))
                }
                other => Some(other),
            };
            self.work.extend(item);
        }
        if let (Some(before), None) = (before, after) {
            self.owners.remove(&before.uid);
        }
    }

    /// Works off what is there, several at a time.
    async fn collect(&mut self) {
        let Some(inner) = self.server.upgrade() else { return };
        let server = Server { inner };
        let caller = caller();
        let collector = Collector { server: &server, caller: &caller, index: &self.index };
        let work = std::mem::take(&mut self.work);
        let results: Vec<(Work, Done)> = futures::stream::iter(work)
            .map(|item| {
                let collector = &collector;
                async move {
                    let done = collector.look(&item).await;
                    (item, done)
                }
            })
            .buffered(PARALLEL)
            .collect()
            .await;
        for (item, done) in results {
            if done == Done::Again {
                if self.again.is_empty() {
                    self.again_at = Instant::now() + RETRY;
                }
                self.again.insert(item);
            }
        }
    }
}

fn meta_of(value: &[u8]) -> Option<Meta> {
    Stored::of(value).ok()?.metadata().ok()
}

fn caller() -> Caller {
    Caller {
        user: UserInfo::admin("system:serviceaccount:kube-system:generic-garbage-collector"),
        // The field manager of what is changed here, as with the real one.
        user_agent: "kube-controller-manager".to_owned(),
        origin: Origin::Gc,
    }
}
