//! What a KubeadmConfig is to become: data for `kubeadm init`, for a join, or nothing yet, and why.
//!
//! **Invariant:** at most one machine of a cluster gets data for `kubeadm init`. A control plane object
//! makes one machine that may, and all others to join; of machines that nobody owns, only the holder of the
//! cluster's init lock may ([`lock`]).

pub mod lock;
pub mod token;

use std::time::Duration;

use windlass_model::{Condition, Status};

/// How soon to look again for what does not wake us: Secrets, the init lock, and a workload cluster that has
/// never answered. Everything else that data waits for is watched.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What is known about a KubeadmConfig and its surroundings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Who the data is for; none until an owner is set.
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
    /// The status says that the data is out, and where.
    pub created: bool,
}

/// The Machine or MachinePool that owns a KubeadmConfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// How many hosts start with the data.
    pub hosts: Hosts,
    /// Its label `cluster.x-k8s.io/control-plane`; no pool has it.
    pub control_plane: bool,
    /// `spec.bootstrap.dataSecretName`, once something has set it.
    pub data_secret: Option<String>,
    /// It is going away.
    pub deleting: bool,
}

/// Which hosts start with the data, and whether they have joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// One: `status.nodeRef` of the Machine is set if it has joined.
    Machine {
        /// It has joined.
        joined: bool,
    },
    /// As many as the MachinePool has replicas, at any time: `status.nodeRefs` are those that have joined.
    Pool {
        /// All that there shall be have joined.
        complete: bool,
    },
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
    /// The data is out: look after its token until nobody needs it any more.
    KeepToken(Hosts),
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
        }
    }

    /// How soon to look again; `None` if its end wakes us.
    fn again(self) -> Option<Duration> {
        match self {
            Self::Infrastructure | Self::Endpoint | Self::ControlPlane => None,
            Self::InitLock | Self::Workload => Some(LOOK_AGAIN),
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
    } = observed;
    let Some(owner) = owner else { return Step::Idle };
    if *created {
        return match owner.hosts {
            _ if owner.deleting => Step::Idle,
            Hosts::Machine { joined: true } => Step::Idle,
            hosts @ (Hosts::Machine { joined: false } | Hosts::Pool { .. }) => Step::KeepToken(hosts),
        };
    }
    if let Some(secret) = &owner.data_secret {
        return Step::Adopt(secret.clone());
    }
    if owner.deleting {
        return Step::Idle;
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

impl Progress {
    /// How soon to look again; `None` if there is nothing left to do, or its end wakes us.
    pub fn again(&self) -> Option<Duration> {
        match self {
            Self::Available => None,
            Self::Waiting(waiting) => waiting.again(),
            Self::Certificates(_) | Self::Failed(_) => Some(LOOK_AGAIN),
        }
    }
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

    /// `cp`, `worker` or `pool`, then any of: `infra`, `endpoint`, `up` (initialized), `joins`, `created`,
    /// `node` (all that there shall be), `deleting`, `secret`.
    fn world(words: &str) -> Observed {
        let has = |word| words.split_whitespace().any(|found| found == word);
        let owner = Owner {
            hosts: if has("pool") {
                Hosts::Pool { complete: has("node") }
            } else {
                Hosts::Machine { joined: has("node") }
            },
            control_plane: has("cp"),
            data_secret: has("secret").then(|| "mine".to_owned()),
            deleting: has("deleting"),
        };
        Observed {
            owner: (has("cp") || has("worker") || has("pool")).then_some(owner),
            infrastructure_provisioned: has("infra"),
            control_plane_initialized: has("up"),
            endpoint_known: has("endpoint"),
            joins: has("joins"),
            created: has("created"),
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
            ("worker infra endpoint up secret", Step::Adopt("mine".into())),
            ("worker infra endpoint up created", Step::KeepToken(Hosts::Machine { joined: false })),
            ("worker infra endpoint up created secret", Step::KeepToken(Hosts::Machine { joined: false })),
            ("worker infra endpoint up created secret node", Step::Idle),
            ("worker infra endpoint up deleting", Step::Idle),
            ("pool infra endpoint", Step::Wait(Waiting::ControlPlane)),
            ("pool infra endpoint up", Step::JoinWorker),
            ("pool infra endpoint up secret", Step::Adopt("mine".into())),
            ("pool infra endpoint up created", Step::KeepToken(Hosts::Pool { complete: false })),
            ("pool infra endpoint up created node", Step::KeepToken(Hosts::Pool { complete: true })),
            ("pool infra endpoint up created node deleting", Step::Idle),
            ("cp infra endpoint deleting", Step::Idle),
        ];
        for (words, step) in cases {
            assert_eq!(plan(&world(words)), step, "{words}");
        }
    }

    #[test]
    fn only_what_does_not_wake_us_is_looked_for() {
        let cases = [
            (Progress::Available, None),
            (Progress::Waiting(Waiting::Infrastructure), None),
            (Progress::Waiting(Waiting::Endpoint), None),
            (Progress::Waiting(Waiting::ControlPlane), None),
            (Progress::Waiting(Waiting::InitLock), Some(LOOK_AGAIN)),
            (Progress::Waiting(Waiting::Workload), Some(LOOK_AGAIN)),
            (Progress::Certificates("x".into()), Some(LOOK_AGAIN)),
            (Progress::Failed("x".into()), Some(LOOK_AGAIN)),
        ];
        for (progress, again) in cases {
            assert_eq!(progress.again(), again, "{progress:?}");
        }
    }

    /// Reasons of the contract v1beta2: type, status and reason.
    #[test]
    fn conditions_have_upstreams_reasons() {
        let ok = "CertificatesAvailable True Available";
        let none = "DataSecretAvailable False NotAvailable";
        let cases = [
            (Progress::Available, vec![ok, "DataSecretAvailable True Available"]),
            (Progress::Waiting(Waiting::ControlPlane), vec![none]),
            (Progress::Certificates("x".into()), vec!["CertificatesAvailable Unknown InternalError", none]),
            (Progress::Failed("x".into()), vec![ok, none]),
        ];
        for (progress, expected) in cases {
            let said: Vec<String> = conditions(&progress)
                .iter()
                .map(|said| format!("{} {} {}", said.kind, said.status.as_str(), said.reason))
                .collect();
            assert_eq!(said, expected, "{progress:?}");
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
