//! What the server knows of each kind. Built-in and custom kinds differ only
//! in where this description comes from.

mod autoscaler;
mod builtin;
mod cells;
mod columns;
mod complete;
mod definitions;
mod empty;
mod events;
mod forms;
mod off;
mod rows;
mod subresource;
mod typed;
mod validate;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use windlass_apimachinery::schema::Schema;

pub use builtin::VERBS;
pub use columns::{Cell, Column, age};
pub use empty::empty;
pub use forms::Conversion;
pub(crate) use off::drop_disabled;
pub use subresource::Subresource;
pub(crate) use validate::{validate, warnings};

pub use typed::Words;

use crate::discovery::Documents;
use crate::status::{GroupKind, GroupResource};

/// When a write raises `metadata.generation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// The kind has no generation.
    None,
    /// One from the beginning, never raised.
    Fixed,
    /// When `spec` changes.
    Spec,
    /// When `spec` or the annotations change: Deployments, whose revisions are
    /// kept in annotations.
    SpecAndAnnotations,
    /// When anything but `metadata` changes, and but `status` where that is a
    /// subresource: the rule of custom resources.
    Content,
}

/// What one kind does besides the generic path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Nothing.
    None,
    /// Phases, the `kubernetes` finalizer, content removal.
    Namespace,
    /// `stringData`, immutability, a fixed type.
    Secret,
    /// Immutability.
    ConfigMap,
    /// Begins in phase `Pending`.
    Pod,
    /// Names and conditions; serving what the object defines.
    CustomResourceDefinition,
    /// Answered without being stored: `SelfSubjectAccessReview`.
    SelfSubjectAccessReview,
    /// Answered without being stored: `SelfSubjectRulesReview`.
    SelfSubjectRulesReview,
    /// Answered without being stored: `SubjectAccessReview`.
    SubjectAccessReview,
    /// Answered without being stored: `LocalSubjectAccessReview`.
    LocalSubjectAccessReview,
    /// Answered without being stored: `SelfSubjectReview`.
    SelfSubjectReview,
    /// Answered without being stored: `TokenReview`.
    TokenReview,
    /// Puts a pod on a node.
    Binding,
    /// Read, never stored.
    ComponentStatus,
}

impl Hook {
    /// Whether objects of the kind exist only as an answer.
    pub const fn is_virtual(self) -> bool {
        match self {
            Self::SelfSubjectAccessReview
            | Self::SelfSubjectRulesReview
            | Self::SubjectAccessReview
            | Self::LocalSubjectAccessReview
            | Self::SelfSubjectReview
            | Self::TokenReview
            | Self::Binding => true,
            Self::None
            | Self::Namespace
            | Self::Secret
            | Self::ConfigMap
            | Self::Pod
            | Self::CustomResourceDefinition
            | Self::ComponentStatus => false,
        }
    }
}

/// Paths of the `scale` subresource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// JSON path of the wanted replicas, e.g. `.spec.replicas`.
    pub spec_replicas: String,
    /// JSON path of the counted replicas.
    pub status_replicas: String,
    /// JSON path of the selector, a string or a `LabelSelector`.
    pub selector: Option<String>,
}

/// A field that field selectors may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldLabel {
    /// As in the selector, e.g. `spec.nodeName`.
    pub label: String,
    /// JSON pointer into the object.
    pub pointer: String,
    /// Value when the field is absent.
    pub absent: &'static str,
}

impl FieldLabel {
    /// A label that is the path of its field.
    pub fn of(path: &str) -> Self {
        let path = path.trim_start_matches('.');
        Self { label: path.to_owned(), pointer: format!("/{}", path.replace('.', "/")), absent: "" }
    }

    /// The text compared against.
    pub fn value(&self, object: &Value) -> String {
        match object.pointer(&self.pointer) {
            None | Some(Value::Null) => self.absent.to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }
}

/// One served version of a kind.
#[derive(Debug)]
pub struct Version {
    /// E.g. `v1beta2`.
    pub name: String,
    /// Whether `status` is a subresource.
    pub status: bool,
    /// The `scale` subresource.
    pub scale: Option<Scale>,
    /// Columns after `Name`.
    pub columns: Vec<Column>,
    /// Fields for field selectors, besides name and namespace.
    pub fields: Vec<FieldLabel>,
    /// Warning for every use of a deprecated version.
    pub deprecation: Option<String>,
    schema: LazySchema,
}

#[derive(Debug)]
enum LazySchema {
    /// Definition name in the built-in schemas; compiled at first use.
    Builtin {
        definition: &'static str,
        source: Arc<definitions::Definitions>,
        compiled: OnceLock<Arc<Schema>>,
    },
    Ready {
        schema: Arc<Schema>,
        document: Arc<Value>,
    },
}

impl Version {
    /// The schema that prunes, defaults and validates.
    pub fn schema(&self) -> &Arc<Schema> {
        match &self.schema {
            LazySchema::Ready { schema, .. } => schema,
            LazySchema::Builtin { definition, source, compiled } => {
                compiled.get_or_init(|| Arc::new(source.schema(definition)))
            }
        }
    }

    /// Gives an object of a compiled-in kind the form its types give it; other
    /// kinds have no such types.
    ///
    /// # Errors
    /// What Go's JSON decoder or its converter says of a value its field cannot hold.
    pub fn typed(&self, object: &mut Value, words: Words) -> Result<(), String> {
        let LazySchema::Builtin { definition, source, .. } = &self.schema else { return Ok(()) };
        if *definition == rows::CRD {
            return Ok(());
        }
        let typed = self.schema().typed(object);
        typed.map_err(|mismatch| typed::explain(source, definition, &mismatch, words))
    }

    /// Gives a converted object the form the types of this version give it.
    fn reshape(&self, object: &mut Value) {
        // What was of its types in one version is in the other.
        let _ = self.schema().typed(object);
    }

    /// The OpenAPI v3 schema; made anew at each call for compiled-in kinds.
    pub fn document(&self) -> Arc<Value> {
        match &self.schema {
            LazySchema::Ready { document, .. } => Arc::clone(document),
            LazySchema::Builtin { definition, source, .. } => Arc::new(source.document(definition)),
        }
    }

    /// The name of the schema of a compiled-in kind, among [`Version::definitions`].
    pub fn definition(&self) -> Option<&'static str> {
        match &self.schema {
            LazySchema::Builtin { definition, .. } => Some(definition),
            LazySchema::Ready { .. } => None,
        }
    }

    /// What the schemas of compiled-in kinds are made of, by name, references and all.
    pub fn definitions(&self) -> Option<&BTreeMap<String, Value>> {
        match &self.schema {
            LazySchema::Builtin { source, .. } => Some(source.get()),
            LazySchema::Ready { .. } => None,
        }
    }

    /// A version of a custom kind.
    pub fn custom(name: &str, schema: Arc<Schema>, document: Arc<Value>) -> Self {
        Self {
            name: name.to_owned(),
            status: false,
            scale: None,
            columns: Vec::new(),
            fields: Vec::new(),
            deprecation: None,
            schema: LazySchema::Ready { schema, document },
        }
    }
}

/// A kind.
#[derive(Debug)]
pub struct Kind {
    /// API group, empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Kind of lists.
    pub list_kind: String,
    /// Plural resource name.
    pub plural: String,
    /// Singular name.
    pub singular: String,
    /// Short names.
    pub short_names: Vec<String>,
    /// Categories, e.g. `all`.
    pub categories: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Served versions, the preferred one first.
    pub versions: Vec<Version>,
    /// All versions there are, served or not.
    pub known_versions: Vec<String>,
    /// `apiVersion` of stored objects.
    pub storage_api_version: String,
    /// Where objects are stored; ends in a slash.
    pub prefix: String,
    /// What can be done with objects, as discovery lists it.
    pub verbs: &'static [&'static str],
    /// Subresources besides `status` and `scale`.
    pub subresources: &'static [&'static Subresource],
    /// Generation rule.
    pub generation: Generation,
    /// Special behaviour.
    pub hook: Hook,
    /// How stored objects differ from served ones.
    pub conversion: Conversion,
    /// Whether the kind is compiled in: strategic patches, updates without a
    /// resource version.
    pub builtin: bool,
    /// Whether the definition is being removed: no new objects.
    pub terminating: bool,
    /// UID and generation of the definition of a custom kind.
    pub definition: Option<(String, i64)>,
    /// How objects of a custom kind are read at its versions.
    pub custom: Option<Arc<crate::conversion::Custom>>,
    /// Cancelled when the description is replaced: open watches end.
    pub gone: CancellationToken,
}

impl Kind {
    /// Fills in what a client left out of an object at a version.
    pub fn default(&self, version: &Version, object: &mut Value) {
        version.schema().default(object);
        if self.builtin {
            self.complete(version, object);
            version.schema().default(object);
        }
    }

    fn complete(&self, version: &Version, object: &mut Value) {
        let api_version = self.api_version(&version.name);
        if self.conversion == Conversion::Autoscaler && !self.conversion.only_names(&api_version) {
            // The older form is completed by what the newer one makes of it.
            object["apiVersion"] = Value::from(api_version.as_str());
            self.conversion.store(object, &self.storage_api_version);
            self.serve(object, &api_version);
        } else {
            complete::complete(&self.group, &self.kind, object);
        }
    }

    /// Like [`Kind::default`], but nulls without a default stay.
    pub fn fill(&self, version: &Version, object: &mut Value) {
        version.schema().fill(object);
        if self.builtin {
            self.complete(version, object);
            version.schema().fill(object);
        }
    }

    /// Turns an object that is complete at a version into the stored form.
    pub(crate) fn store(&self, object: &mut Value) {
        self.conversion.store(object, &self.storage_api_version);
        if self.conversion == Conversion::Autoscaler {
            let stored = &self.versions[0];
            stored.reshape(object);
            self.default(stored, object);
        }
    }

    /// Turns a stored object into the form of a version.
    pub(crate) fn serve(&self, object: &mut Value, api_version: &str) {
        self.conversion.serve(object, api_version);
        if self.conversion == Conversion::Autoscaler
            && let Some(version) = self.version(split_api_version(api_version).1)
        {
            version.reshape(object);
            version.schema().default(object);
        }
    }

    /// The object as its rules see it: where versions differ, as it is stored.
    pub(crate) fn as_ruled<'a>(&self, object: &'a Value) -> Cow<'a, Value> {
        let named = object["apiVersion"].as_str().unwrap_or_default();
        if self.conversion != Conversion::Autoscaler || self.conversion.only_names(named) {
            return Cow::Borrowed(object);
        }
        let mut object = object.clone();
        self.store(&mut object);
        Cow::Owned(object)
    }

    /// The group and plural.
    pub fn resource(&self) -> GroupResource<'_> {
        GroupResource { group: &self.group, resource: &self.plural }
    }

    /// The group and kind.
    pub fn group_kind(&self) -> GroupKind<'_> {
        GroupKind { group: &self.group, kind: &self.kind }
    }

    /// The served version of this name.
    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.name == name)
    }

    /// `apiVersion` of objects served at `version`.
    pub fn api_version(&self, version: &str) -> String {
        api_version(&self.group, version)
    }

    /// Store key of an object.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced {
            format!("{}{namespace}/{name}", self.prefix)
        } else {
            format!("{}{name}", self.prefix)
        }
    }

    /// Store prefix of a collection; all namespaces when `namespace` is `None`.
    pub fn collection(&self, namespace: Option<&str>) -> String {
        match namespace {
            Some(namespace) if self.namespaced => format!("{}{namespace}/", self.prefix),
            _ => self.prefix.clone(),
        }
    }
}

/// `group/version`, or the version alone in the core group.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Splits an `apiVersion` into group and version.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// The kinds a server serves. Immutable; servers share one and replace theirs
/// as a whole when a definition changes.
#[derive(Debug, Default)]
pub struct KindSet {
    kinds: BTreeMap<(String, String), Arc<Kind>>,
    documents: Documents,
}

impl KindSet {
    /// All kinds compiled in. Schemas are compiled at first use.
    pub fn builtin() -> Arc<Self> {
        Arc::new(Self::of(builtin::kinds()))
    }

    /// A set of exactly these kinds.
    pub fn of(kinds: impl IntoIterator<Item = Arc<Kind>>) -> Self {
        let kinds = kinds.into_iter().map(|kind| ((kind.group.clone(), kind.plural.clone()), kind)).collect();
        Self { kinds, documents: Documents::default() }
    }

    /// This set with one kind added or replaced.
    pub fn with(&self, kind: Arc<Kind>) -> Self {
        let mut kinds = self.kinds.clone();
        kinds.insert((kind.group.clone(), kind.plural.clone()), kind);
        Self { kinds, documents: Documents::default() }
    }

    /// This set with one kind removed.
    pub fn without(&self, group: &str, plural: &str) -> Self {
        let mut kinds = self.kinds.clone();
        kinds.remove(&(group.to_owned(), plural.to_owned()));
        Self { kinds, documents: Documents::default() }
    }

    /// The kind of a resource.
    pub fn get(&self, group: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.kinds.get(&(group.to_owned(), plural.to_owned()))
    }

    /// The kind of this name.
    pub fn by_kind(&self, group: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.kinds.values().find(|k| k.group == group && k.kind == kind)
    }

    /// All kinds, by group and plural.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.values()
    }

    /// Discovery and OpenAPI documents, built at first use.
    pub fn documents(&self) -> &Documents {
        &self.documents
    }
}
