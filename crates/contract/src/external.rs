//! What the contract lets us read of a provider's object.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use kube_core::{ApiResource, DynamicResourceScope, Resource};
use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer};
use windlass_api::core::{ApiEndpoint, FailureDomain, MachineAddress, VersionCount};
use windlass_model::Version;

use crate::version::Contract;

/// One projection of any infrastructure cluster, infrastructure machine, bootstrap config or control plane:
/// its metadata and the fields of the contract, nothing else.
///
/// It can be read and watched like any object, but not written: it has no `Serialize`, because writing it
/// back would drop what it does not show.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct External {
    /// Group and version. May be empty in lists.
    pub api_version: String,
    /// The kind. May be empty in lists.
    pub kind: String,
    /// The object's metadata.
    pub metadata: ObjectMeta,
    /// What the object shall be.
    #[serde(deserialize_with = "or_default")]
    pub spec: ExternalSpec,
    /// What the object is.
    #[serde(deserialize_with = "or_default")]
    pub status: ExternalStatus,
}

/// The contract's part of a spec.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExternalSpec {
    /// The provider's id of the host (infrastructure machine).
    #[serde(rename = "providerID")]
    pub provider_id: Option<String>,
    /// Where the API server is reached (infrastructure cluster, control plane).
    #[serde(deserialize_with = "or_default")]
    pub control_plane_endpoint: ApiEndpoint,
    /// Where the host is placed (infrastructure machine, older providers).
    pub failure_domain: Option<String>,
    /// The Kubernetes version (control plane).
    pub version: Option<String>,
    /// How many machines (control plane).
    pub replicas: Option<i32>,
}

/// The contract's part of a status, in all its versions. The methods of [`External`] choose between them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExternalStatus {
    /// The steps that are done (v1beta2).
    #[serde(deserialize_with = "or_default")]
    pub initialization: Initialization,
    /// Whether the object is there (v1beta1).
    pub ready: Option<bool>,
    /// Whether the API server was reachable once (control plane, v1beta1).
    pub initialized: Option<bool>,
    /// The Secret with the bootstrap data (bootstrap config).
    pub data_secret_name: Option<String>,
    /// The addresses of the host (infrastructure machine). Those of unknown type are left out.
    #[serde(deserialize_with = "addresses")]
    pub addresses: Vec<MachineAddress>,
    /// Where the host was placed (infrastructure machine).
    pub failure_domain: Option<String>,
    /// The failure domains there are, by name (infrastructure cluster).
    #[serde(deserialize_with = "failure_domains")]
    pub failure_domains: Vec<FailureDomain>,
    /// What is known about the object, aspect by aspect.
    #[serde(deserialize_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// The selector of the machines, as text (control plane).
    pub selector: Option<String>,
    /// How many machines there are (control plane).
    pub replicas: Option<i32>,
    /// How many of them are ready (control plane).
    pub ready_replicas: Option<i32>,
    /// How many of them are available (control plane, v1beta2).
    pub available_replicas: Option<i32>,
    /// How many of them are up to date (control plane, v1beta2).
    pub up_to_date_replicas: Option<i32>,
    /// How many of them are not available (control plane, v1beta1).
    pub unavailable_replicas: Option<i32>,
    /// How many of them are up to date (control plane, v1beta1).
    pub updated_replicas: Option<i32>,
    /// The lowest version that runs (control plane).
    pub version: Option<String>,
    /// Which versions run (control plane).
    #[serde(deserialize_with = "or_default")]
    pub versions: Vec<VersionCount>,
    /// Whether the control plane has no machines with nodes in the cluster (control plane).
    pub external_managed_control_plane: Option<bool>,
    /// Whether the host may be taken away at any time (infrastructure machine).
    pub interruptible: Option<bool>,
}

/// The steps of a creation that are done (v1beta2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Initialization {
    /// The infrastructure is there.
    pub provisioned: Option<bool>,
    /// The Secret with the bootstrap data is there.
    pub data_secret_created: Option<bool>,
    /// The API server was reachable once.
    pub control_plane_initialized: Option<bool>,
}

impl External {
    /// Whether the infrastructure is there.
    pub fn provisioned(&self, contract: Contract) -> bool {
        done(contract, self.status.initialization.provisioned, self.status.ready)
    }

    /// Whether the Secret with the bootstrap data is there.
    pub fn data_secret_created(&self, contract: Contract) -> bool {
        done(contract, self.status.initialization.data_secret_created, self.status.ready)
    }

    /// Whether the API server was reachable once.
    pub fn control_plane_initialized(&self, contract: Contract) -> bool {
        done(contract, self.status.initialization.control_plane_initialized, self.status.initialized)
    }

    /// How many machines are up to date.
    pub fn up_to_date_replicas(&self, contract: Contract) -> Option<i32> {
        match contract {
            Contract::V1Beta2 => self.status.up_to_date_replicas,
            Contract::V1Beta1 => self.status.updated_replicas,
        }
    }

    /// How many machines are available.
    pub fn available_replicas(&self, contract: Contract) -> Option<i32> {
        match contract {
            Contract::V1Beta2 => self.status.available_replicas,
            Contract::V1Beta1 => {
                Some(self.status.replicas?.saturating_sub(self.status.unavailable_replicas.unwrap_or(0)))
            }
        }
    }

    /// The versions that a control plane runs, as it says itself: the list, or the older single field.
    pub fn running_versions(&self) -> impl Iterator<Item = &str> {
        let listed = self.status.versions.iter().map(|count| count.version.as_str());
        let single = self.status.version.as_deref().filter(|_| self.status.versions.is_empty());
        listed.chain(single)
    }

    /// Whether a control plane has not run any version yet.
    pub fn is_provisioning(&self) -> bool {
        self.running_versions().next().is_none()
    }

    /// Whether a control plane still runs a version below the wanted one. Versions that differ in build
    /// metadata only count as an upgrade, too. `None` if a version is missing or is none.
    pub fn is_upgrading(&self) -> Option<bool> {
        let wanted: Version = self.spec.version.as_deref()?.parse().ok()?;
        let running: Result<Vec<Version>, _> = self.running_versions().map(str::parse).collect();
        Some(
            running
                .ok()?
                .iter()
                .any(|running| matches!(running.partial_cmp(&wanted), Some(Ordering::Less) | None)),
        )
    }

    /// The condition of a type.
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| condition.type_ == type_)
    }

    /// The endpoint, once host and port are known.
    pub fn endpoint(&self) -> Option<(&str, i32)> {
        self.spec.control_plane_endpoint.complete()
    }
}

impl Resource for External {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.kind)
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.group)
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.version)
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.api_version)
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&resource.plural)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

fn done(contract: Contract, v1beta2: Option<bool>, v1beta1: Option<bool>) -> bool {
    match contract {
        Contract::V1Beta2 => v1beta2 == Some(true),
        Contract::V1Beta1 => v1beta1 == Some(true),
    }
}

/// Providers are other people's programs: `null` where we expect an object counts as nothing.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<MachineAddress>, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Address {
        r#type: String,
        address: String,
    }

    let addresses: Vec<Address> = or_default(deserializer)?;
    Ok(addresses
        .into_iter()
        .filter_map(|Address { r#type, address }| {
            let name: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
                r#type.as_str().into_deserializer();
            Some(MachineAddress { type_: Deserialize::deserialize(name).ok()?, address })
        })
        .collect())
}

fn failure_domains<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<FailureDomain>, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Domain {
        control_plane: Option<bool>,
        attributes: Option<BTreeMap<String, String>>,
    }

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Domains {
        V1Beta2(Vec<FailureDomain>),
        V1Beta1(BTreeMap<String, Domain>),
    }

    let mut domains = match Option::<Domains>::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Domains::V1Beta2(list)) => list,
        Some(Domains::V1Beta1(map)) => map
            .into_iter()
            .map(|(name, Domain { control_plane, attributes })| FailureDomain {
                name,
                control_plane,
                attributes: attributes.unwrap_or_default(),
            })
            .collect(),
    };
    domains.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(domains)
}

/// Conditions of v1beta1 may lack members that those of v1beta2 must have.
fn conditions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Condition>, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Loose {
        r#type: String,
        status: String,
        #[serde(default)]
        reason: Option<String>,
        #[serde(default)]
        message: Option<String>,
        #[serde(default)]
        last_transition_time: Option<Time>,
        #[serde(default)]
        observed_generation: Option<i64>,
    }

    let conditions: Vec<Loose> = or_default(deserializer)?;
    Ok(conditions
        .into_iter()
        .map(|loose| Condition {
            type_: loose.r#type,
            status: loose.status,
            reason: loose.reason.unwrap_or_default(),
            message: loose.message.unwrap_or_default(),
            last_transition_time: loose
                .last_transition_time
                .unwrap_or(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH)),
            observed_generation: loose.observed_generation,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use windlass_api::core::AddressType;

    use super::*;

    fn external(value: Value) -> External {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn each_contract_reads_its_own_fields() {
        use Contract::{V1Beta1, V1Beta2};
        let new = external(json!({ "status": { "initialization":
            { "provisioned": true, "dataSecretCreated": true, "controlPlaneInitialized": true } } }));
        let old = external(json!({ "status": { "ready": true, "initialized": true } }));
        for (object, contract, expected) in
            [(&new, V1Beta2, true), (&new, V1Beta1, false), (&old, V1Beta1, true), (&old, V1Beta2, false)]
        {
            assert_eq!(object.provisioned(contract), expected);
            assert_eq!(object.data_secret_created(contract), expected);
            assert_eq!(object.control_plane_initialized(contract), expected);
        }
        let counts = external(json!({ "status": {
            "replicas": 3, "unavailableReplicas": 1, "updatedReplicas": 2,
            "availableReplicas": 5, "upToDateReplicas": 6 } }));
        assert_eq!(counts.available_replicas(V1Beta1), Some(2));
        assert_eq!(counts.up_to_date_replicas(V1Beta1), Some(2));
        assert_eq!(counts.available_replicas(V1Beta2), Some(5));
        assert_eq!(counts.up_to_date_replicas(V1Beta2), Some(6));
    }

    #[test]
    fn a_control_plane_is_upgrading_while_anything_older_runs() {
        #[rustfmt::skip]
        let table = [
            // wanted        runs, as a list or alone                     provisioning  upgrading
            ("v1.35.0",      json!({}),                                   true,  Some(false)),
            ("v1.35.0",      json!({ "version": "v1.34.0" }),             false, Some(true)),
            ("v1.35.0",      json!({ "version": "v1.35.0" }),             false, Some(false)),
            ("v1.35.0",      json!({ "version": "v1.34.0", "versions": [{ "version": "v1.35.0" }] }), false, Some(false)),
            ("v1.35.0",      json!({ "versions": [{ "version": "v1.35.0" }, { "version": "v1.34.9" }] }), false, Some(true)),
            ("v1.35.0+b",    json!({ "version": "v1.35.0+a" }),           false, Some(true)),
            ("v1.34.0",      json!({ "version": "v1.35.0" }),             false, Some(false)),
            ("latest",       json!({ "version": "v1.35.0" }),             false, None),
            ("v1.35.0",      json!({ "version": "old" }),                 false, None),
        ];
        for (wanted, status, provisioning, upgrading) in table {
            let object = external(json!({ "spec": { "version": wanted }, "status": status }));
            assert_eq!(
                (object.is_provisioning(), object.is_upgrading()),
                (provisioning, upgrading),
                "{status}"
            );
        }
    }

    #[test]
    fn failure_domains_are_a_list_or_a_map() {
        let list =
            json!([{ "name": "b", "controlPlane": true }, { "name": "a", "attributes": { "k": "v" } }]);
        let map = json!({ "b": { "controlPlane": true }, "a": { "attributes": { "k": "v" } } });
        let read = |domains: Value| external(json!({ "status": { "failureDomains": domains } }));
        assert_eq!(read(list.clone()).status.failure_domains, read(map).status.failure_domains);
        let names: Vec<_> = read(list).status.failure_domains.into_iter().map(|d| d.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(read(Value::Null).status.failure_domains.is_empty());
    }

    #[test]
    fn odd_objects_are_read_as_far_as_they_go() {
        let object = external(json!({
            "apiVersion": "example.com/v1", "kind": "Thing", "metadata": { "name": "x" },
            "spec": { "providerID": "dev:////x", "controlPlaneEndpoint": { "host": "h", "port": 6443 },
                      "someone": { "elses": "field" } },
            "status": {
                "initialization": null,
                "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }, { "type": "Odd", "address": "x" }],
                "conditions": [{ "type": "Ready", "status": "True", "severity": "Info" }],
            },
        }));
        assert_eq!(object.spec.provider_id.as_deref(), Some("dev:////x"));
        assert_eq!(object.endpoint(), Some(("h", 6443)));
        assert_eq!(
            object.status.addresses,
            [MachineAddress { type_: AddressType::InternalIP, address: "10.0.0.1".into() }]
        );
        assert_eq!(object.condition("Ready").map(|c| c.status.as_str()), Some("True"));
        assert_eq!(external(json!({ "spec": null, "status": null })).spec, ExternalSpec::default());
        assert_eq!(
            external(json!({ "spec": { "controlPlaneEndpoint": { "host": "", "port": 0 } } })).endpoint(),
            None
        );
    }
}
