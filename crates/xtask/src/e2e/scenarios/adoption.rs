//! 6: a control plane machine that was made without a control plane object is adopted by one that comes later.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::e2e::cluster::CREATION;
use crate::e2e::manifest::Manifest;
use crate::e2e::shell::{now, until};
use crate::e2e::stage::Stage;

pub fn play(stage: &Stage) -> Result<()> {
    let plane = stage.plane()?;
    let cluster = stage.cluster(&plane, "");
    let whole = plane.generate(&cluster.name, stage.site.version(), 1, 1)?;
    let start = now();
    plane.apply(&alone(&whole, &cluster.name)?)?;
    cluster.install_cni()?;
    let machine = format!("{}-first", cluster.name);
    until("the machine without a control plane runs", CREATION, || {
        let machine = plane.get("machines.cluster.x-k8s.io", &machine)?;
        crate::e2e::cluster::is_true(&machine, "NodeHealthy")
    })?;
    stage.fact("machine without a control plane object", start);
    let before: Vec<_> = cluster.control_planes()?.into_iter().map(|container| container.id).collect();

    let start = now();
    plane.apply(&whole)?;
    until("the control plane has adopted the machine", Duration::from_mins(2), || {
        let machine = plane.get("machines.cluster.x-k8s.io", &machine)?;
        let owners = machine["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        let controller =
            owners.filter(|owner| owner["controller"] == true).find_map(|owner| owner["kind"].as_str());
        match controller {
            Some("KubeadmControlPlane") => Ok(()),
            other => bail!("its controller is {other:?}"),
        }
    })?;
    stage.fact("adopted", start);
    cluster.wait_available(1, 1, CREATION)?;
    let after: Vec<_> = cluster.control_planes()?.into_iter().map(|container| container.id).collect();
    if (before.len(), &before) != (1, &after) {
        bail!("the control plane machine was replaced: {before:?}, {after:?}");
    }
    cluster.scale_control_plane(3)?;
    cluster.wait_available(3, 1, CREATION).context("after the adopted control plane was scaled to 3")
}

/// The cluster without a control plane object: a Machine with its KubeadmConfig and DevMachine instead.
fn alone(whole: &Manifest, cluster: &str) -> Result<Manifest> {
    let find = |kind: &str, suffix: &str| {
        let matches = |object: &&Value| {
            object["kind"] == kind
                && object["metadata"]["name"].as_str().is_some_and(|name| name.ends_with(suffix))
        };
        whole.0.iter().find(matches).with_context(|| format!("the template has no {kind} `*{suffix}`"))
    };
    let control_plane = find("KubeadmControlPlane", "")?;
    let template = find("DevMachineTemplate", "-control-plane")?;
    let name = format!("{cluster}-first");
    let object = |api_version: &str, kind: &str, spec: &Value| {
        let metadata = json!({"name": name, "namespace": "default", "labels": {
            "cluster.x-k8s.io/cluster-name": cluster, "cluster.x-k8s.io/control-plane": "",
        }});
        json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec})
    };
    let config = object(
        "bootstrap.cluster.x-k8s.io/v1beta2",
        "KubeadmConfig",
        &control_plane["spec"]["kubeadmConfigSpec"],
    );
    let infrastructure = object(
        "infrastructure.cluster.x-k8s.io/v1beta2",
        "DevMachine",
        &template["spec"]["template"]["spec"],
    );
    let machine = json!({
        "clusterName": cluster,
        "version": control_plane["spec"]["version"],
        "bootstrap": {"configRef": {"apiGroup": "bootstrap.cluster.x-k8s.io", "kind": "KubeadmConfig", "name": name}},
        "infrastructureRef": {"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "DevMachine", "name": name},
    });
    let machine = object("cluster.x-k8s.io/v1beta2", "Machine", &machine);
    let manifest = whole.clone().only(&["Cluster", "DevCluster"]);
    let manifest = manifest.change("Cluster", "", &json!({"spec": {"controlPlaneRef": null}}))?;
    Ok(manifest.with(config).with(infrastructure).with(machine))
}
