//! Stand-ins for parts of the API mechanics that are still being built.

use serde_json::Value;
use windlass_apimachinery::patch::PatchError;
use windlass_apimachinery::schema::Schema;

/// A strategic merge patch.
pub fn strategic(target: &mut Value, patch: &Value, _schema: &Schema) -> Result<(), PatchError> {
    windlass_apimachinery::patch::merge(target, patch);
    Ok(())
}

/// Strict decoding.
pub mod json {
    use serde_json::Value;

    /// A decoded body.
    pub struct Decoded {
        /// The value.
        pub value: Value,
        /// Paths of keys that occur twice.
        pub duplicates: Vec<String>,
    }

    /// Decodes JSON.
    pub fn decode(bytes: &[u8]) -> Result<Decoded, serde_json::Error> {
        Ok(Decoded { value: serde_json::from_slice(bytes)?, duplicates: Vec::new() })
    }
}

/// Field ownership.
pub mod managed {
    use serde_json::Value;
    use windlass_apimachinery::FieldError;
    use windlass_apimachinery::schema::Schema;

    pub use windlass_apimachinery::managed::{Writer, update};

    /// A conflict.
    pub struct Conflict {
        /// Text.
        pub message: String,
        /// Field.
        pub field: String,
    }

    /// Why an apply is refused.
    pub enum ApplyError {
        /// Others own fields.
        Conflicts(Vec<Conflict>),
        /// Not valid.
        Invalid(Vec<FieldError>),
    }

    /// Applies.
    pub fn apply(
        writer: &Writer<'_>,
        schema: &Schema,
        live: Option<&Value>,
        config: &Value,
        _force: bool,
    ) -> Result<Value, ApplyError> {
        let mut object = live.cloned().unwrap_or_default();
        windlass_apimachinery::patch::merge(&mut object, config);
        update(writer, schema, live, &mut object);
        Ok(object)
    }
}

/// Table cells.
pub mod table {
    use jiff::Timestamp;
    use serde_json::{Value, json};

    /// A JSON path.
    #[derive(Clone, Debug)]
    pub struct Path(String);

    impl Path {
        /// Parses.
        pub fn parse(text: &str) -> Self {
            Self(text.replace('.', "/"))
        }

        /// A cell.
        pub fn cell(&self, object: &Value, kind: &str, now: Timestamp) -> Value {
            match object.pointer(&self.0) {
                None => Value::Null,
                Some(value) if kind == "date" => json!(crate::kinds::age(Some(value), now)),
                Some(value) => value.clone(),
            }
        }
    }
}
