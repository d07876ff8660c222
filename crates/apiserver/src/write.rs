//! Creating and storing objects: one path for every kind.
//!
//! The order of the steps is that of kube-apiserver (`registry/generic`,
//! `endpoints/handlers`), because it shows: what the schema defaults belongs
//! to the client that wrote, what admission adds belongs to nobody.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use windlass_apimachinery::managed;
use windlass_apimachinery::meta;
use windlass_apimachinery::schema::Schema;
use windlass_store::{CommitError, Entry, Expect, Txn};

use crate::admission::Operation;
use crate::call::{Call, Part};
use crate::change::Lost;
use crate::kinds::{self, Hook};
use crate::object::{encode, meta_str, metadata_mut};
use crate::status::ApiError;
use crate::webhooks::Question;
use crate::{limits, namespaces, rules, strategy};

pub use crate::change::Change;

/// Metadata that only the server writes.
const SYSTEM: [&str; 5] =
    ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"];
/// How many generated names are tried.
const NAMES: usize = 8;

/// What a write did.
#[derive(Debug)]
pub enum Outcome {
    /// Stored, with its bytes and revision.
    Created(Bytes, u64),
    /// Stored, with its bytes and revision.
    Updated(Bytes, u64),
    /// Nothing to store: bytes and revision are as before.
    Unchanged(Bytes, u64),
    /// Gone with this write, which took the last finalizer; bytes and the
    /// revision it had before.
    Removed(Bytes, u64),
    /// Nothing was stored because the client asked for a dry run.
    DryRun {
        /// What would have been stored.
        object: Value,
        /// Whether it would have been new.
        created: bool,
    },
}

impl Call<'_> {
    /// Creates an object.
    ///
    /// # Errors
    /// 404 for a missing namespace, 409 when the name is taken, 422 when the
    /// object is not valid, and what admission says.
    pub async fn create(&self, object: Value) -> Result<Outcome, ApiError> {
        self.check_object_namespace(&object)?;
        self.create_as("create", object, false).await
    }

    pub(crate) async fn create_as(
        &self,
        verb: &'static str,
        mut object: Value,
        applied: bool,
    ) -> Result<Outcome, ApiError> {
        self.own_namespace(&mut object);
        self.check_namespace(&object)?;
        if self.kind.terminating {
            let why = "create not allowed while custom resource definition is terminating";
            return Err(ApiError::forbidden(self.kind.resource(), meta_str(&object, "name"), why));
        }
        let base = meta_str(&object, "generateName").to_owned();
        let generated = meta_str(&object, "name").is_empty();
        let mut object = Box::pin(self.new_object(object, applied)).await?;
        // Webhooks may write themselves: only now does nobody else have to wait.
        let _turn = self.server.inner.namespaces.read().await;
        self.check_namespace(&object)?;
        for attempt in 1.. {
            let name = meta_str(&object, "name").to_owned();
            match self.insert_holding(&name, &mut object).await {
                Err(taken) if taken.reason == "AlreadyExists" && generated && attempt < NAMES => {
                    let name = self.generated_name(&base);
                    metadata_mut(&mut object).insert("name".to_owned(), Value::from(name));
                }
                Ok(outcome) => {
                    self.record(verb, &name, false);
                    self.settle(&name).await;
                    return Ok(outcome);
                }
                Err(taken) if taken.reason == "AlreadyExists" && !base.is_empty() => {
                    return Err(ApiError::name_not_generated(self.kind.resource(), &name));
                }
                Err(error) => return Err(error),
            }
        }
        unreachable!("the loop ends by itself")
    }

    /// Completes and validates an object that is to be created.
    async fn new_object(&self, mut object: Value, applied: bool) -> Result<Value, ApiError> {
        let metadata = metadata_mut(&mut object);
        for key in SYSTEM {
            metadata.remove(key);
        }
        let version = metadata.remove("resourceVersion");
        self.dedup_owners(&mut object, false);
        strategy::default(&self.kind, &mut object);
        crate::access::default(&self.kind, &mut object);
        namespaces::default(&self.kind, self.part, &mut object);
        if self.version().status {
            strategy::drop_status(&self.kind, &mut object);
        }
        let schema = self.version().schema();
        self.complete(applied, &mut object);
        if !applied {
            self.own(schema, &mut object);
        }
        let generated = meta_str(&object, "name").is_empty();
        self.name_object(&mut object);
        self.server.inner.admission.mutate(&self.admission(Operation::Create, None), &mut object);
        // Webhooks see what the client sent, not yet what identifies the object.
        let name = if generated { metadata_mut(&mut object).remove("name") } else { None };
        let options = self.write_options("CreateOptions");
        let question = Question::new(Operation::Create, None, &options, self.options.dry_run);
        if self.admit(question, &mut object).await? {
            self.check_object_namespace(&object)?;
            self.own_namespace(&mut object);
        }
        crate::access::check_escalation(self, &object, None)?;
        self.dedup_owners(&mut object, true);
        self.identify_new(&mut object, name);
        strategy::before_create(&self.kind, self.version(), &mut object);
        namespaces::before_create(&self.kind, &mut object);
        self.complete(applied, &mut object);
        self.prepare(None, &mut object)?;
        self.complete_definition(&mut object, true);
        self.validate(Operation::Create, &object, None)?;
        // Versions that are no numbers are not looked at.
        let version = version.as_ref().and_then(Value::as_str).and_then(|text| text.parse::<u64>().ok());
        if version.is_some_and(|version| version != 0) {
            let why = "resourceVersion should not be set on objects to be created";
            return Err(ApiError::new(500, "", why));
        }
        self.judge(question, Some(&object)).await?;
        if applied {
            // Nulls that are valid do not outlast storage.
            schema.default(&mut object);
        }
        crate::access::complete(&self.kind, &mut object);
        if self.kind.hook == Hook::CustomResourceDefinition {
            // As kube-apiserver shows a list that was never set.
            crate::object::member(&mut object, "status");
            crate::object::member(&mut object["status"], "conditions");
        }
        Ok(object)
    }

    /// What identifies a new object.
    fn identify_new(&self, object: &mut Value, name: Option<Value>) {
        let metadata = metadata_mut(object);
        metadata.insert("uid".to_owned(), Value::from(self.server.uid()));
        metadata.insert("creationTimestamp".to_owned(), Value::from(rules::seconds(self.now)));
        if let Some(name) = name {
            metadata.entry("name").or_insert(name);
        }
    }

    /// Gives the fields of a new object to its writer.
    fn own(&self, schema: &Schema, object: &mut Value) {
        let identity = self.identity();
        let writer = identity.writer(self);
        if self.kind.hook == Hook::CustomResourceDefinition {
            managed::create(&writer, schema, &self.blank(), object);
        } else {
            managed::update(&writer, schema, None, object);
        }
    }

    /// Puts a new object into the store under a name, with something else
    /// picked for it whenever somebody was faster.
    async fn insert_holding(&self, name: &str, object: &mut Value) -> Result<Outcome, ApiError> {
        loop {
            match self.insert(name, object).await {
                Ok(outcome) => return Ok(outcome),
                Err(Lost::Refused(error)) => return Err(error),
                // It is there now, so that it is not picked again.
                Err(Lost::Race) => self.allocate_again(object)?,
            }
        }
    }

    /// Puts a new object into the store under a name.
    async fn insert(&self, name: &str, object: &Value) -> Result<Outcome, Lost> {
        let key = self.kind.key(&self.namespace, name);
        let taken = |entry: Option<&Entry>| {
            let terminating = entry
                .and_then(|entry| self.parse(entry).ok())
                .is_some_and(|old| !meta_str(&old, "deletionTimestamp").is_empty());
            ApiError::already_exists(self.kind.resource(), name, terminating)
        };
        if let Some(entry) = self.server.inner.store.get(&key) {
            return Err(taken(Some(&entry)).into());
        }
        if self.options.dry_run {
            return Ok(Outcome::DryRun { object: object.clone(), created: true });
        }
        let bytes = self.encode(object).await?;
        limits::check_stored(self.kind.builtin, bytes.len(), 0)?;
        let txn = Txn::new().put(key.as_str(), bytes.clone(), Expect::Absent);
        match self.commit(self.hold(txn, None, Some(object)), object).await {
            Ok(revision) => Ok(Outcome::Created(self.read_back(&key, bytes, revision).await?, revision)),
            Err(CommitError::Conflict { key: other, .. }) if *other != *key => Err(Lost::Race),
            Err(CommitError::Conflict { .. }) => {
                Err(taken(self.server.inner.store.get(&key).as_deref()).into())
            }
            Err(error) => Err(storage(&error).into()),
        }
    }

    /// Commits, and follows up on definitions before anybody else can.
    pub(crate) async fn commit(&self, txn: Txn, object: &Value) -> Result<u64, CommitError> {
        if self.kind.hook == Hook::CustomResourceDefinition {
            let _turn = self.server.inner.definitions.lock().await;
            let revision = self.server.inner.store.commit(txn).await?.revision();
            self.server.serve_definition(object);
            return Ok(revision);
        }
        Ok(self.server.inner.store.commit(txn).await?.revision())
    }

    /// Commits a deletion, and stops serving what a definition defined.
    pub(crate) async fn remove(&self, txn: Txn, object: &Value) -> Result<u64, CommitError> {
        if self.kind.hook == Hook::CustomResourceDefinition {
            let _turn = self.server.inner.definitions.lock().await;
            let revision = self.server.inner.store.commit(txn).await?.revision();
            self.server.forget_definition(object);
            return Ok(revision);
        }
        Ok(self.server.inner.store.commit(txn).await?.revision())
    }

    /// The stored form of a served object.
    pub(crate) async fn encode(&self, object: &Value) -> Result<Bytes, ApiError> {
        if self.kind.conversion.only_names(&self.api_version) {
            return self.server.storable(&self.kind, &self.api_version, object).await;
        }
        let mut stored = object.clone();
        self.kind.store(&mut stored);
        Ok(encode(&stored, &self.kind.storage_api_version)?)
    }

    /// What was just stored, as it is read at the version that was written.
    pub(crate) async fn read_back(&self, key: &str, value: Bytes, revision: u64) -> Result<Bytes, ApiError> {
        if self.kind.custom.is_none() || self.api_version == self.kind.storage_api_version {
            return Ok(value);
        }
        let entry = Entry { key: key.into(), value, mod_revision: revision, create_revision: revision };
        Ok(self.readable(Arc::new(entry)).await?.value.clone())
    }

    /// Checks the namespace an object says it is in against that of the path;
    /// objects without a namespace may say anything.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn check_object_namespace(&self, object: &Value) -> Result<(), ApiError> {
        let namespace = meta_str(object, "namespace");
        if self.kind.namespaced && !namespace.is_empty() && namespace != self.namespace {
            let why = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(ApiError::bad_request(why));
        }
        Ok(())
    }

    /// Gives an object the namespace of the path.
    pub(crate) fn own_namespace(&self, object: &mut Value) {
        let metadata = metadata_mut(object);
        if self.kind.namespaced {
            metadata.insert("namespace".to_owned(), Value::from(self.namespace.as_str()));
        } else {
            metadata.remove("namespace");
        }
    }

    /// Removes owners that are there twice, with a warning.
    pub(crate) fn dedup_owners(&self, object: &mut Value, after_admission: bool) {
        let removed = rules::dedup_owners(object);
        if !removed.is_empty() {
            self.warn(rules::owners_warning(&removed, after_admission));
        }
    }

    fn name_object(&self, object: &mut Value) {
        if meta_str(object, "name").is_empty() && !meta_str(object, "generateName").is_empty() {
            let name = self.generated_name(meta_str(object, "generateName"));
            metadata_mut(object).insert("name".to_owned(), Value::from(name));
        }
    }

    fn generated_name(&self, base: &str) -> String {
        let mut random = [0; meta::SUFFIX];
        self.server.random(&mut random);
        meta::generate_name(base, random)
    }

    /// Objects are created only in namespaces that exist and stay.
    fn check_namespace(&self, object: &Value) -> Result<(), ApiError> {
        if !self.kind.namespaced {
            return Ok(());
        }
        let namespaces = crate::status::GroupResource { group: "", resource: "namespaces" };
        let key = format!("/registry/namespaces/{}", self.namespace);
        let Some(entry) = self.server.inner.store.get(&key) else {
            return Err(ApiError::not_found(namespaces, &self.namespace));
        };
        let meta = crate::object::Stored::of(&entry.value)?.metadata()?;
        if meta.deletion_timestamp.is_none() {
            return Ok(());
        }
        let why = format!(
            "unable to create new content in namespace {} because it is being terminated",
            self.namespace
        );
        let name = [meta_str(object, "name"), meta_str(object, "generateName")];
        let name = name.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
        Err(ApiError::forbidden(self.kind.resource(), name, &why).cause(
            "NamespaceTerminating",
            format!("namespace {} is being terminated", self.namespace),
            "metadata.namespace",
        ))
    }

    pub(crate) fn validate(
        &self,
        operation: Operation,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        if !self.kind.builtin {
            let errors = rules::type_meta(&self.kind, &self.api_version, object);
            if !errors.is_empty() {
                let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
                let what = crate::status::GroupKind { group: &self.kind.group, kind };
                return Err(ApiError::invalid(what, meta_str(object, "name"), &errors));
            }
        }
        let mut errors = self.admin_access(object, old);
        errors.extend(rules::metadata(&self.kind, object, old));
        errors.extend(namespaces::validate(&self.kind, self.part, object, old));
        errors.extend(self.content_errors(object, old));
        errors.extend(crate::access::validate(&self.kind, object, old));
        if !self.kind.builtin {
            errors.extend(rules::scale(self.version(), object, self.part != Part::Status));
        }
        if !errors.is_empty() {
            return Err(self.invalid_named(meta_str(object, "name"), &errors));
        }
        if self.kind.builtin {
            for text in kinds::warnings(&self.kind.group, &self.kind.kind, object, old) {
                self.warn(text);
            }
        } else {
            self.warn_of_finalizers(object, old);
        }
        let request = self.admission(operation, old);
        match self.server.inner.admission.validate(&request, object, old) {
            Ok(warnings) => {
                for warning in warnings {
                    self.warn(warning);
                }
                Ok(())
            }
            Err(errors) => Err(self.invalid_named(meta_str(object, "name"), &errors)),
        }
    }

    fn warn_of_finalizers(&self, object: &Value, old: Option<&Value>) {
        let metadata = |object: &'_ Value| object.get("metadata").and_then(Value::as_object).cloned();
        let Some(new) = object.get("metadata").and_then(Value::as_object) else { return };
        if !new.contains_key("finalizers") {
            return;
        }
        for warning in meta::finalizer_warnings(new, old.and_then(metadata).as_ref()) {
            self.warn(warning);
        }
    }

    pub(crate) fn invalid_named(&self, name: &str, errors: &[windlass_apimachinery::FieldError]) -> ApiError {
        ApiError::invalid(self.kind.group_kind(), name, errors)
    }

    /// Fills in defaults. What an apply leaves null is not taken for absent:
    /// see `Schema::fill`.
    pub(crate) fn complete(&self, applied: bool, object: &mut Value) {
        if applied {
            self.kind.fill(self.version(), object);
        } else {
            self.kind.default(self.version(), object);
        }
    }

    pub(crate) fn invalid(&self, errors: &[windlass_apimachinery::FieldError]) -> ApiError {
        self.invalid_named(&self.name, errors)
    }
}

/// What a client reads when the store takes no writes.
pub(crate) fn storage(error: &CommitError) -> ApiError {
    match error {
        CommitError::Storage(windlass_store::Failure::Full { .. }) => {
            ApiError::out_of_space(error.to_string())
        }
        CommitError::Removed { .. } | CommitError::Closed { .. } | CommitError::Storage(_) => {
            ApiError::unavailable(error.to_string())
        }
        CommitError::Conflict { .. } | CommitError::Twice { .. } | CommitError::DeleteAbsent { .. } => {
            ApiError::internal(error)
        }
    }
}
