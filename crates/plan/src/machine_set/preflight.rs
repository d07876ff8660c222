//! What must hold before a set may create machines (upstream's preflight checks of the same names).
//!
//! The rules are Kubernetes' version skew policy and kubeadm's: a kubelet is never newer than its API
//! server and at most three minors older; kubeadm joins only a control plane of its own minor.

use std::fmt;

use windlass_model::Version;

/// How many minors a kubelet may be older than the API server (Kubernetes version skew policy).
const KUBELET_SKEW: u64 = 3;

/// The checks by their upstream names, as the skip annotation spells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Preflight {
    /// The control plane is neither being provisioned nor upgraded.
    ControlPlaneIsStable,
    /// The kubelet's version suits the control plane's.
    KubernetesVersionSkew,
    /// kubeadm's version suits the control plane's.
    KubeadmVersionSkew,
}

impl Preflight {
    /// Every check.
    pub const ALL: [Self; 3] =
        [Self::ControlPlaneIsStable, Self::KubernetesVersionSkew, Self::KubeadmVersionSkew];

    /// As it is written in the skip annotation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ControlPlaneIsStable => "ControlPlaneIsStable",
            Self::KubernetesVersionSkew => "KubernetesVersionSkew",
            Self::KubeadmVersionSkew => "KubeadmVersionSkew",
        }
    }

    /// Whether the skip annotation `skip` (a comma-separated list, or `All`) names this check.
    pub fn skipped_by(self, skip: &str) -> bool {
        skip.split(',').map(str::trim).any(|word| word == "All" || word == self.as_str())
    }
}

impl fmt::Display for Preflight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(\"{}\" preflight check failed)", self.as_str())
    }
}

/// The control plane as far as workers care.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    /// `KubeadmControlPlane default/prod`.
    pub label: String,
    /// `spec.version`.
    pub version: Option<String>,
    /// `status.versions`, or `status.version` of those that do not report it.
    pub running: Vec<String>,
}

/// What the set would create.
#[derive(Debug, Clone)]
pub struct SetVersion<'a> {
    /// `spec.template.spec.version`.
    pub version: Option<&'a str>,
    /// Its machines join with kubeadm (bootstrap template of kind `KubeadmConfigTemplate`).
    pub kubeadm: bool,
}

/// The checks that fail, one sentence each; empty when the set may grow.
///
/// A cluster without a control plane object, or with one that has no version, has nothing to check.
pub fn preflight(control_plane: Option<&ControlPlane>, set: &SetVersion<'_>, skip: &str) -> Vec<String> {
    let Some(control_plane) = control_plane else { return Vec::new() };
    let Some(wanted) = control_plane.version.as_deref() else { return Vec::new() };
    let Ok(target) = wanted.parse::<Version>() else {
        return vec![format!("{} has spec.version `{wanted}`, which is no version", control_plane.label)];
    };
    let mut failures = Vec::new();
    for check in Preflight::ALL.into_iter().filter(|check| !check.skipped_by(skip)) {
        let failure = match check {
            Preflight::ControlPlaneIsStable => unstable(control_plane, &target),
            Preflight::KubernetesVersionSkew => with_version(set, |own| kubelet_skew(own, &target)),
            Preflight::KubeadmVersionSkew if set.kubeadm => {
                with_version(set, |own| kubeadm_skew(own, &target))
            }
            Preflight::KubeadmVersionSkew => None,
        };
        failures.extend(failure.map(|text| format!("{text} {check}")));
    }
    failures
}

fn unstable(control_plane: &ControlPlane, target: &Version) -> Option<String> {
    if control_plane.running.is_empty() {
        return Some(format!("{} is provisioning", control_plane.label));
    }
    let behind = control_plane
        .running
        .iter()
        .filter_map(|running| running.parse::<Version>().ok())
        // Versions that differ in build metadata only do not order, and count as an upgrade as well.
        .any(|running| matches!(running.partial_cmp(target), Some(std::cmp::Ordering::Less) | None));
    behind.then(|| format!("{} is upgrading to {target}", control_plane.label))
}

fn with_version(set: &SetVersion<'_>, check: impl Fn(&Version) -> Option<String>) -> Option<String> {
    let text = set.version?;
    match text.parse::<Version>() {
        Ok(version) => check(&version),
        Err(error) => Some(format!("MachineSet version: {error}")),
    }
}

fn kubelet_skew(own: &Version, target: &Version) -> Option<String> {
    if (own.major, own.minor) > (target.major, target.minor) {
        return Some(format!(
            "Machines of version {own} would be newer than the control plane's version {target}, which \
             Kubernetes does not support"
        ));
    }
    let too_old = own.major < target.major || own.minor + KUBELET_SKEW < target.minor;
    too_old.then(|| {
        format!(
            "Machines of version {own} would be more than {KUBELET_SKEW} minor versions older than the \
             control plane's version {target}, which Kubernetes does not support"
        )
    })
}

fn kubeadm_skew(own: &Version, target: &Version) -> Option<String> {
    ((own.major, own.minor) != (target.major, target.minor)).then(|| {
        format!("kubeadm of version {own} joins only control planes of the same minor version, not {target}")
    })
}
