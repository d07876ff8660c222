//! From nodes to text. Functions do what Go's do.

use std::cmp::Ordering;
use std::fmt;

use super::{Action, LIMIT, Node, Operand, Pipe, TemplateError, Value};

pub(super) fn all(nodes: &[Node], version: Option<&str>, out: &mut String) -> Result<(), TemplateError> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Print(action) => out.push_str(&Scope { action, version }.value()?.to_string()),
            Node::If { branches, otherwise } => {
                let mut chosen = otherwise;
                for (action, nodes) in branches {
                    if (Scope { action, version }).value()?.holds() {
                        chosen = nodes;
                        break;
                    }
                }
                all(chosen, version, out)?;
            }
        }
        if out.len() > LIMIT {
            return Err(TemplateError::TooLong);
        }
    }
    Ok(())
}

impl Value {
    /// As Go's `if` sees it.
    fn holds(&self) -> bool {
        match self {
            Self::Text(text) => !text.is_empty(),
            Self::Truth(truth) => *truth,
            Self::Number(number) => *number != 0,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Truth(truth) => write!(f, "{truth}"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

/// An action, and what it may use.
struct Scope<'a> {
    action: &'a Action,
    version: Option<&'a str>,
}

impl Scope<'_> {
    fn value(&self) -> Result<Value, TemplateError> {
        self.pipe(&self.action.pipe)
    }

    fn wrong(&self, why: &'static str) -> TemplateError {
        TemplateError::Wrong { action: self.action.written.clone(), why }
    }

    fn pipe(&self, pipe: &Pipe) -> Result<Value, TemplateError> {
        let mut carried = None;
        for command in pipe {
            carried = Some(self.command(command, carried)?);
        }
        carried.ok_or_else(|| self.wrong("something is missing"))
    }

    fn command(&self, command: &[Operand], carried: Option<Value>) -> Result<Value, TemplateError> {
        match command {
            [Operand::Function(name), operands @ ..] => self.call(name, operands, carried),
            [one] if carried.is_none() => self.operand(one),
            _ => Err(self.wrong("only functions take operands")),
        }
    }

    fn operand(&self, operand: &Operand) -> Result<Value, TemplateError> {
        match operand {
            Operand::Version => {
                self.version.map(|version| Value::Text(version.to_owned())).ok_or(TemplateError::NoVersion)
            }
            Operand::Value(value) => Ok(value.clone()),
            Operand::Function(name) => self.call(name, &[], None),
            Operand::Inner(pipe) => self.pipe(pipe),
        }
    }

    fn call(&self, name: &str, operands: &[Operand], carried: Option<Value>) -> Result<Value, TemplateError> {
        let number = || self.wrong("a function has the wrong number of operands");
        // `and` and `or` stop at the first operand that decides, and give it.
        if name == "and" || name == "or" {
            let mut last = None;
            for operand in operands {
                let value = self.operand(operand)?;
                if value.holds() == (name == "or") {
                    return Ok(value);
                }
                last = Some(value);
            }
            return carried.or(last).ok_or_else(number);
        }
        let values: Result<Vec<Value>, _> = operands.iter().map(|operand| self.operand(operand)).collect();
        let values: Vec<Value> = values?.into_iter().chain(carried).collect();
        match (name, values.as_slice()) {
            ("not", [one]) => Ok(Value::Truth(!one.holds())),
            ("len", [Value::Text(text)]) => Ok(Value::Number(i64::try_from(text.len()).unwrap_or(i64::MAX))),
            ("len", [_]) => Err(self.wrong("only text has a length")),
            ("eq", [one, others @ ..]) if !others.is_empty() => {
                let mut equal = false;
                for other in others {
                    equal |= self.compare(one, other)? == Ordering::Equal;
                }
                Ok(Value::Truth(equal))
            }
            ("ne" | "lt" | "le" | "gt" | "ge", [one, other]) => {
                let order = self.compare(one, other)?;
                Ok(Value::Truth(match name {
                    "ne" => order.is_ne(),
                    "lt" => order.is_lt(),
                    "le" => order.is_le(),
                    "gt" => order.is_gt(),
                    _ => order.is_ge(),
                }))
            }
            ("print", values) => Ok(Value::Text(print(values))),
            ("printf", [Value::Text(format), values @ ..]) => self.printf(format, values).map(Value::Text),
            ("printf", [_, ..]) => Err(self.wrong("the format is no text")),
            (_, _) => Err(number()),
        }
    }

    /// Text is ordered by its bytes.
    fn compare(&self, one: &Value, other: &Value) -> Result<Ordering, TemplateError> {
        match (one, other) {
            (Value::Text(one), Value::Text(other)) => Ok(one.cmp(other)),
            (Value::Truth(one), Value::Truth(other)) => Ok(one.cmp(other)),
            (Value::Number(one), Value::Number(other)) => Ok(one.cmp(other)),
            (Value::Text(_) | Value::Truth(_) | Value::Number(_), _) => {
                Err(self.wrong("values of different types are compared"))
            }
        }
    }

    fn printf(&self, format: &str, values: &[Value]) -> Result<String, TemplateError> {
        let mut out = String::new();
        let mut values = values.iter();
        let mut letters = format.chars();
        let fit = || self.wrong("the format does not fit its operands");
        while let Some(letter) = letters.next() {
            if letter != '%' {
                out.push(letter);
                continue;
            }
            match (letters.next(), values.as_slice().first()) {
                (Some('%'), _) => {
                    out.push('%');
                    continue;
                }
                (Some('v'), Some(value))
                | (Some('s'), Some(value @ Value::Text(_)))
                | (Some('d'), Some(value @ Value::Number(_))) => out.push_str(&value.to_string()),
                (Some('q'), Some(Value::Text(text))) => {
                    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
                    let quoted = quoted.replace('\n', "\\n").replace('\t', "\\t");
                    out.push('"');
                    out.push_str(&quoted);
                    out.push('"');
                }
                (Some('v' | 's' | 'd' | 'q'), _) => return Err(fit()),
                (_, _) => return Err(self.wrong("the format knows only %s, %q, %d, %v and %%")),
            }
            values.next();
        }
        if values.next().is_some() { Err(fit()) } else { Ok(out) }
    }
}

/// As Go prints operands: a space between two that are both no text.
fn print(values: &[Value]) -> String {
    let mut out = String::new();
    for (at, value) in values.iter().enumerate() {
        let spaced = at > 0 && ![&values[at - 1], value].iter().any(|value| matches!(value, Value::Text(_)));
        if spaced {
            out.push(' ');
        }
        out.push_str(&value.to_string());
    }
    out
}
