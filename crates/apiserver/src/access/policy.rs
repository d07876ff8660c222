//! The policy of a server: what its store says, on top of what is built in.
//!
//! Nobody pays for what nobody asks: the index is made at the first question
//! that is not an administrator's, and from then on brought up to date at each
//! question from the changes since the last one. So whoever has seen a binding
//! stored is judged by it, and a server without questions keeps no index.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde::Deserialize;
use windlass_rbac::{Binding, Decision, Policy, PolicyRule, Request, User};
use windlass_store::{Store, Watch, WatchEnd};

/// Where roles and bindings are stored, and whether there are namespaces in
/// their keys.
const PLACES: [(Sort, &str, bool); 4] = [
    (Sort::Role, "/registry/clusterroles/", false),
    (Sort::Role, "/registry/roles/", true),
    (Sort::Binding, "/registry/clusterrolebindings/", false),
    (Sort::Binding, "/registry/rolebindings/", true),
];

/// How many answers are remembered.
const ANSWERS: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Role,
    Binding,
}

/// The policy of one server.
#[derive(Debug, Default)]
pub struct Kept {
    /// Known to every server of the process; none where all is in the store.
    base: Option<Arc<Policy>>,
    feed: Mutex<Option<Vec<Watch>>>,
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    policy: Policy,
    answers: Mutex<HashMap<String, Arc<Decision>>>,
}

#[derive(Deserialize)]
struct StoredRole {
    rules: Option<Vec<PolicyRule>>,
}

impl Kept {
    /// A policy on this base.
    pub fn on(base: Option<Arc<Policy>>) -> Self {
        Self { base, ..Self::default() }
    }

    /// Decides by what is stored now.
    pub fn decide(&self, store: &Store, user: User<'_>, request: &Request<'_>) -> Arc<Decision> {
        self.refresh(store);
        let known = self.known.read();
        let key = key(user, request);
        if let Some(answer) = known.answers.lock().get(&key) {
            return Arc::clone(answer);
        }
        let answer = Arc::new(known.policy.decide(user, request));
        let mut answers = known.answers.lock();
        if answers.len() >= ANSWERS {
            answers.clear();
        }
        answers.insert(key, Arc::clone(&answer));
        answer
    }

    /// Shows the policy as it is stored now.
    pub fn with<T>(&self, store: &Store, look: impl FnOnce(&Policy) -> T) -> T {
        self.refresh(store);
        look(&self.known.read().policy)
    }

    /// Takes in what has changed since the last question.
    fn refresh(&self, store: &Store) {
        let mut feed = self.feed.lock();
        let lost = match feed.as_mut() {
            None => true,
            Some(watches) => self.follow(watches).is_err(),
        };
        if lost {
            *feed = self.load(store);
        }
    }

    fn follow(&self, watches: &mut [Watch]) -> Result<(), WatchEnd> {
        for ((sort, prefix, namespaced), watch) in PLACES.into_iter().zip(watches) {
            while let Some(event) = watch.try_next()? {
                let mut known = self.known.write();
                known.answers.get_mut().clear();
                let value = event.entry.as_ref().map(|entry| entry.value.as_ref());
                put(&mut known.policy, sort, event.key.strip_prefix(prefix), namespaced, value);
            }
        }
        Ok(())
    }

    fn load(&self, store: &Store) -> Option<Vec<Watch>> {
        let mut policy = self.base.as_ref().map_or_else(Policy::default, |base| Policy::on(Arc::clone(base)));
        let revision = store.revision();
        let mut watches = Vec::new();
        for (sort, prefix, namespaced) in PLACES {
            for entry in store.range(prefix, None, None, None).ok()?.entries {
                put(&mut policy, sort, entry.key.strip_prefix(prefix), namespaced, Some(&entry.value));
            }
            // Changes between the revision and the range are seen twice, which
            // does no harm: the later state comes last.
            watches.push(store.watch(prefix, revision).ok()?);
        }
        *self.known.write() = Known { policy, answers: Mutex::default() };
        Some(watches)
    }
}

fn put(policy: &mut Policy, sort: Sort, key: Option<&str>, namespaced: bool, value: Option<&[u8]>) {
    let Some(key) = key else { return };
    let (namespace, name) = if namespaced { key.split_once('/').unwrap_or(("", key)) } else { ("", key) };
    match sort {
        Sort::Role => {
            let rules = value.map(|value| {
                let role: Option<StoredRole> = serde_json::from_slice(value).ok();
                role.and_then(|role| role.rules).unwrap_or_default()
            });
            policy.set_role(namespace, name, rules);
        }
        Sort::Binding => {
            let binding: Option<Binding> = value.and_then(|value| serde_json::from_slice(value).ok());
            policy.set_binding(namespace, name, binding);
        }
    }
}

/// Everything an answer depends on, in one text: each part after its length,
/// so that no part can pass for two.
fn key(user: User<'_>, request: &Request<'_>) -> String {
    let mut key = String::with_capacity(160);
    let mut push = |part: &str| {
        // Writing to a String cannot fail.
        let _ = write!(key, "{}:", part.len());
        key.push_str(part);
    };
    match request {
        Request::Resource { verb, group, resource, subresource, namespace, name } => {
            for part in [verb, group, resource, subresource, namespace, name] {
                push(part);
            }
        }
        Request::Path { verb, path } => {
            push(verb);
            push(path);
        }
    }
    push(user.name);
    for group in user.groups {
        push(group);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use windlass_store::{Engine, Expect, Txn};

    fn ask(kept: &Kept, store: &Store) -> bool {
        let user = User { name: "kim", groups: &[] };
        let request = Request::Resource {
            verb: "get",
            group: "",
            resource: "pods",
            subresource: "",
            namespace: "n",
            name: "x",
        };
        kept.decide(store, user, &request).is_allowed()
    }

    #[test]
    fn no_question_passes_for_another() {
        let path = |path| Request::Path { verb: "get", path };
        let (one, two) = (["b".to_owned()], ["a".to_owned(), "b".to_owned()]);
        let keys = [
            key(User { name: "a", groups: &one }, &path("/x")),
            key(User { name: "", groups: &two }, &path("/x")),
            key(User { name: "1:b", groups: &[] }, &path("/x1:a")),
            key(User { name: "b", groups: &[] }, &path("/x1:a")),
        ];
        assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), keys.len());
    }

    #[tokio::test]
    async fn what_is_stored_counts_at_the_next_question() {
        let engine = Engine::memory();
        let store = engine.store("x");
        let kept = Kept::default();
        let role = r#"{"rules":[{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}]}"#;
        let binding = r#"{"roleRef":{"kind":"Role","name":"r"},"subjects":[{"kind":"User","name":"kim"}]}"#;
        let put = |key: &str, value: &'static str| Txn::new().put(key, value, Expect::Any);
        store.commit(put("/registry/roles/n/r", role)).await.unwrap();
        assert!(!ask(&kept, &store));
        store.commit(put("/registry/rolebindings/n/b", binding)).await.unwrap();
        assert!(ask(&kept, &store) && ask(&kept, &store));
        store.commit(put("/registry/roles/n/r", r#"{"rules":null}"#)).await.unwrap();
        assert!(!ask(&kept, &store));
        store.commit(put("/registry/roles/n/r", role)).await.unwrap();
        store.commit(Txn::new().delete("/registry/rolebindings/n/b", Expect::Any)).await.unwrap();
        assert!(!ask(&kept, &store));
    }
}
