//! Manifests: what `windlass generate cluster` prints, changed as a person would edit it.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// Objects in the order in which they are applied.
#[derive(Clone, Debug, Default)]
pub struct Manifest(pub Vec<Value>);

impl Manifest {
    /// Reads YAML of several documents.
    pub fn parse(yaml: &str) -> Result<Self> {
        let documents = yaml.split("\n---\n").filter(|text| !text.trim().is_empty());
        let parsed: Result<Vec<Value>, _> = documents.map(serde_saphyr::from_str).collect();
        parsed.map(Self).context("cannot read the manifest")
    }

    /// Changes the only object of a kind whose name ends so, as a JSON merge patch does (RFC 7386).
    pub fn change(mut self, kind: &str, name_ends: &str, patch: &Value) -> Result<Self> {
        let matches = |object: &&mut Value| {
            object["kind"] == kind && name(object).is_some_and(|n| n.ends_with(name_ends))
        };
        let mut found: Vec<_> = self.0.iter_mut().filter(matches).collect();
        match found.as_mut_slice() {
            [object] => merge(object, patch),
            [] => bail!("the manifest has no {kind} `*{name_ends}`"),
            _ => bail!("the manifest has several {kind} `*{name_ends}`"),
        }
        Ok(self)
    }

    /// One more object at the end.
    pub fn with(mut self, object: Value) -> Self {
        self.0.push(object);
        self
    }

    /// Only the objects of these kinds.
    pub fn only(mut self, kinds: &[&str]) -> Self {
        self.0.retain(|object| kinds.iter().any(|kind| object["kind"] == *kind));
        self
    }

    /// The same worker deployment once more under another name, with the templates it refers to.
    pub fn another_deployment(mut self, from: &str, to: &str) -> Result<Self> {
        let of_workers = |object: &&Value| name(object).is_some_and(|n| n.ends_with(from));
        let text = serde_json::to_string(&self.0.iter().filter(of_workers).collect::<Vec<_>>())?;
        let copies: Vec<Value> = serde_json::from_str(&text.replace(from, to))?;
        if copies.is_empty() {
            bail!("the manifest has no `*{from}`");
        }
        self.0.extend(copies);
        Ok(self)
    }

    /// As one object that kubectl takes.
    pub fn list(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "List", "items": self.0})
    }
}

/// The name of an object.
fn name(object: &Value) -> Option<&str> {
    object["metadata"]["name"].as_str()
}

/// JSON merge patch, RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (field, value) in fields {
        if let Value::Object(object) = target {
            if value.is_null() {
                object.remove(field);
            } else {
                merge(object.entry(field.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str =
        "# first\nkind: A\nmetadata: {name: c-md-0}\nspec: {x: 1, y: 2}\n---\nkind: B\nmetadata: {name: c}\n";

    #[test]
    fn objects_are_changed_by_kind_and_name() {
        let manifest = Manifest::parse(YAML).unwrap();
        let patch = json!({"spec": {"x": null, "z": [3]}});
        let changed = manifest.clone().change("A", "-md-0", &patch).unwrap();
        assert_eq!(changed.0[0]["spec"], json!({"y": 2, "z": [3]}));
        let error = manifest.clone().change("A", "-md-1", &patch).unwrap_err().to_string();
        assert_eq!(error, "the manifest has no A `*-md-1`");
        assert_eq!(manifest.only(&["B"]).list()["items"], json!([{"kind": "B", "metadata": {"name": "c"}}]));
    }

    #[test]
    fn deployments_are_copied_with_what_they_refer_to() {
        let manifest = Manifest::parse(YAML).unwrap().another_deployment("-md-0", "-md-1").unwrap();
        assert_eq!(manifest.0.len(), 3);
        assert_eq!(manifest.0[2]["metadata"]["name"], "c-md-1");
    }
}
