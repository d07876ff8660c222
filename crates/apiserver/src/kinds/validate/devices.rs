//! Devices: classes, claims and slices of them, without the features that are
//! off. Selectors in CEL are taken as they are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use windlass_apimachinery::FieldError;
use windlass_apimachinery::meta::{dns_label, dns_subdomain};

use super::at::{At, Errors};

/// Most requests, constraints, selectors or configurations.
const MOST: usize = 32;
const MOST_ALTERNATIVES: usize = 8;
const MOST_DEVICES: usize = 128;
const MOST_ATTRIBUTES: usize = 32;
const MOST_USERS: usize = 256;
const LONGEST_DRIVER: u64 = 63;
const LONGEST_POOL: u64 = 253;
const LONGEST_PARAMETERS: u64 = 10 * 1024;
const LONGEST_ATTRIBUTE: u64 = 64;

pub fn class(object: &At<'_>, _old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    selectors(&spec.child("selectors"), errors);
    each(&spec.child("config"), MOST, errors, configuration);
}

pub fn claim(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    match old {
        Some(old) => spec.immutable(errors, &old.child("spec")),
        None => claim_spec(&spec, errors),
    }
    if let Some(old) = old {
        claim_status(object, old, errors);
    }
}

pub fn template(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    match old {
        Some(old) => spec.immutable(errors, &old.child("spec")),
        None => claim_spec(&spec.child("spec"), errors),
    }
}

/// A list of limited length; one that is too long is not looked into.
fn each<'a>(list: &At<'a>, most: usize, errors: &mut Errors, mut rule: impl FnMut(&At<'a>, &mut Errors)) {
    let length = list.items().count();
    if length > most {
        errors.push(FieldError::too_many(list.path.clone(), length, most as u64));
        return;
    }
    for item in list.items() {
        rule(&item, errors);
    }
}

/// The same, where no two items may be called the same.
fn each_once<'a>(
    list: &At<'a>,
    most: usize,
    errors: &mut Errors,
    key: impl Fn(&At<'a>) -> &'a Value,
    rule: impl FnMut(&At<'a>, &mut Errors),
) {
    each(list, most, errors, rule);
    if list.items().count() > most {
        return;
    }
    let mut seen = Vec::new();
    for item in list.items() {
        let key = key(&item);
        if seen.contains(&key) {
            errors.push(FieldError::duplicate(item.path.clone(), key.clone()));
        }
        seen.push(key);
    }
}

fn name_of<'a>(item: &At<'a>) -> &'a Value {
    item.child("name").value
}

/// Requests with the alternatives within each.
type Requests<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

fn requests<'a>(devices: &At<'a>) -> Requests<'a> {
    let alternatives = |request: &At<'a>| {
        let names = request.child("firstAvailable").items().map(|sub| sub.child("name").text());
        names.collect::<BTreeSet<&'a str>>()
    };
    let all = devices.child("requests").items();
    all.map(|request| (request.child("name").text(), alternatives(&request))).collect()
}

fn claim_spec(spec: &At<'_>, errors: &mut Errors) {
    let devices = spec.child("devices");
    let known = requests(&devices);
    each_once(&devices.child("requests"), MOST, errors, name_of, request);
    each(&devices.child("constraints"), MOST, errors, |constraint, errors| {
        references(&constraint.child("requests"), &known, errors);
        let same = constraint.child("matchAttribute");
        if same.is_set() {
            qualified(&same, errors);
        } else {
            same.required(errors, "");
        }
    });
    each(&devices.child("config"), MOST, errors, |config, errors| {
        references(&config.child("requests"), &known, errors);
        configuration(config, errors);
    });
}

fn request(at: &At<'_>, errors: &mut Errors) {
    at.child("name").by(errors, dns_label);
    let (exactly, first) = (at.child("exactly"), at.child("firstAvailable"));
    match (exactly.is_set(), first.is_filled()) {
        (false, false) => {
            at.required(errors, "exactly one of `exactly` or `firstAvailable` is required");
        }
        (true, true) => errors.push(FieldError::invalid(
            at.path.clone(),
            Value::Null,
            "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
        )),
        (true, false) => wanted(&exactly, errors),
        (false, true) => each_once(&first, MOST_ALTERNATIVES, errors, name_of, |sub, errors| {
            sub.child("name").by(errors, dns_label);
            wanted(sub, errors);
        }),
    }
}

/// Which devices, and how many.
fn wanted(at: &At<'_>, errors: &mut Errors) {
    at.child("deviceClassName").required_by(errors, dns_subdomain);
    selectors(&at.child("selectors"), errors);
    let (mode, count) = (at.child("allocationMode"), at.child("count"));
    match mode.text() {
        "All" if count.int().unwrap_or(0) != 0 => {
            count.invalid(errors, "must not be specified when allocationMode is 'All'");
        }
        "ExactCount" if count.int().unwrap_or(0) <= 0 => {
            errors.push(FieldError::invalid(
                count.path.clone(),
                count.int().unwrap_or(0),
                "must be greater than zero",
            ));
        }
        "All" | "ExactCount" => {}
        _ => mode.not_supported(errors, &["All", "ExactCount"]),
    }
}

fn selectors(list: &At<'_>, errors: &mut Errors) {
    each(list, MOST, errors, |selector, errors| {
        let (cel, expression) = (selector.child("cel"), selector.down(&["cel", "expression"]));
        if !cel.is_set() {
            cel.required(errors, "");
        } else if expression.text().len() as u64 > LONGEST_PARAMETERS {
            errors.push(FieldError::too_long(expression.path.clone(), "", LONGEST_PARAMETERS));
        }
    });
}

fn references(list: &At<'_>, known: &Requests<'_>, errors: &mut Errors) {
    const DETAIL: &str = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    each_once(
        list,
        MOST,
        errors,
        |item| item.value,
        |item, errors| {
            let parts: Vec<&str> = item.text().split('/').collect();
            let found = match parts[..] {
                [request] => known.contains_key(request),
                [request, sub] => known.get(request).is_some_and(|subs| subs.contains(sub)),
                _ => false,
            };
            if parts.len() <= 2 {
                for part in parts {
                    for detail in dns_label(part) {
                        errors.push(FieldError::invalid(item.path.clone(), part, detail));
                    }
                }
            }
            if !found {
                item.invalid(errors, DETAIL);
            }
        },
    );
}

fn configuration(at: &At<'_>, errors: &mut Errors) {
    let opaque = at.child("opaque");
    if !opaque.is_set() {
        opaque.required(errors, "");
        return;
    }
    driver(&opaque.child("driver"), errors);
    let parameters = opaque.child("parameters");
    if !parameters.is_set() {
        parameters.required(errors, "");
    } else if parameters.value.to_string().len() as u64 > LONGEST_PARAMETERS {
        errors.push(FieldError::too_long(parameters.path.clone(), "", LONGEST_PARAMETERS));
    } else if !parameters.value.is_object() {
        let path = parameters.path.clone();
        errors.push(FieldError::invalid(path, "<value omitted>", "must be a valid JSON object"));
    }
}

fn driver(at: &At<'_>, errors: &mut Errors) {
    if !at.is_filled() {
        at.required(errors, "");
        return;
    }
    if at.text().len() as u64 > LONGEST_DRIVER {
        errors.push(FieldError::too_long(at.path.clone(), at.text(), LONGEST_DRIVER));
    }
    for detail in dns_subdomain(&at.text().to_lowercase()) {
        at.invalid(errors, detail);
    }
}

/// A name of an attribute with its domain.
fn qualified(at: &At<'_>, errors: &mut Errors) {
    attribute_name(at.text(), &at.path, errors);
    if !at.text().contains('/') {
        at.invalid(errors, "a fully qualified name must be a domain and a name separated by a slash");
    }
}

/// A name of an attribute or a capacity.
fn attribute_name(name: &str, path: &str, errors: &mut Errors) {
    let (domain, id) = name.split_once('/').map_or((None, name), |(domain, id)| (Some(domain), id));
    if domain == Some("") {
        errors.push(FieldError::invalid(path, "", "the domain must not be empty"));
    } else if let Some(domain) = domain {
        driver(&At { path: path.to_owned(), value: &Value::from(domain) }, errors);
    }
    if domain.is_some() && id.is_empty() {
        errors.push(FieldError::invalid(path, "", "the name must not be empty"));
        return;
    }
    if id.len() > MOST {
        errors.push(FieldError::too_long(path, "", MOST as u64));
    }
    let good = id.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !good {
        errors.push(FieldError::invalid(path, id, "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')"));
    }
}

fn claim_status(object: &At<'_>, old: &At<'_>, errors: &mut Errors) {
    let status = object.child("status");
    let (users, allocation) = (status.child("reservedFor"), status.child("allocation"));
    each_once(
        &users,
        MOST_USERS,
        errors,
        |user| user.child("uid").value,
        |user, errors| {
            for field in ["resource", "name", "uid"] {
                if !user.child(field).is_filled() {
                    user.child(field).required(errors, "");
                }
            }
        },
    );
    let before = old.child("status");
    if users.is_filled() && !allocation.is_set() {
        users.forbidden(errors, "may not be specified when `allocated` is not set");
    } else if object.down(&["metadata", "deletionTimestamp"]).is_set() {
        let known: Vec<&Value> = before.child("reservedFor").items().map(|user| user.value).collect();
        if users.items().any(|user| !known.contains(&user.value)) {
            users.forbidden(
                errors,
                "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set",
            );
        }
    }
    if before.child("allocation").is_set() && allocation.is_set() {
        allocation.immutable(errors, &before.child("allocation"));
    } else if allocation.is_set() {
        let known = requests(&object.down(&["spec", "devices"]));
        each(&allocation.down(&["devices", "results"]), MOST, errors, |result, errors| {
            let list = [result.child("request").value.clone()];
            let at = At { path: result.child("request").path, value: &Value::from(list.to_vec()) };
            let mut wrong = Vec::new();
            references(&at, &known, &mut wrong);
            errors.extend(wrong.into_iter().map(|mut error| {
                error.field.clone_from(&at.path);
                error
            }));
            driver(&result.child("driver"), errors);
            pool_name(&result.child("pool"), errors);
            result.child("device").by(errors, dns_label);
        });
    }
}

fn pool_name(at: &At<'_>, errors: &mut Errors) {
    if !at.is_filled() {
        at.required(errors, "");
        return;
    }
    if at.text().len() as u64 > LONGEST_POOL {
        errors.push(FieldError::too_long(at.path.clone(), "", LONGEST_POOL));
    }
    for part in at.text().split('/') {
        for detail in dns_subdomain(part) {
            errors.push(FieldError::invalid(at.path.clone(), part, detail));
        }
    }
}

pub fn slice(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    driver(&spec.child("driver"), errors);
    let pool = spec.child("pool");
    pool_name(&pool.child("name"), errors);
    let count = pool.child("resourceSliceCount");
    if count.int().unwrap_or(0) <= 0 {
        count.invalid(errors, "must be greater than zero");
    }
    if pool.child("generation").int().unwrap_or(0) < 0 {
        pool.child("generation").invalid(errors, "must be greater than or equal to zero");
    }
    if let Some(old) = old.map(|old| old.child("spec")) {
        for path in [&["pool", "name"][..], &["driver"], &["nodeName"]] {
            spec.down(path).immutable(errors, &old.down(path));
        }
    }
    nodes(&spec, errors);
    each_once(&spec.child("devices"), MOST_DEVICES, errors, name_of, device);
}

/// On which nodes the devices of a slice are.
fn nodes(spec: &At<'_>, errors: &mut Errors) {
    let mut set = Vec::new();
    let node = spec.child("nodeName");
    if node.is_filled() {
        set.push("`nodeName`");
        node.by(errors, dns_subdomain);
    } else if node.is_set() {
        node.invalid(errors, "must be either unset or set to a non-empty string");
    }
    if spec.child("nodeSelector").is_set() {
        set.push("`nodeSelector`");
        let terms = spec.down(&["nodeSelector", "nodeSelectorTerms"]);
        if terms.items().count() != 1 {
            terms.invalid(errors, "must have exactly one node selector term");
        }
    }
    match spec.child("allNodes").value {
        Value::Bool(true) => set.push("`allNodes`"),
        Value::Bool(false) => spec.child("allNodes").invalid(errors, "must be either unset or set to true"),
        _ => {}
    }
    let one = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match set.len() {
        0 => spec.required(errors, one),
        1 => {}
        _ => errors.push(FieldError::invalid(
            spec.path.clone(),
            format!("{{{}}}", set.join(", ")),
            format!("{one}, but multiple fields are set"),
        )),
    }
}

fn device(at: &At<'_>, errors: &mut Errors) {
    at.child("name").by(errors, dns_label);
    let (attributes, capacity) = (at.child("attributes"), at.child("capacity"));
    let count = attributes.entries().count() + capacity.entries().count();
    if count > MOST_ATTRIBUTES {
        let detail =
            format!("the total number of attributes and capacities must not exceed {MOST_ATTRIBUTES}");
        errors.push(FieldError::invalid(at.path.clone(), count, detail));
    }
    for (name, attribute) in attributes.entries() {
        attribute_name(name, &attribute.path, errors);
        self::attribute(&attribute, errors);
    }
    for (name, amount) in capacity.entries() {
        attribute_name(name, &amount.path, errors);
    }
}

fn attribute(at: &At<'_>, errors: &mut Errors) {
    for field in ["string", "version"] {
        let text = at.child(field);
        if text.text().len() as u64 > LONGEST_ATTRIBUTE {
            errors.push(FieldError::too_long(text.path.clone(), "", LONGEST_ATTRIBUTE));
        }
    }
    let version = at.child("version");
    if version.is_set() && !is_semantic(version.text()) {
        version.invalid(errors, "must be a string compatible with semver.org spec 2.0.0");
    }
    match at.entries().count() {
        0 => errors.push(FieldError::invalid(at.path.clone(), "", "exactly one value must be specified")),
        1 => {}
        _ => at.invalid(errors, "exactly one value must be specified"),
    }
}

/// Whether a text is a version as semver.org defines them.
fn is_semantic(text: &str) -> bool {
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, before) = rest.split_once('-').map_or((rest, None), |(core, before)| (core, Some(before)));
    let word = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    let number = |part: &str| digits(part) && (part == "0" || !part.starts_with('0'));
    let numbers: Vec<&str> = core.split('.').collect();
    numbers.len() == 3
        && numbers.into_iter().all(number)
        && before
            .is_none_or(|parts| parts.split('.').all(|part| word(part) && (!digits(part) || number(part))))
        && build.is_none_or(|parts| parts.split('.').all(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_semantic() {
        for (text, good) in [
            ("1.2.3", true),
            ("0.0.0-a.1+b.01", true),
            ("1.2", false),
            ("01.2.3", false),
            ("1.2.3-01", false),
            ("1.2.3-", false),
            ("1.2.3+", false),
            ("v1.2.3", false),
        ] {
            assert_eq!(is_semantic(text), good, "{text}");
        }
    }
}
