//! Webhook configurations: which resources rules may list together, Services, match conditions.

use std::collections::BTreeSet;

use windlass_apimachinery::FieldError;
use windlass_apimachinery::condition::Condition;
use windlass_apimachinery::meta::dns_subdomain;

use super::at::{At, Errors};

/// Most match conditions of one webhook.
const MOST: usize = 64;

/// The resources of a rule: nothing beside what a wildcard covers already.
pub fn resources(at: &At<'_>, errors: &mut Errors) {
    if !at.is_filled() {
        at.required(errors, "");
    }
    let (mut whole, mut parts) = (BTreeSet::new(), BTreeSet::new());
    let (mut everything, mut star, mut plain, mut count) = (false, false, false, 0);
    for item in at.items() {
        count += 1;
        let text = item.text();
        everything |= text == "*/*";
        star |= text == "*";
        if text.is_empty() {
            item.required(errors, "");
            continue;
        }
        let Some((resource, subresource)) = text.split_once('/') else {
            plain = text != "*";
            continue;
        };
        if whole.contains(resource) {
            item.invalid(errors, format!("if '{resource}/*' is present, must not specify {text}"));
        }
        if parts.contains(subresource) {
            item.invalid(errors, format!("if '*/{subresource}' is present, must not specify {text}"));
        }
        if subresource == "*" {
            whole.insert(resource);
        }
        if resource == "*" {
            parts.insert(subresource);
        }
    }
    if count > 1 && everything {
        at.invalid(errors, "if '*/*' is present, must not specify other resources");
    }
    if star && plain {
        at.invalid(errors, "if '*' is present, must not specify other resources without subresources");
    }
}

/// The Service of a webhook. That a missing name is reported as a missing namespace, and the other way
/// round, is kube-apiserver's doing; clients have read it so for years.
pub fn service(at: &At<'_>, errors: &mut Errors) {
    for (reported, given) in [("name", "namespace"), ("namespace", "name")] {
        if !at.child(given).is_filled() {
            at.child(reported).required(errors, "");
        }
    }
    let port = at.child("port");
    if port.int().is_some_and(|port| !(1..=65535).contains(&port)) {
        port.invalid(errors, "port is not valid: must be between 1 and 65535, inclusive");
    }
    let path = at.child("path");
    let text = path.text();
    if text.is_empty() || text == "/" {
        return;
    }
    if text == "//" {
        path.invalid(errors, "segment[0] may not be empty");
        return;
    }
    if !text.starts_with('/') {
        path.invalid(errors, "must start with a '/'");
    }
    let rest = text.get(1..).unwrap_or_default();
    for (index, step) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if step.is_empty() {
            path.invalid(errors, format!("segment[{index}] may not be empty"));
            continue;
        }
        for fault in dns_subdomain(step) {
            path.invalid(errors, format!("segment[{index}]: {fault}"));
        }
    }
}

/// Match conditions: they have names and can be compiled.
pub fn conditions(at: &At<'_>, errors: &mut Errors) {
    if at.items().count() > MOST {
        let detail = format!("must have at most {MOST} items");
        errors.push(FieldError::invalid(at.path.clone(), at.items().count(), detail));
    }
    let mut names = BTreeSet::new();
    for condition in at.items() {
        let (name, expression) = (condition.child("name"), condition.child("expression"));
        let text = expression.text().trim();
        if text.is_empty() {
            expression.required(errors, "");
        } else if let Err(why) = Condition::compile(text) {
            expression.invalid(errors, why);
        }
        if name.text().is_empty() {
            name.required(errors, "");
        } else {
            name.qualified(errors);
            if !names.insert(name.text()) {
                name.duplicate(errors);
            }
        }
    }
}
