//! CEL rules (`x-kubernetes-validations`): compiled with the schema, run on
//! the values of their nodes.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use kube_cel::KubeCelExt as _;
use kube_cel::cel::objects::{Key, Map};
use kube_cel::cel::{Context, Program, Value as Cel};
use serde_json::Value;

use super::format::{Format, nanoseconds};
use super::node::{Additional, Kind, Node};
use super::rule_scope;
use crate::{FieldError, FieldErrorKind};

thread_local! {
    /// The function library; registering it takes longer than most rules.
    static LIBRARY: Context<'static> = library();
}

/// All Kubernetes functions, and `type`, which the library lacks.
fn library() -> Context<'static> {
    let mut library = Context::default().with_all();
    library.add_function("type", |value: Cel| Arc::new(type_of(&value).to_owned()));
    for name in ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "uint"] {
        library.add_variable_from_value(name, Cel::String(Arc::new(name.to_owned())));
    }
    library
}

fn type_of(value: &Cel) -> &'static str {
    match value {
        Cel::Bool(_) => "bool",
        Cel::Bytes(_) => "bytes",
        Cel::Float(_) => "double",
        Cel::Int(_) => "int",
        Cel::List(_) => "list",
        Cel::Map(_) => "map",
        Cel::Null => "null_type",
        Cel::String(_) => "string",
        Cel::UInt(_) => "uint",
        _ => "object",
    }
}

/// A compiled rule.
pub(crate) struct Rule {
    program: Program,
    text: Box<str>,
    message: Option<Box<str>>,
    message_program: Option<Program>,
    kind: FieldErrorKind,
    field_path: Option<Box<str>>,
    /// Uses `oldSelf`.
    pub(crate) transition: bool,
    optional_old: bool,
    /// How many loops are within one another.
    loops: u32,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rule").field(&self.text).finish()
    }
}

/// Longest rule taken: the parser recurses.
const MAX_RULE: usize = 10_000;
/// Deepest nesting of brackets taken, for the same reason.
const MAX_NESTING: usize = 64;

/// Most steps of loops within loops, estimated from the longest list: about a
/// second; kube-apiserver's own budget is of that order.
pub(crate) const MAX_STEPS: u64 = 1_000_000;

/// The length of the longest list or map in a value.
pub(crate) fn longest(value: &Value) -> u64 {
    match value {
        Value::Array(list) => list.iter().map(longest).max().unwrap_or(0).max(list.len() as u64),
        Value::Object(map) => map.values().map(longest).max().unwrap_or(0).max(map.len() as u64),
        _ => 0,
    }
}

impl Rule {
    /// Compiles an entry of `x-kubernetes-validations`. The error is the
    /// field within the entry and what is wrong with it.
    pub(super) fn compile(entry: &Value) -> Result<Self, (&'static str, String)> {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let rule = text("rule").ok_or(("rule", "rule is not specified".to_owned()))?;
        let (program, loops) = program(rule).map_err(|error| ("rule", error))?;
        let message_program = text("messageExpression")
            .map(self::program)
            .transpose()
            .map_err(|error| ("messageExpression", error))?;
        let transition = program.references().has_variable("oldSelf");
        let kind = match text("reason") {
            None | Some("FieldValueInvalid") => FieldErrorKind::Invalid,
            Some("FieldValueForbidden") => FieldErrorKind::Forbidden,
            Some("FieldValueRequired") => FieldErrorKind::Required,
            Some("FieldValueDuplicate") => FieldErrorKind::Duplicate,
            Some(other) => return Err(("reason", format!("unsupported reason {other:?}"))),
        };
        Ok(Self {
            program,
            text: rule.trim().into(),
            message: text("message").map(Into::into),
            message_program: message_program.map(|(program, _)| program),
            kind,
            field_path: text("fieldPath").map(Into::into),
            transition,
            optional_old: entry.get("optionalOldSelf").and_then(Value::as_bool).unwrap_or(false),
            loops,
        })
    }
}

/// What rules may name.
const VARIABLES: [&str; 2] = ["self", "oldSelf"];

fn program(text: &str) -> Result<(Program, u32), String> {
    program_over(text, &VARIABLES)
}

/// Compiles an expression over named values; returns how many of its loops are within one another, too.
pub(crate) fn program_over(text: &str, variables: &[&str]) -> Result<(Program, u32), String> {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    if text.len() > MAX_RULE || deepest > MAX_NESTING {
        return Err(format!(
            "compilation failed: rule is longer than {MAX_RULE} bytes or nested deeper than {MAX_NESTING}"
        ));
    }
    let program = Program::compile(text).map_err(|error| format!("compilation failed: {error}"))?;
    let loops = LIBRARY
        .with(|library| rule_scope::check(&program, library, variables))
        .map_err(|error| format!("compilation failed: {error}"))?;
    Ok((program, loops))
}

/// Runs the rules of one node.
pub(super) fn run(
    node: &Node,
    value: &Value,
    old: Option<&Value>,
    path: &str,
    unchanged: bool,
    errors: &mut Vec<FieldError>,
) {
    let wanted = |rule: &&Rule| if rule.transition { old.is_some() || rule.optional_old } else { !unchanged };
    if !node.rules.iter().any(|rule| wanted(&rule)) {
        return;
    }
    LIBRARY.with(|library| {
        let mut scope = library.new_inner_scope();
        scope.add_variable_from_value("self", to_cel(Some(node), value));
        let old_self = old.map_or(Cel::Null, |old| to_cel(Some(node), old));
        scope.add_variable_from_value("oldSelf", old_self);
        let longest = if node.rules.iter().any(|rule| rule.loops > 1) { longest(value) } else { 0 };
        errors.extend(node.rules.iter().filter(wanted).filter_map(|rule| {
            if rule.loops > 1 && longest.saturating_pow(rule.loops) > MAX_STEPS {
                let detail = format!("validation rule exceeds its cost budget on this object: {}", rule.text);
                return Some(FieldError::invalid(path, type_name(node), detail));
            }
            evaluate(rule, &scope, node, path)
        }));
    });
}

fn evaluate(rule: &Rule, scope: &Context<'_>, node: &Node, path: &str) -> Option<FieldError> {
    let outcome = rule.program.execute(scope);
    let value = type_name(node);
    let fixed =
        || rule.message.as_deref().map_or_else(|| format!("failed rule: {}", rule.text), str::to_owned);
    match outcome {
        Ok(Cel::Bool(true)) => None,
        Ok(Cel::Bool(false)) => {
            let dynamic = rule.message_program.as_ref().and_then(|program| match program.execute(scope) {
                Ok(Cel::String(text)) if !text.trim().is_empty() && !text.contains('\n') => {
                    Some(text.to_string())
                }
                _ => None,
            });
            let field = match &rule.field_path {
                None => path.to_owned(),
                Some(inner) if path.is_empty() => inner.trim_start_matches('.').to_owned(),
                Some(inner) => format!("{path}{inner}"),
            };
            Some(FieldError::new(rule.kind, field, value, dynamic.unwrap_or_else(fixed)))
        }
        Ok(_) => Some(FieldError::invalid(path, value, format!("rule is no condition: {}", rule.text))),
        Err(error) => Some(FieldError::invalid(path, value, format!("{error} evaluating rule: {}", fixed()))),
    }
}

/// Evaluates an expression over named values.
///
/// # Errors
/// What CEL says went wrong.
pub(crate) fn execute(program: &Program, values: &[(&str, &Value)]) -> Result<Cel, String> {
    LIBRARY.with(|library| {
        let mut scope = library.new_inner_scope();
        for (name, value) in values {
            scope.add_variable_from_value(*name, to_cel(None, value));
        }
        program.execute(&scope).map_err(|error| error.to_string())
    })
}

/// What Kubernetes prints as the value of a failed rule: the type's name.
fn type_name(node: &Node) -> &'static str {
    match node.kind {
        Kind::Any | Kind::Object => "object",
        Kind::IntOrString => "",
        Kind::Array => "array",
        Kind::String => "string",
        Kind::Integer => "integer",
        Kind::Number => "number",
        Kind::Boolean => "boolean",
    }
}

/// A JSON value as its schema types it.
fn to_cel(node: Option<&Node>, value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(value) => Cel::Bool(*value),
        Value::Number(number) => number_to_cel(node, number),
        Value::String(text) => text_to_cel(node, text),
        Value::Array(list) => {
            let items = node.and_then(|node| node.items.as_deref());
            Cel::List(Arc::new(list.iter().map(|item| to_cel(items, item)).collect()))
        }
        Value::Object(map) => {
            let is_map = node.is_none_or(|node| !matches!(node.additional, Additional::None));
            let entry = |(name, value): (&String, &Value)| {
                let child = node.and_then(|node| node.field(name).node());
                let key = if is_map { name.clone() } else { escape(name) };
                (Key::String(Arc::new(key)), to_cel(child, value))
            };
            let map: HashMap<Key, Cel> = map.iter().map(entry).collect();
            Cel::Map(Map { map: Arc::new(map) })
        }
    }
}

fn number_to_cel(node: Option<&Node>, number: &serde_json::Number) -> Cel {
    let float = node.is_some_and(|node| node.kind == Kind::Number);
    if let (Some(integer), false) = (number.as_i64(), float) {
        return Cel::Int(integer);
    }
    let value = number.as_f64().unwrap_or(f64::NAN);
    let integer = node.is_some_and(|node| node.kind == Kind::Integer);
    #[expect(clippy::cast_possible_truncation, reason = "whole and within i64 by the same condition")]
    if integer && value.fract() == 0.0 && value.abs() < 9.0e18 {
        Cel::Int(value as i64)
    } else {
        Cel::Float(value)
    }
}

fn text_to_cel(node: Option<&Node>, text: &str) -> Cel {
    let format = node
        .filter(|node| node.kind == Kind::String)
        .and_then(|node| node.checks.as_ref())
        .and_then(|checks| checks.format);
    let typed = match format {
        Some(Format::DateTime) => chrono::DateTime::parse_from_rfc3339(text).ok().map(Cel::Timestamp),
        Some(Format::Date) => {
            chrono::DateTime::parse_from_rfc3339(&format!("{text}T00:00:00Z")).ok().map(Cel::Timestamp)
        }
        Some(Format::Duration) => {
            nanoseconds(text).map(|nanos| Cel::Duration(chrono::Duration::nanoseconds(nanos)))
        }
        Some(Format::Byte) => base64::engine::general_purpose::STANDARD
            .decode(text)
            .ok()
            .map(|bytes| Cel::Bytes(Arc::new(bytes))),
        _ => None,
    };
    typed.unwrap_or_else(|| Cel::String(Arc::new(text.to_owned())))
}

const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// The identifier by which rules name a property (the escapes of
/// "Validation rules" in the Kubernetes documentation).
fn escape(name: &str) -> String {
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    if !name.contains(['.', '-', '/']) && !name.contains("__") {
        return name.to_owned();
    }
    name.replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
}
