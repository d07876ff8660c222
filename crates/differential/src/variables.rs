//! `{ns}`, `{id}`, `{hook}`, values out of earlier answers, and texts too long to write down.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use anyhow::{Result, bail};
use regex::{Captures, Regex};
use serde_json::Value;

use crate::pick;

static VARIABLE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"\{([A-Za-z][A-Za-z0-9-]*)((?:\.[A-Za-z0-9_-]+|\[\d+\]|\[[a-zA-Z.]+=[^\]]+\]|\["[^"]*"\])*)\}"#,
    )
    .expect("the pattern is a constant")
});

/// `{repeat 3 k#,}` is `k0,k1,k2,`.
static REPEAT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\{repeat (\d{1,7}) ([^{}]+)\}").expect("the pattern is a constant"));

fn repeated(found: &Captures<'_>) -> String {
    let times: usize = found[1].parse().unwrap_or(0);
    let text = &found[2];
    if !text.contains('#') {
        return text.repeat(times);
    }
    (0..times).map(|number| text.replace('#', &number.to_string())).collect()
}

/// What a script may refer to.
#[derive(Debug, Default)]
pub struct Variables {
    words: BTreeMap<String, String>,
    answers: BTreeMap<String, Value>,
    /// Whether a value that is not there is an error; else it is replaced by a word that says so.
    strict: bool,
}

impl Variables {
    /// None yet.
    pub fn new(strict: bool) -> Self {
        Self { strict, ..Self::default() }
    }

    /// A fixed word, such as `ns` or `hook.ca`.
    pub fn word(&mut self, name: &str, value: &str) {
        self.words.insert(name.to_owned(), value.to_owned());
    }

    /// The answer of a step: its JSON body, and its headers under `headers`.
    pub fn answer(&mut self, title: &str, body: Value) {
        self.answers.insert(title.to_owned(), body);
    }

    /// Replaces what is known. Braces that name nothing known stay as they are.
    ///
    /// # Errors
    /// When an earlier answer lacks the value, and such an error is wanted.
    pub fn fill(&self, text: &str) -> Result<String> {
        let mut missing = None;
        let text = REPEAT.replace_all(text, repeated);
        let filled = VARIABLE.replace_all(&text, |found: &Captures<'_>| {
            let (root, path) = (&found[1], &found[2]);
            if let Some(word) = self.words.get(&format!("{root}{path}")) {
                return word.clone();
            }
            let Some(answer) = self.answers.get(root) else { return found[0].to_owned() };
            match pick::variable(path, answer) {
                Some(Value::String(text)) => text,
                Some(other) => other.to_string(),
                None => {
                    missing = Some(found[0].to_owned());
                    "missing".to_owned()
                }
            }
        });
        if let Some(missing) = missing
            && self.strict
        {
            bail!("there is no value {missing}");
        }
        Ok(filled.into_owned())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn known_names_are_replaced() {
        let mut variables = Variables::new(true);
        variables.word("ns", "a-b");
        variables.word("hook.ca", "Q0E=");
        variables.answer("create", json!({"metadata": {"uid": "u", "n": 3}, "items": [{"x": "y"}]}));
        for (text, filled) in [
            ("/{ns}/{create.metadata.uid}", "/a-b/u"),
            ("{create.items[0].x}{create.metadata.n}", "y3"),
            ("{hook.ca}", "Q0E="),
            ("{create.items}", "[{\"x\":\"y\"}]"),
            ("{name: a, b: {c: d}}", "{name: a, b: {c: d}}"),
            ("/{namespace}", "/{namespace}"),
            ("{repeat 3 [}{repeat 2 ]}", "[[[]]"),
            ("{repeat 2 k#={ns},}", "{repeat 2 k#=a-b,}"),
            ("{repeat 2 \"k#\":1, }\"k\":1", "\"k0\":1, \"k1\":1, \"k\":1"),
        ] {
            assert_eq!(variables.fill(text).unwrap(), filled);
        }
        assert!(variables.fill("{create.spec}").is_err());
        let mut lax = Variables::new(false);
        lax.answer("create", json!({}));
        assert_eq!(lax.fill("{create.spec}").unwrap(), "missing");
    }
}
