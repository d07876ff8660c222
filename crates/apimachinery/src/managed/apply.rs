//! Server-side apply.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use super::entries::{self, Entry, Operation};
use super::forms::{Unknown, Views};
use super::{Changes, Writer, add, check, compare, merge};
use crate::fields::{Path, Set};
use crate::go;
use crate::schema::Schema;
use crate::schema::node::Node;
use crate::value::equal;

/// Owner of what was there before anybody applied.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// Where `kubectl apply` without `--server-side` keeps what it applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager that may take over from client-side apply.
const KUBECTL: &str = "kubectl";

/// A field that another manager owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The owner, as `"name" with subresource "status" using v1`.
    pub manager: String,
    /// The field, as `.spec.replicas`.
    pub field: String,
}

impl Conflict {
    /// The `message` of the Status cause, whose `reason` is `FieldManagerConflict`.
    pub fn message(&self) -> String {
        format!("conflict with {}", self.manager)
    }
}

/// Conflicts of an apply without `force`, sorted by manager and field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflicts(pub Vec<Conflict>);

impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [one] = self.0.as_slice() {
            return write!(f, "Apply failed with 1 conflict: conflict with {}: {}", one.manager, one.field);
        }
        write!(f, "Apply failed with {} conflicts: ", self.0.len())?;
        let mut lines = Vec::new();
        for of_one in self.0.chunk_by(|a, b| a.manager == b.manager) {
            lines.push(format!("conflicts with {}:", of_one[0].manager));
            lines.extend(of_one.iter().map(|conflict| format!("- {}", conflict.field)));
        }
        f.write_str(&lines.join("\n"))
    }
}

/// Why an apply is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// 409, reason `Conflict`, one cause a conflict.
    #[error("{0}")]
    Conflicts(Conflicts),
    /// 400: the configuration names another version than the request.
    #[error(
        "Incorrect version specified in apply patch. Specified patch version: {found}, expected: {expected}"
    )]
    Version {
        /// The configuration's version.
        found: String,
        /// The request's.
        expected: String,
    },
    /// 400: a configuration may not say who owns what.
    #[error("metadata.managedFields must be nil")]
    ManagedFields,
    /// An owner's entry is in a version the kind does not have: 500.
    #[error("request to convert CR to an invalid group/version: {0}")]
    UnknownVersion(String),
    /// An object has to be known in another version first: see [`super::Forms::wanted`].
    #[error("an object has to be converted first")]
    Unconverted,
    /// The live list of owners cannot be read: 500.
    #[error("failed to decode managed fields")]
    Undecodable,
    /// The configuration does not fit the schema: unknown fields, wrong types, list items twice.
    #[error("failed to create typed patch object ({object}): {errors}")]
    Untyped {
        /// The object, as `namespace/name; group/version, Kind=Kind` (`/v1` in the core group).
        object: String,
        /// What is wrong.
        errors: String,
    },
}

/// Applies a configuration. Returns the object to store, which has the new
/// `metadata.managedFields` and otherwise still lacks defaults. Equal to
/// `live` if nothing changes.
///
/// What the endpoint does not write must be in [`Writer::reset`]; the caller
/// then puts those fields back.
///
/// # Errors
/// See [`ApplyError`].
pub fn apply(
    writer: &Writer<'_>,
    schema: &Schema,
    live: Option<&Value>,
    config: &Value,
    force: bool,
) -> Result<Value, ApplyError> {
    admissible(writer, schema, config)?;
    let zero = schema.zero();
    let views = writer.views(schema);
    let run = |force: bool| Pass { writer, views, live, config, zero: &zero, force }.run();
    let applied = match run(force) {
        Err(Refusal::Conflicts(conflicts)) => {
            let allowed =
                if writer.manager == KUBECTL { last_applied(writer, &schema.root, live) } else { None };
            match forbidden(conflicts, allowed.as_ref()) {
                Some(conflicts) => return Err(ApplyError::Conflicts(conflicts)),
                None => run(true),
            }
        }
        other => other,
    };
    let mut object = applied.map_err(|refusal| match refusal {
        Refusal::Conflicts(conflicts) => ApplyError::Conflicts(report(&conflicts)),
        Refusal::Undecodable => ApplyError::Undecodable,
        Refusal::UnknownVersion(version) => ApplyError::UnknownVersion(version),
        Refusal::Unconverted => ApplyError::Unconverted,
    })?;
    if writer.manager == KUBECTL {
        refresh_last_applied(&mut object, config);
    }
    Ok(object)
}

fn admissible(writer: &Writer<'_>, schema: &Schema, config: &Value) -> Result<(), ApplyError> {
    let text = |pointer: &str| config.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    if text("/apiVersion") != writer.api_version {
        let (found, expected) = (text("/apiVersion").to_owned(), writer.api_version.to_owned());
        return Err(ApplyError::Version { found, expected });
    }
    if config.pointer("/metadata/managedFields").is_some_and(|list| !list.is_null()) {
        return Err(ApplyError::ManagedFields);
    }
    check::check(&schema.root, config).map_err(|errors| {
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        let slash = if text("/apiVersion").contains('/') { "" } else { "/" };
        let object = format!("{namespace}/{name}; {slash}{}, Kind={}", text("/apiVersion"), text("/kind"));
        let errors = if let [one] = errors.as_slice() {
            one.clone()
        } else {
            format!("errors:\n  {}", errors.join("\n  "))
        };
        ApplyError::Untyped { object, errors }
    })
}

enum Refusal {
    Conflicts(Vec<(Entry, Set)>),
    Undecodable,
    UnknownVersion(String),
    Unconverted,
}

impl From<Unknown> for Refusal {
    fn from(_: Unknown) -> Self {
        Self::Unconverted
    }
}

/// One attempt.
struct Pass<'a> {
    writer: &'a Writer<'a>,
    views: Views<'a>,
    live: Option<&'a Value>,
    config: &'a Value,
    /// What a new object of the kind compares with.
    zero: &'a Value,
    force: bool,
}

impl Pass<'_> {
    fn run(&self) -> Result<Value, Refusal> {
        let nothing = Value::Object(Map::new());
        let mut live = self.live.unwrap_or(&nothing).clone();
        let mut others = self.owners(&mut live)?;
        let mut claimed = compare::fields_of(self.views.root, self.config);
        claimed.exclude(&self.writer.resets());
        let mut mine = Entry::new(self.writer, Operation::Apply, claimed);
        let former = others.iter().position(|entry| entry.same_manager(&mine)).map(|at| others.remove(at));
        let merged = merge::objects(self.views.root, &live, self.config);
        let mut object = match &former {
            Some(former) => self.give_up(merged, former, &mine.set, &others)?,
            None => merged,
        };
        self.take(&live, &object, &mut others)?;
        // No change, no new time: who was not there before has none at all.
        if equal(&object, &live) {
            object = live;
            mine.time = former.as_ref().and_then(|former| former.time.clone());
            if let Some(former) = former
                && former.set == mine.set
                && former.api_version == mine.api_version
            {
                mine = former;
            }
        }
        others.push(mine);
        entries::write(&mut object, others);
        Ok(object)
    }

    /// Takes the owners out of the live object; before the first apply there may be none.
    fn owners(&self, live: &mut Value) -> Result<Vec<Entry>, Refusal> {
        let list = live
            .get_mut("metadata")
            .and_then(Value::as_object_mut)
            .and_then(|metadata| metadata.remove("managedFields"));
        let mut owners = match list {
            Some(Value::Array(list)) => entries::decode(list).ok_or(Refusal::Undecodable)?,
            _ => Vec::new(),
        };
        if owners.is_empty() && self.live.is_some() {
            let mut delta = compare::objects(self.views.root, self.zero, live);
            delta.exclude(&self.writer.resets());
            let mut all = delta.added;
            all.unite(&delta.modified);
            if !all.is_empty() {
                let writer = Writer { manager: BEFORE_FIRST_APPLY, ..*self.writer };
                add(&mut owners, Entry::new(&writer, Operation::Update, all));
            }
        }
        self.writer.known(&mut owners).map_err(Refusal::UnknownVersion)?;
        for owner in &mut owners {
            if merge::reconcile(self.views.root(&owner.api_version), &mut owner.set) {
                owner.changed();
            }
        }
        Ok(owners)
    }

    /// Removes what this manager applied before and no longer does, unless somebody else owns it.
    fn give_up(&self, merged: Value, former: &Entry, now: &Set, others: &[Entry]) -> Result<Value, Refusal> {
        let version = former.api_version.as_str();
        if version == self.views.version {
            let mut given_up = former.set.clone();
            given_up.subtract(now);
            if given_up.is_empty() {
                return Ok(merged);
            }
        }
        let mut owned: BTreeMap<&str, Set> = BTreeMap::from([(self.views.version, now.clone())]);
        for other in others {
            owned.entry(&other.api_version).or_default().unite(&other.set);
        }
        let root = self.views.root(version);
        let merged = self.views.get(&merged, version)?;
        let last = merge::with_parents(root, &former.set);
        // Without all this manager had, but with what is owned: first in the version it had it in,
        // since what is missing there may be needed to convert.
        let first = owned.remove_entry(version).unwrap_or_default();
        let (mut all, mut pruned) = (merged.clone().into_owned(), merge::without(root, &merged, &last));
        for (version, owned) in std::iter::once((version, first.1)).chain(owned) {
            (all, pruned) = self.add_back(&all, &pruned, version, &owned)?;
        }
        // And with what nobody owned and went along with a parent.
        let pruned = self.views.get(&pruned, version)?;
        let mut drop = self.fields(version, &merged);
        drop.subtract(&self.fields(version, &pruned));
        let kept = merge::without(root, &merged, &drop.intersection(&last));
        Ok(self.views.get(&kept, self.views.version)?.into_owned())
    }

    /// Puts what is owned in a version back into an object; returns both in that version.
    fn add_back(
        &self,
        all: &Value,
        pruned: &Value,
        version: &str,
        owned: &Set,
    ) -> Result<(Value, Value), Refusal> {
        let root = self.views.root(version);
        let (all, pruned) = (self.views.get(all, version), self.views.get(pruned, version));
        let (all, pruned) = (all?, pruned?);
        let mut drop = self.fields(version, &all);
        drop.subtract(&self.fields(version, &pruned));
        drop.subtract(&merge::with_parents(root, owned));
        let pruned = merge::without(root, &all, &drop);
        Ok((all.into_owned(), pruned))
    }

    /// The fields an object holds, with their parents.
    fn fields(&self, version: &str, object: &Value) -> Set {
        let root = self.views.root(version);
        merge::with_parents(root, &compare::fields_of(root, object))
    }

    /// Takes changed fields from their owners, if allowed.
    fn take(&self, live: &Value, object: &Value, others: &mut Vec<Entry>) -> Result<(), Refusal> {
        let mut own = compare::objects(self.views.root, live, object);
        own.exclude(&self.writer.resets());
        let changes = Changes { views: self.views, old: live, new: object, own };
        if !self.force {
            let mut conflicts = Vec::new();
            for other in &*others {
                let delta = changes.of(&other.api_version)?;
                let mut taken = delta.added.clone();
                taken.unite(&delta.modified);
                let set = other.set.intersection(&taken);
                if !set.is_empty() {
                    conflicts.push((other.clone(), set));
                }
            }
            if !conflicts.is_empty() {
                return Err(Refusal::Conflicts(conflicts));
            }
        }
        changes.take_all(others)?;
        others.retain(|other| !other.set.is_empty());
        Ok(())
    }
}

fn report(conflicts: &[(Entry, Set)]) -> Conflicts {
    let mut owners: Vec<&(Entry, Set)> = conflicts.iter().collect();
    owners.sort_by(|(a, _), (b, _)| a.identity().cmp(&b.identity()));
    let named = |(entry, set): &(Entry, Set)| {
        let manager = entry.display();
        let conflict = move |path: Path| Conflict { manager: manager.clone(), field: path.to_string() };
        set.paths().into_iter().map(conflict).collect::<Vec<_>>()
    };
    Conflicts(owners.into_iter().flat_map(named).collect())
}

/// The conflicts left after the fields that may be taken.
fn forbidden(mut conflicts: Vec<(Entry, Set)>, allowed: Option<&Set>) -> Option<Conflicts> {
    if let Some(allowed) = allowed {
        for (_, set) in &mut conflicts {
            set.subtract(allowed);
        }
    }
    let left = report(&conflicts);
    (!left.0.is_empty()).then_some(left)
}

/// The fields client-side apply set and nobody changed since.
fn last_applied(writer: &Writer<'_>, root: &Node, live: Option<&Value>) -> Option<Set> {
    let live = live?;
    let text = live.get("metadata")?.get("annotations")?.get(LAST_APPLIED)?.as_str()?;
    let applied: Value = serde_json::from_str(text).ok()?;
    if applied.get("apiVersion")?.as_str()? != writer.api_version {
        return None;
    }
    let mut set = compare::fields_of(root, &applied);
    let delta = compare::objects(root, &applied, live);
    for other in [&delta.modified, &delta.added, &delta.removed] {
        set.subtract(other);
    }
    Some(set)
}

/// Keeps the annotation of client-side apply true, where there is one.
fn refresh_last_applied(object: &mut Value, config: &Value) {
    let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else {
        return;
    };
    if annotations.get(LAST_APPLIED).and_then(Value::as_str).is_none_or(str::is_empty) {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    // kubectl ends the text with a line break.
    annotations.insert(LAST_APPLIED.to_owned(), Value::String(format!("{}\n", go::json(&config))));
    let size: usize =
        annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > crate::meta::MAX_ANNOTATIONS {
        annotations.remove(LAST_APPLIED);
    }
}
