//! The Cluster API's defaulting and validation rules, called by the embedded API server in process.

use kube::core::GroupVersionKind;
use serde_json::Value;
use windlass_api::admission::{self, Options, Reason, Review};
use windlass_apimachinery::{FieldError, FieldErrorKind};
use windlass_apiserver::{Admission, AdmissionRequest, Operation};

/// The rules of `windlass_api::admission` behind the API server's door.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClusterApi;

impl Admission for ClusterApi {
    fn mutate(&self, request: &AdmissionRequest<'_>, object: &mut Value) {
        if request.subresource.is_empty() {
            admission::default(&kind(request), operation(request.operation), object, request.old);
        }
    }

    fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<Vec<String>, Vec<FieldError>> {
        let review = match request.subresource {
            "" => {
                let options = Options { dry_run: request.dry_run, ..Options::default() };
                admission::validate_with(options, &kind(request), operation(request.operation), object, old)
            }
            "scale" => old.map_or_else(Review::default, |parent| {
                admission::validate_scale(&kind(request), object, parent)
            }),
            _ => Review::default(),
        };
        if review.allowed() {
            Ok(review.warnings)
        } else {
            Err(review.errors.into_iter().map(field_error).collect())
        }
    }
}

fn kind(request: &AdmissionRequest<'_>) -> GroupVersionKind {
    GroupVersionKind::gvk(request.group, request.version, request.kind)
}

fn operation(operation: Operation) -> admission::Operation {
    match operation {
        Operation::Create => admission::Operation::Create,
        Operation::Update => admission::Operation::Update,
        // No kind of ours can be connected to; nothing is checked for either.
        Operation::Delete | Operation::Connect => admission::Operation::Delete,
    }
}

fn field_error(error: admission::FieldError) -> FieldError {
    let admission::FieldError { field, reason, value, detail } = error;
    let kind = match reason {
        Reason::Required => FieldErrorKind::Required,
        Reason::Invalid => FieldErrorKind::Invalid,
        Reason::Forbidden => FieldErrorKind::Forbidden,
        Reason::Duplicate => FieldErrorKind::Duplicate,
        Reason::NotSupported => FieldErrorKind::NotSupported,
        Reason::TooLong => FieldErrorKind::TooLong,
    };
    FieldError { field, kind, bad_value: value.map(Value::String), printed: None, detail }
}
