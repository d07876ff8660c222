//! Kinds found at run time: their watches start at first sight.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use kube::Client;
use kube::core::ApiResource;
use parking_lot::Mutex;
use windlass_contract::{Contract, External};
use windlass_model::Key;

use super::feed::Feed;
use super::{Cache, Listener, Lookup, Shared, Store, Waiter};
use crate::kind::GroupKind;
use crate::management::find_resource;
use crate::tasks::Spawner;
use crate::watch::{Scope, run};
use crate::writes::{Check, Need};

/// How long to wait before looking again for the definition of a kind: first, and at most.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

pub(crate) struct Externals {
    client: Client,
    spawner: Spawner,
    pub(super) listeners: Vec<Listener<External>>,
    kinds: Mutex<BTreeMap<GroupKind, Slot>>,
}

/// A kind on its way from a name to a store.
enum Slot {
    /// Its definition is being looked for; these want to know.
    Searching(Vec<Waiter>),
    Watched(Arc<Store<External>>, Contract),
}

impl Externals {
    pub(super) fn new(client: Client, spawner: Spawner, listeners: Vec<Listener<External>>) -> Self {
        Self { client, spawner, listeners, kinds: Mutex::new(BTreeMap::new()) }
    }

    pub(super) fn get(
        &self,
        kind: &GroupKind,
        key: &Key,
        asker: Option<&Waiter>,
        shared: Weak<Shared>,
    ) -> Lookup<Arc<External>> {
        let mut kinds = self.kinds.lock();
        match kinds.get_mut(kind) {
            Some(Slot::Watched(store, _)) => {
                let store = store.clone();
                drop(kinds);
                store.ask(key, asker)
            }
            Some(Slot::Searching(waiters)) => {
                let known = |waiter: &Waiter, asker: &Waiter| {
                    waiter.key == asker.key && waiter.inbox.name() == asker.inbox.name()
                };
                let new = asker.filter(|asker| !waiters.iter().any(|waiter| known(waiter, asker)));
                waiters.extend(new.cloned());
                Lookup::Unsynced
            }
            None => {
                kinds.insert(kind.clone(), Slot::Searching(asker.cloned().into_iter().collect()));
                let search = search(self.client.clone(), kind.clone(), shared, self.spawner.clone());
                self.spawner.spawn(format!("find {kind}"), search);
                Lookup::Unsynced
            }
        }
    }

    pub(super) fn check(&self, kind: &GroupKind, need: &Need, waiter: &Waiter) -> Check {
        let store = match self.kinds.lock().get(kind) {
            Some(Slot::Watched(store, _)) => store.clone(),
            Some(Slot::Searching(_)) | None => return Check::Unwatched,
        };
        store.wait(need, waiter)
    }

    pub(super) fn resource(&self, kind: &GroupKind) -> Option<(ApiResource, Contract)> {
        match self.kinds.lock().get(kind) {
            Some(Slot::Watched(store, contract)) => Some((store.resource().clone(), *contract)),
            Some(Slot::Searching(_)) | None => None,
        }
    }

    /// The definition has been found: from here on the kind has a store.
    fn found(&self, kind: &GroupKind, store: &Arc<Store<External>>, contract: Contract) -> Vec<Waiter> {
        match self.kinds.lock().insert(kind.clone(), Slot::Watched(store.clone(), contract)) {
            Some(Slot::Searching(waiters)) => waiters,
            Some(Slot::Watched(_, _)) | None => Vec::new(),
        }
    }
}

/// Looks for the definition of a kind until it is there, then watches it.
async fn search(client: Client, kind: GroupKind, shared: Weak<Shared>, spawner: Spawner) {
    let (mut delay, longest) = LOOK_AGAIN;
    let (resource, contract) = loop {
        match find_resource(&client, &kind).await {
            Ok(found) => break found,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%kind, error, "cannot watch this kind yet");
            }
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(longest);
    };
    let store = Arc::new(Store::<External>::new(resource.clone()));
    let waiters = {
        let Some(strong) = shared.upgrade() else { return };
        for listener in &strong.externals.listeners {
            store.listen(listener.clone());
        }
        strong.externals.found(&kind, &store, contract)
    };
    for waiter in waiters {
        // They ask again, and then wait for the first list like everybody else.
        waiter.inbox.add(&waiter.key, crate::queue::Priority::Create);
    }
    let sink = Feed { store, cache: shared };
    let scope = Scope::all(resource);
    spawner.spawn(format!("watch {kind}"), async move { run(&client, &scope, &sink).await });
}

impl Cache {
    /// What to call for changes of external objects, for typed kinds that are also read as external ones.
    pub(super) fn external_listeners(&self) -> &[Listener<External>] {
        &self.shared.externals.listeners
    }
}
