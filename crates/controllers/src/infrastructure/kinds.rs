//! Where infrastructure kinds keep what the contract asks for.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition as MetaCondition;
use serde_json::Value;
use windlass_provider::{Address, Endpoint};
use windlass_runtime::Cached;

pub use super::scene::TextRef;

/// A kind of infrastructure machine.
pub trait MachineKind: Send + Sync + 'static {
    /// Its objects.
    type Object: Cached + PartialEq;
    /// Lower-case name of the controller.
    const NAME: &'static str;
    /// Holds an object until its machine is gone.
    const FINALIZER: &'static str;

    /// The backend an object asks for, and the backend's own part of the spec. Empty where it names none.
    fn backend(object: &Self::Object) -> (&'static str, Value);

    /// `spec.providerID`.
    fn provider_id(object: &Self::Object) -> Option<&str>;

    /// Sets `spec.providerID`.
    fn set_provider_id(object: &mut Self::Object, id: String);

    /// `status.initialization.provisioned`.
    fn is_provisioned(object: &Self::Object) -> bool;

    /// `status.conditions`.
    fn conditions(object: &Self::Object) -> &[MetaCondition];

    /// Writes the status.
    fn report(object: &mut Self::Object, report: MachineReport);
}

/// What a pass says about a machine.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineReport {
    /// All conditions.
    pub conditions: Vec<MetaCondition>,
    /// What the provider says; `None` where it was not asked or has nothing, and what was said before stays.
    pub instance: Option<InstanceReport>,
}

/// What a provider says about a machine, in the contract's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceReport {
    /// The machine runs.
    pub running: bool,
    /// How it is reached.
    pub addresses: Vec<Address>,
    /// Where it was placed.
    pub failure_domain: Option<String>,
}

/// A kind of cluster infrastructure.
pub trait ClusterKind: Send + Sync + 'static {
    /// Its objects.
    type Object: Cached;
    /// Lower-case name of the controller.
    const NAME: &'static str;
    /// Holds an object until its infrastructure is gone.
    const FINALIZER: &'static str;

    /// The backend an object asks for, and the backend's own part of the spec. Empty where it names none.
    fn backend(object: &Self::Object) -> (&'static str, Value);

    /// The texts that the backend's part of the spec refers to.
    fn config(_object: &Self::Object) -> Vec<TextRef> {
        vec![]
    }

    /// `spec.controlPlaneEndpoint`, where it is complete.
    fn endpoint(object: &Self::Object) -> Option<Endpoint>;

    /// Sets `spec.controlPlaneEndpoint`.
    fn set_endpoint(object: &mut Self::Object, endpoint: &Endpoint);

    /// `status.initialization.provisioned`.
    fn is_provisioned(object: &Self::Object) -> bool;

    /// `status.conditions`.
    fn conditions(object: &Self::Object) -> &[MetaCondition];

    /// Writes the status.
    fn report(object: &mut Self::Object, report: ClusterReport);
}

/// What a pass says about a cluster's infrastructure.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterReport {
    /// All conditions.
    pub conditions: Vec<MetaCondition>,
    /// It can be used.
    pub running: bool,
    /// Where machines can be placed, and whether control plane machines can; `None` leaves what was said.
    pub failure_domains: Option<BTreeMap<String, bool>>,
}
