//! Variable substitution in cluster templates, in the dialect clusterctl's users know.
//!
//! `${V}`, `${V:=default}`, `${V=default}`, `${V:-default}`, `${V^}`, `${V^^}`, `${V,}`, `${V,,}`,
//! `${V:pos}`, `${V:pos:len}`, `${#V}`, `${V#glob}`, `${V##glob}`, `${V%glob}`, `${V%%glob}`,
//! `${V/old/new}`, `${V//old/new}`, `${V/#old/new}`, `${V/%old/new}`; `$${` stands for `${`. Arguments may
//! hold variables themselves. Spaces around a name are accepted, as in older templates.
//! Source of the rules: clusterctl's documentation of template variables, and the tests of
//! `drone/envsubst`, which it uses.

mod eval;
mod glob;
mod parse;

use std::collections::{BTreeMap, BTreeSet};

pub use parse::ParseError;
use parse::{Op, Piece};

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// What a template asks for: name → default, `None` where a value must be given.
pub type Variables = BTreeMap<String, Option<String>>;

/// A template cannot be rendered.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the template needs a value for {}: set {} in the environment, or see `--list-variables`",
    .missing.join(", "),
    if .missing.len() == 1 { "it" } else { "them" }
)]
pub struct MissingVariables {
    /// Sorted names.
    pub missing: Vec<String>,
}

impl Template {
    /// Parses a template; the error says on which line it went wrong.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::parse(text).map(|pieces| Self { pieces })
    }

    /// Every variable, with its default as far as that is plain text.
    pub fn variables(&self) -> Variables {
        let mut found = Variables::new();
        collect(&self.pieces, &mut found);
        found
    }

    /// Replaces every variable; reports all missing ones at once.
    pub fn render(&self, value: &dyn Fn(&str) -> Option<String>) -> Result<String, MissingVariables> {
        let mut missing = BTreeSet::new();
        let text = eval::pieces(&self.pieces, value, &mut missing);
        if missing.is_empty() {
            Ok(text)
        } else {
            Err(MissingVariables { missing: missing.into_iter().collect() })
        }
    }
}

fn collect(pieces: &[Piece], found: &mut Variables) {
    for piece in pieces {
        let Piece::Variable { name, op } = piece else { continue };
        let default = match op {
            Op::Default(default) => Some(plain(default)),
            Op::Plain
            | Op::Length
            | Op::Case { .. }
            | Op::Substring { .. }
            | Op::Trim { .. }
            | Op::Replace { .. } => None,
        };
        // One use without a default makes the variable required, whatever its other uses say.
        found
            .entry(name.clone())
            .and_modify(|known| {
                if default.is_none() {
                    *known = None;
                }
            })
            .or_insert(default);
        for argument in op.arguments() {
            collect(argument, found);
        }
    }
}

/// The text of a default, variables in it shown as such.
fn plain(pieces: &[Piece]) -> String {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Variable { name, .. } => format!("${{{name}}}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(variables: &str, text: &str) -> String {
        let known: BTreeMap<&str, &str> =
            variables.split_whitespace().filter_map(|pair| pair.split_once('=')).collect();
        match Template::parse(text) {
            Ok(template) => template
                .render(&|name| known.get(name).map(|value| (*value).to_owned()))
                .unwrap_or_else(|error| format!("missing {}", error.missing.join(" "))),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn every_form() {
        let cases = [
            ("", "no variables, $x and $ alone", "no variables, $x and $ alone"),
            ("A=1", "${A} ${ A } ${A}", "1 1 1"),
            ("", "${A} ${B} ${C:=c}", "missing A B"),
            ("", "${A:=x} ${A=y} ${A:-z} ${A:=}", "x y z "),
            ("A=1", "${A:=x}", "1"),
            ("D=foo", "${A:=pre-${D}-post}", "pre-foo-post"),
            ("D=foo", "${A:=${D^^}}", "FOO"),
            ("A=abcD", "${A^} ${A^^} ${A,} ${A,,} ${#A}", "AbcD ABCD abcD abcd 4"),
            ("A=abcdef", "${A:2} ${A:2:3} ${A:9} ${A:0:99}", "cdef cde  abcdef"),
            (
                "F=path/to/file.tar.gz",
                "${F##*.} ${F#*/} ${F%.*} ${F%%.*}",
                "gz to/file.tar.gz path/to/file.tar path/to/file",
            ),
            (
                "S=abcABCabc",
                "${S/abc/X} ${S//abc/X} ${S/#abc/X} ${S/%abc/X} ${S//abc/}",
                "XABCabc XABCX XABCabc abcABCX ABC",
            ),
            ("S=a/b/c", r"${S//\//-}", "a-b-c"),
            ("A=1", "$${A} ${A}", "${A} 1"),
            ("D=foo", "$${A:=${D}}", "${A:=foo}"),
            ("", "${A", "error: line 1: `${A` is never closed"),
            ("", "x\n${1 2}", "error: line 2: `1 2` is not a variable name"),
            ("", "${A:?x}", "error: line 1: `:?` is no operator here"),
        ];
        for (variables, text, expected) in cases {
            assert_eq!(render(variables, text), expected, "{text} with {variables}");
        }
    }

    #[test]
    fn variables_are_listed_with_their_defaults() {
        let template = Template::parse("${A} ${B:=b} ${C:=x-${D}} ${B}").unwrap();
        let listed: Vec<_> = template.variables().into_iter().collect();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            listed,
            [
                ("A".to_owned(), None),
                ("B".to_owned(), None),
                ("C".to_owned(), some("x-${D}")),
                ("D".to_owned(), None)
            ]
        );
    }
}
