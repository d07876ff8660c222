//! Media types: what a client accepts and what it sent.

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};

use crate::status::ApiError;

/// `application/json`.
pub const JSON: &str = "application/json";
/// `application/yaml`.
pub const YAML: &str = "application/yaml";
/// Kubernetes' protobuf envelope.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// The shape an answer with objects takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// The objects as they are.
    Object,
    /// `meta.k8s.io` `Table`, in this version.
    Table(&'static str),
    /// `PartialObjectMetadata`, in this version.
    Metadata(&'static str),
    /// `PartialObjectMetadataList`, in this version.
    MetadataList(&'static str),
}

/// One range of an `Accept` header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaRange {
    /// Type and subtype in lower case.
    pub essence: String,
    /// `as` parameter.
    pub transform: String,
    /// `g` parameter.
    pub group: String,
    /// `v` parameter.
    pub version: String,
}

impl MediaRange {
    fn of(text: &str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut range = Self { essence, ..Self::default() };
        for part in parts {
            match part.split_once('=') {
                Some(("as", value)) => value.clone_into(&mut range.transform),
                Some(("g", value)) => value.clone_into(&mut range.group),
                Some(("v", value)) => value.clone_into(&mut range.version),
                _ => {}
            }
        }
        range
    }

    /// Whether a document that has no other form answers to this range.
    pub fn takes_plain(&self) -> bool {
        self.encoding().is_some() && self.transform.is_empty()
    }

    /// Whether JSON answers to this range.
    pub fn takes_json(&self) -> bool {
        matches!(self.essence.as_str(), JSON | "application/*" | "*/*")
    }
}

/// The ranges of the `Accept` header in the client's order. Real clients list
/// them by preference and send no weights.
pub fn accepted(headers: &HeaderMap) -> Vec<MediaRange> {
    let all: Vec<MediaRange> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter(|part| !part.trim().is_empty())
        .map(MediaRange::of)
        .collect();
    if all.is_empty() { vec![MediaRange::of("*/*")] } else { all }
}

/// What answers are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// What everybody reads.
    #[default]
    Json,
    /// For people.
    Yaml,
    /// For clients that accept nothing else.
    Protobuf,
}

impl MediaRange {
    /// The encoding that answers to this range.
    fn encoding(&self) -> Option<Encoding> {
        if self.takes_json() {
            return Some(Encoding::Json);
        }
        match self.essence.as_str() {
            YAML => Some(Encoding::Yaml),
            PROTOBUF => Some(Encoding::Protobuf),
            _ => None,
        }
    }
}

/// The encoding of an answer. Whoever accepts JSON gets it, for objects are
/// kept as JSON; protobuf is for those who accept nothing else.
pub fn encoding(headers: &HeaderMap) -> Encoding {
    if !headers.contains_key(ACCEPT) {
        return Encoding::Json;
    }
    let all: Vec<Encoding> = accepted(headers).iter().filter_map(MediaRange::encoding).collect();
    all.iter().copied().find(|one| *one != Encoding::Protobuf).or(all.first().copied()).unwrap_or_default()
}

/// Which shape the client wants objects in. Custom kinds have no protobuf.
///
/// # Errors
/// 406 when nothing the client accepts can be served.
pub fn shape(headers: &HeaderMap, builtin: bool, watchable: bool) -> Result<Shape, ApiError> {
    let all = accepted(headers);
    for range in &all {
        match range.encoding() {
            None => continue,
            Some(Encoding::Protobuf) if !builtin => continue,
            Some(Encoding::Json | Encoding::Yaml | Encoding::Protobuf) => {}
        }
        if range.transform.is_empty() {
            return Ok(Shape::Object);
        }
        let version = match (range.group.as_str(), range.version.as_str()) {
            ("meta.k8s.io", "v1") => "meta.k8s.io/v1",
            ("meta.k8s.io", "v1beta1") => "meta.k8s.io/v1beta1",
            _ => continue,
        };
        match range.transform.as_str() {
            "Table" => return Ok(Shape::Table(version)),
            "PartialObjectMetadata" => return Ok(Shape::Metadata(version)),
            "PartialObjectMetadataList" => return Ok(Shape::MetadataList(version)),
            _ => {}
        }
    }
    // Routes of compiled-in kinds refuse what is no media type of theirs; what
    // is, in a form they do not have, is refused like everything of others.
    let spoken = all.iter().any(|range| range.encoding().is_some());
    Err(if builtin && !spoken { ApiError::no_representation(watchable) } else { ApiError::not_acceptable() })
}

/// The format of a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFormat {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Kubernetes' protobuf envelope.
    Protobuf,
}

fn content_type(headers: &HeaderMap) -> String {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    MediaRange::of(text).essence
}

/// The format of the body of a create, an update or a delete.
///
/// # Errors
/// 415 for every other media type.
pub fn body_format(headers: &HeaderMap) -> Result<BodyFormat, ApiError> {
    match content_type(headers).as_str() {
        // Clients that leave the header out send JSON.
        "" | JSON => Ok(BodyFormat::Json),
        YAML => Ok(BodyFormat::Yaml),
        PROTOBUF => Ok(BodyFormat::Protobuf),
        _ => Err(ApiError::unsupported_media_type(&[JSON, YAML, PROTOBUF])),
    }
}

/// The kinds of patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' strategic merge patch, for built-in kinds.
    Strategic,
    /// Server-side apply.
    Apply,
}

const PATCHES: [(&str, PatchType); 4] = [
    ("application/json-patch+json", PatchType::Json),
    ("application/merge-patch+json", PatchType::Merge),
    ("application/strategic-merge-patch+json", PatchType::Strategic),
    ("application/apply-patch+yaml", PatchType::Apply),
];

/// The kind of patch the body is.
///
/// # Errors
/// 415 for other media types, and for strategic patches of custom kinds.
pub fn patch_type(headers: &HeaderMap, strategic: bool) -> Result<PatchType, ApiError> {
    let content = content_type(headers);
    let usable = |kind: PatchType| strategic || kind != PatchType::Strategic;
    PATCHES.iter().find(|(name, kind)| *name == content && usable(*kind)).map(|(_, kind)| *kind).ok_or_else(
        || {
            if strategic {
                return ApiError::unsupported_patch();
            }
            let names: Vec<&str> =
                PATCHES.iter().filter(|(_, kind)| usable(*kind)).map(|(name, _)| *name).collect();
            ApiError::unsupported_media_type(&names)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn accept(text: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(text))])
    }

    #[test]
    fn the_first_shape_that_can_be_served_wins() {
        for (text, expected) in [
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Shape::Table("meta.k8s.io/v1")),
            ("application/json;as=Table;v=v9;g=meta.k8s.io, application/json", Shape::Object),
            ("application/vnd.kubernetes.protobuf,application/json", Shape::Object),
            ("application/vnd.kubernetes.protobuf, */*", Shape::Object),
            (
                "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
                Shape::Metadata("meta.k8s.io/v1"),
            ),
            (
                "application/json;as=Table, application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1beta1",
                Shape::MetadataList("meta.k8s.io/v1beta1"),
            ),
            ("application/json;as=Future;v=v1, application/json", Shape::Object),
        ] {
            assert_eq!(shape(&accept(text), true, true), Ok(expected), "{text}");
        }
        assert_eq!(shape(&HeaderMap::new(), false, true), Ok(Shape::Object));
        assert_eq!(shape(&accept("application/cbor"), true, true).unwrap_err().code, 406);
        assert_eq!(shape(&accept(PROTOBUF), false, true).unwrap_err().code, 406);
    }

    #[test]
    fn json_is_preferred_to_protobuf() {
        for (text, expected) in [
            ("application/vnd.kubernetes.protobuf,application/json", Encoding::Json),
            ("application/vnd.kubernetes.protobuf", Encoding::Protobuf),
            ("application/yaml, application/json", Encoding::Yaml),
            ("application/vnd.kubernetes.protobuf, */*", Encoding::Json),
            ("image/png", Encoding::Json),
        ] {
            assert_eq!(encoding(&accept(text)), expected, "{text}");
        }
    }

    #[test]
    fn custom_kinds_take_no_strategic_patches() {
        let headers = HeaderMap::from_iter([(
            CONTENT_TYPE,
            HeaderValue::from_static("application/strategic-merge-patch+json; charset=utf-8"),
        )]);
        assert_eq!(patch_type(&headers, true), Ok(PatchType::Strategic));
        assert_eq!(patch_type(&headers, false).unwrap_err().code, 415);
        assert_eq!(body_format(&headers).unwrap_err().code, 415);
    }
}
