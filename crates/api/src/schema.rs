//! Schema fragments that many fields share, and the helpers of their (de)serialisation.
//!
//! Upstream's CRDs carry bounds on nearly every list and string. What a derive attribute can say stands at
//! the field; lists with a merge strategy and the types of `k8s-openapi` get their schema from here.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;

/// A DNS subdomain (RFC 1123).
pub(crate) const DNS_SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// A DNS label (RFC 1123).
pub(crate) const DNS_LABEL: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// A kind: letters, digits and dashes, a letter first.
pub(crate) const KIND: &str = r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$";
/// A group and a version, separated by a slash.
pub(crate) const API_VERSION: &str =
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[a-z]([-a-z0-9]*[a-z0-9])?$";
/// A condition type: CamelCase, optionally with a domain in front.
pub(crate) const CONDITION_TYPE: &str = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$";
/// The reason of a condition.
pub(crate) const CONDITION_REASON: &str = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$";
/// The key of a taint: like a label's key.
pub(crate) const TAINT_KEY: &str = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/)?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$";
/// The value of a taint: like a label's value.
pub(crate) const TAINT_VALUE: &str = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$";
/// A range of whole numbers, `[3-5]`.
pub(crate) const INT_RANGE: &str = r"^\[[0-9]+-[0-9]+\]$";
/// A Kubernetes quantity, `1500m` or `2Gi`.
const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

/// True for a value that says nothing: such members are left out of the JSON.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// An atomic list (replaced as a whole by apply) of 1 to `MAX` items.
pub(crate) fn atomic_list<T: JsonSchema, const MAX: usize>(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": generator.subschema_for::<T>(),
        "minItems": 1,
        "maxItems": MAX,
        "x-kubernetes-list-type": "atomic",
    })
}

/// An atomic list of 1 to `MAX` strings of 1 to `LENGTH` characters.
pub(crate) fn strings<const MAX: usize, const LENGTH: usize>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": { "type": "string", "minLength": 1, "maxLength": LENGTH },
        "minItems": 1,
        "maxItems": MAX,
        "x-kubernetes-list-type": "atomic",
    })
}

/// Like [`strings`], but the empty list is allowed.
pub(crate) fn maybe_strings<const MAX: usize, const LENGTH: usize>(
    generator: &mut SchemaGenerator,
) -> Schema {
    let mut schema = strings::<MAX, LENGTH>(generator);
    schema.remove("minItems");
    schema
}

/// A list of 1 to `max` items that apply merges item by item: `keys` tell the items apart.
pub(crate) fn map_list<T: JsonSchema>(generator: &mut SchemaGenerator, max: usize, keys: &[&str]) -> Schema {
    json_schema!({
        "type": "array",
        "items": generator.subschema_for::<T>(),
        "minItems": 1,
        "maxItems": max,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": keys,
    })
}

/// [`map_list`] keyed by `name`.
pub(crate) fn named_list<T: JsonSchema, const MAX: usize>(generator: &mut SchemaGenerator) -> Schema {
    map_list::<T>(generator, MAX, &["name"])
}

/// A whole number or a string, usually a percentage.
pub(crate) fn int_or_string(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [{ "type": "integer" }, { "type": "string" }],
        "x-kubernetes-int-or-string": true,
    })
}

/// Any JSON value, kept as it is.
pub(crate) fn any_value(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}

/// A point in time, RFC 3339.
pub(crate) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}

/// Resources by name, `cpu: 2`.
pub(crate) fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": quantity() })
}

/// The conditions of an object: one per type, at most 32.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "description": "One aspect of the object's present state.",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "type": {
                    "type": "string", "maxLength": 316, "pattern": CONDITION_TYPE,
                    "description": "Which aspect this is, in CamelCase.",
                },
                "status": {
                    "type": "string", "enum": ["True", "False", "Unknown"],
                    "description": "Whether the condition holds.",
                },
                "reason": {
                    "type": "string", "minLength": 1, "maxLength": 1024, "pattern": CONDITION_REASON,
                    "description": "Why, as one CamelCase word for programs.",
                },
                "message": {
                    "type": "string", "maxLength": 32768,
                    "description": "Why, for people. May be empty.",
                },
                "lastTransitionTime": {
                    "type": "string", "format": "date-time",
                    "description": "When the status last changed.",
                },
                "observedGeneration": {
                    "type": "integer", "format": "int64", "minimum": 0,
                    "description": "The generation of the object that the condition speaks about.",
                },
            },
        },
    })
}

/// A label selector. Atomic: apply replaces it as a whole.
pub(crate) fn label_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {
                "type": "object",
                "description": "Labels that must be there with exactly these values.",
                "additionalProperties": { "type": "string" },
            },
            "matchExpressions": {
                "type": "array",
                "description": "Further requirements; all must hold.",
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "description": "One requirement on one label.",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": { "type": "string", "description": "The label's key." },
                        "operator": {
                            "type": "string",
                            "description": "In, NotIn, Exists or DoesNotExist.",
                        },
                        "values": {
                            "type": "array",
                            "description": "The values of In and NotIn; empty for the others.",
                            "x-kubernetes-list-type": "atomic",
                            "items": { "type": "string" },
                        },
                    },
                },
            },
        },
    })
}

/// What a node says about its machine and software (`NodeSystemInfo` of core/v1).
pub(crate) fn node_info(_: &mut SchemaGenerator) -> Schema {
    let text = |what: &str| json!({ "type": "string", "description": what });
    json_schema!({
        "type": "object",
        "required": [
            "architecture", "bootID", "containerRuntimeVersion", "kernelVersion", "kubeProxyVersion",
            "kubeletVersion", "machineID", "operatingSystem", "osImage", "systemUUID",
        ],
        "properties": {
            "architecture": text("The processor architecture."),
            "bootID": text("Differs from boot to boot."),
            "containerRuntimeVersion": text("The container runtime and its version."),
            "kernelVersion": text("The kernel's version."),
            "kubeProxyVersion": text("The version of kube-proxy; no longer filled by Kubernetes."),
            "kubeletVersion": text("The kubelet's version."),
            "machineID": text("The machine id of the operating system."),
            "operatingSystem": text("The operating system, linux or windows."),
            "osImage": text("The operating system's own name for itself."),
            "systemUUID": text("The id that the hardware or hypervisor gives."),
            "swap": {
                "type": "object",
                "description": "The node's swap.",
                "properties": {
                    "capacity": { "type": "integer", "format": "int64", "description": "Bytes of swap." },
                },
            },
        },
    })
}

/// Taints as core/v1 has them. No lower bound: an explicit empty list means "no taints at all".
pub(crate) fn node_taints(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 0,
        "maxItems": 100,
        "items": {
            "type": "object",
            "description": "Keeps pods that do not tolerate it off the node.",
            "required": ["effect", "key"],
            "properties": {
                "key": { "type": "string", "description": "The taint's key." },
                "value": { "type": "string", "description": "The taint's value." },
                "effect": {
                    "type": "string",
                    "description": "NoSchedule, PreferNoSchedule or NoExecute.",
                },
                "timeAdded": {
                    "type": "string", "format": "date-time",
                    "description": "When the taint was added.",
                },
            },
        },
    })
}

/// Environment variables as core/v1 has them.
pub(crate) fn environment(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 100,
        "x-kubernetes-list-type": "atomic",
        "items": {
            "type": "object",
            "description": "One environment variable.",
            "required": ["name"],
            "properties": {
                "name": { "type": "string", "description": "The variable's name." },
                "value": { "type": "string", "description": "The variable's value." },
                "valueFrom": environment_source(),
            },
        },
    })
}

/// Where an environment variable gets its value from.
fn environment_source() -> serde_json::Value {
    json!({
        "type": "object",
        "description": "Where the value comes from, if it is not given.",
        "properties": {
            "configMapKeyRef": key_ref("A key of a ConfigMap."),
            "secretKeyRef": key_ref("A key of a Secret."),
            "fieldRef": {
                "type": "object",
                "description": "A field of the pod.",
                "x-kubernetes-map-type": "atomic",
                "required": ["fieldPath"],
                "properties": {
                    "apiVersion": { "type": "string", "description": "The version the path is written in." },
                    "fieldPath": { "type": "string", "description": "The path of the field." },
                },
            },
            "fileKeyRef": {
                "type": "object",
                "description": "A key of a file in a volume.",
                "x-kubernetes-map-type": "atomic",
                "required": ["key", "path", "volumeName"],
                "properties": {
                    "key": { "type": "string", "description": "The key in the file." },
                    "optional": {
                        "type": "boolean", "default": false,
                        "description": "Whether the file or the key may be missing.",
                    },
                    "path": { "type": "string", "description": "The file's path in the volume." },
                    "volumeName": { "type": "string", "description": "The volume's name." },
                },
            },
            "resourceFieldRef": {
                "type": "object",
                "description": "A resource limit or request of a container.",
                "x-kubernetes-map-type": "atomic",
                "required": ["resource"],
                "properties": {
                    "containerName": { "type": "string", "description": "The container's name." },
                    "divisor": quantity(),
                    "resource": { "type": "string", "description": "The resource, limits.cpu for one." },
                },
            },
        },
    })
}

/// One key of a ConfigMap or Secret.
fn key_ref(what: &str) -> serde_json::Value {
    json!({
        "type": "object",
        "description": what,
        "x-kubernetes-map-type": "atomic",
        "required": ["key"],
        "properties": {
            "key": { "type": "string", "description": "The key." },
            "name": { "type": "string", "default": "", "description": "The object's name." },
            "optional": { "type": "boolean", "description": "Whether the object or the key may be missing." },
        },
    })
}

fn quantity() -> serde_json::Value {
    json!({
        "anyOf": [{ "type": "integer" }, { "type": "string" }],
        "pattern": QUANTITY,
        "x-kubernetes-int-or-string": true,
        "description": "A quantity, 500m or 2Gi.",
    })
}

/// (De)serialises a `spec` that may be missing. kube's derive always writes `spec` and always wants it, so an
/// empty one is written as `null` (which the API drops) and a missing one is read as the default.
///
/// The type must be marked `#[serde(remote = "Self")]`, so that the derived code is there to call.
macro_rules! absent_when_empty {
    ($spec:ident) => {
        impl serde::Serialize for $spec {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if $crate::schema::is_default(self) {
                    serializer.serialize_none()
                } else {
                    Self::serialize(self, serializer)
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $spec {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Optional;

                impl<'de> serde::de::Visitor<'de> for Optional {
                    type Value = $spec;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object or nothing")
                    }

                    fn visit_none<E>(self) -> Result<$spec, E> {
                        Ok($spec::default())
                    }

                    fn visit_unit<E>(self) -> Result<$spec, E> {
                        Ok($spec::default())
                    }

                    fn visit_some<D: serde::Deserializer<'de>>(
                        self,
                        deserializer: D,
                    ) -> Result<$spec, D::Error> {
                        $spec::deserialize(deserializer)
                    }
                }

                deserializer.deserialize_option(Optional)
            }
        }
    };
}
pub(crate) use absent_when_empty;
