//! Files with `contentFormat: Template`: the part of Go's text/template that node scripts need.
//!
//! Served are `.controlPlane.version`, `if`, `else if`, `else` and `end`, literals, pipelines, comments, the
//! marks that trim white space, and the functions [`FUNCTIONS`]. Everything else is refused by name instead of
//! being rendered wrongly.

mod evaluate;
mod parse;

use thiserror::Error;

/// What a template may become, in bytes (as upstream).
const LIMIT: usize = 1024 * 1024;
/// How deep conditions and parentheses may stand in each other.
const DEPTH: usize = 50;
/// The functions, as in Go.
const FUNCTIONS: [&str; 12] =
    ["and", "eq", "ge", "gt", "le", "len", "lt", "ne", "not", "or", "print", "printf"];

/// Why a template is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// `{{` without `}}`.
    #[error("an action that starts with {{{{ does not end: close it with }}}}")]
    Open,
    /// An action that is not served.
    #[error(
        "the action {{{{{0}}}}} is not served: use .controlPlane.version, if, else, end and simple functions, \
         or plain text"
    )]
    Unserved(String),
    /// An action that no template has.
    #[error("the action {{{{{action}}}}} is wrong: {why}")]
    Wrong {
        /// What stands between the braces.
        action: String,
        /// What is wrong.
        why: &'static str,
    },
    /// `if` without `end`.
    #[error("an if has no end: close it with {{{{ end }}}}")]
    NoEnd,
    /// The version is used, but nobody knows it.
    #[error("it uses .controlPlane.version, but the control plane of this cluster has no version")]
    NoVersion,
    /// The result is too long.
    #[error("it becomes longer than {LIMIT} bytes: make it shorter")]
    TooLong,
}

/// A piece of a template.
#[derive(Debug)]
enum Node {
    Text(String),
    Print(Action),
    If {
        /// Each condition with what it stands for; the first that holds counts.
        branches: Vec<(Action, Vec<Node>)>,
        otherwise: Vec<Node>,
    },
}

/// A pipeline, and how it was written.
#[derive(Debug)]
struct Action {
    written: String,
    pipe: Pipe,
}

/// Commands, each of which gets what the one before gives as its last operand.
type Pipe = Vec<Vec<Operand>>;

#[derive(Debug)]
enum Operand {
    /// `.controlPlane.version`.
    Version,
    Value(Value),
    Function(&'static str),
    Inner(Pipe),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd)]
enum Value {
    Text(String),
    Truth(bool),
    Number(i64),
}

/// Renders a template; `version` is the control plane's, if it has one.
///
/// # Errors
/// [`TemplateError`] if the template uses what is not served.
pub fn render(template: &str, version: Option<&str>) -> Result<String, TemplateError> {
    let nodes = parse::parse(template)?;
    let mut out = String::with_capacity(template.len());
    evaluate::all(&nodes, version, &mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A template, and what it becomes.
    #[test]
    fn renders_what_is_served() {
        #[rustfmt::skip]
        let cases = [
            ("", ""),
            ("plain } text {", "plain } text {"),
            ("v={{ .controlPlane.version }};", "v=v1.35.0;"),
            ("{{.controlPlane.version}}{{.controlPlane.version}}", "v1.35.0v1.35.0"),
            ("a  {{- .controlPlane.version -}}  b", "av1.35.0b"),
            ("a  {{- .controlPlane.version }}  b", "av1.35.0  b"),
            ("a  {{ .controlPlane.version -}}  \n b", "a  v1.35.0b"),
            ("a{{/* note }} */}}b", "ab"),
            ("a {{- /* note */ -}} b", "ab"),
            (r#"{{ "}}" }}{{ `"` }}{{ "\t\"" }}"#, "}}\"\t\""),
            ("{{ if .controlPlane.version }}yes{{ else }}no{{ end }}", "yes"),
            (r#"{{ if "" }}yes{{ else }}no{{ end }}"#, "no"),
            (r#"{{ if eq .controlPlane.version "v1.34.0" "v1.35.0" }}yes{{ end }}"#, "yes"),
            (r#"{{ if ne .controlPlane.version "v1.35.0" }}yes{{ end }}"#, ""),
            (r#"{{if eq 1 2}}a{{else if eq "x" "x"}}b{{else}}c{{end}}"#, "b"),
            ("{{if false}}a{{else if false}}b{{else}}c{{end}}", "c"),
            ("{{if true}}{{if false}}a{{else}}b{{end}}{{end}}c", "bc"),
            ("x\n{{- if true }}\ny\n{{- end }}\nz", "x\ny\nz"),
            (r#"{{ if and (ge .controlPlane.version "v1.31.0") (not false) }}new{{ end }}"#, "new"),
            (r#"{{ or "" "second" "third" }} {{ and "first" "" }}|"#, "second |"),
            (r#"{{ if or (lt "b" "a") (gt 2 1) (le 1 0) }}yes{{ end }}"#, "yes"),
            (r#"{{ .controlPlane.version | printf "%s-%q" "k" }}"#, r#"k-"v1.35.0""#),
            (r#"{{ printf "%d%% %v %s" 5 true "x" }}"#, "5% true x"),
            (r#"{{ print "a" .controlPlane.version "b" }}{{ print 1 2 true }}"#, "av1.35.0b1 2 true"),
            ("{{ len .controlPlane.version }}", "7"),
            ("{{ true }} {{ -3 }}", "true -3"),
            ("{{ (((.controlPlane.version))) }}", "v1.35.0"),
        ];
        for (template, expected) in cases {
            assert_eq!(render(template, Some("v1.35.0")).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn refuses_the_rest_by_name() {
        let unserved = "is not served: use .controlPlane.version";
        #[rustfmt::skip]
        let cases = [
            ("{{ .secret }}", unserved),
            ("{{ . }}", unserved),
            ("{{ .controlPlane }}", unserved),
            ("{{ .controlPlane.version.major }}", unserved),
            ("{{ range .controlPlane.version }}{{ end }}", unserved),
            ("{{ with .controlPlane.version }}{{ end }}", unserved),
            ("{{ template \"x\" }}", unserved),
            ("{{ $v := .controlPlane.version }}", unserved),
            ("{{ semverCompare \">1\" .controlPlane.version }}", unserved),
            ("{{ 1.5 }}", unserved),
            ("{{ .controlPlane.version", "does not end: close it with }}"),
            ("{{ \"text }}", "does not end: close it with }}"),
            ("{{/* note }}", "does not end: close it with }}"),
            ("{{ if true }}", "an if has no end"),
            ("{{ end }}", "is wrong: there is no if before it"),
            ("{{ if true }}{{ else }}{{ else }}{{ end }}", "is wrong: there is no if before it"),
            ("{{ else }}", "is wrong: there is no if before it"),
            ("{{ end of }}", "is wrong: it takes nothing"),
            ("{{ if }}{{ end }}", "is wrong: something is missing"),
            ("{{ }}", "is wrong: something is missing"),
            ("{{ true | }}", "is wrong: something is missing"),
            ("{{ (true }}", "is wrong: a parenthesis does not end"),
            ("{{ true) }}", "is wrong: a parenthesis does not begin"),
            ("{{ eq 1 }}", "is wrong: a function has the wrong number of operands"),
            ("{{ not true false }}", "is wrong: a function has the wrong number of operands"),
            ("{{ eq 1 \"1\" }}", "is wrong: values of different types are compared"),
            ("{{ \"a\" \"b\" }}", "is wrong: only functions take operands"),
            ("{{ len 5 }}", "is wrong: only text has a length"),
            ("{{ printf 5 }}", "is wrong: the format is no text"),
            ("{{ printf \"%x\" \"a\" }}", "is wrong: the format knows only"),
            ("{{ printf \"%s\" }}", "is wrong: the format does not fit its operands"),
            ("{{ printf \"\" 1 }}", "is wrong: the format does not fit its operands"),
        ];
        for (template, expected) in cases {
            let said = render(template, Some("v1.35.0")).unwrap_or_else(|error| error.to_string());
            assert!(said.contains(expected), "{template}: {said}");
        }
    }

    #[test]
    fn a_version_that_nobody_knows_is_missed_where_it_is_used() {
        assert_eq!(render("{{ .controlPlane.version }}", None), Err(TemplateError::NoVersion));
        assert_eq!(render("{{ if false }}{{ .controlPlane.version }}{{ end }}x", None), Ok("x".to_owned()));
        assert_eq!(render("text", None), Ok("text".to_owned()));
    }

    #[test]
    fn neither_length_nor_depth_is_endless() {
        let long = "x".repeat(LIMIT);
        assert_eq!(render(&long, None).map(|text| text.len()), Ok(LIMIT));
        assert_eq!(render(&format!("{long}x"), None), Err(TemplateError::TooLong));
        assert_eq!(render(&format!("{long}{{{{ 1 }}}}"), None), Err(TemplateError::TooLong));
        let nested = |depth: usize| format!("{}x{}", "{{if true}}".repeat(depth), "{{end}}".repeat(depth));
        assert_eq!(render(&nested(DEPTH), None), Ok("x".to_owned()));
        assert!(render(&nested(100_000), None).is_err());
        let parentheses = |depth: usize| format!("{{{{ {}1{} }}}}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(render(&parentheses(DEPTH - 1), None), Ok("1".to_owned()));
        assert!(render(&parentheses(100_000), None).is_err());
    }
}
