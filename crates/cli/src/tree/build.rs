//! Objects → tree. Pure.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;

use super::gather::{Objects, kind_of};
use super::{Branch, Counters, ShownCondition};

/// What to show.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Merge machines that say the same.
    pub grouping: bool,
    /// Show MachineSets between MachineDeployments and Machines.
    pub machine_sets: bool,
    /// Show infrastructure and bootstrap objects of ready machines too.
    pub echo: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { grouping: true, machine_sets: false, echo: false }
    }
}

/// Builds the tree of a cluster.
pub fn build(cluster: &DynamicObject, objects: &Objects, options: Options) -> Branch {
    let all = Index::new(&objects.others);
    let mut root = branch(cluster, "Available");
    root.replicas = sum_of_cluster(&cluster.data);
    let infrastructure = all.referenced(&cluster.data, "/spec/infrastructureRef").map(|object| {
        let mut child = branch(object, "Ready");
        child.name = format!("ClusterInfrastructure - {}", child.name);
        child
    });
    let control_plane = all.referenced(&cluster.data, "/spec/controlPlaneRef").map(|object| {
        let mut child = branch(object, "Available");
        child.name = format!("ControlPlane - {}", child.name);
        child.children = all.machines(&object.uid().unwrap_or_default(), options);
        child
    });
    root.children = infrastructure.into_iter().chain(control_plane).chain(all.workers(options)).collect();
    root
}

/// Objects by kind and by owner.
struct Index<'o> {
    by_kind: BTreeMap<&'o str, Vec<&'o DynamicObject>>,
    by_owner: BTreeMap<&'o str, Vec<&'o DynamicObject>>,
}

impl<'o> Index<'o> {
    fn new(objects: &'o [DynamicObject]) -> Self {
        let mut index = Self { by_kind: BTreeMap::new(), by_owner: BTreeMap::new() };
        for object in objects {
            index.by_kind.entry(kind_of(object)).or_default().push(object);
            for owner in object.owner_references() {
                index.by_owner.entry(&owner.uid).or_default().push(object);
            }
        }
        index
    }

    fn of_kind(&self, kind: &str) -> &[&'o DynamicObject] {
        self.by_kind.get(kind).map_or(&[], Vec::as_slice)
    }

    fn owned(&self, uid: &str, kind: &str) -> impl Iterator<Item = &'o DynamicObject> {
        let owned = self.by_owner.get(uid).map_or(&[] as &[_], Vec::as_slice);
        owned.iter().copied().filter(move |object| kind_of(object) == kind)
    }

    fn referenced(&self, data: &Value, path: &str) -> Option<&'o DynamicObject> {
        let reference = data.pointer(path)?;
        let (kind, name) = (reference.get("kind")?.as_str()?, reference.get("name")?.as_str()?);
        self.of_kind(kind).iter().copied().find(|object| object.name_any() == name)
    }

    /// Machines owned by `uid`, those that say the same merged.
    fn machines(&self, uid: &str, options: Options) -> Vec<Branch> {
        let machines: Vec<_> =
            self.owned(uid, "Machine").map(|machine| self.machine(machine, options)).collect();
        if options.grouping { group(machines) } else { machines }
    }

    fn machine(&self, machine: &DynamicObject, options: Options) -> Branch {
        let mut shown = branch(machine, "Ready");
        shown.replicas = counters_of_machine(&shown);
        for path in ["/spec/infrastructureRef", "/spec/bootstrap/configRef"] {
            let Some(object) = self.referenced(&machine.data, path) else { continue };
            let child = branch(object, "Ready");
            let good = child.main.as_ref().is_some_and(ShownCondition::is_good);
            let same = child
                .main
                .as_ref()
                .zip(shown.main.as_ref())
                .is_some_and(|(child, machine)| flat(&machine.message).contains(&flat(&child.message)));
            if options.echo || !(good || same) {
                shown.children.push(child);
            }
        }
        shown
    }

    fn workers(&self, options: Options) -> Option<Branch> {
        let mut children = Vec::new();
        for deployment in self.of_kind("MachineDeployment") {
            let mut child = branch(deployment, "Available");
            for set in self.owned(&deployment.uid().unwrap_or_default(), "MachineSet") {
                let machines = self.machines(&set.uid().unwrap_or_default(), options);
                if options.machine_sets {
                    child.children.push(Branch { children: machines, ..branch(set, "MachinesReady") });
                } else {
                    child.children.extend(machines);
                }
            }
            children.push(child);
        }
        (!children.is_empty()).then(|| Branch { name: "Workers".to_owned(), children, ..Branch::default() })
    }
}

/// A message without its layout: what a machine repeats of another object is indented more.
fn flat(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// One object without children.
fn branch(object: &DynamicObject, main: &str) -> Branch {
    let mut conditions = conditions(&object.data);
    let at = conditions.iter().position(|condition| condition.r#type == main);
    let main = at.map(|at| conditions.remove(at));
    let kind = kind_of(object);
    let text = |path: &str| object.data.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    Branch {
        name: format!("{kind}/{}", object.name_any()),
        kind: kind.to_owned(),
        deleting: object.metadata.deletion_timestamp.is_some(),
        phase: text("/status/phase"),
        replicas: counters(&object.data),
        main,
        conditions,
        children: Vec::new(),
    }
}

fn conditions(data: &Value) -> Vec<ShownCondition> {
    let list =
        data.pointer("/status/conditions").and_then(Value::as_array).map_or(&[] as &[_], Vec::as_slice);
    let shown = |condition: &Value| {
        let text = |key: &str| condition.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        ShownCondition {
            r#type: text("type"),
            status: text("status"),
            reason: text("reason"),
            message: text("message"),
            last_transition_time: text("lastTransitionTime"),
        }
    };
    list.iter().map(shown).collect()
}

fn counters(data: &Value) -> Counters {
    let number = |path: &str| data.pointer(path).and_then(Value::as_i64);
    Counters {
        desired: number("/spec/replicas"),
        replicas: number("/status/replicas"),
        available: number("/status/availableReplicas"),
        ready: number("/status/readyReplicas"),
        up_to_date: number("/status/upToDateReplicas"),
    }
}

/// A cluster's counters are those of its control plane and its workers together.
fn sum_of_cluster(data: &Value) -> Counters {
    let sum = |field: &str| {
        let part = |of: &str| data.pointer(&format!("/status/{of}/{field}")).and_then(Value::as_i64);
        match (part("controlPlane"), part("workers")) {
            (None, None) => None,
            (one, other) => Some(one.unwrap_or_default() + other.unwrap_or_default()),
        }
    };
    Counters {
        desired: sum("desiredReplicas"),
        replicas: sum("replicas"),
        available: sum("availableReplicas"),
        ready: sum("readyReplicas"),
        up_to_date: sum("upToDateReplicas"),
    }
}

/// A machine counts as one of each that it is.
fn counters_of_machine(machine: &Branch) -> Counters {
    let holds = |kind: &str| {
        let condition =
            machine.main.iter().chain(&machine.conditions).find(|condition| condition.r#type == kind);
        Some(i64::from(condition.is_some_and(|condition| condition.status == "True")))
    };
    Counters {
        desired: None,
        replicas: Some(1),
        available: holds("Available"),
        ready: holds("Ready"),
        up_to_date: holds("UpToDate"),
    }
}

/// Merges machines whose counters, main condition and fate agree.
fn group(machines: Vec<Branch>) -> Vec<Branch> {
    let mut groups: Vec<Vec<Branch>> = Vec::new();
    let key = |machine: &Branch| {
        let main = machine.main.as_ref().map(|main| (main.status.clone(), main.reason.clone()));
        (machine.replicas, main, machine.deleting)
    };
    for machine in machines {
        match groups.iter_mut().find(|group| group.first().is_some_and(|first| key(first) == key(&machine))) {
            Some(group) => group.push(machine),
            None => groups.push(vec![machine]),
        }
    }
    groups.into_iter().map(merge).collect()
}

fn merge(mut machines: Vec<Branch>) -> Branch {
    if machines.len() == 1 {
        return machines.remove(0);
    }
    let names: Vec<_> =
        machines.iter().map(|machine| machine.name.trim_start_matches("Machine/").to_owned()).collect();
    let sum = |field: fn(&Counters) -> Option<i64>| {
        Some(machines.iter().filter_map(|machine| field(&machine.replicas)).sum())
    };
    let replicas = Counters {
        desired: None,
        replicas: sum(|counters| counters.replicas),
        available: sum(|counters| counters.available),
        ready: sum(|counters| counters.ready),
        up_to_date: sum(|counters| counters.up_to_date),
    };
    let see = match names.as_slice() {
        [a, b, c, rest @ ..] if !rest.is_empty() => format!("See {a}, {b}, {c}, and {} more", rest.len()),
        all => format!("See {}", all.join(", ")),
    };
    let first = machines.swap_remove(0);
    // What is wrong with one of them is wrong with most.
    let main = first.main.map(|main| {
        let message = if main.is_good() { see } else { format!("{see}\n{}", main.message) };
        ShownCondition { message, ..main }
    });
    Branch {
        name: format!("{} Machines...", names.len()),
        kind: "Machine".to_owned(),
        deleting: first.deleting,
        replicas,
        main,
        ..Branch::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::output::Paint;
    use crate::tree::render;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    fn machine(name: &str, owner: &str, ready: &str, message: &str) -> DynamicObject {
        object(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": {"name": name, "uid": name, "ownerReferences": [{"apiVersion": "x", "kind": "x", "name": owner, "uid": owner}]},
            "spec": {},
            "status": {"conditions": [
                {"type": "Ready", "status": ready, "reason": if ready == "True" {"Ready"} else {"NotReady"}, "message": message, "lastTransitionTime": "2026-11-21T10:00:00Z"},
                {"type": "Available", "status": ready, "reason": "Available"},
            ]},
        }))
    }

    #[test]
    fn a_cluster_that_waits() {
        let cluster = object(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {"name": "prod", "uid": "c"},
            "spec": {"infrastructureRef": {"apiGroup": "i", "kind": "DevCluster", "name": "prod"}},
            "status": {
                "controlPlane": {"desiredReplicas": 1, "replicas": 0}, "workers": {"desiredReplicas": 3, "replicas": 3},
                "conditions": [{"type": "Available", "status": "False", "reason": "NotAvailable", "message": "* WorkersAvailable: 1 of 3\n* ControlPlaneAvailable: no", "lastTransitionTime": "2026-11-21T09:59:00Z"}],
            },
        }));
        let others = vec![
            object(
                json!({"apiVersion": "i/v1", "kind": "DevCluster", "metadata": {"name": "prod", "uid": "i"}}),
            ),
            object(
                json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDeployment", "metadata": {"name": "md", "uid": "md"}, "spec": {"replicas": 3}, "status": {"replicas": 3, "readyReplicas": 2}}),
            ),
            object(
                json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineSet", "metadata": {"name": "ms", "uid": "ms", "ownerReferences": [{"apiVersion": "x", "kind": "x", "name": "md", "uid": "md"}]}}),
            ),
            machine("m1", "ms", "True", ""),
            machine("m2", "ms", "True", ""),
            machine("m3", "ms", "False", "* NodeHealthy: waiting for the node"),
        ];
        let tree = build(&cluster, &Objects { cluster: None, others }, Options::default());
        let now = "2026-11-21T10:01:00Z".parse().unwrap();
        let text =
            render::text(&tree, render::Style { paint: Paint(false), now, conditions: false, width: None });
        let expected = "\
NAME                                      REPLICAS AVAILABLE READY UP TO DATE STATUS REASON       SINCE MESSAGE
Cluster/prod                              3/4                                 False  NotAvailable 2m    * WorkersAvailable: 1 of 3
                                                                                                        * ControlPlaneAvailable: no
├─ClusterInfrastructure - DevCluster/prod
└─Workers
  └─MachineDeployment/md                  3/3                2
    ├─2 Machines...                       2        2         2     0          True   Ready        60s   See m1, m2
    └─Machine/m3                          1        0         0     0          False  NotReady     60s   * NodeHealthy: waiting for the node
";
        assert_eq!(text, expected, "\n{text}");
        let style = render::Style { paint: Paint(false), now, conditions: false, width: Some(60) };
        let narrow = render::text(&tree, style);
        let expected = "\
Cluster/prod                              3/4      False
│   * WorkersAvailable: 1 of 3
│   * ControlPlaneAvailable: no
├─ClusterInfrastructure - DevCluster/prod
└─Workers
  └─MachineDeployment/md                  3/3
    ├─2 Machines...                       2        True
    └─Machine/m3                          1        False
          * NodeHealthy: waiting for the node
";
        assert_eq!(narrow, expected, "\n{narrow}");
    }

    #[test]
    fn a_failed_bootstrap_is_quoted_as_it_was() {
        let message = "* InfrastructureReady: BootstrapCompleted: bootstrap failed: `kubeadm join --config x` (step 3 of 3) ended with exit code 1; the log ends with:\n    | [preflight] Running pre-flight checks\n    | error execution phase preflight: couldn't validate the identity of the API Server: failed to request the cluster-info ConfigMap\n  `docker exec m1 cat log` shows all of it.";
        let cluster = object(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {"name": "prod", "uid": "c"}, "spec": {},
        }));
        let others = vec![
            object(
                json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDeployment", "metadata": {"name": "md", "uid": "md"}, "spec": {"replicas": 2}}),
            ),
            object(
                json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineSet", "metadata": {"name": "ms", "uid": "ms", "ownerReferences": [{"apiVersion": "x", "kind": "x", "name": "md", "uid": "md"}]}}),
            ),
            machine("m1", "ms", "False", message),
            machine("m2", "ms", "False", message),
        ];
        let tree = build(&cluster, &Objects { cluster: None, others }, Options::default());
        let now = "2026-11-21T10:01:00Z".parse().unwrap();
        let style = render::Style { paint: Paint(false), now, conditions: false, width: Some(100) };
        let expected = "\
Cluster/prod
└─Workers
  └─MachineDeployment/md 0/2
    └─2 Machines...      2        False
          See m1, m2
          * InfrastructureReady: BootstrapCompleted: bootstrap failed: `kubeadm join --config x`
          (step 3 of 3) ended with exit code 1; the log ends with:
              | [preflight] Running pre-flight checks
              | error execution phase preflight: couldn't validate the identity of the API Server:
              | failed to request the cluster-info ConfigMap
            `docker exec m1 cat log` shows all of it.
";
        let shown = render::text(&tree, style);
        assert_eq!(shown, expected, "\n{shown}");
    }
}
