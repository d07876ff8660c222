//! Answers, and the files they are recorded in.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::script::Show;

/// What came back for one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The title of the step.
    pub title: String,
    /// The status line, or what happened on a stream.
    pub head: String,
    /// The headers that matter.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Content,
}

/// A body.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// None.
    Nothing,
    /// A JSON document.
    Json(Value),
    /// Anything else.
    Text(String),
}

impl Content {
    /// The document; null if it is none.
    pub fn json(&self) -> &Value {
        match self {
            Self::Json(value) => value,
            Self::Nothing | Self::Text(_) => &Value::Null,
        }
    }
}

impl Answer {
    /// Keeps only what the script wants to see.
    #[must_use]
    pub fn shown(mut self, show: Option<&[Show]>) -> Self {
        let Some(show) = show else { return self };
        if !show.iter().any(|part| matches!(part, Show::Headers)) {
            self.headers.clear();
        }
        let picks: Vec<_> = show
            .iter()
            .filter_map(|part| match part {
                Show::Body(pick) => Some(pick),
                Show::Status | Show::Headers => None,
            })
            .collect();
        self.body = match (picks.as_slice(), &self.body) {
            ([], _) => Content::Nothing,
            (_, Content::Text(text)) => Content::Text(text.clone()),
            ([one], body) if one.text == "." => body.clone(),
            (picks, body) => Content::Json(
                picks
                    .iter()
                    .map(|pick| (pick.text.clone(), pick.of(body.json())))
                    .collect::<serde_json::Map<_, _>>()
                    .into(),
            ),
        };
        self
    }

    /// As it is written into a file.
    pub fn render(&self) -> String {
        let mut text = format!("{}\n", self.head);
        for (name, value) in &self.headers {
            let _ = writeln!(text, "{name}: {value}");
        }
        match &self.body {
            Content::Nothing => {}
            Content::Json(value) => {
                let _ = write!(text, "\n{value:#}\n");
            }
            Content::Text(body) => {
                let _ = write!(text, "\n{}\n", body.trim_end());
            }
        }
        text
    }
}

/// One recorded answer: the title and the text below it.
pub type Recorded = (String, String);

/// The text of a file of answers.
pub fn write(answers: &[Recorded]) -> String {
    let parts: Vec<String> = answers.iter().map(|(title, text)| format!("### {title}\n{text}")).collect();
    parts.join("\n")
}

/// Reads what [`write`] wrote.
///
/// # Errors
/// When the text does not begin with a title.
pub fn read(text: &str) -> Result<Vec<Recorded>> {
    let mut found: Vec<Recorded> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("### ") {
            found.push((title.to_owned(), String::new()));
        } else {
            let (_, body) = found.last_mut().context("answers begin with a line `### title`")?;
            body.push_str(line);
            body.push('\n');
        }
    }
    ensure!(!found.is_empty(), "there are no answers");
    for (_, body) in &mut found {
        let end = body.trim_end().len();
        body.truncate(end);
        body.push('\n');
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pick::Pick;

    #[test]
    fn what_is_written_is_read() {
        let answer = Answer {
            title: "a".to_owned(),
            head: "200 OK".to_owned(),
            headers: vec![("Vary".to_owned(), "Accept".to_owned())],
            body: Content::Json(json!({"b": 1, "a": [{}]})),
        };
        let answers =
            vec![("a".to_owned(), answer.render()), ("b".to_owned(), "204 No Content\n".to_owned())];
        assert_eq!(read(&write(&answers)).unwrap(), answers);
        let shown = answer.shown(Some(&[Show::Body(Pick::parse(".b").unwrap())]));
        assert_eq!(shown.render(), "200 OK\n\n{\n  \".b\": 1\n}\n");
    }
}
