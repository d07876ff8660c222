//! What compiled-in kinds may hold beyond the types of their fields: required
//! values, ranges, names, what cannot change. Rules and words are those of
//! Kubernetes' `pkg/apis/*/validation`.

mod access;
mod at;
mod autoscaler;
mod core;
mod cron;
mod devices;
mod network;
mod pod;
mod selector;
mod warnings;
mod webhooks;
mod workloads;

use serde_json::Value;
use windlass_apimachinery::FieldError;

use at::{At, Errors};
pub use warnings::warnings;

/// Judges an object, on update against what it was.
pub type Rule = fn(&At<'_>, Option<&At<'_>>, &mut Errors);

/// The rules of kinds, by group and kind.
const RULES: &[(&str, &str, Rule)] = &[
    ("", "ConfigMap", core::config_map),
    ("", "Secret", core::secret),
    ("", "Service", core::service),
    ("", "Endpoints", core::endpoints),
    ("", "Event", core::event),
    ("", "LimitRange", core::limit_range),
    ("", "PersistentVolume", core::volume),
    ("", "PersistentVolumeClaim", core::claim),
    ("", "Pod", workloads::pod),
    ("", "PodTemplate", workloads::pod_template),
    ("", "ReplicationController", workloads::replication_controller),
    ("apps", "ControllerRevision", workloads::controller_revision),
    ("apps", "DaemonSet", workloads::daemon_set),
    ("apps", "Deployment", workloads::deployment),
    ("apps", "ReplicaSet", workloads::replica_set),
    ("apps", "StatefulSet", workloads::stateful_set),
    ("batch", "CronJob", workloads::cron_job),
    ("batch", "Job", workloads::job),
    ("autoscaling", "HorizontalPodAutoscaler", autoscaler::autoscaler),
    ("policy", "PodDisruptionBudget", workloads::disruption_budget),
    ("scheduling.k8s.io", "PriorityClass", workloads::priority_class),
    ("node.k8s.io", "RuntimeClass", workloads::runtime_class),
    ("networking.k8s.io", "Ingress", network::ingress),
    ("networking.k8s.io", "IngressClass", network::ingress_class),
    ("networking.k8s.io", "NetworkPolicy", network::network_policy),
    ("networking.k8s.io", "IPAddress", network::ip_address),
    ("networking.k8s.io", "ServiceCIDR", network::service_cidr),
    ("resource.k8s.io", "DeviceClass", devices::class),
    ("resource.k8s.io", "ResourceClaim", devices::claim),
    ("resource.k8s.io", "ResourceClaimTemplate", devices::template),
    ("resource.k8s.io", "ResourceSlice", devices::slice),
    ("discovery.k8s.io", "EndpointSlice", network::endpoint_slice),
    ("storage.k8s.io", "StorageClass", network::storage_class),
    ("coordination.k8s.io", "Lease", access::lease),
    ("certificates.k8s.io", "CertificateSigningRequest", access::signing_request),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", access::validating_webhooks),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration", access::mutating_webhooks),
    ("apiregistration.k8s.io", "APIService", access::api_service),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema", access::flow_schema),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", access::priority_level),
];

/// Everything wrong with an object of a compiled-in kind besides its metadata.
pub fn validate(group: &str, kind: &str, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some((.., rule)) = RULES.iter().find(|(g, k, _)| (*g, *k) == (group, kind)) {
        rule(&At::root(object), old.map(At::root).as_ref(), &mut errors);
    }
    errors
}
