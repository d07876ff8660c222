//! The types that a schema declares to its rules, with the sizes their values
//! can have (`SchemaDeclType` of `k8s.io/apiserver/pkg/cel/common`).

use std::collections::BTreeMap;
use std::rc::Rc;

use super::types::Type;
use super::values::{RESERVED, escape};
use crate::schema::format::Format;
use crate::schema::node::{Additional, Kind, Node};

/// Longest request, in bytes: bounds what no keyword bounds.
const MAX_REQUEST: u64 = 3 * 1024 * 1024;
/// Longest text of a duration or a time in JSON.
const MAX_TIME: u64 = 32;
/// Length of a date in JSON.
const DATE: u64 = 12;

/// A node of a schema as rules see it.
#[derive(Debug)]
pub(super) struct Declared {
    /// What messages call the type, when it is an object.
    pub(super) name: String,
    form: Form,
    /// Most items, entries or bytes.
    pub(super) max: u64,
    /// Shortest form in JSON, in bytes.
    min_size: u64,
}

#[derive(Debug)]
enum Form {
    Plain(Type),
    Object(BTreeMap<String, Rc<Declared>>),
    List(Rc<Declared>),
    Map(Rc<Declared>),
}

/// Types of objects are known by their names, which are paths.
impl PartialEq for Declared {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Declared {
    /// What a node declares to its rules; nothing when it has no type.
    pub(super) fn of(node: &Node) -> Option<Rc<Self>> {
        Self::named(node, "selfType")
    }

    /// The type of values.
    pub(super) fn type_of(this: &Rc<Self>) -> Type {
        match &this.form {
            Form::Plain(plain) => plain.clone(),
            Form::Object(_) => Type::Object(Rc::clone(this)),
            Form::List(item) => Type::list(Self::type_of(item)),
            Form::Map(value) => Type::map(Type::String, Self::type_of(value)),
        }
    }

    /// A field of an object, as a rule names it: words that are no names need
    /// no escape behind a dot.
    pub(super) fn selected(&self, name: &str) -> Option<&Rc<Self>> {
        self.field(name).or_else(|| self.field(&RESERVED.contains(&name).then(|| escape(name))?))
    }

    /// A field of an object, by its escaped name.
    pub(super) fn field(&self, name: &str) -> Option<&Rc<Self>> {
        match &self.form {
            Form::Object(fields) => fields.get(name),
            Form::Plain(_) | Form::List(_) | Form::Map(_) => None,
        }
    }

    /// The items of a list or the values of a map.
    pub(super) fn element(&self) -> Option<&Rc<Self>> {
        match &self.form {
            Form::List(inner) | Form::Map(inner) => Some(inner),
            Form::Plain(_) | Form::Object(_) => None,
        }
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.form, Form::Map(_))
    }

    /// How often such a value fits into one request.
    pub(super) fn cardinality(&self) -> u64 {
        MAX_REQUEST / (self.min_size + 1)
    }

    /// A value of a type that no schema declares.
    pub(super) fn simple(of: Type) -> Rc<Self> {
        Rc::new(Self { name: String::new(), form: Form::Plain(of), max: 0, min_size: 0 })
    }

    /// An object that no schema declares.
    pub(super) fn structure(
        name: &str,
        fields: impl IntoIterator<Item = (&'static str, Rc<Self>)>,
    ) -> Rc<Self> {
        let fields = fields.into_iter().map(|(name, field)| (name.to_owned(), field)).collect();
        Rc::new(Self { name: name.to_owned(), form: Form::Object(fields), max: 0, min_size: 0 })
    }

    fn plain(of: Type, min_size: u64, max: u64) -> Rc<Self> {
        Rc::new(Self { name: String::new(), form: Form::Plain(of), max, min_size })
    }

    fn named(node: &Node, name: &str) -> Option<Rc<Self>> {
        let checks = node.checks.as_deref();
        Some(match node.kind {
            Kind::Any => return None,
            Kind::IntOrString => {
                let max = checks.and_then(|checks| checks.max_length);
                Self::plain(Type::Dyn, 1, max.map_or(MAX_REQUEST - 2, |max| max.saturating_mul(4)))
            }
            Kind::Boolean => Self::plain(Type::Bool, 4, 0),
            Kind::Number => Self::plain(Type::Double, 1, 0),
            Kind::Integer => Self::plain(Type::Int, 1, 0),
            Kind::String => Self::text(node),
            Kind::Array => {
                let item = Self::named(node.items.as_deref()?, &format!("{name}.@idx"))?;
                let max = checks
                    .and_then(|checks| checks.max_items)
                    .unwrap_or((MAX_REQUEST - 2) / (item.min_size + 1));
                let name = String::new();
                Rc::new(Self { name, form: Form::List(item), max, min_size: 2 })
            }
            Kind::Object => match &node.additional {
                Additional::Schema(value) => {
                    let value = Self::named(value, &format!("{name}.@elem"))?;
                    let max = checks
                        .and_then(|checks| checks.max_properties)
                        .unwrap_or((MAX_REQUEST - 2) / (value.min_size + 6));
                    let name = String::new();
                    Rc::new(Self { name, form: Form::Map(value), max, min_size: 2 })
                }
                Additional::None | Additional::Any => Self::object(node, name),
            },
        })
    }

    fn text(node: &Node) -> Rc<Self> {
        let checks = node.checks.as_deref();
        let max_length = checks.and_then(|checks| checks.max_length);
        match checks.and_then(|checks| checks.format) {
            Some(Format::Byte) => Self::plain(Type::Bytes, 2, max_length.unwrap_or(MAX_REQUEST - 2)),
            Some(Format::Duration) => Self::plain(Type::Duration, 3, MAX_TIME),
            Some(Format::Date) => Self::plain(Type::Timestamp, DATE, DATE),
            Some(Format::DateTime) => Self::plain(Type::Timestamp, 21, MAX_TIME),
            _ => {
                let values = checks.and_then(|checks| checks.values.as_deref()).unwrap_or_default();
                let longest = values.iter().filter_map(|value| value.as_str()).map(|text| text.len() as u64);
                let max = match max_length {
                    Some(max) => max.saturating_mul(4),
                    None if values.is_empty() => MAX_REQUEST - 2,
                    None => longest.max().unwrap_or(0),
                };
                Self::plain(Type::String, 2, max)
            }
        }
    }

    fn object(node: &Node, name: &str) -> Rc<Self> {
        let replaced = node.embedded && !has_metadata(node);
        let mut fields = BTreeMap::new();
        let mut min_size = 2;
        let required = |name: &str| {
            node.checks.as_deref().is_some_and(|checks| checks.required.iter().any(|field| **field == *name))
        };
        let mut add = |field: &str, declared: Option<Rc<Self>>, defaulted: bool| {
            let Some(declared) = declared else { return };
            if required(field) && !defaulted {
                min_size += field.len() as u64 + declared.min_size + 4;
            }
            if let Some(escaped) = escaped(field) {
                fields.insert(escaped, declared);
            }
        };
        for property in &node.properties {
            if replaced && matches!(&*property.name, "apiVersion" | "kind" | "metadata") {
                continue;
            }
            let path = format!("{name}.{}", property.name);
            add(&property.name, Self::named(&property.node, &path), property.node.default.is_some());
        }
        if replaced {
            let text = || Self::plain(Type::String, 2, MAX_REQUEST - 2);
            let names = ["name", "generateName"];
            let names = names.into_iter().map(|name| (name.to_owned(), text())).collect();
            let metadata =
                Self { name: format!("{name}.metadata"), form: Form::Object(names), max: 0, min_size: 2 };
            add("apiVersion", Some(text()), false);
            add("kind", Some(text()), false);
            add("metadata", Some(Rc::new(metadata)), false);
        }
        Rc::new(Self { name: name.to_owned(), form: Form::Object(fields), max: 0, min_size })
    }
}

/// Whether a schema declares everything that objects always have.
fn has_metadata(node: &Node) -> bool {
    let is = |node: &Node, name: &str, kind| node.property(name).is_some_and(|node| node.kind == kind);
    is(node, "kind", Kind::String)
        && is(node, "apiVersion", Kind::String)
        && node.property("metadata").is_some_and(|metadata| {
            metadata.kind == Kind::Object
                && is(metadata, "name", Kind::String)
                && is(metadata, "generateName", Kind::String)
        })
}

/// The name of a property in rules; nothing for those that rules cannot name.
fn escaped(name: &str) -> Option<String> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/');
    let starts = name.starts_with(|c: char| !c.is_ascii_digit());
    (starts && name.chars().all(known)).then(|| escape(name))
}
