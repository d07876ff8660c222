//! Whether a machine's KubeadmConfig is still what the control plane would make today.
//!
//! A machine was made to initialize the cluster or to join it, which is written in different places; what
//! the bootstrap provider fills in, and what can change without a new machine, does not count (upstream's
//! rules, `controlplane/kubeadm/pkg/filters.go`).

use serde_json::{Value, json};
use windlass_api::bootstrap::{
    Discovery, Format, ImagePullPolicy, InitConfiguration, JoinConfiguration, KubeadmConfigSpec,
};

/// Whether `current`, the spec of a machine's KubeadmConfig, says the same as `desired`, the spec that a joining
/// machine would get now.
pub(crate) fn same(current: &KubeadmConfigSpec, desired: &KubeadmConfigSpec) -> bool {
    let mut current = current.clone();
    let mut desired = desired.clone();
    if current.join_configuration == JoinConfiguration::default() {
        current.join_configuration = joining(&current.init_configuration, &desired.join_configuration);
        // What the desired one says about joining is compared with what the machine was initialized with.
        desired.join_configuration = as_joined(&desired);
    }
    // Known when the machine was made, or not: it is in the cluster now. And CoreDNS is no part of the machine.
    let (now, then) = (&mut current.cluster_configuration, &desired.cluster_configuration);
    now.control_plane_endpoint.clone_from(&then.control_plane_endpoint);
    now.dns.clone_from(&then.dns);
    canonical(current) == canonical(desired)
}

/// The part about the host of a machine that was initialized, in the words of one that joined.
fn joining(init: &InitConfiguration, wanted: &JoinConfiguration) -> JoinConfiguration {
    let mut join = JoinConfiguration {
        node_registration: init.node_registration.clone(),
        skip_phases: init.skip_phases.clone(),
        patches: init.patches.clone(),
        timeouts: init.timeouts,
        ca_cert_path: wanted.ca_cert_path.clone(),
        ..JoinConfiguration::default()
    };
    join.control_plane.get_or_insert_default().local_api_endpoint = init.local_api_endpoint.clone();
    join
}

/// What a machine that is initialized today is told about its host, in the words of one that joins.
fn as_joined(desired: &KubeadmConfigSpec) -> JoinConfiguration {
    joining(&desired.init_configuration, &desired.join_configuration)
}

/// The spec as JSON, without what does not count. Empty lists and maps are left out by the types themselves; the
/// empty list of taints is not, because it says something.
fn canonical(mut spec: KubeadmConfigSpec) -> Value {
    spec.init_configuration = InitConfiguration::default();
    spec.format.get_or_insert(Format::CloudConfig);
    let join = &mut spec.join_configuration;
    join.discovery = Discovery::default();
    join.timeouts.control_plane_component_health_check_seconds = None;
    join.control_plane.get_or_insert_default();
    join.node_registration.image_pull_policy.get_or_insert(ImagePullPolicy::IfNotPresent);
    json!(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The spec of a control plane, as JSON laid over a small one.
    fn spec(over: Value) -> KubeadmConfigSpec {
        let mut whole = json!({
            "clusterConfiguration": { "apiServer": { "certSANs": ["localhost"] } },
            "initConfiguration": { "nodeRegistration": { "criSocket": "unix:///c.sock" } },
            "joinConfiguration": { "nodeRegistration": { "criSocket": "unix:///c.sock" } },
        });
        lay(&mut whole, over);
        serde_json::from_value(whole).unwrap()
    }

    fn lay(whole: &mut Value, over: Value) {
        match (whole, over) {
            (Value::Object(whole), Value::Object(over)) => {
                for (key, value) in over {
                    lay(whole.entry(key).or_insert_with(|| json!({})), value);
                }
            }
            (whole, over) => *whole = over,
        }
    }

    fn initialized(over: Value) -> KubeadmConfigSpec {
        let mut spec = spec(over);
        spec.join_configuration = JoinConfiguration::default();
        spec
    }

    fn joined(over: Value) -> KubeadmConfigSpec {
        let mut spec = spec(over);
        spec.init_configuration = InitConfiguration::default();
        spec.join_configuration.control_plane.get_or_insert_default();
        spec
    }

    #[test]
    fn machines_follow_some_changes_and_not_others() {
        let node = |value: Value| json!({ "initConfiguration": { "nodeRegistration": value.clone() }, "joinConfiguration": { "nodeRegistration": value } });
        // a change of the control plane; whether a machine that initialized, and one that joined, is as before
        let cases = [
            (json!({}), true, true),
            (json!({ "clusterConfiguration": { "controlPlaneEndpoint": "e:6443" } }), true, true),
            (json!({ "clusterConfiguration": { "dns": { "imageTag": "v1.13.0" } } }), true, true),
            (json!({ "clusterConfiguration": { "apiServer": { "certSANs": ["other"] } } }), false, false),
            (
                json!({ "clusterConfiguration": { "apiServer": { "extraArgs": [{ "name": "v", "value": "4" }] } } }),
                false,
                false,
            ),
            (json!({ "clusterConfiguration": { "imageRepository": "r.io" } }), false, false),
            (json!({ "files": [{ "path": "/a", "content": "b" }] }), false, false),
            (json!({ "preKubeadmCommands": ["true"] }), false, false),
            (json!({ "preKubeadmCommands": [] }), true, true),
            (json!({ "format": "cloud-config" }), true, true),
            (json!({ "format": "ignition" }), false, false),
            (json!({ "joinConfiguration": { "discovery": { "tlsBootstrapToken": "t" } } }), true, true),
            (json!({ "joinConfiguration": { "controlPlane": {} } }), true, true),
            (
                json!({ "initConfiguration": { "timeouts": { "controlPlaneComponentHealthCheckSeconds": 9 } }, "joinConfiguration": { "timeouts": { "controlPlaneComponentHealthCheckSeconds": 9 } } }),
                true,
                true,
            ),
            (json!({ "initConfiguration": { "bootstrapTokens": [{ "token": "a.b" }] } }), true, true),
            (node(json!({ "name": "n" })), false, false),
            (node(json!({ "imagePullPolicy": "IfNotPresent" })), true, true),
            // No taints at all is something else than kubeadm's own.
            (node(json!({ "taints": [] })), false, false),
            // A change for one kind of machine concerns the other kind no more.
            (json!({ "joinConfiguration": { "skipPhases": ["preflight"] } }), true, false),
            (json!({ "initConfiguration": { "skipPhases": ["preflight"] } }), false, true),
        ];
        for (change, as_initialized, as_joined) in cases {
            let desired = spec(change.clone());
            assert_eq!(same(&initialized(json!({})), &desired), as_initialized, "initialized: {change}");
            assert_eq!(same(&joined(json!({})), &desired), as_joined, "joined: {change}");
            // What is made now is up to date, in both forms.
            assert!(same(&initialized(change.clone()), &desired), "initialized now: {change}");
            assert!(same(&joined(change.clone()), &desired), "joined now: {change}");
        }
    }
}
