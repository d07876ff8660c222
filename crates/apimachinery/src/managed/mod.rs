//! Field ownership: `metadata.managedFields` and server-side apply.
//!
//! Semantics are those of `sigs.k8s.io/structured-merge-diff` and of
//! `k8s.io/apimachinery/pkg/util/managedfields`.

mod apply;
mod check;
mod compare;
mod element;
mod entries;
mod forms;
mod merge;
mod scale;

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::schema::Schema;
use entries::{Entry, Operation};
use forms::{Unknown, Views};

use crate::fields::Set;
pub use apply::{ApplyError, Conflict, Conflicts, apply};
pub use forms::{Forms, Wanted};
pub use scale::Scaled;

/// Who writes.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// Field manager: the `fieldManager` parameter, else what stands before `/` in the user agent.
    pub manager: &'a str,
    /// `group/version` the request is made in.
    pub api_version: &'a str,
    /// `status`, `scale`, … or empty.
    pub subresource: &'a str,
    /// The time of the request, RFC 3339 in whole seconds.
    pub now: &'a str,
    /// Fields that the endpoint does not write, as `spec` or `metadata.labels`:
    /// nobody comes to own or loses them by the request.
    pub reset: &'a [&'a str],
    /// The API versions in which the kind exists.
    pub versions: Versions<'a>,
}

/// The API versions of a kind; what becomes of owners in others.
#[derive(Clone, Copy, Debug)]
pub enum Versions<'a> {
    /// Not known: all are good.
    Any,
    /// Of a compiled-in kind: owners in other versions are forgotten.
    BuiltIn(&'a [String]),
    /// Of a custom kind: owners are compared with objects in their own version;
    /// an object with owners in versions that are not there cannot be applied
    /// to, and a write of another form forgets all owners.
    Custom(&'a Forms),
}

impl<'a> Writer<'a> {
    fn views(&self, schema: &'a Schema) -> Views<'a> {
        let forms = match self.versions {
            Versions::Custom(forms) => Some(forms),
            Versions::Any | Versions::BuiltIn(_) => None,
        };
        Views { version: self.api_version, root: &schema.root, forms }
    }

    fn resets(&self) -> Set {
        Set::of_fields(self.reset)
    }

    /// Drops entries of versions that are no longer there.
    ///
    /// # Errors
    /// The version, where that is an error.
    fn known(&self, entries: &mut Vec<Entry>) -> Result<(), String> {
        match self.versions {
            Versions::Any => {}
            Versions::BuiltIn(known) => entries.retain(|entry| known.contains(&entry.api_version)),
            Versions::Custom(known) => {
                if let Some(other) = entries.iter().find(|entry| !known.knows(&entry.api_version)) {
                    return Err(other.api_version.clone());
                }
            }
        }
        Ok(())
    }
}

/// Tracks a create (`live` is `None`), update or patch: sets
/// `metadata.managedFields` of `new`, which otherwise must be as it will be stored.
///
/// What the request says in `managedFields` replaces the live list, `[]` or
/// `[{}]` clears it; a change of nothing keeps all entries and times. Objects
/// without entries stay so until somebody applies.
///
/// Where [`Forms::wanted`] is not empty after it, `new` is as good as before:
/// the caller makes those forms known and calls again with the object it had.
pub fn update(writer: &Writer<'_>, schema: &Schema, live: Option<&Value>, new: &mut Value) {
    let zero;
    let old = if let Some(live) = live {
        live
    } else {
        zero = schema.zero();
        &zero
    };
    let mut delta = compare::objects(&schema.root, old, new);
    delta.exclude(&writer.resets());
    if delta.is_empty() && live.is_some_and(|live| keeps_list(writer, live, new)) {
        return;
    }
    let metadata = new.get_mut("metadata").and_then(Value::as_object_mut);
    let requested = metadata.and_then(|metadata| metadata.remove("managedFields"));
    let mut entries = current(writer, live, requested);
    if entries.is_empty() && live.is_some() {
        return;
    }
    if writer.known(&mut entries).is_err() {
        return;
    }
    let same = delta.is_empty();
    if !same {
        // What is new is in one version only.
        let views = writer.views(schema);
        let views = if live.is_some() { views } else { Views { forms: None, ..views } };
        let mut taken = delta.added.clone();
        taken.unite(&delta.modified);
        let changes = Changes { views, old, new, own: delta };
        if changes.take_all(&mut entries).is_err() {
            return;
        }
        if !taken.is_empty() {
            add(&mut entries, Entry::new(writer, Operation::Update, taken));
        }
        entries.retain(|entry| !entry.set.is_empty());
        entries::cap(&mut entries);
    }
    entries::write(new, entries);
    if same {
        keep_times(live, new);
    }
}

/// What changes, in the version of each owner.
struct Changes<'a> {
    views: Views<'a>,
    old: &'a Value,
    new: &'a Value,
    /// In the version of the request.
    own: compare::Delta,
}

impl Changes<'_> {
    fn of(&self, version: &str) -> Result<Cow<'_, compare::Delta>, Unknown> {
        if version == self.views.version || self.views.forms.is_none() {
            return Ok(Cow::Borrowed(&self.own));
        }
        self.views.delta(self.old, self.new, version).map(Cow::Owned)
    }

    /// Takes what changed from all owners.
    fn take_all(&self, owners: &mut [Entry]) -> Result<(), Unknown> {
        let mut unknown = Ok(());
        for owner in owners {
            if merge::reconcile(self.views.root(&owner.api_version), &mut owner.set) {
                owner.changed();
            }
            match self.of(&owner.api_version) {
                Ok(delta) => {
                    for side in [&delta.added, &delta.modified, &delta.removed] {
                        owner.subtract(side);
                    }
                }
                Err(missing) => unknown = Err(missing),
            }
        }
        unknown
    }
}

/// Where nothing but times of the list has changed, they have not either.
fn keep_times(live: Option<&Value>, new: &mut Value) {
    let timeless = |entry: &Value| {
        let mut entry = entry.clone();
        entry.as_object_mut().map(|entry| entry.remove("time"));
        entry
    };
    let old = live.and_then(|live| live.get("metadata")?.get("managedFields")?.as_array());
    let list = new.pointer_mut("/metadata/managedFields");
    if let (Some(old), Some(Value::Array(list))) = (old, list)
        && old.iter().map(timeless).eq(list.iter().map(timeless))
    {
        list.clone_from(old);
    }
}

/// Gives the fields of a new object to its writer, but for those that an
/// object that says nothing (`blank`) has too.
pub fn create(writer: &Writer<'_>, schema: &Schema, blank: &Value, new: &mut Value) {
    let delta = compare::objects(&schema.root, blank, new);
    let metadata = new.get_mut("metadata").and_then(Value::as_object_mut);
    let requested = metadata.and_then(|metadata| metadata.remove("managedFields"));
    let mut entries = current(writer, None, requested);
    let mut taken = delta.added;
    taken.unite(&delta.modified);
    if !taken.is_empty() {
        add(&mut entries, Entry::new(writer, Operation::Update, taken));
    }
    entries::write(new, entries);
}

/// Whether an object that is otherwise unchanged also has the live list, as
/// most do; a subresource is given it, since it cannot change it.
fn keeps_list(writer: &Writer<'_>, live: &Value, new: &mut Value) -> bool {
    fn list(object: &Value) -> Option<&Value> {
        object.get("metadata")?.get("managedFields")
    }
    let (old, requested) = (list(live), list(new));
    if old == requested {
        return true;
    }
    let absent = requested.is_none();
    let is_nothing = matches!(writer.versions, Versions::Custom(_))
        && requested.and_then(Value::as_array).is_some_and(Vec::is_empty);
    let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) else { return false };
    match old {
        Some(old) if absent || !writer.subresource.is_empty() || is_nothing => {
            metadata.insert("managedFields".to_owned(), old.clone());
            true
        }
        _ => false,
    }
}

/// Adds fields to the manager's entry, with the time of the new one.
fn add(entries: &mut Vec<Entry>, new: Entry) {
    if let Some(mine) = entries.iter_mut().find(|entry| entry.same_manager(&new)) {
        mine.set.unite(&new.set);
        mine.time = new.time;
        mine.changed();
    } else {
        entries.push(new);
    }
}

/// The entries an update starts from.
fn current(writer: &Writer<'_>, live: Option<&Value>, requested: Option<Value>) -> Vec<Entry> {
    match requested {
        Some(Value::Array(list)) if writer.subresource.is_empty() => {
            let reset = match list.as_slice() {
                // An empty list does not outlast decoding in custom kinds.
                [] => !matches!(writer.versions, Versions::Custom(_)),
                [one] => one.as_object().is_some_and(Map::is_empty),
                _ => false,
            };
            if reset {
                return Vec::new();
            }
            // Most requests carry the live list unchanged.
            match entries::decode(list) {
                Some(entries) if !entries.is_empty() => entries,
                _ => entries::read(live),
            }
        }
        _ => entries::read(live),
    }
}
