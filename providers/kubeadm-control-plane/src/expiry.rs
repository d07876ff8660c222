//! Until when the certificates of each machine are valid: asked once per machine, noted on its KubeadmConfig.

use std::time::Duration;

use windlass_api::bootstrap::KubeadmConfig;
use windlass_api::core::Machine;
use windlass_api::names::ANNOTATION_CERTIFICATES_EXPIRY;
use windlass_plan::control_plane::health::{COMPONENTS, Reach};
use windlass_runtime::{Outcome, Pass, key_of, time, uid_of};

use crate::controller::{KubeadmControlPlaneError as Error, KubeadmControlPlanes};
use crate::observe::Scene;

/// How long an API server that did not show its certificate is left alone.
const AGAIN: Duration = Duration::from_mins(5);

/// Notes what is not known yet; says when to ask again whoever did not answer. Nothing waits for the answer,
/// so that no failure is one of the pass.
pub(crate) async fn note(
    controller: &KubeadmControlPlanes,
    scene: &Scene,
    pass: &Pass,
) -> Result<Outcome, Error> {
    if scene.world.deleting || scene.world.reach != Reach::Up || !scene.fresh {
        return Ok(Outcome::Rest);
    }
    let cluster = scene.cluster_uid();
    let mut outcome = Outcome::Rest;
    for (machine, view) in scene.machines.iter().zip(&scene.world.machines) {
        let Some(node) = view.node.as_deref() else { continue };
        let [serves, ..] = COMPONENTS;
        let Some(config) = unmarked(machine, pass).filter(|_| view.deleting.is_none() && view.holds(serves))
        else {
            continue;
        };
        let uid = uid_of(machine.as_ref());
        let asked = controller.keys.known(&cluster).asked.get(&uid).copied();
        if let Some(rest) = asked.and_then(|at| AGAIN.checked_sub(pass.now.since(at))) {
            outcome = outcome.soonest(Outcome::Again(rest));
            continue;
        }
        controller.keys.remember(&cluster, |known| {
            known.asked.insert(uid, pass.now);
        });
        match controller.servers.not_after(&scene.cluster_key(), node).await {
            Ok(until) => {
                let mut after = config.as_ref().clone();
                let annotations = after.metadata.annotations.get_or_insert_default();
                annotations.insert(ANNOTATION_CERTIFICATES_EXPIRY.to_owned(), time::format(until));
                let written = pass.management.update(config.as_ref(), &after).await;
                written.map_err(Error::Machine)?;
            }
            Err(error) => {
                tracing::debug!(%node, error = &error as &dyn std::error::Error, "certificate not seen");
                outcome = outcome.soonest(Outcome::Again(AGAIN));
            }
        }
    }
    Ok(outcome)
}

/// The KubeadmConfig of a machine about whose certificates nothing is noted. Who takes the note off, after a
/// renewal by hand, has it made again.
fn unmarked(machine: &Machine, pass: &Pass) -> Option<std::sync::Arc<KubeadmConfig>> {
    let says = |meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
        meta.annotations.as_ref().is_some_and(|all| all.contains_key(ANNOTATION_CERTIFICATES_EXPIRY))
    };
    let reference = machine.spec.bootstrap.config_ref.as_ref().filter(|_| !says(&machine.metadata))?;
    let config = pass.cache.get::<KubeadmConfig>(&key_of(machine).sibling(reference.name.clone()))?;
    (!says(&config.metadata) && config.metadata.deletion_timestamp.is_none()).then_some(config)
}
