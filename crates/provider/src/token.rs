//! What a resource is known by on both sides, and what can be asked of it.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use windlass_model::{Key, Uid};

/// Names the wish for one resource: the idempotency token of a create, and the tag it is found by.
///
/// It is the UID of the object that wants the resource. An object that is deleted and made again under
/// its old name is another wish, with another token and another resource.
///
/// A token may also know where it comes from ([`Self::from_object`]), for logs and for fairness between
/// clusters. That is no part of its identity, and it is not serialized.
#[derive(Clone)]
pub struct Token {
    id: String,
    origin: Option<Arc<Origin>>,
}

/// Who wants the resource of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The cluster the resource is for; empty where it is not known.
    pub cluster: Key,
    /// The object that wants it.
    pub object: Key,
}

impl Token {
    /// The token of the object with this UID.
    pub fn of(uid: &Uid) -> Self {
        Self { id: uid.0.clone(), origin: None }
    }

    /// The same token, with the object it is of and the cluster of that.
    #[must_use]
    pub fn from_object(self, object: Key, cluster: Key) -> Self {
        Self { origin: Some(Arc::new(Origin { cluster, object })), ..self }
    }

    /// Who wants the resource, where the token knows.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_deref()
    }

    /// As it is written into a tag.
    pub fn as_str(&self) -> &str {
        &self.id
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Token {}

impl Ord for Token {
    fn cmp(&self, other: &Self) -> Ordering {
        self.id.cmp(&other.id)
    }
}

impl PartialOrd for Token {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Token {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.id)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { id: String::deserialize(deserializer)?, origin: None })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Token").field(&self.id).finish()
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_token_comes_from_is_no_part_of_it() {
        let token = Token::of(&Uid::from("u"));
        let told = token.clone().from_object(Key::new("default", "m"), Key::new("default", "c"));
        assert_eq!(token, told);
        assert_eq!(told.origin().map(|origin| origin.cluster.name.as_str()), Some("c"));
        let read: Token = serde_json::from_str(&serde_json::to_string(&told).unwrap()).unwrap();
        assert_eq!((read.as_str(), read.origin()), ("u", None));
        assert_eq!(format!("{told:?}"), r#"Token("u")"#);
    }
}
