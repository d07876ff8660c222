//! Rules beyond the schema, called in process, and who is told of writes.

use jiff::Timestamp;
use serde_json::Value;
use windlass_apimachinery::FieldError;

use crate::user::UserInfo;

/// What is being done to the object under admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The object is new.
    Create,
    /// The object changes.
    Update,
    /// The object is about to be deleted.
    Delete,
    /// Somebody connects to what the object stands for. Only webhooks are told.
    Connect,
}

impl Operation {
    /// As in the rules of webhooks and in reviews.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// The circumstances of an admission.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionRequest<'a> {
    /// What is being done.
    pub operation: Operation,
    /// API group.
    pub group: &'a str,
    /// Version of the object.
    pub version: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// Plural resource.
    pub resource: &'a str,
    /// Subresource written, empty for the object itself.
    pub subresource: &'a str,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: &'a str,
    /// Name; empty while a generated one is missing.
    pub name: &'a str,
    /// Who writes.
    pub user: &'a UserInfo,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// The time of the request.
    pub now: Timestamp,
    /// The object before, on update.
    pub old: Option<&'a Value>,
}

/// Text shown to the client although the write succeeds.
pub type Warning = String;

/// Defaulting and cross-field rules of kinds, as functions of the objects.
///
/// Both are called for the object itself and for its subresources; most
/// implementations return at once unless `request.subresource` is empty.
pub trait Admission: Send + Sync {
    /// Completes an object before it is validated. Must be idempotent.
    fn mutate(&self, request: &AdmissionRequest<'_>, object: &mut Value);

    /// Judges an object; on delete, the one about to go.
    ///
    /// # Errors
    /// What is wrong, field by field.
    fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<Warning>, Vec<FieldError>>;
}

/// No rules.
#[derive(Clone, Copy, Debug, Default)]
pub struct AdmitAll;

impl Admission for AdmitAll {
    fn mutate(&self, _request: &AdmissionRequest<'_>, _object: &mut Value) {}

    fn validate(
        &self,
        _request: &AdmissionRequest<'_>,
        _object: &Value,
        _old: Option<&Value>,
    ) -> Result<Vec<Warning>, Vec<FieldError>> {
        Ok(Vec::new())
    }
}

/// Where a write came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A request.
    Client,
    /// The server's own garbage collection and namespace removal.
    Gc,
    /// The server's start: namespaces, definitions.
    Bootstrap,
}

/// One mutating request that succeeded.
#[derive(Clone, Copy, Debug)]
pub struct WriteRecord<'a> {
    /// Where it came from.
    pub origin: Origin,
    /// E.g. `create`.
    pub verb: &'static str,
    /// API group.
    pub group: &'a str,
    /// Plural resource.
    pub resource: &'a str,
    /// Subresource, empty for the object itself.
    pub subresource: &'a str,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
    /// Who wrote.
    pub user: &'a str,
    /// The client program.
    pub user_agent: &'a str,
    /// The field manager: as asked for, or from the user agent.
    pub field_manager: &'a str,
    /// Whether nothing changed, so that nothing was stored.
    pub no_op: bool,
    /// Whether it was a dry run.
    pub dry_run: bool,
}

/// Sees every mutating request that was not refused, once.
pub trait WriteObserver: Send + Sync {
    /// Called after the write is durable.
    fn wrote(&self, record: &WriteRecord<'_>);
}
