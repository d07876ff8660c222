//! What an object without content looks like: kube-apiserver's bookmarks are
//! typed objects, and Go writes the required members of a type even when they
//! are empty. The table was recorded from the bookmarks of kube-apiserver
//! 1.35.4, one for each kind.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use super::Kind;

/// An object of a kind with nothing but its type, and what Go cannot leave out.
pub fn empty(kind: &Kind, api_version: &str) -> Value {
    static TABLE: OnceLock<BTreeMap<String, Map<String, Value>>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        serde_json::from_str(include_str!("../../data/empty-objects.json")).expect("the table is JSON")
    });
    let mut object = json!({"apiVersion": api_version, "kind": kind.kind});
    let content = table.get(&format!("{api_version} {}", kind.kind)).filter(|_| kind.builtin);
    for (key, value) in content.into_iter().flatten() {
        object[key] = value.clone();
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KindSet;

    #[test]
    fn typed_kinds_have_their_required_members() {
        let kinds = KindSet::builtin();
        let empty =
            |group: &str, plural: &str, version: &str| empty(kinds.get(group, plural).unwrap(), version);
        assert_eq!(empty("", "secrets", "v1"), json!({"apiVersion": "v1", "kind": "Secret"}));
        assert_eq!(
            empty("apps", "deployments", "apps/v1")["spec"]["template"]["spec"]["containers"],
            Value::Null
        );
        assert_eq!(empty("", "namespaces", "v1")["status"], json!({}));
    }
}
