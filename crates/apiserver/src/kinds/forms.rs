//! Kinds that are served in other forms than the one they are stored in.

use serde_json::Value;

use super::{autoscaler, events};

/// How the served form of a kind differs from the stored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// Only `apiVersion` differs.
    ApiVersion,
    /// Served as `events.k8s.io/v1`, stored as core `v1` events.
    Events,
    /// Served as `autoscaling/v2` and `autoscaling/v1`, stored as the first.
    Autoscaler,
}

impl Conversion {
    /// Whether stored bytes are those of a version but for `apiVersion`.
    pub fn only_names(self, api_version: &str) -> bool {
        match self {
            Self::ApiVersion => true,
            Self::Events => false,
            Self::Autoscaler => api_version != autoscaler::OLD,
        }
    }

    /// Turns a served object into the stored form.
    pub fn store(self, object: &mut Value, api_version: &str) {
        match self {
            Self::Events => events::store(object),
            Self::Autoscaler if object["apiVersion"] == autoscaler::OLD => autoscaler::newer(object),
            Self::Autoscaler | Self::ApiVersion => {}
        }
        object["apiVersion"] = Value::from(api_version);
    }

    /// Turns a stored object into the served form.
    pub fn serve(self, object: &mut Value, api_version: &str) {
        match self {
            Self::Events => events::serve(object),
            Self::Autoscaler if api_version == autoscaler::OLD => autoscaler::older(object),
            Self::Autoscaler | Self::ApiVersion => {}
        }
        object["apiVersion"] = Value::from(api_version);
    }
}
