//! How Go prints values: messages of Kubernetes show them so.

use std::fmt::Write as _;

use serde_json::{Number, Value};

/// As `%v`: `text`, `map[a:b c:d]`, `[x y]`, `<nil>`.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => self::number(number),
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            let items: Vec<String> = list.iter().map(plain).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let entries: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{}", plain(value))).collect();
            format!("map[{}]", entries.join(" "))
        }
    }
}

/// As `%#v`: `"text"`, `map[string]interface {}{"a":"b"}`, `[]interface {}{"x"}`.
pub fn literal(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(text) => crate::quote(text),
        Value::Array(list) => {
            let items: Vec<String> = list.iter().map(literal).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(map) => {
            let entries: Vec<String> =
                map.iter().map(|(key, value)| format!("{}:{}", crate::quote(key), literal(value))).collect();
            format!("map[string]interface {{}}{{{}}}", entries.join(", "))
        }
        Value::Bool(_) | Value::Number(_) => plain(value),
    }
}

/// As `%T`: the Go type a decoded value has.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// What Go's JSON decoder calls the type of a value.
pub fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// What Go's JSON decoder says of a value that does not fit `wanted`, such as `value of type []string`.
pub fn misfit(value: &Value, wanted: &str) -> String {
    format!("json: cannot unmarshal {} into Go {wanted}", json_type(value))
}

/// A number as `%v`: floats without a fraction look like integers.
fn number(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => {
            let size = float.abs();
            if size != 0.0 && !(1e-4..1e21).contains(&size) {
                let text = format!("{float:e}");
                let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
                let (sign, exponent) = match exponent.strip_prefix('-') {
                    Some(exponent) => ('-', exponent),
                    None => ('+', exponent),
                };
                return format!("{digits}e{sign}{exponent:0>2}");
            }
            format!("{float}")
        }
        _ => number.to_string(),
    }
}

/// JSON as Go encodes it: what means something in HTML is escaped.
pub fn json(value: &Value) -> String {
    let plain = value.to_string();
    if !plain.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return plain;
    }
    let mut out = String::with_capacity(plain.len());
    for c in plain.chars() {
        // Outside of texts none of these occurs in JSON.
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_print_as_in_go() {
        for (value, v, sharp) in [
            (json!(null), "<nil>", "interface {}(nil)"),
            (json!(true), "true", "true"),
            (json!(-3), "-3", "-3"),
            (json!(3.0), "3", "3"),
            (json!(1.5), "1.5", "1.5"),
            (json!(1e21), "1e+21", "1e+21"),
            (json!(2.5e-7), "2.5e-07", "2.5e-07"),
            (json!("a \"b\""), "a \"b\"", r#""a \"b\"""#),
            (json!(["a", 1]), "[a 1]", r#"[]interface {}{"a", 1}"#),
            (
                json!({"b": [], "a": {}}),
                "map[a:map[] b:[]]",
                r#"map[string]interface {}{"a":map[string]interface {}{}, "b":[]interface {}{}}"#,
            ),
        ] {
            assert_eq!((plain(&value).as_str(), literal(&value).as_str()), (v, sharp), "{value}");
        }
        assert_eq!(json(&json!({"a": "<&>\u{2028}é"})), r#"{"a":"\u003c\u0026\u003e\u2028é"}"#);
    }
}
