//! Label selectors: their form, and whether labels match them.

use serde_json::Value;

use super::at::{At, Errors};

/// Checks a `LabelSelector`.
pub fn selector(at: &At<'_>, errors: &mut Errors) {
    at.child("matchLabels").labels(errors);
    for requirement in at.child("matchExpressions").items() {
        let (operator, values) = (requirement.child("operator"), requirement.child("values"));
        match operator.text() {
            "In" | "NotIn" if !values.is_filled() => {
                values.required(errors, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if values.is_filled() => {
                values
                    .forbidden(errors, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => operator.invalid(errors, "not a valid selector operator"),
        }
        requirement.child("key").qualified(errors);
        for value in values.items() {
            windlass_apimachinery::meta::label_value(value.text(), &value.path, errors);
        }
    }
}

/// Whether a selector selects nothing in particular.
pub fn is_empty(selector: &Value) -> bool {
    let empty = |key: &str| match selector.get(key) {
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        _ => true,
    };
    empty("matchLabels") && empty("matchExpressions")
}

/// Whether a `LabelSelector` matches labels.
pub fn matches(selector: &Value, labels: &Value) -> bool {
    let simple = selector["matchLabels"].as_object().into_iter().flatten();
    simple.into_iter().all(|(key, value)| labels.get(key) == Some(value))
        && selector["matchExpressions"].as_array().into_iter().flatten().all(|requirement| {
            let value = labels.get(requirement["key"].as_str().unwrap_or_default());
            let among = || {
                requirement["values"].as_array().is_some_and(|list| value.is_some_and(|v| list.contains(v)))
            };
            match requirement["operator"].as_str().unwrap_or_default() {
                "In" => among(),
                "NotIn" => !among(),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}
