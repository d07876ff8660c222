//! Which version of a provider's kind speaks which version of the contract.

use std::collections::BTreeMap;

use kube_core::{ApiResource, GroupVersionKind, Version};
use thiserror::Error;

/// The prefix of the labels by which a CRD says which of its versions speak which contract.
const LABEL_PREFIX: &str = "cluster.x-k8s.io/";

/// A version of the contract between the core and its providers, the newest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Contract {
    /// `status.ready`, failure domains as a map.
    V1Beta1,
    /// `status.initialization`, failure domains as a list.
    V1Beta2,
}

impl Contract {
    /// The contracts we understand, the most wanted first.
    pub const PREFERENCE: [Self; 2] = [Self::V1Beta2, Self::V1Beta1];

    /// The contract's name, as in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1Beta1 => "v1beta1",
            Self::V1Beta2 => "v1beta2",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::PREFERENCE.into_iter().find(|contract| contract.as_str() == name)
    }
}

/// The version in which to talk to a kind, and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// What the fields mean.
    pub contract: Contract,
    /// The API version to use.
    pub version: String,
}

/// Why a kind cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ContractError {
    /// The CRD has no label for a contract that we understand.
    #[error(
        "cannot use custom resource definition {crd}: no label cluster.x-k8s.io/v1beta2 or cluster.x-k8s.io/v1beta1 \
         says which version speaks the contract; install a provider of contract v1beta2"
    )]
    NoContract {
        /// The name of the CRD.
        crd: String,
    },
}

/// Chooses the version in which to talk to the kinds of a CRD from the CRD's labels: the newest contract we
/// understand, and of its versions the one Kubernetes ranks highest (v2 before v1 before v1beta1).
///
/// `crd` is the CRD's name, for the error.
pub fn resolve(crd: &str, labels: &BTreeMap<String, String>) -> Result<Resolved, ContractError> {
    Contract::PREFERENCE
        .into_iter()
        .find_map(|contract| {
            let version = labels
                .get(&format!("{LABEL_PREFIX}{}", contract.as_str()))?
                .split('_')
                .filter(|version| !version.is_empty())
                .max_by_key(|version| Version::parse(version).priority())?;
            Some(Resolved { contract, version: version.to_owned() })
        })
        .ok_or_else(|| ContractError::NoContract { crd: crd.to_owned() })
}

/// The contract that one version of a CRD speaks, if it is one we understand.
pub fn contract_of(version: &str, labels: &BTreeMap<String, String>) -> Option<Contract> {
    labels
        .iter()
        .filter(|(_, versions)| versions.split('_').any(|listed| listed == version))
        .find_map(|(label, _)| Contract::parse(label.strip_prefix(LABEL_PREFIX)?))
}

/// The plural of a kind in lower case, by the rules that code generators use.
pub fn plural(kind: &str) -> String {
    ApiResource::from_gvk(&GroupVersionKind::gvk("", "", kind)).plural
}

/// The name that the CRD of a kind must have. The core looks CRDs up by this name.
pub fn crd_name(group: &str, kind: &str) -> String {
    format!("{}.{group}", plural(kind))
}

/// The resource of a kind, for kube's `Api` and watchers.
pub fn resource(group: &str, version: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `v1beta2=v1_v2 other=x` as labels; the prefix is added where there is no other.
    fn labels(text: &str) -> BTreeMap<String, String> {
        text.split_whitespace()
            .map(|label| {
                let (key, value) = label.split_once('=').unwrap();
                let prefix = if key.contains('/') { "" } else { LABEL_PREFIX };
                (format!("{prefix}{key}"), value.to_owned())
            })
            .collect()
    }

    #[test]
    fn the_newest_contract_and_its_highest_version_win() {
        use Contract::{V1Beta1, V1Beta2};
        #[rustfmt::skip]
        let table = [
            // labels of the CRD                       contract  version
            ("v1beta2=v1beta2",                        Some((V1Beta2, "v1beta2"))),
            ("v1beta1=v1beta1 v1beta2=v1beta2",        Some((V1Beta2, "v1beta2"))),
            ("v1beta1=v1beta3 v1beta2=v1alpha1",       Some((V1Beta2, "v1alpha1"))),
            ("v1beta1=v1beta1_v1beta2",                Some((V1Beta1, "v1beta2"))),
            ("v1beta2=v1beta10_v1beta9",               Some((V1Beta2, "v1beta10"))),
            ("v1beta2=v1beta2_v1_v2alpha1",            Some((V1Beta2, "v1"))),
            ("v1beta2= v1beta1=v1beta1",               Some((V1Beta1, "v1beta1"))),
            ("v1beta2=_ v1beta1=v1beta1",              Some((V1Beta1, "v1beta1"))),
            ("v1alpha4=v1alpha4",                      None),
            ("example.com/v1beta2=v1",                 None),
            ("",                                       None),
        ];
        for (text, expected) in table {
            let resolved = resolve("things.example.com", &labels(text)).ok();
            let expected =
                expected.map(|(contract, version)| Resolved { contract, version: version.to_owned() });
            assert_eq!(resolved, expected, "{text}");
        }
    }

    #[test]
    fn a_version_finds_its_contract() {
        let labels = labels("v1beta1=v1beta1_v1beta2 v1beta2=v1beta3 v1alpha3=v1alpha3");
        assert_eq!(contract_of("v1beta2", &labels), Some(Contract::V1Beta1));
        assert_eq!(contract_of("v1beta3", &labels), Some(Contract::V1Beta2));
        assert_eq!(contract_of("v1alpha3", &labels), None);
        assert_eq!(contract_of("v1beta", &labels), None);
    }

    #[test]
    fn kinds_have_the_plurals_their_definitions_use() {
        for (kind, expected) in [
            ("DevMachineTemplate", "devmachinetemplates"),
            ("AWSManagedControlPlane", "awsmanagedcontrolplanes"),
            ("ClusterIdentity", "clusteridentities"),
            ("KubeGateway", "kubegateways"),
            ("ClusterClass", "clusterclasses"),
            ("Proxmox", "proxmoxes"),
        ] {
            assert_eq!(plural(kind), expected);
        }
        assert_eq!(crd_name("example.com", "Thing"), "things.example.com");
    }

    #[test]
    fn the_error_says_what_to_do() {
        let error = resolve("things.example.com", &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.starts_with("cannot use custom resource definition things.example.com"), "{error}");
        assert!(error.ends_with("install a provider of contract v1beta2"), "{error}");
    }
}
