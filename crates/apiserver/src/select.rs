//! Which objects of a collection a request is about.

use serde_json::Value;
use windlass_apimachinery::selector::{FieldSelector, LabelSelector};
use windlass_store::Entry;

use crate::call::{Call, parse};
use crate::kinds::{FieldLabel, Kind};
use crate::object::Stored;
use crate::status::ApiError;

/// Label and field selectors of a list, a watch or a collection delete.
#[derive(Clone, Debug)]
pub struct Selection {
    labels: LabelSelector,
    fields: Vec<Requirement>,
    /// Whether a field outside the metadata is compared.
    content: bool,
}

#[derive(Clone, Debug)]
struct Requirement {
    field: Field,
    value: String,
    equal: bool,
}

#[derive(Clone, Debug)]
enum Field {
    Name,
    Namespace,
    Other(FieldLabel),
}

impl Call<'_> {
    /// Parses the selectors of the request.
    ///
    /// # Errors
    /// 400 when one cannot be read or names a field the kind does not offer.
    pub fn selection(&self) -> Result<Selection, ApiError> {
        let labels = LabelSelector::parse(&self.options.label_selector)
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        let parsed = FieldSelector::parse(&self.options.field_selector)
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        let mut fields = Vec::new();
        for requirement in parsed.terms() {
            fields.push(Requirement {
                field: self.field(&requirement.field)?,
                value: requirement.value.clone(),
                equal: requirement.equal,
            });
        }
        if !self.name.is_empty() {
            // A list or watch of one object by its path.
            fields.push(Requirement { field: Field::Name, value: self.name.clone(), equal: true });
        }
        let content = fields.iter().any(|requirement| matches!(requirement.field, Field::Other(_)));
        Ok(Selection { labels, fields, content })
    }

    fn field(&self, label: &str) -> Result<Field, ApiError> {
        let fields = &self.version().fields;
        match label {
            "metadata.name" => Ok(Field::Name),
            "metadata.namespace" if self.kind.namespaced => Ok(Field::Namespace),
            // Kinds without fields of their own take it everywhere.
            "metadata.namespace" if self.kind.builtin && fields.is_empty() => Ok(Field::Namespace),
            _ => fields
                .iter()
                .find(|field| field.label == label)
                .cloned()
                .map(Field::Other)
                .ok_or_else(|| self.unknown_field(label)),
        }
    }

    /// Kinds whose fields upstream knows by a function of their own word this
    /// differently from those it leaves to the rule for all.
    fn unknown_field(&self, label: &str) -> ApiError {
        let general = self.kind.builtin && self.version().fields.is_empty();
        ApiError::bad_request(if self.kind.builtin && self.kind.group == "resource.k8s.io" && !general {
            let (version, kind) = (&self.api_version, &self.kind.kind);
            format!("field label not supported for {version}, Kind={kind}: {label}")
        } else if general {
            format!("{label:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
        } else {
            format!("field label not supported: {label}")
        })
    }
}

impl Selection {
    /// Whether everything matches.
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_empty()
    }

    /// The one name asked for, if it is one.
    pub fn name(&self) -> Option<&str> {
        self.fields.iter().find_map(|requirement| match requirement.field {
            Field::Name if requirement.equal => Some(requirement.value.as_str()),
            _ => None,
        })
    }

    /// Whether a stored object matches.
    ///
    /// # Errors
    /// 500 when it cannot be read.
    pub fn matches(&self, kind: &Kind, api_version: &str, entry: &Entry) -> Result<bool, ApiError> {
        if self.is_everything() {
            return Ok(true);
        }
        // The key says the name: most selections by name end here.
        if let Some(name) = self.name()
            && entry.key.rsplit('/').next() != Some(name)
        {
            return Ok(false);
        }
        let meta = Stored::of(&entry.value)?.metadata()?;
        if !self.labels.matches_map(&meta.labels) {
            return Ok(false);
        }
        let object = if self.content {
            parse(kind, api_version, &entry.value, entry.mod_revision)?
        } else {
            Value::Null
        };
        Ok(self.fields.iter().all(|requirement| {
            let value = match &requirement.field {
                Field::Name => meta.name.clone(),
                Field::Namespace => meta.namespace.clone(),
                Field::Other(label) => label.value(&object),
            };
            (value == requirement.value) == requirement.equal
        }))
    }
}
