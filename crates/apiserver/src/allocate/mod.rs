//! Addresses of Services and ports of nodes: given to Services, and never to
//! two at a time.
//!
//! What a Service holds stands under a key of its own, written and removed in
//! the transaction that writes or removes the Service. Two writes at one
//! instant that picked the same cannot both happen, and nothing is left behind
//! by one that did not. The fields are completed in the steps of
//! kube-apiserver (`registry/core/service/storage`).

mod families;
mod held;
mod ports;
mod ranges;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use windlass_apimachinery::FieldError;

use crate::call::Call;
use crate::object::{member, meta_str};
use crate::status::ApiError;

pub(crate) use held::recover;
pub(crate) use ranges::announce;

/// What the server picked in a request, and picks anew when somebody else was faster.
#[derive(Debug, Default)]
pub(crate) struct Picked {
    address: bool,
    /// Indices into `spec.ports`.
    ports: BTreeSet<usize>,
    health: bool,
}

impl Call<'_> {
    /// Gives a Service that is to be written what it needs and has not got.
    ///
    /// # Errors
    /// 422 when what the client names cannot be had, 500 when there is nothing left.
    pub(crate) fn allocate(&self, old: Option<&Value>, service: &mut Value) -> Result<(), ApiError> {
        let name = meta_str(service, "name").to_owned();
        if let Some(old) = old {
            keep(old, service);
        }
        if is_external(service) {
            return Ok(());
        }
        families::complete(old.map(|old| &old["spec"]), service)
            .map_err(|errors| self.invalid_named(&name, &errors))?;
        if old.is_none_or(is_external) {
            self.address(service)?;
        }
        self.node_ports(old, service)?;
        self.health_port(old, service)
    }

    /// Picks anew what was picked for a Service that is not yet there.
    ///
    /// # Errors
    /// As [`Call::allocate`].
    pub(crate) fn allocate_again(&self, service: &mut Value) -> Result<(), ApiError> {
        let picked = std::mem::take(&mut *self.picked.lock());
        if picked.address {
            forget(service, &["clusterIP", "clusterIPs"]);
        }
        if picked.health {
            forget(service, &["healthCheckNodePort"]);
        }
        for index in picked.ports {
            let port = service.pointer_mut(&format!("/spec/ports/{index}")).and_then(Value::as_object_mut);
            port.map(|port| port.remove("nodePort"));
        }
        self.allocate(None, service)
    }

    /// The address of a Service that has none of its own yet.
    fn address(&self, service: &mut Value) -> Result<(), ApiError> {
        let given = service.pointer("/spec/clusterIPs/0").and_then(Value::as_str).unwrap_or_default();
        let address = match given {
            "None" => return Ok(()),
            "" => {
                let free = ranges::free(self, meta_str(service, "uid"));
                self.picked.lock().address = true;
                let none_left = || ApiError::internal("failed to allocate a serviceIP: range is full");
                free.ok_or_else(none_left)?.to_string()
            }
            given => {
                let refused = |why: &str| {
                    let detail = format!("failed to allocate IP {given}: {why}");
                    let shown = service["spec"]["clusterIPs"].clone();
                    let error = FieldError::invalid("spec.clusterIPs", shown, detail);
                    self.invalid_named(meta_str(service, "name"), &[error])
                };
                if !ranges::has(self, given) {
                    return Err(refused("the provided network does not match the current range"));
                }
                if !self.options.dry_run && held::is_held(self, &held::Holding::address(given)) {
                    return Err(refused("provided IP is already allocated"));
                }
                given.to_owned()
            }
        };
        let spec = member(service, "spec");
        *member(spec, "clusterIP") = json!(address);
        *member(spec, "clusterIPs") = json!([address]);
        Ok(())
    }
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn forget(service: &mut Value, keys: &[&str]) {
    if let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) {
        spec.retain(|key, _| !keys.contains(&key.as_str()));
    }
}

fn is_external(service: &Value) -> bool {
    text(&service["spec"], "type") == "ExternalName"
}

/// Whether nodes listen for a Service.
fn is_exposed(service: &Value) -> bool {
    matches!(text(&service["spec"], "type"), "NodePort" | "LoadBalancer")
}

/// Whether nodes tell load balancers if they have endpoints of a Service.
fn tells_health(service: &Value) -> bool {
    text(&service["spec"], "type") == "LoadBalancer"
        && text(&service["spec"], "externalTrafficPolicy") == "Local"
}

/// What a Service was given it keeps, unless the change is about it.
fn keep(old: &Value, new: &mut Value) {
    if !is_external(old) && !is_external(new) {
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            let slot = member(member(new, "spec"), key);
            if (slot.is_null() || slot == "")
                && let Some(value) = old["spec"].get(key)
            {
                *slot = value.clone();
            }
        }
    }
    if is_exposed(old) && is_exposed(new) {
        keep_ports(old, new);
    }
    if tells_health(old) && tells_health(new) {
        let slot = member(member(new, "spec"), "healthCheckNodePort");
        if slot.is_null() {
            *slot = old["spec"]["healthCheckNodePort"].clone();
        }
    }
    release(old, new);
}

fn keep_ports(old: &Value, new: &mut Value) {
    let ports = old.pointer("/spec/ports").and_then(Value::as_array).cloned().unwrap_or_default();
    for port in new.pointer_mut("/spec/ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let same = |old: &&Value| old["port"] == port["port"] && old["protocol"] == port["protocol"];
        let known = ports.iter().find(same).and_then(|old| old.get("nodePort")).cloned();
        if let (None, Some(known)) = (port.get("nodePort"), known) {
            *member(port, "nodePort") = known;
        }
    }
}

/// A Service that becomes of another type gives up what it had for the old
/// one, if the client left it as it was.
fn release(old: &Value, new: &mut Value) {
    let mut gone: Vec<&str> = Vec::new();
    if is_external(new) && !is_external(old) {
        gone.extend(["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"]);
    }
    if is_exposed(old) && !is_exposed(new) {
        gone.extend(["externalTrafficPolicy", "allocateLoadBalancerNodePorts"]);
        let ports = old.pointer("/spec/ports").and_then(Value::as_array).cloned().unwrap_or_default();
        let new_ports = new.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
        for port in new_ports.into_iter().flatten() {
            let same = ports.iter().any(|old| old.get("nodePort") == port.get("nodePort"));
            if same && let Some(map) = port.as_object_mut() {
                map.remove("nodePort");
            }
        }
    }
    if tells_health(old) && !tells_health(new) {
        gone.push("healthCheckNodePort");
    }
    gone.retain(|key| old["spec"].get(*key) == new["spec"].get(*key));
    forget(new, &gone);
}
