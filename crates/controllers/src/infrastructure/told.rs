//! What a pass says in conditions, for machines and clusters alike.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition as MetaCondition;
use windlass_api::names::conditions::reason;
use windlass_model::{Condition, Status};
use windlass_plan::conditions::{Part, Reasons, summary};
use windlass_provider::Error;

use super::scene::PAUSED;

/// The condition that sums up the others.
pub(super) const READY: &str = "Ready";

/// All conditions, the sum of the stages first.
pub(super) fn all(stages: Vec<Condition>, paused: Condition) -> Vec<Condition> {
    let parts: Vec<_> = stages.iter().map(|stage| Part::new(&stage.kind, Some(stage))).collect();
    let reasons = Reasons { issue: reason::NOT_READY, unknown: reason::READY_UNKNOWN, info: reason::READY };
    let ready = summary(READY, &parts, reasons);
    std::iter::once(ready).chain(stages.into_iter().rev()).chain([paused]).collect()
}

/// That the object cannot be looked after, for a reason that is in no stage.
pub(super) fn unready(reason: &'static str, message: impl Into<String>) -> Condition {
    Condition::new(READY, Status::False, reason).because(message)
}

/// Whether the stages only say how far things have come: the next one will come by itself.
pub(super) fn is_on_its_way(told: &[Condition]) -> bool {
    let stages = told.iter().filter(|condition| ![READY, PAUSED].contains(&condition.kind.as_ref()));
    let mut open = stages.filter(|stage| !stage.is_true()).peekable();
    let soon = |reason: &str| reason.starts_with("WaitingFor") || reason == reason::DELETING;
    open.peek().is_some() && open.all(|stage| soon(&stage.reason))
}

/// The stages as they were said before, but for the first.
fn with_first(first: Condition, stages: &[&'static str], current: &[MetaCondition]) -> Vec<Condition> {
    let others = stages.iter().skip(1).filter_map(|stage| {
        let known = current.iter().find(|condition| condition.type_ == *stage)?;
        let told = Condition::new(*stage, Status::parse(&known.status), known.reason.clone());
        Some(told.because(known.message.clone()))
    });
    std::iter::once(first).chain(others).collect()
}

/// The stages of something that was there when the provider could still be asked.
pub(super) fn out_of_sight(
    error: &Error,
    stages: &[&'static str],
    current: &[MetaCondition],
) -> Vec<Condition> {
    let first = stages.first().copied().unwrap_or(READY);
    let first = Condition::new(first, Status::Unknown, error.kind.as_str()).because(error.message.clone());
    with_first(first, stages, current)
}

/// The stages of something that is deleted, and what is in the way, if anything is.
pub(super) fn leaving(
    obstacle: Option<&Error>,
    stages: &[&'static str],
    current: &[MetaCondition],
) -> Vec<Condition> {
    let first = stages.first().copied().unwrap_or(READY);
    let reason = obstacle.map_or(reason::DELETING, |error| error.kind.as_str());
    let message = obstacle.map(|error| error.message.clone()).unwrap_or_default();
    with_first(Condition::new(first, Status::False, reason).because(message), stages, current)
}

/// What a provider says of something that will never run: its own words where a stage has them, else those
/// of the failure, in the first stage.
pub(super) fn failed(message: &str, mut stages: Vec<Condition>) -> Vec<Condition> {
    let said = stages.iter().any(|stage| stage.status == Status::False && !stage.message.is_empty());
    if let Some(first) = stages.first_mut().filter(|_| !said) {
        *first = Condition::new(first.kind.clone(), Status::False, "Failed").because(message);
    }
    stages
}

#[cfg(test)]
mod tests {
    use windlass_model::Time;
    use windlass_runtime::conditions;

    use super::*;

    const STAGES: [&str; 2] = ["ContainerProvisioned", "BootstrapCompleted"];

    /// Conditions from `Type=Status Reason message`, with `;` between them.
    fn parse(text: &'static str) -> Vec<Condition> {
        let one = |text: &'static str| {
            let (kind, rest) = text.split_once('=').unwrap();
            let mut words = rest.splitn(3, ' ');
            let status = Status::parse(words.next().unwrap());
            let told = Condition::new(kind, status, words.next().unwrap());
            told.because(words.next().unwrap_or_default())
        };
        text.split("; ").filter(|text| !text.is_empty()).map(one).collect()
    }

    fn show(told: &[Condition]) -> String {
        let one = |told: &Condition| {
            let line = format!("{}={} {} {}", told.kind, told.status.as_str(), told.reason, told.message);
            line.trim_end().to_owned()
        };
        told.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    fn current(text: &'static str) -> Vec<MetaCondition> {
        conditions::merge(&[], parse(text), None, Time::from_secs(0))
    }

    #[test]
    fn a_failure_is_told_in_the_providers_words() {
        for (said, told) in [
            (
                "ContainerProvisioned=True Provisioned; BootstrapCompleted=False BootstrapFailed `kubeadm init`: exit 1",
                "ContainerProvisioned=True Provisioned; BootstrapCompleted=False BootstrapFailed `kubeadm init`: exit 1",
            ),
            (
                "ContainerProvisioned=True Provisioned; BootstrapCompleted=False WaitingForContainerProvisioned",
                "ContainerProvisioned=False Failed it burnt; BootstrapCompleted=False WaitingForContainerProvisioned",
            ),
        ] {
            assert_eq!(show(&failed("it burnt", parse(said))), told);
        }
    }

    #[test]
    fn what_cannot_be_seen_is_unknown_and_the_rest_stays() {
        let error = Error::transient("cannot reach the engine; start it");
        let before = current(
            "ContainerProvisioned=True Provisioned; BootstrapCompleted=True Done; Paused=False NotPaused",
        );
        let told = out_of_sight(&error, &STAGES, &before);
        assert_eq!(
            show(&told),
            "ContainerProvisioned=Unknown Transient cannot reach the engine; start it; BootstrapCompleted=True Done"
        );
        let all = all(told, Condition::new(PAUSED, Status::False, "NotPaused"));
        assert_eq!(
            show(&all[..1]),
            "Ready=Unknown ReadyUnknown * ContainerProvisioned: cannot reach the engine; start it"
        );
        assert_eq!(
            show(&out_of_sight(&error, &[], &before)),
            "Ready=Unknown Transient cannot reach the engine; start it"
        );
    }

    #[test]
    fn on_the_way_out_an_obstacle_is_named() {
        let before = current("ContainerProvisioned=True Provisioned; BootstrapCompleted=True Done");
        let told = leaving(None, &STAGES, &before);
        assert_eq!(show(&told), "ContainerProvisioned=False Deleting; BootstrapCompleted=True Done");
        assert!(is_on_its_way(&told));
        let told = leaving(Some(&Error::rejected("must not delete it; grant that")), &STAGES, &[]);
        assert_eq!(show(&told), "ContainerProvisioned=False Rejected must not delete it; grant that");
        assert!(!is_on_its_way(&told));
    }

    #[test]
    fn only_what_comes_by_itself_may_wait() {
        for (text, expected) in [
            ("ContainerProvisioned=False WaitingForBootstrapData", true),
            ("ContainerProvisioned=True Provisioned; BootstrapCompleted=False BootstrapFailed x", false),
            ("ContainerProvisioned=False Throttled slow down", false),
            ("ContainerProvisioned=True Provisioned", false),
        ] {
            assert_eq!(is_on_its_way(&parse(text)), expected, "{text}");
        }
    }
}
