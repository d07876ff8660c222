//! What is wrong with an object, field by field.

use std::fmt;

use serde::Serialize;

/// What an admission review found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Review {
    /// Shown to the client; the request goes on.
    pub warnings: Vec<String>,
    /// Why the request is refused; empty if it is not.
    pub errors: Vec<FieldError>,
}

impl Review {
    /// True if the request may go on.
    pub fn allowed(&self) -> bool {
        self.errors.is_empty()
    }

    pub(super) fn invalid(
        &mut self,
        field: impl Into<String>,
        value: &(impl ToString + ?Sized),
        detail: impl Into<String>,
    ) {
        self.push(field, Reason::Invalid, Some(value.to_string()), detail);
    }

    pub(super) fn required(&mut self, field: impl Into<String>, detail: impl Into<String>) {
        self.push(field, Reason::Required, None, detail);
    }

    pub(super) fn forbidden(&mut self, field: impl Into<String>, detail: impl Into<String>) {
        self.push(field, Reason::Forbidden, None, detail);
    }

    pub(super) fn duplicate(&mut self, field: impl Into<String>, value: &(impl ToString + ?Sized)) {
        self.push(field, Reason::Duplicate, Some(value.to_string()), "give it once");
    }

    pub(super) fn not_supported(
        &mut self,
        field: impl Into<String>,
        value: &(impl ToString + ?Sized),
        supported: &[&str],
    ) {
        let detail = format!("use one of {}", supported.join(", "));
        self.push(field, Reason::NotSupported, Some(value.to_string()), detail);
    }

    pub(super) fn too_long(
        &mut self,
        field: impl Into<String>,
        value: &(impl ToString + ?Sized),
        detail: impl Into<String>,
    ) {
        self.push(field, Reason::TooLong, Some(value.to_string()), detail);
    }

    fn push(
        &mut self,
        field: impl Into<String>,
        reason: Reason,
        value: Option<String>,
        detail: impl Into<String>,
    ) {
        self.errors.push(FieldError { field: field.into(), reason, value, detail: detail.into() });
    }
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The path of the field, `spec.files[2].path`.
    pub field: String,
    /// What kind of mistake it is.
    pub reason: Reason,
    /// The value, where showing it helps and is safe.
    pub value: Option<String>,
    /// The cause and the next step.
    pub detail: String,
}

impl fmt::Display for FieldError {
    /// In the words of the Kubernetes API: `spec.version: Invalid value: "1.2": …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)?;
        if let Some(value) = &self.value {
            write!(f, ": {value:?}")?;
        }
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

/// The kinds of mistakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Reason {
    /// A value is missing.
    Required,
    /// A value is not what it may be.
    Invalid,
    /// A value is allowed, but not here or not now.
    Forbidden,
    /// A value may occur once only.
    Duplicate,
    /// A value is not one of those that exist.
    NotSupported,
    /// A value is longer than it may be.
    TooLong,
}

impl Reason {
    /// The reason of the cause in a `Status` of the Kubernetes API.
    pub fn cause(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::Forbidden => "FieldValueForbidden",
            Self::Duplicate => "FieldValueDuplicate",
            Self::NotSupported => "FieldValueNotSupported",
            Self::TooLong => "FieldValueTooLong",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Required => "Required value",
            Self::Invalid => "Invalid value",
            Self::Forbidden => "Forbidden",
            Self::Duplicate => "Duplicate value",
            Self::NotSupported => "Unsupported value",
            Self::TooLong => "Too long",
        })
    }
}
