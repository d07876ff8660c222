//! Webhooks and connections: streams into running things.

use serde_json::{Value, json};

use super::Question;
use crate::admission::Operation;
use crate::call::Call;
use crate::status::ApiError;

impl Call<'_> {
    /// Asks the webhooks about a connection; `query` says what it is for.
    ///
    /// # Errors
    /// As [`Call::judge`], and 400 for a query that cannot be read.
    pub(crate) async fn judge_connection(&self, query: &str) -> Result<(), ApiError> {
        let Some(subresource) = self.subresource.filter(|_| self.hooks().is_some()) else { return Ok(()) };
        let mut object = json!({"kind": subresource.kind, "apiVersion": "v1"});
        for (key, value) in crate::request::pairs(query)? {
            let list = matches!(key.as_str(), "command" | "ports");
            let value = match key.as_str() {
                "stdin" | "stdout" | "stderr" | "tty" => json!(value == "true" || value == "1"),
                "ports" => json!(value.parse::<u16>().unwrap_or_default()),
                "command" | "container" | "path" => json!(value),
                _ => continue,
            };
            match object[&key].as_array_mut() {
                Some(values) => values.push(value),
                None => object[&key] = if list { json!([value]) } else { value },
            }
        }
        let question = Question::new(Operation::Connect, None, &Value::Null, false);
        self.judge_act(question, Some(&object)).await
    }
}
