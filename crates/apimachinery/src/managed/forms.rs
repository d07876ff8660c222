//! The versions of a custom kind: owners are compared with objects in their own version.
//!
//! Converting is not for this crate: what is missing is noted, the caller converts it and tries again.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::compare::{self, Delta};
use crate::schema::Schema;
use crate::schema::node::Node;

/// The versions of a custom kind, with its objects in them as far as they are known.
#[derive(Debug, Default)]
pub struct Forms {
    schemas: BTreeMap<String, Arc<Schema>>,
    known: Vec<Converted>,
    wanted: RefCell<Vec<Wanted>>,
}

/// An object, and the version in which it is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The object, in the version it says.
    pub object: Value,
    /// The `group/version` it is wanted in.
    pub version: String,
}

#[derive(Debug)]
struct Converted {
    of: Wanted,
    object: Value,
}

/// An object is not known in a version; it has been noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unknown;

impl Forms {
    /// The versions of a kind, as `group/version`, with their schemas.
    pub fn new(schemas: impl IntoIterator<Item = (String, Arc<Schema>)>) -> Self {
        Self { schemas: schemas.into_iter().collect(), ..Self::default() }
    }

    /// Whether there is but one version: nothing will be wanted.
    pub fn is_single(&self) -> bool {
        self.schemas.len() < 2
    }

    /// Takes what has to be converted before another attempt. Nothing after an attempt that was whole.
    pub fn wanted(&self) -> Vec<Wanted> {
        self.wanted.take()
    }

    /// Tells an object in another version; of its fields those count that the version has.
    pub fn know(&mut self, wanted: Wanted, mut object: Value) {
        if let Some(schema) = self.schemas.get(&wanted.version) {
            schema.prune(&mut object);
        }
        self.known.push(Converted { of: wanted, object });
    }

    pub(super) fn knows(&self, version: &str) -> bool {
        self.schemas.contains_key(version)
    }

    fn root(&self, version: &str) -> Option<&Node> {
        self.schemas.get(version).map(|schema| &schema.root)
    }

    fn get<'a>(&'a self, object: &'a Value, version: &str) -> Result<Cow<'a, Value>, Unknown> {
        if object.get("apiVersion").and_then(Value::as_str) == Some(version) {
            return Ok(Cow::Borrowed(object));
        }
        let known = self.known.iter().find(|known| known.of.version == version && known.of.object == *object);
        if let Some(known) = known {
            return Ok(Cow::Borrowed(&known.object));
        }
        let wanted = Wanted { object: object.clone(), version: version.to_owned() };
        let mut all = self.wanted.borrow_mut();
        if !all.contains(&wanted) {
            all.push(wanted);
        }
        Err(Unknown)
    }
}

/// The version of a request, with the others where there are any.
#[derive(Clone, Copy)]
pub(super) struct Views<'a> {
    /// The version of the request.
    pub(super) version: &'a str,
    /// Its schema.
    pub(super) root: &'a Node,
    pub(super) forms: Option<&'a Forms>,
}

impl<'a> Views<'a> {
    /// The schema of a version; that of the request where nothing else is known.
    pub(super) fn root(&self, version: &str) -> &'a Node {
        let other = (version != self.version).then(|| self.forms?.root(version)).flatten();
        other.unwrap_or(self.root)
    }

    /// An object in a version.
    pub(super) fn get<'b>(&'b self, object: &'b Value, version: &str) -> Result<Cow<'b, Value>, Unknown> {
        self.forms.map_or(Ok(Cow::Borrowed(object)), |forms| forms.get(object, version))
    }

    /// What changed between two objects, in a version.
    pub(super) fn delta(&self, old: &Value, new: &Value, version: &str) -> Result<Delta, Unknown> {
        // Both are asked for before either is missed.
        let (old, new) = (self.get(old, version), self.get(new, version));
        Ok(compare::objects(self.root(version), &*old?, &*new?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ApplyError, Versions, Writer, apply, update};
    use super::*;
    use serde_json::json;

    const NAMES: [(&str, &str); 2] = [("x.io/v1", "size"), ("x.io/v2", "length")];

    /// A number that versions call by different names, beside a text that they do not.
    fn schemas() -> BTreeMap<String, Arc<Schema>> {
        let schema = |name: &str| {
            Schema::compile(
                &json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
                    name: {"type": "integer"}, "text": {"type": "string"},
                }}}}),
            )
        };
        NAMES.map(|(version, name)| (version.to_owned(), Arc::new(schema(name).unwrap()))).into()
    }

    fn renamed(wanted: &Wanted) -> Value {
        let mut object = wanted.object.clone();
        object["apiVersion"] = json!(wanted.version);
        let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return object };
        let value = NAMES.iter().find_map(|(_, name)| spec.remove(*name));
        let name = NAMES.iter().find(|(version, _)| *version == wanted.version).unwrap().1;
        spec.extend(value.map(|value| (name.to_owned(), value)));
        object
    }

    /// Tries until nothing is missing any more, as callers do.
    fn until_known<T>(manager: &str, version: &str, mut attempt: impl FnMut(&Writer<'_>, &Schema) -> T) -> T {
        let schemas = schemas();
        let mut forms = Forms::new(schemas.clone());
        for _ in 0..10 {
            let now = "2026-01-01T00:00:00Z";
            let versions = Versions::Custom(&forms);
            let writer = Writer { manager, api_version: version, subresource: "", now, reset: &[], versions };
            let done = attempt(&writer, &schemas[version]);
            let wanted = forms.wanted();
            if wanted.is_empty() {
                return done;
            }
            for wanted in wanted {
                let object = renamed(&wanted);
                forms.know(wanted, object);
            }
        }
        panic!("there is always something missing");
    }

    fn object(version: &str, spec: &Value) -> Value {
        json!({"apiVersion": version, "kind": "X", "metadata": {"name": "x"}, "spec": spec})
    }

    fn applied(manager: &str, live: Option<&Value>, config: &Value) -> Result<Value, ApplyError> {
        let version = config["apiVersion"].as_str().unwrap();
        let live = live.map(|live| renamed(&Wanted { object: live.clone(), version: version.to_owned() }));
        until_known(manager, version, |writer, schema| apply(writer, schema, live.as_ref(), config, false))
    }

    /// The owners of the number, as `manager field`.
    fn owners(object: &Value) -> Vec<String> {
        let list = object["metadata"]["managedFields"].as_array().unwrap();
        let owned = |entry: &Value| {
            let fields = entry["fieldsV1"]["f:spec"].as_object()?;
            let name = NAMES.iter().find(|(_, name)| fields.contains_key(&format!("f:{name}")))?.1;
            Some(format!("{} {name}", entry["manager"].as_str()?))
        };
        list.iter().filter_map(owned).collect()
    }

    #[test]
    fn owners_are_compared_in_their_own_version() {
        let live = applied("one", None, &object("x.io/v1", &json!({"size": 1, "text": "a"}))).unwrap();
        let shared = applied("two", Some(&live), &object("x.io/v2", &json!({"length": 1}))).unwrap();
        assert_eq!(owners(&shared), ["two length", "one size"]);
        let refused = applied("two", Some(&shared), &object("x.io/v2", &json!({"length": 2}))).unwrap_err();
        assert_eq!(refused.to_string(), "Apply failed with 1 conflict: conflict with \"one\": .spec.size");
        // What another manager owns under another name stays.
        let left = applied("two", Some(&shared), &object("x.io/v2", &json!({}))).unwrap();
        assert_eq!((&left["spec"]["length"], owners(&left)), (&json!(1), vec!["one size".to_owned()]));
        // What a manager applied under another name and no longer does goes.
        let gone = applied("one", Some(&left), &object("x.io/v2", &json!({"text": "a"}))).unwrap();
        assert_eq!(gone["spec"], json!({"text": "a"}));
    }

    #[test]
    fn an_update_takes_a_field_from_its_owner_in_another_version() {
        let live = applied("one", None, &object("x.io/v1", &json!({"size": 1, "text": "a"}))).unwrap();
        let live = renamed(&Wanted { object: live, version: "x.io/v2".to_owned() });
        let mut new = live.clone();
        new["spec"]["length"] = json!(2);
        let updated = until_known("three", "x.io/v2", |writer, schema| {
            let mut attempt = new.clone();
            update(writer, schema, Some(&live), &mut attempt);
            attempt
        });
        assert_eq!(owners(&updated), ["three length"]);
    }
}
