//! Typing objects of compiled-in kinds as their Go types would: wrong types
//! are refused, empty values that would not be written are dropped, and
//! quantities, times and bytes get their canonical form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::format::Format;
use super::node::{Additional, Kind, Node};
use crate::quantity::{NO_QUANTITY, Quantity};

/// One step from the object to the value that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into a field or a key of a map.
    Name(String),
    /// Into an item of a list.
    Item,
}

/// A value that the type of its field cannot hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Where it is.
    pub path: Vec<Step>,
    /// What is wrong with it.
    pub found: Found,
}

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is of this JSON type (`string`, `number 1.5`).
    Type(String),
    /// Its text cannot be read; the whole message.
    Text(String),
}

pub(super) fn typed(root: &Node, object: &mut Value) -> Result<(), Mismatch> {
    let mut pass = Pass { path: Vec::new() };
    match object {
        Value::Object(map) => pass.members(root, map),
        _ => Ok(()),
    }
}

struct Pass {
    path: Vec<Step>,
}

impl Pass {
    fn fail(&self, found: Found) -> Mismatch {
        Mismatch { path: self.path.clone(), found }
    }

    fn value(&mut self, node: &Node, value: &mut Value) -> Result<(), Mismatch> {
        if value.is_null() || node.preserve {
            return Ok(());
        }
        let fits = match node.kind {
            Kind::Any => return Ok(()),
            Kind::IntOrString if node.go.quantity => return self.quantity(value),
            Kind::IntOrString => value.is_string() || fits_integer(value, Some(Format::Int32)),
            Kind::Object => value.is_object(),
            Kind::Array => value.is_array(),
            Kind::String => value.is_string(),
            Kind::Integer => fits_integer(value, node.checks.as_ref().and_then(|checks| checks.format)),
            Kind::Number => value.is_number(),
            Kind::Boolean => value.is_boolean(),
        };
        if !fits {
            return Err(self.fail(Found::Type(found(node, value))));
        }
        match value {
            Value::Object(map) => self.members(node, map),
            Value::Array(list) => {
                let Some(items) = &node.items else { return Ok(()) };
                self.path.push(Step::Item);
                for item in list {
                    self.value(items, item)?;
                }
                self.path.pop();
                Ok(())
            }
            Value::String(text) => self.text(node, text),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }

    fn members(&mut self, node: &Node, map: &mut Map<String, Value>) -> Result<(), Mismatch> {
        let mut empty = Vec::new();
        for (name, value) in map.iter_mut() {
            let (child, entry) = match (node.property(name), &node.additional) {
                (Some(child), _) => (child, false),
                (None, Additional::Schema(child)) => (&**child, true),
                (None, _) => continue,
            };
            self.path.push(Step::Name(name.clone()));
            self.value(child, value)?;
            self.path.pop();
            if !entry && is_left_out(child, value) {
                empty.push(name.clone());
            }
        }
        for name in empty {
            map.remove(&name);
        }
        Ok(())
    }

    fn quantity(&self, value: &mut Value) -> Result<(), Mismatch> {
        let text = match &*value {
            Value::String(text) if text.is_empty() => "0".to_owned(),
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        let quantity =
            Quantity::parse(&text).ok_or_else(|| self.fail(Found::Text(NO_QUANTITY.to_owned())))?;
        *value = Value::String(quantity.to_string());
        Ok(())
    }

    fn text(&self, node: &Node, text: &mut String) -> Result<(), Mismatch> {
        match node.checks.as_ref().and_then(|checks| checks.format) {
            Some(Format::DateTime) => {
                if !Format::DateTime.accepts(text) {
                    return Err(self.fail(Found::Text(no_time(text, node.go.micro))));
                }
                if let (true, Some(rest)) = (node.go.micro, no_fraction(text)) {
                    let layout = "2006-01-02T15:04:05.000000Z07:00";
                    let said =
                        format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as \".000000\"");
                    return Err(self.fail(Found::Text(said)));
                }
                let Ok(time) = text.parse::<Timestamp>() else { return Ok(()) };
                let form = if node.go.micro { "%Y-%m-%dT%H:%M:%S%.6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
                *text = time.strftime(form).to_string();
            }
            Some(Format::Byte) => {
                let bytes = BASE64.decode(text.replace(['\n', '\r'], "")).map_err(|error| {
                    let at = match error {
                        base64::DecodeError::InvalidByte(at, _)
                        | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                        base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
                            text.len() / 4 * 4
                        }
                    };
                    self.fail(Found::Text(format!("illegal base64 data at input byte {at}")))
                })?;
                *text = BASE64.encode(bytes);
            }
            _ => {}
        }
        Ok(())
    }
}

fn fits_integer(value: &Value, format: Option<Format>) -> bool {
    match (value.as_i64(), format) {
        (Some(number), Some(Format::Int32)) => i32::try_from(number).is_ok(),
        (Some(_), _) => true,
        (None, _) => false,
    }
}

fn found(node: &Node, value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if matches!(node.kind, Kind::Integer | Kind::IntOrString) => {
            format!("number {number}")
        }
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    }
}

/// Whether Go would not write the value of a field: `omitempty`.
fn is_left_out(node: &Node, value: &Value) -> bool {
    if node.go.pointer || node.go.null || node.default.as_deref().is_some_and(is_zero) {
        return false;
    }
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0) && node.kind != Kind::IntOrString,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        // Structs are always written.
        Value::Object(map) => map.is_empty() && node.properties.is_empty() && !node.preserve,
        Value::Bool(true) => false,
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Array(_) | Value::Bool(true) => false,
    }
}

/// What stands where a time must have its six digits of a second.
fn no_fraction(text: &str) -> Option<&str> {
    let rest = text.get(19..)?;
    let digits = rest.strip_prefix('.').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    (digits != 6).then_some(rest)
}

/// The words of Go's `time.Parse`.
fn no_time(text: &str, micro: bool) -> String {
    let layout = if micro { "2006-01-02T15:04:05.000000Z07:00" } else { "2006-01-02T15:04:05Z07:00" };
    let quoted = crate::quote(text);
    format!("parsing time {quoted} as \"{layout}\": cannot parse {quoted} as \"2006\"")
}
