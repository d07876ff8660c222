//! Server-side apply: from the configuration in a request to the object to store.

use std::sync::LazyLock;

use serde_json::{Map, Number, Value, json};
use windlass_apimachinery::managed::{self, ApplyError, Conflicts, Forms, Scaled, Versions, Writer};
use windlass_apimachinery::schema::Schema;
use windlass_apimachinery::{go, json as strict, yaml};

use crate::call::{Call, Part};
use crate::kinds;
use crate::object::{member, meta_str};
use crate::patches;
use crate::request::FieldValidation;
use crate::rules;
use crate::scale;
use crate::status::ApiError;
use crate::write::Change;

/// `autoscaling/v1`, which every `scale` is in.
const SCALE_VERSION: &str = "autoscaling/v1";

/// A configuration to apply.
#[derive(Debug)]
pub struct Configuration {
    value: Value,
    /// What it says twice, as the YAML decoder words it.
    duplicates: Vec<String>,
}

impl From<Value> for Configuration {
    fn from(value: Value) -> Self {
        Self { value, duplicates: Vec::new() }
    }
}

/// Who writes, with what a [`Writer`] borrows.
pub struct Identity {
    now: String,
    versions: Vec<String>,
    /// The versions of a custom kind.
    forms: Forms,
}

impl Identity {
    /// The writer of a call.
    pub fn writer<'a>(&'a self, call: &'a Call<'_>) -> Writer<'a> {
        Writer {
            manager: call.manager(),
            api_version: &call.api_version,
            subresource: call.part.as_str(),
            now: &self.now,
            reset: resets(call),
            versions: if call.kind.builtin {
                Versions::BuiltIn(&self.versions)
            } else {
                Versions::Custom(&self.forms)
            },
        }
    }

    fn scale_writer<'a>(&'a self, call: &'a Call<'_>) -> Writer<'a> {
        Writer { api_version: SCALE_VERSION, reset: &[], versions: Versions::Any, ..self.writer(call) }
    }
}

/// What an endpoint leaves as it is (kube-apiserver's `GetResetFields`).
fn resets(call: &Call<'_>) -> &'static [&'static str] {
    match call.part {
        Part::Object if call.kind.kind == "CertificateSigningRequest" => &["spec", "status"],
        Part::Object if call.version().status => &["status"],
        Part::Finalize => &["status"],
        Part::Status if !call.kind.builtin => &["spec"],
        Part::Status => match call.kind.kind.as_str() {
            "Deployment" => &["spec", "metadata.labels"],
            "Pod" => &["spec", "metadata.deletionTimestamp", "metadata.ownerReferences"],
            "VolumeAttachment" | "CustomResourceDefinition" => &["spec", "metadata"],
            _ => &["spec"],
        },
        Part::Object
        | Part::Scale
        | Part::Approval
        | Part::EphemeralContainers
        | Part::Resize
        | Part::Eviction
        | Part::Binding
        | Part::Token
        | Part::Log
        | Part::Connect => &[],
    }
}

impl Call<'_> {
    /// Who writes, now.
    pub(crate) fn identity(&self) -> Identity {
        let versions = self.kind.known_versions.iter().map(|version| self.kind.api_version(version));
        let forms = self.kind.custom.iter().flat_map(|custom| custom.schemas());
        Identity { now: rules::seconds(self.now), versions: versions.collect(), forms: Forms::new(forms) }
    }

    /// Converts what an attempt to compare owners missed; returns whether there was anything.
    async fn converted(&self, identity: &mut Identity) -> Result<bool, ApiError> {
        let wanted = identity.forms.wanted();
        let any = !wanted.is_empty();
        for wanted in wanted {
            let (kind, object) = (&self.kind, wanted.object.clone());
            let converted = self.server.in_version(kind, kind, &wanted.version, object).await?;
            identity.forms.know(wanted, converted);
        }
        Ok(any)
    }

    /// Gives what a write changes to its writer.
    pub(crate) async fn owned(&self, old: &Value, new: &mut Value) {
        let schema = self.version().schema();
        let mut identity = self.identity();
        if identity.forms.is_single() {
            managed::update(&identity.writer(self), schema, Some(old), new);
            return;
        }
        loop {
            let mut attempt = new.clone();
            managed::update(&identity.writer(self), schema, Some(old), &mut attempt);
            match self.converted(&mut identity).await {
                Ok(true) => {}
                Ok(false) => {
                    *new = attempt;
                    return;
                }
                Err(error) => {
                    // As kube-apiserver: nobody owns what cannot be compared.
                    tracing::warn!(error = %error.message, "owners of fields are forgotten: they cannot be converted");
                    crate::object::metadata_mut(new).remove("managedFields");
                    return;
                }
            }
        }
    }

    /// The configuration in a body: YAML, of which JSON is a part.
    ///
    /// # Errors
    /// 400 when the body cannot be read.
    #[expect(clippy::unused_self, reason = "a call reads its body, as it does those of other patches")]
    pub fn configuration(&self, body: &[u8]) -> Result<Configuration, ApiError> {
        // Nearly all clients send JSON, which takes a fraction of the time;
        // what is said twice the YAML decoder reports, with its line.
        let (mut value, duplicates) = match strict::decode(body) {
            Ok(decoded) if !decoded.duplicates => (decoded.value, Vec::new()),
            _ => {
                let decoded = yaml::decode(body).map_err(|error| {
                    let text = format!("error decoding YAML: error converting YAML to JSON: {error}");
                    ApiError::bad_request(text)
                })?;
                (decoded.value, decoded.duplicates)
            }
        };
        match &value {
            Value::Object(_) => {}
            Value::Null => value = Value::Object(Map::new()),
            other => {
                let why = go::misfit(other, "value of type map[string]interface {}");
                let text =
                    format!("error decoding YAML: error unmarshaling JSON: while decoding JSON: {why}");
                return Err(ApiError::bad_request(text));
            }
        }
        round(&mut value);
        Ok(Configuration { value, duplicates })
    }

    /// An object with a configuration applied; without defaults.
    ///
    /// # Errors
    /// 400 and 500 for a configuration that cannot be applied, 409 when
    /// another manager owns a field.
    pub(crate) async fn applied(
        &self,
        config: &Configuration,
        old: Option<&Value>,
    ) -> Result<Value, ApiError> {
        check_type(&config.value, &self.api_version, &self.kind.kind)?;
        let mut identity = self.identity();
        let schema = self.version().schema();
        let mut object = loop {
            let attempt = self.run(&identity.writer(self), schema, old, config);
            if !self.converted(&mut identity).await? {
                break attempt?;
            }
        };
        if self.kind.builtin {
            schema.settle(&mut object);
            self.version()
                .typed(&mut object, crate::kinds::Words::Decoder)
                .map_err(|error| self.undecodable(&error))?;
        }
        if meta_str(&object, "name").is_empty() {
            let text = format!(
                "the name of the object ({} based on URL) was undeterminable: name must be provided",
                self.name
            );
            return Err(ApiError::bad_request(text));
        }
        if old.is_none() {
            let uid = meta_str(&object, "uid");
            if !uid.is_empty() {
                let text = format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                );
                return Err(ApiError::conflict(self.kind.resource(), &self.name, &text));
            }
            // There is no version it could be.
            object["metadata"].as_object_mut().map(|metadata| metadata.remove("resourceVersion"));
        }
        Ok(object)
    }

    fn run(
        &self,
        writer: &Writer<'_>,
        schema: &Schema,
        old: Option<&Value>,
        config: &Configuration,
    ) -> Result<Value, ApiError> {
        let force = self.options.force == Some(true);
        let object =
            managed::apply(writer, schema, old, &config.value, force).map_err(|error| apply_error(&error))?;
        match self.options.field_validation {
            FieldValidation::Strict if !config.duplicates.is_empty() => {
                return Err(ApiError::bad_request(format!(
                    "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {}",
                    config.duplicates.join("\n  ")
                )));
            }
            FieldValidation::Warn => config.duplicates.iter().for_each(|text| self.warn(text.clone())),
            FieldValidation::Strict | FieldValidation::Ignore => {}
        }
        Ok(object)
    }

    /// The object after a change of its scale, with its owners.
    ///
    /// # Errors
    /// As those of the change.
    pub(crate) fn scaled(&self, old: &Value, change: &Change) -> Result<Value, ApiError> {
        let paths: Vec<(String, Option<String>)> = self
            .kind
            .versions
            .iter()
            .map(|version| {
                let path = version.scale.as_ref().map(|scale| scale.spec_replicas.clone());
                (self.kind.api_version(&version.name), path)
            })
            .collect();
        let owners = Scaled { api_version: &self.api_version, paths: &paths };
        let identity = self.identity();
        let writer = identity.scale_writer(self);
        let mut before = scale::before(&self.kind, self.version(), old)?;
        set_owners(&mut before, owners.of_scale(old));
        let after = match change {
            Change::Apply(config) => self.apply_scale(&writer, &before, config)?,
            Change::Patch(kind, body) => {
                let mut after = before.clone();
                let patch = body.value.as_ref().map_err(Clone::clone)?;
                patches::patched(self, *kind, patch, &mut after)?;
                self.check_names(&after)?;
                managed::update(&writer, &SCALE, Some(&before), &mut after);
                after
            }
            Change::Replace(scale) => {
                let mut after = scale.clone();
                after["status"] = before["status"].clone();
                managed::update(&writer, &SCALE, Some(&before), &mut after);
                after
            }
        };
        let mut new = scale::into_object(&self.kind, self.version(), old, &after)?;
        set_owners(&mut new, owners.of_object(old, &after));
        Ok(new)
    }

    fn apply_scale(
        &self,
        writer: &Writer<'_>,
        before: &Value,
        config: &Configuration,
    ) -> Result<Value, ApiError> {
        check_type(&config.value, SCALE_VERSION, "Scale")?;
        let after = self.run(writer, &SCALE, Some(before), config)?;
        if !self.kind.builtin && after["spec"] != before["spec"] {
            // So it is in kube-apiserver, whose custom kinds do not know the scale's version.
            let name =
                format!("{}/{}", meta_str(&config.value, "namespace"), meta_str(&config.value, "name"));
            return Err(ApiError::new(
                500,
                "",
                format!(
                    "failed to convert new object ({name}; {SCALE_VERSION}, Kind=Scale) to proper version: request to convert CR to an invalid group/version: {SCALE_VERSION}"
                ),
            ));
        }
        Ok(after)
    }
}

fn set_owners(object: &mut Value, owners: Value) {
    let Some(metadata) = member(object, "metadata").as_object_mut() else { return };
    if owners.is_null() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".to_owned(), owners);
    }
}

/// The schema of a scale, as its owners see it.
static SCALE: LazyLock<Schema> = LazyLock::new(|| {
    let number = json!({"type": "integer"});
    let text = json!({"type": "string"});
    Schema::compile(&json!({"type": "object", "properties": {
        "apiVersion": text, "kind": text, "metadata": {"type": "object"},
        "spec": {"type": "object", "properties": {"replicas": number}},
        "status": {"type": "object", "properties": {"replicas": number, "selector": text}},
    }}))
    .expect("the schema of scales is structural: a test applies to one")
});

/// What the kind of a configuration must be.
fn check_type(config: &Value, api_version: &str, kind: &str) -> Result<(), ApiError> {
    let text = |key: &str| config[key].as_str().unwrap_or_default();
    if text("apiVersion") == api_version && text("kind") == kind {
        return Ok(());
    }
    let (group, version) = kinds::split_api_version(text("apiVersion"));
    // What is no version at all hides the kind as well.
    let kind = if version.contains('/') { "" } else { text("kind") };
    let (group, version) = if version.contains('/') { ("", "") } else { (group, version) };
    Err(ApiError::bad_request(format!("invalid object type: {group}/{version}, Kind={kind}")))
}

/// Numbers as they are after they were Go's `float64`: what has no fraction is an integer.
fn round(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(round),
        Value::Object(map) => map.values_mut().for_each(round),
        Value::Number(number) => {
            let exact = number.as_i64().is_some_and(|number| number.unsigned_abs() < 1 << 53);
            if !exact && let Some(float) = number.as_f64() {
                *number = rounded(float).unwrap_or_else(|| number.clone());
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn rounded(float: f64) -> Option<Number> {
    if float.fract() == 0.0 && float.abs() < 1e21 {
        let text = format!("{float:.0}");
        return text.parse::<i64>().map(Number::from).ok().or_else(|| Number::from_f64(float));
    }
    Number::from_f64(float)
}

/// What a client reads when an apply is refused.
fn apply_error(error: &ApplyError) -> ApiError {
    let text = error.to_string();
    match error {
        ApplyError::Conflicts(Conflicts(conflicts)) => {
            let answer = ApiError::new(409, "Conflict", text);
            conflicts.iter().fold(answer, |answer, conflict| {
                answer.cause("FieldManagerConflict", conflict.message(), &conflict.field)
            })
        }
        ApplyError::Version { .. } | ApplyError::ManagedFields => ApiError::bad_request(text),
        ApplyError::Undecodable
        | ApplyError::Unconverted
        | ApplyError::Untyped { .. }
        | ApplyError::UnknownVersion(_) => ApiError::new(500, "", text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_floats() {
        let mut value = json!([1, 1.5, 3.0, 1e3, 9_007_199_254_740_993_i64, -2.0]);
        round(&mut value);
        assert_eq!(value, json!([1, 1.5, 3, 1000, 9_007_199_254_740_992_i64, -2]));
    }

    #[test]
    fn other_types_are_named() {
        for (config, expected) in [
            (json!({"apiVersion": "v1", "kind": "A"}), None),
            (json!({"apiVersion": "v2", "kind": "A"}), Some("invalid object type: /v2, Kind=A")),
            (json!({"apiVersion": "g/v1", "kind": "A"}), Some("invalid object type: g/v1, Kind=A")),
            (json!({"apiVersion": 1, "kind": "A"}), Some("invalid object type: /, Kind=A")),
            (json!({"apiVersion": "a/b/c", "kind": "A"}), Some("invalid object type: /, Kind=")),
            (json!({}), Some("invalid object type: /, Kind=")),
        ] {
            let found = check_type(&config, "v1", "A").err().map(|error| error.message);
            assert_eq!(found.as_deref(), expected, "{config}");
        }
    }
}
