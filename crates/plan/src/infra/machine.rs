//! One infrastructure machine.

use windlass_model::{Condition, Status};

use super::Seen;

/// Everything the next step depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineSituation {
    /// The object is being deleted.
    pub deleting: bool,
    /// The machine ran before: it is never created again.
    pub provisioned: bool,
    /// The machine, if the provider has it.
    pub seen: Option<Seen>,
    /// The cluster's own infrastructure can be used.
    pub cluster_provisioned: bool,
    /// It will carry the control plane.
    pub control_plane: bool,
    /// The cluster's control plane can be joined.
    pub control_plane_initialized: bool,
    /// What it runs at its first boot is known.
    pub bootstrap_data: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineStep {
    /// Ask the provider for the machine.
    Create,
    /// Report what the provider says.
    Follow,
    /// Not yet.
    Wait(Waiting),
    /// Ask the provider to delete the machine and whatever a create may have left of it, and release the
    /// object when nothing is found any more.
    Delete,
    /// The machine ran and is gone: say so, and let its owner replace it.
    Vanished,
}

/// What a machine waits for before it can be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The infrastructure of its cluster.
    ClusterInfrastructure,
    /// A control plane to join.
    ControlPlane,
    /// Its bootstrap data.
    BootstrapData,
}

impl Waiting {
    /// The reason of the condition that says so.
    pub fn reason(self) -> &'static str {
        match self {
            Self::ClusterInfrastructure => "WaitingForClusterInfrastructureReady",
            Self::ControlPlane => "WaitingForControlPlaneInitialized",
            Self::BootstrapData => "WaitingForBootstrapData",
        }
    }
}

/// The next step of one machine.
pub fn plan_machine(situation: MachineSituation) -> MachineStep {
    if situation.deleting {
        return MachineStep::Delete;
    }
    match situation.seen {
        Some(Seen::Pending | Seen::Running | Seen::Failed | Seen::Deleting) => MachineStep::Follow,
        None if situation.provisioned => MachineStep::Vanished,
        None => match waits_on(situation) {
            None => MachineStep::Create,
            Some(on) => MachineStep::Wait(on),
        },
    }
}

/// The order is upstream's: the first thing that is missing is named.
fn waits_on(situation: MachineSituation) -> Option<Waiting> {
    if !situation.cluster_provisioned {
        Some(Waiting::ClusterInfrastructure)
    } else if situation.bootstrap_data {
        None
    } else if !situation.control_plane && !situation.control_plane_initialized {
        Some(Waiting::ControlPlane)
    } else {
        Some(Waiting::BootstrapData)
    }
}

/// The stages of a machine that cannot be created yet: the first one says why, the others wait for it.
pub fn waiting(stages: &[&'static str], reason: &'static str, message: &str) -> Vec<Condition> {
    let first = stages.first().copied().unwrap_or_default();
    let of = |(index, stage): (usize, &&'static str)| match index {
        0 => Condition::new(*stage, Status::False, reason).because(message),
        _ => Condition::new(*stage, Status::False, format!("WaitingFor{first}")),
    };
    stages.iter().enumerate().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine in words: what is true of it.
    fn machine(words: &str) -> MachineSituation {
        let is = |word: &str| words.split(' ').any(|one| one == word);
        let seen = [
            ("pending", Seen::Pending),
            ("running", Seen::Running),
            ("failed", Seen::Failed),
            ("leaving", Seen::Deleting),
        ];
        MachineSituation {
            deleting: is("deleted"),
            provisioned: is("provisioned"),
            seen: seen.into_iter().find(|(word, _)| is(word)).map(|(_, seen)| seen),
            cluster_provisioned: !is("no-cluster"),
            control_plane: is("cp"),
            control_plane_initialized: is("initialized"),
            bootstrap_data: is("data"),
        }
    }

    fn step(situation: MachineSituation) -> String {
        match plan_machine(situation) {
            MachineStep::Wait(on) => on.reason().to_owned(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn every_situation_has_its_step() {
        for (words, expected) in [
            ("cp", "WaitingForBootstrapData"),
            ("cp no-cluster data", "WaitingForClusterInfrastructureReady"),
            ("cp data", "Create"),
            ("worker", "WaitingForControlPlaneInitialized"),
            ("worker initialized", "WaitingForBootstrapData"),
            ("worker initialized data", "Create"),
            ("worker data pending", "Follow"),
            ("worker data running", "Follow"),
            ("worker data failed", "Follow"),
            ("worker data leaving", "Follow"),
            ("worker data running provisioned", "Follow"),
            ("worker data provisioned", "Vanished"),
            ("worker deleted", "Delete"),
            ("worker deleted data provisioned", "Delete"),
            ("worker deleted running provisioned", "Delete"),
            ("worker deleted pending", "Delete"),
            ("worker deleted failed", "Delete"),
            ("worker deleted leaving", "Delete"),
        ] {
            assert_eq!(step(machine(words)), expected, "{words}");
        }
    }

    #[test]
    fn the_first_stage_says_why() {
        let stages = waiting(&["VMProvisioned", "NodeProvisioned"], "Rejected", "no such image");
        let told: Vec<_> = stages.iter().map(|c| format!("{} {} {}", c.kind, c.reason, c.message)).collect();
        assert_eq!(
            told,
            ["VMProvisioned Rejected no such image", "NodeProvisioned WaitingForVMProvisioned "]
        );
    }
}
