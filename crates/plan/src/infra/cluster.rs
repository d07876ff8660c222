//! The infrastructure that the machines of one cluster share.

use super::Seen;

/// Everything the next step depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterSituation {
    /// The object is being deleted.
    pub deleting: bool,
    /// It was there before: it is never created again.
    pub provisioned: bool,
    /// What the provider has.
    pub seen: Option<Seen>,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterStep {
    /// Ask the provider for it.
    Create,
    /// Report what the provider says.
    Follow,
    /// Ask the provider to delete it and whatever a create may have left of it, and release the object when
    /// nothing is found any more.
    Delete,
    /// It was there and is gone.
    Vanished,
}

/// The next step of one cluster's infrastructure.
pub fn plan_cluster(situation: ClusterSituation) -> ClusterStep {
    match (situation.deleting, situation.seen) {
        (true, _) => ClusterStep::Delete,
        (false, Some(Seen::Pending | Seen::Running | Seen::Failed | Seen::Deleting)) => ClusterStep::Follow,
        (false, None) if situation.provisioned => ClusterStep::Vanished,
        (false, None) => ClusterStep::Create,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_situation_has_its_step() {
        for (deleting, provisioned, seen, expected) in [
            (false, false, None, ClusterStep::Create),
            (false, false, Some(Seen::Pending), ClusterStep::Follow),
            (false, true, Some(Seen::Running), ClusterStep::Follow),
            (false, true, None, ClusterStep::Vanished),
            (true, true, Some(Seen::Running), ClusterStep::Delete),
            (true, true, Some(Seen::Deleting), ClusterStep::Delete),
            (true, false, None, ClusterStep::Delete),
        ] {
            let situation = ClusterSituation { deleting, provisioned, seen };
            assert_eq!(plan_cluster(situation), expected, "{situation:?}");
        }
    }
}
