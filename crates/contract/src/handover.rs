//! From the manager that creates an object to the one that keeps its labels and annotations up to date.

use serde_json::{Map, Value, json};

/// `metadata.managedFields` of `object` with what the applies of `creator` say of labels and annotations in the
/// hands of `keeper`; `None` when there is nothing to move.
///
/// An apply takes away only what its own manager has set before. Whoever is to remove a label that came with the
/// creation must have become its manager first. Upstream applies labels by a manager of their own right after each
/// creation; moving them when they change for the first time ends the same and saves a request per object.
pub fn hand_over(object: &Value, creator: &str, keeper: &str) -> Option<Value> {
    let mut fields = object.pointer("/metadata/managedFields")?.as_array()?.clone();
    let is = |entry: &Value, name: &str| {
        entry["manager"] == name && entry["operation"] == "Apply" && entry["subresource"].is_null()
    };
    let created = fields.iter_mut().find(|entry| is(entry, creator))?;
    let metadata = created.pointer_mut("/fieldsV1/f:metadata")?.as_object_mut()?;
    let moved: Map<String, Value> = ["f:labels", "f:annotations"]
        .into_iter()
        .filter_map(|part| metadata.remove(part).map(|owned| (part.to_owned(), owned)))
        .collect();
    if moved.is_empty() {
        return None;
    }
    let mut kept = created.clone();
    kept["manager"] = keeper.into();
    kept["fieldsV1"] = json!({ "f:metadata": moved });
    fields.retain(|entry| !is(entry, keeper));
    fields.push(kept);
    Some(Value::Array(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_annotations_change_hands_once() {
        let before = json!({ "metadata": { "managedFields": [
            { "manager": "maker", "operation": "Apply", "fieldsV1": {
                "f:metadata": { "f:labels": { "f:a": {} }, "f:ownerReferences": {} }, "f:spec": {} } },
            { "manager": "manager", "operation": "Update", "fieldsV1": {} },
        ] } });
        let after = hand_over(&before, "maker", "keeper").unwrap();
        assert_eq!(after[0]["fieldsV1"], json!({ "f:metadata": { "f:ownerReferences": {} }, "f:spec": {} }));
        assert_eq!(after[1]["manager"], "manager");
        assert_eq!(after[2]["manager"], "keeper");
        assert_eq!(after[2]["fieldsV1"], json!({ "f:metadata": { "f:labels": { "f:a": {} } } }));
        let again = json!({ "metadata": { "managedFields": after } });
        assert_eq!(hand_over(&again, "maker", "keeper"), None);
    }
}
