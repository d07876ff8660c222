//! What only the Go types say: which fields keep their zero value, which are
//! null when missing, what their types are called in error messages, and the
//! numbers of their fields in protobuf.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// A field of a Go struct, as JSON sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name in JSON; empty for the members of an embedded struct.
    pub json: String,
    /// Its type, as Go writes it.
    pub kind: String,
    omit_empty: bool,
    /// Its number in protobuf.
    pub tag: Option<u32>,
}

impl Field {
    /// Its name in JSON; of an embedded struct that of its type.
    pub fn name(&self) -> &str {
        if self.json.is_empty() { self.kind.rsplit('.').next().unwrap_or_default() } else { &self.json }
    }
}

/// The declarations of a package.
#[derive(Debug, Default)]
pub struct Package {
    pub structs: BTreeMap<String, Vec<Field>>,
    /// Types that are other types by another name: `type Phase string`.
    pub names: BTreeMap<String, String>,
    /// Imported packages, by what files call them.
    pub imports: BTreeMap<String, String>,
}

/// The Go packages of Kubernetes' modules, read at first use.
pub struct Source {
    /// Folder of the modules `k8s.io/…`.
    modules: PathBuf,
    /// Version of the modules, e.g. `v0.35.4`.
    version: String,
    /// By import path.
    packages: BTreeMap<String, Package>,
}

impl Source {
    pub fn new(modules: &Path, version: &str) -> Self {
        Self { modules: modules.to_path_buf(), version: version.to_owned(), packages: BTreeMap::new() }
    }

    /// Adds `x-go` to the properties of a definition.
    pub fn mark(&mut self, definition: &str, schema: &mut Value) -> Result<()> {
        let Some((package, name)) = definition.rsplit_once('.') else { return Ok(()) };
        if !schema["properties"].is_object() {
            return Ok(());
        }
        for (field, embedded) in self.fields(package, name)? {
            let Some(property) = schema["properties"].get_mut(&field.json) else { continue };
            annotate(property, &field, &embedded, package);
        }
        Ok(())
    }

    /// The fields of a struct with the embedded struct they come from.
    fn fields(&mut self, package: &str, name: &str) -> Result<Vec<(Field, String)>> {
        let structs = &self.package(&format!("k8s.io/{}", package.replace('.', "/")))?.structs;
        let mut fields = Vec::new();
        for field in structs.get(name).cloned().unwrap_or_default() {
            if field.json.is_empty() {
                let inner = field.kind.clone();
                let members = structs.get(&inner).cloned().unwrap_or_default();
                fields.extend(members.into_iter().map(|member| (member, inner.clone())));
            } else {
                fields.push((field, String::new()));
            }
        }
        Ok(fields)
    }

    /// The declarations of the package with this import path.
    pub fn package(&mut self, path: &str) -> Result<&Package> {
        if !self.packages.contains_key(path) {
            let package = self.read(path)?;
            self.packages.insert(path.to_owned(), package);
        }
        Ok(&self.packages[path])
    }

    fn read(&self, path: &str) -> Result<Package> {
        let inside = path.strip_prefix("k8s.io/").and_then(|path| path.split_once('/'));
        let (module, rest) = inside.with_context(|| format!("{path} is no package of Kubernetes"))?;
        let folder = self.modules.join(format!("{module}@{}", self.version)).join(rest);
        let mut package = Package::default();
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_go = path.extension().is_some_and(|extension| extension == "go");
            if is_go && !name.contains("generated") && !name.ends_with("_test.go") {
                parse(&fs::read_to_string(&path)?, &mut package);
            }
        }
        Ok(package)
    }
}

/// Collects what a Go file declares; a struct goes from `type X struct {` to a lone `}`.
fn parse(text: &str, package: &mut Package) {
    let mut current: Option<(String, Vec<Field>)> = None;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (&mut current, words.as_slice()) {
            (None, ["type", name, "struct", "{"]) => current = Some(((*name).to_owned(), Vec::new())),
            (None, ["type", name, "struct{}"]) => {
                package.structs.insert((*name).to_owned(), Vec::new());
            }
            (None, ["type", name, kind]) => {
                package.names.insert((*name).to_owned(), (*kind).to_owned());
            }
            (None, ["import", words @ ..] | words) => package.imports.extend(import(words)),
            (Some(_), _) if line == "}" => package.structs.extend(current.take()),
            (Some((_, fields)), _) => fields.extend(field(line)),
        }
    }
}

/// What a file calls a package of Kubernetes, and its path.
fn import(words: &[&str]) -> Option<(String, String)> {
    let (alias, path) = match words {
        [path] => (None, path),
        [alias, path] => (Some(*alias), path),
        _ => return None,
    };
    let path = path.strip_prefix('"')?.strip_suffix('"')?;
    let name = alias.or_else(|| path.rsplit('/').next())?;
    path.starts_with("k8s.io/").then(|| (name.to_owned(), path.to_owned()))
}

fn field(line: &str) -> Option<Field> {
    let (declaration, tags) = line.split_once("`json:\"")?;
    if declaration.trim_start().starts_with("//") {
        return None;
    }
    let tag = tags.split('"').next()?;
    let (json, options) = tag.split_once(',').unwrap_or((tag, ""));
    let words: Vec<&str> = declaration.split_whitespace().collect();
    let kind = match words.as_slice() {
        [kind] | [_, kind] => *kind,
        _ => return None,
    };
    let number = tags.split_once("protobuf:\"").and_then(|(_, tag)| tag.split(',').nth(1)?.parse().ok());
    Some(Field {
        json: json.to_owned(),
        kind: kind.to_owned(),
        omit_empty: options.contains("omit"),
        tag: number,
    })
}

/// Notes on a property what the schema does not say.
fn annotate(property: &mut Value, field: &Field, embedded: &str, package: &str) {
    let mut go = Map::new();
    let bare = field.kind.trim_start_matches('*');
    let pointer = field.kind.starts_with('*');
    let time = matches!(bare, "metav1.Time" | "metav1.MicroTime" | "Time" | "MicroTime");
    let nothing = pointer || time || bare.starts_with("[]") || bare.starts_with("map[");
    if pointer {
        go.insert("pointer".to_owned(), json!(true));
    }
    // `omitempty` never leaves out a struct, and times are structs.
    if nothing && (!field.omit_empty || (time && !pointer && field.json != "creationTimestamp")) {
        go.insert("null".to_owned(), json!(true));
    }
    if !pointer && bare == "resource.Quantity" {
        property["default"] = json!("0");
    }
    if let Some(name) = named(bare, property, package) {
        go.insert("type".to_owned(), json!(name));
    }
    if !embedded.is_empty() {
        go.insert("in".to_owned(), json!(embedded));
    }
    if !go.is_empty() {
        property["x-go"] = Value::Object(go);
    }
}

/// The name of the type of a text, number or map that is not a plain one.
fn named(kind: &str, property: &Value, package: &str) -> Option<String> {
    let scalar = matches!(property["type"].as_str(), Some("string" | "integer" | "boolean" | "number"));
    let map = property["type"] == "object" && property["additionalProperties"].is_object();
    let plain = kind.starts_with("map[")
        || kind.starts_with('[')
        || matches!(kind, "string" | "bool" | "int32" | "int64" | "int" | "float64" | "uint16" | "byte");
    if plain || !(scalar || map) {
        return None;
    }
    let own = package.rsplit('.').next().unwrap_or_default();
    Some(match kind.split_once('.') {
        None => format!("{own}.{kind}"),
        Some(("metav1" | "corev1" | "v1", name)) => format!("v1.{name}"),
        Some((package, name)) => format!("{package}.{name}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structs_are_read() {
        let mut package = Package::default();
        let text = "type A struct {\n\t// words\n\tB *int32 `json:\"b,omitempty\" protobuf:\"varint,7,opt\"`\n\tC []string `json:\"c\"`\n\tInner `json:\",inline\"`\n}\n";
        parse(text, &mut package);
        let shown: Vec<String> = package.structs["A"]
            .iter()
            .map(|f| format!("{} {} {} {:?}", f.json, f.kind, f.omit_empty, f.tag))
            .collect();
        assert_eq!(shown, ["b *int32 true Some(7)", "c []string false None", " Inner false None"]);
    }

    #[test]
    fn what_the_schema_does_not_say_is_noted() {
        for (kind, omit_empty, schema, expected) in [
            ("*int32", true, json!({"type": "integer"}), json!({"pointer": true})),
            ("[]string", false, json!({"type": "array"}), json!({"null": true})),
            ("metav1.Time", true, json!({"$ref": "T"}), json!({"null": true})),
            ("DNSPolicy", true, json!({"type": "string"}), json!({"type": "v1.DNSPolicy"})),
            ("string", true, json!({"type": "string"}), Value::Null),
        ] {
            let mut property = schema;
            let field = Field { json: "x".to_owned(), kind: kind.to_owned(), omit_empty, tag: None };
            annotate(&mut property, &field, "", "api.core.v1");
            assert_eq!(property["x-go"], expected, "{kind}");
        }
    }
}
