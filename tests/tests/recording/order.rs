//! The order in which a cluster goes.

use anyhow::{Result, ensure};

/// Each stage is over before the next one begins. What garbage collection takes (Secrets, templates) is of no stage.
fn stage(what: &str) -> Option<usize> {
    let (kind, role) = what.split_once('/')?;
    match kind {
        "DevMachine" | "KubeadmConfig" | "Machine" if role.contains("<worker") => Some(0),
        "MachineSet" => Some(1),
        "MachineDeployment" => Some(2),
        "DevMachine" | "KubeadmConfig" | "Machine" => Some(3),
        "KubeadmControlPlane" => Some(4),
        "DevCluster" => Some(5),
        "Cluster" => Some(6),
        _ => None,
    }
}

/// Of one machine, the infrastructure goes first and the Machine last.
fn step(kind: &str) -> usize {
    ["DevMachine", "KubeadmConfig", "Machine"].iter().position(|of| *of == kind).unwrap_or_default()
}

/// Whether `deleted`, `Kind/<role>` in order, is in order.
pub fn check(deleted: &[String]) -> Result<()> {
    let staged: Vec<_> = deleted.iter().filter_map(|what| Some((stage(what)?, what))).collect();
    for (at, (stage, what)) in staged.iter().enumerate() {
        let (kind, role) = what.split_once('/').unwrap_or_default();
        for (later_stage, later) in &staged[at + 1..] {
            let (later_kind, later_role) = later.split_once('/').unwrap_or_default();
            ensure!(stage <= later_stage, "{what} went before {later}");
            let same_machine = *stage == *later_stage && role == later_role;
            ensure!(!same_machine || step(kind) <= step(later_kind), "{what} went before {later}");
        }
    }
    Ok(())
}

#[test]
fn an_order_is_wrong_where_a_later_stage_or_step_goes_first() {
    for (deleted, right) in [
        (["DevMachine/c-<worker1>", "Machine/c-<worker1>", "MachineSet/c-<set>"], true),
        (["Secret/c-ca", "Machine/c-<control-plane1>", "Cluster/c"], true),
        (["Machine/c-<worker1>", "DevMachine/c-<worker1>", "MachineSet/c-<set>"], false),
        (["Machine/c-<control-plane1>", "Machine/c-<worker1>", "Cluster/c"], false),
        (["Machine/c-<worker1>", "Cluster/c", "DevCluster/c"], false),
    ] {
        assert_eq!(check(&deleted.map(str::to_owned)).is_ok(), right, "{deleted:?}");
    }
}
