//! YAML that every reader reads alike.
//!
//! cloud-init reads YAML 1.1, kubeadm and kubelet something in between: `no`, `0644`, `12:30` and `1_000`
//! are not strings to all of them. Here a string is written plain only if nobody can take it for anything
//! else, as a block if it has lines, and otherwise in JSON's quotes. The output of this module is also
//! free of anchors, tags and flow collections.

use std::fmt::Write as _;

use serde_json::Value;

/// Words that some version of YAML takes for a boolean or null.
const RESERVED: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan"];

/// `value` as a YAML document, without a `---`.
pub fn document(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(_) | Value::Array(_) => collection(&mut out, value, 0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&inline(value));
            out.push('\n');
        }
    }
    out
}

fn collection(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(members) => {
            for (at, (key, member)) in members.iter().enumerate() {
                // The first member of a list item stands on the dash's own line.
                if at > 0 || !out.ends_with("- ") {
                    pad(out, indent);
                }
                out.push_str(&scalar(key));
                out.push(':');
                after(out, member, indent);
            }
        }
        Value::Array(items) => {
            for item in items {
                pad(out, indent);
                out.push('-');
                match item {
                    Value::Object(members) if !members.is_empty() => {
                        out.push(' ');
                        collection(out, item, indent + 2);
                    }
                    _ => after(out, item, indent),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What follows `key:` or `-`.
fn after(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            out.push('\n');
            collection(out, value, indent + 2);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            collection(out, value, indent + 2);
        }
        Value::String(text) if is_block(text) => block(out, text, indent + 2),
        Value::Object(_)
        | Value::Array(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_) => {
            out.push(' ');
            out.push_str(&inline(value));
            out.push('\n');
        }
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => scalar(text),
        Value::Array(_) => "[]".to_owned(),
        Value::Object(_) => "{}".to_owned(),
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Whether a text may be written as a literal block.
fn is_block(text: &str) -> bool {
    let plain = |c: char| c == '\n' || c == '\t' || !odd(c);
    // A first line that is empty or indented would set the block's indentation.
    text.trim_end_matches('\n').contains('\n')
        && !text.starts_with([' ', '\t', '\n'])
        && text.chars().all(plain)
}

fn block(out: &mut String, text: &str, indent: usize) {
    let end = text.len() - text.trim_end_matches('\n').len();
    out.push_str(match end {
        0 => " |-\n",
        1 => " |\n",
        _ => " |+\n",
    });
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if !line.is_empty() {
            pad(out, indent);
            out.push_str(line);
        }
        out.push('\n');
    }
}

/// Characters that a reader may refuse, or take for the end of a line.
fn odd(c: char) -> bool {
    c.is_control() || matches!(c, '\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// A string on one line: plain where that is safe, otherwise in double quotes.
fn scalar(text: &str) -> String {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./@%+=-:".contains(c);
    let reserved = RESERVED.iter().any(|word| text.eq_ignore_ascii_case(word));
    if starts && text.chars().all(plain) && !text.ends_with(':') && !reserved {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if odd(c) => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn looks_like_this() {
        let value = json!({
            "files": [{ "path": "/etc/x", "content": "a\n  b\n\nc\n", "mode": "0644" }, {}, [], ["a", ["b"]]],
            "empty": {}, "no": "no", "n": 1, "t": true, "nothing": null,
        });
        let expected = r#"empty: {}
files:
  - content: |
      a
        b

      c
    mode: "0644"
    path: /etc/x
  - {}
  - []
  -
    - a
    -
      - b
"n": 1
"no": "no"
nothing: null
t: true
"#;
        assert_eq!(document(&value), expected);
    }

    const AWKWARD: &[&str] = &[
        "",
        " ",
        "a",
        "no",
        "YES",
        "~",
        "null",
        "0644",
        "1e3",
        "0x1f",
        "12:30:45",
        "1_000",
        "2026-11-21",
        "a: b",
        "a #b",
        "- a",
        "? a",
        "{a}",
        "[a]",
        "{{ ds.meta_data.local_hostname }}",
        "&a",
        "*a",
        "!a",
        "%a",
        "@a",
        "`a`",
        "'a'",
        "\"a\"",
        "a\\n",
        "a\nb",
        "a\nb\n",
        "a\n\n",
        "a\nb\n\n",
        "\na",
        " a\nb",
        "\ta\nb",
        "a\n b",
        "a\r\nb",
        "a\tb\nc",
        "a\u{85}b",
        "a\u{2028}b",
        "ü",
        "💡\nx",
        "a:",
        "a:b",
        "=",
        "<<",
        "---",
        "---\na",
        "a\n---\nb",
        "...",
        "a\n...\n",
        "|",
        ">",
        "key: |\n  x",
        "#cloud-config\na: b\n",
        "\u{7}",
    ];

    #[test]
    fn every_string_reads_back_as_itself() {
        for &text in AWKWARD {
            let value = json!({ "list": [text, { "key": text }], text: text, "z": [[text]] });
            let yaml = document(&value);
            let read: Value =
                serde_saphyr::from_str(&yaml).unwrap_or_else(|error| panic!("{text:?}: {error}\n{yaml}"));
            assert_eq!(read, value, "{text:?} became\n{yaml}");
        }
    }
}
