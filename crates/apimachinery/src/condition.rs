//! CEL expressions over named values: the match conditions of webhooks.

use std::fmt;

use kube_cel::cel::{IdedExpr, Value as Cel};
use serde_json::Value;

use crate::schema::cel;

/// A compiled expression that is true or false.
pub struct Condition {
    expression: IdedExpr,
    text: Box<str>,
    /// How many loops are within one another.
    loops: u32,
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.text).finish()
    }
}

impl Condition {
    /// Compiles an expression that may name `variables`.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn compile(text: &str, variables: &[&str]) -> Result<Self, String> {
        let (expression, loops) = cel::expression_over(text, variables)?;
        Ok(Self { expression, text: text.into(), loops })
    }

    /// Whether it holds for these values of its variables.
    ///
    /// # Errors
    /// Why it cannot be told, worded as kube-apiserver words it.
    pub fn holds(&self, values: &[(&str, &Value)]) -> Result<bool, String> {
        let longest = values.iter().map(|(_, value)| cel::longest(value)).max().unwrap_or(0);
        if self.loops > 1 && longest.saturating_pow(self.loops) > cel::MAX_STEPS {
            return Err("validation failed due to running out of cost budget, no further validation rules will be run"
                .to_owned());
        }
        let failed = |why: String| format!("expression '{}' resulted in error: {why}", self.text);
        match cel::execute(&self.expression, values) {
            Ok(Cel::Bool(truth)) => Ok(truth),
            Ok(_) => Err(failed("it is no condition".to_owned())),
            // Go's CEL begins its errors in lower case.
            Err(error) => Err(failed(match error.strip_prefix("No such key") {
                Some(rest) => format!("no such key{rest}"),
                None => error,
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn expressions_see_their_variables_only() {
        let object = json!({"metadata": {"name": "a", "labels": {"env": "prod"}}});
        let values =
            [("object", &object), ("request", &json!({"operation": "CREATE"})), ("oldObject", &Value::Null)];
        for (text, expected) in [
            ("object.metadata.labels['env'] == 'prod'", Ok(true)),
            ("request.operation in ['UPDATE']", Ok(false)),
            ("oldObject == null || oldObject.spec == object.spec", Ok(true)),
            ("has(object.metadata.annotations)", Ok(false)),
            (
                "object.metadata.labels.missing == 'x'",
                Err(
                    "expression 'object.metadata.labels.missing == 'x'' resulted in error: no such key: missing",
                ),
            ),
        ] {
            let condition = Condition::compile(text, &["object", "oldObject", "request"]).unwrap();
            assert_eq!(
                condition.holds(&values).as_ref().map_err(String::as_str),
                expected.as_ref().map_err(|e| *e)
            );
        }
        for text in ["self.spec", "object.", "oldSelf == 1"] {
            assert!(Condition::compile(text, &["object"]).is_err(), "{text}");
        }
    }
}
