//! Files with `contentFormat: Template`: the part of Go's text/template that node scripts need.
//!
//! Served are the variable `.controlPlane.version`, comments, and the marks that trim white space.
//! Everything else is refused by name instead of being rendered wrongly.

use thiserror::Error;

/// What a template may become, in bytes (as upstream).
const LIMIT: usize = 1024 * 1024;

/// Why a template is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// `{{` without `}}`.
    #[error("an action that starts with {{{{ does not end: close it with }}}}")]
    Open,
    /// An action that is not served.
    #[error("the action {{{{{0}}}}} is not served: use {{{{ .controlPlane.version }}}}, or plain text")]
    Unserved(String),
    /// The version is used, but nobody knows it.
    #[error("it uses .controlPlane.version, but the control plane of this cluster has no version")]
    NoVersion,
    /// The result is too long.
    #[error("it becomes longer than {LIMIT} bytes: make it shorter")]
    TooLong,
}

/// Renders a template; `version` is the control plane's, if it has one.
///
/// # Errors
/// [`TemplateError`] if the template uses what is not served.
pub fn render(template: &str, version: Option<&str>) -> Result<String, TemplateError> {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("{{") {
        let (text, action) = rest.split_at(start);
        let end = action.find("}}").ok_or(TemplateError::Open)?;
        let (inner, after) = (&action[2..end], &action[end + 2..]);
        // As in Go, a dash trims only if white space separates it from the action.
        let (inner, trims_left) = match inner.strip_prefix('-') {
            Some(rest) if rest.starts_with(char::is_whitespace) => (rest, true),
            _ => (inner, false),
        };
        let (inner, trims_right) = match inner.strip_suffix('-') {
            Some(rest) if rest.ends_with(char::is_whitespace) => (rest, true),
            _ => (inner, false),
        };
        out.push_str(if trims_left { text.trim_end() } else { text });
        let action = inner.trim();
        if action == ".controlPlane.version" {
            out.push_str(version.ok_or(TemplateError::NoVersion)?);
        } else if !(action.starts_with("/*") && action.ends_with("*/") && action.len() >= 4) {
            return Err(TemplateError::Unserved(inner.to_owned()));
        }
        rest = if trims_right { after.trim_start() } else { after };
    }
    out.push_str(rest);
    if out.len() > LIMIT { Err(TemplateError::TooLong) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_what_is_served_and_refuses_the_rest() {
        let cases = [
            ("", Ok("")),
            ("plain } text {", Ok("plain } text {")),
            ("v={{ .controlPlane.version }};", Ok("v=v1.35.0;")),
            ("{{.controlPlane.version}}{{.controlPlane.version}}", Ok("v1.35.0v1.35.0")),
            ("a  {{- .controlPlane.version -}}  b", Ok("av1.35.0b")),
            ("a  {{- .controlPlane.version }}  b", Ok("av1.35.0  b")),
            ("a  {{ .controlPlane.version -}}  \n b", Ok("a  v1.35.0b")),
            ("a{{/* note */}}b", Ok("ab")),
            (
                "{{ if eq .controlPlane.version \"v1\" }}",
                Err(TemplateError::Unserved(" if eq .controlPlane.version \"v1\" ".into())),
            ),
            ("{{ .secret }}", Err(TemplateError::Unserved(" .secret ".into()))),
            ("{{ .controlPlane.version", Err(TemplateError::Open)),
        ];
        for (template, expected) in cases {
            assert_eq!(render(template, Some("v1.35.0")), expected.map(str::to_owned), "{template}");
        }
        assert_eq!(render("{{ .controlPlane.version }}", None), Err(TemplateError::NoVersion));
        assert_eq!(render("text", None), Ok("text".to_owned()));
        let long = "x".repeat(LIMIT);
        assert_eq!(render(&long, None).map(|text| text.len()), Ok(LIMIT));
        assert_eq!(render(&format!("{long}x"), None), Err(TemplateError::TooLong));
    }
}
