//! Types of conditions, kind by kind, and the reasons they give.

/// Conditions of a Cluster.
pub mod cluster {
    /// The sum of the others: the cluster can be used.
    pub const AVAILABLE: &str = "Available";
    /// The objects of the topology are as it says.
    pub const TOPOLOGY_RECONCILED: &str = "TopologyReconciled";
    /// What the infrastructure says about itself.
    pub const INFRASTRUCTURE_READY: &str = "InfrastructureReady";
    /// The API server was reachable once. Stays true.
    pub const CONTROL_PLANE_INITIALIZED: &str = "ControlPlaneInitialized";
    /// What the control plane says about itself.
    pub const CONTROL_PLANE_AVAILABLE: &str = "ControlPlaneAvailable";
    /// All control plane Machines are ready.
    pub const CONTROL_PLANE_MACHINES_READY: &str = "ControlPlaneMachinesReady";
    /// All control plane Machines are up to date.
    pub const CONTROL_PLANE_MACHINES_UP_TO_DATE: &str = "ControlPlaneMachinesUpToDate";
    /// All groups of workers are available.
    pub const WORKERS_AVAILABLE: &str = "WorkersAvailable";
    /// All worker Machines are ready.
    pub const WORKER_MACHINES_READY: &str = "WorkerMachinesReady";
    /// All worker Machines are up to date.
    pub const WORKER_MACHINES_UP_TO_DATE: &str = "WorkerMachinesUpToDate";
    /// The API server answers us.
    pub const REMOTE_CONNECTION_PROBE: &str = "RemoteConnectionProbe";
    /// Machines are being replaced.
    pub const ROLLING_OUT: &str = "RollingOut";
    /// Machines are being added.
    pub const SCALING_UP: &str = "ScalingUp";
    /// Machines are being removed.
    pub const SCALING_DOWN: &str = "ScalingDown";
    /// Unhealthy Machines are being replaced.
    pub const REMEDIATING: &str = "Remediating";
    /// The cluster is going away.
    pub const DELETING: &str = "Deleting";
    /// Nothing is done about the cluster.
    pub const PAUSED: &str = "Paused";
}

/// Conditions of a Machine.
pub mod machine {
    /// Ready for long enough.
    pub const AVAILABLE: &str = "Available";
    /// The sum of the others: the machine can be used.
    pub const READY: &str = "Ready";
    /// The machine is what its owner would make today. Set by the owner.
    pub const UP_TO_DATE: &str = "UpToDate";
    /// The machine is being changed in place.
    pub const UPDATING: &str = "Updating";
    /// What the bootstrap config says about itself.
    pub const BOOTSTRAP_CONFIG_READY: &str = "BootstrapConfigReady";
    /// What the infrastructure machine says about itself.
    pub const INFRASTRUCTURE_READY: &str = "InfrastructureReady";
    /// The Node is ready and not short of anything.
    pub const NODE_HEALTHY: &str = "NodeHealthy";
    /// The Node says it is ready.
    pub const NODE_READY: &str = "NodeReady";
    /// No health check complains. Set by health checks.
    pub const HEALTH_CHECK_SUCCEEDED: &str = "HealthCheckSucceeded";
    /// False while the owner shall replace the machine.
    pub const OWNER_REMEDIATED: &str = "OwnerRemediated";
    /// False while someone else shall repair the machine.
    pub const EXTERNALLY_REMEDIATED: &str = "ExternallyRemediated";
    /// The machine is going away.
    pub const DELETING: &str = "Deleting";
    /// Nothing is done about the machine.
    pub const PAUSED: &str = "Paused";
    /// The API server runs. Control plane only.
    pub const API_SERVER_POD_HEALTHY: &str = "APIServerPodHealthy";
    /// The controller manager runs. Control plane only.
    pub const CONTROLLER_MANAGER_POD_HEALTHY: &str = "ControllerManagerPodHealthy";
    /// The scheduler runs. Control plane only.
    pub const SCHEDULER_POD_HEALTHY: &str = "SchedulerPodHealthy";
    /// etcd runs. Control plane only.
    pub const ETCD_POD_HEALTHY: &str = "EtcdPodHealthy";
    /// The etcd member is in order. Control plane only.
    pub const ETCD_MEMBER_HEALTHY: &str = "EtcdMemberHealthy";
    /// The Node has the labels and taints of a control plane. Control plane only.
    pub const NODE_KUBEADM_LABELS_AND_TAINTS_SET: &str = "NodeKubeadmLabelsAndTaintsSet";
}

/// Conditions of a MachineSet.
pub mod machine_set {
    /// All Machines are ready.
    pub const MACHINES_READY: &str = "MachinesReady";
    /// All Machines are up to date.
    pub const MACHINES_UP_TO_DATE: &str = "MachinesUpToDate";
    /// Machines are being added.
    pub const SCALING_UP: &str = "ScalingUp";
    /// Machines are being removed.
    pub const SCALING_DOWN: &str = "ScalingDown";
    /// Unhealthy Machines are being replaced.
    pub const REMEDIATING: &str = "Remediating";
    /// The set is going away.
    pub const DELETING: &str = "Deleting";
    /// Nothing is done about the set.
    pub const PAUSED: &str = "Paused";
}

/// Conditions of a MachineDeployment.
pub mod machine_deployment {
    /// Enough Machines are available.
    pub const AVAILABLE: &str = "Available";
    /// All Machines are ready.
    pub const MACHINES_READY: &str = "MachinesReady";
    /// All Machines are up to date.
    pub const MACHINES_UP_TO_DATE: &str = "MachinesUpToDate";
    /// Machines are being replaced.
    pub const ROLLING_OUT: &str = "RollingOut";
    /// Machines are being added.
    pub const SCALING_UP: &str = "ScalingUp";
    /// Machines are being removed.
    pub const SCALING_DOWN: &str = "ScalingDown";
    /// Unhealthy Machines are being replaced.
    pub const REMEDIATING: &str = "Remediating";
    /// The MachineDeployment is going away.
    pub const DELETING: &str = "Deleting";
    /// Nothing is done about the MachineDeployment.
    pub const PAUSED: &str = "Paused";
}

/// Conditions of a KubeadmConfig.
pub mod kubeadm_config {
    /// The sum of the others: the bootstrap data can be used.
    pub const READY: &str = "Ready";
    /// The certificates of the cluster are there.
    pub const CERTIFICATES_AVAILABLE: &str = "CertificatesAvailable";
    /// The Secret with the bootstrap data is there.
    pub const DATA_SECRET_AVAILABLE: &str = "DataSecretAvailable";
    /// Nothing is done about the KubeadmConfig.
    pub const PAUSED: &str = "Paused";
}

/// Conditions of a KubeadmControlPlane.
pub mod kubeadm_control_plane {
    /// The control plane can be used.
    pub const AVAILABLE: &str = "Available";
    /// The API server was reachable once. Stays true.
    pub const INITIALIZED: &str = "Initialized";
    /// The certificates of the cluster are there.
    pub const CERTIFICATES_AVAILABLE: &str = "CertificatesAvailable";
    /// etcd is in order on all Machines.
    pub const ETCD_CLUSTER_HEALTHY: &str = "EtcdClusterHealthy";
    /// The components run on all Machines.
    pub const CONTROL_PLANE_COMPONENTS_HEALTHY: &str = "ControlPlaneComponentsHealthy";
    /// All Machines are ready.
    pub const MACHINES_READY: &str = "MachinesReady";
    /// All Machines are up to date.
    pub const MACHINES_UP_TO_DATE: &str = "MachinesUpToDate";
    /// Machines are being replaced.
    pub const ROLLING_OUT: &str = "RollingOut";
    /// Machines are being added.
    pub const SCALING_UP: &str = "ScalingUp";
    /// Machines are being removed.
    pub const SCALING_DOWN: &str = "ScalingDown";
    /// Unhealthy Machines are being replaced.
    pub const REMEDIATING: &str = "Remediating";
    /// The control plane is going away.
    pub const DELETING: &str = "Deleting";
    /// Nothing is done about the control plane.
    pub const PAUSED: &str = "Paused";
}

/// Conditions of a DevCluster.
pub mod dev_cluster {
    /// The infrastructure can be used.
    pub const READY: &str = "Ready";
    /// The load balancer in front of the API servers is there. Docker only.
    pub const LOAD_BALANCER_AVAILABLE: &str = "LoadBalancerAvailable";
    /// The infrastructure is going away.
    pub const DELETING: &str = "Deleting";
    /// Nothing is done about the DevCluster.
    pub const PAUSED: &str = "Paused";
}

/// Conditions of a DevMachine.
pub mod dev_machine {
    /// The sum of the others: the host can be used.
    pub const READY: &str = "Ready";
    /// The virtual machine is there. In memory only.
    pub const VM_PROVISIONED: &str = "VMProvisioned";
    /// The Node is there. In memory only.
    pub const NODE_PROVISIONED: &str = "NodeProvisioned";
    /// The etcd member is there. In memory only.
    pub const ETCD_PROVISIONED: &str = "EtcdProvisioned";
    /// The API server is there. In memory only.
    pub const API_SERVER_PROVISIONED: &str = "APIServerProvisioned";
    /// The container is there. Docker only.
    pub const CONTAINER_PROVISIONED: &str = "ContainerProvisioned";
    /// The bootstrap data was run. Docker only.
    pub const BOOTSTRAP_EXEC_SUCCEEDED: &str = "BootstrapExecSucceeded";
    /// The host is going away.
    pub const DELETING: &str = "Deleting";
    /// Nothing is done about the DevMachine.
    pub const PAUSED: &str = "Paused";
}

/// Reasons. The same word means the same with every condition and kind.
pub mod reason {
    // Whatever the condition.
    pub const INTERNAL_ERROR: &str = "InternalError";

    // The sum of other conditions.
    pub const AVAILABLE: &str = "Available";
    pub const NOT_AVAILABLE: &str = "NotAvailable";
    pub const AVAILABLE_UNKNOWN: &str = "AvailableUnknown";
    pub const READY: &str = "Ready";
    pub const NOT_READY: &str = "NotReady";
    pub const READY_UNKNOWN: &str = "ReadyUnknown";

    // Mirrors of other objects.
    pub const INVALID_CONDITION_REPORTED: &str = "InvalidConditionReported";
    pub const OBJECT_DOES_NOT_EXIST: &str = "ObjectDoesNotExist";
    pub const OBJECT_DELETED: &str = "ObjectDeleted";
    pub const DATA_SECRET_PROVIDED: &str = "DataSecretProvided";
    pub const PROVISIONED: &str = "Provisioned";
    pub const NOT_PROVISIONED: &str = "NotProvisioned";

    // Start of a cluster or control plane.
    pub const INITIALIZED: &str = "Initialized";
    pub const NOT_INITIALIZED: &str = "NotInitialized";

    // Numbers of machines.
    pub const UP_TO_DATE: &str = "UpToDate";
    pub const NOT_UP_TO_DATE: &str = "NotUpToDate";
    pub const UP_TO_DATE_UNKNOWN: &str = "UpToDateUnknown";
    pub const NO_REPLICAS: &str = "NoReplicas";
    pub const NO_WORKERS: &str = "NoWorkers";
    pub const ROLLING_OUT: &str = "RollingOut";
    pub const NOT_ROLLING_OUT: &str = "NotRollingOut";
    pub const ROLLING_OUT_UNKNOWN: &str = "RollingOutUnknown";
    pub const SCALING_UP: &str = "ScalingUp";
    pub const NOT_SCALING_UP: &str = "NotScalingUp";
    pub const SCALING_UP_UNKNOWN: &str = "ScalingUpUnknown";
    pub const SCALING_DOWN: &str = "ScalingDown";
    pub const NOT_SCALING_DOWN: &str = "NotScalingDown";
    pub const SCALING_DOWN_UNKNOWN: &str = "ScalingDownUnknown";
    pub const WAITING_FOR_REPLICAS_SET: &str = "WaitingForReplicasSet";
    pub const WAITING_FOR_AVAILABLE_REPLICAS_SET: &str = "WaitingForAvailableReplicasSet";

    // Remediation.
    pub const REMEDIATING: &str = "Remediating";
    pub const NOT_REMEDIATING: &str = "NotRemediating";
    pub const WAITING_FOR_REMEDIATION: &str = "WaitingForRemediation";
    pub const CANNOT_BE_REMEDIATED: &str = "CannotBeRemediated";
    pub const REMEDIATION_DEFERRED: &str = "RemediationDeferred";
    pub const MACHINE_DELETING: &str = "MachineDeleting";
    pub const REMEDIATION_TEMPLATE_NOT_FOUND: &str = "RemediationTemplateNotFound";
    pub const REMEDIATION_REQUEST_CREATION_FAILED: &str = "RemediationRequestCreationFailed";

    // Health checks.
    pub const HEALTH_CHECK_SUCCEEDED: &str = "HealthCheckSucceeded";
    pub const UNHEALTHY_NODE: &str = "UnhealthyNode";
    pub const UNHEALTHY_MACHINE: &str = "UnhealthyMachine";
    pub const NODE_STARTUP_TIMEOUT: &str = "NodeStartupTimeout";
    pub const HAS_REMEDIATE_ANNOTATION: &str = "HasRemediateAnnotation";

    // Reaching the workload cluster.
    pub const PROBE_SUCCEEDED: &str = "ProbeSucceeded";
    pub const PROBE_FAILED: &str = "ProbeFailed";
    pub const CONNECTION_DOWN: &str = "ConnectionDown";
    pub const INSPECTION_FAILED: &str = "InspectionFailed";

    // Pausing.
    pub const PAUSED: &str = "Paused";
    pub const NOT_PAUSED: &str = "NotPaused";

    // Availability of a Machine.
    pub const WAITING_FOR_MIN_READY_SECONDS: &str = "WaitingForMinReadySeconds";

    // Changes in place.
    pub const UPDATING: &str = "Updating";
    pub const NOT_UPDATING: &str = "NotUpdating";
    pub const IN_PLACE_UPDATING: &str = "InPlaceUpdating";
    pub const IN_PLACE_UPDATE_FAILED: &str = "InPlaceUpdateFailed";

    // The Node of a Machine.
    pub const NODE_HEALTHY: &str = "NodeHealthy";
    pub const NODE_NOT_HEALTHY: &str = "NodeNotHealthy";
    pub const NODE_HEALTHY_UNKNOWN: &str = "NodeHealthyUnknown";
    pub const NODE_READY: &str = "NodeReady";
    pub const NODE_NOT_READY: &str = "NodeNotReady";
    pub const NODE_READY_UNKNOWN: &str = "NodeReadyUnknown";
    pub const NODE_DOES_NOT_EXIST: &str = "NodeDoesNotExist";
    pub const NODE_DELETED: &str = "NodeDeleted";

    // Components of a control plane.
    pub const RUNNING: &str = "Running";
    pub const PROVISIONING: &str = "Provisioning";
    pub const DOES_NOT_EXIST: &str = "DoesNotExist";
    pub const FAILED: &str = "Failed";
    pub const HEALTHY: &str = "Healthy";
    pub const NOT_HEALTHY: &str = "NotHealthy";
    pub const HEALTH_UNKNOWN: &str = "HealthUnknown";
    pub const SET: &str = "Set";
    pub const NOT_SET: &str = "NotSet";

    // Deletion.
    pub const DELETING: &str = "Deleting";
    pub const NOT_DELETING: &str = "NotDeleting";
    pub const DELETION_COMPLETED: &str = "DeletionCompleted";
    pub const WAITING_FOR_BEFORE_DELETE_HOOK: &str = "WaitingForBeforeDeleteHook";
    pub const WAITING_FOR_WORKERS_DELETION: &str = "WaitingForWorkersDeletion";
    pub const WAITING_FOR_CONTROL_PLANE_DELETION: &str = "WaitingForControlPlaneDeletion";
    pub const WAITING_FOR_INFRASTRUCTURE_DELETION: &str = "WaitingForInfrastructureDeletion";
    pub const WAITING_FOR_MACHINE_DELETION: &str = "WaitingForMachineDeletion";
    pub const WAITING_FOR_PRE_DRAIN_HOOK: &str = "WaitingForPreDrainHook";
    pub const DRAINING_NODE: &str = "DrainingNode";
    pub const WAITING_FOR_VOLUME_DETACH: &str = "WaitingForVolumeDetach";
    pub const WAITING_FOR_PRE_TERMINATE_HOOK: &str = "WaitingForPreTerminateHook";
    pub const WAITING_FOR_BOOTSTRAP_DELETION: &str = "WaitingForBootstrapDeletion";
    pub const DELETING_NODE: &str = "DeletingNode";

    // Topologies.
    pub const RECONCILE_SUCCEEDED: &str = "ReconcileSucceeded";
    pub const RECONCILE_FAILED: &str = "ReconcileFailed";
    pub const CLUSTER_CREATING: &str = "ClusterCreating";
    pub const CLUSTER_UPGRADING: &str = "ClusterUpgrading";
    pub const CLUSTER_CLASS_NOT_RECONCILED: &str = "ClusterClassNotReconciled";
    pub const CONTROL_PLANE_UPGRADE_PENDING: &str = "ControlPlaneUpgradePending";
    pub const MACHINE_DEPLOYMENTS_CREATE_PENDING: &str = "MachineDeploymentsCreatePending";
    pub const MACHINE_DEPLOYMENTS_UPGRADE_PENDING: &str = "MachineDeploymentsUpgradePending";
    pub const MACHINE_DEPLOYMENTS_UPGRADE_DEFERRED: &str = "MachineDeploymentsUpgradeDeferred";
    pub const MACHINE_POOLS_CREATE_PENDING: &str = "MachinePoolsCreatePending";
    pub const MACHINE_POOLS_UPGRADE_PENDING: &str = "MachinePoolsUpgradePending";
    pub const MACHINE_POOLS_UPGRADE_DEFERRED: &str = "MachinePoolsUpgradeDeferred";
    pub const LIFECYCLE_HOOK_BLOCKING: &str = "LifecycleHookBlocking";

    // Simulated hosts.
    pub const WAITING_FOR_CLUSTER_INFRASTRUCTURE_READY: &str = "WaitingForClusterInfrastructureReady";
    pub const WAITING_FOR_CONTROL_PLANE_INITIALIZED: &str = "WaitingForControlPlaneInitialized";
    pub const WAITING_FOR_BOOTSTRAP_DATA: &str = "WaitingForBootstrapData";
    pub const WAITING_FOR_STARTUP_TIMEOUT: &str = "WaitingForStartupTimeout";
    pub const WAITING_FOR_VM_PROVISIONED: &str = "WaitingForVMProvisioned";
    pub const WAITING_FOR_NODE_PROVISIONED: &str = "WaitingForNodeProvisioned";
}
