//! Deleting: finalizers, propagation, preconditions, collections.

use serde_json::{Value, json};
use windlass_store::{CommitError, Entry, Expect, Txn};

use crate::admission::Operation;
use crate::call::Call;
use crate::kinds::Hook;
use crate::object::{finalizers, member, meta_str, metadata_mut, set_finalizers};
use crate::request::DeleteQuery;
use crate::rules;
use crate::status::ApiError;
use crate::strategy;
use crate::webhooks::{Question, Verb};
use crate::write::storage;

/// Waits until all dependents that block are gone.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Waits until all dependents have forgotten the owner.
pub const ORPHAN: &str = "orphan";

/// Namespaces that cannot be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-public", "kube-system"];

/// What happens to the dependents of a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They go after it.
    Background,
    /// They go before it.
    Foreground,
    /// They stay.
    Orphan,
}

/// `DeleteOptions`, from the body and the query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// What happens to dependents; `None` leaves it to the finalizers.
    pub propagation: Option<Propagation>,
    /// The object must have this UID.
    pub uid: Option<String>,
    /// The object must be at this version.
    pub resource_version: Option<String>,
    /// `dryRun: [All]`.
    pub dry_run: bool,
    /// The options as given, for webhooks.
    pub given: Value,
}

impl DeleteOptions {
    /// Reads the options of a delete; the body wins over the query.
    ///
    /// # Errors
    /// 400 for an unknown policy.
    pub fn of(body: &Value, query: &DeleteQuery) -> Result<Self, ApiError> {
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let policy = text("/propagationPolicy").or_else(|| query.propagation_policy.clone());
        let orphan = body.get("orphanDependents").and_then(Value::as_bool).or(query.orphan_dependents);
        let propagation = match (policy.as_deref(), orphan) {
            (Some("Background"), _) | (None | Some(""), Some(false)) => Some(Propagation::Background),
            (Some("Foreground"), _) => Some(Propagation::Foreground),
            (Some("Orphan"), _) | (None | Some(""), Some(true)) => Some(Propagation::Orphan),
            (None | Some(""), None) => None,
            (Some(other), _) => {
                let known = "Background, Foreground, Orphan";
                let text = format!("invalid propagationPolicy {other:?}: supported values: {known}");
                return Err(ApiError::bad_request(text));
            }
        };
        let mut given = if body.is_object() { body.clone() } else { json!({}) };
        if body.is_null() {
            if let Some(policy) = &query.propagation_policy {
                given["propagationPolicy"] = json!(policy);
            }
            if let Some(orphan) = query.orphan_dependents {
                given["orphanDependents"] = json!(orphan);
            }
        }
        given["apiVersion"] = json!("meta.k8s.io/v1");
        given["kind"] = json!("DeleteOptions");
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(Self {
            propagation,
            uid: filled(text("/preconditions/uid")),
            resource_version: filled(text("/preconditions/resourceVersion")),
            dry_run: body["dryRun"].as_array().is_some_and(|list| list.contains(&json!("All"))),
            given,
        })
    }
}

/// What a deletion did.
#[derive(Debug)]
pub enum Deletion {
    /// The object is gone.
    Gone(Value),
    /// The object stays until its finalizers are taken.
    Waiting(Value),
}

impl Deletion {
    /// The object, as it was last.
    pub fn into_object(self) -> Value {
        match self {
            Self::Gone(object) | Self::Waiting(object) => object,
        }
    }
}

impl Call<'_> {
    /// Deletes an object, or begins to.
    ///
    /// # Errors
    /// 404, 409 when a precondition does not hold, 403 for namespaces that
    /// must stay, and what admission says.
    pub async fn delete(&self, options: &DeleteOptions) -> Result<Deletion, ApiError> {
        self.delete_as("delete", options).await
    }

    async fn delete_as(&self, verb: &'static str, options: &DeleteOptions) -> Result<Deletion, ApiError> {
        if self.kind.hook == Hook::Namespace && IMMORTAL.contains(&self.name.as_str()) {
            let why = "this namespace may not be deleted";
            return Err(ApiError::forbidden(self.kind.resource(), &self.name, why));
        }
        let key = self.key();
        loop {
            let entry = self.server.inner.store.get(&key).ok_or_else(|| self.not_found())?;
            let old = self.parse(&entry)?;
            self.check_delete(&old, options)?;
            self.ask_about_deletion(verb, &old, options).await?;
            let mut new = old.clone();
            self.begin_deletion(&old, &mut new, options);
            match self.store_deletion(&entry, &old, &new, options.dry_run || self.options.dry_run).await {
                Ok(no_op) => {
                    self.record(verb, &self.name, no_op);
                    let gone = strategy::is_finished(&self.kind, &new);
                    return Ok(if gone { Deletion::Gone(new) } else { Deletion::Waiting(new) });
                }
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(storage(&error)),
            }
        }
    }

    fn check_delete(&self, old: &Value, options: &DeleteOptions) -> Result<(), ApiError> {
        let conflict = |what: &str, expected: &str, current: &str| {
            let why = format!(
                "Precondition failed: {what} in precondition: {expected}, {what} in object meta: {current}"
            );
            Err(ApiError::conflict(self.kind.resource(), &self.name, &why))
        };
        for (what, key, expected) in
            [("UID", "uid", &options.uid), ("ResourceVersion", "resourceVersion", &options.resource_version)]
        {
            let current = meta_str(old, key);
            if let Some(expected) = expected
                && expected != current
            {
                return conflict(what, expected, current);
            }
        }
        let request = self.admission(Operation::Delete, Some(old));
        match self.server.inner.admission.validate(&request, old, Some(old)) {
            Ok(warnings) => {
                for warning in warnings {
                    self.warn(warning);
                }
                Ok(())
            }
            Err(errors) => Err(self.invalid(&errors)),
        }
    }

    async fn ask_about_deletion(
        &self,
        verb: &str,
        old: &Value,
        options: &DeleteOptions,
    ) -> Result<(), ApiError> {
        let dry_run = options.dry_run || self.options.dry_run;
        let of_collection = verb == "deletecollection";
        let mut given = options.given.clone();
        if self.options.dry_run {
            given["dryRun"] = json!(["All"]);
        }
        let question =
            Question { verb: Verb::Delete, old: Some(old), options: &given, dry_run, of_collection };
        self.judge_act(question, None).await
    }

    /// Sets the finalizers of the wished propagation and, unless the object is
    /// on its way already, the time of deletion.
    fn begin_deletion(&self, old: &Value, new: &mut Value, options: &DeleteOptions) {
        let mut kept: Vec<String> = finalizers(old).into_iter().map(str::to_owned).collect();
        if let Some(propagation) = options.propagation {
            kept.retain(|finalizer| finalizer != FOREGROUND && finalizer != ORPHAN);
            match propagation {
                Propagation::Background => {}
                Propagation::Foreground => kept.push(FOREGROUND.to_owned()),
                Propagation::Orphan => kept.push(ORPHAN.to_owned()),
            }
        }
        set_finalizers(new, kept);
        if !meta_str(old, "deletionTimestamp").is_empty() {
            return;
        }
        if self.kind.hook == Hook::CustomResourceDefinition {
            return crate::crd::begin_deletion(new, self.now);
        }
        let metadata = metadata_mut(new);
        metadata.insert("deletionTimestamp".to_owned(), json!(rules::seconds(self.now)));
        metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(0));
        if let Some(generation) = old.pointer("/metadata/generation").and_then(Value::as_i64)
            && generation > 0
        {
            metadata.insert("generation".to_owned(), json!(generation + 1));
        }
        if self.kind.hook == Hook::Namespace {
            *member(member(new, "status"), "phase") = json!("Terminating");
        }
    }

    /// Whether there was nothing to store.
    async fn store_deletion(
        &self,
        entry: &Entry,
        old: &Value,
        new: &Value,
        dry_run: bool,
    ) -> Result<bool, CommitError> {
        if dry_run {
            return Ok(false);
        }
        let expect = Expect::Revision(entry.mod_revision);
        if strategy::is_finished(&self.kind, new) {
            self.remove(Txn::new().delete(entry.key.clone(), expect), new).await?;
            return Ok(false);
        }
        if old == new {
            return Ok(true);
        }
        // What was read from the store can be written back.
        let Ok(bytes) = self.encode(new) else { return Ok(true) };
        self.commit(Txn::new().put(entry.key.clone(), bytes, expect), new).await?;
        Ok(false)
    }

    /// Deletes all objects of a collection that match the selectors; returns
    /// them as they were last.
    ///
    /// # Errors
    /// The first refusal that is not "not found".
    pub async fn delete_collection(&self, options: &DeleteOptions) -> Result<Vec<Value>, ApiError> {
        let selection = self.selection()?;
        let prefix =
            self.kind.collection(Some(&self.namespace).filter(|ns| !ns.is_empty()).map(String::as_str));
        let range = self.server.inner.store.range(&prefix, None, None, None);
        let entries = range.map_err(ApiError::internal)?.entries;
        let mut deleted = Vec::new();
        for entry in entries {
            if !selection.matches(&self.kind, &self.api_version, &entry)? {
                continue;
            }
            let meta = crate::object::Stored::of(&entry.value)?.metadata()?;
            let mut one =
                Call::internal(self.server, self.caller, self.kind.clone(), &meta.namespace, &meta.name);
            one.options.clone_from(&self.options);
            match one.delete_as("deletecollection", options).await {
                Ok(deletion) => deleted.push(deletion.into_object()),
                Err(error) if error.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(deleted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_comes_from_the_body_or_the_query() {
        let query = |policy: Option<&str>, orphan| DeleteQuery {
            propagation_policy: policy.map(str::to_owned),
            orphan_dependents: orphan,
        };
        for (body, query, expected) in [
            (json!({"propagationPolicy": "Foreground"}), query(None, None), Some(Propagation::Foreground)),
            (
                json!({"propagationPolicy": "Orphan"}),
                query(Some("Background"), None),
                Some(Propagation::Orphan),
            ),
            (json!({}), query(Some("Background"), None), Some(Propagation::Background)),
            (json!({"orphanDependents": true}), query(None, None), Some(Propagation::Orphan)),
            (Value::Null, query(None, None), None),
        ] {
            assert_eq!(DeleteOptions::of(&body, &query).unwrap().propagation, expected, "{body}");
        }
        assert_eq!(
            DeleteOptions::of(&json!({"propagationPolicy": "x"}), &query(None, None)).unwrap_err().code,
            400
        );
    }
}
