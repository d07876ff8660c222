//! Changing objects: replacements and patches, in the order of
//! kube-apiserver (`registry/generic/registry.Store.Update`, `rest.BeforeUpdate`).

use std::sync::Arc;

use serde_json::{Map, Value};
use windlass_apimachinery::FieldError;
use windlass_store::{CommitError, Entry, Expect, Txn};

use crate::admission::{Operation, Origin};
use crate::apply::Configuration;
use crate::call::{Call, Part};
use crate::negotiate::PatchType;
use crate::object::{meta_str, metadata_mut};
use crate::patches::PatchBody;
use crate::status::ApiError;
use crate::webhooks::Question;
use crate::write::{Outcome, storage};
use crate::{limits, namespaces, patches, rules, strategy};

/// How often a write that carries no resource version is tried again when
/// others write the same object.
const ATTEMPTS: usize = 16;

/// A change of an existing object.
#[derive(Debug)]
pub enum Change {
    /// A whole new object, or a whole new scale of one.
    Replace(Value),
    /// A patch other than apply.
    Patch(PatchType, PatchBody),
    /// A server-side apply.
    Apply(Configuration),
}

impl Change {
    /// A merge patch of the server's own.
    pub const fn merge(patch: Value) -> Self {
        Self::Patch(PatchType::Merge, PatchBody { value: Ok(patch), findings: Vec::new() })
    }

    const fn verb(&self) -> &'static str {
        match self {
            Self::Replace(_) => "update",
            Self::Patch(..) | Self::Apply(_) => "patch",
        }
    }
}

impl Call<'_> {
    /// Changes an object.
    ///
    /// # Errors
    /// 404 when it does not exist (apply creates it, and some kinds are made
    /// by replacing nothing), 409 on conflicts, 422 when the result is not
    /// valid, and what admission says.
    pub async fn change(&self, mut change: Change) -> Result<Outcome, ApiError> {
        let mut once = false;
        if let Change::Replace(object) = &change {
            self.check_names(object)?;
            once = self.counts_once(object);
        }
        let key = self.key();
        let verb = change.verb();
        for _ in 0..ATTEMPTS {
            let Some(entry) = self.server.inner.store.get(&key) else {
                return self.change_nothing(change, &key).await;
            };
            let readable = self.readable(Arc::clone(&entry)).await?;
            let old = self.parse(&readable)?;
            let new = Box::pin(self.changed(&old, &mut change, once, &key)).await?;
            match self.replace(&entry, &readable, &old, new).await {
                Ok(outcome) => {
                    self.record(verb, &self.name, matches!(outcome, Outcome::Unchanged(..)));
                    if matches!(outcome, Outcome::Updated(..)) {
                        self.settle(&self.name).await;
                    }
                    return Ok(outcome);
                }
                // Somebody wrote in between: the next round sees the change.
                Err(Lost::Race) if !once => {}
                Err(Lost::Race) if self.server.inner.store.get(&key).is_none() => {
                    return Err(self.not_found());
                }
                Err(Lost::Race) => break,
                Err(Lost::Refused(error)) => return Err(error),
            }
        }
        Err(ApiError::modified(self.kind.resource(), &self.name))
    }

    /// Whether a replacement names the version it replaces, so that it is lost
    /// when somebody else is faster: it need not be kept for another round.
    fn counts_once(&self, object: &Value) -> bool {
        let named = meta_str(object, "resourceVersion").parse().is_ok_and(|version: u64| version > 0);
        named && self.part != Part::Scale && !rules::creates_on_update(&self.kind)
    }

    /// What becomes of a change when there is nothing to change.
    async fn change_nothing(&self, change: Change, key: &str) -> Result<Outcome, ApiError> {
        match change {
            Change::Apply(config) if self.part == Part::Object => self.create_applied(&config).await,
            Change::Replace(mut object)
                if self.part == Part::Object && rules::creates_on_update(&self.kind) =>
            {
                self.check_uid(&object, "", key)?;
                metadata_mut(&mut object).remove("resourceVersion");
                self.create_as("update", object, false).await
            }
            _ => Err(self.not_found()),
        }
    }

    async fn create_applied(&self, config: &Configuration) -> Result<Outcome, ApiError> {
        let object = self.applied(config, None).await?;
        self.check_names(&object)?;
        self.create_as("patch", object, true).await
    }

    /// The object that a change makes of another, as the client means it. A
    /// replacement that counts once is taken.
    async fn meant(
        &self,
        old: &Value,
        change: &mut Change,
        once: bool,
        key: &str,
    ) -> Result<Value, ApiError> {
        if let Change::Replace(object) = change {
            self.check_uid(object, meta_str(old, "uid"), key)?;
        }
        match change {
            _ if self.part == Part::Scale => self.scaled(old, change),
            Change::Replace(object) if once => Ok(std::mem::take(object)),
            Change::Replace(object) => Ok(object.clone()),
            Change::Patch(kind, body) => patches::apply(self, *kind, body, old),
            Change::Apply(config) => self.applied(config, Some(old)).await,
        }
    }

    /// The object after a change, complete and valid.
    async fn changed(
        &self,
        old: &Value,
        change: &mut Change,
        once: bool,
        key: &str,
    ) -> Result<Value, ApiError> {
        let mut new = self.meant(old, change, once, key).await?;
        let applied = matches!(change, Change::Apply(_));
        let replaced = matches!(change, Change::Replace(_));
        let same = !replaced && self.part != Part::Scale && new == *old;
        if same && !applied && self.hooks().is_none() {
            // What is stored is complete and valid: nothing to do again.
            return Ok(new);
        }
        // Where an apply changes nothing, neither do defaults that the stored version does not have.
        let complete = !(same && applied);
        self.fill(change, complete, &mut new)?;
        if self.part != Part::Scale && !applied {
            self.owned(old, &mut new).await;
        }
        self.server.inner.admission.mutate(&self.admission(Operation::Update, Some(old)), &mut new);
        let options = self.write_options("UpdateOptions");
        let question = Question::new(Operation::Update, Some(old), &options, self.options.dry_run);
        // Webhooks see what the client sent.
        if self.admit(question, &mut new).await? {
            self.check_same_object(&mut new)?;
        }
        crate::access::check_escalation(self, &new, Some(old))?;
        self.restrain(old, applied, complete, &mut new)?;
        self.validate(Operation::Update, &new, Some(old))?;
        self.judge(question, Some(&new)).await?;
        if applied {
            // Nulls that are valid do not outlast storage.
            self.version().schema().default(&mut new);
        }
        crate::access::complete(&self.kind, &mut new);
        Ok(new)
    }

    /// Adds what a client may leave out.
    fn fill(&self, change: &Change, complete: bool, new: &mut Value) -> Result<(), ApiError> {
        self.check_names(new)?;
        self.own_namespace(new);
        if matches!(change, Change::Replace(_)) {
            self.dedup_owners(new, false);
        }
        strategy::default(&self.kind, new);
        crate::access::default(&self.kind, new);
        namespaces::default(&self.kind, self.part, new);
        if complete {
            self.complete(matches!(change, Change::Apply(_)), new);
        }
        Ok(())
    }

    /// Takes back what the request may not change, and does what the server does at every change.
    fn restrain(&self, old: &Value, applied: bool, complete: bool, new: &mut Value) -> Result<(), ApiError> {
        self.dedup_owners(new, true);
        self.check_version(old, new)?;
        let body = if self.part == Part::Object { None } else { Some(metadata_of(new)) };
        strategy::isolate(&self.kind, self.version(), self.part, old, new);
        if let Some(body) = body {
            keep_body_identity(&body, new);
        }
        keep_system_fields(old, new);
        namespaces::before_update(&self.kind, self.part, old, new);
        if complete && self.part == Part::Object {
            self.complete(applied, new);
        }
        self.prepare(Some(old), new)?;
        self.complete_definition(new, false);
        strategy::raise_generation(&self.kind, self.version(), self.part, old, new);
        Ok(())
    }

    /// Checks that webhooks have not made another object of the one they were shown.
    fn check_same_object(&self, new: &mut Value) -> Result<(), ApiError> {
        let name = meta_str(new, "name");
        if name != self.name {
            let immutable = || FieldError::invalid("metadata.name", name, "field is immutable");
            return Err(self.invalid_named(name, &[immutable(), immutable()]));
        }
        self.check_object_namespace(new)?;
        self.own_namespace(new);
        Ok(())
    }

    /// Stores a changed object, or removes it if nothing holds it any more.
    async fn replace(
        &self,
        entry: &Entry,
        readable: &Entry,
        old: &Value,
        new: Value,
    ) -> Result<Outcome, Lost> {
        // What is stored in an old form is written again even when it says
        // the same: that is how storage is migrated.
        let current = self.kind.custom.as_ref().is_none_or(|custom| custom.is_current(entry));
        if current && rules::same_but_times(old, &new) {
            return Ok(Outcome::Unchanged(readable.value.clone(), entry.mod_revision));
        }
        let gone = strategy::is_finished(&self.kind, &new);
        if self.options.dry_run {
            return Ok(Outcome::DryRun { object: new, created: false });
        }
        let bytes = self.encode(&new).await?;
        if bytes == entry.value {
            return Ok(Outcome::Unchanged(readable.value.clone(), entry.mod_revision));
        }
        limits::check_stored(self.kind.builtin, bytes.len(), entry.value.len())?;
        let expect = Expect::Revision(entry.mod_revision);
        let txn = if gone {
            self.hold(Txn::new().delete(entry.key.clone(), expect), Some(old), None)
        } else {
            self.hold(Txn::new().put(entry.key.clone(), bytes.clone(), expect), Some(old), Some(&new))
        };
        let committed = if gone { self.remove(txn, &new).await } else { self.commit(txn, &new).await };
        match committed {
            // The answer is the object as it was stored last.
            Ok(_) if gone => {
                let bytes = self.read_back(&entry.key, bytes, entry.mod_revision).await?;
                Ok(Outcome::Removed(bytes, entry.mod_revision))
            }
            Ok(revision) => {
                Ok(Outcome::Updated(self.read_back(&entry.key, bytes, revision).await?, revision))
            }
            Err(CommitError::Conflict { .. }) => Err(Lost::Race),
            Err(error) => Err(Lost::Refused(storage(&error))),
        }
    }

    /// Checks the name and the namespace an object says it has against the path.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn check_names(&self, object: &Value) -> Result<(), ApiError> {
        self.check_object_namespace(object)?;
        let name = meta_str(object, "name");
        if name.is_empty() {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({} based on URL) was undeterminable: name must be provided",
                self.name
            )));
        }
        if name != self.name {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                self.name
            )));
        }
        Ok(())
    }

    /// The UID in a replacement is a precondition.
    fn check_uid(&self, object: &Value, current: &str, key: &str) -> Result<(), ApiError> {
        let expected = meta_str(object, "uid");
        if expected.is_empty() || expected == current {
            return Ok(());
        }
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {expected}, UID in object meta: {current}"
        );
        Err(ApiError::conflict(self.kind.resource(), &self.name, &why))
    }

    /// The resource version in the object is that of the object it changes.
    fn check_version(&self, old: &Value, new: &Value) -> Result<(), ApiError> {
        let (expected, current) = (meta_str(new, "resourceVersion"), meta_str(old, "resourceVersion"));
        if expected == current {
            return Ok(());
        }
        if !expected.is_empty() && expected.parse::<u64>().is_err() {
            let text = format!("strconv.ParseUint: parsing {expected:?}: invalid syntax");
            return Err(ApiError::new(500, "", text));
        }
        if expected.is_empty() || expected.trim_start_matches('0').is_empty() {
            let own = self.caller.origin != Origin::Client;
            if own || self.part == Part::Scale || rules::updates_unconditionally(&self.kind) {
                return Ok(());
            }
            return Err(rules::missing_resource_version(&self.kind, &self.name));
        }
        Err(ApiError::modified(self.kind.resource(), &self.name))
    }
}

fn metadata_of(object: &Value) -> Map<String, Value> {
    object.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default()
}

/// A subresource changes no identity, but one that is wrong is refused.
fn keep_body_identity(body: &Map<String, Value>, new: &mut Value) {
    let metadata = metadata_mut(new);
    if let Some(fields) = body.get("managedFields") {
        metadata.insert("managedFields".to_owned(), fields.clone());
    } else {
        metadata.remove("managedFields");
    }
}

/// Metadata that the server keeps whatever the client says.
fn keep_system_fields(old: &Value, new: &mut Value) {
    let metadata = metadata_mut(new);
    metadata.remove("selfLink");
    let before = |key: &str| old["metadata"].get(key).cloned();
    for key in ["resourceVersion", "creationTimestamp", "generation"] {
        match before(key) {
            Some(value) => metadata.insert(key.to_owned(), value),
            None => metadata.remove(key),
        };
    }
    if let Some(value) = before("deletionTimestamp") {
        metadata.insert("deletionTimestamp".to_owned(), value);
    }
    for key in ["uid", "deletionGracePeriodSeconds"] {
        if let Some(value) = before(key)
            && metadata.get(key).is_none_or(|given| given.is_null() || given == "")
        {
            metadata.insert(key.to_owned(), value);
        }
    }
}

/// Why a write did not happen.
pub(crate) enum Lost {
    /// The object changed in between.
    Race,
    /// For good.
    Refused(ApiError),
}

impl From<ApiError> for Lost {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}
