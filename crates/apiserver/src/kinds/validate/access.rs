//! Leases, signing requests, webhook configurations.

use std::collections::BTreeSet;

use serde_json::Value;
use windlass_apimachinery::FieldError;
use windlass_apimachinery::meta::dns_subdomain;

use super::at::{At, Errors, dns1035_label};
use super::{selector, webhooks};

pub fn lease(object: &At<'_>, _old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    for (field, least) in [("leaseDurationSeconds", 1), ("leaseTransitions", 0)] {
        let value = spec.child(field);
        if value.int().is_some_and(|value| value < least) {
            let detail =
                if least == 1 { "must be greater than 0" } else { "must be greater than or equal to 0" };
            value.invalid(errors, detail);
        }
    }
}

pub fn signing_request(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    if !spec.child("request").is_filled() {
        spec.child("request").invalid(errors, "PEM block type must be CERTIFICATE REQUEST");
    }
    if !spec.child("usages").is_filled() {
        spec.child("usages").required(errors, "");
    }
    let signer = spec.child("signerName");
    if !signer.is_filled() {
        signer.required(errors, "");
    } else if signer.text().matches('/').count() != 1 {
        signer.invalid(
            errors,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'",
        );
    }
    if let Some(old) = old {
        spec.immutable(errors, &old.child("spec"));
    }
}

pub fn validating_webhooks(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    configuration(object, old, errors);
}

pub fn mutating_webhooks(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    configuration(object, old, errors);
    for webhook in object.child("webhooks").items() {
        webhook.child("reinvocationPolicy").maybe_one_of(errors, &["IfNeeded", "Never"]);
    }
}

fn configuration(object: &At<'_>, _old: Option<&At<'_>>, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for webhook in object.child("webhooks").items() {
        self::webhook(&webhook, errors);
        review_versions(&webhook.child("admissionReviewVersions"), errors);
        let name = webhook.child("name");
        if name.is_filled() && !names.insert(name.text()) {
            name.duplicate(errors);
        }
    }
}

fn webhook(at: &At<'_>, errors: &mut Errors) {
    let name = at.child("name");
    if name.is_filled() {
        name.by(errors, dns_subdomain);
        if dns_subdomain(name.text()).is_empty() && name.text().split('.').count() < 3 {
            name.invalid(errors, "should be a domain with at least three segments separated by dots");
        }
    } else {
        name.required(errors, "");
    }
    for rule in at.child("rules").items() {
        self::rule(&rule, errors);
    }
    at.child("failurePolicy").maybe_one_of(errors, &["Fail", "Ignore"]);
    at.child("matchPolicy").maybe_one_of(errors, &["Equivalent", "Exact"]);
    let effects = at.child("sideEffects");
    if effects.is_set() {
        effects.maybe_one_of(errors, &["None", "NoneOnDryRun"]);
    } else {
        effects.required(errors, "must specify one of None, NoneOnDryRun");
    }
    let timeout = at.child("timeoutSeconds");
    if timeout.int().is_some_and(|seconds| !(1..=30).contains(&seconds)) {
        timeout.invalid(errors, "the timeout value must be between 1 and 30 seconds");
    }
    for selector in ["namespaceSelector", "objectSelector"] {
        selector::selector(&at.child(selector), errors);
    }
    client(&at.child("clientConfig"), errors);
    webhooks::conditions(&at.child("matchConditions"), errors);
}

fn rule(at: &At<'_>, errors: &mut Errors) {
    let wild = |list: &At<'_>| list.items().any(|item| item.text() == "*") && list.items().count() > 1;
    let operations = at.child("operations");
    if !operations.is_filled() {
        operations.required(errors, "");
    }
    if wild(&operations) {
        operations.invalid(errors, "if '*' is present, must not specify other operations");
    }
    for operation in operations.items() {
        operation.maybe_one_of(errors, &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"]);
    }
    for (field, what) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let list = at.child(field);
        if !list.is_filled() {
            list.required(errors, "");
        }
        if wild(&list) {
            list.invalid(errors, format!("if '*' is present, must not specify other {what}"));
        }
        for item in list.items().filter(|item| field == "apiVersions" && item.text().is_empty()) {
            item.required(errors, "");
        }
    }
    webhooks::resources(&at.child("resources"), errors);
    at.child("scope").maybe_one_of(errors, &["*", "Cluster", "Namespaced"]);
}

fn review_versions(at: &At<'_>, errors: &mut Errors) {
    if !at.is_filled() {
        at.required(errors, "must specify one of v1, v1beta1");
        return;
    }
    let mut seen = BTreeSet::new();
    for version in at.items() {
        if seen.insert(version.text()) {
            version.by(errors, dns1035_label);
        } else {
            version.invalid(errors, "duplicate version");
        }
    }
    if !at.items().any(|version| matches!(version.text(), "v1" | "v1beta1")) {
        at.invalid(errors, "must include at least one of v1, v1beta1");
    }
}

fn client(at: &At<'_>, errors: &mut Errors) {
    let (url, service) = (at.child("url"), at.child("service"));
    match (url.is_set(), service.is_set()) {
        (true, true) | (false, false) => at.required(errors, "exactly one of url or service is required"),
        (true, false) => self::url(&url, errors),
        (false, true) => webhooks::service(&service, errors),
    }
}

/// How a URL of a webhook must look.
const FORM: &str = "; desired format: https://host[/path]";

/// Go's URLs may hold anything in their path, so that they are taken apart here.
fn url(at: &At<'_>, errors: &mut Errors) {
    let said = |errors: &mut Errors, value: &str, detail: &str| {
        errors.push(FieldError::invalid(at.path.clone(), value, detail));
    };
    let (rest, fragment) = at.text().split_once('#').unwrap_or((at.text(), ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, rest) = rest.split_once("://").unwrap_or(("", rest));
    let authority = if scheme.is_empty() { "" } else { rest.split('/').next().unwrap_or_default() };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if scheme != "https" {
        said(errors, scheme, &format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if host.is_empty() {
        said(errors, host, &format!("host must be specified{FORM}"));
    }
    for (part, detail) in [
        (user, "user information is not permitted in the URL"),
        (fragment, "fragments are not permitted in the URL"),
        (query, "query parameters are not permitted in the URL"),
    ] {
        if !part.is_empty() {
            said(errors, part, detail);
        }
    }
}

pub fn api_service(object: &At<'_>, _old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    let name = object.down(&["metadata", "name"]);
    let (group, version) = (spec.child("group").text(), spec.child("version").text());
    let expected = format!("{version}.{group}");
    if name.text() != expected {
        name.invalid(errors, format!("must be `spec.version+\".\"+spec.group`: {expected:?}"));
    }
    let priority = spec.child("groupPriorityMinimum");
    if priority.int().is_none_or(|value| !(1..=20_000).contains(&value)) {
        priority.invalid(errors, "must be positive and less than 20000");
    }
    let priority = spec.child("versionPriority");
    if priority.int().is_none_or(|value| !(1..=1000).contains(&value)) {
        priority.invalid(errors, "must be positive and less than 1000");
    }
    if !spec.child("service").is_set() && spec.child("insecureSkipTLSVerify").value == &Value::Bool(true) {
        spec.child("insecureSkipTLSVerify")
            .invalid(errors, "local APIServices may not have insecureSkipTLSVerify");
    }
}

pub fn flow_schema(object: &At<'_>, _old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    spec.child("matchingPrecedence").between(errors, 1, 10_000);
    let level = spec.down(&["priorityLevelConfiguration", "name"]);
    if level.is_filled() {
        level.by(errors, dns_subdomain);
    } else {
        level.required(errors, "must reference a priority level");
    }
    spec.down(&["distinguisherMethod", "type"]).maybe_one_of(errors, &["ByNamespace", "ByUser"]);
}

pub fn priority_level(object: &At<'_>, _old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    spec.child("type").one_of(errors, &["Exempt", "Limited"]);
    if spec.child("type").text() == "Limited" && !spec.child("limited").is_set() {
        spec.child("limited").required(errors, "must not be empty when type is Limited");
    }
}
