//! kube-proxy and CoreDNS: their images follow the control plane once all of its machines do.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, PodSpec};
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use windlass_api::names::{ANNOTATION_SKIP_CORE_DNS, ANNOTATION_SKIP_KUBE_PROXY};
use windlass_plan::control_plane::addons::{Dns, DnsChange, dns, proxy};
use windlass_plan::control_plane::health::Reach;
use windlass_runtime::Pass;

use crate::act::COMPONENT;
use crate::controller::{KubeadmControlPlaneError as Error, KubeadmControlPlanes};
use crate::observe::Scene;
use crate::workload::{NAMESPACE, patient};

/// The names of the two, and of their containers.
const PROXY: &str = "kube-proxy";
const DNS: &str = "coredns";

/// Looks after both. What has been looked at is not looked at again before the spec changes, but for the resync:
/// they are the users' to change beside us.
pub(crate) async fn keep(controller: &KubeadmControlPlanes, scene: &Scene, pass: &Pass) -> Result<(), Error> {
    let settled =
        scene.world.reach == Reach::Up && scene.world.machines.iter().all(|m| m.outdated.is_empty());
    let cluster = scene.cluster_uid();
    let says = says(scene);
    let known = controller.keys.known(&cluster).addons;
    if !settled || scene.world.deleting || known.as_ref() == Some(&says) {
        return Ok(());
    }
    let Ok(connected) = controller.workloads.get(&scene.cluster_key()) else { return Ok(()) };
    if !skips(scene, ANNOTATION_SKIP_KUBE_PROXY) {
        keep_proxy(&connected.client, scene).await?;
    }
    if !skips(scene, ANNOTATION_SKIP_CORE_DNS) {
        keep_dns(&connected.client, scene, pass).await?;
    }
    controller.keys.remember(&cluster, |known| known.addons = Some(says));
    Ok(())
}

fn skips(scene: &Scene, annotation: &str) -> bool {
    scene.object.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(annotation))
}

/// Everything that the images depend on.
fn says(scene: &Scene) -> String {
    let configuration = &scene.object.spec.kubeadm_config_spec.cluster_configuration;
    let skips = [ANNOTATION_SKIP_KUBE_PROXY, ANNOTATION_SKIP_CORE_DNS].map(|name| skips(scene, name));
    json!([scene.version.to_string(), configuration.image_repository, configuration.dns, skips]).to_string()
}

async fn keep_proxy(client: &Client, scene: &Scene) -> Result<(), Error> {
    let api: Api<DaemonSet> = Api::namespaced(client.clone(), NAMESPACE);
    // Whoever has another proxy has none.
    let Some(found) = patient(api.get_opt(PROXY)).await? else { return Ok(()) };
    let pods = found.spec.and_then(|spec| spec.template.spec);
    let Some(current) = image_of(pods.as_ref(), PROXY) else { return Ok(()) };
    let registry = scene.object.spec.kubeadm_config_spec.cluster_configuration.image_repository.as_deref();
    let Some(image) = proxy(&current, &scene.version, registry) else { return Ok(()) };
    let patch = Patch::Strategic(image_patch(PROXY, &image));
    patient(api.patch(PROXY, &PatchParams::default(), &patch)).await.map(drop)
}

async fn keep_dns(client: &Client, scene: &Scene, pass: &Pass) -> Result<(), Error> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let configs: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let Some(found) = patient(api.get_opt(DNS)).await? else { return Ok(()) };
    if patient(configs.get_opt(DNS)).await?.is_none() {
        // Not as kubeadm installs it: somebody else's.
        return Ok(());
    }
    let pods = found.spec.and_then(|spec| spec.template.spec);
    let Some(current) = image_of(pods.as_ref(), DNS) else { return Ok(()) };
    let configuration = &scene.object.spec.kubeadm_config_spec.cluster_configuration;
    let wanted = Dns {
        cluster_registry: configuration.image_repository.as_deref(),
        registry: configuration.dns.image_repository.as_deref(),
        tag: configuration.dns.image_tag.as_deref(),
    };
    let image = match dns(&current, &wanted) {
        DnsChange::None => return Ok(()),
        DnsChange::Refused { from, to } => {
            let text = format!(
                "CoreDNS runs {from} and does not go back to {to}: correct clusterConfiguration.dns.imageTag"
            );
            pass.events.warning(COMPONENT, scene.object.as_ref(), "CoreDNSNotChanged", text);
            return Ok(());
        }
        DnsChange::Image(image) => image,
        DnsChange::Upgrade { image, from, to } => {
            let text = format!(
                "CoreDNS goes from {from} to {to} with its Corefile as it is: see CoreDNS' release notes for \
                 plugins that {to} does not know any more"
            );
            pass.events.normal(COMPONENT, scene.object.as_ref(), "CoreDNSUpgraded", text);
            image
        }
    };
    let patch = Patch::Strategic(image_patch(DNS, &image));
    patient(api.patch(DNS, &PatchParams::default(), &patch)).await.map(drop)
}

/// The image of the container `name`.
fn image_of(pods: Option<&PodSpec>, name: &str) -> Option<String> {
    pods?.containers.iter().find(|container| container.name == name)?.image.clone()
}

fn image_patch(container: &str, image: &str) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [{ "name": container, "image": image }] } } } })
}
