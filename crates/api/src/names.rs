//! Names that are part of the API without being fields: labels, annotations, finalizers, taints, field
//! managers, and the types and reasons of conditions.
//!
//! They are those of Cluster API (controllers' reference, §1.3 to §1.13, and the recordings of upstream at
//! work): other people's programs look for them.

/// The finalizers of our kinds.
pub mod finalizer {
    /// On a Cluster, until everything that belongs to it is gone.
    pub const CLUSTER: &str = "cluster.cluster.x-k8s.io";
    /// On a Machine, until its host and Node are gone.
    pub const MACHINE: &str = "machine.cluster.x-k8s.io";
    /// On a MachineSet, until its Machines are gone.
    pub const MACHINE_SET: &str = "cluster.x-k8s.io/machineset";
    /// On a MachineDeployment, until its MachineSets are gone.
    pub const MACHINE_DEPLOYMENT: &str = "cluster.x-k8s.io/machinedeployment";
    /// On a MachineSet of a topology, until its templates are gone.
    pub const MACHINE_SET_TOPOLOGY: &str = "machineset.topology.cluster.x-k8s.io";
    /// On a MachineDeployment of a topology, until its templates are gone.
    pub const MACHINE_DEPLOYMENT_TOPOLOGY: &str = "machinedeployment.topology.cluster.x-k8s.io";
    /// On a KubeadmControlPlane, until its Machines are gone.
    pub const KUBEADM_CONTROL_PLANE: &str = "kubeadm.controlplane.cluster.x-k8s.io";
    /// On a DevCluster, until its infrastructure is gone. Upstream's name says docker for every backend.
    pub const DEV_CLUSTER: &str = "dockercluster.infrastructure.cluster.x-k8s.io";
    /// On a DevMachine, until its host is gone. Upstream's name says docker for every backend.
    pub const DEV_MACHINE: &str = "dockermachine.infrastructure.cluster.x-k8s.io";
}

/// The field managers of server-side apply.
pub mod manager {
    /// The MachineSet controller: what it makes.
    pub const MACHINE_SET: &str = "capi-machineset";
    /// The MachineSet controller: labels and annotations of bootstrap configs and infrastructure machines.
    pub const MACHINE_SET_METADATA: &str = "capi-machineset-metadata";
    /// The MachineDeployment controller: its MachineSets.
    pub const MACHINE_DEPLOYMENT: &str = "capi-machinedeployment";
    /// The KubeadmControlPlane controller: what it makes.
    pub const KUBEADM_CONTROL_PLANE: &str = "capi-kubeadmcontrolplane";
    /// The KubeadmControlPlane controller: labels and annotations of bootstrap configs and infrastructure
    /// machines.
    pub const KUBEADM_CONTROL_PLANE_METADATA: &str = "capi-kubeadmcontrolplane-metadata";
    /// The topology controller.
    pub const TOPOLOGY: &str = "capi-topology";
}

/// On everything that belongs to a cluster: the cluster's name.
pub const LABEL_CLUSTER_NAME: &str = "cluster.x-k8s.io/cluster-name";
/// On control plane Machines and what belongs to them; the value is empty.
pub const LABEL_CONTROL_PLANE: &str = "cluster.x-k8s.io/control-plane";
/// On control plane Machines and what belongs to them: the control plane's name.
pub const LABEL_CONTROL_PLANE_NAME: &str = "cluster.x-k8s.io/control-plane-name";
/// On Machines and what belongs to them: the MachineSet's name.
pub const LABEL_SET_NAME: &str = "cluster.x-k8s.io/set-name";
/// On MachineSets, Machines and what belongs to them: the MachineDeployment's name.
pub const LABEL_DEPLOYMENT_NAME: &str = "cluster.x-k8s.io/deployment-name";
/// On Machines: the MachinePool's name.
pub const LABEL_POOL_NAME: &str = "cluster.x-k8s.io/pool-name";
/// On MachineSets and their Machines: which template they were made from.
pub const LABEL_MACHINE_TEMPLATE_HASH: &str = "machine-template-hash";
/// On what a topology made; the value is empty.
pub const LABEL_TOPOLOGY_OWNED: &str = "topology.cluster.x-k8s.io/owned";
/// On what a topology made for a MachineDeployment: its name in the topology.
pub const LABEL_TOPOLOGY_DEPLOYMENT_NAME: &str = "topology.cluster.x-k8s.io/deployment-name";
/// On what a topology made for a MachinePool: its name in the topology.
pub const LABEL_TOPOLOGY_POOL_NAME: &str = "topology.cluster.x-k8s.io/pool-name";
/// On a provider's objects: the provider.
pub const LABEL_PROVIDER: &str = "cluster.x-k8s.io/provider";
/// On objects that only the manager with this filter reconciles.
pub const LABEL_WATCH_FILTER: &str = "cluster.x-k8s.io/watch-filter";
/// On Nodes of hosts that may be taken away at any time.
pub const LABEL_INTERRUPTIBLE: &str = "cluster.x-k8s.io/interruptible";
/// On pods: `skip` or `wait-completed` instead of being drained.
pub const LABEL_DRAIN: &str = "cluster.x-k8s.io/drain";
/// On CRDs that clusterctl moves.
pub const LABEL_CLUSTERCTL: &str = "clusterctl.cluster.x-k8s.io";
/// On CRDs and objects that clusterctl moves though nobody owns them.
pub const LABEL_CLUSTERCTL_MOVE: &str = "clusterctl.cluster.x-k8s.io/move";
/// Like `move`, with everything that the object owns.
pub const LABEL_CLUSTERCTL_MOVE_HIERARCHY: &str = "clusterctl.cluster.x-k8s.io/move-hierarchy";

/// Stops all controllers from touching the object; any value.
pub const ANNOTATION_PAUSED: &str = "cluster.x-k8s.io/paused";
/// On an infrastructure cluster that someone else looks after.
pub const ANNOTATION_MANAGED_BY: &str = "cluster.x-k8s.io/managed-by";
/// On a Machine that shall go first when there are too many.
pub const ANNOTATION_DELETE_MACHINE: &str = "cluster.x-k8s.io/delete-machine";
/// On a Machine that health checks leave alone.
pub const ANNOTATION_SKIP_REMEDIATION: &str = "cluster.x-k8s.io/skip-remediation";
/// On a Machine that shall be replaced whatever its health.
pub const ANNOTATION_REMEDIATE_MACHINE: &str = "cluster.x-k8s.io/remediate-machine";
/// On an object made from a template: the template's name.
pub const ANNOTATION_CLONED_FROM_NAME: &str = "cluster.x-k8s.io/cloned-from-name";
/// On an object made from a template: the template's `Kind.group`.
pub const ANNOTATION_CLONED_FROM_GROUP_KIND: &str = "cluster.x-k8s.io/cloned-from-groupkind";
/// On a MachinePool whose replicas an external autoscaler owns.
pub const ANNOTATION_REPLICAS_MANAGED_BY: &str = "cluster.x-k8s.io/replicas-managed-by";
/// On a MachineSet that must not create Machines; `true`.
pub const ANNOTATION_DISABLE_MACHINE_CREATE: &str = "cluster.x-k8s.io/disable-machine-create";
/// The least replicas the autoscaler may choose.
pub const ANNOTATION_AUTOSCALER_MIN_SIZE: &str =
    "cluster.x-k8s.io/cluster-api-autoscaler-node-group-min-size";
/// The most replicas the autoscaler may choose.
pub const ANNOTATION_AUTOSCALER_MAX_SIZE: &str =
    "cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size";
/// On a Machine whose node is not drained.
pub const ANNOTATION_EXCLUDE_NODE_DRAINING: &str = "machine.cluster.x-k8s.io/exclude-node-draining";
/// On a Machine whose volumes are not waited for.
pub const ANNOTATION_EXCLUDE_WAIT_FOR_NODE_VOLUME_DETACH: &str =
    "machine.cluster.x-k8s.io/exclude-wait-for-node-volume-detach";
/// Prefix of annotations that hold a Machine's deletion before the drain.
pub const ANNOTATION_PRE_DRAIN_DELETE_HOOK: &str = "pre-drain.delete.hook.machine.cluster.x-k8s.io";
/// Prefix of annotations that hold a Machine's deletion before its host goes.
pub const ANNOTATION_PRE_TERMINATE_DELETE_HOOK: &str = "pre-terminate.delete.hook.machine.cluster.x-k8s.io";
/// The pre-terminate hook of the KubeadmControlPlane controller.
pub const ANNOTATION_KCP_PRE_TERMINATE_DELETE_HOOK: &str =
    "pre-terminate.delete.hook.machine.cluster.x-k8s.io/kcp-cleanup";
/// When the certificates of a control plane host expire, RFC 3339.
pub const ANNOTATION_CERTIFICATES_EXPIRY: &str = "machine.cluster.x-k8s.io/certificates-expiry";
/// On a MachineSet: preflight checks to leave out, separated by commas.
pub const ANNOTATION_SKIP_PREFLIGHT_CHECKS: &str = "machineset.cluster.x-k8s.io/skip-preflight-checks";
/// On a KubeadmControlPlane that leaves CoreDNS alone.
pub const ANNOTATION_SKIP_CORE_DNS: &str = "controlplane.cluster.x-k8s.io/skip-coredns";
/// On a KubeadmControlPlane that leaves kube-proxy alone.
pub const ANNOTATION_SKIP_KUBE_PROXY: &str = "controlplane.cluster.x-k8s.io/skip-kube-proxy";
/// On a KubeadmControlPlane while a Machine is being replaced: which, when, how often.
pub const ANNOTATION_REMEDIATION_IN_PROGRESS: &str = "controlplane.cluster.x-k8s.io/remediation-in-progress";
/// On a Machine that replaces another: which, when, how often.
pub const ANNOTATION_REMEDIATION_FOR: &str = "controlplane.cluster.x-k8s.io/remediation-for";
/// The revision of a MachineDeployment and of each of its MachineSets. The group is `clusters`.
pub const ANNOTATION_REVISION: &str = "machinedeployment.clusters.x-k8s.io/revision";
/// Earlier revisions of a MachineSet, separated by commas.
pub const ANNOTATION_REVISION_HISTORY: &str = "machinedeployment.clusters.x-k8s.io/revision-history";
/// On a MachineSet: the replicas of its MachineDeployment.
pub const ANNOTATION_DESIRED_REPLICAS: &str = "machinedeployment.clusters.x-k8s.io/desired-replicas";
/// On a MachineSet: the replicas of its MachineDeployment and its surge.
pub const ANNOTATION_MAX_REPLICAS: &str = "machinedeployment.clusters.x-k8s.io/max-replicas";
/// On templates in a dry run of the topology controller.
pub const ANNOTATION_TOPOLOGY_DRY_RUN: &str = "topology.cluster.x-k8s.io/dry-run";
/// On a CRD or object while clusterctl must not move it.
pub const ANNOTATION_BLOCK_MOVE: &str = "clusterctl.cluster.x-k8s.io/block-move";
/// On an object that goes only because it was moved.
pub const ANNOTATION_DELETE_FOR_MOVE: &str = "clusterctl.cluster.x-k8s.io/delete-for-move";
/// On a DevCluster in memory: the port of its API server.
pub const ANNOTATION_IN_MEMORY_LISTENER: &str = "inmemorycluster.infrastructure.cluster.x-k8s.io/listener";

/// On Nodes: what they are to the management cluster.
pub mod node {
    /// The cluster's name.
    pub const ANNOTATION_CLUSTER_NAME: &str = "cluster.x-k8s.io/cluster-name";
    /// The cluster's namespace.
    pub const ANNOTATION_CLUSTER_NAMESPACE: &str = "cluster.x-k8s.io/cluster-namespace";
    /// The Machine's name.
    pub const ANNOTATION_MACHINE: &str = "cluster.x-k8s.io/machine";
    /// The kind of the Machine's owner.
    pub const ANNOTATION_OWNER_KIND: &str = "cluster.x-k8s.io/owner-kind";
    /// The name of the Machine's owner.
    pub const ANNOTATION_OWNER_NAME: &str = "cluster.x-k8s.io/owner-name";
    /// Which labels came from the Machine, separated by commas.
    pub const ANNOTATION_LABELS_FROM_MACHINE: &str = "cluster.x-k8s.io/labels-from-machine";
    /// Which annotations came from the Machine, separated by commas.
    pub const ANNOTATION_ANNOTATIONS_FROM_MACHINE: &str = "cluster.x-k8s.io/annotations-from-machine";
    /// Which taints came from the Machine, separated by commas.
    pub const ANNOTATION_TAINTS_FROM_MACHINE: &str = "cluster.x-k8s.io/taints-from-machine";
    /// Domain of labels and annotations that Machines hand on to their Nodes.
    pub const MANAGED_DOMAIN: &str = "node.cluster.x-k8s.io";
    /// Domain of labels that a kubelet may not set; Machines hand them on to their Nodes.
    pub const RESTRICTION_DOMAIN: &str = "node-restriction.kubernetes.io";
    /// Prefix of labels that say what a Node is for; Machines hand them on to their Nodes.
    pub const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
    /// The label and taint of control plane Nodes.
    pub const ROLE_CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";
    /// Until the Machine controller has seen the Node; effect NoSchedule.
    pub const TAINT_UNINITIALIZED: &str = "node.cluster.x-k8s.io/uninitialized";
    /// On Nodes of an older template while a rollout goes on; effect PreferNoSchedule.
    pub const TAINT_OUTDATED_REVISION: &str = "node.cluster.x-k8s.io/outdated-revision";
}

/// Secrets of a cluster.
pub mod secret {
    /// The type of all of them.
    pub const TYPE: &str = "cluster.x-k8s.io/secret";
    /// The key of the bootstrap data and of a kubeconfig.
    pub const KEY_VALUE: &str = "value";
    /// The key of the bootstrap data's format.
    pub const KEY_FORMAT: &str = "format";
    /// The key of a certificate.
    pub const KEY_TLS_CERT: &str = "tls.crt";
    /// The key of a private key.
    pub const KEY_TLS_KEY: &str = "tls.key";
    /// The certificate authority of the API server.
    pub const CA: &str = "ca";
    /// The certificate authority of etcd.
    pub const ETCD: &str = "etcd";
    /// The certificate authority of aggregated API servers.
    pub const PROXY: &str = "proxy";
    /// The key pair of service accounts.
    pub const SERVICE_ACCOUNT: &str = "sa";
    /// The certificate that API servers show an external etcd; a user's to give.
    pub const API_SERVER_ETCD_CLIENT: &str = "apiserver-etcd-client";
    /// The kubeconfig.
    pub const KUBECONFIG: &str = "kubeconfig";

    /// The name of a cluster's Secret.
    pub fn name(cluster: &str, purpose: &str) -> String {
        format!("{cluster}-{purpose}")
    }
}

pub mod conditions;
