//! Webhooks as configurations register them, compiled once.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use windlass_apimachinery::condition::Condition;
use windlass_apimachinery::selector::LabelSelector;
use windlass_store::{Store, Watch};

use super::client::ClientConfig;
use super::review::Form;
use crate::admission::Operation;
use crate::object::{Stored, meta_str};

/// Where configurations that mutate are stored.
const MUTATING: &str = "/registry/mutatingwebhookconfigurations/";
/// Where configurations that validate are stored.
const VALIDATING: &str = "/registry/validatingwebhookconfigurations/";
/// Seconds a webhook may take unless its configuration says otherwise.
const TIMEOUT: u64 = 10;

/// One webhook of a configuration.
#[derive(Debug)]
pub struct Hook {
    /// Its name, which errors show.
    pub name: String,
    /// Which requests it wants.
    pub rules: Vec<Rule>,
    /// `matchPolicy: Equivalent`: rules match other versions of the resource, too.
    pub equivalent: bool,
    /// Which namespaces.
    pub namespaces: Result<LabelSelector, String>,
    /// Which objects, old or new.
    pub objects: Result<LabelSelector, String>,
    /// What else must hold.
    pub conditions: Vec<Result<Condition, String>>,
    /// `failurePolicy: Fail`: no answer is a refusal.
    pub fail: bool,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether dry runs may reach it.
    pub dry_run: bool,
    /// `reinvocationPolicy: IfNeeded`.
    pub reinvoke: bool,
    /// The version of `AdmissionReview` it is sent, if it takes one we know.
    pub review: Option<&'static str>,
    /// Where it is.
    pub client: ClientConfig,
}

/// One entry of `rules`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// `CREATE`, …, or `*`.
    pub operations: Vec<String>,
    /// API groups, or `*`.
    pub groups: Vec<String>,
    /// Versions, or `*`.
    pub versions: Vec<String>,
    /// Resources and subresources, `*`, `*/*`, `pods/*`, `*/status`.
    pub resources: Vec<String>,
    /// `Namespaced`, `Cluster`, or `*`.
    pub scope: String,
}

impl Rule {
    fn of(value: &Value) -> Self {
        let texts = |key: &str| {
            let list = value[key].as_array();
            list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources"),
            scope: value["scope"].as_str().unwrap_or("*").to_owned(),
        }
    }

    /// Whether a request is one the rule is about.
    pub fn matches(
        &self,
        operation: Operation,
        form: &Form<'_>,
        subresource: &str,
        namespaced: bool,
    ) -> bool {
        let listed = |list: &[String], wanted: &str| list.iter().any(|item| item == "*" || item == wanted);
        let scope = match self.scope.as_str() {
            "Namespaced" => namespaced,
            "Cluster" => !namespaced,
            _ => true,
        };
        let resource = |pattern: &String| {
            let (name, part) = pattern.split_once('/').unwrap_or((pattern, ""));
            (name == "*" || name == form.resource) && (part == "*" || part == subresource)
        };
        scope
            && listed(&self.operations, operation.as_str())
            && listed(&self.groups, form.group)
            && listed(&self.versions, form.version)
            && self.resources.iter().any(resource)
    }
}

impl Hook {
    fn of(value: &Value) -> Self {
        let text = |key: &str| value[key].as_str().unwrap_or_default();
        let list = |key: &str| value[key].as_array().map(Vec::as_slice).unwrap_or_default();
        let selector = |key: &str| match &value[key] {
            Value::Null => Ok(LabelSelector::everything()),
            object => LabelSelector::from_object(object).map_err(|error| error.to_string()),
        };
        let condition = |value: &Value| Condition::compile(value["expression"].as_str().unwrap_or_default());
        let review = |version: &Value| match version.as_str() {
            Some("v1") => Some("v1"),
            Some("v1beta1") => Some("v1beta1"),
            _ => None,
        };
        Self {
            name: text("name").to_owned(),
            rules: list("rules").iter().map(Rule::of).collect(),
            equivalent: text("matchPolicy") != "Exact",
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
            conditions: list("matchConditions").iter().map(condition).collect(),
            fail: text("failurePolicy") != "Ignore",
            timeout: Duration::from_secs(value["timeoutSeconds"].as_u64().unwrap_or(TIMEOUT)),
            dry_run: matches!(text("sideEffects"), "None" | "NoneOnDryRun"),
            reinvoke: text("reinvocationPolicy") == "IfNeeded",
            review: list("admissionReviewVersions").iter().find_map(review),
            client: ClientConfig::of(&value["clientConfig"]),
        }
    }
}

/// All webhooks, in the order in which they are asked.
#[derive(Debug, Default)]
pub struct Hooks {
    /// Those that change objects.
    pub mutating: Vec<Hook>,
    /// Those that judge them.
    pub validating: Vec<Hook>,
}

impl Hooks {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.mutating.is_empty() && self.validating.is_empty()
    }
}

/// The webhooks a store's configurations register: compiled when a configuration changes, handed out
/// without looking at them otherwise.
#[derive(Debug)]
pub struct Index {
    store: Store,
    current: Mutex<Current>,
}

#[derive(Debug, Default)]
struct Current {
    hooks: Arc<Hooks>,
    mutating: Option<Watch>,
    validating: Option<Watch>,
}

impl Index {
    /// The index of a store.
    pub fn new(store: Store) -> Self {
        Self { store, current: Mutex::default() }
    }

    /// The webhooks registered now: a configuration counts from the moment its write was answered.
    pub fn hooks(&self) -> Arc<Hooks> {
        let mut current = self.current.lock();
        let Current { hooks, mutating, validating } = &mut *current;
        let mutating_changed = changed(mutating);
        if mutating_changed || changed(validating) {
            // From before the list: a change in between is only looked at twice.
            let from = self.store.revision();
            *mutating = self.store.watch(MUTATING, from).ok();
            *validating = self.store.watch(VALIDATING, from).ok();
            *hooks = Arc::new(Hooks { mutating: self.list(MUTATING), validating: self.list(VALIDATING) });
        }
        Arc::clone(hooks)
    }

    /// The webhooks of the configurations below a prefix: by the names of the configurations, then in
    /// the order in which each lists them.
    fn list(&self, prefix: &str) -> Vec<Hook> {
        let Ok(range) = self.store.range(prefix, None, None, None) else { return Vec::new() };
        let mut configurations: Vec<Value> = range
            .entries
            .iter()
            .filter_map(|entry| {
                let stored = Stored::of(&entry.value).ok()?;
                stored.parse("admissionregistration.k8s.io/v1", entry.mod_revision).ok()
            })
            .collect();
        configurations.sort_by(|a, b| meta_str(a, "name").cmp(meta_str(b, "name")));
        let hooks = |configuration: &Value| {
            let list = configuration["webhooks"].as_array();
            list.into_iter().flatten().map(Hook::of).collect::<Vec<_>>()
        };
        configurations.iter().flat_map(hooks).collect()
    }
}

/// Whether anything happened, or nobody was looking.
fn changed(watch: &mut Option<Watch>) -> bool {
    watch.as_mut().is_none_or(|watch| !matches!(watch.try_next(), Ok(None)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::encode;
    use serde_json::json;
    use windlass_store::{Engine, Expect, Txn};

    /// `operations|groups|versions|resources|scope`, lists separated by commas, `core` for the empty group.
    fn rule(text: &str) -> Rule {
        let parts: Vec<Vec<String>> = text
            .split('|')
            .map(|part| part.split(',').map(|item| item.replace("core", "")).collect())
            .collect();
        let [operations, groups, versions, resources, scope] = parts.try_into().unwrap();
        Rule { operations, groups, versions, resources, scope: scope.concat() }
    }

    /// Whether a rule is about `operation group/version resource/subresource scope`.
    fn matches(rule: &Rule, text: &str) -> bool {
        let words: Vec<&str> = text.split(' ').collect();
        let operations = [Operation::Create, Operation::Update, Operation::Delete, Operation::Connect];
        let operation = operations.into_iter().find(|operation| operation.as_str() == words[0]).unwrap();
        let (group, version) = words[1].split_once('/').unwrap_or(("", words[1]));
        let (resource, subresource) = words[2].split_once('/').unwrap_or((words[2], ""));
        let form = Form { group, version, resource, kind: "K", kind_group: group, kind_version: version };
        rule.matches(operation, &form, subresource, words[3] == "namespaced")
    }

    #[test]
    fn rules_match_what_they_say() {
        for (text, request, expected) in [
            ("CREATE,UPDATE|core|v1|configmaps|*", "CREATE v1 configmaps namespaced", true),
            ("CREATE,UPDATE|core|v1|configmaps|*", "DELETE v1 configmaps namespaced", false),
            ("*|*|*|*|*", "DELETE apps/v1 deployments namespaced", true),
            ("*|*|*|*|*", "UPDATE apps/v1 deployments/scale namespaced", false),
            ("*|*|*|*/*|*", "UPDATE apps/v1 deployments/scale namespaced", true),
            ("*|*|*|*/*|*", "UPDATE apps/v1 deployments namespaced", true),
            ("*|*|*|*/scale|*", "UPDATE apps/v1 deployments namespaced", false),
            ("*|*|*|pods/*|*", "CONNECT v1 pods/exec namespaced", true),
            ("*|*|*|pods/*|*", "UPDATE v1 nodes/status cluster", false),
            ("*|apps|v1|*|*", "CREATE v1 pods namespaced", false),
            ("*|core|v2|*|*", "CREATE v1 pods namespaced", false),
            ("*|*|*|*|Namespaced", "CREATE v1 nodes cluster", false),
            ("*|*|*|*|Namespaced", "CREATE v1 pods namespaced", true),
            ("*|*|*|*|Cluster", "CREATE v1 nodes cluster", true),
            ("*|*|*|*|Cluster", "CREATE v1 pods namespaced", false),
        ] {
            assert_eq!(matches(&rule(text), request), expected, "{text} against {request}");
        }
    }

    #[tokio::test]
    async fn the_index_follows_the_store() {
        let store = Engine::memory().store("hooks");
        let index = Index::new(store.clone());
        assert!(index.hooks().is_empty());
        assert!(Arc::ptr_eq(&index.hooks(), &index.hooks()), "nothing changed: nothing is compiled again");
        let put = async |name: &str, hooks: &[&str]| {
            let hooks: Vec<Value> = hooks.iter().map(|name| json!({"name": name})).collect();
            let object = json!({"kind": "K", "metadata": {"name": name}, "webhooks": hooks});
            let bytes = encode(&object, "admissionregistration.k8s.io/v1").unwrap();
            let key = format!("{MUTATING}{name}");
            store.commit(Txn::new().put(key, bytes, Expect::Absent)).await.unwrap();
        };
        let names = || index.hooks().mutating.iter().map(|hook| hook.name.clone()).collect::<Vec<_>>();
        put("b", &["2", "1"]).await;
        assert_eq!(names(), ["2", "1"]);
        put("a-b", &["0"]).await;
        assert_eq!(names(), ["0", "2", "1"]);
        let revision = store.get(&format!("{MUTATING}b")).unwrap().mod_revision;
        let delete = Txn::new().delete(format!("{MUTATING}b"), Expect::Revision(revision));
        store.commit(delete).await.unwrap();
        assert_eq!(names(), ["0"]);
        let hook = &index.hooks().mutating[0];
        assert!(hook.fail && hook.equivalent && !hook.reinvoke && !hook.dry_run);
        assert_eq!(hook.timeout, Duration::from_secs(10));
    }
}
