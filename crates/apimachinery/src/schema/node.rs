//! The compiled form of one schema node.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::cel::Rule;

/// The JSON type a node asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No type said: anything.
    #[default]
    Any,
    IntOrString,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

/// How a list is merged and which of its items must differ (`x-kubernetes-list-type`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListType {
    /// One value that has one owner.
    #[default]
    Atomic,
    /// Scalars, each at most once.
    Set,
    /// Objects, told apart by these fields.
    Map(Box<[Box<str>]>),
}

/// What an object may hold besides its declared properties.
#[derive(Debug, Default)]
pub(crate) enum Additional {
    #[default]
    None,
    Any,
    Schema(Box<Node>),
}

/// A declared property.
#[derive(Debug)]
pub(crate) struct Property {
    pub(crate) name: Box<str>,
    pub(crate) node: Node,
}

/// Strategic merge patch annotations.
#[derive(Clone, Debug, Default)]
pub(crate) struct PatchStrategy {
    pub(crate) merge: bool,
    pub(crate) merge_key: Option<Box<str>>,
}

/// What occurs somewhere in a subtree, so that passes can skip the rest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Below {
    pub(crate) rules: bool,
    /// Sets and list maps.
    pub(crate) unique: bool,
    /// Embedded objects.
    pub(crate) embedded: bool,
}

/// What Go types say beyond a schema (`x-go`); nothing for custom kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Go {
    /// The field is a pointer: its zero value differs from nothing.
    pub(crate) pointer: bool,
    /// The field is written as null when it holds nothing.
    pub(crate) null: bool,
    /// A quantity.
    pub(crate) quantity: bool,
    /// A time with microseconds.
    pub(crate) micro: bool,
}

/// One node; children are owned, so a schema is one tree of boxed slices.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) nullable: bool,
    /// `x-kubernetes-preserve-unknown-fields` on this node.
    pub(crate) preserve: bool,
    /// The same on this node or one above: undeclared fields have deduced types.
    pub(crate) lenient: bool,
    pub(crate) embedded: bool,
    /// In the Go type of a compiled-in kind this field is always there, if
    /// only empty, so that nobody comes to own it as such.
    pub(crate) always: bool,
    pub(crate) atomic_map: bool,
    pub(crate) list: ListType,
    /// Sorted by name.
    pub(crate) properties: Box<[Property]>,
    pub(crate) additional: Additional,
    pub(crate) items: Option<Box<Node>>,
    pub(crate) default: Option<Box<Value>>,
    pub(crate) checks: Option<Box<Checks>>,
    pub(crate) rules: Box<[Rule]>,
    pub(crate) patch: Option<Box<PatchStrategy>>,
    pub(crate) below: Below,
    pub(crate) go: Go,
}

/// Value validations of one node.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub(crate) format: Option<super::format::Format>,
    pub(crate) values: Option<Box<[Value]>>,
    pub(crate) minimum: Option<Bound>,
    pub(crate) maximum: Option<Bound>,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) min_length: Option<u64>,
    pub(crate) max_length: Option<u64>,
    pub(crate) pattern: Option<(Box<str>, Regex)>,
    pub(crate) min_items: Option<u64>,
    pub(crate) max_items: Option<u64>,
    pub(crate) min_properties: Option<u64>,
    pub(crate) max_properties: Option<u64>,
    pub(crate) required: Box<[Box<str>]>,
    pub(crate) all_of: Box<[Node]>,
    pub(crate) any_of: Box<[Node]>,
    pub(crate) one_of: Box<[Node]>,
    pub(crate) not: Option<Box<Node>>,
}

impl Checks {
    /// Whether nothing is checked.
    pub(super) fn is_empty(&self) -> bool {
        let sizes = [
            self.min_length,
            self.max_length,
            self.min_items,
            self.max_items,
            self.min_properties,
            self.max_properties,
        ];
        self.format.is_none()
            && self.values.is_none()
            && self.minimum.is_none()
            && self.maximum.is_none()
            && self.multiple_of.is_none()
            && sizes.iter().all(Option::is_none)
            && self.pattern.is_none()
            && self.required.is_empty()
            && self.all_of.is_empty()
            && self.any_of.is_empty()
            && self.one_of.is_empty()
            && self.not.is_none()
    }
}

/// A bound of a number.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) limit: serde_json::Number,
    pub(crate) exclusive: bool,
}

/// A field of an object as the schema sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field<'a> {
    /// A declared property.
    Declared(&'a Node),
    /// An entry of a map, of the given type or any.
    Entry(Option<&'a Node>),
    /// Neither: strict inputs are refused here.
    Unknown,
}

impl<'a> Field<'a> {
    pub(crate) fn node(self) -> Option<&'a Node> {
        match self {
            Self::Declared(node) => Some(node),
            Self::Entry(node) => node,
            Self::Unknown => None,
        }
    }
}

impl Node {
    pub(crate) fn property(&self, name: &str) -> Option<&Node> {
        let at = self.properties.binary_search_by(|property| (*property.name).cmp(name)).ok()?;
        Some(&self.properties[at].node)
    }

    /// The field `name` of an object of this type.
    pub(crate) fn field(&self, name: &str) -> Field<'_> {
        if let Some(node) = self.property(name) {
            return Field::Declared(node);
        }
        match &self.additional {
            Additional::Schema(node) => Field::Entry(Some(node)),
            Additional::Any => Field::Entry(None),
            Additional::None if self.lenient || self.properties.is_empty() => Field::Entry(None),
            Additional::None => Field::Unknown,
        }
    }
}

/// `metadata` of every object and embedded object, for field ownership: the
/// list types of `k8s.io/apimachinery/pkg/apis/meta/v1.ObjectMeta`.
pub(crate) static OBJECT_META: LazyLock<Node> = LazyLock::new(|| {
    let leaf = || Node { kind: Kind::String, ..Node::default() };
    let texts =
        || Node { kind: Kind::Object, additional: Additional::Schema(Box::new(leaf())), ..Node::default() };
    let list =
        |list, items| Node { kind: Kind::Array, list, items: Some(Box::new(items)), ..Node::default() };
    let patched = |node, key: Option<&str>| {
        let patch = PatchStrategy { merge: true, merge_key: key.map(Into::into) };
        Node { patch: Some(Box::new(patch)), ..node }
    };
    let number = || Node { kind: Kind::Integer, ..Node::default() };
    let members = |node, members: Vec<(&str, Node)>| {
        let mut properties: Vec<Property> =
            members.into_iter().map(|(name, node)| Property { name: name.into(), node }).collect();
        properties.sort_by(|a, b| a.name.cmp(&b.name));
        Node { kind: Kind::Object, properties: properties.into(), ..node }
    };
    let flag = || Node { kind: Kind::Boolean, ..Node::default() };
    let owner = members(
        Node { atomic_map: true, ..Node::default() },
        vec![
            ("apiVersion", leaf()),
            ("blockOwnerDeletion", flag()),
            ("controller", flag()),
            ("kind", leaf()),
            ("name", leaf()),
            ("uid", leaf()),
        ],
    );
    let fields = Node { kind: Kind::Object, preserve: true, lenient: true, ..Node::default() };
    let entry = members(
        Node::default(),
        ["apiVersion", "fieldsType", "manager", "operation", "subresource", "time"]
            .into_iter()
            .map(|name| (name, leaf()))
            .chain([("fieldsV1", fields)])
            .collect(),
    );
    let mut properties: Vec<Property> = [
        ("annotations", texts()),
        ("finalizers", patched(list(ListType::Set, leaf()), None)),
        ("labels", texts()),
        // An empty list says something: forget all owners.
        ("managedFields", Node { always: true, ..list(ListType::Atomic, entry) }),
        ("ownerReferences", patched(list(ListType::Map(Box::new(["uid".into()])), owner), Some("uid"))),
    ]
    .into_iter()
    .map(|(name, node)| Property { name: name.into(), node })
    .collect();
    for (name, node) in [
        ("creationTimestamp", leaf()),
        ("deletionGracePeriodSeconds", number()),
        ("deletionTimestamp", leaf()),
        ("generateName", leaf()),
        ("generation", number()),
        ("name", leaf()),
        ("namespace", leaf()),
        ("resourceVersion", leaf()),
        ("selfLink", leaf()),
        ("uid", leaf()),
    ] {
        properties.push(Property { name: name.into(), node });
    }
    properties.sort_by(|a, b| a.name.cmp(&b.name));
    Node { kind: Kind::Object, properties: properties.into(), ..Node::default() }
});
