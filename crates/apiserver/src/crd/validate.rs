//! Rules of definitions, in the order in which kube-apiserver checks them:
//! the order shows in the list of errors.

use serde_json::{Value, json};
use windlass_apimachinery::schema::check::{Printed, column, go_json, go_list, selectable};
use windlass_apimachinery::schema::{self, CheckOptions};
use windlass_apimachinery::{FieldError, FieldErrorKind, meta};

use super::names::{self, APPROVED, is_protected, is_true};
use super::{text, texts, versions};
use crate::object::meta_str;

/// Most fields a version offers for field selectors.
const MAX_SELECTABLE: usize = 8;
/// Longest warning about a deprecated version, in bytes.
const MAX_WARNING: usize = 256;

/// Everything wrong with a definition beyond its metadata.
pub fn validate(definition: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (group, plural) = (text(definition, "/spec/group"), text(definition, "/spec/names/plural"));
    let name = meta_str(definition, "name");
    if old.is_none() && name != format!("{plural}.{group}") {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", name, detail));
    }
    spec(definition, old, &mut errors);
    if let Some(old) = old {
        immutable(definition, old, &mut errors);
    }
    check_names(&definition["status"]["acceptedNames"], "status.acceptedNames", &mut errors);
    stored_versions(definition, &mut errors);
    approval(definition, old, &mut errors);
    if definition["spec"]["preserveUnknownFields"] == true
        && old.is_none_or(|old| old["spec"]["preserveUnknownFields"] != true)
    {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(FieldError::invalid("spec.preserveUnknownFields", true, detail));
    }
    errors
}

/// A definition's status after a write of it alone.
pub fn validate_status(definition: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check_names(&definition["status"]["acceptedNames"], "status.acceptedNames", &mut errors);
    errors
}

/// Formats the server does not know are ignored; who writes them is told.
pub fn warnings(definition: &Value, old: Option<&Value>) -> Vec<String> {
    let formats = |definition: &Value| -> Vec<String> {
        let mut out = Vec::new();
        for version in versions(definition) {
            if let Some(document) = version.pointer("/schema/openAPIV3Schema") {
                out.extend(schema::unknown_formats(document));
            }
        }
        out
    };
    let before = old.map(formats).unwrap_or_default();
    let mut out: Vec<String> = Vec::new();
    for format in formats(definition) {
        let warning = format!("unrecognized format {format:?}");
        if !before.contains(&format) && !out.contains(&warning) {
            out.push(warning);
        }
    }
    out
}

fn required(field: impl Into<String>) -> FieldError {
    FieldError::required(field, "")
}

fn spec(definition: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let group = text(definition, "/spec/group");
    let broken = meta::dns_subdomain(group);
    if group.is_empty() {
        errors.push(required("spec.group"));
    } else if !broken.is_empty() {
        errors.push(FieldError::invalid("spec.group", group, broken.join(",")));
    } else if !group.contains('.') {
        errors.push(FieldError::invalid("spec.group", group, "should be a domain with at least one dot"));
    }
    one_of("spec.scope", text(definition, "/spec/scope"), &["Cluster", "Namespaced"], errors);
    let shared = Shared::of(definition);
    if !shared.schema {
        for (index, version) in versions(definition).iter().enumerate() {
            if version.pointer("/schema/openAPIV3Schema").is_none_or(Value::is_null) {
                errors.push(required(format!("spec.versions[{index}].schema.openAPIV3Schema")));
            }
        }
    }
    each_version(definition, old, &shared, errors);
    whole_list(definition, &shared, errors);
    for key in ["plural", "singular", "kind", "listKind"] {
        if text(definition, &format!("/spec/names/{key}")).is_empty() {
            errors.push(required(format!("spec.names.{key}")));
        }
    }
    check_names(&definition["spec"]["names"], "spec.names", errors);
    shared_parts(definition, old, &shared, errors);
    conversion(definition, old, errors);
}

fn one_of(field: &str, value: &str, known: &[&str], errors: &mut Vec<FieldError>) {
    if value.is_empty() {
        errors.push(required(field));
    } else if !known.contains(&value) {
        errors.push(FieldError::not_supported(field, value, known));
    }
}

/// Parts that all versions have in common: kube-apiserver reads them as parts
/// of the whole definition, and its errors name them so.
struct Shared {
    schema: bool,
    subresources: bool,
    columns: bool,
    fields: bool,
}

impl Shared {
    fn of(definition: &Value) -> Self {
        let list = versions(definition);
        let same = |key: &str| list.windows(2).all(|pair| pair[0].get(key) == pair[1].get(key));
        let has = |key: &str| list.first().is_some_and(|version| !version[key].is_null());
        Self {
            schema: same("schema") && has("schema"),
            subresources: same("subresources") && has("subresources"),
            columns: same("additionalPrinterColumns") && has("additionalPrinterColumns"),
            fields: same("selectableFields") && has("selectableFields"),
        }
    }
}

fn each_version(definition: &Value, old: Option<&Value>, shared: &Shared, errors: &mut Vec<FieldError>) {
    for (index, version) in versions(definition).iter().enumerate() {
        let at = format!("spec.versions[{index}]");
        let name = text(version, "/name");
        let broken = meta::dns1035_label(name);
        if !broken.is_empty() {
            errors.push(FieldError::invalid(format!("{at}.name"), name, broken.join(",")));
        }
        deprecation(version, &at, errors);
        if !shared.schema {
            let status = has_status(version);
            check_schema(version, old, status, &format!("{at}.schema"), errors);
        }
        if !shared.subresources {
            subresources(version, &format!("{at}.subresources"), errors);
        }
        if !shared.columns {
            columns(version, &format!("{at}.additionalPrinterColumns"), errors);
        }
        if !shared.fields {
            selectable_fields(version, &format!("{at}.selectableFields"), errors);
        }
    }
}

/// What is checked once for all versions.
fn shared_parts(definition: &Value, old: Option<&Value>, shared: &Shared, errors: &mut Vec<FieldError>) {
    let Some(first) = versions(definition).first() else { return };
    if shared.schema {
        let status = versions(definition).iter().any(has_status);
        check_schema(first, old, status, "spec.validation", errors);
    }
    if shared.subresources {
        subresources(first, "spec.subresources", errors);
    }
    if shared.columns {
        columns(first, "spec.additionalPrinterColumns", errors);
    }
    if shared.fields {
        selectable_fields(first, "spec.selectableFields", errors);
    }
}

fn has_status(version: &Value) -> bool {
    version.pointer("/subresources/status").is_some_and(|status| !status.is_null())
}

fn check_schema(version: &Value, old: Option<&Value>, status: bool, at: &str, errors: &mut Vec<FieldError>) {
    let Some(document) = version.pointer("/schema/openAPIV3Schema").filter(|document| !document.is_null())
    else {
        return;
    };
    let before = old.into_iter().flat_map(versions).filter(|before| before["name"] == version["name"]);
    let known = before.clone().any(|before| before.pointer("/schema/openAPIV3Schema") == Some(document));
    if known && before.clone().any(|before| has_status(before) == has_status(version)) {
        // It was checked when it was written.
        return;
    }
    errors.extend(schema::check(document, &format!("{at}.openAPIV3Schema"), CheckOptions { status, known }));
}

fn deprecation(version: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let Some(warning) = version.get("deprecationWarning").and_then(Value::as_str) else { return };
    let field = format!("{at}.deprecationWarning");
    let mut say = |detail: String| errors.push(FieldError::invalid(field.clone(), warning, detail));
    if version["deprecated"] != true {
        return say("can only be set for deprecated versions".to_owned());
    }
    if warning.len() > MAX_WARNING {
        say(format!("must be <= {MAX_WARNING} characters long"));
    }
    if warning.is_empty() {
        say("must not be an empty string".to_owned());
    }
    if let Some((index, _)) = warning.char_indices().find(|(_, c)| c.is_control()) {
        say(format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {index}"
        ));
    }
}

/// What concerns the list of versions as a whole.
fn whole_list(definition: &Value, shared: &Shared, errors: &mut Vec<FieldError>) {
    let list = versions(definition);
    let mut say = |detail: &str| {
        let shown = Printed(go_list(list, |version| printed_version(version, shared)).into());
        errors.push(FieldError::printed(FieldErrorKind::Invalid, "spec.versions", shown, detail));
    };
    let repeats = |(index, version): (usize, &Value)| {
        list[..index].iter().any(|other| other["name"] == version["name"])
    };
    if list.iter().enumerate().any(repeats) {
        say("must contain unique version names");
    }
    if list.iter().filter(|version| version["storage"] == true).count() != 1 {
        say("must have exactly one version marked as storage version");
    }
    if let Some(name) = list.first().map(|version| text(version, "/name"))
        && let broken = meta::dns1035_label(name)
        && !broken.is_empty()
    {
        errors.push(FieldError::invalid("spec.version", name, broken.join(",")));
    }
}

/// A version as kube-apiserver prints it: parts that versions share are not in it.
fn printed_version(version: &Value, shared: &Shared) -> String {
    let own = |key: &str, shared: bool| version.get(key).filter(|value| !shared && !value.is_null());
    let flag = |key: &str| version[key] == true;
    let schema = own("schema", shared.schema).and_then(|schema| schema["openAPIV3Schema"].as_object());
    let null = || "null".to_owned();
    let schema =
        schema.map_or_else(null, |schema| format!("{{\"OpenAPIV3Schema\":{}}}", Printed::schema(schema).0));
    let columns = own("additionalPrinterColumns", shared.columns).and_then(Value::as_array);
    let fields = own("selectableFields", shared.fields).and_then(Value::as_array);
    let field = |field: &Value| format!("{{\"JSONPath\":{}}}", go_json(&field["jsonPath"]));
    format!(
        "{{\"Name\":{},\"Served\":{},\"Storage\":{},\"Deprecated\":{},\"DeprecationWarning\":{},\"Schema\":{schema},\"Subresources\":{},\"AdditionalPrinterColumns\":{},\"SelectableFields\":{}}}",
        go_json(&version["name"]),
        flag("served"),
        flag("storage"),
        flag("deprecated"),
        go_json(&version["deprecationWarning"]),
        own("subresources", shared.subresources).map_or_else(null, printed_subresources),
        columns.map_or_else(null, |list| go_list(list, column)),
        fields.map_or_else(null, |list| go_list(list, field)),
    )
}

fn printed_subresources(subresources: &Value) -> String {
    let status = if subresources["status"].is_null() { "null" } else { "{}" };
    let scale = subresources.get("scale").filter(|scale| scale.is_object()).map_or_else(
        || "null".to_owned(),
        |scale| {
            format!(
                "{{\"SpecReplicasPath\":{},\"StatusReplicasPath\":{},\"LabelSelectorPath\":{}}}",
                go_json(&json!(text(scale, "/specReplicasPath"))),
                go_json(&json!(text(scale, "/statusReplicasPath"))),
                go_json(&scale["labelSelectorPath"]),
            )
        },
    );
    format!("{{\"Status\":{status},\"Scale\":{scale}}}")
}

fn subresources(version: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let Some(scale) = version.pointer("/subresources/scale").filter(|scale| scale.is_object()) else {
        return;
    };
    for (key, below) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
        let field = format!("{at}.scale.{key}");
        let path = text(scale, &format!("/{key}"));
        if path.is_empty() {
            errors.push(required(field));
        } else if !simple_path(path, &field, errors) && !path.starts_with(below) {
            let detail = format!("should be a json path under {}", below.trim_end_matches('.'));
            errors.push(FieldError::invalid(field, path, detail));
        }
    }
    let path = text(scale, "/labelSelectorPath");
    let field = format!("{at}.scale.labelSelectorPath");
    if !path.is_empty()
        && !simple_path(path, &field, errors)
        && !path.starts_with(".spec.")
        && !path.starts_with(".status.")
    {
        let detail = "should be a json path under either .spec or .status";
        errors.push(FieldError::invalid(field, path, detail));
    }
}

/// Whether a path was refused.
fn simple_path(path: &str, field: &str, errors: &mut Vec<FieldError>) -> bool {
    if path.starts_with('.') {
        return false;
    }
    errors.push(FieldError::invalid(field, path, "must be a simple json path starting with ."));
    true
}

fn columns(version: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let list = version["additionalPrinterColumns"].as_array();
    for (index, column) in list.into_iter().flatten().enumerate() {
        let at = format!("{at}[{index}]");
        if text(column, "/name").is_empty() {
            errors.push(required(format!("{at}.name")));
        }
        let (kind, format) = (text(column, "/type"), text(column, "/format"));
        let kinds = ["boolean", "date", "integer", "number", "string"];
        let detail = format!("must be one of {}", kinds.join(","));
        if kind.is_empty() {
            errors.push(FieldError::required(format!("{at}.type"), detail));
        } else if !kinds.contains(&kind) {
            errors.push(FieldError::invalid(format!("{at}.type"), kind, detail));
        }
        let formats = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
        if !format.is_empty() && !formats.contains(&format) {
            let detail = format!("must be one of {}", formats.join(","));
            errors.push(FieldError::invalid(format!("{at}.format"), format, detail));
        }
        let path = text(column, "/jsonPath");
        if path.is_empty() {
            errors.push(required(format!("{at}.JSONPath")));
        } else {
            simple_path(path, &format!("{at}.JSONPath"), errors);
        }
    }
}

fn selectable_fields(version: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let list = version["selectableFields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(document) = version.pointer("/schema/openAPIV3Schema") else { return };
    let mut known: Vec<String> = Vec::new();
    for (index, field) in list.iter().enumerate() {
        let at = format!("{at}[{index}].jsonPath");
        let path = text(field, "/jsonPath");
        if path.is_empty() {
            errors.push(required(at));
            continue;
        }
        let (normal, scalar) = match selectable(document, path) {
            Ok(found) => found,
            Err(why) => {
                errors.push(FieldError::invalid(at, path, format!("is an invalid path: {why}")));
                continue;
            }
        };
        if normal.split(['.', '[']).next() == Some("metadata") {
            errors.push(FieldError::invalid(at.clone(), path, "must not point to fields in metadata"));
        }
        if !scalar {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(FieldError::invalid(at.clone(), path, detail));
        }
        if known.contains(&normal) {
            errors.push(FieldError::duplicate(at, path));
        } else {
            known.push(normal);
        }
    }
    if known.len() > MAX_SELECTABLE {
        errors.push(FieldError::too_many(at, known.len(), MAX_SELECTABLE as u64));
    }
}

fn check_names(names: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let mut label = |field: String, name: &str, mixed: bool| {
        if name.is_empty() {
            return;
        }
        let broken = meta::dns1035_label(&if mixed { name.to_lowercase() } else { name.to_owned() });
        if !broken.is_empty() {
            let prefix = if mixed { "may have mixed case, but should otherwise match: " } else { "" };
            errors.push(FieldError::invalid(field, name, format!("{prefix}{}", broken.join(","))));
        }
    };
    for (key, mixed) in [("plural", false), ("singular", false), ("kind", true), ("listKind", true)] {
        label(format!("{at}.{key}"), text(names, &format!("/{key}")), mixed);
    }
    for (index, name) in texts(names, "/shortNames").iter().enumerate() {
        label(format!("{at}.shortNames[{index}]"), name, false);
    }
    let (kind, list_kind) = (text(names, "/kind"), text(names, "/listKind"));
    if !kind.is_empty() && kind == list_kind {
        let detail = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(format!("{at}.listKind"), list_kind, detail));
    }
    for (index, name) in texts(names, "/categories").iter().enumerate() {
        let broken = meta::dns1035_label(name);
        if !broken.is_empty() {
            let field = format!("{at}.categories[{index}]");
            errors.push(FieldError::invalid(field, name.as_str(), broken.join(",")));
        }
    }
}

fn conversion(definition: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let conversion = &definition["spec"]["conversion"];
    let strategy = text(conversion, "/strategy");
    let at = "spec.conversion";
    one_of(&format!("{at}.strategy"), strategy, &["None", "Webhook"], errors);
    let config = conversion.pointer("/webhook/clientConfig").filter(|config| config.is_object());
    let reviews = texts(conversion, "/webhook/conversionReviewVersions");
    let client = format!("{at}.webhookClientConfig");
    let review = format!("{at}.conversionReviewVersions");
    if strategy != "Webhook" {
        let detail = "should not be set when strategy is not set to Webhook";
        if config.is_some() {
            errors.push(FieldError::forbidden(client, detail));
        }
        if !reviews.is_empty() {
            errors.push(FieldError::forbidden(review, detail));
        }
        return;
    }
    match config {
        None => errors.push(FieldError::required(client, "required when strategy is set to Webhook")),
        Some(config) => client_config(config, &client, old, errors),
    }
    review_versions(&reviews, &review, errors);
}

fn client_config(config: &Value, at: &str, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let url = config.get("url").and_then(Value::as_str);
    let service = config.get("service").filter(|service| service.is_object());
    match (url, service) {
        (None, None) | (Some(_), Some(_)) => {
            errors.push(FieldError::required(at, "exactly one of url or service is required"));
        }
        (Some(url), None) => webhook_url(url, &format!("{at}.url"), errors),
        (None, Some(service)) => webhook_service(service, &format!("{at}.service"), errors),
    }
    let bundle = text(config, "/caBundle");
    let established = old.is_some_and(|old| is_true(&old["status"]["conditions"], "Established"));
    let before =
        old.map(|old| text(old, "/spec/conversion/webhook/clientConfig/caBundle")).unwrap_or_default();
    if established && !bundle.is_empty() && !is_bundle(bundle) && (before.is_empty() || is_bundle(before)) {
        let detail = "unable to load root certificates: unable to parse bytes as PEM block".to_owned();
        errors.push(FieldError::invalid(format!("{at}.caBundle"), bundle, detail));
    }
}

fn is_bundle(bundle: &str) -> bool {
    use base64::Engine as _;
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;
    let Ok(pem) = base64::engine::general_purpose::STANDARD.decode(bundle) else { return false };
    let mut certificates = CertificateDer::pem_slice_iter(&pem).peekable();
    certificates.peek().is_some() && certificates.all(|certificate| certificate.is_ok())
}

fn webhook_url(url: &str, at: &str, errors: &mut Vec<FieldError>) {
    let form = "; desired format: https://host[/path]";
    let mut say = |value: &str, detail: &str| errors.push(FieldError::invalid(at, value, detail));
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if scheme != "https" {
        say(scheme, &format!("'https' is the only allowed URL scheme{form}"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if scheme.is_empty() || authority.is_empty() {
        say("", &format!("host must be specified{form}"));
    }
    if let Some((user, _)) = authority.split_once('@') {
        say(user, "user information is not permitted in the URL");
    }
    let (before, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    if !fragment.is_empty() {
        say(fragment, "fragments are not permitted in the URL");
    }
    if let Some((_, query)) = before.split_once('?').filter(|(_, query)| !query.is_empty()) {
        say(query, "query parameters are not permitted in the URL");
    }
}

fn webhook_service(service: &Value, at: &str, errors: &mut Vec<FieldError>) {
    for key in ["name", "namespace"] {
        if text(service, &format!("/{key}")).is_empty() {
            errors.push(required(format!("{at}.{key}")));
        }
    }
    let port = service["port"].as_i64().unwrap_or(443);
    if !(1..=65535).contains(&port) {
        let detail = "port is not valid: must be between 1 and 65535, inclusive";
        errors.push(FieldError::invalid(format!("{at}.port"), port, detail));
    }
}

fn review_versions(list: &[String], at: &str, errors: &mut Vec<FieldError>) {
    if list.is_empty() {
        errors.push(required(at));
        return;
    }
    for (index, version) in list.iter().enumerate() {
        let field = format!("{at}[{index}]");
        if list[..index].contains(version) {
            errors.push(FieldError::invalid(field, version.as_str(), "duplicate version"));
            continue;
        }
        for broken in meta::dns1035_label(version) {
            errors.push(FieldError::invalid(field.clone(), version.as_str(), broken));
        }
    }
    if !list.iter().any(|version| version == "v1" || version == "v1beta1") {
        let detail = "must include at least one of v1, v1beta1";
        errors.push(FieldError::invalid(at, list.to_vec(), detail));
    }
}

/// What cannot be changed: the names of stored objects depend on it.
fn immutable(definition: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let mut check = |field: &str, pointer: &str| {
        let new = text(definition, pointer);
        if text(old, pointer) != new {
            errors.push(FieldError::invalid(field, new, "field is immutable"));
        }
    };
    if is_true(&old["status"]["conditions"], "Established") {
        check("spec.scope", "/spec/scope");
        check("spec.names.kind", "/spec/names/kind");
    }
    check("spec.group", "/spec/group");
    check("spec.names.plural", "/spec/names/plural");
}

fn stored_versions(definition: &Value, errors: &mut Vec<FieldError>) {
    let at = "status.storedVersions";
    let stored = texts(definition, "/status/storedVersions");
    if stored.is_empty() {
        errors.push(FieldError::invalid(at, Value::Null, "must have at least one stored version"));
        return;
    }
    let list = versions(definition);
    for version in list.iter().filter(|version| version["storage"] == true) {
        let name = text(version, "/name");
        if !stored.iter().any(|known| known == name) {
            let detail = format!("must have the storage version {name}");
            errors.push(FieldError::invalid(at, stored.clone(), detail));
        }
    }
    for (index, name) in stored.iter().enumerate() {
        if !list.iter().any(|version| version["name"] == name.as_str()) {
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            errors.push(FieldError::invalid(format!("{at}[{index}]"), name.as_str(), detail));
        }
    }
}

fn approval(definition: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    if !is_protected(text(definition, "/spec/group")) {
        return;
    }
    let annotation = definition["metadata"]["annotations"][APPROVED].as_str().unwrap_or_default();
    let approval = names::approval(annotation);
    if old.is_some_and(|old| names::approval_state(old) == approval.reason) {
        return;
    }
    let field = format!("metadata.annotations[{APPROVED}]");
    match approval.reason {
        "MissingAnnotation" => errors.push(FieldError::required(field, approval.message)),
        "InvalidAnnotation" => errors.push(FieldError::invalid(field, annotation, approval.message)),
        _ => {}
    }
}
