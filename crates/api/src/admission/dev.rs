//! The rules of DevClusters, DevMachines and their templates.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::error::Review;
use super::shared::validate_metadata;
use super::{Options, Rules};
use crate::infrastructure::{
    DevCluster, DevClusterBackend, DevClusterSpec, DevClusterTemplate, DevMachine, DevMachineBackend,
    DevMachineSpec, DevMachineTemplate, DockerClusterBackend, DockerMachineBackend, DockerMount,
    InMemoryPart, parse_duration,
};
use crate::names;

impl Rules for DevCluster {
    fn default(&mut self, _old: Option<&Self>) {
        default_cluster(&mut self.spec);
    }

    fn validate(&self, old: Option<&Self>, _options: Options, review: &mut Review) {
        validate_cluster("spec", &self.spec, review);
        let managed = |object: &Self| has_annotation(&object.metadata, names::ANNOTATION_MANAGED_BY);
        if old.is_some_and(managed) && !managed(self) {
            review.forbidden(
                format!("metadata.annotations[{}]", names::ANNOTATION_MANAGED_BY),
                "cannot be taken away once set; put it back",
            );
        }
    }
}

impl Rules for DevClusterTemplate {
    fn default(&mut self, _old: Option<&Self>) {
        default_cluster(&mut self.spec.template.spec);
    }

    fn validate(&self, old: Option<&Self>, _options: Options, review: &mut Review) {
        let template = &self.spec.template;
        validate_metadata("spec.template.metadata", &template.metadata, review);
        validate_cluster("spec.template.spec", &template.spec, review);
        if old.is_some_and(|old| old.spec.template.spec != template.spec) {
            refuse_change(review);
        }
    }
}

impl Rules for DevMachine {
    fn default(&mut self, _old: Option<&Self>) {
        default_machine(&mut self.spec);
    }

    fn validate(&self, _old: Option<&Self>, _options: Options, review: &mut Review) {
        validate_machine("spec", &self.spec, review);
    }
}

impl Rules for DevMachineTemplate {
    fn default(&mut self, _old: Option<&Self>) {
        default_machine(&mut self.spec.template.spec);
    }

    fn validate(&self, old: Option<&Self>, options: Options, review: &mut Review) {
        let template = &self.spec.template;
        validate_metadata("spec.template.metadata", &template.metadata, review);
        validate_machine("spec.template.spec", &template.spec, review);
        // The topology controller asks what would change by trying it out.
        let trial = options.dry_run && has_annotation(&self.metadata, names::ANNOTATION_TOPOLOGY_DRY_RUN);
        if !trial && old.is_some_and(|old| old.spec.template.spec != template.spec) {
            refuse_change(review);
        }
    }
}

fn has_annotation(metadata: &ObjectMeta, name: &str) -> bool {
    metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(name))
}

fn refuse_change(review: &mut Review) {
    review.invalid(
        "spec.template.spec",
        "changed",
        "cannot change; create another template and refer to that one",
    );
}

/// Containers are upstream's default.
fn default_cluster(spec: &mut DevClusterSpec) {
    let DevClusterBackend { docker, in_memory } = &mut spec.backend;
    if docker.is_none() && in_memory.is_none() {
        *docker = Some(DockerClusterBackend::default());
    }
}

fn default_machine(spec: &mut DevMachineSpec) {
    let DevMachineBackend { docker, in_memory } = &mut spec.backend;
    if docker.is_none() && in_memory.is_none() {
        *docker = Some(DockerMachineBackend::default());
    }
}

fn validate_cluster(field: &str, spec: &DevClusterSpec, review: &mut Review) {
    let DevClusterBackend { docker, in_memory } = &spec.backend;
    validate_backend(field, docker.is_some(), in_memory.is_some(), review);
    let balancer = docker.as_ref().map(|docker| &docker.load_balancer);
    let template = balancer.and_then(|balancer| balancer.custom_ha_proxy_config_template_ref.as_ref());
    if template.is_some_and(|reference| reference.name.is_empty()) {
        let field = format!("{field}.backend.docker.loadBalancer.customHAProxyConfigTemplateRef.name");
        review.required(field, "name a ConfigMap with the template under the key `value`");
    }
}

fn validate_machine(field: &str, spec: &DevMachineSpec, review: &mut Review) {
    let DevMachineBackend { docker, in_memory } = &spec.backend;
    validate_backend(field, docker.is_some(), in_memory.is_some(), review);
    if let Some(docker) = docker {
        validate_container(&format!("{field}.backend.docker"), docker, review);
    }
    if let Some(in_memory) = in_memory {
        let parts = [
            ("vm", &in_memory.vm),
            ("node", &in_memory.node),
            ("apiServer", &in_memory.api_server),
            ("etcd", &in_memory.etcd),
        ];
        for (name, part) in parts {
            validate_part(&format!("{field}.backend.inMemory.{name}"), part.as_ref(), review);
        }
    }
}

/// What no engine accepts is refused here, where the author sees it; upstream lets it through to the engine.
fn validate_container(field: &str, docker: &DockerMachineBackend, review: &mut Review) {
    let DockerMachineBackend { custom_image: _, pre_load_images, extra_mounts, bootstrap_timeout } = docker;
    for (index, _) in pre_load_images.iter().enumerate().filter(|(_, image)| image.is_empty()) {
        review.required(format!("{field}.preLoadImages[{index}]"), "name an image, or remove the entry");
    }
    for (index, mount) in extra_mounts.iter().enumerate() {
        let field = format!("{field}.extraMounts[{index}]");
        let DockerMount { container_path, host_path, read_only: _ } = mount;
        match container_path.as_deref().unwrap_or_default() {
            "" => review.required(format!("{field}.containerPath"), "say where in the container it goes"),
            path if !path.starts_with('/') => {
                review.invalid(format!("{field}.containerPath"), path, "is not absolute; begin it with /");
            }
            _ => {}
        }
        if host_path.as_deref().unwrap_or_default().is_empty() {
            review.required(format!("{field}.hostPath"), "say what of the host to mount");
        }
    }
    if let Some(timeout) = bootstrap_timeout {
        let field = format!("{field}.bootstrapTimeout");
        validate_duration(&field, timeout, review);
        if parse_duration(timeout).is_some_and(|timeout| timeout.is_zero()) {
            review.invalid(field, timeout.as_str(), "leaves no time; write it as 5m, or remove it");
        }
    }
}

/// Our rule: upstream takes the first of two, which is a guess.
fn validate_backend(field: &str, docker: bool, in_memory: bool, review: &mut Review) {
    let field = format!("{field}.backend");
    match (docker, in_memory) {
        (true, true) => review.invalid(field, "both", "has both docker and inMemory; remove one"),
        (false, false) => review.required(field, "set docker or inMemory"),
        (true, false) | (false, true) => {}
    }
}

fn validate_part(field: &str, part: Option<&InMemoryPart>, review: &mut Review) {
    let Some(provisioning) = part.and_then(|part| part.provisioning.as_ref()) else { return };
    let field = format!("{field}.provisioning");
    validate_duration(&format!("{field}.startupDuration"), &provisioning.startup_duration, review);
    if let Some(jitter) = provisioning.startup_jitter.as_deref() {
        let share = jitter.parse::<f64>().ok().filter(|share| share.is_finite() && *share >= 0.0);
        if share.is_none() {
            review.invalid(format!("{field}.startupJitter"), jitter, "is no share; write it as 0.2");
        }
    }
}

fn validate_duration(field: &str, duration: &str, review: &mut Review) {
    if parse_duration(duration).is_none() {
        review.invalid(field, duration, "is no duration; write it as 90s, 1m30s or 500ms");
    }
}

#[cfg(test)]
mod tests {
    use crate::admission::testing::Table;

    const GROUP: &str = "infrastructure.cluster.x-k8s.io";
    const CLUSTER: &str = r#"{"metadata":{"name":"c","annotations":{"cluster.x-k8s.io/managed-by":"x"}},
        "spec":{"backend":{"inMemory":{}}}}"#;
    const MACHINE: &str = r#"{"metadata":{"name":"m"},"spec":{"backend":{"inMemory":{}}}}"#;
    const MACHINES: &str =
        r#"{"metadata":{"name":"t"},"spec":{"template":{"spec":{"backend":{"inMemory":{}}}}}}"#;

    #[test]
    fn a_backend_is_exactly_one() {
        for kind in ["DevCluster", "DevMachine"] {
            let table = Table::new(GROUP, kind, MACHINE);
            table.create(&[
                ("", ""),
                (r#"spec.backend={"docker":{}}"#, ""),
                (r#"spec.backend={"docker":{},"inMemory":{}}"#, "spec.backend Invalid"),
                ("spec.backend={}", "spec.backend Required"),
                ("spec=", "spec.backend Required"),
            ]);
            table.defaults(&[
                ("spec.backend={}", r#"spec.backend={"docker":{}}"#),
                ("", r#"spec.backend={"inMemory":{}}"#),
            ]);
        }
        for kind in ["DevClusterTemplate", "DevMachineTemplate"] {
            let table = Table::new(GROUP, kind, MACHINES);
            table.create(&[
                ("", ""),
                (
                    r#"spec.template.spec.backend={"docker":{},"inMemory":{}}"#,
                    "spec.template.spec.backend Invalid",
                ),
                (r#"spec.template.metadata={"labels":{"a":"!"}}"#, "spec.template.metadata.labels Invalid"),
            ]);
            table.defaults(&[(
                "spec.template.spec.backend={}",
                r#"spec.template.spec.backend={"docker":{}}"#,
            )]);
        }
    }

    #[test]
    fn start_up_takes_a_duration_and_a_share() {
        let part = |name: &str, duration: &str, jitter: &str| {
            format!(
                r#"spec.backend={{"inMemory":{{"{name}":{{"provisioning":{{"startupDuration":"{duration}","startupJitter":"{jitter}"}}}}}}}}"#
            )
        };
        let table = Table::new(GROUP, "DevMachine", MACHINE);
        for name in ["vm", "node", "apiServer", "etcd"] {
            let at = format!("spec.backend.inMemory.{name}.provisioning");
            table.create(&[
                (&part(name, "2s", "0.2"), ""),
                (&part(name, "soon", "0.2"), &format!("{at}.startupDuration Invalid")),
                (&part(name, "2s", "much"), &format!("{at}.startupJitter Invalid")),
                (&part(name, "2s", "-1"), &format!("{at}.startupJitter Invalid")),
                (&part(name, "2s", "inf"), &format!("{at}.startupJitter Invalid")),
            ]);
        }
        table.create(&[
            (r#"spec.backend={"docker":{"bootstrapTimeout":"3m"}}"#, ""),
            (
                r#"spec.backend={"docker":{"bootstrapTimeout":"3"}}"#,
                "spec.backend.docker.bootstrapTimeout Invalid",
            ),
        ]);
    }

    #[test]
    fn a_container_is_one_that_an_engine_takes() {
        let docker = |part: &str| format!(r#"spec.backend={{"docker":{{{part}}}}}"#);
        let at = "spec.backend.docker";
        let table = Table::new(GROUP, "DevMachine", MACHINE);
        for (part, expected) in [
            (r#""extraMounts":[{"containerPath":"/a","hostPath":"/b","readOnly":true}]"#, String::new()),
            (r#""extraMounts":[{"containerPath":"/a","hostPath":"volume"}]"#, String::new()),
            (r#""extraMounts":[{"hostPath":"/b"}]"#, format!("{at}.extraMounts[0].containerPath Required")),
            (
                r#""extraMounts":[{"containerPath":"a","hostPath":"/b"}]"#,
                format!("{at}.extraMounts[0].containerPath Invalid"),
            ),
            (r#""extraMounts":[{"containerPath":"/a"}]"#, format!("{at}.extraMounts[0].hostPath Required")),
            (r#""preLoadImages":["a:1",""]"#, format!("{at}.preLoadImages[1] Required")),
            (r#""bootstrapTimeout":"0s""#, format!("{at}.bootstrapTimeout Invalid")),
            (r#""bootstrapTimeout":"5m","customImage":"kindest/node:v1""#, String::new()),
        ] {
            table.create(&[(&docker(part), &expected)]);
        }
        let template = |name: &str| {
            docker(&format!(r#""loadBalancer":{{"customHAProxyConfigTemplateRef":{{"name":"{name}"}}}}"#))
        };
        let required = format!("{at}.loadBalancer.customHAProxyConfigTemplateRef.name Required");
        Table::new(GROUP, "DevCluster", MACHINE)
            .create(&[(&template("haproxy"), ""), (&template(""), &required)]);
    }

    #[test]
    fn a_managed_cluster_stays_managed() {
        Table::new(GROUP, "DevCluster", CLUSTER).update(&[
            ("metadata.annotations={}", "metadata.annotations[cluster.x-k8s.io/managed-by] Forbidden"),
            (r#"metadata.annotations={"cluster.x-k8s.io/managed-by":"y"}"#, ""),
            (r#"spec.controlPlaneEndpoint={"host":"h","port":6443}"#, ""),
        ]);
    }

    #[test]
    fn templates_stay_as_they_are() {
        let change = r#"spec.template.spec.backend={"docker":{}}"#;
        let trial = format!(r#"{change} metadata.annotations={{"topology.cluster.x-k8s.io/dry-run":""}}"#);
        for kind in ["DevClusterTemplate", "DevMachineTemplate"] {
            Table::new(GROUP, kind, MACHINES).update(&[
                (change, "spec.template.spec Invalid"),
                (&trial, "spec.template.spec Invalid"),
                (r#"spec.template.metadata={"labels":{"a":"b"}}"#, ""),
            ]);
        }
        Table::new(GROUP, "DevMachineTemplate", MACHINES)
            .dry_run()
            .update(&[(change, "spec.template.spec Invalid"), (&trial, "")]);
    }
}
