//! What a resource is known by on both sides, and what can be asked of it.

use std::fmt;

use serde::{Deserialize, Serialize};
use windlass_model::Uid;

/// Names the wish for one resource: the idempotency token of a create, and the tag it is found by.
///
/// It is the UID of the object that wants the resource. An object that is deleted and made again under
/// its old name is another wish, with another token and another resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// The token of the object with this UID.
    pub fn of(uid: &Uid) -> Self {
        Self(uid.0.clone())
    }

    /// As it is written into a tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One kind of call: the label of its metrics and the place where faults are injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// [`crate::Machines::create`].
    CreateMachine,
    /// [`crate::Machines::find`] and [`crate::Machines::follow`].
    FindMachine,
    /// [`crate::Machines::delete`].
    DeleteMachine,
    /// [`crate::ClusterInfrastructure::propose`].
    ProposeCluster,
    /// [`crate::ClusterInfrastructure::create`].
    CreateCluster,
    /// [`crate::ClusterInfrastructure::find`] and [`crate::ClusterInfrastructure::follow`].
    FindCluster,
    /// [`crate::ClusterInfrastructure::delete`].
    DeleteCluster,
}

impl Operation {
    /// In snake case, for metrics and transcripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CreateMachine => "create_machine",
            Self::FindMachine => "find_machine",
            Self::DeleteMachine => "delete_machine",
            Self::ProposeCluster => "propose_cluster",
            Self::CreateCluster => "create_cluster",
            Self::FindCluster => "find_cluster",
            Self::DeleteCluster => "delete_cluster",
        }
    }

    /// Whether the call changes anything outside. Only these need a crash before and after them.
    pub fn is_effect(self) -> bool {
        match self {
            Self::CreateMachine | Self::DeleteMachine | Self::CreateCluster | Self::DeleteCluster => true,
            Self::FindMachine | Self::ProposeCluster | Self::FindCluster => false,
        }
    }
}
