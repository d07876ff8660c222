//! Errors as Kubernetes clients read them: a `Status` object with a code, a
//! reason and the causes.
//!
//! Clients branch on `reason` and `code`, some (client-go's `apierrors`) also
//! on `details`; the texts follow apimachinery's `pkg/api/errors`.

use std::borrow::Cow;

use serde_json::{Value, json};
use windlass_apimachinery::FieldError;

/// A resource in a group: what `NotFound` and `Conflict` talk about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupResource<'a> {
    /// API group, empty for the core group.
    pub group: &'a str,
    /// Plural resource name.
    pub resource: &'a str,
}

impl std::fmt::Display for GroupResource<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write_qualified(f, self.resource, self.group)
    }
}

/// A kind in a group: what `Invalid` talks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupKind<'a> {
    /// API group, empty for the core group.
    pub group: &'a str,
    /// Kind.
    pub kind: &'a str,
}

impl std::fmt::Display for GroupKind<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write_qualified(f, self.kind, self.group)
    }
}

fn write_qualified(f: &mut std::fmt::Formatter<'_>, name: &str, group: &str) -> std::fmt::Result {
    if group.is_empty() { f.write_str(name) } else { write!(f, "{name}.{group}") }
}

/// One entry of `status.details.causes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Machine readable reason, e.g. `FieldValueInvalid`.
    pub reason: String,
    /// What is wrong.
    pub message: String,
    /// Path of the field, empty when there is none.
    pub field: String,
}

/// The `details` of a `Status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Name of the object.
    pub name: String,
    /// API group of the object.
    pub group: String,
    /// Plural resource or, for `Invalid`, the kind.
    pub kind: String,
    /// UID of the object.
    pub uid: String,
    /// Single findings.
    pub causes: Vec<Cause>,
    /// Seconds after which a client should try again; 0 for none.
    pub retry_after_seconds: u32,
}

/// An answer other than success.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status code.
    pub code: u16,
    /// `Status.reason`.
    pub reason: Cow<'static, str>,
    /// Text for people.
    pub message: String,
    /// What the error is about.
    pub details: Option<Box<Details>>,
    /// Token with which an expired list can be gone on with.
    pub continue_token: Option<String>,
}

/// The reason of errors that are answered as plain text.
const NO_PAGE: &str = "page";

/// Text of every optimistic locking conflict; clients print it as it is.
const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

impl ApiError {
    /// An error of any code and reason.
    pub fn new(code: u16, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), message: message.into(), details: None, continue_token: None }
    }

    fn about(mut self, what: GroupResource<'_>, name: &str) -> Self {
        self.details = Some(Box::new(Details {
            name: name.to_owned(),
            group: what.group.to_owned(),
            kind: what.resource.to_owned(),
            ..Details::default()
        }));
        self
    }

    /// Says which resource the error is about, and no object of it.
    pub fn of_resource(self, what: GroupResource<'_>) -> Self {
        self.about(what, "")
    }

    /// Adds one cause.
    pub fn cause(mut self, reason: &str, message: impl Into<String>, field: &str) -> Self {
        let cause = Cause { reason: reason.to_owned(), message: message.into(), field: field.to_owned() };
        self.details.get_or_insert_default().causes.push(cause);
        self
    }

    /// Asks the client to come back after `seconds`.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    /// 404: no such object.
    pub fn not_found(what: GroupResource<'_>, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{what} {name:?} not found")).about(what, name)
    }

    /// 404: no such path. Discovery clients look for this text.
    pub fn no_such_path() -> Self {
        Self::routed(404, "NotFound", "the server could not find the requested resource")
    }

    /// 404: no path of the API at all; answered without a `Status`.
    pub fn no_such_page() -> Self {
        Self::new(404, NO_PAGE, "404 page not found")
    }

    /// Whether the answer is a plain text.
    pub fn is_page(&self) -> bool {
        self.reason == NO_PAGE
    }

    /// 409: the name is taken.
    pub fn already_exists(what: GroupResource<'_>, name: &str, terminating: bool) -> Self {
        let prefix = if terminating { "object is being deleted: " } else { "" };
        Self::new(409, "AlreadyExists", format!("{prefix}{what} {name:?} already exists")).about(what, name)
    }

    /// 409: the name that goes with a base is taken.
    pub fn name_not_generated(what: GroupResource<'_>, name: &str) -> Self {
        let text = format!(
            "{what} {name:?} already exists, the server was not able to generate a unique name for the object"
        );
        Self::new(409, "AlreadyExists", text).about(what, name).retry_after(1)
    }

    /// 409: somebody else wrote in between.
    pub fn modified(what: GroupResource<'_>, name: &str) -> Self {
        Self::conflict(what, name, MODIFIED)
    }

    /// 409: the write contradicts the state of the object.
    pub fn conflict(what: GroupResource<'_>, name: &str, why: &str) -> Self {
        Self::new(409, "Conflict", format!("Operation cannot be fulfilled on {what} {name:?}: {why}"))
            .about(what, name)
    }

    /// 422: the object breaks the rules of its kind.
    pub fn invalid(what: GroupKind<'_>, name: &str, errors: &[FieldError]) -> Self {
        let mut texts: Vec<String> = Vec::new();
        for error in errors {
            let text = error.to_string();
            // The list says nothing twice; the causes do.
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let list = if let [one] = texts.as_slice() { one.clone() } else { format!("[{}]", texts.join(", ")) };
        let mut error = Self::new(422, "Invalid", format!("{what} {name:?} is invalid: {list}"));
        error.details = Some(Box::new(Details {
            name: name.to_owned(),
            group: what.group.to_owned(),
            kind: what.kind.to_owned(),
            causes: errors.iter().map(Cause::of).collect(),
            ..Details::default()
        }));
        error
    }

    /// 400: the request cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401: no valid credentials.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403 with a reason.
    pub fn forbidden(what: GroupResource<'_>, name: &str, why: &str) -> Self {
        let object = if name.is_empty() { String::new() } else { format!(" {name:?}") };
        Self::new(403, "Forbidden", format!("{what}{object} is forbidden: {why}")).about(what, name)
    }

    /// An answer of the router, before anybody looked at a resource: its
    /// details are there and empty.
    fn routed(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        let mut error = Self::new(code, reason, message);
        error.details = Some(Box::default());
        error
    }

    /// 405: the verb does not exist for this custom resource.
    pub fn unsupported_verb(verb: &str, what: GroupResource<'_>) -> Self {
        let text = format!("{verb} is not supported on resources of kind {:?}", what.to_string());
        Self::new(405, "MethodNotAllowed", text).about(what, "")
    }

    /// 405: the method does not exist there.
    pub fn method_not_allowed() -> Self {
        let text = "the server does not allow this method on the requested resource";
        Self::routed(405, "MethodNotAllowed", text)
    }

    /// 405: the verb does not exist for this custom kind.
    pub fn method_not_supported(verb: &str, what: GroupResource<'_>) -> Self {
        let text = format!("{verb} is not supported on resources of kind \"{what}\"");
        Self::new(405, "MethodNotAllowed", text).about(what, "")
    }

    /// 406: the form that the client accepts is not spoken here.
    pub fn not_acceptable() -> Self {
        let list = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
        Self::new(406, "NotAcceptable", format!("only the following media types are accepted: {list}"))
    }

    /// 406: none of the media types that the client accepts is spoken here.
    pub fn no_representation(watchable: bool) -> Self {
        let list = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
        let streams = if watchable {
            ", application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
        } else {
            ""
        };
        let text = format!("406: Not Acceptable\n\nAvailable representations: {list}{streams}");
        Self::routed(406, "NotAcceptable", text)
    }

    /// 415: compiled-in kinds take no such patches.
    pub fn unsupported_patch() -> Self {
        Self::routed(415, "UnsupportedMediaType", "415: Unsupported Media Type")
    }

    /// 415: the body is of a media type not spoken here.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let list = accepted.join(", ");
        let text = "the body of the request was in an unknown format - accepted media types include";
        Self::new(415, "UnsupportedMediaType", format!("{text}: {list}"))
    }

    /// 413: the body exceeds `limit` bytes.
    pub fn too_large(limit: usize) -> Self {
        Self::new(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {limit}"))
    }

    /// 410: the revision is no longer, or the page token too old.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 504: the revision asked for is in the future.
    pub fn too_large_resource_version(asked: u64, current: u64) -> Self {
        let message = format!("Too large resource version: {asked}, current: {current}");
        Self::new(504, "Timeout", format!("Timeout: {message}"))
            .cause("ResourceVersionTooLarge", "Too large resource version", "")
            .retry_after(1)
    }

    /// 500.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(500, "InternalError", format!("Internal error occurred: {message}"))
    }

    /// 503: cannot serve this now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// 429: the user has too much under way.
    pub fn too_many_requests() -> Self {
        Self::new(429, "TooManyRequests", "Too many requests, please try again later.").retry_after(1)
    }

    /// 507: no room to store the object.
    pub fn out_of_space(message: impl Into<String>) -> Self {
        Self::new(507, "InsufficientStorage", message)
    }

    /// The `Status` object.
    pub fn to_value(&self) -> Value {
        let mut status = json!({
            "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        // Plain errors of upstream have none.
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if let Some(details) = &self.details {
            status["details"] = details.to_value();
        }
        if let Some(token) = &self.continue_token {
            status["metadata"]["continue"] = json!(token);
        }
        status
    }
}

impl Cause {
    fn of(error: &FieldError) -> Self {
        Self { reason: error.reason().to_owned(), message: error.body(), field: error.field.clone() }
    }
}

impl Details {
    /// JSON without the empty members.
    pub fn to_value(&self) -> Value {
        let mut value = json!({});
        for (key, text) in
            [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)]
        {
            if !text.is_empty() {
                value[key] = json!(text);
            }
        }
        if !self.causes.is_empty() {
            value["causes"] = self.causes.iter().map(Cause::to_value).collect();
        }
        if self.retry_after_seconds > 0 {
            value["retryAfterSeconds"] = json!(self.retry_after_seconds);
        }
        value
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut value = json!({});
        for (key, text) in [("reason", &self.reason), ("message", &self.message), ("field", &self.field)] {
            if !text.is_empty() {
                value[key] = json!(text);
            }
        }
        value
    }
}

/// The `Status` of a finished deletion.
pub fn deleted(what: GroupResource<'_>, name: &str, uid: &str) -> Value {
    let details = Details {
        name: name.to_owned(),
        group: what.group.to_owned(),
        kind: what.resource.to_owned(),
        uid: uid.to_owned(),
        ..Details::default()
    };
    json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success",
        "details": details.to_value(),
    })
}
