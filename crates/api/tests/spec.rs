//! Our CRDs against the field tables of upstream's (`spec/*.tsv`), line by line.
//!
//! The tables are read as they are; our definitions are flattened into the same notation. Differences must
//! stand in `spec/differences.txt`, each with its reason.

#![expect(clippy::unwrap_used, reason = "helpers of a test: a surprise ends it")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A CRD as a table: head lines (kind and columns, in order) and a line for each field, by path.
#[derive(Default)]
struct Table {
    head: Vec<String>,
    fields: BTreeMap<String, String>,
}

impl Table {
    fn read(text: &str) -> Self {
        let mut table = Self::default();
        for line in text.lines() {
            if line.starts_with('#') {
                table.head.push(line.to_owned());
            } else {
                let (path, rest) = line.split_once('\t').expect("a path and its type");
                table.fields.insert(path.to_owned(), rest.trim_end().to_owned());
            }
        }
        table
    }

    fn flatten(crd: &Value) -> Self {
        let version = &crd["spec"]["versions"][0];
        let mut table = Self { head: vec![head(crd)], fields: BTreeMap::new() };
        for column in version["additionalPrinterColumns"].as_array().into_iter().flatten() {
            table.head.push(format!(
                "# column name={} type={} path={} priority={}",
                column["name"].as_str().unwrap(),
                column["type"].as_str().unwrap(),
                column["jsonPath"].as_str().unwrap(),
                column["priority"].as_i64().unwrap_or(0),
            ));
        }
        table.members("", &version["schema"]["openAPIV3Schema"]);
        table
    }

    fn members(&mut self, path: &str, schema: &Value) {
        let required: BTreeSet<_> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            self.field(&format!("{path}.{name}"), member, required.contains(name.as_str()));
        }
        if schema["items"].is_object() {
            self.field(&format!("{path}[]"), &schema["items"], false);
        }
        if schema["additionalProperties"].is_object() {
            self.field(&format!("{path}{{}}"), &schema["additionalProperties"], false);
        }
    }

    fn field(&mut self, path: &str, schema: &Value, required: bool) {
        let presence = if required { "required" } else { "optional" };
        let line = format!("{}\t{presence}\t{}", type_name(schema), constraints(schema));
        self.fields.insert(path.to_owned(), line.trim_end().to_owned());
        self.members(path, schema);
    }
}

fn head(crd: &Value) -> String {
    let (names, version) = (&crd["spec"]["names"], &crd["spec"]["versions"][0]);
    let list = |member: &str| {
        let items = names[member].as_array().into_iter().flatten();
        items.map(|item| item.as_str().unwrap()).collect::<Vec<_>>().join(",")
    };
    let flag = |member: &str| if version[member] == Value::Bool(true) { "True" } else { "False" };
    let subresources = match &version["subresources"] {
        Value::Null => Value::Object(Map::new()),
        some => some.clone(),
    };
    format!(
        "# kind={} plural={} singular={} shortNames={} categories={} scope={} served={} storage={} deprecated={} \
         subresources={subresources}",
        names["kind"].as_str().unwrap(),
        names["plural"].as_str().unwrap(),
        names["singular"].as_str().unwrap(),
        list("shortNames"),
        list("categories"),
        crd["spec"]["scope"].as_str().unwrap(),
        flag("served"),
        flag("storage"),
        flag("deprecated"),
    )
}

fn type_name(schema: &Value) -> String {
    let base = if schema["x-kubernetes-int-or-string"] == Value::Bool(true) {
        "int-or-string"
    } else {
        schema["type"].as_str().unwrap_or("any")
    };
    let unknown =
        if schema["x-kubernetes-preserve-unknown-fields"] == Value::Bool(true) { "+unknown" } else { "" };
    format!("{base}{unknown}")
}

/// The constraints in the order of the tables.
fn constraints(schema: &Value) -> String {
    const KEYS: [(&str, &str); 17] = [
        ("enum", "enum"),
        ("default", "default"),
        ("format", "format"),
        ("minimum", "minimum"),
        ("maximum", "maximum"),
        ("exclusiveMinimum", "exclusiveMinimum"),
        ("exclusiveMaximum", "exclusiveMaximum"),
        ("multipleOf", "multipleOf"),
        ("minLength", "minLength"),
        ("maxLength", "maxLength"),
        ("minItems", "minItems"),
        ("maxItems", "maxItems"),
        ("minProperties", "minProperties"),
        ("maxProperties", "maxProperties"),
        ("pattern", "pattern"),
        ("nullable", "nullable"),
        ("uniqueItems", "uniqueItems"),
    ];
    const EXTENSIONS: [(&str, &str); 3] = [
        ("x-kubernetes-list-type", "list-type"),
        ("x-kubernetes-list-map-keys", "list-map-keys"),
        ("x-kubernetes-map-type", "map-type"),
    ];
    let mut text = String::new();
    for (key, shown) in KEYS.iter().chain(&EXTENSIONS) {
        if let Some(value) = schema.get(key) {
            write!(text, "{shown}={} ", number(value)).unwrap();
        }
    }
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        write!(text, "cel={} ", rule["rule"]).unwrap();
    }
    text
}

/// Bounds are floating point numbers in a CRD; the tables show whole ones.
fn number(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if number.fract() == 0.0 => format!("{number:.0}"),
        _ => value.to_string(),
    }
}

/// `file path: reason` lines of the file with the allowed differences.
fn allowed() -> BTreeMap<String, String> {
    let text = fs::read_to_string(folder("spec").join("differences.txt")).unwrap();
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (place, reason) = line.split_once(": ").expect("`table path: reason`");
            assert!(!reason.trim().is_empty(), "{place}: no reason");
            (place.to_owned(), reason.to_owned())
        })
        .collect()
}

#[test]
fn crds_are_those_of_the_tables() {
    let allowed = allowed();
    assert!(allowed.len() <= 20, "{} differences are allowed", allowed.len());
    let mut used = BTreeSet::new();
    let mut failures = String::new();
    let crds = windlass_api::crd::crds();
    let tables = fs::read_dir(folder("spec")).unwrap().filter(|file| {
        let name = file.as_ref().unwrap().file_name();
        Path::new(&name).extension().is_some_and(|extension| extension == "tsv")
    });
    assert_eq!(tables.count(), crds.len(), "one table for each kind");

    for crd in crds {
        let name = format!("{}_{}_v1beta2", crd.spec.group, crd.spec.names.plural);
        let theirs = Table::read(&fs::read_to_string(folder("spec").join(format!("{name}.tsv"))).unwrap());
        let ours = Table::flatten(&serde_json::to_value(&crd).unwrap());
        for difference in compare(&theirs, &ours) {
            let place = format!("{name} {}", difference.path);
            if allowed.contains_key(&place) && difference.may_be_allowed() {
                used.insert(place);
            } else {
                writeln!(
                    failures,
                    "{place}\n  table: {:?}\n  ours:  {:?}",
                    difference.theirs, difference.ours
                )
                .unwrap();
            }
        }
    }
    for place in allowed.keys().filter(|place| !used.contains(*place)) {
        writeln!(failures, "{place}: allowed, but there is no such difference").unwrap();
    }
    assert!(failures.is_empty(), "{failures}");
}

struct Difference {
    path: String,
    theirs: Option<String>,
    ours: Option<String>,
}

impl Difference {
    /// We may demand more than the table. A missing field or a missing constraint is a hole in the API,
    /// whatever the reason.
    fn may_be_allowed(&self) -> bool {
        let words = |line: &Option<String>| -> BTreeSet<String> {
            line.iter().flat_map(|line| line.split_whitespace().map(str::to_owned)).collect()
        };
        self.ours.is_some() && words(&self.ours).is_superset(&words(&self.theirs))
    }
}

fn compare(theirs: &Table, ours: &Table) -> Vec<Difference> {
    let paths: BTreeSet<_> = theirs.fields.keys().chain(ours.fields.keys()).collect();
    let fields = paths.into_iter().map(|path| Difference {
        path: path.clone(),
        theirs: theirs.fields.get(path).cloned(),
        ours: ours.fields.get(path).cloned(),
    });
    let head = (0..theirs.head.len().max(ours.head.len())).map(|line| Difference {
        path: format!("#{line}"),
        theirs: theirs.head.get(line).cloned(),
        ours: ours.head.get(line).cloned(),
    });
    fields.chain(head).filter(|difference| difference.theirs != difference.ours).collect()
}

#[test]
fn every_field_is_described() {
    fn undescribed(path: &str, schema: &Value, found: &mut Vec<String>) {
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if member["description"].as_str().is_none_or(str::is_empty) {
                found.push(path.clone());
            }
            undescribed(&path, member, found);
        }
        for inner in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get(inner) {
                undescribed(path, inner, found);
            }
        }
    }
    for crd in windlass_api::crd::crds() {
        let crd = serde_json::to_value(&crd).unwrap();
        let mut found = Vec::new();
        undescribed("", &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &mut found);
        assert!(found.is_empty(), "{}: {found:?}", crd["metadata"]["name"]);
    }
}

#[test]
fn committed_crds_are_up_to_date() {
    let files = windlass_api::crd::crd_yaml().unwrap();
    for (name, text) in &files {
        let path = folder("crds").join(name);
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == *text, "{} is out of date: run `cargo xtask gen`", path.display());
    }
    let committed = fs::read_dir(folder("crds")).unwrap().count();
    assert_eq!(committed, files.len(), "a file too many in crds/: run `cargo xtask gen`");
}
