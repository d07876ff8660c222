//! Services and what else is about networks.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Compute, count, joined, len, list, or, selector, text};

pub(super) fn network(kind: &str, heading: &str) -> Option<Compute> {
    match (kind, heading) {
        ("Service", "Type") => cell!(o => text(o, "/spec/type")),
        ("Service", "Cluster-IP") => cell!(o => or(text(o, "/spec/clusterIP"), "<none>")),
        ("Service", "External-IP") => cell!(o => external(o)),
        ("Service", "Port(s)") => cell!(o => or(service_ports(o), "<none>")),
        ("Endpoints", "Endpoints") => cell!(o => endpoints(o)),
        ("EndpointSlice", "AddressType") => cell!(o => text(o, "/addressType")),
        ("EndpointSlice", "Ports") => {
            cell!(o => or(first(list(o, "/ports").iter().map(|p| text(p, "/port"))), "<unset>"))
        }
        ("EndpointSlice", "Endpoints") => cell!(o => {
            let addresses = list(o, "/endpoints").iter().flat_map(|endpoint| list(endpoint, "/addresses"));
            or(first(addresses.map(|address| text(address, ""))), "<unset>")
        }),
        ("Ingress", "Class") => cell!(o => {
            let old = o["metadata"]["annotations"].get("kubernetes.io/ingress.class");
            let class = text(o, "/spec/ingressClassName");
            or(if class.is_empty() { old.map(|old| text(old, "")).unwrap_or_default() } else { class }, "<none>")
        }),
        ("Ingress", "Hosts") => cell!(o => hosts(o)),
        ("Ingress", "Address") => cell!(o => balanced(o)),
        ("Ingress", "Ports") => cell!(o => if len(o, "/spec/tls") > 0 { "80, 443" } else { "80" }),
        ("IngressClass", "Controller") => cell!(o => text(o, "/spec/controller")),
        ("IngressClass", "Parameters") => cell!(o => {
            let group = text(o, "/spec/parameters/apiGroup");
            let group = if group.is_empty() { group } else { format!(".{group}") };
            let name = text(o, "/spec/parameters/name");
            or(if name.is_empty() { name } else { format!("{}{group}/{name}", text(o, "/spec/parameters/kind")) }, "<none>")
        }),
        ("IPAddress", "ParentRef") => cell!(o => or(parent(&o["spec"]["parentRef"]), "<none>")),
        ("ServiceCIDR", "CIDRs") => cell!(o => joined(list(o, "/spec/cidrs"), "")),
        ("NetworkPolicy", "Pod-Selector") => cell!(o => or(selector(o, "/spec/podSelector"), "<none>")),
        _ => None,
    }
}

/// The first three, and how many more there are.
fn first(all: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = all.collect();
    let shown = all[..all.len().min(3)].join(",");
    if all.len() > 3 { format!("{shown} + {} more...", all.len() - 3) } else { shown }
}

fn endpoints(object: &Value) -> Value {
    let all = list(object, "/subsets").iter().flat_map(|subset| {
        let addresses = list(subset, "/addresses");
        let ports = list(subset, "/ports");
        let plain = addresses.iter().filter(|_| ports.is_empty()).map(|address| text(address, "/ip"));
        let with = ports.iter().flat_map(|port| {
            addresses.iter().map(|address| format!("{}:{}", text(address, "/ip"), text(port, "/port")))
        });
        plain.chain(with).collect::<Vec<_>>()
    });
    or(first(all), "<none>")
}

fn balanced(object: &Value) -> String {
    let ingress = list(object, "/status/loadBalancer/ingress").iter();
    let shown: Vec<String> = ingress
        .map(|ingress| {
            let ip = text(ingress, "/ip");
            if ip.is_empty() { text(ingress, "/hostname") } else { ip }
        })
        .collect();
    shown.join(",")
}

fn external(object: &Value) -> Value {
    let own = joined(list(object, "/spec/externalIPs"), "");
    match text(object, "/spec/type").as_str() {
        "LoadBalancer" => {
            let all: Vec<String> = [balanced(object), own].into_iter().filter(|ip| !ip.is_empty()).collect();
            or(all.join(","), "<pending>")
        }
        "ExternalName" => json!(text(object, "/spec/externalName")),
        _ => or(own, "<none>"),
    }
}

fn service_ports(object: &Value) -> String {
    let ports: Vec<String> = list(object, "/spec/ports")
        .iter()
        .map(|port| {
            let node = count(port, "/nodePort");
            let node = if node > 0 { format!(":{node}") } else { String::new() };
            format!("{}{node}/{}", text(port, "/port"), text(port, "/protocol"))
        })
        .collect();
    ports.join(",")
}

fn hosts(object: &Value) -> String {
    let hosts =
        list(object, "/spec/rules").iter().map(|rule| text(rule, "/host")).filter(|host| !host.is_empty());
    let shown = first(hosts);
    if shown.is_empty() { "*".to_owned() } else { shown }
}

/// Whose an address is: `<resource>.<group>/<namespace>/<name>`, as far as it is said.
fn parent(reference: &Value) -> String {
    if reference.is_null() {
        return String::new();
    }
    let group = text(reference, "/group");
    let resource = text(reference, "/resource");
    let resource = if group.is_empty() { resource } else { format!("{resource}.{group}") };
    let (namespace, name) = (text(reference, "/namespace"), text(reference, "/name"));
    let namespace = if namespace.is_empty() { namespace } else { format!("/{namespace}") };
    format!("{}{namespace}/{name}", resource.to_lowercase())
}
