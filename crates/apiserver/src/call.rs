//! One request about objects of a kind, with everything known about it.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use windlass_store::Entry;

use crate::admission::{AdmissionRequest, Operation, Origin, WriteRecord};
use crate::allocate::Picked;
use crate::kinds::{Kind, Subresource, Version};
use crate::object::{Malformed, Stored};
use crate::request::{Options, ResourcePath};
use crate::server::Server;
use crate::status::ApiError;
use crate::user::UserInfo;

/// Who calls.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The authenticated user.
    pub user: UserInfo,
    /// The client program.
    pub user_agent: String,
    /// Whether a client or the server itself writes.
    pub origin: Origin,
}

/// The part of an object a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Object,
    /// `…/status`.
    Status,
    /// `…/scale`.
    Scale,
    /// `…/finalize` of namespaces.
    Finalize,
    /// `…/approval` of certificate signing requests.
    Approval,
    /// `…/ephemeralcontainers` of pods.
    EphemeralContainers,
    /// `…/resize` of pods.
    Resize,
    /// `…/eviction` of pods.
    Eviction,
    /// `…/binding` of pods.
    Binding,
    /// `…/token` of service accounts.
    Token,
    /// `…/log` of pods.
    Log,
    /// Streams into running things, of which there are none here.
    Connect,
}

impl Part {
    /// As in the path; empty for the object itself.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Object => "",
            Self::Status => "status",
            Self::Scale => "scale",
            Self::Finalize => "finalize",
            Self::Approval => "approval",
            Self::EphemeralContainers => "ephemeralcontainers",
            Self::Resize => "resize",
            Self::Eviction => "eviction",
            Self::Binding => "binding",
            Self::Token => "token",
            Self::Log => "log",
            Self::Connect => "connect",
        }
    }
}

/// A request about objects of a kind.
pub struct Call<'a> {
    pub(crate) server: &'a Server,
    pub(crate) caller: &'a Caller,
    pub(crate) kind: Arc<Kind>,
    /// Index into `kind.versions`.
    pub(crate) served: usize,
    pub(crate) api_version: String,
    /// Empty for cluster-scoped kinds and for lists over all namespaces.
    pub(crate) namespace: String,
    /// Empty for collections.
    pub(crate) name: String,
    pub(crate) part: Part,
    /// The subresource behind the part, unless it is `status` or `scale`.
    pub(crate) subresource: Option<&'static Subresource>,
    pub(crate) options: Options,
    pub(crate) now: Timestamp,
    /// What the client program calls itself, as far as that can name a field manager.
    program: String,
    warnings: Mutex<Vec<String>>,
    /// What was picked for a Service in this request.
    pub(crate) picked: Mutex<Picked>,
}

impl<'a> Call<'a> {
    /// Finds the kind behind a path.
    ///
    /// # Errors
    /// 404 when the path leads to no kind, version or subresource served.
    pub fn of(
        server: &'a Server,
        caller: &'a Caller,
        path: &ResourcePath,
        options: Options,
    ) -> Result<Self, ApiError> {
        let kinds = server.kinds();
        let kind = kinds.get(&path.group, &path.resource).ok_or_else(ApiError::no_such_path)?;
        let served = kind.versions.iter().position(|version| version.name == path.version);
        let served = served.ok_or_else(ApiError::no_such_path)?;
        let version = &kind.versions[served];
        let namespaces = kind.hook == crate::kinds::Hook::Namespace;
        let (part, subresource) = match path.subresource.as_deref() {
            None => (Part::Object, None),
            Some("status") if version.status => (Part::Status, None),
            Some("scale") if version.scale.is_some() => (Part::Scale, None),
            Some(name) => {
                let known = kind.subresources.iter().copied().find(|subresource| subresource.name == name);
                // Custom kinds answer as if the object were missing.
                let known = known.ok_or_else(|| match &path.name {
                    Some(name) if !kind.builtin => ApiError::not_found(kind.resource(), name),
                    _ => ApiError::no_such_path(),
                })?;
                (known.part, Some(known))
            }
        };
        let namespace = match &path.namespace {
            Some(namespace) if kind.namespaced => namespace.clone(),
            Some(_) if !namespaces => return Err(ApiError::no_such_path()),
            None if kind.namespaced && path.name.is_some() => return Err(ApiError::no_such_path()),
            Some(_) | None => String::new(),
        };
        Ok(Self {
            server,
            caller,
            api_version: kind.api_version(&version.name),
            kind: Arc::clone(kind),
            served,
            namespace,
            name: path.name.clone().unwrap_or_default(),
            part,
            subresource,
            options,
            now: server.now(),
            program: program(&caller.user_agent),
            warnings: Mutex::default(),
            picked: Mutex::default(),
        })
    }

    /// A call of the server itself about one object.
    pub(crate) fn internal(
        server: &'a Server,
        caller: &'a Caller,
        kind: Arc<Kind>,
        namespace: &str,
        name: &str,
    ) -> Self {
        let storage = crate::kinds::split_api_version(&kind.storage_api_version).1;
        let served = kind.versions.iter().position(|version| version.name == storage).unwrap_or(0);
        Self {
            server,
            caller,
            api_version: kind.api_version(&kind.versions[served].name),
            kind,
            served,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            part: Part::Object,
            subresource: None,
            options: Options::default(),
            now: server.now(),
            program: program(&caller.user_agent),
            warnings: Mutex::default(),
            picked: Mutex::default(),
        }
    }

    pub(crate) fn version(&self) -> &Version {
        &self.kind.versions[self.served]
    }

    pub(crate) fn key(&self) -> String {
        self.kind.key(&self.namespace, &self.name)
    }

    pub(crate) fn not_found(&self) -> ApiError {
        ApiError::not_found(self.kind.resource(), &self.name)
    }

    /// Adds a warning to the answer.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        if text.is_empty() || text.chars().any(char::is_control) {
            // No header can carry it; kube-apiserver drops it, too.
            return;
        }
        let mut warnings = self.warnings.lock();
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    pub(crate) fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock())
    }

    /// The field manager of a write: as asked for, or the program's name.
    pub(crate) fn manager(&self) -> &str {
        match (self.options.field_manager.as_str(), self.program.as_str()) {
            ("", "") => "unknown",
            ("", program) => program,
            (asked, _) => asked,
        }
    }

    pub(crate) fn admission<'b>(
        &'b self,
        operation: Operation,
        old: Option<&'b Value>,
    ) -> AdmissionRequest<'b> {
        AdmissionRequest {
            operation,
            group: &self.kind.group,
            version: &self.version().name,
            kind: &self.kind.kind,
            resource: &self.kind.plural,
            subresource: self.part.as_str(),
            namespace: &self.namespace,
            name: &self.name,
            user: &self.caller.user,
            dry_run: self.options.dry_run,
            now: self.now,
            old,
        }
    }

    /// Tells the observer of a finished write.
    pub(crate) fn record(&self, verb: &'static str, name: &str, no_op: bool) {
        self.server.observe(&WriteRecord {
            origin: self.caller.origin,
            verb,
            group: &self.kind.group,
            resource: &self.kind.plural,
            subresource: self.part.as_str(),
            namespace: &self.namespace,
            name,
            user: &self.caller.user.name,
            user_agent: &self.caller.user_agent,
            field_manager: self.manager(),
            no_op,
            dry_run: self.options.dry_run,
        });
    }

    /// A stored entry with the bytes of the version this call serves.
    ///
    /// # Errors
    /// 500 when it cannot be converted.
    pub(crate) async fn readable(&self, entry: Arc<Entry>) -> Result<Arc<Entry>, ApiError> {
        self.server.readable_one(&self.kind, &self.api_version, entry).await
    }

    /// A stored object as this call serves it.
    pub(crate) fn parse(&self, entry: &Entry) -> Result<Value, ApiError> {
        parse(&self.kind, &self.api_version, &entry.value, entry.mod_revision)
    }
}

impl From<Malformed> for ApiError {
    fn from(error: Malformed) -> Self {
        Self::internal(error)
    }
}

/// A stored object of a kind as served at a version.
///
/// # Errors
/// 500 when what is stored is not an object.
pub fn parse(kind: &Kind, api_version: &str, value: &[u8], revision: u64) -> Result<Value, ApiError> {
    let mut object = Stored::of(value)?.parse(api_version, revision)?;
    if !kind.conversion.only_names(api_version) {
        object["kind"] = Value::from(kind.kind.as_str());
        kind.serve(&mut object, api_version);
    }
    Ok(object)
}

/// The bytes of a stored object of a kind as served at a version.
///
/// # Errors
/// 500 when what is stored is not an object.
pub fn render(kind: &Kind, api_version: &str, value: &[u8], revision: u64) -> Result<Bytes, ApiError> {
    if kind.conversion.only_names(api_version) {
        return Ok(Stored::of(value)?.render(api_version, revision));
    }
    Ok(Bytes::from(parse(kind, api_version, value, revision)?.to_string()))
}

/// The name in a user agent: up to its first slash, without what cannot be
/// printed, as far as a field manager's name may go.
fn program(user_agent: &str) -> String {
    let name = user_agent.split('/').next().unwrap_or_default();
    let mut name: String = name.chars().filter(|c| !c.is_control()).collect();
    name.truncate(name.floor_char_boundary(windlass_apimachinery::meta::MAX_MANAGER));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_named_as_their_agents_begin() {
        let long = "y".repeat(200);
        for (agent, expected) in [
            ("kubectl/v1.35.4 (linux) x/y", "kubectl"),
            ("other tool", "other tool"),
            ("a\tb/1", "ab"),
            ("ö\u{7f}/1", "ö"),
            ("/1", ""),
            (&long, &long[..128]),
            (&format!("{}ö", &long[..127]), &long[..127]),
        ] {
            assert_eq!(program(agent), expected, "{agent:?}");
        }
    }
}
