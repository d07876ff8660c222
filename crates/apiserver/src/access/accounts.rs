//! What kube-controller-manager does for accounts and roles: a `default`
//! account and the server's CA in every namespace, tokens for the Secrets that
//! ask for one, and the rules of roles made of others.
//!
//! One task per server that was asked for [`super::Access`]. It follows the
//! store; what it decides it checks against the store again when it writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use windlass_rbac::{AggregationRule, PolicyRule, aggregated};
use windlass_store::{Event, Watch, WatchEnd};

use super::builtin::selects;
use super::tokens::{Account, legacy_claims};
use crate::admission::Origin;
use crate::call::{Call, Caller};
use crate::delete::DeleteOptions;
use crate::object::{member, meta_str};
use crate::server::{Inner, Server};
use crate::status::ApiError;
use crate::user::UserInfo;
use crate::write::Change;

const NAMESPACES: &str = "/registry/namespaces/";
const ACCOUNTS: &str = "/registry/serviceaccounts/";
const CONFIG_MAPS: &str = "/registry/configmaps/";
const SECRETS: &str = "/registry/secrets/";
const CLUSTER_ROLES: &str = "/registry/clusterroles/";
const ROOT_CA: &str = "kube-root-ca.crt";
const RBAC: &str = "rbac.authorization.k8s.io";
/// Annotations of Secrets with tokens.
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";
/// How long to wait before something refused is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How a token stands in a Secret.
pub fn encoded(token: &str) -> String {
    BASE64.encode(token)
}

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    /// A namespace that should have an account and the CA.
    Namespace(String),
    /// A Secret that may want a token, by its key.
    Secret(Arc<str>),
    /// The Secrets of an account that is gone, by namespace.
    Orphans(String),
    /// The roles that are made of others.
    Roles,
}

/// Starts the task, if there are accounts.
pub fn start(server: &Server) {
    if server.inner.rights.options.is_none() {
        return;
    }
    let Ok(watch) = server.inner.store.watch("/registry/", server.inner.store.revision()) else { return };
    let task = Task { server: Arc::downgrade(&server.inner), watch, work: BTreeSet::new() };
    server.spawn_until_stopped(task.run());
}

struct Task {
    /// Weak: the task does not keep its server alive.
    server: Weak<Inner>,
    watch: Watch,
    work: BTreeSet<Work>,
}

impl Task {
    async fn run(mut self) {
        self.scan();
        let Some(announced) = self.server.upgrade().map(|inner| inner.rights.announced.subscribe()) else {
            return;
        };
        let mut announced = announced;
        loop {
            let refused = self.work_off().await;
            self.work = refused;
            let waiting = !self.work.is_empty();
            tokio::select! {
                biased;
                change = self.watch.next() => match change {
                    Ok(event) => self.take(&event),
                    Err(WatchEnd::Lagged { .. }) => {
                        let Some(inner) = self.server.upgrade() else { return };
                        let Ok(watch) = inner.store.watch("/registry/", inner.store.revision()) else { return };
                        self.watch = watch;
                        self.scan();
                    }
                    Err(WatchEnd::Removed | WatchEnd::Closed) => return,
                },
                changed = announced.changed() => match changed {
                    Ok(()) => self.scan(),
                    Err(_) => return,
                },
                () = tokio::time::sleep(RETRY), if waiting => {}
            }
            while let Ok(Some(event)) = self.watch.try_next() {
                self.take(&event);
            }
        }
    }

    /// Takes in everything stored.
    fn scan(&mut self) {
        let Some(inner) = self.server.upgrade() else { return };
        for prefix in [NAMESPACES, SECRETS] {
            let Ok(range) = inner.store.range(prefix, None, None, None) else { continue };
            for entry in range.entries {
                self.note(&entry.key, Some(&entry.value));
            }
        }
        self.work.insert(Work::Roles);
    }

    fn take(&mut self, event: &Event) {
        self.note(&event.key, event.entry.as_ref().map(|entry| entry.value.as_ref()));
    }

    /// Notes what a change may call for; `None` is a deletion.
    fn note(&mut self, key: &Arc<str>, value: Option<&[u8]>) {
        let namespace = |rest: &str| rest.split('/').next().unwrap_or_default().to_owned();
        if let Some(name) = key.strip_prefix(NAMESPACES) {
            if value.is_some() {
                self.work.insert(Work::Namespace(name.to_owned()));
            }
        } else if let Some(rest) = key.strip_prefix(ACCOUNTS) {
            if value.is_none() {
                self.work.insert(Work::Namespace(namespace(rest)));
                self.work.insert(Work::Orphans(namespace(rest)));
            }
        } else if let Some(rest) = key.strip_prefix(CONFIG_MAPS) {
            if rest.ends_with(ROOT_CA) {
                self.work.insert(Work::Namespace(namespace(rest)));
            }
        } else if key.starts_with(SECRETS) {
            if value.is_some_and(holds_type) {
                self.work.insert(Work::Secret(Arc::clone(key)));
            }
        } else if key.starts_with(CLUSTER_ROLES) {
            self.work.insert(Work::Roles);
        }
    }

    /// Does what there is to do; what could not be done comes back.
    async fn work_off(&mut self) -> BTreeSet<Work> {
        if self.work.is_empty() {
            return BTreeSet::new();
        }
        let Some(inner) = self.server.upgrade() else { return BTreeSet::new() };
        let caller = caller("kube-controller-manager");
        let desk = Desk { server: &Server { inner }, caller: &caller };
        let mut refused = BTreeSet::new();
        for item in std::mem::take(&mut self.work) {
            if let Err(error) = Box::pin(desk.look(&item)).await
                && !matches!(error.code, 403 | 404 | 409)
            {
                tracing::debug!(%error, ?item, "cannot do this yet");
                refused.insert(item);
            }
        }
        refused
    }
}

/// Whether the bytes may be those of a Secret with a token: cheaper than
/// reading every Secret that is written.
fn holds_type(value: &[u8]) -> bool {
    const TYPE: &[u8] = b"kubernetes.io/service-account-token";
    value.windows(TYPE.len()).any(|window| window == TYPE)
}

fn caller(agent: &str) -> Caller {
    Caller {
        user: UserInfo::admin("system:kube-controller-manager"),
        user_agent: agent.to_owned(),
        origin: Origin::Bootstrap,
    }
}

struct Desk<'a> {
    server: &'a Server,
    caller: &'a Caller,
}

impl Desk<'_> {
    async fn look(&self, item: &Work) -> Result<(), ApiError> {
        match item {
            Work::Namespace(name) => self.namespace(name).await,
            Work::Secret(key) => self.secret(key).await,
            Work::Orphans(namespace) => self.orphans(namespace).await,
            Work::Roles => self.roles().await,
        }
    }

    fn call(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Result<Call<'_>, ApiError> {
        let kinds = self.server.kinds();
        let kind = kinds.get(group, plural).ok_or_else(ApiError::no_such_path)?;
        Ok(Call::internal(self.server, self.caller, Arc::clone(kind), namespace, name))
    }

    async fn namespace(&self, name: &str) -> Result<(), ApiError> {
        let namespace = self.server.object_at(&format!("{NAMESPACES}{name}"));
        if !namespace.is_some_and(|namespace| meta_str(&namespace, "deletionTimestamp").is_empty()) {
            return Ok(());
        }
        if self.server.object_at(&format!("{ACCOUNTS}{name}/default")).is_none() {
            let account =
                json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
            Box::pin(self.call("", "serviceaccounts", name, "")?.create(account)).await?;
        }
        let Some(ca) = self.ca() else { return Ok(()) };
        let data = json!({"ca.crt": ca});
        let Some(mut map) = self.server.object_at(&format!("{CONFIG_MAPS}{name}/{ROOT_CA}")) else {
            let why = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
                       endpoints such as the internal service IP or kubernetes.default.svc. No other usage is \
                       guaranteed across distributions of Kubernetes clusters.";
            let map = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "data": data,
                "metadata": {"name": ROOT_CA, "annotations": {"kubernetes.io/description": why}},
            });
            return Box::pin(self.call("", "configmaps", name, "")?.create(map)).await.map(|_| ());
        };
        if map["data"] == data {
            return Ok(());
        }
        map["data"] = data;
        Box::pin(self.call("", "configmaps", name, ROOT_CA)?.change(Change::Replace(map))).await.map(|_| ())
    }

    fn ca(&self) -> Option<String> {
        Some(self.server.inner.rights.announced.borrow().as_ref()?.ca.clone())
    }

    /// The account a Secret names, if it is there and the one it was.
    fn account_of(&self, secret: &Value) -> Option<Value> {
        let annotation = |key: &str| secret["metadata"]["annotations"][key].as_str().unwrap_or_default();
        let key = format!("{ACCOUNTS}{}/{}", meta_str(secret, "namespace"), annotation(NAME));
        let account = self.server.object_at(&key)?;
        let uid = annotation(UID);
        (uid.is_empty() || uid == meta_str(&account, "uid")).then_some(account)
    }

    /// Fills in the token of a Secret, or removes it with its account.
    async fn secret(&self, key: &str) -> Result<(), ApiError> {
        let Some(mut secret) = self.server.object_at(key) else { return Ok(()) };
        let named = secret["metadata"]["annotations"][NAME].as_str().is_some_and(|name| !name.is_empty());
        if secret["type"] != "kubernetes.io/service-account-token" || !named {
            return Ok(());
        }
        let (namespace, name) =
            (meta_str(&secret, "namespace").to_owned(), meta_str(&secret, "name").to_owned());
        let call = self.call("", "secrets", &namespace, &name)?;
        let Some(account) = self.account_of(&secret) else {
            return Box::pin(call.delete(&DeleteOptions::default())).await.map(|_| ());
        };
        let before = secret.clone();
        let uid = meta_str(&account, "uid");
        let data = member(&mut secret, "data");
        if !data.is_object() {
            *data = json!({});
        }
        if let Some(ca) = self.ca() {
            data["ca.crt"] = json!(encoded(&ca));
        }
        data["namespace"] = json!(encoded(&namespace));
        if data["token"].as_str().unwrap_or_default().is_empty() {
            let account = Account { namespace: &namespace, name: meta_str(&account, "name"), uid };
            let keys = self.server.inner.rights.keys().ok_or_else(ApiError::no_such_path)?;
            let token = keys.sign(&legacy_claims(account, &name)).map_err(ApiError::internal)?;
            data["token"] = json!(encoded(&token));
        }
        secret["metadata"]["annotations"][UID] = json!(uid);
        if secret == before {
            return Ok(());
        }
        Box::pin(call.change(Change::Replace(secret))).await.map(|_| ())
    }

    /// Removes the Secrets of accounts that are gone.
    async fn orphans(&self, namespace: &str) -> Result<(), ApiError> {
        let prefix = format!("{SECRETS}{namespace}/");
        let Ok(range) = self.server.inner.store.range(&prefix, None, None, None) else { return Ok(()) };
        for entry in range.entries {
            if holds_type(&entry.value) {
                self.secret(&entry.key).await?;
            }
        }
        Ok(())
    }

    /// Collects the rules of roles that are made of others.
    async fn roles(&self) -> Result<(), ApiError> {
        let Ok(range) = self.server.inner.store.range(CLUSTER_ROLES, None, None, None) else { return Ok(()) };
        let mut roles = BTreeMap::new();
        let mut made = Vec::new();
        for entry in range.entries {
            let Some(object) = self.server.object_at(&entry.key) else { continue };
            let read = |of: &Value| serde_json::from_value(of.clone()).ok();
            let rules: Vec<PolicyRule> = read(&object["rules"]).unwrap_or_default();
            let labels: BTreeMap<String, String> =
                serde_json::from_value(object["metadata"]["labels"].clone()).unwrap_or_default();
            let name = meta_str(&object, "name").to_owned();
            if let Ok(rule) = serde_json::from_value::<AggregationRule>(object["aggregationRule"].clone()) {
                made.push((name.clone(), rule));
            }
            roles.insert(name, (labels, rules));
        }
        let caller = caller("clusterrole-aggregation-controller");
        for (name, aggregation) in made {
            let rules = aggregated(&name, &aggregation, &roles, selects);
            if roles.get(&name).is_some_and(|(_, held)| *held == rules) {
                continue;
            }
            let desk = Desk { server: self.server, caller: &caller };
            let mut call = desk.call(RBAC, "clusterroles", "", &name)?;
            caller.user_agent.clone_into(&mut call.options.field_manager);
            call.options.force = Some(true);
            let rules: Value = serde_json::to_value(&rules).map_err(ApiError::internal)?;
            let applied = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": {"name": name}, "rules": rules,
            });
            Box::pin(call.change(Change::Apply(applied.into()))).await?;
        }
        Ok(())
    }
}
