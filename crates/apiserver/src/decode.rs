//! Request bodies: bytes to objects, strictly.

use http::HeaderMap;
use serde_json::{Map, Value};
use windlass_apimachinery::json::{self as strict, JsonError};
use windlass_apimachinery::{go, meta, schema, yaml};

use crate::call::Call;
use crate::kinds::Words;
use crate::negotiate::{BodyFormat, body_format};
use crate::request::FieldValidation;
use crate::status::ApiError;
use crate::{protobuf, rules};

/// Longest request body.
pub const BODY_LIMIT: usize = 3 << 20;

/// Where upstream keeps its types; it names the place in errors.
const SCHEME: &str = "scheme \"pkg/runtime/scheme.go:111\"";

/// A document before anybody looked into it.
struct Document {
    value: Value,
    /// What is wrong with it although it can be read.
    duplicates: Duplicates,
}

/// Which keys occur twice.
enum Duplicates {
    None,
    /// In JSON: found again when somebody asks.
    Json,
    /// In YAML, in the words of its decoder.
    Yaml(Vec<String>),
}

/// The body of a delete, or null when there is none.
///
/// # Errors
/// 400 when it cannot be read, 415 for unknown media types.
pub fn options(headers: &HeaderMap, body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    // Go looks for the kind first.
    let bad = |error: String| {
        ApiError::bad_request(format!("couldn't get version/kind; json parse error: {error}"))
    };
    let value = match body_format(headers)? {
        BodyFormat::Json => strict::decode(body).map(|d| d.value).map_err(|error| bad(error.to_string()))?,
        BodyFormat::Yaml => yaml::decode(body).map(|d| d.value).map_err(|error| bad(error.to_string()))?,
        BodyFormat::Protobuf => protobuf::decode(body)?,
    };
    if value.is_null() || value.is_object() {
        return Ok(value);
    }
    let holder = r#"value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
    Err(bad(go::misfit(&value, holder)))
}

impl Call<'_> {
    /// The object in a body, without fields its kind does not know.
    ///
    /// # Errors
    /// 400 when the body cannot be read or, in strict mode, says too much.
    pub fn decode(&self, headers: &HeaderMap, body: &[u8]) -> Result<Value, ApiError> {
        let Document { value, duplicates } = self.document(headers, body)?;
        let mut object = if value.is_null() { Value::Object(Map::new()) } else { value };
        self.check_type(&mut object, body)?;
        let findings = if self.kind.builtin {
            self.fit(&mut object, body, &duplicates)?
        } else {
            self.coerce(&mut object, body, &duplicates)?
        };
        self.report(&object, findings)?;
        if !self.kind.builtin {
            rules::check_version(&object, &self.api_version)?;
        }
        Ok(object)
    }

    /// The scale in a body.
    ///
    /// # Errors
    /// 400 when it is none.
    pub fn decode_scale(&self, headers: &HeaderMap, body: &[u8]) -> Result<Value, ApiError> {
        let Document { value: mut scale, .. } = self.document(headers, body)?;
        // Upstream has lost the type of a scale by the time it would name it.
        let bad =
            || ApiError::bad_request(format!("no kind is registered for the type v1.Scale in {SCHEME}"));
        let is = |key: &str, expected: &str| match scale.get(key) {
            None | Some(Value::Null) => true,
            Some(given) => given == "" || given == expected,
        };
        let replicas = &scale["spec"]["replicas"];
        let sound = scale.is_object()
            && is("kind", "Scale")
            && is("apiVersion", "autoscaling/v1")
            && (replicas.is_null() || replicas.is_i64());
        if !sound {
            return Err(bad());
        }
        let unknown = |value: &Value, known: &[&str]| {
            value.as_object().is_some_and(|map| map.keys().any(|key| !known.contains(&key.as_str())))
        };
        let strict = self.options.field_validation == FieldValidation::Strict;
        if strict
            && (unknown(&scale, &["apiVersion", "kind", "metadata", "spec", "status"])
                || unknown(&scale["spec"], &["replicas"])
                || unknown(&scale["status"], &["replicas", "selector"]))
        {
            return Err(bad());
        }
        scale["apiVersion"] = Value::from("autoscaling/v1");
        scale["kind"] = Value::from("Scale");
        Ok(scale)
    }

    fn document(&self, headers: &HeaderMap, body: &[u8]) -> Result<Document, ApiError> {
        match body_format(headers)? {
            BodyFormat::Json => {
                let decoded = strict::decode(body).map_err(|error| self.unreadable(&error, body))?;
                let duplicates = if decoded.duplicates { Duplicates::Json } else { Duplicates::None };
                Ok(Document { value: decoded.value, duplicates })
            }
            BodyFormat::Yaml => {
                let decoded =
                    yaml::decode(body).map_err(|error| self.unrecognized(&error.to_string(), body))?;
                let duplicates = if decoded.duplicates.is_empty() {
                    Duplicates::None
                } else {
                    Duplicates::Yaml(decoded.duplicates)
                };
                Ok(Document { value: decoded.value, duplicates })
            }
            BodyFormat::Protobuf => {
                Ok(Document { value: protobuf::decode(body)?, duplicates: Duplicates::None })
            }
        }
    }

    fn unreadable(&self, error: &JsonError, body: &[u8]) -> ApiError {
        self.unrecognized(&format!("couldn't get version/kind; json parse error: {error}"), body)
    }

    /// The error of a body in which nothing can be found.
    fn unrecognized(&self, why: &str, body: &[u8]) -> ApiError {
        let kind = &self.kind.kind;
        let text = format!(
            "the object provided is unrecognized (must be of type {kind}): {why} ({})",
            summary(body)
        );
        ApiError::bad_request(text)
    }

    /// The error of a body that says what it is, but cannot be that.
    fn unhandled(&self, object: &Value, why: &str) -> ApiError {
        let given = |key: &str| object.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let api_version = given("apiVersion").unwrap_or(&self.api_version);
        let version = api_version.rsplit_once('/').map_or(api_version, |(_, version)| version);
        let (kind, given) = (&self.kind.kind, given("kind").unwrap_or(&self.kind.kind));
        ApiError::bad_request(format!("{given} in version {version:?} cannot be handled as a {kind}: {why}"))
    }

    /// Checks `apiVersion` and `kind`; fills them in for compiled-in kinds.
    fn check_type(&self, object: &mut Value, body: &[u8]) -> Result<(), ApiError> {
        if let Some(why) = rules::untyped(object) {
            let why = format!("couldn't get version/kind; json parse error: json: cannot unmarshal {why}");
            return Err(self.unrecognized(&why, body));
        }
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if api_version.matches('/').count() > 1 {
            let why = format!("unexpected GroupVersion string: {api_version}");
            return Err(self.unrecognized(&why, body));
        }
        if !self.kind.builtin {
            if kind.is_empty() {
                let why = format!("Object 'Kind' is missing in '{}'", String::from_utf8_lossy(body));
                return Err(self.unrecognized(&why, body));
            }
            return Ok(());
        }
        let kind = if kind.is_empty() { &self.kind.kind } else { kind };
        let api_version = if api_version.is_empty() { &self.api_version } else { api_version };
        if kind != self.kind.kind || api_version != self.api_version {
            let why = self.unconvertible(api_version, kind);
            return Err(self.unhandled(object, &why));
        }
        if let Some(map) = object.as_object_mut() {
            map.insert("apiVersion".to_owned(), Value::from(self.api_version.as_str()));
            map.insert("kind".to_owned(), Value::from(self.kind.kind.as_str()));
        }
        Ok(())
    }

    /// Why an object of another type is none of this kind.
    pub fn unconvertible(&self, api_version: &str, kind: &str) -> String {
        let (group, version) = crate::kinds::split_api_version(api_version);
        let kinds = self.server.kinds();
        let known = kinds.by_kind(group, kind).is_some_and(|k| k.builtin && k.version(version).is_some());
        if !known {
            return format!("no kind {kind:?} is registered for version {api_version:?} in {SCHEME}");
        }
        let internal = match self.kind.group.as_str() {
            "" => "core",
            group => group.split('.').next().unwrap_or(group),
        };
        format!("converting ({version}.{kind}) to ({internal}.{}): unknown conversion", self.kind.kind)
    }

    /// Brings an object of a compiled-in kind into its shape; what there is to
    /// say about it.
    fn fit(&self, object: &mut Value, body: &[u8], twice: &Duplicates) -> Result<Vec<String>, ApiError> {
        let schema = self.version().schema();
        let json = matches!(twice, Duplicates::Json);
        if !object["metadata"].is_object() && !object["metadata"].is_null() {
            return Err(self.mistyped(object, body));
        }
        let shaped = schema.shape(object);
        self.version().typed(object, Words::Decoder).map_err(|why| self.undecodable(&why))?;
        if shaped.mismatch {
            return Err(self.mistyped(object, body));
        }
        self.check_times(object)?;
        trim(object);
        if !shaped.unknown && matches!(twice, Duplicates::None) {
            return Ok(Vec::new());
        }
        let bytes = Self::as_json(body);
        let mut found = schema.complaints(&self.kind.kind, &bytes).strict;
        if json {
            // Go decodes a second value into the first: members add up.
            *object = self.merged(&bytes, object);
        }
        if let Duplicates::Yaml(lines) = twice {
            found.insert(0, yaml_complaint(lines));
        }
        Ok(found)
    }

    fn merged(&self, bytes: &[u8], object: &Value) -> Value {
        let mut merged = strict::merge_duplicates(bytes).unwrap_or_else(|| object.clone());
        if !merged.is_object() {
            return object.clone();
        }
        self.version().schema().shape(&mut merged);
        // What was right one by one is right together.
        let _ = self.version().typed(&mut merged, Words::Decoder);
        trim(&mut merged);
        for key in ["apiVersion", "kind"] {
            merged[key] = object[key].clone();
        }
        merged
    }

    /// The error of a value of a wrong type in an object of a compiled-in kind.
    fn mistyped(&self, object: &Value, body: &[u8]) -> ApiError {
        let found = self.version().schema().complaints(&self.kind.kind, &Self::as_json(body)).mismatch;
        self.unhandled(object, &found.unwrap_or_else(|| "a value is of a wrong type".to_owned()))
    }

    /// The body as JSON, sorted if it was YAML.
    fn as_json(body: &[u8]) -> std::borrow::Cow<'_, [u8]> {
        if strict::decode(body).is_ok() {
            return body.into();
        }
        let value = yaml::decode(body).map(|decoded| decoded.value).unwrap_or_default();
        value.to_string().into_bytes().into()
    }

    /// Brings a custom object into its shape; what there is to say about it.
    fn coerce(&self, object: &mut Value, body: &[u8], twice: &Duplicates) -> Result<Vec<String>, ApiError> {
        let unknown = self.known_fields(object).map_err(|why| self.unhandled(object, &why))?;
        let mut found = match twice {
            Duplicates::None => Vec::new(),
            Duplicates::Json => strict::duplicates(body).iter().map(|path| duplicate(path)).collect(),
            Duplicates::Yaml(lines) => vec![yaml_complaint(lines)],
        };
        found.extend(unknown);
        Ok(found)
    }

    /// Drops unknown fields of a custom object and says which.
    ///
    /// # Errors
    /// What of its metadata is of a wrong type.
    pub fn known_fields(&self, object: &mut Value) -> Result<Vec<String>, String> {
        if let Some(metadata) = object.get("metadata").filter(|metadata| !metadata.is_null()) {
            if let Some(why) = schema::metadata_mismatch(metadata) {
                return Err(why);
            }
            wrong_time(metadata).map_or(Ok(()), Err)?;
        }
        crate::content::whole_numbers(object);
        let mut unknown = meta::coerce(object).map_err(|error| error.to_string())?;
        let (group, version) = crate::kinds::split_api_version(
            object.get("apiVersion").and_then(Value::as_str).unwrap_or_default(),
        );
        // Webhooks may be shown another version than that of the path.
        if group == self.kind.group
            && let Some(version) = self.kind.version(version)
        {
            let schema = version.schema();
            unknown.extend(schema.prune(object));
            unknown.extend(schema.coerce_embedded(object).map_err(|error| error.to_string())?);
        } else if let Some(map) = object.as_object_mut() {
            // A version that does not exist knows no fields.
            map.retain(|key, _| {
                let kept = matches!(key.as_str(), "apiVersion" | "kind" | "metadata");
                if !kept {
                    unknown.push(key.clone());
                }
                kept
            });
        }
        Ok(unknown.iter().map(|path| unknown_field(path)).collect())
    }

    /// Brings an object that a webhook changed into the shape of its kind;
    /// returns the complaints about unknown fields.
    ///
    /// # Errors
    /// 400 when the metadata is not of its form.
    pub fn clean(&self, object: &mut Value) -> Result<Vec<String>, ApiError> {
        if !self.kind.builtin {
            return self.known_fields(object).map_err(ApiError::bad_request);
        }
        let bytes = object.to_string();
        let schema = self.version().schema();
        let shaped = schema.shape(object);
        self.version().typed(object, Words::Decoder).map_err(|why| self.undecodable(&why))?;
        trim(object);
        if !shaped.unknown && !shaped.mismatch {
            return Ok(Vec::new());
        }
        let found = schema.complaints(&self.kind.kind, bytes.as_bytes());
        found.mismatch.map_or(Ok(found.strict), |why| Err(ApiError::bad_request(why)))
    }

    /// The error of an object whose content its types cannot hold.
    pub(crate) fn undecodable(&self, why: &str) -> ApiError {
        self.unhandled(&Value::Null, why)
    }

    fn check_times(&self, object: &Value) -> Result<(), ApiError> {
        match wrong_time(&object["metadata"]) {
            Some(why) => Err(self.unhandled(object, &why)),
            None => Ok(()),
        }
    }

    /// Refuses or reports findings as the client asked.
    fn report(&self, object: &Value, findings: Vec<String>) -> Result<(), ApiError> {
        self.answer_findings(findings, |why| self.unhandled(object, why))
    }

    /// Refuses with what was found, warns of it or lets it pass, as the client asked.
    pub fn answer_findings(
        &self,
        findings: Vec<String>,
        refused: impl FnOnce(&str) -> ApiError,
    ) -> Result<(), ApiError> {
        if findings.is_empty() {
            return Ok(());
        }
        match self.options.field_validation {
            FieldValidation::Ignore => Ok(()),
            FieldValidation::Warn => {
                self.warn_all(findings);
                Ok(())
            }
            FieldValidation::Strict => {
                Err(refused(&format!("strict decoding error: {}", findings.join(", "))))
            }
        }
    }

    fn warn_all(&self, findings: Vec<String>) {
        for finding in findings {
            for line in yaml_lines(&finding) {
                self.warn(line);
            }
        }
    }
}

/// What Go puts before lines about a YAML document.
const YAML: &str = "yaml: unmarshal errors:\n";

/// The complaint about keys that occur twice in YAML.
fn yaml_complaint(duplicates: &[String]) -> String {
    let lines: Vec<String> = duplicates.iter().map(|line| format!("  {line}")).collect();
    format!("{YAML}{}", lines.join("\n"))
}

/// A complaint as single warnings.
fn yaml_lines(finding: &str) -> impl Iterator<Item = &str> {
    let yaml = finding.strip_prefix(YAML);
    let text = yaml.unwrap_or(finding);
    text.split(move |c| yaml.is_some() && c == '\n')
        .map(move |line| if yaml.is_some() { line.trim() } else { line })
}

pub fn duplicate(path: &str) -> String {
    format!("duplicate field {}", windlass_apimachinery::quote(path))
}

fn unknown_field(path: &str) -> String {
    format!("unknown field {}", windlass_apimachinery::quote(path))
}

/// Removes the empty members of the metadata, as Go leaves them out. An empty
/// list of managers stays: it asks to forget them.
pub fn trim(object: &mut Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    metadata.retain(|name, value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty() || name == "managedFields",
        Value::Bool(_) | Value::Number(_) => true,
    });
}

/// The first time of the metadata that is none, in the words of Go.
pub fn wrong_time(metadata: &Value) -> Option<String> {
    let text = ["creationTimestamp", "deletionTimestamp"]
        .into_iter()
        .filter_map(|key| metadata.get(key)?.as_str())
        .find(|text| !is_time(text))?;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (rest, part) = if digits >= 4 { (&text[4..], "-") } else { (text, "2006") };
    let quote = windlass_apimachinery::quote;
    Some(format!(
        "parsing time {} as \"2006-01-02T15:04:05Z07:00\": cannot parse {} as {part:?}",
        quote(text),
        quote(rest)
    ))
}

fn is_time(text: &str) -> bool {
    let usual = |bytes: &[u8]| {
        let form = b"0000-00-00T00:00:00Z";
        bytes.len() == form.len()
            && bytes.iter().zip(form).all(|(b, f)| if *f == b'0' { b.is_ascii_digit() } else { b == f })
    };
    text.is_empty() || usual(text.as_bytes()) || text.parse::<jiff::Timestamp>().is_ok()
}

/// The beginning of a body, as upstream shows it.
fn summary(body: &[u8]) -> String {
    const LONGEST: usize = 30;
    let (head, more) = match body.get(..LONGEST) {
        Some(head) if body.len() > LONGEST => (head, " ..."),
        _ => (body, ""),
    };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(head)),
        Some(_) => format!("{}{more}", hex::encode(head)),
    }
}
