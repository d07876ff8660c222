//! What API servers are told of the webhooks.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use windlass_api::admission;

use super::review::Door;

/// Name of both configurations.
pub const NAME: &str = "windlass";

/// How API servers reach the webhooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// At a host and port that they can dial.
    Url {
        /// Host name or IP address.
        host: String,
        /// Port.
        port: u16,
    },
    /// Through a Service.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its port.
        port: u16,
    },
}

impl Address {
    /// The name that the serving certificate must have.
    pub fn server_name(&self) -> String {
        match self {
            Self::Url { host, .. } => host.clone(),
            Self::Service { namespace, name, .. } => format!("{name}.{namespace}.svc"),
        }
    }

    fn client_config(&self, path: &str, bundle: &str) -> Value {
        let bundle = BASE64.encode(bundle);
        match self {
            Self::Url { host, port } => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                json!({"url": format!("https://{host}:{port}{path}"), "caBundle": bundle})
            }
            Self::Service { namespace, name, port } => {
                let service = json!({"namespace": namespace, "name": name, "path": path, "port": port});
                json!({"service": service, "caBundle": bundle})
            }
        }
    }
}

/// A kind with rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruled {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Plural resource.
    pub plural: String,
}

/// The kinds that have rules. The definitions they are read from are made once: that takes long.
pub fn kinds() -> &'static [Ruled] {
    static KINDS: LazyLock<Vec<Ruled>> = LazyLock::new(|| {
        let ruled = |definition: CustomResourceDefinition| {
            let (group, names) = (definition.spec.group, definition.spec.names);
            let kind = GroupVersionKind::gvk(&group, windlass_api::VERSION, &names.kind);
            admission::has_rules(&kind).then_some(Ruled { group, kind: names.kind, plural: names.plural })
        };
        windlass_api::crd::crds().into_iter().filter_map(ruled).collect()
    });
    &KINDS
}

/// `MutatingWebhookConfiguration` or `ValidatingWebhookConfiguration`.
pub const fn kind(door: Door) -> &'static str {
    match door {
        Door::Default => "MutatingWebhookConfiguration",
        Door::Validate => "ValidatingWebhookConfiguration",
    }
}

/// The configuration of a door. `bundle` holds the authorities to trust, in PEM.
pub fn configuration(door: Door, address: &Address, bundle: &str) -> Value {
    let mut rules: Vec<Value> = Vec::new();
    for Ruled { group, plural, .. } in kinds() {
        let resources = match door {
            Door::Validate if *plural == "kubeadmcontrolplanes" => json!([plural, format!("{plural}/scale")]),
            Door::Default | Door::Validate => json!([plural]),
        };
        rules.push(json!({
            "operations": ["CREATE", "UPDATE"], "apiGroups": [group], "apiVersions": [windlass_api::VERSION],
            "resources": resources, "scope": "Namespaced",
        }));
    }
    let name = match door {
        Door::Default => "default.windlass.cluster.x-k8s.io",
        Door::Validate => "validate.windlass.cluster.x-k8s.io",
    };
    let mut webhook = json!({
        "name": name, "clientConfig": address.client_config(door.path(), bundle), "rules": rules,
        "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
        "matchPolicy": "Equivalent", "timeoutSeconds": 10,
    });
    if door == Door::Default {
        webhook["reinvocationPolicy"] = json!("IfNeeded");
    }
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind(door),
        "metadata": {"name": NAME}, "webhooks": [webhook],
    })
}

/// Whether an object says everything that `wanted` says.
pub fn says(object: &Value, wanted: &Value) -> bool {
    match (object, wanted) {
        (Value::Object(object), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| object.get(key).is_some_and(|found| says(found, value)))
        }
        (Value::Array(object), Value::Array(wanted)) => {
            object.len() == wanted.len() && object.iter().zip(wanted).all(|(found, value)| says(found, value))
        }
        (object, wanted) => object == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_with_rules_is_registered() {
        let address = Address::Url { host: "::1".to_owned(), port: 9443 };
        let configuration = configuration(Door::Validate, &address, "PEM");
        let webhook = &configuration["webhooks"][0];
        assert_eq!(
            webhook["clientConfig"],
            json!({"url": "https://[::1]:9443/validate", "caBundle": "UEVN"})
        );
        let text = webhook["rules"].to_string();
        for resource in ["clusters", "machines", "devmachinetemplates", "kubeadmcontrolplanes/scale"] {
            assert!(text.contains(&format!("\"{resource}\"")), "{resource}: {text}");
        }
        assert!(says(&configuration, &configuration));
        let mut changed = configuration.clone();
        changed["metadata"]["uid"] = json!("u");
        assert!(says(&changed, &configuration), "what others add does not matter");
        changed["webhooks"][0]["failurePolicy"] = json!("Ignore");
        assert!(!says(&changed, &configuration));
    }

    #[test]
    fn a_service_has_its_name_in_the_certificate() {
        let address = Address::Service { namespace: "a".to_owned(), name: "b".to_owned(), port: 443 };
        assert_eq!(address.server_name(), "b.a.svc");
        let configuration = configuration(Door::Default, &address, "");
        assert_eq!(
            configuration["webhooks"][0]["clientConfig"]["service"],
            json!({"namespace": "a", "name": "b", "path": "/default", "port": 443})
        );
    }
}
