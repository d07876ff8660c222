//! Ports of nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::{Value, json};
use windlass_apimachinery::FieldError;

use super::held::{Holding, is_held};
use super::{is_exposed, tells_health};
use crate::call::Call;
use crate::object::{member, meta_str};
use crate::status::ApiError;

/// Where Services get ports of nodes, as kube-apiserver has it by default.
const PORTS: Range<u32> = 30_000..32_768;
/// The first of these are left to clients that name theirs, until all others are gone.
const NAMED: u32 = 86;

const TAKEN: &str = "provided port is already allocated";

/// The ports of one Service in one request.
struct Claims<'a, 'b> {
    call: &'a Call<'b>,
    uid: String,
    /// Had before, or got by now.
    own: BTreeSet<u32>,
}

impl Claims<'_, '_> {
    /// Takes the port that a client names.
    fn claim(&mut self, port: u32) -> Result<(), String> {
        if !PORTS.contains(&port) {
            let (first, last) = (PORTS.start, PORTS.end - 1);
            return Err(format!(
                "provided port is not in the valid range. The range of valid ports is {first}-{last}"
            ));
        }
        if is_held(self.call, &Holding::Port(port)) || !self.own.insert(port) {
            return Err(TAKEN.to_owned());
        }
        Ok(())
    }

    /// Takes any port.
    fn pick(&mut self) -> Option<u32> {
        let free = |port: &u32| !self.own.contains(port) && !is_held(self.call, &Holding::Port(*port));
        let middle = PORTS.start + NAMED;
        let from = |range| super::ranges::from_somewhere(&self.uid, range);
        let port = from(middle..PORTS.end).chain(from(PORTS.start..middle)).find(free)?;
        self.own.insert(port);
        Some(port)
    }
}

fn number(port: &Value, key: &str) -> u32 {
    port[key].as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
}

fn ports(service: &Value) -> &[Value] {
    service.pointer("/spec/ports").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The ports of nodes a Service has for its own ports.
pub fn of(service: &Value) -> BTreeSet<u32> {
    if !is_exposed(service) {
        return BTreeSet::new();
    }
    ports(service).iter().map(|port| number(port, "nodePort")).filter(|port| *port != 0).collect()
}

/// The port that says how a node is, if a Service has one.
pub fn health(service: &Value) -> Option<u32> {
    let port = number(&service["spec"], "healthCheckNodePort");
    (tells_health(service) && port != 0).then_some(port)
}

impl Call<'_> {
    /// Gives ports of nodes to a Service that has them.
    pub(super) fn node_ports(&self, old: Option<&Value>, service: &mut Value) -> Result<(), ApiError> {
        if !is_exposed(service) {
            return Ok(());
        }
        let load_balancer = service["spec"]["type"] == "LoadBalancer";
        let any = !load_balancer || service["spec"]["allocateLoadBalancerNodePorts"] != false;
        let name = meta_str(service, "name").to_owned();
        let uid = meta_str(service, "uid").to_owned();
        let had = old.map(of).unwrap_or_default();
        let mut claims = Claims { call: self, uid, own: BTreeSet::new() };
        // Ports of one number are reached at one port of the nodes.
        let mut together: BTreeMap<u32, u32> = BTreeMap::new();
        let all = ports(service).to_vec();
        for (index, port) in all.iter().enumerate() {
            let (own, named) = (number(port, "port"), number(port, "nodePort"));
            if named == 0 && !any {
                continue;
            }
            let known = together.get(&own).copied().filter(|_| old.is_none());
            let asked =
                all.iter().find(|other| number(other, "port") == own && number(other, "nodePort") != 0);
            let wanted = match (named, known, asked) {
                (0, Some(known), _) => known,
                (0, None, Some(asked)) if old.is_none() => number(asked, "nodePort"),
                (named, ..) => named,
            };
            let given = if wanted == 0 {
                self.picked.lock().ports.insert(index);
                let full = || ApiError::internal("failed to allocate a nodePort: range is full");
                claims.pick().ok_or_else(full)?
            } else {
                let again = known == Some(wanted) || (old.is_some() && claims.own.contains(&wanted));
                if !had.contains(&wanted) && !again {
                    claims.claim(wanted).map_err(|why| {
                        let field = format!("spec.ports[{index}].nodePort");
                        self.invalid_named(&name, &[FieldError::invalid(field, wanted, why)])
                    })?;
                }
                wanted
            };
            together.entry(own).or_insert(given);
            if let Some(port) = service.pointer_mut(&format!("/spec/ports/{index}")) {
                *member(port, "nodePort") = json!(given);
            }
        }
        match old {
            Some(_) => distinct(ports(service)),
            None => Ok(()),
        }
    }

    /// Gives a Service the port at which nodes say whether they serve it.
    pub(super) fn health_port(&self, old: Option<&Value>, service: &mut Value) -> Result<(), ApiError> {
        if !tells_health(service) || old.is_some_and(tells_health) {
            return Ok(());
        }
        let uid = meta_str(service, "uid").to_owned();
        let mut claims = Claims { call: self, uid, own: of(service) };
        let port = match number(&service["spec"], "healthCheckNodePort") {
            0 => {
                self.picked.lock().health = true;
                let full =
                    || ApiError::internal("failed to allocate a HealthCheck NodePort 0: range is full");
                claims.pick().ok_or_else(full)?
            }
            named => {
                claims.claim(named).map_err(|why| {
                    let text = format!("failed to allocate requested HealthCheck NodePort {named}: {why}");
                    ApiError::internal(&text).cause("", text, "")
                })?;
                named
            }
        };
        *member(member(service, "spec"), "healthCheckNodePort") = json!(port);
        Ok(())
    }
}

/// A port of nodes leads to one port of each protocol.
fn distinct(ports: &[Value]) -> Result<(), ApiError> {
    let mut seen = BTreeSet::new();
    for port in ports.iter().filter(|port| number(port, "nodePort") != 0) {
        let (protocol, number) = (super::text(port, "protocol"), number(port, "nodePort"));
        if !seen.insert((protocol, number)) {
            return Err(ApiError::new(500, "", format!("duplicate nodePort: {{{protocol} {number}}}")));
        }
    }
    Ok(())
}
