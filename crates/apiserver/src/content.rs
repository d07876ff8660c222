//! Checking the content of objects: schemas, rules of single kinds, and what
//! clients are only warned of.

use serde_json::{Value, json};
use windlass_apimachinery::schema::Findings;
use windlass_apimachinery::{FieldError, FieldErrorKind};

use crate::admission::Origin;
use crate::call::{Call, Part};
use crate::kinds::Hook;
use crate::{crd, strategy};

impl Call<'_> {
    /// Everything wrong with an object beyond its metadata.
    pub(crate) fn content_errors(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let schema = self.version().schema();
        if self.kind.hook == Hook::CustomResourceDefinition {
            // Its own rules say what must be there; the schema only what
            // cannot be read.
            let mut errors = schema.validate(object, old);
            errors.retain(|error| error.kind == FieldErrorKind::TypeInvalid);
            if errors.is_empty() {
                errors = match self.part {
                    Part::Status => crd::validate_status(object),
                    _ => crd::validate(object, old),
                };
            }
            if errors.is_empty() {
                for warning in crd::warnings(object, old) {
                    self.warn(warning);
                }
            }
            return errors;
        }
        if self.kind.builtin {
            return strategy::validate(&self.kind, object, old);
        }
        let Findings { errors, tolerated } = match (self.part, old) {
            (Part::Status, Some(old)) => schema.status_findings(object, old),
            _ => schema.findings(object, old),
        };
        if errors.is_empty() {
            for error in &tolerated {
                self.warn(error.to_string());
            }
        }
        errors
    }

    /// What an object that says nothing looks like to kube-apiserver, whose
    /// structures always have these fields: nobody comes to own them.
    pub(crate) fn blank(&self) -> Value {
        if self.kind.hook != Hook::CustomResourceDefinition {
            return json!({});
        }
        let names = json!({"plural": "", "kind": ""});
        json!({
            "metadata": {},
            "spec": {"group": "", "names": names, "scope": "", "versions": null},
            "status": {"conditions": null, "acceptedNames": names, "storedVersions": null},
        })
    }

    /// What the server adds to a definition before it is checked.
    pub(crate) fn complete_definition(&self, object: &mut Value, new: bool) {
        if self.kind.hook != Hook::CustomResourceDefinition {
            return;
        }
        if self.part != Part::Object {
            let stored = object.pointer("/status/storedVersions").and_then(Value::as_array);
            if stored.is_none_or(Vec::is_empty) {
                crd::note_storage(object);
            }
            return;
        }
        if new {
            crd::begin(object);
        } else {
            crd::note_storage(object);
        }
        if self.caller.origin == Origin::Bootstrap {
            // Definitions the server brings along need no steps of their own.
            self.server.settled_definition(object);
        }
    }

    /// Reports on a definition that was just written.
    pub(crate) async fn settle(&self, name: &str) {
        let own = self.caller.origin == Origin::Gc;
        if self.kind.hook == Hook::CustomResourceDefinition && !self.options.dry_run && !own {
            Box::pin(self.server.settle_definition(name)).await;
        }
    }
}

/// `2.0` is written as `2` by Go, and is an integer from then on.
pub(crate) fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap_or_default();
            #[expect(clippy::cast_possible_truncation, reason = "whole and small by the same condition")]
            if float.fract() == 0.0 && float.abs() < 1e15 && float.is_sign_positive() {
                *value = Value::from(float as i64);
            }
        }
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        Value::Array(list) => list.iter_mut().for_each(whole_numbers),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
