//! The notation of the rules' tests: an object that is right, and one change a line.
//!
//! A change is `path=json`; nothing after `=` removes the member; several changes are separated by spaces
//! (JSON strings in them must have none). What is expected is `field Reason`, or nothing if all is well.

use kube_core::GroupVersionKind;
use serde_json::Value;

use super::{Gates, Operation, Options, default, validate_with};

pub(super) struct Table {
    kind: GroupVersionKind,
    object: Value,
    options: Options,
}

impl Table {
    /// A table of changes to an object that is right.
    pub(super) fn new(group: &str, kind: &str, object: &str) -> Self {
        Self {
            kind: GroupVersionKind::gvk(group, crate::VERSION, kind),
            object: serde_json::from_str(object).unwrap(),
            options: Options::default(),
        }
    }

    pub(super) fn gates(mut self, gates: Gates) -> Self {
        self.options.gates = gates;
        self
    }

    pub(super) fn dry_run(mut self) -> Self {
        self.options.dry_run = true;
        self
    }

    /// What is expected of the changed object when it is new.
    pub(super) fn create(&self, rows: &[(&str, &str)]) {
        for (change, expected) in rows {
            let object = changed(&self.object, change);
            let review = validate_with(self.options, &self.kind, Operation::Create, &object, None);
            assert_eq!(short(&review.errors), *expected, "create {change}");
        }
    }

    /// What is expected of the change as an update.
    pub(super) fn update(&self, rows: &[(&str, &str)]) {
        for (change, expected) in rows {
            let object = changed(&self.object, change);
            let review =
                validate_with(self.options, &self.kind, Operation::Update, &object, Some(&self.object));
            assert_eq!(short(&review.errors), *expected, "update {change}");
        }
    }

    /// What the changed object has at each path after defaulting: `path=json`, nothing for absent.
    pub(super) fn defaults(&self, rows: &[(&str, &str)]) {
        for (change, expected) in rows {
            let mut object = changed(&self.object, change);
            default(&self.kind, Operation::Create, &mut object, None);
            expect(&object, expected, change);
        }
    }

    /// Like `defaults`, for an update of the object.
    pub(super) fn update_defaults(&self, rows: &[(&str, &str)]) {
        for (change, expected) in rows {
            let mut object = changed(&self.object, change);
            default(&self.kind, Operation::Update, &mut object, Some(&self.object));
            expect(&object, expected, change);
        }
    }

    /// The errors of the changed object as a client sees them.
    pub(super) fn errors(&self, change: &str) -> String {
        let object = changed(&self.object, change);
        let review = validate_with(self.options, &self.kind, Operation::Create, &object, None);
        review.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

fn short(errors: &[super::FieldError]) -> String {
    errors.iter().map(|error| format!("{} {:?}", error.field, error.reason)).collect::<Vec<_>>().join(", ")
}

fn expect(object: &Value, expected: &str, change: &str) {
    for (path, value) in assignments(expected) {
        assert_eq!(object.pointer(&pointer(path)), value.as_ref(), "{path} after {change}: {object}");
    }
}

/// The object after the changes.
pub(super) fn changed(object: &Value, change: &str) -> Value {
    let mut object = object.clone();
    for (path, value) in assignments(change) {
        let mut steps: Vec<_> = pointer(path).split('/').skip(1).map(unescape).collect();
        let last = steps.pop().unwrap();
        let mut place = &mut object;
        for step in steps {
            place = match place {
                Value::Array(items) => &mut items[step.parse::<usize>().unwrap()],
                other => &mut other[step.as_str()],
            };
        }
        match (value, place) {
            (Some(value), place) => place[last.as_str()] = value,
            (None, place) => drop(place.as_object_mut().unwrap().remove(&last)),
        }
    }
    object
}

fn assignments(text: &str) -> impl Iterator<Item = (&str, Option<Value>)> {
    text.split_whitespace().map(|assignment| {
        let (path, value) = assignment.split_once('=').unwrap();
        (path, (!value.is_empty()).then(|| serde_json::from_str(value).unwrap()))
    })
}

/// `spec.a[0].b` as a JSON pointer; a member with dots in it stands in backquotes.
fn pointer(path: &str) -> String {
    let mut pointer = String::from("/");
    let mut quoted = false;
    for letter in path.chars() {
        match letter {
            '`' => quoted = !quoted,
            '.' | '[' if !quoted => pointer.push('/'),
            ']' if !quoted => {}
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
    pointer
}

fn unescape(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}
