//! Paths and sets of fields, and their `FieldsV1` form in `managedFields`.

use std::cmp::Ordering;
use std::fmt;

use serde_json::{Map, Value};

/// Deepest set taken from JSON.
const MAX_DEPTH: usize = 128;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathElement {
    /// A field of an object.
    Field(Box<str>),
    /// The item of a list that has these key fields, sorted by name.
    Key(Box<[(Box<str>, Scalar)]>),
    /// The item of a set that is this value.
    Value(Scalar),
    /// The item of a list at this index.
    Index(i64),
}

/// A JSON value with an order: a key of a list item or a member of a set.
#[derive(Clone, Debug)]
pub struct Scalar(pub Value);

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scalar {}

impl PartialOrd for Scalar {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scalar {
    /// Numbers, texts, booleans, lists and maps by their JSON, null.
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Number(a), Value::Number(b)) => match (a.as_i128(), b.as_i128()) {
                (Some(a), Some(b)) => a.cmp(&b),
                _ => a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0)),
            },
            (a, b) if rank(a) == rank(b) => a.to_string().cmp(&b.to_string()),
            (a, b) => rank(a).cmp(&rank(b)),
        }
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    }
}

impl fmt::Display for PathElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                f.write_str("[")?;
                for (index, (name, value)) in keys.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma}{name}={}", value.0)?;
                }
                f.write_str("]")
            }
            Self::Value(value) => write!(f, "[={}]", value.0),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

impl PathElement {
    /// The field `name`.
    pub fn field(name: &str) -> Self {
        Self::Field(name.into())
    }

    /// The key of this element in `FieldsV1`.
    pub fn to_key(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(keys) => {
                let map: Map<String, Value> =
                    keys.iter().map(|(name, value)| (name.to_string(), value.0.clone())).collect();
                format!("k:{}", crate::go::json(&Value::Object(map)))
            }
            Self::Value(value) => format!("v:{}", crate::go::json(&value.0)),
            Self::Index(index) => format!("i:{index}"),
        }
    }

    /// Reads a key of `FieldsV1`; nothing for kinds of elements that only a
    /// newer server knows.
    ///
    /// # Errors
    /// Keys that are no path elements.
    pub fn from_key(key: &str) -> Result<Option<Self>, FieldsError> {
        let bad = || FieldsError(key.to_owned());
        let (kind, rest) = (key.get(..1).ok_or_else(bad)?, key.get(2..).ok_or_else(bad)?);
        if key.as_bytes()[1] != b':' {
            return Err(bad());
        }
        Ok(Some(match kind {
            "f" => Self::Field(rest.into()),
            "k" => {
                let map: Map<String, Value> = serde_json::from_str(rest).map_err(|_| bad())?;
                Self::Key(
                    map.into_iter().map(|(name, value)| (name.into_boxed_str(), Scalar(value))).collect(),
                )
            }
            "v" => Self::Value(Scalar(serde_json::from_str(rest).map_err(|_| bad())?)),
            "i" => Self::Index(rest.parse().map_err(|_| bad())?),
            _ => return Ok(None),
        }))
    }
}

/// A path from the root of an object. Displays as `.spec.list[name="a"].field`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(pub Vec<PathElement>);

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|element| element.fmt(f))
    }
}

/// `FieldsV1` that is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("cannot read field set: {0:?} is no path element with an object")]
pub struct FieldsError(pub String);

/// A set of paths: a tree whose nodes say whether they are members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Whether this node itself is a member.
    pub(crate) here: bool,
    /// Sorted by element; no entry is empty.
    pub(crate) entries: Vec<(PathElement, Set)>,
}

impl Set {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The set of just the root of this subtree.
    pub(crate) fn leaf() -> Self {
        Self { here: true, entries: Vec::new() }
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        !self.here && self.entries.is_empty()
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        usize::from(self.here) + self.entries.iter().map(|(_, child)| child.len()).sum::<usize>()
    }

    /// The subtree at an element.
    pub fn child(&self, element: &PathElement) -> Option<&Self> {
        let at = self.entries.binary_search_by(|(other, _)| other.cmp(element)).ok()?;
        Some(&self.entries[at].1)
    }

    /// Whether a path is a member.
    pub fn contains(&self, path: &Path) -> bool {
        path.0.iter().try_fold(self, |set, element| set.child(element)).is_some_and(|set| set.here)
    }

    /// The set of some fields, as `metadata.labels`.
    pub fn of_fields(paths: &[&str]) -> Self {
        let mut out = Self::new();
        for path in paths {
            out.insert(&Path(path.split('.').map(PathElement::field).collect()));
        }
        out
    }

    /// Adds a path.
    pub fn insert(&mut self, path: &Path) {
        let mut set = self;
        for element in &path.0 {
            let at = match set.entries.binary_search_by(|(other, _)| other.cmp(element)) {
                Ok(at) => at,
                Err(at) => {
                    set.entries.insert(at, (element.clone(), Self::new()));
                    at
                }
            };
            set = &mut set.entries[at].1;
        }
        set.here = true;
    }

    /// Puts a subtree after all others; `sort` must follow unless elements come in order.
    pub(crate) fn push(&mut self, element: PathElement, child: Self) {
        if !child.is_empty() {
            self.entries.push((element, child));
        }
    }

    /// Restores the order after `push`, uniting equal elements.
    pub(crate) fn sort(&mut self) {
        self.entries.sort_by(|a, b| a.0.cmp(&b.0));
        self.entries.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1.unite(&later.1);
            }
            same
        });
    }

    /// Adds all members of another set.
    pub fn unite(&mut self, other: &Self) {
        self.here |= other.here;
        if other.entries.is_empty() {
            return;
        }
        if self.entries.is_empty() {
            self.entries.clone_from(&other.entries);
            return;
        }
        // New ones are not put in one by one: lists may be long.
        let mut new = Vec::new();
        for (element, child) in &other.entries {
            match self.entries.binary_search_by(|(mine, _)| mine.cmp(element)) {
                Ok(at) => self.entries[at].1.unite(child),
                Err(_) => new.push((element.clone(), child.clone())),
            }
        }
        if !new.is_empty() {
            self.entries.append(&mut new);
            self.entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
    }

    /// Removes all members of another set. Says whether anything was removed.
    pub fn subtract(&mut self, other: &Self) -> bool {
        let mut changed = self.here && other.here;
        self.here &= !other.here;
        for (element, child) in &other.entries {
            if let Ok(at) = self.entries.binary_search_by(|(mine, _)| mine.cmp(element)) {
                changed |= self.entries[at].1.subtract(child);
            }
        }
        if changed {
            self.entries.retain(|(_, child)| !child.is_empty());
        }
        changed
    }

    /// Removes all members at and below the members of another set.
    pub fn exclude(&mut self, other: &Self) {
        if other.here {
            *self = Self::new();
            return;
        }
        for (element, child) in &other.entries {
            if let Ok(at) = self.entries.binary_search_by(|(mine, _)| mine.cmp(element)) {
                self.entries[at].1.exclude(child);
            }
        }
        self.entries.retain(|(_, child)| !child.is_empty());
    }

    /// The members of both sets.
    pub fn intersection(&self, other: &Self) -> Self {
        let mut out = Self { here: self.here && other.here, entries: Vec::new() };
        for (element, child) in &self.entries {
            if let Some(theirs) = other.child(element) {
                out.push(element.clone(), child.intersection(theirs));
            }
        }
        out
    }

    /// All members in the order in which conflicts are named: those directly
    /// below a path first, then those further down.
    pub fn paths(&self) -> Vec<Path> {
        let mut out = Vec::new();
        if self.here {
            out.push(Path::default());
        }
        self.collect(&mut Path::default(), &mut out);
        out
    }

    fn collect(&self, path: &mut Path, out: &mut Vec<Path>) {
        for (element, child) in &self.entries {
            if child.here {
                path.0.push(element.clone());
                out.push(path.clone());
                path.0.pop();
            }
        }
        for (element, child) in &self.entries {
            path.0.push(element.clone());
            child.collect(path, out);
            path.0.pop();
        }
    }

    /// The `FieldsV1` form.
    pub fn to_json(&self) -> Value {
        let mut map: Map<String, Value> =
            self.entries.iter().map(|(element, child)| (element.to_key(), child.to_child_json())).collect();
        if self.here {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        Value::Object(map)
    }

    /// A member without children is `{}`, not `{".": {}}`.
    fn to_child_json(&self) -> Value {
        if self.entries.is_empty() { Value::Object(Map::new()) } else { self.to_json() }
    }

    /// Reads the `FieldsV1` form.
    ///
    /// # Errors
    /// The first key that is no path element.
    pub fn from_json(json: &Value) -> Result<Self, FieldsError> {
        let map = json.as_object().ok_or_else(|| FieldsError(String::new()))?;
        let mut set = Self::read(map, 0)?;
        set.here = false;
        Ok(set)
    }

    fn read(map: &Map<String, Value>, depth: usize) -> Result<Self, FieldsError> {
        let mut out = Self { here: false, entries: Vec::with_capacity(map.len()) };
        let mut sorted = true;
        for (key, child) in map {
            if key == "." {
                out.here = true;
                continue;
            }
            let Some(element) = PathElement::from_key(key)? else { continue };
            let bad = || FieldsError(key.clone());
            if depth > MAX_DEPTH {
                return Err(bad());
            }
            let child = match child {
                Value::Null => Self::leaf(),
                child => Self::read(child.as_object().ok_or_else(bad)?, depth + 1)?,
            };
            sorted &= out.entries.last().is_none_or(|(last, _)| *last < element);
            out.entries.push((element, child));
        }
        if !sorted {
            out.sort();
        }
        out.here |= out.entries.is_empty();
        Ok(out)
    }
}
