//! Status and conditions of a KubeadmConfig: one write, and none without a change.

use std::time::Duration;

use windlass_api::bootstrap::KubeadmConfig;
use windlass_model::{Condition, Status};
use windlass_plan::conditions::{Part, Reasons, summary};
use windlass_plan::kubeadm_config::{self, Progress};
use windlass_runtime::{Outcome, Pass, conditions, time};

use super::KubeadmConfigError;
use super::observe::Scene;

const READY: Reasons = Reasons { issue: "NotReady", unknown: "ReadyUnknown", info: "Ready" };

/// Waiting is not worth a write until the config is this old: most of it is over by then.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reports how far the bootstrap data has come; says when to report what is held back.
pub(super) async fn report(
    scene: &Scene,
    pass: &Pass,
    progress: &Progress,
) -> Result<Outcome, KubeadmConfigError> {
    let born = scene.config.metadata.creation_timestamp.as_ref().map(time::from_meta).unwrap_or_default();
    if let (Progress::Waiting(_), Some(wait)) = (progress, PATIENCE.checked_sub(pass.now.since(born)))
        && !wait.is_zero()
    {
        return Ok(Outcome::Again(wait));
    }
    let ours = kubeadm_config::conditions(progress);
    let mut after = scene.config.clone();
    let status = after.status.get_or_insert_default();
    let all = {
        // What this pass did not look at keeps what was said of it.
        let known = conditions::merge(&status.conditions, ours.clone(), None, pass.now);
        conditions::read_all(&known)
    };
    let find = |kind| all.iter().find(|condition| condition.kind == kind);
    let parts = ["DataSecretAvailable", "CertificatesAvailable"].map(|kind| Part::new(kind, find(kind)));
    let ready = summary("Ready", &parts, READY);
    let paused = Condition::new("Paused", Status::False, "NotPaused");
    let ours = std::iter::once(ready).chain(ours).chain([paused]).collect();
    let generation = after.metadata.generation;
    status.conditions = conditions::merge(&status.conditions, ours, generation, pass.now);
    status.observed_generation = generation;
    if *progress == Progress::Available
        && let Some(secret) = &scene.secret
    {
        status.data_secret_name = Some(secret.clone());
        status.initialization.data_secret_created = Some(true);
    }
    write(scene, pass, &after).await?;
    Ok(Outcome::Rest)
}

/// Reports that nothing is done, and why.
pub(super) async fn paused(scene: &Scene, pass: &Pass, why: &str) -> Result<(), KubeadmConfigError> {
    let mut after = scene.config.clone();
    let generation = after.metadata.generation;
    let status = after.status.get_or_insert_default();
    let paused = Condition::new("Paused", Status::True, "Paused").because(why);
    status.conditions = conditions::merge(&status.conditions, vec![paused], generation, pass.now);
    write(scene, pass, &after).await
}

async fn write(scene: &Scene, pass: &Pass, after: &KubeadmConfig) -> Result<(), KubeadmConfigError> {
    let written = pass.management.update_status(&scene.config, after).await;
    written.map(drop).map_err(KubeadmConfigError::Status)
}
