//! As much of Jinja as bootstrap data uses: variables of the instance metadata, comments, raw text.
//!
//! cloud-init renders a document that starts with `## template: jinja` before it reads it. What is not
//! supported is refused, because text that stays as it is would surprise later and elsewhere.

use super::{BootstrapDataError, LARGEST_DATA, Metadata, Result};

/// Fills in what a template asks for.
pub(super) fn render(text: &str, metadata: &Metadata) -> Result<String> {
    let mut template = Template { whole: text, at: 0, out: String::with_capacity(text.len()) };
    while let Some(offset) = template.rest().find('{') {
        template.copy(offset);
        if template.out.len() > LARGEST_DATA {
            return Err(BootstrapDataError::TooLarge { mebibytes: LARGEST_DATA >> 20 });
        }
        match template.rest().as_bytes().get(1) {
            Some(b'{') => template.variable(metadata)?,
            Some(b'%') => template.statement()?,
            Some(b'#') => template.comment()?,
            Some(_) | None => template.copy(1),
        }
    }
    template.copy(template.rest().len());
    Ok(template.out)
}

struct Template<'a> {
    whole: &'a str,
    at: usize,
    out: String,
}

impl<'a> Template<'a> {
    fn rest(&self) -> &'a str {
        &self.whole[self.at..]
    }

    fn copy(&mut self, bytes: usize) {
        self.out.push_str(&self.whole[self.at..self.at + bytes]);
        self.at += bytes;
    }

    fn line(&self, at: usize) -> usize {
        self.whole[..at].matches('\n').count() + 1
    }

    fn refuse<T>(&self, at: usize, what: &'static str) -> Result<T> {
        Err(BootstrapDataError::Template { line: self.line(at), what })
    }

    /// Takes a tag off the rest, given its length, and what its dashes trim.
    fn tag(&mut self, length: usize) -> &'a str {
        let inner = &self.rest()[2..length - 2];
        self.at += length;
        let inner = match inner.strip_prefix('-') {
            Some(inner) => {
                self.out.truncate(self.out.trim_end().len());
                inner
            }
            None => inner.strip_prefix('+').unwrap_or(inner),
        };
        match inner.strip_suffix('-') {
            Some(inner) => {
                self.at = self.whole.len() - self.rest().trim_start().len();
                inner
            }
            None => inner,
        }
    }

    fn variable(&mut self, metadata: &Metadata) -> Result<()> {
        let Some(length) = closed(self.rest(), "}}") else {
            return self.refuse(self.at, "`{{` without `}}`");
        };
        let start = self.at;
        let inner = self.tag(length).trim();
        if let Some(text) = literal(inner) {
            self.out.push_str(text);
            return Ok(());
        }
        let Some(path) = path(inner) else {
            return self.refuse(start, "an expression that is not a variable");
        };
        let Some(value) = metadata.lookup(&path) else {
            let (line, name) = (self.line(start), path.join("."));
            return Err(BootstrapDataError::UnknownVariable { line, name });
        };
        self.out.push_str(value);
        Ok(())
    }

    fn comment(&mut self) -> Result<()> {
        let Some(end) = self.rest()[2..].find("#}") else {
            return self.refuse(self.at, "`{#` without `#}`");
        };
        self.tag(2 + end + 2);
        self.skip_newline();
        Ok(())
    }

    /// Text between `{% raw %}` and `{% endraw %}` stays; no other statement is known.
    fn statement(&mut self) -> Result<()> {
        let Some(length) = closed(self.rest(), "%}") else {
            return self.refuse(self.at, "`{%` without `%}`");
        };
        if statement_name(self.rest()) != "raw" {
            return self.refuse(self.at, "a statement (`{%`)");
        }
        let start = self.at;
        self.tag(length);
        self.skip_newline();
        while let Some(offset) = self.rest().find("{%") {
            self.copy(offset);
            if statement_name(self.rest()) == "endraw"
                && let Some(length) = closed(self.rest(), "%}")
            {
                self.tag(length);
                self.skip_newline();
                return Ok(());
            }
            self.copy(2);
        }
        self.refuse(start, "`{% raw %}` without `{% endraw %}`")
    }

    /// cloud-init asks Jinja to take the newline after a block with it.
    fn skip_newline(&mut self) {
        if self.rest().starts_with('\n') {
            self.at += 1;
        }
    }
}

/// Length of the tag at the start of `text`, whose end is `close` outside of quotes.
fn closed(text: &str, close: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices().skip(2) {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, _) if text[at..].starts_with(close) => return Some(at + close.len()),
            (Some(_) | None, _) => {}
        }
    }
    None
}

/// The first word of a statement: `raw` of `{%- raw %}`.
fn statement_name(tag: &str) -> &str {
    let inner = tag[2..].trim_start_matches(['-', '+']).trim_start();
    let end = inner.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(inner.len());
    &inner[..end]
}

/// The text of a string without escapes.
fn literal(expression: &str) -> Option<&str> {
    let quote = expression.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inner = expression[1..].strip_suffix(quote)?;
    (!inner.contains([quote, '\\'])).then_some(inner)
}

/// `a.b`, `a['b']` and `a["b"]`, with `_` for `-`.
fn path(expression: &str) -> Option<Vec<String>> {
    let mut path = Vec::new();
    let mut rest = expression;
    loop {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        if end == 0 {
            return None;
        }
        path.push(rest[..end].to_owned());
        rest = rest[end..].trim_start();
        while let Some(inner) = rest.strip_prefix('[') {
            let (key, behind) = inner.split_once(']')?;
            path.push(literal(key.trim())?.replace('-', "_"));
            rest = behind.trim_start();
        }
        if rest.is_empty() {
            return Some(path);
        }
        rest = rest.strip_prefix('.')?.trim_start();
    }
}

impl Metadata {
    /// A variable as cloud-init names it: under `ds.meta_data`, under `v1`, or of `v1` by its last name.
    fn lookup(&self, path: &[String]) -> Option<&str> {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["ds", "meta_data", name] => match *name {
                "hostname" => Some(&self.hostname),
                other => self.common(other).or_else(|| self.more.get(other).map(String::as_str)),
            },
            ["v1", name] | [name] => match *name {
                "cloud_name" | "platform" => Some(self.cloud_name.as_str()).filter(|name| !name.is_empty()),
                other => self.common(other),
            },
            _ => None,
        }
    }

    fn common(&self, name: &str) -> Option<&str> {
        match name {
            "local_hostname" => Some(&self.hostname),
            "instance_id" => Some(&self.instance_id),
            "region" => self.region.as_deref(),
            "availability_zone" => self.availability_zone.as_deref(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Metadata {
        Metadata {
            hostname: "m-1".to_owned(),
            instance_id: "i-1".to_owned(),
            cloud_name: "docker".to_owned(),
            availability_zone: Some("z".to_owned()),
            more: [("provider_id".to_owned(), "p".to_owned())].into(),
            ..Metadata::default()
        }
    }

    #[test]
    fn variables_are_filled_in() {
        for (text, filled) in [
            ("", ""),
            ("a { b } {", "a { b } {"),
            ("{{ ds.meta_data.hostname }}", "m-1"),
            ("{{ds.meta_data.local_hostname}}-x", "m-1-x"),
            ("{{ ds.meta_data['local-hostname'] }}", "m-1"),
            ("{{ ds[\"meta_data\"].local_hostname }}", "m-1"),
            ("{{ ds.meta_data.instance_id }} {{ v1.instance_id }} {{ instance_id }}", "i-1 i-1 i-1"),
            ("{{ v1.local_hostname }} {{ local_hostname }} {{ v1.cloud_name }}", "m-1 m-1 docker"),
            ("{{ availability_zone }}", "z"),
            ("{{ ds.meta_data.provider_id }}", "p"),
            ("a \n {{- local_hostname -}} \n b", "am-1b"),
            ("{{ '{{' }} {{ \"}}\" }}", "{{ }}"),
            ("a{# {{ what }} #}b", "ab"),
            ("{% raw %}{{ .Go }} {% x %}{% endraw %}\nb", "{{ .Go }} {% x %}b"),
            ("ü{{ local_hostname }}ü", "üm-1ü"),
        ] {
            assert_eq!(render(text, &metadata()).as_deref(), Ok(filled), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_filled_in_is_named() {
        for (text, says) in [
            ("a\n{{ ds.meta_data.local_ipv4 }}", "line 2 asks for `ds.meta_data.local_ipv4`"),
            ("{{ region }}", "line 1 asks for `region`"),
            ("{{ hostname }}", "asks for `hostname`"),
            ("{{ v1.hostname }}", "asks for `v1.hostname`"),
            ("{{ a | upper }}", "an expression that is not a variable"),
            ("{{ }}", "an expression that is not a variable"),
            ("{{ a. }}", "an expression that is not a variable"),
            ("{{ a", "`{{` without `}}`"),
            ("{{ '}}", "`{{` without `}}`"),
            ("echo ${#list[@]}", "`{#` without `#}`"),
            ("\n\n{% if a %}b{% endif %}", "line 3 has a statement"),
            ("{% raw %}", "without `{% endraw %}`"),
            ("{%", "`{%` without `%}`"),
        ] {
            let error = render(text, &metadata()).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
