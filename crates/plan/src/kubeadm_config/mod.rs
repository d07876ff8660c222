//! What a KubeadmConfig is to become: data for `kubeadm init`, for a join, or nothing yet, and why.
//!
//! **Invariant:** at most one machine of a cluster gets data for `kubeadm init`. A control plane object
//! makes one machine that may, and all others to join; of machines that nobody owns, only the holder of the
//! cluster's init lock may ([`lock`]).

pub mod lock;
pub mod token;

use windlass_model::{Condition, Status};

/// What is known about a KubeadmConfig and its surroundings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The machine the data is for; none until an owner is set.
    pub owner: Option<Owner>,
    /// `Cluster.status.initialization.infrastructureProvisioned`.
    pub infrastructure_provisioned: bool,
    /// `Cluster.status.initialization.controlPlaneInitialized`.
    pub control_plane_initialized: bool,
    /// `Cluster.spec.controlPlaneEndpoint` has host and port.
    pub endpoint_known: bool,
    /// The control plane object that owns the machine has made it to join: it says so in the config's
    /// `joinConfiguration`. It may know that the control plane is up before the Cluster says so.
    pub joins: bool,
    /// `status.initialization.dataSecretCreated`.
    pub created: bool,
    /// `spec.format` is one that is rendered.
    pub format: Format,
}

/// The machine that owns a KubeadmConfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its label `cluster.x-k8s.io/control-plane`.
    pub control_plane: bool,
    /// `spec.bootstrap.dataSecretName`, once something has set it.
    pub data_secret: Option<String>,
    /// `status.nodeRef` is set: the machine has joined.
    pub has_node: bool,
    /// It is going away.
    pub deleting: bool,
}

/// The format of bootstrap data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// cloud-init's.
    #[default]
    CloudConfig,
    /// Ignition's, which is not rendered yet.
    Ignition,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing at all: nobody needs the data.
    Idle,
    /// Nothing yet.
    Wait(Waiting),
    /// Report what the machine uses already.
    Adopt(String),
    /// Render data for the first machine, if the init lock can be had.
    Init,
    /// Render data for a further control plane machine.
    JoinControlPlane,
    /// Render data for a worker.
    JoinWorker,
    /// The data is out: keep its token alive until the machine has joined.
    KeepToken,
}

/// Why nothing is rendered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The cluster's infrastructure is not there.
    Infrastructure,
    /// The API server's address is not known.
    Endpoint,
    /// The first control plane machine is not up.
    ControlPlane,
    /// Another machine holds the init lock.
    InitLock,
    /// The workload cluster cannot be reached, so that no token can be made there.
    Workload,
    /// The format is not served.
    Ignition,
}

impl Waiting {
    /// For the condition and for people.
    pub fn message(self) -> &'static str {
        match self {
            Self::Infrastructure => "Waiting for Cluster status.infrastructureReady to be true",
            Self::Endpoint => "Waiting for Cluster spec.controlPlaneEndpoint to be set",
            Self::ControlPlane => "Waiting for Cluster control plane to be initialized",
            Self::InitLock => "Waiting for another Machine to initialize the Cluster control plane",
            Self::Workload => "Waiting for the workload cluster to answer",
            Self::Ignition => {
                "spec.format ignition is not served yet: use cloud-config, or leave spec.format empty"
            }
        }
    }
}

/// The next step for a KubeadmConfig.
pub fn plan(observed: &Observed) -> Step {
    let Observed {
        owner,
        infrastructure_provisioned,
        control_plane_initialized,
        endpoint_known,
        joins,
        created,
        format,
    } = observed;
    let Some(owner) = owner else { return Step::Idle };
    if *created {
        return if owner.has_node || owner.deleting { Step::Idle } else { Step::KeepToken };
    }
    if let Some(secret) = &owner.data_secret {
        return Step::Adopt(secret.clone());
    }
    if owner.deleting {
        return Step::Idle;
    }
    if *format == Format::Ignition {
        return Step::Wait(Waiting::Ignition);
    }
    if !infrastructure_provisioned {
        return Step::Wait(Waiting::Infrastructure);
    }
    if !endpoint_known {
        return Step::Wait(Waiting::Endpoint);
    }
    match (owner.control_plane, *control_plane_initialized) {
        (true, false) if !joins => Step::Init,
        (true | false, false) => Step::Wait(Waiting::ControlPlane),
        (true, true) => Step::JoinControlPlane,
        (false, true) => Step::JoinWorker,
    }
}

/// How the attempt to render ended; what `CertificatesAvailable` and `DataSecretAvailable` say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The data is out.
    Available,
    /// It waits.
    Waiting(Waiting),
    /// Certificates are missing or cannot be read; the message says which.
    Certificates(String),
    /// Rendering failed; the message says where.
    Failed(String),
}

/// The two conditions that `Ready` sums up. What was not looked at is not reported.
pub fn conditions(progress: &Progress) -> Vec<Condition> {
    let data = |status, reason| Condition::new("DataSecretAvailable", status, reason);
    let certificates = |status, reason| Condition::new("CertificatesAvailable", status, reason);
    match progress {
        Progress::Available => {
            vec![certificates(Status::True, "Available"), data(Status::True, "Available")]
        }
        Progress::Waiting(waiting) => vec![data(Status::False, "NotAvailable").because(waiting.message())],
        Progress::Certificates(message) => vec![
            certificates(Status::Unknown, "InternalError").because(message),
            data(Status::False, "NotAvailable").because("Certificates are not available"),
        ],
        Progress::Failed(message) => vec![
            certificates(Status::True, "Available"),
            data(Status::False, "NotAvailable").because(message),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cp` or `worker`, then any of: `infra`, `endpoint`, `up` (initialized), `joins`, `created`,
    /// `node`, `deleting`, `secret`, `ignition`.
    fn world(words: &str) -> Observed {
        let has = |word| words.split_whitespace().any(|found| found == word);
        let owner = Owner {
            control_plane: has("cp"),
            data_secret: has("secret").then(|| "mine".to_owned()),
            has_node: has("node"),
            deleting: has("deleting"),
        };
        Observed {
            owner: (has("cp") || has("worker")).then_some(owner),
            infrastructure_provisioned: has("infra"),
            control_plane_initialized: has("up"),
            endpoint_known: has("endpoint"),
            joins: has("joins"),
            created: has("created"),
            format: if has("ignition") { Format::Ignition } else { Format::CloudConfig },
        }
    }

    #[test]
    fn decides() {
        let cases = [
            ("", Step::Idle),
            ("cp", Step::Wait(Waiting::Infrastructure)),
            ("cp infra", Step::Wait(Waiting::Endpoint)),
            ("cp infra endpoint", Step::Init),
            ("cp infra endpoint joins", Step::Wait(Waiting::ControlPlane)),
            ("cp infra endpoint up", Step::JoinControlPlane),
            ("cp infra endpoint up joins", Step::JoinControlPlane),
            ("worker infra endpoint", Step::Wait(Waiting::ControlPlane)),
            ("worker infra endpoint up", Step::JoinWorker),
            ("worker infra endpoint up ignition", Step::Wait(Waiting::Ignition)),
            ("worker infra endpoint up secret", Step::Adopt("mine".into())),
            ("worker infra endpoint up created", Step::KeepToken),
            ("worker infra endpoint up created secret", Step::KeepToken),
            ("worker infra endpoint up created secret node", Step::Idle),
            ("worker infra endpoint up deleting", Step::Idle),
            ("cp infra endpoint deleting", Step::Idle),
        ];
        for (words, step) in cases {
            assert_eq!(plan(&world(words)), step, "{words}");
        }
    }

    #[test]
    fn every_state_has_a_reason() {
        let all = ["cp", "infra", "endpoint", "up", "joins", "created", "node", "deleting", "secret"];
        for bits in 0_u32..(1 << all.len()) {
            let words: Vec<_> =
                all.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0).map(|(_, w)| *w).collect();
            let words = words.join(" ");
            let step = plan(&world(&words));
            // Data is rendered only for an owner that waits for it, on infrastructure that exists.
            if matches!(step, Step::Init | Step::JoinControlPlane | Step::JoinWorker) {
                for needed in ["cp", "infra", "endpoint"] {
                    assert!(words.contains(needed), "{step:?} in `{words}`");
                }
                for excluded in ["created", "deleting", "secret"] {
                    assert!(!words.contains(excluded), "{step:?} in `{words}`");
                }
                assert_eq!(step == Step::Init, !words.contains("up"), "{step:?} in `{words}`");
                assert!(step != Step::Init || !words.contains("joins"), "{step:?} in `{words}`");
            }
        }
    }
}
