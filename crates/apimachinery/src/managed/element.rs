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
                let value = map.get(key).filter(|value| !value.is_null()).or_else(|| default(key))?;
                Some((key.into(), Scalar(value.clone())))
            };
            let found: Box<[_]> = keys.iter().filter_map(|name| key(name)).collect();
            let missing = keys.iter().find(|key| !found.iter().any(|(name, _)| name == *key));
            match missing {
                None => Ok(PathElement::Key(found)),
                Some(key) => Err(format!(
                    "associative list with keys has an element that omits key field {key:?} (and doesn't have default value)"
                )),
            }
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
