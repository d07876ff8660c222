//! Ingresses, network policies, slices of endpoints, storage classes.

use windlass_apimachinery::meta::{dns_label, dns_subdomain};
use windlass_apimachinery::schema::check::Printed;
use windlass_apimachinery::{FieldError, FieldErrorKind};

use super::at::{At, Errors, port_name};
use super::selector;

/// An error that shows no value.
fn said(at: &At<'_>, errors: &mut Errors, detail: &str) {
    errors.push(FieldError::invalid(at.path.clone(), "", detail));
}

pub fn ingress(object: &At<'_>, _old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    let (rules, fallback) = (spec.child("rules"), spec.child("defaultBackend"));
    if !rules.is_filled() && !fallback.is_set() {
        errors.push(FieldError::invalid(
            spec.path.clone(),
            rules.value.clone(),
            "either `defaultBackend` or `rules` must be specified",
        ));
    }
    if fallback.is_set() {
        backend(&fallback, errors);
    }
    for rule in rules.items() {
        host(&rule.child("host"), errors);
        let http = rule.child("http");
        if http.is_set() && !http.child("paths").is_filled() {
            http.child("paths").required(errors, "");
        }
        for path in http.child("paths").items() {
            ingress_path(&path, errors);
        }
    }
    for tls in spec.child("tls").items() {
        for host in tls.child("hosts").items() {
            self::host(&host, errors);
        }
    }
    if spec.child("ingressClassName").is_set() {
        spec.child("ingressClassName").by(errors, dns_subdomain);
    }
}

fn host(at: &At<'_>, errors: &mut Errors) {
    if !at.is_filled() {
        return;
    }
    if at.text().parse::<std::net::IpAddr>().is_ok() {
        at.invalid(errors, "must be a DNS name, not an IP address");
    }
    if !at.text().contains('*') {
        at.by(errors, dns_subdomain);
        return;
    }
    let good = at.text().strip_prefix("*.").is_some_and(|rest| dns_subdomain(rest).is_empty());
    if !good {
        at.invalid(errors, "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')");
    }
}

fn ingress_path(at: &At<'_>, errors: &mut Errors) {
    let (kind, path) = (at.child("pathType"), at.child("path"));
    if !kind.is_set() {
        kind.required(errors, "pathType must be specified");
        return;
    }
    match kind.text() {
        "Exact" | "Prefix" => {
            if !path.text().starts_with('/') {
                absolute(&path, errors);
            }
            for bad in ["//", "/./", "/../", "%2f", "%2F"] {
                if path.text().contains(bad) {
                    path.invalid(errors, format!("must not contain '{bad}'"));
                }
            }
            for bad in ["/..", "/."] {
                if path.text().ends_with(bad) {
                    path.invalid(errors, format!("cannot end with '{bad}'"));
                }
            }
        }
        "ImplementationSpecific" => {
            if path.is_filled() && !path.text().starts_with('/') {
                absolute(&path, errors);
            }
        }
        _ => kind.not_supported(errors, &["Exact", "ImplementationSpecific", "Prefix"]),
    }
    backend(&at.child("backend"), errors);
}

fn absolute(path: &At<'_>, errors: &mut Errors) {
    errors.push(FieldError::invalid(path.path.clone(), path.text(), "must be an absolute path"));
}

fn backend(at: &At<'_>, errors: &mut Errors) {
    let (resource, service) = (at.child("resource"), at.child("service"));
    match (resource.is_set(), service.is_set()) {
        (true, true) => said(at, errors, "cannot set both resource and service backends"),
        (true, false) => {
            for field in ["kind", "name"] {
                if !resource.child(field).is_filled() {
                    resource.child(field).required(errors, "");
                }
            }
        }
        (false, true) => service_backend(at, &service, errors),
        (false, false) => said(at, errors, "resource or service backend is required"),
    }
}

fn service_backend(at: &At<'_>, service: &At<'_>, errors: &mut Errors) {
    service.child("name").required_by(errors, super::at::dns1035_label);
    let (name, number) = (service.down(&["port", "name"]), service.down(&["port", "number"]));
    match (name.is_filled(), number.int().unwrap_or(0) != 0) {
        (true, true) => said(at, errors, "cannot set both port name & port number"),
        (true, false) => name.by(errors, port_name),
        (false, true) => number.port(errors),
        (false, false) => at.required(errors, "port name or number is required"),
    }
}

pub fn ingress_class(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    let controller = object.down(&["spec", "controller"]);
    if let Some(old) = old {
        controller.immutable(errors, &old.down(&["spec", "controller"]));
    }
    if controller.text().len() > 250 {
        errors.push(FieldError::too_long(controller.path.clone(), controller.value.clone(), 250));
    }
    let good = controller
        .text()
        .split_once('/')
        .is_some_and(|(domain, path)| dns_subdomain(domain).is_empty() && !path.is_empty());
    if !controller.is_filled() {
        controller.required(errors, "");
    } else if !good {
        controller.invalid(errors, "must be a domain-prefixed path (such as \"acme.io/foo\")");
    }
}

pub fn network_policy(object: &At<'_>, _old: Option<&At<'_>>, errors: &mut Errors) {
    let spec = object.child("spec");
    selector::selector(&spec.child("podSelector"), errors);
    for (list, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.child(list).items() {
            for port in rule.child("ports").items() {
                port.child("protocol").maybe_one_of(errors, &["TCP", "UDP", "SCTP"]);
                let number = port.child("port");
                if number.is_set() {
                    number.port_or_name(errors);
                }
            }
            for peer in rule.child(peers).items() {
                self::peer(&peer, errors);
            }
        }
    }
    let types = spec.child("policyTypes");
    if types.items().count() > 2 {
        types.invalid(errors, "may not specify more than two policyTypes");
    }
    for kind in types.items() {
        let at = At { path: kind.path.clone(), value: kind.value };
        at.one_of(errors, &["Ingress", "Egress"]);
    }
}

fn peer(at: &At<'_>, errors: &mut Errors) {
    let (pods, namespaces, block) =
        (at.child("podSelector"), at.child("namespaceSelector"), at.child("ipBlock"));
    for selector in [&pods, &namespaces] {
        if selector.is_set() {
            selector::selector(selector, errors);
        }
    }
    if block.is_set() {
        let cidr = block.child("cidr");
        if !cidr.is_filled() {
            cidr.required(errors, "");
        } else if !is_cidr(cidr.text()) {
            cidr.invalid(errors, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        }
    }
    match (pods.is_set() || namespaces.is_set(), block.is_set()) {
        (false, false) => at.required(errors, "must specify a peer"),
        (true, true) => at.forbidden(errors, "may not specify both ipBlock and another peer"),
        _ => {}
    }
}

fn is_cidr(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, bits)| {
        let most = match address.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(_)) => 32,
            Ok(std::net::IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        bits.parse::<u8>().is_ok_and(|bits| bits <= most)
    })
}

pub fn ip_address(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    let parent = object.down(&["spec", "parentRef"]);
    if let Some(old) = old {
        if parent.value != old.down(&["spec", "parentRef"]).value {
            // Shown as the Go type that has no names for JSON.
            let part = |name: &str, key: &str| format!("{name:?}:{:?}", parent.child(key).text());
            let parts =
                [("Group", "group"), ("Resource", "resource"), ("Namespace", "namespace"), ("Name", "name")];
            let shown = format!("{{{}}}", parts.map(|(name, key)| part(name, key)).join(","));
            let (kind, shown) = (FieldErrorKind::Invalid, Printed(shown.into()));
            errors.push(FieldError::printed(kind, parent.path.clone(), shown, "field is immutable"));
        }
        return;
    }
    address(&object.down(&["metadata", "name"]), errors);
    if !parent.is_set() {
        parent.required(errors, "");
        return;
    }
    if parent.child("group").is_filled() {
        parent.child("group").by(errors, dns_subdomain);
    }
    for field in ["resource", "name"] {
        parent.child(field).required_by(errors, path_segment);
    }
    if parent.child("namespace").is_filled() {
        parent.child("namespace").by(errors, path_segment);
    }
}

fn path_segment(text: &str) -> Vec<String> {
    windlass_apimachinery::meta::name(windlass_apimachinery::meta::NameRule::PathSegment, text)
}

/// An address in the one way to write it.
fn address(at: &At<'_>, errors: &mut Errors) {
    match at.text().parse::<std::net::IpAddr>() {
        Err(_) => at.invalid(errors, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
        Ok(std::net::IpAddr::V6(six)) if six.to_ipv4_mapped().is_some() => {
            at.invalid(errors, "must not be an IPv4-mapped IPv6 address");
        }
        Ok(address) if address.to_string() != at.text() => {
            at.invalid(errors, format!("must be in canonical form (\"{address}\")"));
        }
        Ok(_) => {}
    }
}

pub fn service_cidr(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    let cidrs = object.down(&["spec", "cidrs"]);
    let before: Vec<At<'_>> =
        old.map(|old| old.down(&["spec", "cidrs"]).items().collect()).unwrap_or_default();
    let now: Vec<At<'_>> = cidrs.items().collect();
    match (old.is_some(), before.len(), now.len()) {
        (false, ..) => networks(&cidrs, errors),
        (true, before_count, count) if before_count == count => {
            for (old, new) in before.iter().zip(&now) {
                new.immutable(errors, old);
            }
        }
        (true, 1, 2) => {
            now[0].immutable(errors, &before[0]);
            networks(&cidrs, errors);
        }
        (true, ..) => {
            let shown: Vec<&str> = now.iter().map(At::text).collect();
            errors.push(FieldError::invalid(cidrs.path.clone(), shown, "field is immutable"));
        }
    }
}

/// One network of each family, at most.
fn networks(cidrs: &At<'_>, errors: &mut Errors) {
    let texts: Vec<&str> = cidrs.items().map(|cidr| cidr.text()).collect();
    if texts.is_empty() {
        cidrs.required(errors, "at least one CIDR required");
        return;
    }
    if texts.len() > 2 {
        let shown = serde_json::json!({"CIDRs": cidrs.value});
        errors.push(FieldError::invalid(cidrs.path.clone(), shown, "may only hold up to 2 values"));
        return;
    }
    for cidr in cidrs.items() {
        if is_cidr(cidr.text()) {
            canonical(&cidr, errors);
        } else {
            cidr.invalid(errors, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        }
    }
    let six = |text: &str| text.contains(':');
    if let [first, second] = texts[..]
        && six(first) == six(second)
        && is_cidr(first)
        && is_cidr(second)
    {
        cidrs.invalid(
            errors,
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
        );
    }
}

/// A network in the one way to write it: without bits of a host.
fn canonical(cidr: &At<'_>, errors: &mut Errors) {
    let Some((address, bits)) = cidr.text().split_once('/') else { return };
    let (Ok(address), Ok(bits)) = (address.parse::<std::net::IpAddr>(), bits.parse::<u32>()) else { return };
    let host = match address {
        std::net::IpAddr::V4(four) => u128::from(u32::from(four)) & (u128::from(u32::MAX) >> bits),
        std::net::IpAddr::V6(six) => u128::from(six) & u128::MAX.checked_shr(bits).unwrap_or(0),
    };
    let written = format!("{address}/{bits}");
    if host != 0 {
        cidr.invalid(errors, "must not have bits set beyond the prefix length");
    } else if written != cidr.text() {
        cidr.invalid(errors, format!("must be in canonical form (\"{written}\")"));
    }
}

pub fn endpoint_slice(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    let kind = object.child("addressType");
    kind.one_of(errors, &["FQDN", "IPv4", "IPv6"]);
    if let Some(old) = old {
        kind.immutable(errors, &old.child("addressType"));
    }
    for endpoint in object.child("endpoints").items() {
        let addresses = endpoint.child("addresses");
        if !addresses.is_filled() {
            addresses.required(errors, "must contain at least 1 address");
        }
        for address in addresses.items() {
            let good = match kind.text() {
                "IPv4" => address.text().parse::<std::net::Ipv4Addr>().is_ok(),
                "IPv6" => address.text().parse::<std::net::Ipv6Addr>().is_ok(),
                _ => true,
            };
            if !good {
                address.invalid(errors, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
            }
        }
    }
    for port in object.child("ports").items() {
        let name = port.child("name");
        if name.is_filled() {
            name.by(errors, dns_label);
        }
        port.child("protocol").one_of(errors, &["SCTP", "TCP", "UDP"]);
    }
}

pub fn storage_class(object: &At<'_>, old: Option<&At<'_>>, errors: &mut Errors) {
    let provisioner = object.child("provisioner");
    if provisioner.is_filled() {
        windlass_apimachinery::meta::qualified_name(
            &provisioner.text().to_lowercase(),
            &provisioner.path,
            errors,
        );
    } else {
        provisioner.required(errors, "");
    }
    object.child("reclaimPolicy").maybe_one_of(errors, &["Delete", "Retain"]);
    let mode = object.child("volumeBindingMode");
    mode.one_of(errors, &["Immediate", "WaitForFirstConsumer"]);
    let Some(old) = old else { return };
    for (field, detail) in [
        ("parameters", "updates to parameters are forbidden."),
        ("provisioner", "updates to provisioner are forbidden."),
        ("reclaimPolicy", "updates to reclaimPolicy are forbidden."),
    ] {
        if object.child(field).value != old.child(field).value {
            object.child(field).forbidden(errors, detail);
        }
    }
    mode.immutable(errors, &old.child("volumeBindingMode"));
}
