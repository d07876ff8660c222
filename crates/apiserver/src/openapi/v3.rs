//! Documents of version 3: one of each API version.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::discovery::subresources;
use crate::kinds::{Kind, Subresource, Version};
use crate::negotiate::{JSON, PROTOBUF, YAML};

/// Where schemas are in a document.
pub const SCHEMAS: &str = "#/components/schemas/";
/// Types of `meta/v1`.
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
/// `autoscaling/v1` Scale.
const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";

/// Schemas by short name, as `data/builtin-schemas.json` has them.
pub type Definitions = BTreeMap<String, Value>;

/// The document of the kinds served at one API version.
pub fn document(served: &[(&Kind, &Version)], definitions: &Definitions) -> Value {
    let builtin = served.iter().any(|(kind, _)| kind.builtin);
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for (kind, version) in served {
        let api = Api { kind, version };
        schemas.insert(api.name(), api.schema(definitions));
        if !kind.hook.is_virtual() {
            schemas.insert(format!("{}List", api.name()), api.list_schema());
        }
        paths.extend(api.paths());
    }
    close(&mut schemas, &paths, definitions);
    let info = if builtin {
        json!({"title": "Kubernetes", "version": "unversioned"})
    } else {
        json!({"title": "Kubernetes CRD Swagger", "version": "v0.1.0"})
    };
    let mut components = json!({"schemas": schemas});
    let mut document = json!({"openapi": "3.0.0", "info": info, "paths": paths});
    if builtin {
        components["securitySchemes"] = json!({"BearerToken": {
            "type": "apiKey", "name": "authorization", "in": "header",
            "description": "Bearer token of a user.",
        }});
        document["security"] = json!([{"BearerToken": []}]);
    }
    document["components"] = components;
    document
}

/// Adds every schema that is referred to.
fn close(schemas: &mut Map<String, Value>, paths: &Map<String, Value>, definitions: &Definitions) {
    let mut wanted = BTreeSet::new();
    paths.values().for_each(|item| references(item, &mut wanted));
    schemas.values().for_each(|schema| references(schema, &mut wanted));
    while let Some(name) = wanted.pop_first() {
        if schemas.contains_key(&name) {
            continue;
        }
        let short = name.strip_prefix("io.k8s.").unwrap_or(&name);
        let schema = match definitions.get(short) {
            Some(schema) => linked(schema, false),
            None => plain(short),
        };
        references(&schema, &mut wanted);
        schemas.insert(name, schema);
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                match inner.as_str().filter(|_| key == "$ref").and_then(|text| text.strip_prefix(SCHEMAS)) {
                    Some(name) => {
                        found.insert(name.to_owned());
                    }
                    None => references(inner, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A compiled-in schema with its references as documents write them: beside
/// other members they stand in an `allOf`.
fn linked(schema: &Value, property: bool) -> Value {
    let Some(map) = schema.as_object() else { return schema.clone() };
    let mut out = Map::new();
    for (key, value) in map {
        let value = match key.as_str() {
            // What our own decoding knows beyond the schema.
            "$ref" | "x-go" => continue,
            "properties" => value
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, schema)| (name.clone(), linked(schema, true)))
                .collect::<Map<_, _>>()
                .into(),
            "items" | "additionalProperties" => linked(value, false),
            _ => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    if let Some(name) = map.get("$ref").and_then(Value::as_str) {
        let link = reference(&format!("io.k8s.{name}"));
        if out.is_empty() && !property {
            return link;
        }
        out.insert("allOf".to_owned(), json!([link]));
    }
    Value::Object(out)
}

/// Schemas of what surrounds objects: lists, answers, patches.
fn plain(name: &str) -> Value {
    let text = json!({"type": "string"});
    let integer = |format: &str| json!({"type": "integer", "format": format});
    let properties = match name.rsplit('.').next().unwrap_or_default() {
        "ListMeta" => json!({
            "continue": text, "remainingItemCount": integer("int64"), "resourceVersion": text, "selfLink": text,
        }),
        "Status" => json!({
            "apiVersion": text, "kind": text, "status": text, "message": text, "reason": text,
            "code": integer("int32"), "metadata": meta("ListMeta"), "details": meta("StatusDetails"),
        }),
        "StatusDetails" => json!({
            "name": text, "group": text, "kind": text, "uid": text, "retryAfterSeconds": integer("int32"),
            "causes": {"type": "array", "items": reference(&format!("{META}StatusCause")),
                "x-kubernetes-list-type": "atomic"},
        }),
        "StatusCause" => json!({"field": text, "message": text, "reason": text}),
        "Scale" => json!({
            "apiVersion": text, "kind": text, "metadata": meta("ObjectMeta"),
            "spec": {"allOf": [reference(&format!("{SCALE}Spec"))]},
            "status": {"allOf": [reference(&format!("{SCALE}Status"))]},
        }),
        "ScaleSpec" => json!({"replicas": integer("int32")}),
        "ScaleStatus" => json!({"replicas": integer("int32"), "selector": text}),
        _ => return json!({"type": "object"}),
    };
    json!({"type": "object", "properties": properties})
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("{SCHEMAS}{name}")})
}

fn meta(name: &str) -> Value {
    json!({"allOf": [reference(&format!("{META}{name}"))]})
}

/// One kind at one version.
struct Api<'a> {
    kind: &'a Kind,
    version: &'a Version,
}

impl Api<'_> {
    /// The name of its schema.
    fn name(&self) -> String {
        match self.version.definition() {
            Some("CustomResourceDefinition") => {
                "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition".to_owned()
            }
            Some(name) => format!("io.k8s.{name}"),
            None => {
                let group: Vec<&str> = self.kind.group.rsplit('.').collect();
                format!("{}.{}.{}", group.join("."), self.version.name, self.kind.kind)
            }
        }
    }

    fn of(&self, kind: &str) -> Value {
        json!({"group": self.kind.group, "version": self.version.name, "kind": kind})
    }

    fn schema(&self, definitions: &Definitions) -> Value {
        let known = self.version.definition().and_then(|name| definitions.get(name));
        let mut schema = if let Some(schema) = known {
            linked(schema, false)
        } else {
            let mut schema = (*self.version.document()).clone();
            embed(&mut schema, true);
            schema
        };
        schema["x-kubernetes-group-version-kind"] = json!([self.of(&self.kind.kind)]);
        if !self.kind.builtin && !self.version.fields.is_empty() {
            let fields = self.version.fields.iter().map(|field| json!({"fieldPath": field.label}));
            schema["x-kubernetes-selectable-fields"] = fields.collect();
        }
        schema
    }

    fn list_schema(&self) -> Value {
        let described = |mut schema: Value, text: &str| {
            schema["description"] = json!(text);
            schema
        };
        let mut item = reference(&self.name());
        let mut metadata = described(meta("ListMeta"), "Metadata of the list.");
        if self.kind.builtin {
            item = json!({"allOf": [item], "default": {}});
            metadata["default"] = json!({});
        }
        json!({
            "type": "object", "required": ["items"],
            "description": format!("A list of {}.", self.kind.plural),
            "x-kubernetes-group-version-kind": [self.of(&self.kind.list_kind)],
            "properties": {
                "apiVersion": described(json!({"type": "string"}), "Group and version of the schema."),
                "kind": described(json!({"type": "string"}), "Kind of the list."),
                "items": {"type": "array", "items": item, "description": format!("The {}.", self.kind.plural)},
                "metadata": metadata,
            },
        })
    }

    fn root(&self) -> String {
        match self.kind.group.as_str() {
            "" => format!("/api/{}", self.version.name),
            group => format!("/apis/{group}/{}", self.version.name),
        }
    }

    fn paths(&self) -> Vec<(String, Value)> {
        let (kind, root) = (self.kind, self.root());
        let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
        let collection = format!("{root}{scope}/{}", kind.plural);
        let object = format!("{collection}/{{name}}");
        let verbs = |verb: &str| kind.verbs.contains(&verb);
        let mut items = Vec::new();
        let mut whole = Item::new(self, false);
        for (verb, method) in [("list", "get"), ("create", "post"), ("deletecollection", "delete")] {
            if verbs(verb) {
                whole.add(method, &self.operation(verb, None));
            }
        }
        items.push((collection, whole.value));
        let mut one = Item::new(self, true);
        for (verb, method) in [("get", "get"), ("update", "put"), ("patch", "patch"), ("delete", "delete")] {
            if verbs(verb) {
                one.add(method, &self.operation(verb, None));
            }
        }
        if verbs("get") {
            items.push((object.clone(), one.value));
        }
        if kind.namespaced && verbs("list") {
            items.push((format!("{root}/{}", kind.plural), self.all_namespaces()));
        }
        for sub in subresources(kind, self.version) {
            let mut item = Item::new(self, true);
            for (verb, method) in [("get", "get"), ("create", "post"), ("update", "put"), ("patch", "patch")]
            {
                if sub.verbs.contains(&verb) {
                    item.add(method, &self.operation(verb, Some(&sub)));
                }
            }
            items.push((format!("{object}/{}", sub.name), item.value));
        }
        items
    }

    /// The list of all namespaces: its options belong to the path.
    fn all_namespaces(&self) -> Value {
        let mut operation = self.operation("list", None);
        let kind = &self.kind.kind;
        operation["operationId"] = json!(format!("list{}{kind}ForAllNamespaces", self.camel()));
        if let Some(map) = operation.as_object_mut() {
            map.remove("parameters");
        }
        let mut names: Vec<(&str, &str)> = LIST.into();
        names.push(("pretty", "string"));
        names.sort_unstable();
        json!({"get": operation, "parameters": queries(&names)})
    }

    /// `AppsV1`, `MyGroupExampleDevV1`.
    fn camel(&self) -> String {
        let group = match self.kind.group.as_str() {
            "" => "core",
            group => group.strip_suffix(".k8s.io").unwrap_or(group),
        };
        let parts = group.split(['.', '-']).chain([self.version.name.as_str()]);
        parts.map(capitalised).collect()
    }

    fn operation(&self, verb: &str, sub: Option<&Subresource>) -> Value {
        let kind = &self.kind.kind;
        let (action, id) = match verb {
            "list" => ("list", "list"),
            "create" => ("post", "create"),
            "deletecollection" => ("deletecollection", "delete"),
            "get" => ("get", "read"),
            "update" => ("put", "replace"),
            other => (other, other),
        };
        let many = if verb == "deletecollection" { "Collection" } else { "" };
        let scope = if self.kind.namespaced { "Namespaced" } else { "" };
        let part = sub.map(|sub| capitalised(sub.name)).unwrap_or_default();
        let mut of = self.of(kind);
        let mut schema = self.name();
        if let Some(sub) = sub.filter(|sub| !sub.kind.is_empty()) {
            let (group, version) = sub.group_version;
            if self.kind.builtin {
                of = json!({"group": group, "version": version, "kind": sub.kind});
            }
            let package = if group.is_empty() { "core" } else { group.split('.').next().unwrap_or_default() };
            schema = format!("io.k8s.api.{package}.{version}.{}", sub.kind);
        }
        let tag = self.camel();
        let mut operation = json!({
            "description": format!("{verb} {}", self.kind.plural),
            "operationId": format!("{id}{tag}{many}{scope}{kind}{part}"),
            "tags": [self.tag()],
            "parameters": queries(self.parameters(verb)),
            "responses": self.responses(verb, &schema),
            "x-kubernetes-action": action, "x-kubernetes-group-version-kind": of,
        });
        if let Some(body) = self.body(verb, &schema) {
            operation["requestBody"] = body;
        }
        operation
    }

    /// `apps_v1`
    fn tag(&self) -> String {
        let camel = self.camel();
        let version = capitalised(&self.version.name);
        let group = camel.strip_suffix(&version).unwrap_or(&camel);
        let mut chars = group.chars();
        let first = chars.next().map(|first| first.to_ascii_lowercase());
        format!("{}{}_{}", first.into_iter().collect::<String>(), chars.as_str(), self.version.name)
    }

    fn parameters(&self, verb: &str) -> &'static [(&'static str, &'static str)] {
        match verb {
            "list" | "deletecollection" => &LIST,
            "create" | "update" => &WRITE,
            "patch" => &PATCH,
            "delete" => &DELETE,
            "get" if !self.kind.builtin => &[("resourceVersion", "string")],
            _ => &[],
        }
    }

    fn responses(&self, verb: &str, schema: &str) -> Value {
        let answer = match verb {
            "list" => format!("{schema}List"),
            "delete" | "deletecollection" => format!("{META}Status"),
            _ => schema.to_owned(),
        };
        let mut content = Map::new();
        let mut add = |media: &str| content.insert(media.to_owned(), json!({"schema": reference(&answer)}));
        add(JSON);
        add(YAML);
        if self.kind.builtin {
            add(PROTOBUF);
            if verb == "list" {
                add("application/json;stream=watch");
                add("application/vnd.kubernetes.protobuf;stream=watch");
            }
        }
        let codes: &[(&str, &str)] = match verb {
            "create" => &[("200", "OK"), ("201", "Created"), ("202", "Accepted")],
            "update" => &[("200", "OK"), ("201", "Created")],
            "patch" if self.kind.builtin => &[("200", "OK"), ("201", "Created")],
            "delete" => &[("200", "OK"), ("202", "Accepted")],
            _ => &[("200", "OK")],
        };
        let mut responses: Map<String, Value> = codes
            .iter()
            .map(|(code, text)| ((*code).to_owned(), json!({"description": text, "content": content})))
            .collect();
        responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
        Value::Object(responses)
    }

    fn body(&self, verb: &str, schema: &str) -> Option<Value> {
        let (media, schema): (&[&str], _) = match verb {
            "create" | "update" => (&[JSON, YAML], schema.to_owned()),
            "delete" => (&[JSON, YAML], format!("{META}DeleteOptions")),
            "deletecollection" if self.kind.builtin => (&[JSON, YAML], format!("{META}DeleteOptions")),
            "patch" if self.kind.builtin => (&PATCHES, format!("{META}Patch")),
            "patch" => (&PATCHES[..3], format!("{META}Patch")),
            _ => return None,
        };
        let media = if self.kind.builtin && verb != "patch" { &["*/*"] } else { media };
        let content: Map<String, Value> =
            media.iter().map(|media| ((*media).to_owned(), json!({"schema": reference(&schema)}))).collect();
        let mut body = json!({"content": content});
        if !verb.starts_with("delete") {
            body["required"] = json!(true);
        }
        Some(body)
    }
}

const PATCHES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
const LIST: [(&str, &str); 10] = [
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const WRITE: [(&str, &str); 3] =
    [("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const PATCH: [(&str, &str); 4] =
    [("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];
const DELETE: [(&str, &str); 5] = [
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

fn queries(names: &[(&str, &str)]) -> Value {
    names.iter().map(|(name, kind)| parameter(name, "query", kind)).collect()
}

fn parameter(name: &str, place: &str, kind: &str) -> Value {
    let schema = json!({"type": kind, "uniqueItems": true});
    json!({"name": name, "in": place, "schema": schema, "description": format!("The option {name}.")})
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars.as_str().chars()).collect()
}

/// One path under construction.
struct Item {
    value: Value,
}

impl Item {
    fn new(api: &Api<'_>, named: bool) -> Self {
        let mut parameters = Vec::new();
        for (name, there) in [("name", named), ("namespace", api.kind.namespaced)] {
            if there {
                let mut path = parameter(name, "path", "string");
                path["required"] = json!(true);
                parameters.push(path);
            }
        }
        parameters.push(parameter("pretty", "query", "string"));
        Self { value: json!({"parameters": parameters}) }
    }

    fn add(&mut self, method: &str, operation: &Value) {
        self.value[method] = operation.clone();
    }
}

/// What every custom object has, and every object embedded in one.
fn embed(schema: &mut Value, root: bool) {
    let Some(map) = schema.as_object_mut() else { return };
    let is = |key: &str| map.get(key).and_then(Value::as_bool).unwrap_or(false);
    if is("x-kubernetes-int-or-string") && !map.contains_key("anyOf") && !map.contains_key("allOf") {
        map.insert("anyOf".to_owned(), json!([{"type": "integer"}, {"type": "string"}]));
    } else if root || is("x-kubernetes-embedded-resource") {
        map.entry("type").or_insert_with(|| json!("object"));
        let properties = map.entry("properties").or_insert_with(|| json!({}));
        for (name, text) in
            [("apiVersion", "Group and version of the schema."), ("kind", "Kind of the object.")]
        {
            properties[name] = json!({"type": "string", "description": text});
        }
        properties["metadata"] = meta("ObjectMeta");
        properties["metadata"]["description"] = json!("What every object has.");
    }
    if let Some(properties) = map.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(|property| embed(property, false));
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(key) {
            embed(inner, false);
        }
    }
}
