//! 7: three defects. Each is explained by its condition and by `windlass describe`, and goes away once corrected.
//!
//! The image defect stops the whole cluster and goes away when the image appears. The other two break one worker
//! deployment each and go away with a corrected template, as a person would do it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::e2e::cluster::{CREATION, Cluster, condition};
use crate::e2e::plane::Plane;
use crate::e2e::shell::{must, now, until};
use crate::e2e::stage::Stage;

/// No registry has it.
const IMAGE: &str = "windlass.invalid/e2e-node:missing";

/// An address that nobody has (RFC 5737).
const NOWHERE: &str = "192.0.2.7:6443";

/// How long until a defect is explained.
const EXPLAINED: Duration = Duration::from_mins(3);

pub fn play(stage: &Stage) -> Result<()> {
    let plane = stage.plane()?;
    let cluster = stage.cluster(&plane, "");
    let untag = Untag(stage);
    let start = now();
    plane.apply(&defective(&plane, stage, &cluster)?)?;
    let missing = ["e2e-node:missing", "docker pull"];
    explained(&cluster, "control-plane", "ContainerProvisioned", &missing)?;
    stage.fact("wrong image explained", start);
    must(stage.site.engine.docker().args(["tag", &stage.site.node_image(stage.site.version()), IMAGE]))?;
    cluster.install_cni()?;
    stage.fact("converged after the image was there", start);

    let start = now();
    let step =
        ["`cat /etc/windlass-e2e/rope`", "exit code 1", "No such file or directory", "delete the Machine"];
    explained(&cluster, "md-0", "BootstrapCompleted", &step)?;
    stage.fact("failing preKubeadmCommand explained", start);
    let endpoint = ["`kubeadm join", "exit code", NOWHERE, "delete the Machine"];
    explained(&cluster, "md-1", "BootstrapCompleted", &endpoint)?;
    stage.fact("unreachable endpoint explained", start);

    let start = now();
    for deployment in ["md-0", "md-1"] {
        correct(&plane, &cluster, deployment)?;
    }
    cluster.wait_available(1, 2, CREATION).context("after the templates were corrected")?;
    stage.fact("converged after the correction", start);
    let containers = cluster.containers()?;
    if containers.len() != 4 {
        bail!("machines of the defects are left: {containers:?}");
    }
    drop(untag);
    Ok(())
}

/// A control plane with an image that does not exist, and two worker deployments with a defect each.
fn defective(plane: &Plane, stage: &Stage, cluster: &Cluster) -> Result<crate::e2e::manifest::Manifest> {
    let image = json!({"spec": {"template": {"spec": {"backend": {"docker": {"customImage": IMAGE}}}}}});
    let config = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
    let command = config(json!({"preKubeadmCommands": ["true", "cat /etc/windlass-e2e/rope"]}));
    let endpoint = config(json!({"joinConfiguration": {
        "discovery": {"bootstrapToken": {"apiServerEndpoint": NOWHERE}},
        "timeouts": {"discoverySeconds": 20},
    }}));
    plane
        .generate(&cluster.name, stage.site.version(), 1, 1)?
        .another_deployment("-md-0", "-md-1")?
        .change("DevMachineTemplate", "-control-plane", &image)?
        .change("KubeadmConfigTemplate", "-md-0", &command)?
        .change("KubeadmConfigTemplate", "-md-1", &endpoint)
}

/// Waits until the condition of a DevMachine and the description of the cluster have all of these words.
fn explained(cluster: &Cluster, part: &str, of_type: &str, words: &[&str]) -> Result<()> {
    let prefix = format!("{}-{part}-", cluster.name);
    let mut message = String::new();
    until(&format!("{of_type} of {prefix}* says why"), EXPLAINED, || {
        cluster.plane.alive()?;
        let machines =
            cluster.plane.list("devmachines.infrastructure.cluster.x-k8s.io", &cluster.selector())?;
        let of_part = |machine: &&Value| {
            machine["metadata"]["name"].as_str().is_some_and(|name| name.starts_with(&prefix))
        };
        let machine =
            machines.iter().find(of_part).with_context(|| format!("there is no DevMachine {prefix}*"))?;
        let condition =
            condition(machine, of_type).with_context(|| format!("it has no condition {of_type}"))?;
        condition["message"].as_str().unwrap_or_default().clone_into(&mut message);
        lacks(&message, words).context("the condition")?;
        if condition["status"] != "False" {
            bail!("the condition is {}", condition["status"]);
        }
        Ok(())
    })?;
    crate::command::say(&format!("{of_type} of {prefix}*:\n{message}"));
    let described = until("windlass describe says so, too", Duration::from_secs(20), || {
        let described = cluster.describe(&[])?;
        lacks(&described, words).context("windlass describe")?;
        Ok(described)
    })?;
    crate::command::say(&format!("windlass describe:\n{described}"));
    Ok(())
}

/// Fails with the words that a text does not have. Lines may be wrapped anywhere.
fn lacks(text: &str, words: &[&str]) -> Result<()> {
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text_flat = flat(text);
    let missing: Vec<_> = words.iter().filter(|word| !text_flat.contains(&flat(word))).collect();
    if missing.is_empty() { Ok(()) } else { bail!("does not say {missing:?}: {text}") }
}

/// A new bootstrap template without the defect, and the deployment told to use it.
fn correct(plane: &Plane, cluster: &Cluster, deployment: &str) -> Result<()> {
    let (old, new) =
        (format!("{}-{deployment}", cluster.name), format!("{}-{deployment}-corrected", cluster.name));
    let kind = "kubeadmconfigtemplates.bootstrap.cluster.x-k8s.io";
    let mut template = plane.get(kind, &old)?;
    let registration = template["spec"]["template"]["spec"]["joinConfiguration"]["nodeRegistration"].take();
    let spec = if registration.is_null() {
        json!({})
    } else {
        json!({"joinConfiguration": {"nodeRegistration": registration}})
    };
    let object = json!({
        "apiVersion": template["apiVersion"], "kind": template["kind"],
        "metadata": {"name": new, "namespace": "default"},
        "spec": {"template": {"spec": spec}},
    });
    plane.apply(&crate::e2e::manifest::Manifest(vec![object]))?;
    let patch =
        json!({"spec": {"template": {"spec": {"bootstrap": {"configRef": {"name": new}}}}}}).to_string();
    plane
        .must(&["patch", "machinedeployments.cluster.x-k8s.io", &old, "--type=merge", "-p", &patch])
        .map(drop)
}

/// Takes the name off the image again.
struct Untag<'s>(&'s Stage);

impl Drop for Untag<'_> {
    fn drop(&mut self) {
        // Missing where the scenario failed before it was there.
        let _ = must(self.0.site.engine.docker().args(["rmi", IMAGE]));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn wrapped_words_are_found() {
        assert!(super::lacks("a step\n    failed here", &["step failed", "here"]).is_ok());
        let error = super::lacks("a step", &["step", "why"]).unwrap_err().to_string();
        assert_eq!(error, "does not say [\"why\"]: a step");
    }
}
