//! CEL rules (`x-kubernetes-validations`): compiled with the schema, run on
//! the values of their nodes. Whether a rule fits its schema and what it may
//! cost is found out once, when a definition is written ([`Subject`]).

mod call_cost;
mod conditions;
mod cost;
mod declared;
mod infer;
mod library;
mod literals;
mod located;
mod macros;
mod overloads;
mod size;
mod template;
#[cfg(test)]
mod tests;
mod types;
mod values;
mod walk;

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use kube_cel::cel::objects::OptionalValue;
use kube_cel::cel::parser::{ParseErrors, Parser};
use kube_cel::cel::{Context, ExecutionError, IdedExpr, Value as Cel};
use serde_json::Value;

use super::node::{Kind, Node};
use super::rule_scope;
use crate::{FieldError, FieldErrorKind};
pub(crate) use conditions::{Compiled, VARIABLES as CONDITION_VARIABLES, condition};
use declared::Declared;
use macros::Numbers;
use types::Type;
use values::to_cel;

thread_local! {
    /// The function library; registering it takes longer than most rules.
    static LIBRARY: Context<'static> = library::library();
}

/// A compiled rule.
pub(crate) struct Rule {
    expression: IdedExpr,
    text: Box<str>,
    message: Option<Box<str>>,
    message_expression: Option<IdedExpr>,
    kind: FieldErrorKind,
    /// The field that broken rules are about, as messages write it.
    pub(super) field_path: Option<Box<str>>,
    /// Uses `oldSelf`.
    pub(crate) transition: bool,
    /// `oldSelf` is an optional, and the rule runs without an old value too.
    pub(crate) optional_old: bool,
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
/// Deepest syntax tree taken: everything that walks it recurses.
const MAX_DEPTH: usize = 250;
/// Most steps one rule may take on an object (kube-apiserver's limit of the
/// cost of a call; a step here costs about as much as one there).
pub(crate) const MAX_STEPS: u64 = 1_000_000;
/// Most steps all rules may take on an object.
pub(super) const BUDGET: u64 = 10_000_000;

/// The length of the longest list or map in a value.
pub(crate) fn longest(value: &Value) -> u64 {
    match value {
        Value::Array(list) => list.iter().map(longest).max().unwrap_or(0).max(list.len() as u64),
        Value::Object(map) => map.values().map(longest).max().unwrap_or(0).max(map.len() as u64),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

impl Rule {
    /// Compiles an entry of `x-kubernetes-validations`. The error is the
    /// field within the entry and what is wrong with it.
    pub(super) fn compile(entry: &Value) -> Result<Self, (&'static str, String)> {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let rule = text("rule").ok_or(("rule", "rule is not specified".to_owned()))?;
        let optional_old = entry.get("optionalOldSelf").and_then(Value::as_bool).unwrap_or(false);
        let optional: &[&str] = if optional_old { &["oldSelf"] } else { &[] };
        let parse = |text: &str| runnable(parsed(text)?.0, &VARIABLES, optional);
        let (expression, loops) = parse(rule).map_err(|error| ("rule", error))?;
        let message_expression = text("messageExpression")
            .map(parse)
            .transpose()
            .map_err(|error| ("messageExpression", format!("messageExpression {error}")))?
            .map(|(expression, _)| expression);
        let kind = match text("reason") {
            None | Some("FieldValueInvalid") => FieldErrorKind::Invalid,
            Some("FieldValueForbidden") => FieldErrorKind::Forbidden,
            Some("FieldValueRequired") => FieldErrorKind::Required,
            Some("FieldValueDuplicate") => FieldErrorKind::Duplicate,
            Some(other) => return Err(("reason", format!("unsupported reason {other:?}"))),
        };
        Ok(Self {
            transition: expression.references().has_variable("oldSelf"),
            expression,
            text: rule.trim().into(),
            message: text("message").map(|text| text.trim().into()),
            message_expression,
            kind,
            field_path: None,
            optional_old,
            loops,
        })
    }

    /// Whether the rule of an entry is about the old value, whatever else is wrong with it.
    pub(super) fn is_transition(entry: &Value) -> bool {
        let text = entry.get("rule").and_then(Value::as_str).unwrap_or_default();
        parsed(text).is_ok_and(|(expression, _)| expression.references().has_variable("oldSelf"))
    }

    /// What messages call the rule.
    fn name(&self) -> &str {
        self.message.as_deref().unwrap_or(&self.text)
    }
}

/// What rules may name.
const VARIABLES: [&str; 2] = ["self", "oldSelf"];

/// The form in which an expression over named values is run, and how many of
/// its loops are within one another; `optional` are variables with optionals.
fn runnable(
    mut expression: IdedExpr,
    variables: &[&str],
    optional: &[&str],
) -> Result<(IdedExpr, u32), String> {
    macros::run_form(&mut expression, optional);
    let loops = LIBRARY
        .with(|library| rule_scope::check(&expression, library, variables))
        .map_err(|error| failed(&error))?;
    Ok((expression, loops))
}

fn failed(error: &dyn fmt::Display) -> String {
    format!("compilation failed: {error}")
}

/// An expression with its macros expanded, and where their parts came from.
fn parsed(text: &str) -> Result<(IdedExpr, Numbers), String> {
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
    let mut expression = parser().parse(&single_negations(text)).map_err(|error| failed(&printed(&error)))?;
    let shallow = |expression: &IdedExpr| {
        let deep = walk::is_deeper(expression, MAX_DEPTH);
        if deep {
            Err(failed(&format!("expression is nested deeper than {MAX_DEPTH} levels")))
        } else {
            Ok(())
        }
    };
    shallow(&expression)?;
    let numbers = macros::expand(&mut expression)
        .map_err(|wrong| failed(&located::printed(text, wrong, &Numbers::default())))?;
    shallow(&expression)?;
    Ok((expression, numbers))
}

/// The value that the rules of a node are about.
pub(crate) struct Subject(Rc<Declared>);

/// What is expected of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Condition,
    Text,
}

/// Why an expression is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It does not compile.
    Broken(String),
    /// It is of another type than expected.
    OtherType,
}

impl Subject {
    /// Nothing when rules cannot see values of the node, since it has no type.
    pub(crate) fn of(node: &Node) -> Option<Self> {
        Declared::of(node).map(Self)
    }

    /// How often the value can occur in one object.
    pub(crate) fn cardinality(&self) -> u64 {
        self.0.cardinality()
    }

    /// The highest cost of an expression about the value.
    pub(crate) fn judge(&self, text: &str, optional_old: bool, wanted: Wanted) -> Result<u64, Unfit> {
        let (expression, numbers) = parsed(text).map_err(Unfit::Broken)?;
        let own = Declared::type_of(&self.0);
        let old = if optional_old { Type::optional(own.clone()) } else { own.clone() };
        let broken = |wrong| Unfit::Broken(failed(&located::printed(text, wrong, &numbers)));
        let variables = vec![("self".to_owned(), own), ("oldSelf".to_owned(), old)];
        let typed = infer::infer(&expression, variables).map_err(broken)?;
        let wrong = literals::check(&expression, &typed);
        if !wrong.is_empty() {
            return Err(broken(wrong));
        }
        let of = match wanted {
            Wanted::Condition => Type::Bool,
            Wanted::Text => Type::String,
        };
        if *typed.type_of(&expression) != of {
            return Err(Unfit::OtherType);
        }
        Ok(cost::estimate(&expression, &typed, &self.0))
    }
}

fn parser() -> Parser {
    Parser::default().enable_optional_syntax(true)
}

/// The text with pairs of `!` as blanks, since the parser takes an even number
/// of them for one.
fn single_negations(text: &str) -> Cow<'_, str> {
    if !text.contains("!!") {
        return Cow::Borrowed(text);
    }
    let (mut out, mut quoted) = (String::with_capacity(text.len()), None);
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let mut taken = next.len_utf8();
        match (quoted, next) {
            (None, '!') if rest.starts_with("!!") && !rest.starts_with("!!=") => {
                out.push_str("  ");
                rest = &rest[2..];
                continue;
            }
            (None, '"' | '\'') => quoted = Some(next),
            (Some(_), '\\') => taken += rest[1..].chars().next().map_or(0, char::len_utf8),
            (Some(quote), _) if next == quote => quoted = None,
            _ => {}
        }
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    Cow::Owned(out)
}

/// Errors of the parser as cel-go prints them.
fn printed(errors: &ParseErrors) -> String {
    errors.to_string().replace("\n| ", "\n | ")
}

/// The values a rule is run on.
pub(super) struct Scopes<'a> {
    plain: Context<'a>,
    /// With `oldSelf` as an optional.
    optional: Option<Context<'a>>,
    node: &'a Node,
    longest: u64,
    type_name: &'static str,
}

/// What running a rule came to.
pub(super) enum Outcome {
    Holds,
    /// Broken, or it cannot be run on this value.
    Broken(FieldError),
    /// It would take too long; the steps it would take.
    TooCostly(FieldError),
}

/// Runs `run` with the values of one node in scope.
pub(super) fn scoped<T>(
    node: &Node,
    value: &Value,
    old: Option<&Value>,
    run: impl FnOnce(&Scopes<'_>) -> T,
) -> T {
    LIBRARY.with(|library| {
        let own = to_cel(Some(node), value);
        let before = || old.map(|old| to_cel(Some(node), old));
        let mut plain = library.new_inner_scope();
        let optional = node.rules.iter().any(|rule| rule.optional_old).then(|| {
            let mut scope = library.new_inner_scope();
            scope.add_variable_from_value("self", own.clone());
            let old = before().map_or_else(OptionalValue::none, OptionalValue::of);
            scope.add_variable_from_value("oldSelf", Cel::Opaque(Arc::new(old)));
            scope
        });
        if node.rules.iter().any(|rule| rule.transition)
            && let Some(old) = before()
        {
            plain.add_variable_from_value("oldSelf", old);
        }
        plain.add_variable_from_value("self", own);
        let longest = if node.rules.iter().any(|rule| rule.loops > 0) { longest(value) } else { 0 };
        run(&Scopes { plain, optional, node, longest, type_name: type_name(node) })
    })
}

impl Scopes<'_> {
    /// The type of the value, as messages name it.
    pub(super) fn type_name(&self) -> &'static str {
        self.type_name
    }
}

/// Evaluates an expression over named values.
///
/// # Errors
/// What CEL says went wrong.
pub(crate) fn execute<'a>(
    expression: &IdedExpr,
    values: impl IntoIterator<Item = (&'a str, Cel)>,
) -> Result<Cel, String> {
    LIBRARY.with(|library| {
        let mut scope = library.new_inner_scope();
        for (name, value) in values {
            scope.add_variable_from_value(name, value);
        }
        Cel::resolve(expression, &scope).map_err(|error| reason(&error))
    })
}

/// A JSON value that no schema types.
pub(crate) fn value(value: &Value) -> Cel {
    to_cel(None, value)
}

impl Rule {
    /// How many steps the rule takes at most: loops within loops over the
    /// longest list.
    pub(super) fn steps(&self, scopes: &Scopes<'_>) -> u64 {
        scopes.longest.max(1).saturating_pow(self.loops).saturating_mul(10)
    }

    /// Runs the rule on the value at `path`.
    pub(super) fn run(&self, scopes: &Scopes<'_>, value: &Value, path: &str) -> Outcome {
        let invalid = |detail: String| FieldError::invalid(root_or(path), scopes.type_name, detail);
        if self.steps(scopes) > MAX_STEPS {
            let detail = format!(
                "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                self.name()
            );
            return Outcome::TooCostly(invalid(detail));
        }
        match Cel::resolve(&self.expression, self.scope(scopes)) {
            Ok(Cel::Bool(true)) => Outcome::Holds,
            Ok(Cel::Bool(false)) => Outcome::Broken(self.broken(scopes, value, path)),
            Ok(_) | Err(ExecutionError::NoSuchOverload) => Outcome::Broken(invalid(format!(
                "'no such overload': call arguments did not match a supported operator, function or macro signature for rule: {}",
                self.name()
            ))),
            Err(error) => {
                Outcome::Broken(invalid(format!("{} evaluating rule: {}", reason(&error), self.name())))
            }
        }
    }

    fn scope<'a>(&self, scopes: &'a Scopes<'a>) -> &'a Context<'a> {
        scopes.optional.as_ref().filter(|_| self.optional_old).unwrap_or(&scopes.plain)
    }

    fn broken(&self, scopes: &Scopes<'_>, value: &Value, path: &str) -> FieldError {
        let said = self.message_expression.as_ref().and_then(|expression| {
            let Ok(Cel::String(text)) = Cel::resolve(expression, self.scope(scopes)) else { return None };
            let text = text.trim();
            (!text.is_empty() && !text.contains('\n') && text.len() <= 5 * 1024).then(|| text.to_owned())
        });
        let detail = said.unwrap_or_else(|| match &self.message {
            Some(message) => message.to_string(),
            None => format!("failed rule: {}", self.text),
        });
        let field = match &self.field_path {
            None => root_or(path),
            Some(inner) if path.is_empty() => inner.to_string(),
            Some(inner) if inner.starts_with('[') => format!("{path}{inner}"),
            Some(inner) => format!("{path}.{inner}"),
        };
        // Whole objects and lists are not shown.
        let shown = match scopes.node.kind {
            Kind::Object | Kind::Array => None,
            _ => Some(value.clone()),
        };
        let detail = if self.kind == FieldErrorKind::Duplicate { String::new() } else { detail };
        FieldError { field, kind: self.kind, bad_value: shown, detail, printed: None }
    }
}

/// Messages name the root `<nil>`.
fn root_or(path: &str) -> String {
    if path.is_empty() { "<nil>".to_owned() } else { path.to_owned() }
}

/// An error of the evaluation in cel-go's words.
fn reason(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("no such key: {key}"),
        ExecutionError::DivisionByZero(_) => "division by zero".to_owned(),
        ExecutionError::RemainderByZero(_) => "modulus by zero".to_owned(),
        ExecutionError::Overflow(..) => "integer overflow".to_owned(),
        ExecutionError::IndexOutOfBounds(Cel::Int(index)) => format!("index out of bounds: {index}"),
        ExecutionError::FunctionError { function, .. } if function == "quantity" => {
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
                .to_owned()
        }
        ExecutionError::FunctionError { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

/// The type a node asks for, in messages about its rules.
fn type_name(node: &Node) -> &'static str {
    match node.kind {
        Kind::Any | Kind::IntOrString => "",
        Kind::Object => "object",
        Kind::Array => "array",
        Kind::String => "string",
        Kind::Integer => "integer",
        Kind::Number => "number",
        Kind::Boolean => "boolean",
    }
}
