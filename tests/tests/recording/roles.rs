//! Names with random parts become names of roles, so that two runs can be compared.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::upstream::name;

/// Objects by `Kind/name`.
pub type Named = BTreeMap<String, Value>;

/// Random parts of names, and what stands for them.
#[derive(Default)]
pub struct Roles(Vec<(String, String)>);

impl Roles {
    /// `objects` in the order of their creation.
    pub fn of<'a>(objects: impl Iterator<Item = &'a Value>) -> Self {
        let (mut roles, mut workers, mut control_planes) = (Vec::new(), 0, 0);
        for object in objects {
            let id = name(object);
            let Some((_, suffix)) = id.rsplit_once('-') else { continue };
            let labels = &object["metadata"]["labels"];
            let role = if id.starts_with("MachineSet/") {
                // Labels and selectors carry it: a hash and the random part.
                let hash = labels["machine-template-hash"].as_str().unwrap_or_default();
                roles.push((hash.to_owned(), "<hash>-<set>".to_owned()));
                "set".to_owned()
            } else if !id.starts_with("Machine/") {
                continue;
            } else if labels.get("cluster.x-k8s.io/control-plane").is_some() {
                control_planes += 1;
                format!("control-plane{control_planes}")
            } else {
                workers += 1;
                format!("worker{workers}")
            };
            roles.push((format!("-{suffix}"), format!("-<{role}>")));
        }
        Self(roles)
    }

    pub fn replace(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (suffix, role)| text.replace(suffix, role))
    }

    fn replace_in(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.replace(text)),
            Value::Array(items) => items.iter().map(|item| self.replace_in(item)).collect(),
            Value::Object(fields) => {
                fields.iter().map(|(key, value)| (key.clone(), self.replace_in(value))).collect()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }
}

/// The objects under the names of their roles.
pub fn named<'a>(objects: impl Iterator<Item = &'a Value> + Clone) -> Named {
    let roles = Roles::of(objects.clone());
    objects.map(|object| roles.replace_in(object)).map(|object| (name(&object), object)).collect()
}
