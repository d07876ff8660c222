//! Creating and changing objects: one path for every kind.
//!
//! The order of the steps is that of kube-apiserver (`registry/generic`,
//! `endpoints/handlers`), because it shows: what the schema defaults belongs
//! to the client that wrote, what admission adds belongs to nobody.

use bytes::Bytes;
use serde_json::Value;
use windlass_apimachinery::FieldError;
use windlass_apimachinery::managed;
use windlass_apimachinery::meta;
use windlass_apimachinery::schema::Schema;
use windlass_store::{CommitError, Entry, Expect, Txn};

use crate::admission::Operation;
use crate::apply::Configuration;
use crate::call::{Call, Part};
use crate::kinds::{Conversion, Hook};
use crate::negotiate::PatchType;
use crate::object::{encode, meta_str, metadata_mut};
use crate::status::ApiError;
use crate::webhooks::{Question, Verb};
use crate::{namespaces, patches, rules, strategy};

/// How often a write that carries no resource version is tried again when
/// others write the same object.
const ATTEMPTS: usize = 16;
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

/// A change of an existing object.
#[derive(Debug)]
pub enum Change {
    /// A whole new object.
    Replace(Value),
    /// A patch other than apply.
    Patch(PatchType, Value),
    /// A server-side apply.
    Apply(Configuration),
}

impl Change {
    const fn verb(&self) -> &'static str {
        match self {
            Self::Replace(_) => "update",
            Self::Patch(..) | Self::Apply(_) => "patch",
        }
    }
}

impl Call<'_> {
    /// Creates an object.
    ///
    /// # Errors
    /// 404 for a missing namespace, 409 when the name is taken, 422 when the
    /// object is not valid, and what admission says.
    pub async fn create(&self, object: Value) -> Result<Outcome, ApiError> {
        let object = self.identified(object)?;
        let outcome = self.create_as("create", object, false).await?;
        Ok(outcome)
    }

    async fn create_as(&self, verb: &'static str, object: Value, applied: bool) -> Result<Outcome, ApiError> {
        self.check_namespace(&object)?;
        if self.kind.terminating {
            let why = "create not allowed while custom resource definition is terminating";
            return Err(ApiError::forbidden(self.kind.resource(), meta_str(&object, "name"), why));
        }
        if !meta_str(&object, "resourceVersion").is_empty() {
            let why = "resourceVersion should not be set on objects to be created";
            return Err(ApiError::new(500, "", why));
        }
        let generated = meta_str(&object, "name").is_empty();
        let mut object = Box::pin(self.new_object(object, applied)).await?;
        // Webhooks may write themselves: only now does nobody else have to wait.
        let _turn = self.server.inner.namespaces.read().await;
        self.check_namespace(&object)?;
        for attempt in 1.. {
            let name = meta_str(&object, "name").to_owned();
            match self.insert(&name, &object).await {
                Err(taken) if taken.reason == "AlreadyExists" && generated && attempt < NAMES => {
                    let name = self.generated_name(meta_str(&object, "generateName"));
                    metadata_mut(&mut object).insert("name".to_owned(), Value::from(name));
                }
                Ok(outcome) => {
                    self.record(verb, &name, false);
                    self.settle(&name).await;
                    return Ok(outcome);
                }
                Err(error) => return Err(error),
            }
        }
        unreachable!("the loop ends by itself")
    }

    /// Completes and validates an object that is to be created.
    async fn new_object(&self, mut object: Value, applied: bool) -> Result<Value, ApiError> {
        let generated = meta_str(&object, "name").is_empty();
        self.name_object(&mut object);
        let metadata = metadata_mut(&mut object);
        for key in [
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
            "generation",
        ] {
            metadata.remove(key);
        }
        strategy::before_create(&self.kind, self.version(), &mut object);
        crate::access::default(&self.kind, &mut object);
        namespaces::default(&self.kind, self.part, &mut object);
        let schema = self.version().schema();
        self.complete(applied, &mut object);
        if !applied {
            self.own(schema, &mut object);
        }
        self.server.inner.admission.mutate(&self.admission(Operation::Create, None), &mut object);
        // Webhooks see what the client sent, not yet what identifies the object.
        let metadata = metadata_mut(&mut object);
        let generation = metadata.remove("generation");
        let name = if generated { metadata.remove("name") } else { None };
        let options = self.write_options("CreateOptions");
        let question = Question {
            verb: Verb::Create,
            old: None,
            options: &options,
            dry_run: self.options.dry_run,
            of_collection: false,
        };
        let changed = self.admit(question, &mut object).await?;
        let metadata = metadata_mut(&mut object);
        if let Some(name) = name {
            metadata.entry("name").or_insert(name);
        }
        metadata.extend(generation.map(|generation| ("generation".to_owned(), generation)));
        metadata.insert("uid".to_owned(), Value::from(self.server.uid()));
        metadata.insert("creationTimestamp".to_owned(), Value::from(rules::seconds(self.now)));
        if changed {
            object = self.identified(object)?;
            strategy::before_create(&self.kind, self.version(), &mut object);
        }
        namespaces::before_create(&self.kind, &mut object);
        crate::access::check_escalation(self, &object, None)?;
        self.complete(applied, &mut object);
        self.prepare(None, &mut object);
        self.complete_definition(&mut object, true);
        self.validate(Operation::Create, &object, None)?;
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

    /// Puts a new object into the store under a name.
    async fn insert(&self, name: &str, object: &Value) -> Result<Outcome, ApiError> {
        let key = self.kind.key(&self.namespace, name);
        let taken = |entry: Option<&Entry>| {
            let terminating = entry
                .and_then(|entry| self.parse(entry).ok())
                .is_some_and(|old| !meta_str(&old, "deletionTimestamp").is_empty());
            ApiError::already_exists(self.kind.resource(), name, terminating)
        };
        if let Some(entry) = self.server.inner.store.get(&key) {
            return Err(taken(Some(&entry)));
        }
        if self.options.dry_run {
            return Ok(Outcome::DryRun { object: object.clone(), created: true });
        }
        let bytes = self.encode(object)?;
        let txn = Txn::new().put(key.as_str(), bytes.clone(), Expect::Absent);
        match self.commit(txn, object).await {
            Ok(revision) => Ok(Outcome::Created(bytes, revision)),
            Err(CommitError::Conflict { .. }) => Err(taken(self.server.inner.store.get(&key).as_deref())),
            Err(error) => Err(storage(&error)),
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

    /// Changes an object.
    ///
    /// # Errors
    /// 404 when it does not exist (apply creates it), 409 on conflicts, 422
    /// when the result is not valid, and what admission says.
    pub async fn change(&self, change: Change) -> Result<Outcome, ApiError> {
        let key = self.key();
        let verb = change.verb();
        for _ in 0..ATTEMPTS {
            let Some(entry) = self.server.inner.store.get(&key) else {
                return match change {
                    Change::Apply(config) if self.part == Part::Object => self.create_applied(&config).await,
                    _ => Err(self.not_found()),
                };
            };
            let old = self.parse(&entry)?;
            let new = Box::pin(self.changed(&old, &change)).await?;
            match self.replace(&entry, &old, new).await {
                Ok(outcome) => {
                    self.record(verb, &self.name, matches!(outcome, Outcome::Unchanged(..)));
                    if matches!(outcome, Outcome::Updated(..)) {
                        self.settle(&self.name).await;
                    }
                    return Ok(outcome);
                }
                // Somebody wrote in between: the next round sees the change,
                // and refuses it if the client named the version it knew.
                Err(Lost::Race) => {}
                Err(Lost::Refused(error)) => return Err(error),
            }
        }
        Err(ApiError::modified(self.kind.resource(), &self.name))
    }

    async fn create_applied(&self, config: &Configuration) -> Result<Outcome, ApiError> {
        let object = self.identified(self.applied(config, None)?)?;
        self.create_as("patch", object, true).await
    }

    /// The object after a change, complete and valid.
    async fn changed(&self, old: &Value, change: &Change) -> Result<Value, ApiError> {
        let (new, applied) = match change {
            _ if self.part == Part::Scale => (self.scaled(old, change)?, true),
            Change::Replace(object) => (object.clone(), false),
            Change::Patch(kind, patch) => (patches::apply(self, *kind, patch, old)?, false),
            Change::Apply(config) => (self.applied(config, Some(old))?, true),
        };
        if matches!(change, Change::Patch(..)) && new == *old && self.hooks().is_none() {
            // What is stored is complete and valid: nothing to do again.
            return Ok(new);
        }
        let mut new = self.identified(new)?;
        let sent = metadata_mut(&mut new).clone();
        self.check_preconditions(old, &new, matches!(change, Change::Replace(_)))?;
        crate::access::default(&self.kind, &mut new);
        namespaces::default(&self.kind, self.part, &mut new);
        strategy::default(&self.kind, &mut new);
        crate::access::check_escalation(self, &new, Some(old))?;
        let schema = self.version().schema();
        self.complete(applied, &mut new);
        if !applied {
            managed::update(&self.identity().writer(self), schema, Some(old), &mut new);
        }
        strategy::isolate(&self.kind, self.version(), self.part, old, &mut new);
        keep_system_fields(old, &mut new);
        namespaces::before_update(&self.kind, self.part, old, &mut new);
        self.server.inner.admission.mutate(&self.admission(Operation::Update, Some(old)), &mut new);
        let options = self.write_options("UpdateOptions");
        let dry_run = self.options.dry_run;
        let question =
            Question { verb: Verb::Update, old: Some(old), options: &options, dry_run, of_collection: false };
        // Webhooks see what the client sent.
        metadata_mut(&mut new).retain(|key, _| !SYSTEM_FIELDS.contains(&&**key) || sent.contains_key(key));
        if self.admit(question, &mut new).await? {
            if meta_str(&new, "name") != self.name {
                let immutable =
                    || FieldError::invalid("metadata.name", meta_str(&new, "name"), "field is immutable");
                return Err(self.invalid_named(meta_str(&new, "name"), &[immutable(), immutable()]));
            }
            new = self.identified(new)?;
            strategy::isolate(&self.kind, self.version(), self.part, old, &mut new);
        }
        keep_system_fields(old, &mut new);
        namespaces::before_update(&self.kind, self.part, old, &mut new);
        self.complete(applied, &mut new);
        self.prepare(Some(old), &mut new);
        self.complete_definition(&mut new, false);
        strategy::raise_generation(&self.kind, self.version(), old, &mut new);
        self.validate(Operation::Update, &new, Some(old))?;
        self.judge(question, Some(&new)).await?;
        if applied {
            // Nulls that are valid do not outlast storage.
            schema.default(&mut new);
        }
        crate::access::complete(&self.kind, &mut new);
        Ok(new)
    }

    /// Stores a changed object, or removes it if nothing holds it any more.
    async fn replace(&self, entry: &Entry, old: &Value, new: Value) -> Result<Outcome, Lost> {
        if rules::same_but_times(old, &new) {
            return Ok(Outcome::Unchanged(entry.value.clone(), entry.mod_revision));
        }
        let gone = strategy::is_finished(&self.kind, &new);
        if self.options.dry_run {
            return Ok(Outcome::DryRun { object: new, created: false });
        }
        let bytes = self.encode(&new)?;
        let expect = Expect::Revision(entry.mod_revision);
        let txn = if gone {
            Txn::new().delete(entry.key.clone(), expect)
        } else {
            Txn::new().put(entry.key.clone(), bytes.clone(), expect)
        };
        let committed = if gone { self.remove(txn, &new).await } else { self.commit(txn, &new).await };
        match committed {
            // The object is shown as it was last, with the version it had.
            Ok(_) if gone => Ok(Outcome::Removed(bytes, entry.mod_revision)),
            Ok(revision) => Ok(Outcome::Updated(bytes, revision)),
            Err(CommitError::Conflict { .. }) => Err(Lost::Race),
            Err(error) => Err(Lost::Refused(storage(&error))),
        }
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
    pub(crate) fn encode(&self, object: &Value) -> Result<Bytes, ApiError> {
        let version = &self.kind.storage_api_version;
        match self.kind.conversion {
            Conversion::ApiVersion => Ok(encode(object, version)?),
            Conversion::Events => {
                let mut stored = object.clone();
                self.kind.conversion.store(&mut stored, version);
                Ok(encode(&stored, version)?)
            }
        }
    }

    /// Checks that the object is the one the path names, and fills in what
    /// the path knows.
    fn identified(&self, mut object: Value) -> Result<Value, ApiError> {
        rules::check_type(&self.kind, &self.api_version, &mut object)?;
        let metadata = metadata_mut(&mut object);
        let given = |key: &str| metadata.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (name, namespace) = (given("name"), given("namespace"));
        if !namespace.is_empty() && namespace != self.namespace {
            let why = if self.kind.namespaced {
                "the namespace of the provided object does not match the namespace sent on the request"
            } else {
                "namespace must not be set on objects of this kind"
            };
            return Err(ApiError::bad_request(why));
        }
        if !self.name.is_empty() && !name.is_empty() && name != self.name {
            let why =
                format!("the name of the object ({name}) does not match the name on the URL ({})", self.name);
            return Err(ApiError::bad_request(why));
        }
        if self.kind.namespaced {
            metadata.insert("namespace".to_owned(), Value::from(self.namespace.as_str()));
        } else {
            metadata.remove("namespace");
        }
        if name.is_empty() && !self.name.is_empty() {
            metadata.insert("name".to_owned(), Value::from(self.name.as_str()));
        }
        Ok(object)
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
        let given = [self.name.as_str(), meta_str(object, "name"), meta_str(object, "generateName")];
        let name = given.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
        Err(ApiError::forbidden(self.kind.resource(), name, &why).cause(
            "NamespaceTerminating",
            format!("namespace {} is being terminated", self.namespace),
            "metadata.namespace",
        ))
    }

    /// Resource version and UID in the body are preconditions.
    fn check_preconditions(&self, old: &Value, new: &Value, whole: bool) -> Result<(), ApiError> {
        let (expected, current) = (meta_str(new, "resourceVersion"), meta_str(old, "resourceVersion"));
        if expected.is_empty() || expected == "0" {
            // Objects sent without one overwrite whatever is there; custom
            // kinds do not allow it.
            if whole && !self.allows_unconditional() {
                return Err(self.invalid(&[rules::missing_resource_version()]));
            }
        } else if expected != current {
            return Err(ApiError::modified(self.kind.resource(), &self.name));
        }
        let (expected, current) = (meta_str(new, "uid"), meta_str(old, "uid"));
        if !expected.is_empty() && expected != current {
            let why = format!(
                "Precondition failed: UID in precondition: {expected}, UID in object meta: {current}"
            );
            return Err(ApiError::conflict(self.kind.resource(), &self.name, &why));
        }
        Ok(())
    }

    fn validate(&self, operation: Operation, object: &Value, old: Option<&Value>) -> Result<(), ApiError> {
        let mut errors = rules::metadata(&self.kind, object, old);
        errors.extend(namespaces::validate(&self.kind, self.part, object, old));
        errors.extend(self.content_errors(object, old));
        errors.extend(crate::access::validate(&self.kind, object, old));
        if !errors.is_empty() {
            return Err(self.invalid_named(meta_str(object, "name"), &errors));
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

    fn invalid_named(&self, name: &str, errors: &[windlass_apimachinery::FieldError]) -> ApiError {
        ApiError::invalid(self.kind.group_kind(), name, errors)
    }

    /// Fills in defaults. What an apply leaves null is not taken for absent:
    /// see `Schema::fill`.
    fn complete(&self, applied: bool, object: &mut Value) {
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

/// Metadata that clients cannot change.
const SYSTEM_FIELDS: [&str; 8] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "resourceVersion",
    "generateName",
    "selfLink",
];

fn keep_system_fields(old: &Value, new: &mut Value) {
    let metadata = metadata_mut(new);
    for key in SYSTEM_FIELDS {
        match old["metadata"].get(key) {
            Some(value) => metadata.insert(key.to_owned(), value.clone()),
            None => metadata.remove(key),
        };
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
