//! OpenAPI v3 documents of a group version, for kubectl's validation,
//! `explain` and clients that build types.

use serde_json::{Map, Value, json};

/// One resource of a group version.
#[derive(Clone, Debug)]
pub struct Resource<'a> {
    /// API group, empty for the core group.
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// Kind of the objects.
    pub kind: &'a str,
    /// Plural name in paths.
    pub plural: &'a str,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// The `openAPIV3Schema`; `$ref`s must be resolved.
    pub schema: &'a Value,
    /// Whether there is a `status` subresource.
    pub status: bool,
    /// Whether there is a `scale` subresource.
    pub scale: bool,
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const PARAMETERS: [(&str, &str, &str); 5] = [
    ("dryRun", "string", "`All` runs everything except storing the result."),
    ("fieldManager", "string", "Name of the actor that owns the fields written."),
    ("fieldValidation", "string", "What to do about unknown and duplicate fields: Ignore, Warn or Strict."),
    ("force", "boolean", "Take over fields that other managers own; apply only."),
    ("pretty", "string", "`true` prints the answer for people."),
];

impl Resource<'_> {
    fn gvk(&self) -> Value {
        json!({"group": self.group, "version": self.version, "kind": self.kind})
    }

    /// The name of the kind among the schemas: the group's parts reversed, as upstream.
    pub fn definition(&self) -> String {
        let package = match self.group {
            "" => "io.k8s.api.core".to_owned(),
            group if !group.contains('.') => format!("io.k8s.api.{group}"),
            group => group.rsplit('.').collect::<Vec<_>>().join("."),
        };
        format!("{package}.{}.{}", self.version, self.kind)
    }

    fn base(&self) -> String {
        match self.group {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        }
    }
}

/// The document of one group version; `version` is the server's.
pub fn document(version: &str, resources: &[Resource<'_>]) -> Value {
    let mut paths = Map::new();
    let mut schemas = meta_schemas();
    for resource in resources {
        add_paths(&mut paths, resource);
        let name = resource.definition();
        schemas.insert(format!("{name}List"), list_schema(resource));
        schemas.insert(name, kind_schema(resource));
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {
            "BearerToken": {"type": "apiKey", "name": "authorization", "in": "header", "description": "Bearer Token authentication"}}},
    })
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// A reference to a type of `meta/v1`, with a default so that it may carry a description.
fn meta(name: &str, description: &str) -> Value {
    json!({"description": description, "allOf": [reference(&format!("{META}{name}"))]})
}

fn kind_schema(resource: &Resource<'_>) -> Value {
    let mut schema = resource.schema.clone();
    let Some(object) = schema.as_object_mut() else { return schema };
    object.entry("type").or_insert_with(|| json!("object"));
    let properties = object.entry("properties").or_insert_with(|| json!({}));
    if let Some(properties) = properties.as_object_mut() {
        properties.insert(
            "apiVersion".to_owned(),
            json!({"type": "string", "description": "Group and version of this object's schema."}),
        );
        properties
            .insert("kind".to_owned(), json!({"type": "string", "description": "Kind of this object."}));
        properties.insert("metadata".to_owned(), meta("ObjectMeta", "Standard object's metadata."));
    }
    embed_metadata(&mut schema, true);
    schema["x-kubernetes-group-version-kind"] = json!([resource.gvk()]);
    schema
}

/// `metadata` of embedded objects is `ObjectMeta` as well.
fn embed_metadata(schema: &mut Value, root: bool) {
    let Some(object) = schema.as_object_mut() else { return };
    let embedded = object.get("x-kubernetes-embedded-resource").and_then(Value::as_bool).unwrap_or(false);
    if embedded && !root {
        let properties = object.entry("properties").or_insert_with(|| json!({}));
        properties["metadata"] = meta("ObjectMeta", "Standard object's metadata.");
    }
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(|property| embed_metadata(property, false));
    }
    for name in ["items", "additionalProperties"] {
        if let Some(child) = object.get_mut(name) {
            embed_metadata(child, false);
        }
    }
}

fn list_schema(resource: &Resource<'_>) -> Value {
    let kind = format!("{}List", resource.kind);
    json!({
        "type": "object",
        "description": format!("{kind} is a list of {}.", resource.kind),
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Group and version of this object's schema."},
            "kind": {"type": "string", "description": "Kind of this object."},
            "metadata": meta("ListMeta", "Standard list metadata."),
            "items": {"type": "array", "description": format!("List of {}.", resource.plural), "items": reference(&resource.definition())},
        },
        "x-kubernetes-group-version-kind": [{"group": resource.group, "version": resource.version, "kind": kind}],
    })
}

/// What an operation does and carries.
struct Operation {
    method: &'static str,
    action: &'static str,
    parameters: &'static [&'static str],
    body: bool,
}

const LIST: Operation = Operation { method: "get", action: "list", parameters: &["pretty"], body: false };
const GET: Operation = Operation { method: "get", action: "get", parameters: &["pretty"], body: false };
const CREATE: Operation = Operation {
    method: "post",
    action: "post",
    parameters: &["dryRun", "fieldManager", "fieldValidation", "pretty"],
    body: true,
};
const REPLACE: Operation = Operation {
    method: "put",
    action: "put",
    parameters: &["dryRun", "fieldManager", "fieldValidation", "pretty"],
    body: true,
};
const PATCH: Operation = Operation {
    method: "patch",
    action: "patch",
    parameters: &["dryRun", "fieldManager", "fieldValidation", "force", "pretty"],
    body: true,
};
const DELETE: Operation =
    Operation { method: "delete", action: "delete", parameters: &["dryRun", "pretty"], body: false };
const DELETE_ALL: Operation = Operation {
    method: "delete",
    action: "deletecollection",
    parameters: &["dryRun", "pretty"],
    body: false,
};

fn add_paths(paths: &mut Map<String, Value>, resource: &Resource<'_>) {
    let (base, plural) = (resource.base(), resource.plural);
    let list = format!("{}List", resource.definition());
    let name = resource.definition();
    let collection = if resource.namespaced {
        format!("{base}/namespaces/{{namespace}}/{plural}")
    } else {
        format!("{base}/{plural}")
    };
    if resource.namespaced {
        paths.insert(format!("{base}/{plural}"), path(resource, &[], &list, &[LIST]));
    }
    let within: &[&str] = if resource.namespaced { &["namespace"] } else { &[] };
    let named: &[&str] = if resource.namespaced { &["namespace", "name"] } else { &["name"] };
    let mut of_all = path(resource, within, &name, &[CREATE, DELETE_ALL]);
    of_all["get"] = operation(resource, &list, &LIST);
    paths.insert(collection.clone(), of_all);
    let one = format!("{collection}/{{name}}");
    paths.insert(one.clone(), path(resource, named, &name, &[GET, REPLACE, PATCH, DELETE]));
    if resource.status {
        paths.insert(format!("{one}/status"), path(resource, named, &name, &[GET, REPLACE, PATCH]));
    }
    if resource.scale {
        let scale = Resource { group: "autoscaling", version: "v1", kind: "Scale", ..resource.clone() };
        let scale_path = path(&scale, named, "io.k8s.api.autoscaling.v1.Scale", &[GET, REPLACE, PATCH]);
        paths.insert(format!("{one}/scale"), scale_path);
    }
}

fn path(resource: &Resource<'_>, variables: &[&str], schema: &str, operations: &[Operation]) -> Value {
    let mut out: Map<String, Value> =
        operations.iter().map(|one| (one.method.to_owned(), operation(resource, schema, one))).collect();
    if !variables.is_empty() {
        let variable = |name: &&str| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}});
        out.insert("parameters".to_owned(), variables.iter().map(variable).collect());
    }
    Value::Object(out)
}

fn operation(resource: &Resource<'_>, schema: &str, operation: &Operation) -> Value {
    let parameters: Vec<Value> = PARAMETERS
        .iter()
        .filter(|(name, ..)| operation.parameters.contains(name))
        .map(|(name, kind, description)| {
            json!({"name": name, "in": "query", "description": description, "schema": {"type": kind, "uniqueItems": true}})
        })
        .collect();
    let result = if operation.method == "delete" { format!("{META}Status") } else { schema.to_owned() };
    let mut out = json!({
        "tags": [if resource.group.is_empty() { "core".to_owned() } else { resource.group.replace('.', "_") }],
        "parameters": parameters,
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": reference(&result)}}}},
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": resource.gvk(),
    });
    if operation.body {
        let content = if operation.method == "patch" {
            let patch = json!({"schema": reference(&format!("{META}Patch"))});
            json!({
                "application/apply-patch+yaml": patch,
                "application/json-patch+json": patch,
                "application/merge-patch+json": patch,
            })
        } else {
            json!({"application/json": {"schema": reference(schema)}})
        };
        out["requestBody"] = json!({"required": true, "content": content});
    }
    out
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn texts(description: &str) -> Value {
    json!({"type": "object", "description": description, "additionalProperties": {"type": "string"}})
}

fn integer(description: &str) -> Value {
    json!({"type": "integer", "format": "int64", "description": description})
}

/// The types of `meta/v1` that others refer to.
fn meta_schemas() -> Map<String, Value> {
    let schemas = [
        ("FieldsV1", json!({"type": "object", "description": "A set of fields."})),
        ("ListMeta", list_meta()),
        ("ManagedFieldsEntry", managed_fields_entry()),
        ("ObjectMeta", object_meta()),
        ("OwnerReference", owner_reference()),
        ("Patch", json!({"type": "object", "description": "A patch."})),
        ("Status", status()),
        ("Time", json!({"type": "string", "format": "date-time", "description": "A time, RFC 3339."})),
    ];
    let mut out: Map<String, Value> =
        schemas.into_iter().map(|(name, schema)| (format!("{META}{name}"), schema)).collect();
    out.insert("io.k8s.api.autoscaling.v1.Scale".to_owned(), scale());
    out
}

fn object_meta() -> Value {
    let owners = json!({"type": "array", "description": "Objects this one depends on; it is deleted when all are gone.",
        "items": reference(&format!("{META}OwnerReference")),
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"],
        "x-kubernetes-patch-merge-key": "uid", "x-kubernetes-patch-strategy": "merge"});
    json!({"type": "object", "description": "Metadata that all stored objects have.", "properties": {
        "annotations": texts("Unstructured data that tools keep with the object."),
        "creationTimestamp": meta("Time", "When the object was created; set by the server."),
        "deletionGracePeriodSeconds": integer("Seconds the object has to end gracefully."),
        "deletionTimestamp": meta("Time", "When deletion was asked for; set by the server."),
        "finalizers": {"type": "array", "description": "What must be done before the object goes.", "items": {"type": "string"},
            "x-kubernetes-list-type": "set", "x-kubernetes-patch-strategy": "merge"},
        "generateName": text("Prefix the server makes a unique name from."),
        "generation": integer("Number of the desired state; set by the server."),
        "labels": texts("Keys and values that objects are selected by."),
        "managedFields": {"type": "array", "description": "Who owns which field.",
            "items": reference(&format!("{META}ManagedFieldsEntry")), "x-kubernetes-list-type": "atomic"},
        "name": text("Name, unique within a namespace."),
        "namespace": text("Space within which the name is unique."),
        "ownerReferences": owners,
        "resourceVersion": text("Version of the stored object, opaque."),
        "selfLink": text("No longer set."),
        "uid": text("Identity in time and space; set by the server."),
    }})
}

fn list_meta() -> Value {
    json!({"type": "object", "description": "Metadata of lists.", "properties": {
        "continue": text("Token for the next page."),
        "remainingItemCount": integer("Items left after this page."),
        "resourceVersion": text("Version of the list."),
        "selfLink": text("No longer set."),
    }})
}

fn owner_reference() -> Value {
    json!({"type": "object", "description": "An object that owns another.", "x-kubernetes-map-type": "atomic",
        "required": ["apiVersion", "kind", "name", "uid"], "properties": {
        "apiVersion": text("Version of the owner."),
        "blockOwnerDeletion": {"type": "boolean", "description": "Foreground deletion of the owner waits for this object."},
        "controller": {"type": "boolean", "description": "The owner manages this object."},
        "kind": text("Kind of the owner."),
        "name": text("Name of the owner."),
        "uid": text("Identity of the owner."),
    }})
}

fn managed_fields_entry() -> Value {
    json!({"type": "object", "description": "A manager and its fields.", "properties": {
        "apiVersion": text("Version the fields are of."),
        "fieldsType": text("`FieldsV1`."),
        "fieldsV1": meta("FieldsV1", "The fields."),
        "manager": text("Name of the manager."),
        "operation": text("Apply or Update."),
        "subresource": text("Subresource written through."),
        "time": meta("Time", "When the fields last changed."),
    }})
}

fn status() -> Value {
    json!({"type": "object", "description": "Outcome of a request.", "properties": {
        "apiVersion": text("`v1`."),
        "code": {"type": "integer", "format": "int32", "description": "HTTP status."},
        "details": {"type": "object", "description": "More of it."},
        "kind": text("`Status`."),
        "message": text("What happened, for people."),
        "metadata": meta("ListMeta", "Standard list metadata."),
        "reason": text("What happened, for programs."),
        "status": text("Success or Failure."),
    }, "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Status"}]})
}

fn scale() -> Value {
    let replicas = json!({"type": "integer", "format": "int32", "description": "Number of replicas."});
    json!({"type": "object", "description": "Replicas of a scalable object.", "properties": {
        "apiVersion": text("`autoscaling/v1`."),
        "kind": text("`Scale`."),
        "metadata": meta("ObjectMeta", "Standard object's metadata."),
        "spec": {"type": "object", "properties": {"replicas": replicas}},
        "status": {"type": "object", "properties": {"replicas": replicas, "selector": text("Selects the replicas.")}},
    }, "x-kubernetes-group-version-kind": [{"group": "autoscaling", "version": "v1", "kind": "Scale"}]})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machines(schema: &Value) -> Resource<'_> {
        Resource {
            group: "cluster.x-k8s.io",
            version: "v1beta2",
            kind: "Machine",
            plural: "machines",
            namespaced: true,
            schema,
            status: true,
            scale: true,
        }
    }

    #[test]
    fn paths_of_a_namespaced_kind() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object"}}});
        let document = document("v1.35.0", &[machines(&schema)]);
        let paths: Vec<(String, String)> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(path, item)| {
                let actions = item
                    .as_object()
                    .unwrap()
                    .values()
                    .filter_map(|operation| operation.get("x-kubernetes-action")?.as_str());
                (path.replace("/apis/cluster.x-k8s.io/v1beta2", ""), actions.collect::<Vec<_>>().join(" "))
            })
            .collect();
        let expected = [
            ("/machines", "list"),
            ("/namespaces/{namespace}/machines", "deletecollection list post"),
            ("/namespaces/{namespace}/machines/{name}", "delete get patch put"),
            ("/namespaces/{namespace}/machines/{name}/scale", "get patch put"),
            ("/namespaces/{namespace}/machines/{name}/status", "get patch put"),
        ];
        assert_eq!(paths, expected.map(|(path, actions)| (path.to_owned(), actions.to_owned())));
    }

    #[test]
    fn patches_say_what_kubectl_looks_for() {
        let schema = json!({"type": "object"});
        let document = document("v1.35.0", &[machines(&schema)]);
        let patch = &document["paths"]["/apis/cluster.x-k8s.io/v1beta2/namespaces/{namespace}/machines/{name}"]
            ["patch"];
        assert_eq!(
            patch["x-kubernetes-group-version-kind"],
            json!({"group": "cluster.x-k8s.io", "version": "v1beta2", "kind": "Machine"})
        );
        let names: Vec<&str> = patch["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force", "pretty"]);
    }

    #[test]
    fn all_references_resolve() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "template": {"type": "object", "x-kubernetes-embedded-resource": true}}}}});
        let document = document(
            "v1.35.0",
            &[
                machines(&schema),
                Resource {
                    group: "",
                    kind: "Node",
                    plural: "nodes",
                    version: "v1",
                    namespaced: false,
                    ..machines(&schema)
                },
            ],
        );
        let text = document.to_string();
        let names: Vec<&str> =
            text.split("#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert!(names.len() > 20);
        for name in names {
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
        let machine = &document["components"]["schemas"]["io.x-k8s.cluster.v1beta2.Machine"];
        assert_eq!(machine["x-kubernetes-group-version-kind"][0]["kind"], "Machine");
        assert!(
            machine["properties"]["spec"]["properties"]["template"]["properties"]["metadata"]["allOf"]
                .is_array()
        );
    }
}
