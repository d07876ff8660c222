//! Conditions as `metav1` writes them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition as MetaCondition;
use windlass_model::{Condition, Status, Time};

use crate::time;

/// `current` with ours put in: other types stay, `lastTransitionTime` moves only with the status, and the
/// order of what was there is kept (new types go to the end, in the order given).
pub fn merge(
    current: &[MetaCondition],
    ours: Vec<Condition>,
    generation: Option<i64>,
    now: Time,
) -> Vec<MetaCondition> {
    let mut merged = current.to_vec();
    for condition in ours {
        match merged.iter_mut().find(|known| known.type_ == condition.kind) {
            Some(known) => {
                if known.status != condition.status.as_str() {
                    known.last_transition_time = time::meta(now);
                }
                condition.status.as_str().clone_into(&mut known.status);
                known.reason = condition.reason.into_owned();
                known.message = condition.message;
                known.observed_generation = generation.or(known.observed_generation);
            }
            None => merged.push(MetaCondition {
                last_transition_time: time::meta(now),
                message: condition.message,
                observed_generation: generation,
                reason: condition.reason.into_owned(),
                status: condition.status.as_str().to_owned(),
                type_: condition.kind.into_owned(),
            }),
        }
    }
    merged
}

/// `conditions` without the types named: for a type that no longer applies.
pub fn without(conditions: &[MetaCondition], kinds: &[&str]) -> Vec<MetaCondition> {
    conditions.iter().filter(|condition| !kinds.contains(&condition.type_.as_str())).cloned().collect()
}

/// A condition in the words of the plans.
pub fn read(condition: &MetaCondition) -> Condition {
    Condition::new(condition.type_.clone(), Status::parse(&condition.status), condition.reason.clone())
        .because(condition.message.clone())
}

/// All of an object's conditions in the words of the plans.
pub fn read_all(conditions: &[MetaCondition]) -> Vec<Condition> {
    conditions.iter().map(read).collect()
}

/// The condition of a type.
pub fn find<'a>(conditions: &'a [MetaCondition], kind: &str) -> Option<&'a MetaCondition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether the condition of a type is there and true.
pub fn is_true(conditions: &[MetaCondition], kind: &str) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == Status::True.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_with_the_status_only() {
        let (t1, t2, t3) = (Time::from_secs(1), Time::from_secs(2), Time::from_secs(3));
        let foreign = MetaCondition {
            last_transition_time: time::meta(t1),
            message: "not ours".into(),
            observed_generation: Some(9),
            reason: "Theirs".into(),
            status: "True".into(),
            type_: "Foreign".into(),
        };
        let ready = |status, message: &str| Condition::new("Ready", status, "Because").because(message);
        let first = merge(std::slice::from_ref(&foreign), vec![ready(Status::False, "a")], Some(1), t1);
        let second = merge(&first, vec![ready(Status::False, "b")], Some(2), t2);
        let third = merge(&second, vec![ready(Status::True, "")], Some(2), t3);
        assert_eq!(third[0], foreign);
        let seen = |list: &[MetaCondition]| {
            let ready = find(list, "Ready").unwrap();
            (time::from_meta(&ready.last_transition_time), ready.message.clone(), ready.observed_generation)
        };
        assert_eq!(seen(&first), (t1, "a".into(), Some(1)));
        assert_eq!(seen(&second), (t1, "b".into(), Some(2)));
        assert_eq!(seen(&third), (t3, String::new(), Some(2)));
        assert!(is_true(&third, "Ready") && !is_true(&first, "Ready"));
        assert_eq!(merge(&third, vec![ready(Status::True, "")], Some(2), Time::from_secs(9)), third);
    }
}
