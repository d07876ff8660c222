//! The roles and bindings every cluster has.
//!
//! `data/bootstrap-policy.json` holds what a kube-apiserver 1.35.4 with RBAC
//! makes at its first start, read from it through its API.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::Deserialize;
use serde_json::{Value, json};
use windlass_apimachinery::selector::LabelSelector;
use windlass_rbac::{Binding, Policy, PolicyRule, RoleRef, Subject, aggregated};

/// One role or binding of the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    #[serde(default)]
    /// Namespace, empty for cluster roles and their bindings.
    pub namespace: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    aggregation_rule: Option<Value>,
    rules: Option<Value>,
    role_ref: Option<Value>,
    subjects: Option<Value>,
}

impl Row {
    /// The object as it is created.
    pub fn object(&self) -> Value {
        let mut labels = self.labels.clone();
        labels.insert("kubernetes.io/bootstrapping".to_owned(), "rbac-defaults".to_owned());
        let mut object = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": self.kind,
            "metadata": {
                "name": self.name, "labels": labels,
                "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
            },
        });
        if !self.namespace.is_empty() {
            object["metadata"]["namespace"] = json!(self.namespace);
        }
        for (key, value) in [
            ("aggregationRule", &self.aggregation_rule),
            ("rules", &self.rules),
            ("roleRef", &self.role_ref),
            ("subjects", &self.subjects),
        ] {
            if let Some(value) = value {
                object[key] = value.clone();
            }
        }
        object
    }

    /// Where the object is stored.
    pub fn plural(&self) -> String {
        format!("{}s", self.kind.to_lowercase())
    }

    fn policy_rules(&self) -> Vec<PolicyRule> {
        self.rules.clone().and_then(|rules| serde_json::from_value(rules).ok()).unwrap_or_default()
    }
}

/// The rows of the file.
pub fn rows() -> Vec<Row> {
    serde_json::from_str(include_str!("../../data/bootstrap-policy.json"))
        .expect("the compiled-in policy is JSON: a test reads it")
}

/// Whether a label selector, as JSON, picks these labels.
pub fn selects(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
    LabelSelector::from_object(selector).is_ok_and(|selector| selector.matches_map(labels))
}

/// The policy of servers that keep no roles of the system in their store:
/// the same rules, made once for the whole process, with what kubeadm adds for
/// joining nodes.
pub fn shared() -> Arc<Policy> {
    static SHARED: OnceLock<Arc<Policy>> = OnceLock::new();
    Arc::clone(SHARED.get_or_init(|| {
        let mut policy = Policy::default();
        fill(&mut policy, &rows());
        joining(&mut policy);
        Arc::new(policy)
    }))
}

fn fill(policy: &mut Policy, rows: &[Row]) {
    let mut roles = BTreeMap::new();
    for row in rows {
        let object = row.object();
        match row.kind.as_str() {
            "ClusterRole" | "Role" => {
                if row.namespace.is_empty() {
                    roles.insert(row.name.clone(), (row.labels.clone(), row.policy_rules()));
                }
                policy.set_role(&row.namespace, &row.name, Some(row.policy_rules()));
            }
            _ => policy.set_binding(&row.namespace, &row.name, serde_json::from_value(object).ok()),
        }
    }
    // `view` is part of `edit`, and that of `admin`: three rounds reach all.
    for _ in 0..3 {
        for row in rows {
            let aggregation = row.aggregation_rule.clone();
            let Some(aggregation) = aggregation.and_then(|rule| serde_json::from_value(rule).ok()) else {
                continue;
            };
            let rules = aggregated(&row.name, &aggregation, &roles, selects);
            roles.insert(row.name.clone(), (row.labels.clone(), rules.clone()));
            policy.set_role("", &row.name, Some(rules));
        }
    }
}

/// What `kubeadm init` makes for `kubeadm join`, and for the group its
/// administrators are in.
fn joining(policy: &mut Policy) {
    const JOINING: (&str, &str) = ("Group", super::BOOTSTRAPPERS);
    const NODES: (&str, &str) = ("Group", super::NODES);
    let config_maps = |name: &str, names: &[&str]| {
        let rule = PolicyRule {
            verbs: vec!["get".to_owned()],
            api_groups: vec![String::new()],
            resources: vec!["configmaps".to_owned()],
            resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..PolicyRule::default()
        };
        (name.to_owned(), rule)
    };
    let mut give = |namespace: &str, name: &str, role: (&str, &str), to: &[(&str, &str)]| {
        let subject = |(kind, name): &(&str, &str)| Subject {
            kind: (*kind).to_owned(),
            name: (*name).to_owned(),
            namespace: String::new(),
        };
        let role_ref = RoleRef { kind: role.0.to_owned(), name: role.1.to_owned() };
        let binding = Binding { role_ref, subjects: to.iter().map(subject).collect() };
        policy.set_binding(namespace, name, Some(binding));
    };
    give("", "kubeadm:kubelet-bootstrap", ("ClusterRole", "system:node-bootstrapper"), &[JOINING]);
    give("", "kubeadm:get-nodes", ("ClusterRole", "kubeadm:get-nodes"), &[JOINING]);
    give(
        "",
        "kubeadm:cluster-admins",
        ("ClusterRole", "cluster-admin"),
        &[("Group", "kubeadm:cluster-admins")],
    );
    give("kube-system", "kubeadm:nodes-kubeadm-config", ("Role", "kubeadm:config"), &[JOINING, NODES]);
    let public = "kubeadm:bootstrap-signer-clusterinfo";
    give("kube-public", public, ("Role", public), &[("User", super::ANONYMOUS)]);
    let nodes = PolicyRule {
        // kubeadm's nodes register with the credentials their token got them;
        // simulated ones with the token itself.
        verbs: vec!["get".to_owned(), "create".to_owned()],
        api_groups: vec![String::new()],
        resources: vec!["nodes".to_owned()],
        ..PolicyRule::default()
    };
    policy.set_role("", "kubeadm:get-nodes", Some(vec![nodes]));
    let (name, rule) = config_maps("kubeadm:config", &["kubeadm-config", "kubelet-config", "kube-proxy"]);
    policy.set_role("kube-system", &name, Some(vec![rule]));
    let (name, rule) = config_maps(public, &["cluster-info"]);
    policy.set_role("kube-public", &name, Some(vec![rule]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_is_made_of_edit_and_view() {
        let policy = shared();
        let rules = |name: &str| policy.role("", name).unwrap().len();
        assert!(rules("view") > 5 && rules("edit") > rules("view") && rules("admin") > rules("edit"));
        assert!(policy.role("kube-system", "extension-apiserver-authentication-reader").is_some());
    }
}
