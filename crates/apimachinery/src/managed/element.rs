//! The path element of a list item.

use serde_json::Value;

use crate::fields::{PathElement, Scalar};
use crate::schema::node::{ListType, Node};

/// How the item of a set or list map is called.
///
/// # Errors
/// Items that cannot be told apart: no object or without a key in a list map, no scalar in a set.
pub(super) fn element(list: &Node, item: &Value) -> Result<PathElement, String> {
    match &list.list {
        ListType::Map(keys) => {
            let Value::Object(map) = item else {
                let what = if item.is_null() { "a null element" } else { "non-map elements" };
                return Err(format!("associative list with keys may not have {what}"));
            };
            let default = |key: &str| list.items.as_deref()?.property(key)?.default.as_deref();
            let key = |key: &str| {
                let value = map.get(key).or_else(|| default(key))?;
                Some((key.into(), Scalar(value.clone())))
            };
            // Keys that are missing altogether tell items apart too.
            let found: Box<[_]> = keys.iter().filter_map(|name| key(name)).collect();
            if found.is_empty() {
                let names: Vec<String> = keys.iter().map(|name| crate::quote(name)).collect();
                return Err(format!(
                    "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                    names.join(" ")
                ));
            }
            Ok(PathElement::Key(found))
        }
        ListType::Set | ListType::Atomic => match item {
            Value::Null => {
                Err("associative list without keys has an element that's an explicit null".to_owned())
            }
            Value::Object(_) => {
                Err("associative list without keys has an element that's a map type".to_owned())
            }
            Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
            scalar => Ok(PathElement::Value(Scalar(scalar.clone()))),
        },
    }
}
