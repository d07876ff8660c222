//! What a request asks for: the resource in its path and the options in its
//! query.

use std::collections::BTreeSet;

use http::Method;

use crate::status::ApiError;

/// The resource a path names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourcePath {
    /// API group, empty for the core group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Namespace, when the path has one.
    pub namespace: Option<String>,
    /// Plural resource.
    pub resource: String,
    /// Object name.
    pub name: Option<String>,
    /// Subresource, e.g. `status`.
    pub subresource: Option<String>,
    /// Whether this is one of the old watch paths, `/api/v1/watch/…`.
    pub watch: bool,
}

impl ResourcePath {
    /// Whether this is `pods/<name>/portforward`.
    pub fn is_port_forward(&self) -> bool {
        self.group.is_empty()
            && self.resource == "pods"
            && self.name.is_some()
            && self.subresource.as_deref() == Some("portforward")
    }
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/healthz`, `/livez`, `/readyz`, and the single check below them.
    Health(String),
    /// `/`.
    Root,
    /// `/metrics`.
    Metrics,
    /// `/backup`.
    Backup,
    /// `/version`.
    Version,
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/<group>`.
    Group(String),
    /// `/api/v1` or `/apis/<group>/<version>`.
    Resources {
        /// API group, empty for the core group.
        group: String,
        /// Version.
        version: String,
    },
    /// `/openapi/v2`.
    OpenApiV2,
    /// `/openapi/v3`.
    OpenApiV3,
    /// `/openapi/v3/<path>`.
    OpenApiV3Document(String),
    /// An object or a collection.
    Resource(ResourcePath),
    /// Nothing lives there.
    Unknown,
}

impl Route {
    /// Parses a URL path.
    pub fn of(path: &str) -> Self {
        let Some(segments) = segments(path) else { return Self::Unknown };
        let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
        match parts.as_slice() {
            [] => Self::Root,
            ["healthz" | "livez" | "readyz", check @ ..] => Self::Health(check.join("/")),
            ["metrics"] => Self::Metrics,
            ["backup"] => Self::Backup,
            ["version"] => Self::Version,
            ["openapi", "v2"] => Self::OpenApiV2,
            ["openapi", "v3"] => Self::OpenApiV3,
            ["openapi", "v3", rest @ ..] => Self::OpenApiV3Document(rest.join("/")),
            ["api"] => Self::CoreVersions,
            ["apis"] => Self::Groups,
            ["apis", group] => Self::Group((*group).to_owned()),
            ["api", version] => Self::Resources { group: String::new(), version: (*version).to_owned() },
            ["apis", group, version] => {
                Self::Resources { group: (*group).to_owned(), version: (*version).to_owned() }
            }
            ["api", version, rest @ ..] => resource("", version, rest),
            ["apis", group, version, rest @ ..] => resource(group, version, rest),
            _ => Self::Unknown,
        }
    }
}

fn segments(path: &str) -> Option<Vec<String>> {
    path.split('/').filter(|part| !part.is_empty()).map(|part| percent_decode(part, false)).collect()
}

fn resource(group: &str, version: &str, rest: &[&str]) -> Route {
    let own = |text: &str| text.to_owned();
    let mut path = ResourcePath { group: own(group), version: own(version), ..ResourcePath::default() };
    let rest = match rest {
        ["watch", watched @ ..] if !watched.is_empty() => {
            path.watch = true;
            watched
        }
        _ => rest,
    };
    // `namespaces/<ns>/<resource>` leads into a namespace, but
    // `namespaces/<name>/status` and `…/finalize` are subresources.
    let rest = match rest {
        ["namespaces", name, "status" | "finalize", ..] if group.is_empty() => {
            path.namespace = Some(own(name));
            rest
        }
        ["namespaces", namespace, inner @ ..] if !inner.is_empty() => {
            path.namespace = Some(own(namespace));
            inner
        }
        ["namespaces", name] if group.is_empty() => {
            path.namespace = Some(own(name));
            rest
        }
        _ => rest,
    };
    match rest {
        [resource] => path.resource = own(resource),
        [resource, name] => {
            path.resource = own(resource);
            path.name = Some(own(name));
        }
        [resource, name, subresource] => {
            path.resource = own(resource);
            path.name = Some(own(name));
            path.subresource = Some(own(subresource));
        }
        _ => return Route::Unknown,
    }
    Route::Resource(path)
}

/// What is done to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read a collection.
    List,
    /// Follow a collection.
    Watch,
    /// Make an object.
    Create,
    /// Replace an object.
    Update,
    /// Change an object.
    Patch,
    /// Delete an object.
    Delete,
    /// Delete a collection.
    DeleteCollection,
}

impl Verb {
    /// The verb of a method on a collection or on a named object. A named
    /// object is watched only on the old paths: elsewhere `watch` is ignored.
    pub fn of(method: &Method, path: &ResourcePath, watch: bool) -> Option<Self> {
        let named = path.name.is_some();
        Some(match (method.as_str(), named) {
            ("GET" | "HEAD", _) if path.watch => Self::Watch,
            ("GET" | "HEAD", false) if watch => Self::Watch,
            ("GET" | "HEAD", true) => Self::Get,
            ("GET" | "HEAD", false) => Self::List,
            ("POST", _) => Self::Create,
            ("PUT", true) => Self::Update,
            ("PATCH", true) => Self::Patch,
            ("DELETE", true) => Self::Delete,
            ("DELETE", false) => Self::DeleteCollection,
            _ => return None,
        })
    }

    /// The name used in authorization, discovery and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

/// How strictly unknown and duplicate fields are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them with a warning.
    #[default]
    Warn,
    /// Refuse them.
    Strict,
}

impl FieldValidation {
    /// As in the query.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ignore => "Ignore",
            Self::Warn => "Warn",
            Self::Strict => "Strict",
        }
    }
}

/// The options of all requests, parsed from the query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `labelSelector`.
    pub label_selector: String,
    /// `fieldSelector`.
    pub field_selector: String,
    /// `resourceVersion` as given, empty when absent. What cannot be read is
    /// refused where it is used: reads, lists and watches word it differently.
    pub resource_version: String,
    /// `resourceVersionMatch` as given, empty when absent.
    pub version_match: String,
    /// `limit`; 0 for none.
    pub limit: usize,
    /// `continue`.
    pub token: Option<String>,
    /// `watch`.
    pub watch: bool,
    /// `timeoutSeconds`; `None` when absent, zero or negative.
    pub timeout_seconds: Option<u64>,
    /// `allowWatchBookmarks`.
    pub bookmarks: bool,
    /// `sendInitialEvents`; `None` when absent.
    pub send_initial_events: Option<bool>,
    /// Whether `dryRun` has `All`.
    pub dry_run: bool,
    /// All values of `dryRun`, for the check of the options.
    pub dry_run_values: Vec<String>,
    /// `fieldManager`.
    pub field_manager: String,
    /// `fieldValidation`.
    pub field_validation: FieldValidation,
    /// `fieldValidation` if the client gave it.
    pub field_validation_given: Option<FieldValidation>,
    /// A value of `fieldValidation` that means nothing.
    pub bad_field_validation: Option<String>,
    /// `force`.
    pub force: Option<bool>,
    /// `includeObject` of tables.
    pub include_object: IncludeObject,
    /// `gracePeriodSeconds`, `propagationPolicy` and `orphanDependents` of deletes.
    pub delete: DeleteQuery,
}

/// Delete options given in the query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteQuery {
    /// `propagationPolicy`.
    pub propagation_policy: Option<String>,
    /// `orphanDependents`.
    pub orphan_dependents: Option<bool>,
    /// `gracePeriodSeconds`.
    pub grace_period: Option<i64>,
}

/// `includeObject`: what the rows of a table carry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// A `PartialObjectMetadata`.
    #[default]
    Metadata,
    /// The whole object.
    Object,
    /// Something else: an error, but only for who asks for a table.
    Unknown(String),
}

impl Options {
    /// Parses a query string.
    ///
    /// # Errors
    /// 400 when a number or an enumeration cannot be read.
    pub fn of(query: &str) -> Result<Self, ApiError> {
        let mut options = Self::default();
        let mut seen = BTreeSet::new();
        for (key, value) in pairs(query)? {
            // The first of several values counts, except in lists.
            if key == "dryRun" || seen.insert(key.clone()) {
                options.set(&key, value)?;
            }
        }
        Ok(options)
    }

    fn set(&mut self, key: &str, value: String) -> Result<(), ApiError> {
        match key {
            "labelSelector" => self.label_selector = value,
            "fieldSelector" => self.field_selector = value,
            "resourceVersion" => self.resource_version = value,
            "resourceVersionMatch" => self.version_match = value,
            "limit" => self.limit = usize::try_from(number(&value)?).unwrap_or(0),
            "continue" => self.token = Some(value).filter(|token| !token.is_empty()),
            "watch" => self.watch = truthy(&value),
            "timeoutSeconds" => {
                self.timeout_seconds = u64::try_from(number(&value)?).ok().filter(|seconds| *seconds > 0);
            }
            "allowWatchBookmarks" => self.bookmarks = truthy(&value),
            "sendInitialEvents" => self.send_initial_events = Some(truthy(&value)),
            "dryRun" => {
                self.dry_run |= value == "All";
                self.dry_run_values.push(value);
            }
            "fieldManager" => self.field_manager = value,
            "fieldValidation" => match field_validation(&value) {
                Some(known) => {
                    self.field_validation = known;
                    self.field_validation_given = (!value.is_empty()).then_some(known);
                }
                None => self.bad_field_validation = Some(value),
            },
            "force" => self.force = Some(truthy(&value)),
            "includeObject" => self.include_object = include_object(value),
            "propagationPolicy" => self.delete.propagation_policy = Some(value),
            "gracePeriodSeconds" => self.delete.grace_period = Some(number(&value)?),
            "orphanDependents" => self.delete.orphan_dependents = Some(truthy(&value)),
            // Servers ignore what they do not know: newer clients send more.
            _ => {}
        }
        Ok(())
    }
}

/// Kubernetes' boolean rule (apimachinery `runtime/conversion.go`): everything
/// is true but `0` and any spelling of `false`; a key without value is true.
pub fn truthy(value: &str) -> bool {
    value != "0" && !value.eq_ignore_ascii_case("false")
}

/// A number as Go reads one, and its words when it cannot.
fn number(value: &str) -> Result<i64, ApiError> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    value.parse().map_err(|error: std::num::ParseIntError| {
        let why = match error.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        ApiError::bad_request(format!("strconv.ParseInt: parsing {value:?}: {why}"))
    })
}

fn field_validation(value: &str) -> Option<FieldValidation> {
    match value {
        "" | "Warn" => Some(FieldValidation::Warn),
        "Ignore" => Some(FieldValidation::Ignore),
        "Strict" => Some(FieldValidation::Strict),
        _ => None,
    }
}

fn include_object(value: String) -> IncludeObject {
    match value.as_str() {
        "" | "Metadata" => IncludeObject::Metadata,
        "None" => IncludeObject::None,
        "Object" => IncludeObject::Object,
        _ => IncludeObject::Unknown(value),
    }
}

/// Splits a query string into decoded pairs.
///
/// # Errors
/// 400 on broken percent encoding.
pub fn pairs(query: &str) -> Result<Vec<(String, String)>, ApiError> {
    let decode = |text: &str| {
        percent_decode(text, true).ok_or_else(|| {
            ApiError::bad_request(format!("invalid query parameter {text:?}: broken encoding"))
        })
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(key)?, decode(value)?))
        })
        .collect()
}

/// Decodes percent encoding, and `+` as a space in forms; `None` when broken.
pub fn percent_decode(text: &str, form: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digit = |b: u8| char::from(b).to_digit(16);
                let value = digit(bytes.next()?)? * 16 + digit(bytes.next()?)?;
                out.push(u8::try_from(value).ok()?);
            }
            b'+' if form => out.push(b' '),
            other => out.push(other),
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `group/version ns:<ns> <resource> <name> <sub>` with `-` for nothing.
    fn show(path: &str) -> String {
        let Route::Resource(r) = Route::of(path) else { return format!("{:?}", Route::of(path)) };
        let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let (group, version, resource) = (r.group, r.version, r.resource);
        format!("{group}/{version} {} {resource} {} {}", or(&r.namespace), or(&r.name), or(&r.subresource))
    }

    #[test]
    fn paths_lead_to_resources() {
        for (path, expected) in [
            ("/api/v1/pods", "/v1 - pods - -"),
            ("/api/v1/namespaces", "/v1 - namespaces - -"),
            ("/api/v1/namespaces/a", "/v1 a namespaces a -"),
            ("/api/v1/namespaces/a/status", "/v1 a namespaces a status"),
            ("/api/v1/namespaces/a/finalize", "/v1 a namespaces a finalize"),
            ("/api/v1/namespaces/a/pods", "/v1 a pods - -"),
            ("/api/v1/namespaces/a/pods/b/status", "/v1 a pods b status"),
            ("/apis/g.io/v1/things/x/scale", "g.io/v1 - things x scale"),
            ("/apis/g.io/v1/namespaces/n/things/x%2Fy", "g.io/v1 n things x/y -"),
            ("/api/v1/pods/a/b/c", "Unknown"),
            ("/apis/g.io", "Group(\"g.io\")"),
            ("/apis/g.io/v1/", "Resources { group: \"g.io\", version: \"v1\" }"),
            ("/openapi/v3/apis/g.io/v1", "OpenApiV3Document(\"apis/g.io/v1\")"),
            ("/readyz/etcd", "Health(\"etcd\")"),
            ("/metrics", "Metrics"),
            ("/nope", "Unknown"),
            ("/api/v1/pods/%zz", "Unknown"),
        ] {
            assert_eq!(show(path), expected, "{path}");
        }
    }

    #[test]
    fn booleans_follow_kubernetes_rule() {
        for (query, expected) in [
            ("watch=1", true),
            ("watch", true),
            ("watch=", true),
            ("watch=yes", true),
            ("watch=0", false),
            ("watch=FALSE", false),
            ("", false),
        ] {
            assert_eq!(Options::of(query).unwrap().watch, expected, "{query}");
        }
    }

    #[test]
    fn options_are_decoded_and_refused() {
        let options = Options::of(
            "fieldSelector=metadata.name%3Dk1&labelSelector=a+in+(b)&resourceVersion=12\
             &resourceVersionMatch=NotOlderThan&limit=500&continue=&dryRun=All&future=1",
        )
        .unwrap();
        assert_eq!(options.field_selector, "metadata.name=k1");
        assert_eq!(options.label_selector, "a in (b)");
        assert_eq!((options.resource_version.as_str(), options.limit), ("12", 500));
        assert_eq!(options.version_match, "NotOlderThan");
        assert_eq!((options.token, options.dry_run), (None, true));
        for bad in ["limit=x", "limit=", "timeoutSeconds=1.5", "a=%z"] {
            assert_eq!(Options::of(bad).unwrap_err().code, 400, "{bad}");
        }
        assert_eq!(Options::of("limit=-1&limit=x").unwrap().limit, 0);
    }
}
