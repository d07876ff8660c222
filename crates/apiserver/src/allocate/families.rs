//! The address families of Services, on a cluster that has IPv4 alone.

use std::net::IpAddr;

use serde_json::{Value, json};
use windlass_apimachinery::FieldError;

use super::text;
use crate::object::member;

/// Field and detail of an error about a value.
type Said<'a> = (&'a str, &'a str);

/// Completes addresses and families so that each says what the other does.
///
/// # Errors
/// What contradicts itself, and what the cluster has not got.
pub fn complete(old: Option<&Value>, service: &mut Value) -> Result<(), Vec<FieldError>> {
    let headless = text(&service["spec"], "clusterIP") == "None";
    let selects =
        service.pointer("/spec/selector").and_then(Value::as_object).is_some_and(|map| !map.is_empty());
    let spec = member(service, "spec");
    follow(old, spec);
    if text(spec, "ipFamilyPolicy").is_empty() {
        let before = old.map(|old| text(old, "ipFamilyPolicy")).unwrap_or_default();
        let policy = match before {
            "" if headless && !selects => "RequireDualStack",
            "" => "SingleStack",
            before => before,
        };
        *member(spec, "ipFamilyPolicy") = json!(policy);
    }
    let errors = contradictions(spec);
    if !errors.is_empty() {
        return Err(errors);
    }
    shrink(old, spec)?;
    infer(spec)?;
    if headless && !selects {
        if len(spec, "ipFamilies") < 2 {
            let single = text(spec, "ipFamilyPolicy") == "SingleStack";
            let first = spec["ipFamilies"].get(0).and_then(Value::as_str).unwrap_or("IPv4").to_owned();
            let other = if first == "IPv4" { "IPv6" } else { "IPv4" };
            *member(spec, "ipFamilies") = if single { json!([first]) } else { json!([first, other]) };
        }
        return Ok(());
    }
    available(spec)?;
    if len(spec, "ipFamilies") == 0 {
        *member(spec, "ipFamilies") = json!(["IPv4"]);
    }
    Ok(())
}

fn len(spec: &Value, key: &str) -> usize {
    spec[key].as_array().map_or(0, Vec::len)
}

/// The list of addresses follows the one address where a client set that alone.
fn follow(old: Option<&Value>, spec: &mut Value) {
    let address = text(spec, "clusterIP").to_owned();
    let listed = len(spec, "clusterIPs") > 0;
    let untouched = old.is_some_and(|old| {
        text(old, "clusterIP") != address && old.get("clusterIPs") == spec.get("clusterIPs")
    });
    if address.is_empty() && untouched {
        spec.as_object_mut().map(|spec| spec.remove("clusterIPs"));
    } else if !address.is_empty() && (untouched || !listed) {
        *member(spec, "clusterIPs") = json!([address]);
    }
}

/// What is wrong whatever the cluster has.
fn contradictions(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let addresses = &spec["clusterIPs"];
    let mut wrong = |(field, detail): Said<'_>, value: Value| {
        errors.push(FieldError::invalid(field, value, detail));
    };
    let first = addresses.get(0).and_then(Value::as_str);
    match (text(spec, "clusterIP"), first) {
        ("", Some(_)) => {
            wrong(("spec.clusterIPs", "must be empty when `clusterIP` is not specified"), addresses.clone());
        }
        (address, Some(first)) if address != first => {
            wrong(("spec.clusterIPs", "first value must match `clusterIP`"), addresses.clone());
        }
        _ => {}
    }
    let families = spec["ipFamilies"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (index, family) in families.iter().enumerate() {
        let field = format!("spec.ipFamilies[{index}]");
        if !matches!(family.as_str(), Some("IPv4" | "IPv6")) {
            errors.push(FieldError::not_supported(&field, family.clone(), &["IPv4", "IPv6"]));
        }
        if families[..index].contains(family) {
            errors.push(FieldError::duplicate(field, family.clone()));
        }
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    if !policies.contains(&text(spec, "ipFamilyPolicy")) {
        errors.push(FieldError::not_supported(
            "spec.ipFamilyPolicy",
            spec["ipFamilyPolicy"].clone(),
            &policies,
        ));
    }
    errors.extend(address_errors(addresses, families));
    errors
}

fn address_errors(addresses: &Value, families: &[Value]) -> Vec<FieldError> {
    let list = addresses.as_array().map(Vec::as_slice).unwrap_or_default();
    let whole = |detail: &str| FieldError::invalid("spec.clusterIPs", addresses.clone(), detail);
    let mut errors = Vec::new();
    for (index, address) in list.iter().enumerate() {
        let address = address.as_str().unwrap_or_default();
        if index == 0 && address == "None" {
            if list.len() > 1 {
                errors.push(whole("'None' must be the first and only value"));
            }
        } else if address.parse::<IpAddr>().is_err() {
            let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            errors.push(FieldError::invalid(format!("spec.clusterIPs[{index}]"), address, detail));
        }
    }
    if !errors.is_empty() {
        return errors;
    }
    if list.len() > 2 {
        errors.push(whole("may only hold up to 2 values"));
    }
    let sixes = list.iter().filter(|address| family(address) == "IPv6").count();
    if list.len() > 1 && (sixes == 0 || sixes == list.len()) {
        errors.push(whole("may specify no more than one IP for each IP family"));
    }
    for (index, (address, wanted)) in list.iter().zip(families).enumerate() {
        if address != "None" && *wanted != family(address) {
            let wanted = wanted.as_str().unwrap_or_default();
            let detail = format!("expected an {wanted} value as indicated by `ipFamilies[{index}]`");
            errors.push(FieldError::invalid(format!("spec.clusterIPs[{index}]"), address.clone(), detail));
        }
    }
    errors
}

fn family(address: &Value) -> &'static str {
    if address.as_str().is_some_and(|address| address.contains(':')) { "IPv6" } else { "IPv4" }
}

/// A Service of one family has one of each, whatever it had before.
fn shrink(old: Option<&Value>, spec: &mut Value) -> Result<(), Vec<FieldError>> {
    let mut errors = Vec::new();
    let policy = spec["ipFamilyPolicy"].clone();
    let single = policy == "SingleStack";
    for (key, reduced, many) in [
        (
            "clusterIPs",
            "must be 'SingleStack' to release the secondary cluster IP",
            "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified",
        ),
        (
            "ipFamilies",
            "must be 'SingleStack' to release the secondary IP family",
            "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
        ),
    ] {
        let before = old.map_or(0, |old| len(old, key));
        if single && old.is_some_and(|old| old.get(key) == spec.get(key)) {
            if let Some(list) = spec[key].as_array_mut() {
                list.truncate(1);
            }
        } else if !single && before == 2 && len(spec, key) == 1 {
            errors.push(FieldError::invalid("spec.ipFamilyPolicy", policy.clone(), reduced));
        }
        if single && len(spec, key) == 2 {
            errors.push(FieldError::invalid("spec.ipFamilyPolicy", policy.clone(), many));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Families that are not given are those of the addresses.
fn infer(spec: &mut Value) -> Result<(), Vec<FieldError>> {
    let addresses = spec["clusterIPs"].as_array().cloned().unwrap_or_default();
    let mut errors = Vec::new();
    for (index, address) in addresses.iter().enumerate().skip(len(spec, "ipFamilies")) {
        if address == "None" {
            break;
        }
        if family(address) == "IPv6" {
            let detail = "IPv6 is not configured on this cluster";
            let field = format!("spec.clusterIPs[{index}]");
            errors.push(FieldError::invalid(field, addresses.clone(), detail));
            continue;
        }
        let families = member(spec, "ipFamilies");
        match families.as_array_mut() {
            Some(list) => list.push(json!("IPv4")),
            None => *families = json!(["IPv4"]),
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Only what the cluster has can be asked for.
fn available(spec: &Value) -> Result<(), Vec<FieldError>> {
    let mut errors = Vec::new();
    let policy = &spec["ipFamilyPolicy"];
    if policy == "RequireDualStack" {
        let detail = "this cluster is not configured for dual-stack services";
        errors.push(FieldError::invalid("spec.ipFamilyPolicy", policy.clone(), detail));
    }
    let families = spec["ipFamilies"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (index, family) in families.iter().enumerate().filter(|(_, family)| **family == "IPv6") {
        let field = format!("spec.ipFamilies[{index}]");
        errors.push(FieldError::invalid(field, family.clone(), "not configured on this cluster"));
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}
