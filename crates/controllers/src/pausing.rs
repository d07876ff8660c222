//! Paused objects: their condition says so, and nothing else is written.

use kube::api::ObjectMeta;
use windlass_api::core::Cluster;
use windlass_api::names;
use windlass_model::{Condition, Status};

use crate::references::annotation;

/// Condition `Paused` of an object of `kind`, by its Cluster's `spec.paused` and its own annotation.
pub(crate) fn condition(cluster: Option<&Cluster>, kind: &str, meta: &ObjectMeta) -> Condition {
    const KIND: &str = "Paused";
    let mut reasons = Vec::new();
    if cluster.is_some_and(|cluster| cluster.spec.paused == Some(true)) {
        reasons.push("Cluster spec.paused is set to true".to_owned());
    }
    // Its presence counts, whatever its value.
    if annotation(meta, names::ANNOTATION_PAUSED).is_some() {
        reasons.push(format!("{kind} has the {} annotation", names::ANNOTATION_PAUSED));
    }
    if reasons.is_empty() {
        Condition::new(KIND, Status::False, "NotPaused")
    } else {
        Condition::new(KIND, Status::True, KIND).because(reasons.join(", "))
    }
}

/// `conditions` with `paused` where upstream's objects have it: before `Deleting`.
pub(crate) fn insert(conditions: &mut Vec<Condition>, paused: Condition) {
    let at = conditions.iter().position(|condition| condition.kind == "Deleting");
    conditions.insert(at.unwrap_or(conditions.len()), paused);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn cluster_and_annotation_pause() {
        let annotated = ObjectMeta {
            annotations: Some(BTreeMap::from([(names::ANNOTATION_PAUSED.to_owned(), String::new())])),
            ..ObjectMeta::default()
        };
        let mut cluster = Cluster::default();
        let of = |cluster: &Cluster, meta: &ObjectMeta| condition(Some(cluster), "Machine", meta).message;
        assert_eq!(of(&cluster, &ObjectMeta::default()), "");
        assert_eq!(of(&cluster, &annotated), "Machine has the cluster.x-k8s.io/paused annotation");
        cluster.spec.paused = Some(true);
        assert_eq!(of(&cluster, &ObjectMeta::default()), "Cluster spec.paused is set to true");
        assert!(condition(Some(&cluster), "Machine", &annotated).is_true());
    }
}
