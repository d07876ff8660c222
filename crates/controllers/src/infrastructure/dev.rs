//! DevMachine and DevCluster: one pair of kinds for every backend that needs no cloud.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition as MetaCondition;
use serde_json::Value;
use windlass_api::core::{AddressType, FailureDomain, MachineAddress};
use windlass_api::infrastructure::{DevCluster, DevMachine, DevMachineBackend, DevMachineTemplate};
use windlass_api::names::finalizer;
use windlass_provider::{AddressKind, Endpoint};

use super::kinds::{ClusterKind, ClusterReport, MachineKind, MachineReport, TextRef};
use super::template::TemplateKind;

/// `spec.backend.inMemory`.
const IN_MEMORY: &str = "inMemory";
/// `spec.backend.docker`.
const DOCKER: &str = "docker";
/// Where a DevCluster refers to its own template of the load balancer's configuration.
const HAPROXY_TEMPLATE: &str = "loadBalancer.customHAProxyConfigTemplateRef";

/// The backend among `docker` and `in_memory` that is set.
fn choose(docker: Option<Value>, in_memory: Option<Value>) -> (&'static str, Value) {
    match (docker, in_memory) {
        (_, Some(spec)) => (IN_MEMORY, spec),
        (Some(spec), None) => (DOCKER, spec),
        (None, None) => ("", Value::Null),
    }
}

fn machine_backend(backend: &DevMachineBackend) -> (&'static str, Value) {
    choose(backend.docker.as_ref().map(value), backend.in_memory.as_ref().map(value))
}

fn value(part: &impl serde::Serialize) -> Value {
    serde_json::to_value(part).unwrap_or_default()
}

/// The kind DevMachine.
#[derive(Clone, Copy, Debug)]
pub struct DevMachines;

impl MachineKind for DevMachines {
    type Object = DevMachine;
    const NAME: &'static str = "devmachine";
    const FINALIZER: &'static str = finalizer::DEV_MACHINE;

    fn backend(object: &DevMachine) -> (&'static str, Value) {
        machine_backend(&object.spec.backend)
    }

    fn provider_id(object: &DevMachine) -> Option<&str> {
        object.spec.provider_id.as_deref()
    }

    fn set_provider_id(object: &mut DevMachine, id: String) {
        object.spec.provider_id = Some(id);
    }

    fn is_provisioned(object: &DevMachine) -> bool {
        object.status.as_ref().is_some_and(|status| status.initialization.provisioned == Some(true))
    }

    fn conditions(object: &DevMachine) -> &[MetaCondition] {
        object.status.as_ref().map_or(&[], |status| &status.conditions)
    }

    fn report(object: &mut DevMachine, report: MachineReport) {
        let MachineReport { conditions, instance } = report;
        let status = object.status.get_or_insert_default();
        status.conditions = conditions;
        let Some(instance) = instance else { return };
        if instance.running {
            status.initialization.provisioned = Some(true);
        }
        status.failure_domain = instance.failure_domain;
        status.addresses = instance
            .addresses
            .into_iter()
            .map(|address| MachineAddress { type_: address_type(address.kind), address: address.address })
            .collect();
    }
}

fn address_type(kind: AddressKind) -> AddressType {
    match kind {
        AddressKind::Hostname => AddressType::Hostname,
        AddressKind::ExternalIP => AddressType::ExternalIP,
        AddressKind::InternalIP => AddressType::InternalIP,
        AddressKind::ExternalDNS => AddressType::ExternalDNS,
        AddressKind::InternalDNS => AddressType::InternalDNS,
    }
}

/// The kind DevMachineTemplate.
#[derive(Clone, Copy, Debug)]
pub struct DevMachineTemplates;

impl TemplateKind for DevMachineTemplates {
    type Object = DevMachineTemplate;
    const NAME: &'static str = "devmachinetemplate";

    fn backend(object: &DevMachineTemplate) -> (&'static str, Value) {
        machine_backend(&object.spec.template.spec.backend)
    }

    fn set_capacity(object: &mut DevMachineTemplate, capacity: BTreeMap<String, String>) {
        let amounts = capacity.into_iter().map(|(resource, amount)| (resource, Quantity(amount)));
        object.status.get_or_insert_default().capacity = amounts.collect();
    }
}

/// The kind DevCluster.
#[derive(Clone, Copy, Debug)]
pub struct DevClusters;

impl ClusterKind for DevClusters {
    type Object = DevCluster;
    const NAME: &'static str = "devcluster";
    const FINALIZER: &'static str = finalizer::DEV_CLUSTER;

    fn backend(object: &DevCluster) -> (&'static str, Value) {
        let backend = &object.spec.backend;
        choose(backend.docker.as_ref().map(value), backend.in_memory.as_ref().map(value))
    }

    fn config(object: &DevCluster) -> Vec<TextRef> {
        let balancer = object.spec.backend.docker.as_ref().map(|docker| &docker.load_balancer);
        let template = balancer.and_then(|balancer| balancer.custom_ha_proxy_config_template_ref.as_ref());
        let name = template.map(|reference| reference.name.clone());
        name.map(|name| TextRef { path: HAPROXY_TEMPLATE, name }).into_iter().collect()
    }

    fn endpoint(object: &DevCluster) -> Option<Endpoint> {
        let endpoint = &object.spec.control_plane_endpoint;
        let host = endpoint.host.clone().filter(|host| !host.is_empty())?;
        Some(Endpoint { host, port: u16::try_from(endpoint.port?).ok().filter(|port| *port > 0)? })
    }

    fn set_endpoint(object: &mut DevCluster, endpoint: &Endpoint) {
        object.spec.control_plane_endpoint.host = Some(endpoint.host.clone());
        object.spec.control_plane_endpoint.port = Some(i32::from(endpoint.port));
    }

    fn is_provisioned(object: &DevCluster) -> bool {
        object.status.as_ref().is_some_and(|status| status.initialization.provisioned == Some(true))
    }

    fn conditions(object: &DevCluster) -> &[MetaCondition] {
        object.status.as_ref().map_or(&[], |status| &status.conditions)
    }

    fn report(object: &mut DevCluster, report: ClusterReport) {
        let ClusterReport { conditions, running, failure_domains } = report;
        let status = object.status.get_or_insert_default();
        status.conditions = conditions;
        if running {
            status.initialization.provisioned = Some(true);
        }
        if let Some(domains) = failure_domains {
            let domain = |(name, control_plane)| FailureDomain {
                name,
                control_plane: Some(control_plane),
                ..FailureDomain::default()
            };
            status.failure_domains = domains.into_iter().map(domain).collect();
        }
    }
}
