//! Deleting: finalizers, propagation, preconditions, collections.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use windlass_apimachinery::{FieldError, go};
use windlass_store::{CommitError, Entry, Expect, Txn};

use crate::admission::Operation;
use crate::call::Call;
use crate::kinds::Hook;
use crate::object::{finalizers, member, meta_str, metadata_mut, set_finalizers};
use crate::read::Page;
use crate::request::Options;
use crate::rules;
use crate::status::{ApiError, GroupKind, GroupResource};
use crate::strategy;
use crate::webhooks::Question;
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

/// `DeleteOptions`, from the body or the query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// What happens to dependents; `None` leaves it to the finalizers.
    pub propagation: Option<Propagation>,
    /// Whether that was said with the old `orphanDependents: false`.
    pub old_background: bool,
    /// Seconds a pod may take to end.
    pub grace_period: Option<i64>,
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
    /// Reads the options of a delete: those of the body or, when there is
    /// none, of the query.
    ///
    /// # Errors
    /// 400 for a body that is something else, 422 for options that make no
    /// sense.
    pub fn of(body: &Value, query: &Options) -> Result<Self, ApiError> {
        let given = given(body, query);
        if body.is_null() {
            return Self {
                grace_period: query.delete.grace_period,
                dry_run: query.dry_run,
                given,
                ..Self::default()
            }
            .with_policy(
                query.delete.propagation_policy.as_deref(),
                query.delete.orphan_dependents,
                &query.dry_run_values,
            );
        }
        let kind = body["kind"].as_str().unwrap_or_default();
        if !matches!(kind, "" | "DeleteOptions") {
            let version = body["apiVersion"].as_str().unwrap_or_default();
            return Err(ApiError::bad_request(format!(
                "no kind {kind:?} is registered for version {version:?} in scheme \"pkg/runtime/scheme.go:111\""
            )));
        }
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let list = body["dryRun"].as_array().into_iter().flatten();
        let dry_runs: Vec<String> = list.filter_map(Value::as_str).map(str::to_owned).collect();
        Self {
            grace_period: grace_period(&body["gracePeriodSeconds"])?,
            uid: text("/preconditions/uid"),
            resource_version: text("/preconditions/resourceVersion"),
            dry_run: dry_runs.iter().any(|value| value == "All"),
            given,
            ..Self::default()
        }
        .with_policy(
            body["propagationPolicy"].as_str(),
            body["orphanDependents"].as_bool(),
            &dry_runs,
        )
    }

    fn with_policy(
        mut self,
        policy: Option<&str>,
        orphan: Option<bool>,
        dry_runs: &[String],
    ) -> Result<Self, ApiError> {
        const FIELD: &str = "propagationPolicy";
        let mut errors = Vec::new();
        if let (Some(policy), Some(_)) = (policy, orphan) {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid(FIELD, policy, why));
        }
        self.propagation = match (policy, orphan) {
            (Some("Background"), _) | (None, Some(false)) => Some(Propagation::Background),
            (Some("Foreground"), _) => Some(Propagation::Foreground),
            (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
            (None, None) => None,
            (Some(other), _) => {
                let known = ["Foreground", "Background", "Orphan", "nil"];
                errors.push(FieldError::not_supported(FIELD, other, &known));
                None
            }
        };
        self.old_background = orphan == Some(false);
        if dry_runs.iter().any(|value| value != "All") {
            errors.push(FieldError::not_supported("dryRun", dry_runs.to_vec(), &["All"]));
        }
        if errors.is_empty() {
            return Ok(self);
        }
        Err(ApiError::invalid(GroupKind { group: "meta.k8s.io", kind: "DeleteOptions" }, "", &errors))
    }
}

/// The options of the body or else of the query, as webhooks are told them.
fn given(body: &Value, query: &Options) -> Value {
    let mut given = if body.is_object() { body.clone() } else { json!({}) };
    if body.is_null() {
        if let Some(policy) = &query.delete.propagation_policy {
            given["propagationPolicy"] = json!(policy);
        }
        if let Some(orphan) = query.delete.orphan_dependents {
            given["orphanDependents"] = json!(orphan);
        }
        if let Some(seconds) = query.delete.grace_period {
            given["gracePeriodSeconds"] = json!(seconds);
        }
        if query.dry_run {
            given["dryRun"] = json!(["All"]);
        }
    }
    given["apiVersion"] = json!("meta.k8s.io/v1");
    given["kind"] = json!("DeleteOptions");
    given
}

fn grace_period(value: &Value) -> Result<Option<i64>, ApiError> {
    match value {
        Value::Null => Ok(None),
        Value::Number(number) => match number.as_i64() {
            Some(seconds) => Ok(Some(seconds)),
            None => Err(wrong_grace_period(&format!("number {number}"))),
        },
        other => Err(wrong_grace_period(go::json_type(other))),
    }
}

fn wrong_grace_period(found: &str) -> ApiError {
    ApiError::bad_request(format!(
        "json: cannot unmarshal {found} into Go struct field DeleteOptions.gracePeriodSeconds of type int64"
    ))
}

/// What a deletion did.
#[derive(Debug)]
pub enum Deletion {
    /// The object is gone; as it was last.
    Gone(Value),
    /// The object stays until its finalizers are taken.
    Waiting(Value),
}

/// What becomes of an object that is deleted.
enum Plan {
    /// It goes.
    Remove,
    /// It stays, changed.
    Mark(Value),
    /// It is marked and goes: two changes that watches see.
    MarkAndRemove(Value),
    /// It stays as it is.
    Leave,
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
        let key = self.key();
        loop {
            let entry = self.server.inner.store.get(&key).ok_or_else(|| self.not_found())?;
            let old = self.parse(&*self.readable(Arc::clone(&entry)).await?)?;
            self.check_preconditions_of_delete(&old, options)?;
            if self.kind.hook == Hook::Namespace && IMMORTAL.contains(&self.name.as_str()) {
                let why = "this namespace may not be deleted";
                return Err(ApiError::forbidden(self.kind.resource(), &self.name, why));
            }
            self.admit_delete(&old)?;
            let (dry_run, of_collection) = (options.dry_run, verb == "deletecollection");
            let (operation, given) = (Operation::Delete, &options.given);
            let question = Question { operation, old: Some(&old), options: given, dry_run, of_collection };
            self.judge_act(question, None).await?;
            let plan = self.plan(&old, options);
            match self.carry_out(&entry, &old, plan, options.dry_run).await {
                Ok(deletion) => {
                    let no_op = matches!(&deletion, Deletion::Waiting(now) if *now == old);
                    self.record(verb, &self.name, no_op);
                    return Ok(deletion);
                }
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(storage(&error)),
            }
        }
    }

    fn check_preconditions_of_delete(&self, old: &Value, options: &DeleteOptions) -> Result<(), ApiError> {
        let two_steps = self.goes_in_two_steps();
        for (what, key, expected, rest) in [
            ("UID", "uid", &options.uid, "deleted and then recreated"),
            ("ResourceVersion", "resourceVersion", &options.resource_version, "modified"),
        ] {
            let current = meta_str(old, key);
            let Some(expected) = expected.as_deref().filter(|expected| *expected != current) else {
                continue;
            };
            if two_steps {
                let why = format!(
                    "Precondition failed: {what} in precondition: {expected}, {what} in object meta: {current}"
                );
                return Err(ApiError::conflict(self.kind.resource(), &self.name, &why));
            }
            let why = format!(
                "the {what} in the precondition ({expected}) does not match the {what} in record ({current}). \
                 The object might have been {rest}"
            );
            // Upstream names the kind here where other conflicts name the resource.
            let kind = GroupResource { group: &self.kind.group, resource: &self.kind.kind };
            return Err(ApiError::conflict(kind, &self.name, &why));
        }
        Ok(())
    }

    fn admit_delete(&self, old: &Value) -> Result<(), ApiError> {
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

    /// Decides as kube-apiserver's `registry/rest/delete.go` and
    /// `registry/generic/registry/store.go` do.
    fn plan(&self, old: &Value, options: &DeleteOptions) -> Plan {
        let deleting = !meta_str(old, "deletionTimestamp").is_empty();
        let period = old.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64);
        let grace = self.grace_period(old, options);
        if let (true, Some(period), Some(_)) = (deleting, period, grace)
            && options.grace_period.is_none_or(|asked| asked >= period)
        {
            // Only a shorter time can be asked for.
            return Plan::Leave;
        }
        let mut new = old.clone();
        set_finalizers(&mut new, kept_finalizers(old, options.propagation));
        if self.goes_in_two_steps() && !deleting {
            self.terminate(&mut new);
            return self.finish(old, new);
        }
        if self.kind.hook == Hook::Namespace && strategy::has_content_finalizer(old) {
            return Plan::Leave;
        }
        if let Some(grace) = grace {
            self.mark(old, &mut new, grace);
            let stays = grace > 0 || !finalizers(&new).is_empty();
            return if stays { Plan::Mark(new) } else { Plan::MarkAndRemove(new) };
        }
        if finalizers(&new).is_empty() {
            return Plan::Remove;
        }
        self.mark(old, &mut new, 0);
        self.finish(old, new)
    }

    fn finish(&self, old: &Value, new: Value) -> Plan {
        if strategy::is_finished(&self.kind, &new) {
            Plan::Remove
        } else if *old == new {
            Plan::Leave
        } else {
            Plan::Mark(new)
        }
    }

    /// The time an object is given to end; `None` for all kinds but pods.
    fn grace_period(&self, old: &Value, options: &DeleteOptions) -> Option<i64> {
        if self.kind.hook != Hook::Pod {
            return None;
        }
        let own = old.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64);
        let asked = options.grace_period.or(own).unwrap_or(0);
        let placed =
            old.pointer("/spec/nodeName").and_then(Value::as_str).is_some_and(|node| !node.is_empty());
        let ended =
            matches!(old.pointer("/status/phase").and_then(Value::as_str), Some("Failed" | "Succeeded"));
        Some(if !placed || ended {
            0
        } else if asked < 0 {
            1
        } else {
            asked
        })
    }

    /// Sets the time of deletion.
    fn mark(&self, old: &Value, new: &mut Value, grace: i64) {
        let before = meta_str(old, "deletionTimestamp").parse::<Timestamp>().ok();
        let period = old.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64);
        // When the deletion was asked for first.
        let asked = before.map_or(self.now, |time| after(time, -period.unwrap_or(0)));
        let time = after(asked, grace);
        let metadata = metadata_mut(new);
        metadata.insert("deletionTimestamp".to_owned(), json!(rules::seconds(time)));
        metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(grace));
        if before.is_none()
            && let Some(generation) = old.pointer("/metadata/generation").and_then(Value::as_i64)
            && generation > 0
        {
            metadata.insert("generation".to_owned(), json!(generation + 1));
        }
    }

    /// Namespaces and definitions are only marked at first; what they hold
    /// goes before them.
    fn goes_in_two_steps(&self) -> bool {
        matches!(self.kind.hook, Hook::Namespace | Hook::CustomResourceDefinition)
    }

    /// The first of the two steps: a time of deletion, but no grace period.
    fn terminate(&self, new: &mut Value) {
        metadata_mut(new).insert("deletionTimestamp".to_owned(), json!(rules::seconds(self.now)));
        if self.kind.hook == Hook::Namespace {
            *member(member(new, "status"), "phase") = json!("Terminating");
            return;
        }
        crate::crd::begin_deletion(new, self.now);
    }

    async fn carry_out(
        &self,
        entry: &Entry,
        old: &Value,
        plan: Plan,
        dry_run: bool,
    ) -> Result<Deletion, CommitError> {
        let key = &entry.key;
        let mut expect = Expect::Revision(entry.mod_revision);
        let (last, removed) = match plan {
            Plan::Leave => return Ok(Deletion::Waiting(old.clone())),
            Plan::Mark(new) => (new, false),
            Plan::MarkAndRemove(new) => (new, true),
            Plan::Remove => {
                let revision = if dry_run {
                    entry.mod_revision
                } else {
                    let txn = self.hold(Txn::new().delete(key.clone(), expect), Some(old), None);
                    self.remove(txn, old).await?
                };
                return Ok(Deletion::Gone(at(old.clone(), revision)));
            }
        };
        let mut revision = entry.mod_revision;
        if !dry_run {
            // What was read from the store can be written back.
            let Ok(bytes) = self.encode(&last).await else { return Ok(Deletion::Waiting(old.clone())) };
            revision = self.commit(Txn::new().put(key.clone(), bytes, expect), &last).await?;
            if removed {
                expect = Expect::Revision(revision);
                let txn = self.hold(Txn::new().delete(key.clone(), expect), Some(old), None);
                revision = self.remove(txn, &last).await?;
            }
        }
        let last = at(last, revision);
        Ok(if removed { Deletion::Gone(last) } else { Deletion::Waiting(last) })
    }

    /// Deletes the objects of a page of a collection; returns them as they
    /// were before.
    ///
    /// # Errors
    /// Those of a list, and the first refusal that is not "not found".
    pub async fn delete_collection(&self, options: &DeleteOptions) -> Result<Page, ApiError> {
        let page = self.list().await?;
        for entry in &page.entries {
            let meta = crate::object::Stored::of(&entry.value)?.metadata()?;
            let mut one =
                Call::internal(self.server, self.caller, self.kind.clone(), &meta.namespace, &meta.name);
            (one.served, one.api_version) = (self.served, self.api_version.clone());
            one.options.field_manager.clone_from(&self.options.field_manager);
            match one.delete_as("deletecollection", options).await {
                Err(error) if error.code != 404 => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(page)
    }

    /// Whether a deletion answers with the object that is gone instead of a
    /// `Status`: some old kinds do, and those of devices.
    pub(crate) fn returns_deleted(&self) -> bool {
        const KINDS: [&str; 7] = [
            "PersistentVolume",
            "PersistentVolumeClaim",
            "Pod",
            "PodTemplate",
            "ResourceQuota",
            "Service",
            "ServiceAccount",
        ];
        let named = self.kind.group.is_empty() && KINDS.contains(&self.kind.kind.as_str());
        self.kind.builtin && (named || self.kind.group == "resource.k8s.io")
    }
}

/// The finalizers an object keeps under a wished propagation, and the one that
/// carries it out.
fn kept_finalizers(old: &Value, propagation: Option<Propagation>) -> Vec<String> {
    let mut kept: Vec<String> = finalizers(old).into_iter().map(str::to_owned).collect();
    let Some(propagation) = propagation else { return kept };
    let own = match propagation {
        Propagation::Background => None,
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Orphan => Some(ORPHAN),
    };
    kept.retain(|finalizer| finalizer != FOREGROUND && finalizer != ORPHAN);
    kept.extend(own.map(str::to_owned));
    kept
}

fn after(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(time)
}

/// The object at another resource version.
fn at(mut object: Value, revision: u64) -> Value {
    metadata_mut(&mut object).insert("resourceVersion".to_owned(), json!(revision.to_string()));
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_comes_from_the_body_or_else_from_the_query() {
        let query = |text: &str| Options::of(text).unwrap();
        for (body, query, expected) in [
            (json!({"propagationPolicy": "Foreground"}), query(""), Some(Propagation::Foreground)),
            (
                json!({"propagationPolicy": "Orphan"}),
                query("propagationPolicy=Background"),
                Some(Propagation::Orphan),
            ),
            (json!({}), query("propagationPolicy=Background"), None),
            (Value::Null, query("propagationPolicy=Background"), Some(Propagation::Background)),
            (json!({"orphanDependents": true}), query(""), Some(Propagation::Orphan)),
            (Value::Null, query("orphanDependents=false"), Some(Propagation::Background)),
            (Value::Null, query(""), None),
        ] {
            assert_eq!(DeleteOptions::of(&body, &query).unwrap().propagation, expected, "{body}");
        }
        for (body, code) in [
            (json!({"propagationPolicy": "x"}), 422),
            (json!({"propagationPolicy": "Orphan", "orphanDependents": true}), 422),
            (json!({"dryRun": ["Some"]}), 422),
            (json!({"gracePeriodSeconds": "1"}), 400),
            (json!({"kind": "Secret", "apiVersion": "v1"}), 400),
        ] {
            assert_eq!(DeleteOptions::of(&body, &query("")).unwrap_err().code, code, "{body}");
        }
    }
}
