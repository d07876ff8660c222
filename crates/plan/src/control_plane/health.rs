//! What one control plane machine reports about its static pods, its etcd member and its node.

use std::collections::BTreeMap;

use windlass_model::{Condition, Status};

use super::etcd::Membership;

/// The condition types of the components beside etcd, in the order in which they are reported.
pub const COMPONENTS: [&str; 3] =
    ["APIServerPodHealthy", "ControllerManagerPodHealthy", "SchedulerPodHealthy"];
/// The condition type of etcd's pod.
pub const ETCD_POD: &str = "EtcdPodHealthy";
/// The condition type of the etcd member.
pub const ETCD_MEMBER: &str = "EtcdMemberHealthy";
/// The condition type of what kubeadm puts on a control plane node.
pub const NODE_LABELS: &str = "NodeKubeadmLabelsAndTaintsSet";

/// Whether the workload cluster can be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// There is no infrastructure to run it on.
    NoInfrastructure,
    /// No control plane has come up yet.
    NotInitialized,
    /// It does not answer; the text says why.
    Down(String),
    /// It answers.
    Up,
}

/// A static pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pod {
    /// It does not exist.
    Missing,
    /// It is being scheduled or started.
    Provisioning(String),
    /// It runs and is ready.
    Running,
    /// It has ended or keeps crashing.
    Failed(String),
    /// Its node does not report.
    Unknown(String),
}

/// A machine's node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `metadata.name`.
    pub name: String,
    /// It has the label `node-role.kubernetes.io/control-plane`.
    pub labelled: bool,
    /// It has kubeadm's taint, or is not meant to.
    pub tainted: bool,
    /// Its kubelet has not reported for a while: what it said of its pods may be out of date.
    pub unreachable: bool,
}

/// All that is seen of one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight<'a> {
    /// The machine is going away.
    pub deleting: bool,
    /// The kind of its infrastructure machine, for messages.
    pub infrastructure_kind: &'a str,
    /// `spec.providerID`.
    pub provider_id: Option<&'a str>,
    /// Its node.
    pub node: Option<Node>,
    /// Pods by condition type.
    pub pods: BTreeMap<&'static str, Pod>,
    /// etcd's members, or why they are not known; none for external etcd.
    pub etcd: Option<Result<&'a Membership, &'a str>>,
}

/// The conditions of a machine, in the order in which they are reported.
pub fn conditions(reach: &Reach, sight: &Sight<'_>) -> Vec<Condition> {
    let kinds = || {
        let etcd: &[&'static str] = if sight.etcd.is_some() { &[ETCD_POD, ETCD_MEMBER] } else { &[] };
        std::iter::once(&NODE_LABELS).chain(etcd).chain(&COMPONENTS).copied()
    };
    let blind = |reason: &'static str, message: &str| -> Vec<Condition> {
        kinds().map(|kind| Condition::new(kind, Status::Unknown, reason).because(message)).collect()
    };
    match reach {
        Reach::NoInfrastructure => {
            blind("InspectionFailed", "Waiting for Cluster status.infrastructureReady to be true")
        }
        Reach::NotInitialized => {
            blind("InspectionFailed", "Waiting for Cluster control plane to be initialized")
        }
        Reach::Down(why) => blind("ConnectionDown", why),
        Reach::Up => kinds()
            .map(|kind| match kind {
                NODE_LABELS => node_labels(sight),
                ETCD_MEMBER => etcd_member(sight),
                pod => pod_health(pod, sight),
            })
            .collect(),
    }
}

/// What is said while there is no node to look at.
fn waiting(sight: &Sight<'_>) -> String {
    match sight.provider_id {
        None => format!("Waiting for {} to report spec.providerID", sight.infrastructure_kind),
        Some(id) => format!("Waiting for a Node with spec.providerID {id} to exist"),
    }
}

fn deleting(kind: &'static str) -> Condition {
    Condition::new(kind, Status::False, "Deleting").because("Machine is deleting")
}

fn unseen(kind: &'static str, sight: &Sight<'_>) -> Condition {
    Condition::new(kind, Status::Unknown, "InspectionFailed").because(waiting(sight))
}

fn node_labels(sight: &Sight<'_>) -> Condition {
    let Some(node) = &sight.node else {
        return if sight.deleting { deleting(NODE_LABELS) } else { unseen(NODE_LABELS, sight) };
    };
    let missing: Vec<_> = [(node.labelled, "label"), (node.tainted, "taint")]
        .into_iter()
        .filter(|(there, _)| !there)
        .map(|(_, what)| {
            format!("* Node {} must have the node-role.kubernetes.io/control-plane {what}", node.name)
        })
        .collect();
    if missing.is_empty() {
        Condition::new(NODE_LABELS, Status::True, "Set")
    } else {
        Condition::new(NODE_LABELS, Status::False, "NotSet").because(missing.join("\n"))
    }
}

fn pod_health(kind: &'static str, sight: &Sight<'_>) -> Condition {
    if sight.deleting {
        return deleting(kind);
    }
    let Some(node) = &sight.node else { return unseen(kind, sight) };
    if node.unreachable {
        return Condition::new(kind, Status::Unknown, "InspectionFailed")
            .because(format!("Node {} is unreachable", node.name));
    }
    match sight.pods.get(kind) {
        None | Some(Pod::Missing) => {
            Condition::new(kind, Status::False, "DoesNotExist").because("Pod does not exist")
        }
        Some(Pod::Provisioning(why)) => Condition::new(kind, Status::False, "Provisioning").because(why),
        Some(Pod::Running) => Condition::new(kind, Status::True, "Running"),
        Some(Pod::Failed(why)) => Condition::new(kind, Status::False, "Failed").because(why),
        Some(Pod::Unknown(why)) => Condition::new(kind, Status::Unknown, "InspectionFailed").because(why),
    }
}

fn etcd_member(sight: &Sight<'_>) -> Condition {
    let Some(node) = &sight.node else {
        return if sight.deleting { deleting(ETCD_MEMBER) } else { unseen(ETCD_MEMBER, sight) };
    };
    let ill = |message: String| Condition::new(ETCD_MEMBER, Status::False, "NotHealthy").because(message);
    match &sight.etcd {
        Some(Ok(membership)) => match membership.on(&node.name) {
            None => ill(format!("Etcd doesn't have an etcd member for Node {}", node.name)),
            Some(_) if sight.deleting => deleting(ETCD_MEMBER),
            Some(member) if membership.alarms.contains(&member.id) => {
                ill("Etcd reports alarms for this member".to_owned())
            }
            Some(member) if member.learner => ill("Etcd member is a learner".to_owned()),
            Some(_) => Condition::new(ETCD_MEMBER, Status::True, "Healthy"),
        },
        Some(Err(_)) if sight.deleting => deleting(ETCD_MEMBER),
        Some(Err(why)) => Condition::new(ETCD_MEMBER, Status::Unknown, "InspectionFailed").because(*why),
        None => Condition::new(ETCD_MEMBER, Status::Unknown, "InspectionFailed"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::etcd::Member;
    use super::*;

    fn say(conditions: &[Condition]) -> Vec<String> {
        conditions
            .iter()
            .map(|c| format!("{} {} {} {}", c.kind, c.status.as_str(), c.reason, c.message).trim().to_owned())
            .collect()
    }

    fn membership(names: &[&str]) -> Membership {
        let members = (1..)
            .zip(names)
            .map(|(id, name)| Member { id, name: (*name).to_owned(), learner: false })
            .collect();
        Membership { members, ..Membership::default() }
    }

    fn sight<'a>(etcd: &'a Membership, pod: &Pod) -> Sight<'a> {
        let kinds = COMPONENTS.into_iter().chain([ETCD_POD]);
        Sight {
            deleting: false,
            infrastructure_kind: "DevMachine",
            provider_id: Some("in-memory://m"),
            node: Some(Node { name: "m".to_owned(), labelled: true, tainted: true, unreachable: false }),
            pods: kinds.map(|kind| (kind, pod.clone())).collect(),
            etcd: Some(Ok(etcd)),
        }
    }

    #[test]
    fn a_healthy_machine() {
        let etcd = membership(&["m"]);
        assert_eq!(
            say(&conditions(&Reach::Up, &sight(&etcd, &Pod::Running))),
            [
                "NodeKubeadmLabelsAndTaintsSet True Set",
                "EtcdPodHealthy True Running",
                "EtcdMemberHealthy True Healthy",
                "APIServerPodHealthy True Running",
                "ControllerManagerPodHealthy True Running",
                "SchedulerPodHealthy True Running",
            ]
        );
    }

    #[test]
    fn says_what_it_waits_for_as_upstream_does() {
        let etcd = membership(&["other"]);
        let good = sight(&etcd, &Pod::Missing);
        let cases = [
            (
                Reach::NotInitialized,
                good.clone(),
                "EtcdMemberHealthy Unknown InspectionFailed Waiting for Cluster control plane to be initialized",
            ),
            (
                Reach::Up,
                Sight { node: None, provider_id: None, ..good.clone() },
                "EtcdMemberHealthy Unknown InspectionFailed Waiting for DevMachine to report spec.providerID",
            ),
            (
                Reach::Up,
                Sight { node: None, ..good.clone() },
                "APIServerPodHealthy Unknown InspectionFailed Waiting for a Node with spec.providerID in-memory://m to exist",
            ),
            (Reach::Up, good.clone(), "APIServerPodHealthy False DoesNotExist Pod does not exist"),
            (
                Reach::Up,
                good.clone(),
                "EtcdMemberHealthy False NotHealthy Etcd doesn't have an etcd member for Node m",
            ),
            (
                Reach::Up,
                Sight { deleting: true, ..good.clone() },
                "SchedulerPodHealthy False Deleting Machine is deleting",
            ),
            (
                Reach::Up,
                Sight { deleting: true, node: None, ..good.clone() },
                "NodeKubeadmLabelsAndTaintsSet False Deleting Machine is deleting",
            ),
            (
                Reach::Up,
                Sight {
                    node: good.node.clone().map(|node| Node { unreachable: true, ..node }),
                    ..good.clone()
                },
                "SchedulerPodHealthy Unknown InspectionFailed Node m is unreachable",
            ),
            (
                Reach::Up,
                Sight { etcd: Some(Err("no pod answers")), ..good.clone() },
                "EtcdMemberHealthy Unknown InspectionFailed no pod answers",
            ),
            (
                Reach::Down("Remote connection down".into()),
                good,
                "EtcdMemberHealthy Unknown ConnectionDown Remote connection down",
            ),
        ];
        for (reach, sight, expected) in cases {
            let said = say(&conditions(&reach, &sight));
            assert!(said.contains(&expected.to_owned()), "{expected}: {said:#?}");
        }
    }

    #[test]
    fn external_etcd_has_no_pods_and_members() {
        let etcd = membership(&["m"]);
        let sight = Sight { etcd: None, ..sight(&etcd, &Pod::Running) };
        assert_eq!(conditions(&Reach::Up, &sight).len(), 4);
    }
}
